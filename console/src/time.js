// Times in the reader's zone, relative ones that update, and durations.
import { useEffect, useState } from "preact/hooks";
import { html } from "./html.js";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });
const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

const tickers = new Set();
setInterval(() => {
  if (!document.hidden) for (const tick of tickers) tick();
}, 5 * SECOND);

export function ago(at, now = Date.now()) {
  const past = at - now;
  const size = Math.abs(past);
  if (size < 5 * SECOND) return "now";
  if (size < MINUTE) return relative.format(Math.round(past / SECOND), "second");
  if (size < HOUR) return relative.format(Math.round(past / MINUTE), "minute");
  if (size < DAY) return relative.format(Math.round(past / HOUR), "hour");
  return relative.format(Math.round(past / DAY), "day");
}

export function local(at) {
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? clock.format(date) : `${day.format(date)} ${clock.format(date)}`;
}

/** How long, from milliseconds. */
export function duration(ms) {
  if (ms == null || Number.isNaN(ms)) return "–";
  if (ms < SECOND) return `${Math.round(ms)} ms`;
  if (ms < MINUTE) return `${(ms / SECOND).toFixed(ms < 10 * SECOND ? 1 : 0)} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min ${Math.round((ms % MINUTE) / SECOND)} s`;
  if (ms < DAY) return `${Math.floor(ms / HOUR)} h ${Math.round((ms % HOUR) / MINUTE)} min`;
  return `${Math.floor(ms / DAY)} d ${Math.round((ms % DAY) / HOUR)} h`;
}

/** A moment: the reader's zone, how long ago, and UTC on hover. `form` is "both", "ago" or "at". */
export function Time({ at, form = "both" }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const again = () => tick((count) => count + 1);
    tickers.add(again);
    return () => tickers.delete(again);
  }, []);
  if (!at) return html`<span class="muted">–</span>`;
  const moment = Date.parse(at);
  const title = `${full.format(new Date(moment))}\n${new Date(moment).toISOString()} (UTC)`;
  return html`<time datetime=${at} title=${title}>
    ${form !== "ago" && local(moment)}${form === "both" && html` <span class="muted">${ago(moment)}</span>`}${form === "ago" && ago(moment)}
  </time>`;
}

/** For <input type=datetime-local>. */
export function toInput(iso) {
  if (!iso) return "";
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return "";
  return new Date(date.getTime() - date.getTimezoneOffset() * MINUTE).toISOString().slice(0, 19);
}

export const fromInput = (text) => (text ? new Date(text).toISOString() : "");
