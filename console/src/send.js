// Send an event, a batch or a CloudEvent, and follow it to its end.
import { useEffect, useMemo, useState } from "preact/hooks";
import { html } from "./html.js";
import { API_URL, get, request } from "./api.js";
import { Button, Code, Fault, Field, Plain, Status, curl, plural, readJson, useLoad, useTitle } from "./parts.js";
import { go, href } from "./router.js";
import { check, sample } from "./schema.js";
import { useTypes } from "./events.js";
import { Time, duration } from "./time.js";

const FORMS = { event: "Event", batch: "Batch", cloudevent: "CloudEvent" };
const TYPES = { event: "application/json", batch: "application/json", cloudevent: "application/cloudevents+json" };
const pretty = (value) => JSON.stringify(value, null, 2);

/** The body to begin with. `made` is what the schema of the type takes. */
function first(form, eventType, made) {
  const type = eventType || "demo";
  const data = made && typeof made === "object" && !Array.isArray(made) ? made : { message: "hello" };
  if (form === "batch") return pretty({ events: [1, 2, 3].map((number) => ({ eventType: type, ...data, number })) });
  if (form === "cloudevent")
    return pretty({
      specversion: "1.0",
      id: crypto.randomUUID(),
      source: "/console",
      type,
      time: new Date().toISOString(),
      datacontenttype: "application/json",
      data,
    });
  return pretty({ eventType: type, ...data });
}

/** What is wrong with a body, as far as one can tell before it is sent. */
export function faultsOf(form, value, schemas) {
  const at = (pointer, detail) => [{ pointer, detail }];
  const isObject = (one) => one !== null && typeof one === "object" && !Array.isArray(one);
  const one = (event, pointer) => {
    if (!isObject(event)) return at(pointer, "must be an object");
    if (typeof event.eventType !== "string" || !event.eventType)
      return at(`${pointer}/eventType`, "must be a text: what kind of event it is");
    const schema = schemas[event.eventType];
    return schema ? check(event, schema).map((fault) => ({ ...fault, pointer: pointer + fault.pointer })) : [];
  };
  if (form === "event") return one(value, "");
  if (form === "batch") {
    if (!isObject(value) || !Array.isArray(value.events) || !value.events.length)
      return at("/events", "must be a list of 1 to 500 events");
    if (value.events.length > 500) return at("/events", "must have at most 500 events");
    return value.events.flatMap((event, index) => one(event, `/events/${index}`));
  }
  if (!isObject(value)) return at("", "must be an object");
  const missing = ["specversion", "id", "source", "type"].filter(
    (name) => typeof value[name] !== "string" || !value[name],
  );
  if (missing.length) return missing.map((name) => ({ pointer: `/${name}`, detail: "must be there" }));
  const schema = schemas[value.type];
  return schema ? check(value.data, schema).map((fault) => ({ ...fault, pointer: `/data${fault.pointer}` })) : [];
}

function python(form, body, key) {
  const path = form === "batch" ? "/events/batch" : "/events";
  return `import os
import requests

body = r'''${body.replaceAll("'''", "\\'\\'\\'")}'''
answer = requests.post(
    "${API_URL}${path}",
    data=body.encode(),
    headers={
        "Authorization": f"Bearer {os.environ['API_TOKEN']}",
        "Content-Type": "${TYPES[form]}",${key ? `\n        "Idempotency-Key": ${JSON.stringify(key)},` : ""}
    },
    timeout=30,
)
answer.raise_for_status()
print(answer.json())`;
}

