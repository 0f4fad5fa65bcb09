// Counts or times over time, in SVG: a crosshair, a brush that zooms, a click that opens a step.
import { useEffect, useRef, useState } from "preact/hooks";
import { html } from "./html.js";

const HEIGHT = 220;
const [LEFT, RIGHT, TOP, BOTTOM] = [56, 12, 10, 24];
const LINES = 4;
const BRUSHED = 5;
const DAY = 86_400;
const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** The distance of the lines: 1, 2 or 5 times a power of ten. */
function distance(highest) {
  const rough = Math.max(highest, 1) / LINES;
  const power = 10 ** Math.floor(Math.log10(rough));
  return Math.max(1, [1, 2, 5, 10].find((factor) => factor * power >= rough) * power);
}

/** The points of a line, which breaks where there is no value. */
function path(values, x, y) {
  let isDrawing = false;
  return values
    .map((value, index) => {
      if (value == null) {
        isDrawing = false;
        return "";
      }
      const command = isDrawing ? "L" : "M";
      // A point with no neighbour would not be seen.
      const alone = !isDrawing && values[index + 1] == null ? `m-2 0h4` : "";
      isDrawing = true;
      return `${command}${x(index).toFixed(1)} ${y(value).toFixed(1)}${alone}`;
    })
    .join("");
}

/** `at` are the starts of steps of `step` seconds; `series` [{label, values, colour, dash}]. `onPick`
 * gets seconds, and whether they were brushed. */
export function Chart({ at, series, step, label, format, onPick }) {
  const place = useRef(null);
  const [width, setWidth] = useState(0);
  const [here, setHere] = useState(null);
  const [brush, setBrush] = useState(null);
  useEffect(() => {
    const watch = new ResizeObserver(() => setWidth(place.current?.clientWidth || 0));
    watch.observe(place.current);
    return () => watch.disconnect();
  }, []);
  const inner = Math.max(width - LEFT - RIGHT, 1);
  const last = Math.max(at.length - 1, 1);
  const x = (index) => LEFT + (index / last) * inner;
  const high = Math.max(0, ...series.flatMap((one) => one.values.map((value) => value ?? 0)));
  const unit = distance(high);
  const top = Math.max(unit, Math.ceil(high / unit) * unit);
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const ticks = Array.from({ length: Math.round(top / unit) + 1 }, (_, index) => index * unit);
  const every = Math.max(1, Math.ceil(at.length / Math.max(2, Math.floor(inner / 80))));
  const isLong = at.length > 1 && at.at(-1) - at[0] > 2 * DAY;
  const px = (event) => event.clientX - place.current.getBoundingClientRect().left;
  const indexOf = (pixels) => Math.max(0, Math.min(at.length - 1, Math.round(((pixels - LEFT) / inner) * last)));
  const move = (event) => {
    setHere(indexOf(px(event)));
    if (brush) setBrush([brush[0], px(event)]);
  };
  const down = (event) => {
    if (event.button !== 0 || !onPick) return;
    if (event.pointerType !== "touch") event.currentTarget.setPointerCapture(event.pointerId);
    setBrush([px(event), px(event)]);
  };
  const up = () => {
    if (!brush) return;
    const [from, to] = brush.toSorted((one, other) => one - other);
    setBrush(null);
    if (to - from > BRUSHED) onPick(at[indexOf(from)], at[indexOf(to)] + step, true);
    else onPick(at[indexOf(from)], at[indexOf(from)] + step, false);
  };
  const shown = here != null && here < at.length ? here : null;
  return html`<div class="chart" ref=${place}>
    <svg role="img" aria-label=${label} width=${width} height=${HEIGHT} onPointerMove=${move} onPointerDown=${down} onPointerUp=${up} onPointerLeave=${() => {
      setHere(null);
      setBrush(null);
    }} onPointerCancel=${() => setBrush(null)}>
      ${width > 0 && ticks.map((tick) => html`<g><line class="grid" x1=${LEFT} x2=${width - RIGHT} y1=${y(tick)} y2=${y(tick)} /><text x=${LEFT - 8} y=${y(tick) + 4} text-anchor="end">${format(tick)}</text></g>`)}
      ${width > 0 && at.map((seconds, index) => index % every === 0 && x(index) < width - 30 && html`<text x=${x(index)} y=${HEIGHT - 6} text-anchor="middle">${(isLong ? date : hour).format(seconds * 1000)}</text>`)}
      ${width > 0 && series.map((one) => html`<path class="series ${one.colour}" d=${path(one.values, x, y)} stroke-dasharray=${one.dash} />`)}
      ${shown != null && html`<line class="cross" x1=${x(shown)} x2=${x(shown)} y1=${TOP} y2=${HEIGHT - BOTTOM} />`}
      ${brush && html`<rect class="brush" x=${Math.min(...brush)} y=${TOP} width=${Math.abs(brush[1] - brush[0])} height=${HEIGHT - TOP - BOTTOM} />`}
    </svg>
    <div class="legend" aria-hidden="true"><span class="muted">${shown == null ? "" : new Date(at[shown] * 1000).toLocaleString()}</span>${series.map((one) => html`<span><svg width="22" height="10"><path class="series ${one.colour}" d="M0 5h22" stroke-dasharray=${one.dash} /></svg> ${one.label}${shown != null && html` <strong>${one.values[shown] == null ? "–" : format(one.values[shown])}</strong>`}</span>`)}</div>
  </div>`;
}
