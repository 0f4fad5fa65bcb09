// Many events again: choose a window, count, start at a rate, watch, abort.
import { useEffect, useState } from "preact/hooks";
import { html } from "./html.js";
import { call, get, isMissing, may } from "./api.js";
import {
  Button,
  Empty,
  Fault,
  Field,
  Input,
  Loaded,
  More,
  Plain,
  Status,
  confirm,
  count,
  plural,
  tell,
  useLoad,
  usePages,
  useTitle,
} from "./parts.js";
import { go, href } from "./router.js";
import { useTypes } from "./events.js";
import { Time, duration, fromInput, toInput } from "./time.js";

export function Replays({ id, query }) {
  useTitle("Replays");
  if (id) return html`<${Replay} id=${id} />`;
  return html`<div class="page-head"><h1>Replays</h1></div><${Start} query=${query} /><${List} />`;
}

function Start({ query }) {
  const types = useTypes();
  const [rate, setRate] = useState("50");
  const [counted, setCounted] = useState(null);
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const set = (changes) => {
    setCounted(null);
    go(["replays"], { ...query, ...changes }, { replace: true });
  };
  const order = () => ({
    ...Object.fromEntries(
      ["eventType", "status", "from", "to", "owner"].filter((name) => query[name]).map((name) => [name, query[name]]),
    ),
    ...(query.includeReplays ? { includeReplays: true } : {}),
    rate: Number(rate),
  });
  const ask = async (dryRun) => {
    setBusy(true);
    setProblem(null);
    try {
      return await call("POST", "/replays", { body: { ...order(), dryRun } });
    } catch (fault) {
      setProblem(fault);
      return null;
    } finally {
      setBusy(false);
    }
  };
  const start = async () => {
    const found = counted || (await ask(true));
    if (!found) return;
    const text = html`<p>${found.atLeast ? "At least " : ""}${plural(found.matched, "event")} become new events, at most ${rate} a second${found.estimatedSeconds ? `: about ${duration(found.estimatedSeconds * 1000)}` : ""}. Consumers of the bus see them again. You can abort it at any time.</p>`;
    if (
      !(await confirm({
        title: `Replay ${found.atLeast ? "at least " : ""}${plural(found.matched, "event")}?`,
        text,
        action: `Replay ${count(found.matched)}`,
      }))
    )
      return;
    const made = await ask(false);
    if (made) go(["replays", made.id]);
  };
  return html`<section class="panel" aria-label="New replay"><h2>New replay</h2>
    <form onSubmit=${async (event) => {
      event.preventDefault();
      setCounted(await ask(true));
    }}>
      <div class="row wrap bottom">
        <${Field} label="Type"><${Input} type="text" list="replay-types" placeholder="any" value=${query.eventType || ""} onText=${(text) => set({ eventType: text })} /><//><datalist id="replay-types">${types.map((one) => html`<option value=${one}></option>`)}</datalist>
        <${Field} label="Status"><select value=${query.status || ""} onChange=${(event) => set({ status: event.target.value })}><option value="">any</option>${["PROCESSED", "FAILED", "REJECTED"].map((one) => html`<option value=${one}>${one}</option>`)}</select><//>
        <${Field} label="From"><${Input} type="datetime-local" step="1" value=${toInput(query.from)} onText=${(text) => set({ from: fromInput(text) })} /><//>
        <${Field} label="To"><${Input} type="datetime-local" step="1" value=${toInput(query.to)} onText=${(text) => set({ to: fromInput(text) })} /><//>
        ${may("admin") && html`<${Field} label="Owner"><${Input} type="text" placeholder="any" value=${query.owner || ""} onText=${(text) => set({ owner: text })} /><//>`}
        <${Field} label="Events a second"><input type="number" min="1" max="500" required value=${rate} onInput=${(
          event,
        ) => {
          setCounted(null);
          setRate(event.target.value);
        }} /><//>
        <label class="inline"><input type="checkbox" checked=${Boolean(query.includeReplays)} onChange=${() => set({ includeReplays: query.includeReplays ? "" : "yes" })} /> <span>Replays too</span></label></div>
      <div class="row wrap"><${Button} type="submit" scope="events:admin" busy=${busy}>Count<//><${Button} kind="primary" scope="events:admin" busy=${busy} why=${counted && !counted.matched ? "No event matches." : ""} onClick=${start}>Start …<//>
        <span role="status">${counted && html`<strong>${counted.atLeast ? "At least " : ""}${plural(counted.matched, "event")}</strong> ${counted.matched === 1 ? "matches" : "match"}${counted.estimatedSeconds ? `, about ${duration(counted.estimatedSeconds * 1000)}` : ""}.`}</span></div>
    </form><${Fault} problem=${problem} /></section>`;
}

const words = (filter) =>
  [filter.eventType || "all types", filter.status, filter.owner && `owner ${filter.owner}`].filter(Boolean).join(", ");

function List() {
  const allowed = may("events:admin");
  const state = usePages(
    (cursor, signal) =>
      allowed ? get("/replays", { limit: 50, cursor }, signal) : Promise.resolve({ items: [], cursor: null }),
    [allowed],
  );
  if (!allowed) return html`<p class="note">The list of replays needs a token with the scope events:admin.</p>`;
  return html`<section class="panel" aria-label="Earlier replays"><h2>Earlier replays</h2><${Loaded} state=${state} what="The list of replays" empty=${html`<${Empty} title="No replay yet">Choose a window above, and count what it holds.<//>`}>
    ${(
      items,
    ) => html`<div class="scroll" tabindex="0" role="group" aria-label="Replays"><table><thead><tr><th scope="col">Started</th><th scope="col">Status</th><th scope="col">What</th><th scope="col" class="num">Matched</th><th scope="col" class="num">Done</th><th scope="col" class="num">Failed</th></tr></thead>
      <tbody>${items.map((one) => html`<tr key=${one.id}><th scope="row"><a href=${href(["replays", one.id])}><${Time} at=${one.startedAt} /></a></th><td><${Status} of=${one.status} />${one.stalled && html` <span class="chip">no step for minutes</span>`}</td><td class="long"><${Plain} text=${words(one.filter)} /></td><td class="num">${count(one.matched)}</td><td class="num">${count(one.done)}</td><td class="num">${count(one.failed)}</td></tr>`)}</tbody></table></div>`}
  <//><${More} state=${state} /></section>`;
}

