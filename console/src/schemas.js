// Schemas: the list, one with its versions and a diff, a trial, and a new version with a warning first.
import { useEffect, useMemo, useState } from "preact/hooks";
import { html } from "./html.js";
import { call, get, isMissing, request } from "./api.js";
import { each } from "./actions.js";
import {
  Button,
  Copy,
  Dialog,
  Empty,
  Fault,
  Field,
  Loaded,
  More,
  Plain,
  confirm,
  plural,
  readJson,
  tell,
  useLoad,
  usePages,
  useTitle,
} from "./parts.js";
import { go, href } from "./router.js";
import { check, diff, sample } from "./schema.js";
import { Time } from "./time.js";

const START = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  required: ["eventType"],
  properties: { eventType: { type: "string" } },
};
const LOOKED_AT = 100;
const pretty = (value) => JSON.stringify(value, null, 2);
const at = (type, version) => get(`/schemas/${encodeURIComponent(type)}`, { version });

export function Schemas({ type, query }) {
  return type ? html`<${One} key=${type} type=${type} query=${query} />` : html`<${List} />`;
}

function List() {
  useTitle("Schemas");
  const [name, setName] = useState("");
  const state = usePages((cursor, signal) => get("/schemas", { limit: 100, cursor }, signal), []);
  return html`<div class="page-head"><h1>Schemas</h1></div>
    <form class="panel row wrap bottom" onSubmit=${(event) => {
      event.preventDefault();
      if (name.trim()) go(["schemas", name.trim()]);
    }}><${Field} label="Type"><input type="text" required maxlength="128" value=${name} onInput=${(event) => setName(event.target.value)} placeholder="order.paid" /><//><button type="submit">Open or make its schema</button></form>
    <${Loaded} state=${state} what="The list of schemas" empty=${html`<${Empty} title="No schema yet">Without one, a type takes any JSON. With one, what breaks it is kept as REJECTED. Name a type above to begin.<//>`}>
      ${(items) => html`<div class="scroll" tabindex="0" role="group" aria-label="Schemas"><table><thead><tr><th scope="col">Type</th><th scope="col" class="num">Version</th><th scope="col">Since</th></tr></thead><tbody>${items.map((one) => html`<tr key=${one.eventType}><th scope="row"><a href=${href(["schemas", one.eventType])}><${Plain} text=${one.eventType} /></a></th><td class="num">${one.version}</td><td><${Time} at=${one.createdAt} /></td></tr>`)}</tbody></table></div>`}
    <//><${More} state=${state} />`;
}

function Lines({ text }) {
  const lines = text.split("\n");
  return html`<div class="lines scroll" tabindex="0" role="group" aria-label="The schema's text"><pre>${lines.map((line, index) => html`<span class="line"><span class="number" aria-hidden="true">${index + 1}</span><bdi>${line}</bdi></span>`)}</pre></div>`;
}

function Diff({ before, after }) {
  return html`<div class="lines scroll" tabindex="0" role="group" aria-label="Changes"><pre>${diff(before, after).map((line) => html`<span class="line ${line.kind}"><span class="number">${{ same: " ", old: "−", new: "+" }[line.kind]}</span><bdi>${line.text}</bdi></span>`)}</pre></div>`;
}

