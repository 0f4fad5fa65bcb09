// What is going on, and what to do first when something is wrong.
import { useMemo } from "preact/hooks";
import { html } from "./html.js";
import { get, may, stage } from "./api.js";
import { Chart } from "./chart.js";
import { Empty, Fault, Loaded, Missing, Skeleton, Status, count, curl, plural, useLoad, useTitle } from "./parts.js";
import { go, href } from "./router.js";
import { Time, ago, duration } from "./time.js";

const MINUTE = 60_000;
const SPANS = {
  hour: { label: "Hour", ms: 60 * MINUTE, step: "minute", stepMs: MINUTE },
  day: { label: "Day", ms: 1440 * MINUTE, step: "hour", stepMs: 60 * MINUTE },
  week: { label: "Week", ms: 7 * 1440 * MINUTE, step: "hour", stepMs: 60 * MINUTE },
};
const COUNTS = [
  { name: "accepted", label: "Accepted", colour: "accent" },
  { name: "processed", label: "Processed", colour: "ok", dash: "6 3" },
  { name: "failed", label: "Failed", colour: "bad" },
  { name: "rejected", label: "Rejected", colour: "warn", dash: "2 3" },
];
const LATENCIES = [
  { name: "latencyP50Ms", label: "p50", colour: "accent" },
  { name: "latencyP95Ms", label: "p95", colour: "warn", dash: "6 3" },
];

/** The window: what the address says, or the last hour, day or week. */
function windowOf(query) {
  const span = SPANS[query.span] || SPANS.hour;
  if (query.from && query.to) {
    const ms = Date.parse(query.to) - Date.parse(query.from);
    if (ms > 0) return { ...(ms <= 6 * SPANS.hour.ms ? SPANS.hour : SPANS.day), from: query.from, to: query.to };
  }
  const end = Math.ceil(Date.now() / span.stepMs) * span.stepMs;
  return { ...span, from: new Date(end - span.ms).toISOString(), to: new Date(end).toISOString() };
}

/** Every step of the window: those without counts are zero. */
function fill(items, frame) {
  const found = new Map(items.map((item) => [Math.floor(Date.parse(item.at) / frame.stepMs), item]));
  const first = Math.floor(Date.parse(frame.from) / frame.stepMs);
  const last = Math.min(Math.ceil(Date.parse(frame.to) / frame.stepMs), Math.floor(Date.now() / frame.stepMs) + 1);
  const at = [];
  const rows = [];
  for (let step = first; step < last && at.length < 2000; step++) {
    at.push((step * frame.stepMs) / 1000);
    rows.push(found.get(step) || {});
  }
  return { at, rows };
}

async function allStats(query, signal) {
  const items = [];
  let cursor = null;
  do {
    const page = await get("/stats", { ...query, cursor }, signal);
    items.push(...page.items);
    cursor = page.cursor;
  } while (cursor && items.length < 3000);
  return { items };
}

