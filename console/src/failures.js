// What failed, was rejected or set aside: grouped by type, class and code, and what to do with a group.
import { useState } from "preact/hooks";
import { html } from "./html.js";
import { call, get, may } from "./api.js";
import { redriveAll, redriveSome } from "./actions.js";
import { CLASSES } from "./event.js";
import {
  Button,
  Empty,
  Fault,
  Loaded,
  More,
  Plain,
  Skeleton,
  confirm,
  count,
  plural,
  tell,
  useLoad,
  usePages,
  useTitle,
} from "./parts.js";
import { go, href } from "./router.js";
import { Time } from "./time.js";

const TABS = { failed: "Failed", rejected: "Rejected", messages: "Dead letters" };
const LOOKED_AT = 1000;

/** Pages of a list until `most` entries; `more` says that there are others. */
async function upTo(most, path, query, signal) {
  const items = [];
  let cursor = null;
  do {
    const page = await get(path, { ...query, limit: 100, cursor }, signal);
    items.push(...page.items);
    cursor = page.cursor;
  } while (cursor && items.length < most);
  return { items, more: Boolean(cursor) };
}

/** How many events each group has, by its name. */
async function total(signal) {
  const counts = new Map();
  let cursor = null;
  let pages = 0;
  do {
    const page = await get("/failures", { status: "FAILED", cursor }, signal);
    for (const one of page.items) {
      const name = JSON.stringify([one.eventType, one.class, one.code]);
      counts.set(name, (counts.get(name) || 0) + one.count);
    }
    cursor = page.cursor;
    pages++;
  } while (cursor && pages < 10);
  return counts;
}

/** What a failed event and a FAILED or REJECTED one of the list have in common. */
const asFailed = (event) => ({
  eventId: event.eventId,
  eventType: event.eventType,
  owner: event.owner,
  reason: event.lastError,
  failedAt: event.updatedAt,
  attempts: event.attempts,
  redrivable: event.status === "FAILED",
});

async function failed(signal) {
  if (!may("events:admin")) {
    const found = await upTo(LOOKED_AT, "/events", { status: "FAILED" }, signal);
    return { ...found, items: found.items.map(asFailed) };
  }
  const found = await upTo(LOOKED_AT, "/dead-letters", {}, signal);
  return {
    items: found.items.filter((item) => item.kind !== "message"),
    messages: found.items.filter((item) => item.kind === "message"),
    more: found.more,
  };
}

export function grouped(items) {
  const groups = new Map();
  for (const item of items) {
    const reason = item.reason || { class: "unknown", code: "unknown", message: "" };
    const name = JSON.stringify([item.eventType, reason.class, reason.code]);
    const group = groups.get(name) || {
      name,
      eventType: item.eventType,
      class: reason.class,
      code: reason.code,
      message: reason.message,
      items: [],
      first: item.failedAt,
      last: item.failedAt,
    };
    group.items.push(item);
    if (item.failedAt < group.first) group.first = item.failedAt;
    if (item.failedAt > group.last) group.last = item.failedAt;
    groups.set(name, group);
  }
  return [...groups.values()].sort((one, other) => (one.last < other.last ? 1 : -1));
}

export function Failures({ query }) {
  useTitle("Failures");
  const tab = TABS[query.tab] ? query.tab : "failed";
  return html`<div class="page-head"><h1>Failures</h1><div class="tabs" role="group" aria-label="Kind">${Object.entries(TABS).map(([name, label]) => html`<button type="button" aria-pressed=${name === tab} onClick=${() => go(["failures"], name === "failed" ? {} : { tab: name })}>${label}</button>`)}</div></div>
    ${tab === "failed" ? html`<${Failed} query=${query} />` : tab === "rejected" ? html`<${Rejected} query=${query} />` : html`<${Messages} />`}`;
}