function Replay({ id }) {
  const [every, setEvery] = useState(1000);
  const state = useLoad((signal) => get(`/replays/${id}`, {}, signal), [id], every);
  const one = state.data;
  useEffect(() => setEvery(!one || one.status === "RUNNING" ? 1000 : 0), [one?.status]);
  const abort = async () => {
    if (
      !(await confirm({
        title: "Abort this replay?",
        text: html`<p>What was replayed so far stays; the rest is left.</p>`,
        action: "Abort",
        danger: true,
      }))
    )
      return;
    try {
      await call("DELETE", `/replays/${id}`);
      tell("Aborted.");
    } catch (problem) {
      tell(`Not aborted: ${problem.message}`);
    }
    state.reload();
  };
  if (!one)
    return html`<div class="page-head"><h1>Replay</h1></div><${Fault} problem=${state.problem} retry=${state.reload} />`;
  const percent = Math.round((one.status === "DONE" ? 1 : one.progress) * 100);
  const again = {
    eventType: one.filter.eventType,
    status: one.filter.status,
    from: one.filter.from,
    to: one.filter.to,
    owner: one.filter.owner,
  };
  return html`<div class="page-head"><div><p class="crumb"><a href="#/replays">Replays</a></p><h1>Replay <${Status} of=${one.status} /></h1><p class="id"><code>${id}</code></p></div>
      <div class="row"><${Button} kind="danger" scope="events:admin" why=${one.status === "RUNNING" ? "" : "It is over."} onClick=${abort}>Abort<//><a class="button" href=${href(["replays"], again)}>Once more …</a></div></div>
    ${state.problem && !isMissing(state.problem) && html`<${Fault} problem=${state.problem} retry=${state.reload} />`}
    <section class="panel" aria-label="Progress"><label class="field"><span>Progress</span><progress max="100" value=${percent}>${percent} %</progress></label><p role="status">${percent} %: ${count(one.done)} handed to the worker of ${count(one.matched)} matched so far, ${count(one.failed)} failed, ${count(one.skipped)} skipped${one.status === "RUNNING" && one.estimatedSecondsLeft != null ? `, about ${duration(one.estimatedSecondsLeft * 1000)} left` : ""}.</p>
      ${one.stalled && html`<p class="note">No step for five minutes: its message waits behind a backlog, or is lost. <code>reconcile</code> sends it again, and it goes on where it was.</p>`}
      ${one.lastFailure && html`<p class="bad long">Last failure: ${Object.entries(one.lastFailure).map(([name, value]) => html`${name} <${Plain} text=${value} /> `)}</p>`}
      <dl class="facts"><div><dt>What</dt><dd class="long"><${Plain} text=${words(one.filter)} /></dd></div><div><dt>From</dt><dd><${Time} at=${one.filter.from} /></dd></div><div><dt>To</dt><dd><${Time} at=${one.filter.to} /></dd></div><div><dt>Rate</dt><dd>at most ${one.rate} a second, now ${one.eventsPerSecond.toFixed(1)}</dd></div><div><dt>Started</dt><dd><${Time} at=${one.startedAt} /></dd></div><div><dt>Finished</dt><dd><${Time} at=${one.finishedAt} /></dd></div></dl>
      <p><a href=${href(["events"], { eventType: one.filter.eventType, from: one.startedAt })}>Events since it started</a></p></section>`;
}