export function Overview({ query }) {
  useTitle("Overview");
  const stats = useLoad(
    (signal) => {
      const { from, to, step } = windowOf(query);
      return allStats({ from, to, step }, signal);
    },
    [query.span, query.from, query.to],
    15_000,
  );
  const queues = useLoad(
    (signal) => (may("events:admin") ? get("/queues", {}, signal) : Promise.resolve(null)),
    [],
    15_000,
  );
  const reports = useLoad(
    (signal) => (may("events:admin") ? get("/reconcile", { limit: 1 }, signal) : Promise.resolve(null)),
    [],
    60_000,
  );
  const alerts = useLoad((signal) => get("/alerts", { limit: 50 }, signal), [], 30_000);
  const dead = useLoad(
    (signal) =>
      may("events:admin")
        ? get("/dead-letters", { limit: 100 }, signal)
        : get("/events", { status: "FAILED", limit: 100 }, signal),
    [],
    30_000,
  );
  const newest = useLoad((signal) => get("/events", { limit: 1 }, signal), [], 30_000);
  return html`
    <div class="page-head"><h1>Overview</h1>
      <div class="tabs" role="group" aria-label="Time">${Object.entries(SPANS).map(([name, span]) => html`<button type="button" aria-pressed=${!query.from && (query.span || "hour") === name} onClick=${() => go([], { span: name })}>${span.label}</button>`)}
        ${query.from && html`<button type="button" aria-pressed="true" onClick=${() => go([], { span: query.span })}>Zoomed ✕</button>`}</div></div>
    ${
      newest.data && !newest.data.items.length
        ? html`<${Empty} title="No event yet" curl=${curl("POST", "/events", { eventType: "demo", message: "hello" })}><a href="#/send">Send one</a> from here, or paste this line into a shell:<//>`
        : html`<${First} dead=${dead} queues=${queues} alerts=${alerts} reports=${reports} stats=${stats} />`
    }
    <${Tiles} dead=${dead} queues=${queues} alerts=${alerts} reports=${reports} />
    <${Charts} stats=${stats} query=${query} />
    ${queues.data && html`<${Queues} queues=${queues} />`}
    ${may("events:admin") && html`<${Report} reports=${reports} />`}`;
}

/** What to do first, in words.
 * @param {any} answers */
function advice({ dead, queues, alerts, reports, stats }) {
  const found = [];
  const failed = (dead?.items || []).filter((item) => item.kind !== "message");
  const messages = (dead?.items || []).filter((item) => item.kind === "message");
  if (failed.length) {
    const groups = Map.groupBy(
      failed,
      (item) => `${item.eventType} · ${(item.reason || item.lastError)?.code || "unknown"}`,
    );
    const [[what, group]] = [...groups].sort((one, other) => other[1].length - one[1].length);
    const kind = (group[0].reason || group[0].lastError)?.class;
    const next =
      kind === "transient"
        ? "It was a fault that passes: redrive them."
        : "Open one, read its error, mend the processor or the data, then redrive the group.";
    found.push({
      bad: true,
      text: `${plural(failed.length, "event")}${dead.cursor ? " or more" : ""} failed${group.length < failed.length ? ", most of them" : ":"} ${what}. ${next}`,
      to: "#/failures",
      link: "Failures",
    });
  }
  if (messages.length)
    found.push({
      bad: true,
      text: `${plural(messages.length, "message")} in a dead-letter queue. See why each was set aside.`,
      to: "#/failures?tab=messages",
      link: "Messages",
    });
  for (const queue of queues?.items || []) {
    if (queue.oldestSeconds > 300 && !/dlq/.test(queue.name))
      found.push({
        bad: true,
        text: `The oldest message of ${queue.name} waits for ${duration(queue.oldestSeconds * 1000)}. Is its function throttled or failing? Look at its log and its concurrency.`,
        to: href(["events"], { status: "ENQUEUED" }),
        link: "Waiting events",
      });
  }
  const lost = (alerts?.items || []).filter((group) => group.state === "undelivered");
  if (lost.length)
    found.push({
      bad: true,
      text: `${plural(lost.length, "alert")} could not be delivered. Check Slack's address in SSM.`,
      to: "#/alerts",
      link: "Alerts",
    });
  const report = reports?.items?.[0];
  const different =
    report && !report.clean ? Object.entries(report.differences).filter(([, number]) => number > 0) : [];
  if (different.length)
    found.push({
      bad: true,
      text: `reconcile found differences between the stores: ${different.map(([name, number]) => `${name} ${count(number)}`).join(", ")}. It repairs what is stuck; if they are still there in its next report, read its log.`,
      to: "",
      link: "",
    });
  const rejected = (stats?.items || []).reduce((sum, item) => sum + (item.rejected || 0), 0);
  if (rejected)
    found.push({
      bad: false,
      text: `${plural(rejected, "event")} rejected in this window. Tell the sender, or correct the schema and replay them.`,
      to: "#/failures?tab=rejected",
      link: "Rejected",
    });
  return found;
}

