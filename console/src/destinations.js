// Where events go as signed webhooks, and what became of each.
import { useState } from "preact/hooks";
import { html } from "./html.js";
import { call, get, may, session } from "./api.js";
import {
  ACTIONS,
  Button,
  confirm,
  count,
  Copy,
  Dialog,
  Empty,
  Fault,
  Field,
  Loaded,
  More,
  Plain,
  Status,
  Table,
  plural,
  readJson,
  tell,
  useLoad,
  usePages,
  useTitle,
} from "./parts.js";
import { go, href } from "./router.js";
import { Time, duration } from "./time.js";

const FORMATS = [
  ["standard", "Standard Webhooks"],
  ["cloudevents", "CloudEvents, structured"],
  ["cloudevents-binary", "CloudEvents, binary"],
];

export function Destinations({ id }) {
  useTitle("Destinations");
  if (id) return html`<${Destination} id=${id} />`;
  return html`<${List} />`;
}

function List() {
  const allowed = may("destinations:read");
  const [making, setMaking] = useState(false);
  const state = usePages(
    (cursor, signal) =>
      allowed ? get("/destinations", { limit: 50, cursor }, signal) : Promise.resolve({ items: [], cursor: null }),
    [allowed],
  );
  return html`<div class="page-head"><h1>Destinations</h1><${Button} kind="primary" scope="destinations:write" onClick=${() => setMaking(true)}>New destination<//></div>
    <p class="muted">HTTPS endpoints that get the events of ${session.self.owner} as signed webhooks.</p>
    ${
      !allowed
        ? html`<p class="note">The list needs a token with the scope destinations:read.</p>`
        : html`<${Loaded} state=${state} what="The list of destinations" empty=${html`<${Empty} title="Events go nowhere else">Make a destination, and each event that matches is sent there.<//>`}>
      ${(items) => html`<${Table} label="Destinations" heads=${["Endpoint", "State", "Gets", "Made"]}>${items.map((one) => html`<tr key=${one.id}><th scope="row" class="long"><a href=${href(["destinations", one.id])}><${Plain} text=${one.url} /></a>${one.description && html` <span class="muted small"><${Plain} text=${one.description} /></span>`}</th><td><${Status} of=${one.state} /></td><td class="long"><${Plain} text=${one.eventTypes.join(", ")} />${one.filter && html` <span class="chip">filter</span>`}</td><td><${Time} at=${one.createdAt} /></td></tr>`)}<//>`}<//><${More} state=${state} />`
    }
    ${
      making &&
      html`<${Editor} title="New destination" onClose=${() => {
        setMaking(false);
        state.reload();
      }} />`
    }`;
}

/** An event type that the destination gets. */
const sample = ([first]) => first.replace(/\*$/, "test");

/** Makes a destination, or changes `before`. */
function Editor({ title, before = null, onClose }) {
  const [url, setUrl] = useState(before?.url ?? "");
  const [types, setTypes] = useState((before?.eventTypes ?? ["*"]).join(", "));
  const [filter, setFilter] = useState(before?.filter ? JSON.stringify(before.filter, null, 2) : "");
  const [format, setFormat] = useState(before?.format ?? "standard");
  const [rate, setRate] = useState(before?.rate?.toString() ?? "");
  const [ordered, setOrdered] = useState(before?.ordered ?? false);
  const [description, setDescription] = useState(before?.description ?? "");
  const [made, setMade] = useState(null);
  const [problem, setProblem] = useState(null);
  const read = filter.trim() ? readJson(filter) : { value: null };
  const save = async (event) => {
    event.preventDefault();
    setProblem(null);
    const body = {
      url: url.trim(),
      eventTypes: types.split(",").map((one) => one.trim()).filter(Boolean),
      filter: read.value,
      format,
      description: description.trim() || null,
      rate: rate ? Number(rate) : null,
      ordered,
      paused: before?.paused ?? false,
    };
    try {
      if (before) {
        await call("PUT", `/destinations/${before.id}`, { body });
        onClose();
      } else setMade(await call("POST", "/destinations", { body }));
    } catch (fault) {
      setProblem(fault);
    }
  };
  if (made) return html`<${Secret} of=${made} onClose=${onClose} />`;
  return html`<${Dialog} title=${title} onClose=${onClose}><form onSubmit=${save}>
    <${Field} label="URL" hint="https, of a public host."><input type="url" required placeholder="https://shop.example.com/hooks" value=${url} onInput=${(event) => setUrl(event.target.value)} /><//>
    <${Field} label="Event types" hint="With commas between them: order.paid, a prefix such as order.*, or *."><input type="text" required value=${types} onInput=${(event) => setTypes(event.target.value)} /><//>
    <${Field} label="Filter" hint="An EventBridge pattern over the envelope and data, or nothing." fault=${read.fault || ""}><textarea rows="3" spellcheck="false" placeholder=${'{"data": {"total": [{"numeric": [">=", 100]}]}}'} value=${filter} onInput=${(event) => setFilter(event.target.value)}></textarea><//>
    <${Field} label="Format"><select value=${format} onChange=${(event) => setFormat(event.target.value)}>${FORMATS.map(([name, label]) => html`<option value=${name}>${label}</option>`)}</select><//>
    <${Field} label="Most deliveries a second" hint="Nothing is no limit."><input type="number" min="1" max="1000" value=${rate} onInput=${(event) => setRate(event.target.value)} /><//>
    <label class="inline"><input type="checkbox" checked=${ordered} onChange=${() => setOrdered(!ordered)} /> <span>In order: events of one source and subject go one at a time</span></label>
    <${Field} label="Description"><input type="text" maxlength="256" value=${description} onInput=${(event) => setDescription(event.target.value)} /><//>
    <${Fault} problem=${problem} /><div class="row end"><button type="button" onClick=${onClose}>Cancel</button><${Button} type="submit" kind="primary" scope="destinations:write" why=${read.fault ? "The filter is no JSON." : ""}>${before ? "Save" : "Make it"}<//></div></form><//>`;
}