function One({ type, query }) {
  useTitle(`Schema of ${type}`);
  const newest = useLoad(
    () =>
      at(type).catch((problem) => {
        if (problem.status === 404) return { none: true };
        throw problem;
      }),
    [type],
  );
  const has = newest.data && !newest.data.none;
  const versions = useLoad(
    (signal) =>
      has ? get(`/schemas/${encodeURIComponent(type)}/versions`, { limit: 100 }, signal) : Promise.resolve(null),
    [type, newest.data],
  );
  const version = Number(query.version) || newest.data?.version;
  const shown = useLoad(
    () =>
      !has ? Promise.resolve(null) : version === newest.data.version ? Promise.resolve(newest.data) : at(type, version),
    [type, version, newest.data],
  );
  const other = useLoad(
    () => (has && query.with ? at(type, query.with) : Promise.resolve(null)),
    [type, query.with, has],
  );
  const [editing, setEditing] = useState(false);
  if (!newest.data)
    return html`<div class="page-head"><h1>Schema</h1></div><${Fault} problem=${newest.problem} retry=${newest.reload} />`;
  const numbers =
    versions.data?.items?.map((one) => one.version) ||
    Array.from({ length: newest.data.version || 0 }, (_, index) => newest.data.version - index);
  const remove = async () => {
    if (
      !(await confirm({
        title: `Check events of ${type} no more?`,
        text: html`<p>New events of this type are accepted whatever they hold. Its versions are kept, and a new one can be put at any time.</p>`,
        action: "Stop checking",
        danger: true,
      }))
    )
      return;
    try {
      await call("DELETE", `/schemas/${encodeURIComponent(type)}`);
      tell("Events of this type are no longer checked.", () =>
        call("PUT", `/schemas/${encodeURIComponent(type)}`, { body: newest.data.schema }).then(
          newest.reload,
          (problem) => tell(problem.message),
        ),
      );
      newest.reload();
    } catch (problem) {
      tell(problem.message);
    }
  };
  return html`<div class="page-head"><div><p class="crumb"><a href="#/schemas">Schemas</a></p><h1 class="long"><${Plain} text=${type} /></h1>${has && html`<p class="muted">version ${version} of ${newest.data.version}, since <${Time} at=${shown.data?.createdAt} /></p>`}</div>
      <div class="row wrap">${
        has &&
        html`<label class="inline"><span>Version</span><select value=${version} onChange=${(event) => go(["schemas", type], { ...query, version: event.target.value })}>${numbers.map((number) => html`<option value=${number}>${number}</option>`)}</select></label>
        ${numbers.length > 1 && html`<label class="inline"><span>Compare with</span><select value=${query.with || ""} onChange=${(event) => go(["schemas", type], { ...query, with: event.target.value })}><option value="">none</option>${numbers.filter((number) => number !== version).map((number) => html`<option value=${number}>${number}</option>`)}</select></label>`}
        <${Button} scope="schemas:write" kind="danger" onClick=${remove}>Stop checking<//>`
      }
        <${Button} scope="schemas:write" kind="primary" onClick=${() => setEditing(true)}>${has ? "New version" : "Make a schema"}<//></div></div>
    ${!has && html`<${Empty} title="No schema">Events of this type are accepted whatever they hold.<//>`}
    ${shown.problem && html`<${Fault} problem=${shown.problem} />`}
    ${
      shown.data &&
      html`<section class="panel" aria-label="Text"><div class="panel-head"><h2>${query.with && other.data ? `Changes from ${other.data.version} to ${shown.data.version}` : "Text"}</h2><${Copy} text=${() => pretty(shown.data.schema)} what="the schema" /></div>
      ${query.with && other.data ? html`<${Diff} before=${pretty(other.data.schema)} after=${pretty(shown.data.schema)} />` : html`<${Lines} text=${pretty(shown.data.schema)} />`}</section>
      <${Try} schema=${shown.data.schema} type=${type} />`
    }
    ${
      editing &&
      html`<${Editor} type=${type} before=${has ? newest.data.schema : null} onClose=${() => setEditing(false)} onDone=${() => {
        setEditing(false);
        go(["schemas", type]);
        newest.reload();
      }} />`
    }`;
}

function Try({ schema, type }) {
  const [text, setText] = useState("");
  useEffect(() => setText(pretty({ eventType: type, ...sample(schema) })), [schema]);
  const read = useMemo(() => readJson(text), [text]);
  const unknown = new Set();
  const faults = read.fault ? [] : check(read.value, schema, schema, "", unknown);
  return html`<section class="panel" aria-label="Try a payload"><h2>Try a payload</h2><${Field} label="Payload" wide=${true}><textarea class="mono" rows="8" spellcheck="false" value=${text} onInput=${(event) => setText(event.target.value)}></textarea><//>
    <div role="status">${read.fault ? html`<p class="bad">${read.fault}</p>` : faults.length ? html`<ul class="faults">${faults.slice(0, 20).map((fault) => html`<li><code>${fault.pointer || "the whole"}</code> ${fault.detail}</li>`)}</ul>` : html`<p class="good-text">✓ This version takes it.</p>`}
    ${unknown.size > 0 && html`<p class="muted small">Not checked here: ${[...unknown].join(", ")}. The API checks them.</p>`}</div></section>`;
}

/** How many of the newest events of the type a schema would have refused. */
async function refused(type, schema) {
  const page = await get("/events", { eventType: type, limit: LOOKED_AT });
  const accepted = page.items.filter((event) => event.status !== "REJECTED");
  const examples = [];
  let looked = 0;
  await each(accepted, async (event) => {
    const answer = await request("GET", `/events/${event.eventId}/payload`);
    const { value, fault } = readJson(await answer.text());
    if (fault) return;
    looked++;
    const faults = check(event.cloudEvent ? (value?.data ?? value) : value, schema);
    if (faults.length) examples.push({ event, fault: faults[0] });
  });
  return { looked, examples };
}

function Editor({ type, before, onClose, onDone }) {
  const [text, setText] = useState(pretty(before || START));
  const [problem, setProblem] = useState(null);
  const [trial, setTrial] = useState(null);
  const [busy, setBusy] = useState(false);
  const read = useMemo(() => readJson(text), [text]);
  const put = async (isSure) => {
    if (read.fault || busy) return;
    setBusy(true);
    setProblem(null);
    try {
      const found = isSure
        ? null
        : await refused(type, read.value).catch((fault) => {
            if (isMissing(fault) || fault.status === 403) return { looked: 0, examples: [] };
            throw fault;
          });
      if (found?.examples.length) setTrial(found);
      else {
        await call("PUT", `/schemas/${encodeURIComponent(type)}`, { body: text });
        tell("The new version is in force.");
        onDone();
      }
    } catch (fault) {
      setProblem(fault);
    }
    setBusy(false);
  };
  return html`<${Dialog} title=${before ? `New version of the schema of ${type}` : `Schema of ${type}`} onClose=${onClose} wide=${true}>
    <${Field} label="Schema (JSON Schema 2020-12)" fault=${read.fault} wide=${true}><textarea class="mono" rows="16" spellcheck="false" value=${text} onInput=${(
      event,
    ) => {
      setText(event.target.value);
      setTrial(null);
    }}></textarea><//>
    ${trial && html`<div class="fault" role="alert"><p><strong>It refuses ${trial.examples.length} of the last ${plural(trial.looked, "event")} of this type.</strong> Their senders would get an error, and the events would be kept as REJECTED.</p><ul>${trial.examples.slice(0, 3).map(({ event, fault }) => html`<li><a href=${href(["events", event.eventId])}>${event.eventId}</a> <code>${fault.pointer || "the whole"}</code> ${fault.detail}</li>`)}</ul></div>`}
    <${Fault} problem=${problem} />
    <div class="row end wrap"><button type="button" onClick=${onClose}>Cancel</button><${Button} kind=${trial ? "danger" : "primary"} scope="schemas:write" busy=${busy} why=${read.fault} onClick=${() => put(Boolean(trial))}>${trial ? "Put it all the same" : "Put this version"}<//></div><//>`;
}