/** "All is well" needs every answer: one that is missing could be the one that says otherwise. */
function First(states) {
  const all = Object.values(states);
  const found = advice(Object.fromEntries(Object.entries(states).map(([name, state]) => [name, state.data])));
  if (!found.length && all.some((state) => state.loading))
    return html`<section class="panel first" aria-label="What to do first"><p role="status">Looking for what failed, waits or differs …</p></section>`;
  if (!found.length && all.some((state) => state.problem))
    return html`<section class="panel first warn" aria-label="What to do first"><p>Nothing wrong was found, but not everything could be looked at.</p></section>`;
  if (!found.length)
    return html`<section class="panel first good" aria-label="What to do first"><p><strong>✓ All is well.</strong> Nothing has failed, and nothing waits too long.</p></section>`;
  return html`<section class="panel first ${found.some((one) => one.bad) ? "bad" : "warn"}" aria-label="What to do first"><h2>What to do first</h2><ol>${found.map((one) => html`<li>${one.text} ${one.to && html`<a href=${one.to}>${one.link}</a>`}</li>`)}</ol></section>`;
}

function Tile({ label, value, note, to }) {
  const inside = html`<span class="tile-label">${label}</span><span class="tile-value">${value}</span><span class="tile-note">${note}</span>`;
  return to ? html`<a class="tile" href=${to}>${inside}</a>` : html`<div class="tile">${inside}</div>`;
}

function Tiles({ dead, queues, alerts, reports }) {
  const waiting = queues.data?.items.find((queue) => queue.name === "events") || queues.data?.items[0];
  const open = (alerts.data?.items || []).filter((group) => group.state !== "delivered");
  const shown = (state, value) => (state.data ? value() : state.problem ? "–" : "…");
  const report = reports.data?.items?.[0];
  return html`<div class="tiles">
    <${Tile} label="Failed, to redrive" to="#/failures" value=${shown(dead, () => `${count(dead.data.items.length)}${dead.data.cursor ? "+" : ""}`)} note="events and dead letters" />
    <${Tile} label="Waiting" to=${href(["events"], { status: "ENQUEUED" })} value=${waiting ? count(waiting.waiting + (waiting.inFlight || 0) + (waiting.delayed || 0)) : "–"} note=${waiting ? (waiting.oldestSeconds == null ? "in the worker's queue" : `oldest ${duration(waiting.oldestSeconds * 1000)}`) : queues.problem ? "not available" : may("events:admin") ? "…" : "needs events:admin"} />
    <${Tile} label="Open alerts" to="#/alerts" value=${shown(alerts, () => count(open.length))} note="not delivered yet" />
    <${Tile} label="Last reconcile" value=${report ? ago(Date.parse(report.ended)) : "–"} note=${report ? (report.clean ? "the stores agree" : "the stores differ") : reports.problem ? "not available" : may("events:admin") ? "no report yet" : "needs events:admin"} />
  </div>`;
}