function Secret({ of, onClose }) {
  return html`<${Dialog} title="The signing secret" onClose=${onClose}><p><strong>It is shown only now.</strong> The receiver at ${of.url} checks signatures with it${of.previousSecretUntil ? html`; the one before counts until <${Time} at=${of.previousSecretUntil} />` : ""}.</p><div class="code"><pre class="wrap" id="new-secret">${of.secret}</pre><${Copy} text=${of.secret} what="the secret" /></div><div class="row end"><button type="button" class="primary" onClick=${onClose}>I have kept it</button></div><//>`;
}

function Destination({ id }) {
  const state = useLoad((signal) => get(`/destinations/${id}`, {}, signal), [id], 5000);
  const attempts = usePages((cursor, signal) => get(`/destinations/${id}/attempts`, { limit: 50, cursor }, signal), [id]);
  const [editing, setEditing] = useState(false);
  const [rotated, setRotated] = useState(null);
  const one = state.data;
  if (!one)
    return html`<div class="page-head"><h1>Destination</h1></div><${Fault} problem=${state.problem} retry=${state.reload} />`;
  const act = async (what, done) => {
    try {
      await what();
      tell(done);
    } catch (problem) {
      tell(problem.message);
    }
    state.reload();
    attempts.reload();
  };
  const put = (changes) =>
    call("PUT", `/destinations/${id}`, {
      body: {
        url: one.url,
        eventTypes: one.eventTypes,
        filter: one.filter,
        format: one.format,
        description: one.description,
        rate: one.rate,
        ordered: one.ordered,
        paused: one.paused,
        ...changes,
      },
    });
  const retry = (body) => call("POST", `/destinations/${id}/retry`, { body });
  const remove = async () => {
    const text = html`<p>${one.url} gets nothing more. What waits for another attempt is not sent.</p>`;
    if (!(await confirm({ title: "Delete this destination?", text, action: "Delete 1", danger: true }))) return;
    try {
      await call("DELETE", `/destinations/${id}`);
      go(["destinations"]);
    } catch (problem) {
      tell(problem.message);
    }
  };
  const rotate = async () => {
    const text = html`<p>Messages are signed with the secret before too for 24 hours. To end a secret that leaked at once, rotate twice.</p>`;
    if (!(await confirm({ title: "Make a new secret?", text, action: "Rotate" }))) return;
    try {
      setRotated(await call("POST", `/destinations/${id}/rotate`));
    } catch (problem) {
      tell(problem.message);
    }
  };
  const rests = one.state === "paused" || one.state === "disabled";
  const why = rests ? `It is ${one.state}.` : "";
  const since = one.failingSince || one.disabledAt || one.createdAt;
  return html`<div class="page-head"><div><p class="crumb"><a href="#/destinations">Destinations</a></p><h1>Destination <${Status} of=${one.state} /></h1><p class="id"><code>${id}</code></p></div>
      <div class="row wrap">
        ${
          rests
            ? html`<${Button} kind="primary" scope="destinations:write" onClick=${() => act(() => put({ paused: false }), "It gets events again.")}>${one.state === "paused" ? "Go on" : "Enable"}<//>`
            : html`<${Button} scope="destinations:write" onClick=${() => act(() => put({ paused: true }), "Paused: nothing is sent, and nothing kept for it.")}>Pause<//>`
        }
        <${Button} scope="destinations:write" onClick=${() => setEditing(true)}>Change …<//><${Button} scope="destinations:write" onClick=${rotate}>Rotate the secret …<//><${Button} kind="danger" scope="destinations:write" onClick=${remove}>Delete …<//></div></div>
    ${one.disabledAt && html`<p class="note">Disabled <${Time} at=${one.disabledAt} form="ago" />: ${one.disabledReason === "gone" ? "it answered 410" : "no attempt succeeded for five days"}. Enable it, then send again what it missed.</p>`}
    ${one.failingSince && !one.disabledAt && html`<p class="note">No attempt has succeeded since <${Time} at=${one.failingSince} />.</p>`}
    <section class="panel" aria-label="What it is"><dl class="facts"><div><dt>URL</dt><dd class="long"><${Plain} text=${one.url} /></dd></div><div><dt>Owner</dt><dd><${Plain} text=${one.owner} /></dd></div><div><dt>Gets</dt><dd class="long"><${Plain} text=${one.eventTypes.join(", ")} /></dd></div>${one.filter && html`<div><dt>Filter</dt><dd class="long"><code>${JSON.stringify(one.filter)}</code></dd></div>`}<div><dt>Format</dt><dd>${FORMATS.find(([name]) => name === one.format)?.[1]}</dd></div>${one.rate && html`<div><dt>At most</dt><dd>${count(one.rate)} a second</dd></div>`}${one.ordered && html`<div><dt>Order</dt><dd>one at a time for each source and subject</dd></div>`}${one.headerNames.length > 0 && html`<div><dt>Headers</dt><dd>${one.headerNames.join(", ")}</dd></div>`}${one.previousSecretUntil && html`<div><dt>Old secret</dt><dd>until <${Time} at=${one.previousSecretUntil} /></dd></div>`}<div><dt>Newest 100</dt><dd>${count(one.recent.delivered)} delivered, ${count(one.recent.waiting)} waiting, ${count(one.recent.failed)} failed${one.recent.successRate != null ? `: ${(one.recent.successRate * 100).toFixed(1)} %` : ""}</dd></div><div><dt>Made</dt><dd><${Time} at=${one.createdAt} /></dd></div></dl></section>
    <section class="panel" aria-label="Deliveries"><h2>Deliveries</h2><div class="row wrap"><${Button} scope="destinations:write" why=${why} onClick=${() => act(() => retry({ failedSince: since }), "What failed is sent again.")}>Send failed ones again<//><${Button} scope="destinations:write" why=${why} onClick=${() => act(() => retry({ from: since }), "What was missed is being sent.")}>Send what it missed<//><a href=${href(["send"], { eventType: sample(one.eventTypes) })}>Send a test event</a><button type="button" onClick=${attempts.reload}>Load again</button><span class="muted small">of events since <${Time} at=${since} /></span></div>
      <${Loaded} state=${attempts} what="The list of deliveries" empty=${html`<p class="muted">Nothing was sent yet.</p>`}>
      ${(items) => html`<${Table} label="Deliveries" heads=${["Event", "State", "Last answer", "Attempts", "Next", ACTIONS]}>${items.map((delivery) => {
        const last = delivery.attempts[delivery.attempts.length - 1];
        return html`<tr key=${delivery.eventId}><th scope="row" class="long"><a href=${href(["events", delivery.eventId])}><${Plain} text=${delivery.eventType} /></a> <span class="muted small"><${Time} at=${delivery.receivedAt} /></span></th><td><${Status} of=${delivery.state} /></td><td class="long">${last ? html`${last.status ?? "none"} in ${duration(last.millis)}${last.code && html` <span class="muted small"><${Plain} text=${last.code} /></span>`}${last.answer && html`<br /><span class="muted small"><${Plain} text=${last.answer.slice(0, 200)} /></span>`}` : delivery.code || "–"}</td><td>${plural(delivery.attempts.length, "attempt")}</td><td>${delivery.nextAt ? (Date.parse(delivery.nextAt) > Date.now() ? html`<${Time} at=${delivery.nextAt} form="ago" />` : "in its turn") : "–"}</td><td><${Button} scope="destinations:write" why=${why} aria-label=${`Send the event ${delivery.eventId} again`} onClick=${() => act(() => retry({ eventId: delivery.eventId }), "It is sent again.")}>Send again<//></td></tr>`;
      })}<//>`}<//><${More} state=${attempts} /></section>
    ${
      editing &&
      html`<${Editor} title="Change the destination" before=${one} onClose=${() => {
        setEditing(false);
        state.reload();
      }} />`
    }
    ${
      rotated &&
      html`<${Secret} of=${rotated} onClose=${() => {
        setRotated(null);
        state.reload();
      }} />`
    }`;
}