export function Send({ query }) {
  useTitle("Send");
  const form = FORMS[query.form] ? query.form : "event";
  const [type, setType] = useState(query.eventType || "demo");
  const [text, setText] = useState(() => first(form, query.eventType || "demo", null));
  const [key, setKey] = useState("");
  const [schemas, setSchemas] = useState({});
  const [problem, setProblem] = useState(null);
  const [answer, setAnswer] = useState(null);
  const [busy, setBusy] = useState(false);
  const types = useTypes();
  useEffect(() => setText(first(form, type, schemas[type] ? sample(schemas[type]) : null)), [form]);
  const read = useMemo(() => readJson(text), [text]);
  const used = useMemo(() => {
    const value = read.value;
    const events = form === "batch" ? value?.events || [] : [value];
    return [
      ...new Set(
        Array.isArray(events) ? events.map((event) => (form === "cloudevent" ? event?.type : event?.eventType)) : [],
      ),
    ]
      .filter((one) => typeof one === "string" && types.includes(one))
      .slice(0, 20);
  }, [read, types, form]);
  useEffect(() => {
    for (const name of used) {
      if (!(name in schemas))
        get(`/schemas/${encodeURIComponent(name)}`).then(
          (found) => setSchemas((before) => ({ ...before, [name]: found.schema })),
          () => {},
        );
    }
  }, [used.join("\n")]);
  const faults = read.fault ? [{ pointer: "", detail: read.fault }] : faultsOf(form, read.value, schemas);
  const path = form === "batch" ? "/events/batch" : "/events";
  const headers = { "Content-Type": TYPES[form], ...(key && form !== "batch" ? { "Idempotency-Key": key } : {}) };
  const make = async () => {
    let made = null;
    if (types.includes(type)) {
      const found = schemas[type] || (await get(`/schemas/${encodeURIComponent(type)}`)).schema;
      made = sample(found);
    }
    setText(first(form, type, made));
  };
  const send = async (event) => {
    event?.preventDefault();
    if (busy || read.fault) return;
    setBusy(true);
    setProblem(null);
    setAnswer(null);
    try {
      const got = await request("POST", path, { body: text, headers });
      setAnswer({ ...(await got.json()), repeated: got.headers.get("Idempotent-Replayed") === "true", form });
    } catch (fault) {
      setProblem(fault);
    }
    setBusy(false);
  };
  return html`<div class="page-head"><h1>Send</h1><div class="tabs" role="group" aria-label="Form">${Object.entries(FORMS).map(([name, label]) => html`<button type="button" aria-pressed=${name === form} onClick=${() => go(["send"], { form: name, eventType: type })}>${label}</button>`)}</div></div>
    <form class="panel" onSubmit=${send}>
      <div class="row wrap bottom"><${Field} label="Type"><input type="text" list="send-types" value=${type} onInput=${(event) => setType(event.target.value)} /><//><datalist id="send-types">${types.map((one) => html`<option value=${one}></option>`)}</datalist>
        <button type="button" onClick=${() => make().catch(setProblem)}>Make a sample</button>
        ${form !== "batch" && html`<${Field} label="Idempotency key (optional)"><input type="text" value=${key} maxlength="255" onInput=${(event) => setKey(event.target.value)} /><//>`}</div>
      <${Field} label="Body" wide=${true}><textarea class="mono" rows=${Math.min(24, Math.max(10, text.split("\n").length + 1))} spellcheck="false" value=${text} onInput=${(event) => setText(event.target.value)}></textarea><//>
      <div role="status">${faults.length ? html`<ul class="faults">${faults.slice(0, 10).map((fault) => html`<li><code>${fault.pointer || "the body"}</code> ${fault.detail}</li>`)}${faults.length > 10 && html`<li>and ${faults.length - 10} more</li>`}</ul>` : html`<p class="good-text small">✓ Nothing to object to${used.length ? `; checked against the schema of ${used.join(", ")}` : ""}.</p>`}</div>
      <div class="row"><${Button} type="submit" kind="primary" scope="events:write" why=${read.fault ? "The body is not JSON." : ""} busy=${busy}>${faults.length && !read.fault ? "Send all the same" : "Send"}<//></div>
    </form>
    <${Fault} problem=${problem} />
    ${answer && (answer.form === "batch" ? html`<${Verdicts} results=${answer.results} />` : html`<${Follow} id=${answer.eventId} repeated=${answer.repeated} />`)}
    <details class="panel"><summary>As curl and Python</summary><${Code} text=${curl("POST", path, text, headers)} what="the curl line" /><${Code} text=${python(form, text, form === "batch" ? "" : key)} what="the Python code" /></details>`;
}

/** The event, until it is at its end. */
function Follow({ id, repeated }) {
  const [every, setEvery] = useState(500);
  const state = useLoad((signal) => get(`/events/${id}`, {}, signal), [id], every);
  const event = state.data;
  const isOver = event && !["RECEIVED", "ENQUEUED"].includes(event.status);
  useEffect(() => setEvery(isOver ? 0 : 500), [isOver]);
  return html`<section class="panel" aria-label="Answer"><h2>Accepted</h2>
    ${repeated && html`<p class="note">This key was used before: this is the answer of then.</p>`}
    <p class="long"><a href=${href(["events", id])}>${id}</a></p><div role="status">${
      event &&
      html`<p><${Status} of=${event.status} /> ${isOver ? html`after ${duration(Date.parse(event.updatedAt) - Date.parse(event.receivedAt))}` : "following it …"}</p>
      <ol class="timeline">${(event.timeline || []).map((step) => html`<li><${Status} of=${step.status} /> <${Time} at=${step.at} form="at" /></li>`)}</ol>
      ${event.lastError && html`<p class="long bad"><code>${event.lastError.code}</code> <${Plain} text=${event.lastError.message} /></p>`}`
    }</div>
    ${state.problem && html`<${Fault} problem=${state.problem} />`}</section>`;
}

function Verdicts({ results }) {
  const count = (status) => results.filter((one) => one.status === status).length;
  return html`<section class="panel" aria-label="Answer"><h2>Answer</h2><p>${plural(count("accepted"), "event")} accepted, ${count("duplicate")} repeated, ${count("rejected")} rejected, ${count("failed")} to send again.</p>
    <div class="scroll" tabindex="0" role="group" aria-label="Verdicts"><table><thead><tr><th scope="col" class="num">Item</th><th scope="col">Verdict</th><th scope="col">Event</th><th scope="col">Why</th></tr></thead>
    <tbody>${results.slice(0, 500).map((one) => html`<tr><td class="num">${one.index}</td><td>${one.status}</td><td>${one.eventId ? html`<a href=${href(["events", one.eventId])}>${one.eventId}</a>` : "–"}</td><td class="long">${one.errors.map((fault) => html`<div><code>${fault.pointer}</code> ${fault.detail}</div>`)}</td></tr>`)}</tbody></table></div></section>`;
}