function Charts({ stats, query }) {
  const frame = useMemo(() => windowOf(query), [query.span, query.from, query.to, stats.data]);
  const { at, rows } = useMemo(() => fill(stats.data?.items || [], frame), [stats.data, frame]);
  const counts = useMemo(
    () => COUNTS.map((one) => ({ ...one, values: rows.map((row) => row[one.name] || 0) })),
    [rows],
  );
  const times = useMemo(
    () => LATENCIES.map((one) => ({ ...one, values: rows.map((row) => row[one.name] ?? null) })),
    [rows],
  );
  if (stats.problem && [400, 404, 405].includes(stats.problem.status))
    return html`<${Missing} what="Counts over time" />`;
  if (stats.problem && !stats.data) return html`<${Fault} problem=${stats.problem} retry=${stats.reload} />`;
  if (!stats.data)
    return html`<section class="panel counts"><${Skeleton} lines=${6} /></section><section class="panel times"><${Skeleton} lines=${6} /></section>`;
  const iso = (seconds) => new Date(seconds * 1000).toISOString();
  const pick = (from, to, isBrush) =>
    isBrush ? go([], { ...query, from: iso(from), to: iso(to) }) : go(["events"], { from: iso(from), to: iso(to) });
  const total = (name) => count(rows.reduce((sum, row) => sum + (row[name] || 0), 0));
  const summary = `${total("accepted")} accepted, ${total("processed")} processed, ${total("failed")} failed, ${total("rejected")} rejected`;
  const busy = rows
    .map((row, index) => ({ ...row, start: at[index] }))
    .filter((row) => row.accepted || row.processed || row.failed || row.rejected)
    .reverse();
  return html`
    <section class="panel counts" aria-label="Events a ${frame.step}"><div class="panel-head"><h2>Events a ${frame.step}</h2><span class="muted small">${summary}. Drag to zoom, click to see the events.</span></div>
      <${Chart} at=${at} series=${counts} step=${frame.stepMs / 1000} label=${`Events a ${frame.step}: ${summary}`} format=${(value) => count(Math.round(value * 10) / 10)} onPick=${pick} />
      <details><summary>As a table</summary><div class="scroll" tabindex="0" role="group" aria-label="Events over time"><table><thead><tr><th scope="col">From</th>${COUNTS.map((one) => html`<th scope="col" class="num">${one.label}</th>`)}<th scope="col" class="num">p50</th><th scope="col" class="num">p95</th></tr></thead>
        <tbody>${busy.slice(0, 200).map((row) => html`<tr><td><a href=${href(["events"], { from: iso(row.start), to: iso(row.start + frame.stepMs / 1000) })}>${new Date(row.start * 1000).toLocaleString()}</a></td>${COUNTS.map((one) => html`<td class="num">${count(row[one.name])}</td>`)}<td class="num">${duration(row.latencyP50Ms)}</td><td class="num">${duration(row.latencyP95Ms)}</td></tr>`)}</tbody></table></div></details></section>
    <section class="panel times" aria-label="Time to PROCESSED"><div class="panel-head"><h2>Time to PROCESSED</h2><span class="muted small">from acceptance to the end</span></div>
      <${Chart} at=${at} series=${times} step=${frame.stepMs / 1000} label="Time to PROCESSED, p50 and p95" format=${duration} onPick=${pick} /></section>`;
}

function Queues({ queues }) {
  return html`<section class="panel" aria-label="Queues"><h2>Queues</h2><div class="scroll" tabindex="0" role="group" aria-label="Queues"><table><thead><tr><th scope="col">Queue</th><th scope="col" class="num">Waiting</th><th scope="col" class="num">In flight</th><th scope="col" class="num">Delayed</th><th scope="col" class="num">Oldest</th></tr></thead>
    <tbody>${queues.data.items.map((queue) => html`<tr><th scope="row">${queue.name}</th><td class="num">${count(queue.waiting)}</td><td class="num">${count(queue.inFlight)}</td><td class="num">${count(queue.delayed)}</td><td class="num">${queue.oldestSeconds == null ? "–" : duration(queue.oldestSeconds * 1000)}</td></tr>`)}</tbody></table></div></section>`;
}

const words = (counts) =>
  Object.entries(counts)
    .map(([name, number]) => `${name} ${count(number)}`)
    .join(", ") || "none";

function Report({ reports }) {
  return html`<section class="panel" aria-label="Last reconcile"><h2>Last reconcile</h2>
    <${Loaded} state=${reports} what="The report of reconcile" empty=${html`<p class="muted">No report yet. <code>reconcile</code> runs on a schedule in the stage ${stage.name}.</p>`}>
      ${([
        report,
      ]) => html`<p><${Status} of=${report.clean ? "clean" : "differences"} /> <${Time} at=${report.ended} /> <span class="muted">in ${plural(report.runs, "run")}, of what came from <${Time} at=${report.window.from} form="at" /> on</span></p>
        <dl class="facts">${["bronze", "ledger", "silver", "differences"].map((name) => html`<div><dt>${name}</dt><dd>${words(report[name])}</dd></div>`)}
        ${Object.entries(report.examples).map(
          ([name, ids]) =>
            html`<div><dt>${name}</dt><dd>${[ids]
              .flat()
              .slice(0, 5)
              .map((id) => html`<a href=${href(["events", String(id)])}>${String(id)}</a> `)}</dd></div>`,
        )}</dl>`}
    <//></section>`;
}