function Failed({ query }) {
  const [busy, setBusy] = useState("");
  const state = useLoad(failed, [], 10_000);
  // The stage's own count knows of failures that are not loaded here.
  const totals = useLoad((signal) => total(signal).catch(() => null), [], 30_000);
  if (!state.data)
    return state.problem ? html`<${Fault} problem=${state.problem} retry=${state.reload} />` : html`<${Skeleton} />`;
  const { items, more } = state.data;
  const groups = grouped(items);
  const totalOf = (group) => totals.data?.get(group.name);
  const all = async () => {
    const text = html`<p>${more ? `More than ${count(items.length)}` : count(items.length)} events in ${plural(groups.length, "group")} go back to the worker's queue, each under its own id.</p>`;
    if (
      !(await confirm({
        title: `Redrive all ${more ? `${count(items.length)}+` : count(items.length)} failed events?`,
        text,
        action: "Redrive all",
      }))
    )
      return;
    setBusy("all");
    try {
      const { redriven, skipped } = await redriveAll({ all: true });
      tell(`${plural(redriven, "event")} redriven${skipped ? `, ${count(skipped)} skipped` : ""}.`);
    } catch (problem) {
      tell(`It stopped: ${problem.message}`);
    }
    setBusy("");
    state.reload();
  };
  const some = async (group) => {
    const ids = group.items.filter((item) => item.redrivable).map((item) => item.eventId);
    setBusy(group.name);
    if (await redriveSome(ids, `${group.eventType}, ${group.code}.`)) state.reload();
    setBusy("");
  };
  if (!groups.length)
    return html`<${Empty} title="Nothing has failed">Events that fail will be here, grouped by type and error, with a button to redrive them.<//>`;
  return html`
    <div class="row wrap spread"><p class="muted">${more ? "The newest " : ""}${plural(items.length, "failed event")} in ${plural(groups.length, "group")}.</p>
      <${Button} scope="events:admin" busy=${busy === "all"} onClick=${all}>Redrive all<//></div>
    ${groups.map((group) => {
      const isOpen = query.group === group.name || groups.length === 1;
      const total = totalOf(group);
      return html`<section class="panel group" key=${group.name} aria-label=${`${group.eventType}, ${group.code}`}>
        <div class="panel-head"><div><h2 class="long"><${Plain} text=${group.eventType} /></h2><p class="long"><span class="badge bad">${group.class}</span> <code><${Plain} text=${group.code} /></code> <${Plain} text=${group.message} /></p>
          <p class="muted small">${plural(group.items.length, "event")}${total > group.items.length ? ` of ${count(total)}` : ""}, first <${Time} at=${group.first} />, last <${Time} at=${group.last} /></p></div>
          <div class="row"><${Button} kind="primary" scope="events:admin" busy=${busy === group.name} onClick=${() => some(group)}>Redrive ${count(group.items.length)}<//>
          ${groups.length > 1 && html`<button type="button" aria-expanded=${isOpen} onClick=${() => go(["failures"], { group: isOpen ? "" : group.name }, { replace: true })}>${isOpen ? "Fold" : "Show events"}</button>`}</div></div>
        <p class="small">${CLASSES[group.class]?.means} <strong>${CLASSES[group.class]?.press}</strong></p>
        ${isOpen && html`<${List} items=${group.items} reload=${state.reload} />`}</section>`;
    })}`;
}

function List({ items, reload }) {
  const [shown, setShown] = useState(50);
  return html`<div class="scroll" tabindex="0" role="group" aria-label="Events of the group"><table><thead><tr><th scope="col">Event</th><th scope="col">Owner</th><th scope="col">Failed</th><th scope="col" class="num">Attempts</th><th scope="col"><span class="hidden">Redrive</span></th></tr></thead>
    <tbody>${items.slice(0, shown).map(
      (
        item,
      ) => html`<tr key=${item.eventId}><th scope="row"><a href=${href(["events", item.eventId])}>${item.eventId}</a></th><td><${Plain} text=${item.owner} /></td><td><${Time} at=${item.failedAt} /></td><td class="num">${item.attempts}</td>
      <td>${item.redrivable !== false ? html`<${Button} scope="events:admin" aria-label=${`Redrive the event ${item.eventId}`} onClick=${async () => (await redriveSome([item.eventId])) && reload()}>Redrive<//>` : html`<span class="muted small">${item.whyNot}</span>`}</td></tr>`,
    )}</tbody></table></div>
    ${items.length > shown && html`<p><button type="button" onClick=${() => setShown(shown + 200)}>${count(items.length - shown)} more</button></p>`}`;
}

function Rejected() {
  const state = useLoad((signal) => upTo(LOOKED_AT, "/events", { status: "REJECTED" }, signal), [], 15_000);
  if (!state.data)
    return state.problem ? html`<${Fault} problem=${state.problem} retry=${state.reload} />` : html`<${Skeleton} />`;
  const groups = grouped(state.data.items.map(asFailed));
  if (!groups.length)
    return html`<${Empty} title="Nothing was rejected">A payload that breaks the <a href="#/schemas">schema</a> of its type is kept here with the reason.<//>`;
  return html`<p class="muted">Rejected events were never processed. Tell the sender; or correct the schema, and replay them.</p>
    ${groups.map(
      (
        group,
      ) => html`<section class="panel group" key=${group.name} aria-label=${`${group.eventType}, ${group.code}`}><div class="panel-head"><div><h2 class="long"><${Plain} text=${group.eventType} /></h2><p class="long"><code><${Plain} text=${group.code} /></code> <${Plain} text=${group.message} /></p><p class="muted small">${plural(group.items.length, "event")}, first <${Time} at=${group.first} />, last <${Time} at=${group.last} /></p></div>
      <div class="row wrap"><a class="button" href=${href(["schemas", group.eventType])}>Its schema</a><a class="button" href=${href(["events"], { eventType: group.eventType, status: "REJECTED" })}>See them</a><a class="button" href=${href(["replays"], { eventType: group.eventType, status: "REJECTED" })}>Replay …</a></div></div></section>`,
    )}`;
}

function Messages() {
  const allowed = may("events:admin");
  const state = usePages(
    (cursor, signal) =>
      allowed
        ? get("/dead-letters", { limit: 100, cursor }, signal).then((page) => ({
            ...page,
            items: page.items.filter((item) => item.kind === "message"),
          }))
        : Promise.resolve({ items: [], cursor: null }),
    [allowed],
  );
  if (!allowed) return html`<p class="note">This needs a token with the scope events:admin.</p>`;
  const send = async (item) => {
    if (
      !(await confirm({
        title: "Redrive this message?",
        text: html`<p>It goes back to the queue it came from.</p>`,
        action: "Redrive 1",
      }))
    )
      return;
    try {
      const done = await call("POST", "/dead-letters/redrive", {
        body: { queue: item.queue, messageId: item.messageId },
      });
      tell(done.redriven ? "Redriven." : `Not redriven: ${done.skipped[0]?.reason}`);
    } catch (problem) {
      tell(`Not redriven: ${problem.message}`);
    }
    state.reload();
  };
  return html`<${Loaded} state=${state} what="The list of dead letters" empty=${html`<${Empty} title="No dead letters">The dead-letter queues are empty: nothing was set aside.<//>`}>
    ${(items) => html`<div class="scroll" tabindex="0" role="group" aria-label="Messages"><table><thead><tr><th scope="col">Queue</th><th scope="col">Message</th><th scope="col">Why</th><th scope="col">Sent</th><th scope="col"><span class="hidden">Redrive</span></th></tr></thead><tbody>${items.map((item) => html`<tr key=${item.messageId}><th scope="row">${item.queue}</th><td><code>${item.messageId}</code></td><td class="long">${Object.entries(item.reason).map(([name, value]) => html`<div>${name}: <${Plain} text=${value} /></div>`)}</td><td><${Time} at=${item.sentAt} /></td><td>${item.redrivable ? html`<${Button} scope="events:admin" onClick=${() => send(item)}>Redrive<//>` : html`<span class="muted small">${item.whyNot}</span>`}</td></tr>`)}</tbody></table></div>`}
  <//><${More} state=${state} />`;
}
