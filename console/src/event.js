// One event: its life, its payload and result, what went wrong and what to press.
import { useEffect, useState } from "preact/hooks";
import { html } from "./html.js";
import { get, isMissing, may, request, stage } from "./api.js";
import { redriveSome, replay } from "./actions.js";
import {
  Button,
  Copy,
  Fault,
  Plain,
  Skeleton,
  Status,
  bytes,
  confirm,
  curl,
  plural,
  reveal,
  tell,
  useLoad,
  useTitle,
} from "./parts.js";
import { Document } from "./json.js";
import { go, href } from "./router.js";
import { Time, duration } from "./time.js";

const OPEN = new Set(["RECEIVED", "ENQUEUED"]);
export const CLASSES = {
  permanent: {
    means: "Another try gives the same error: the data or the processor is at fault.",
    press: "Mend the processor, deploy, then redrive. If the data is wrong, tell the sender.",
  },
  transient: {
    means: "A fault that passes, such as a time-out of something the processor calls. It was tried until the limit.",
    press: "Redrive once what it calls is well again.",
  },
  unknown: {
    means:
      "The processor raised an error that says nothing of itself. It was tried until the limit, as for one that passes.",
    press: "Read the message and the log, mend the cause, then redrive.",
  },
  stuck: {
    means: "reconcile found it unfinished again and again and gave it up: the worker never came to its end.",
    press: "Look for time-outs or crashes in the worker's log, then redrive.",
  },
};

async function copyOf(id, part, signal) {
  try {
    const answer = await request("GET", `/events/${id}/${part}`, { signal });
    return { data: new Uint8Array(await answer.arrayBuffer()), type: answer.headers.get("Content-Type") || "" };
  } catch (problem) {
    if (problem.status === 404 || problem.status === 409) return { missing: true };
    throw problem;
  }
}

export function Event({ id }) {
  const [every, setEvery] = useState(1000);
  const state = useLoad((signal) => get(`/events/${id}`, {}, signal), [id], every);
  const event = state.data;
  useTitle(event ? event.eventType : "Event");
  const isOpen = !event || OPEN.has(event.status);
  useEffect(() => setEvery(isOpen ? 1000 : 0), [isOpen]);
  const payload = useLoad((signal) => copyOf(id, "payload", signal), [id]);
  const result = useLoad(
    (signal) => (event?.status === "PROCESSED" ? copyOf(id, "result", signal) : Promise.resolve(null)),
    [id, event?.status],
  );
  if (!event) {
    return html`<div class="page-head"><h1>Event</h1></div>${
      state.problem
        ? state.problem.status === 404
          ? html`<div class="empty"><h2>No such event</h2><p>There is no event <code>${id}</code>, or it belongs to another owner than this token. <a href="#/events">All events</a></p></div>`
          : html`<${Fault} problem=${state.problem} retry=${state.reload} />`
        : html`<${Skeleton} lines=${8} />`
    }`;
  }
  const again = async () => {
    if (
      !(await confirm({
        title: "Replay this event?",
        text: html`<p>It is processed again from its payload as a new event, with an id of its own. Consumers of the bus see it again.</p>`,
        action: "Replay 1",
      }))
    )
      return;
    try {
      const made = await replay(id);
      tell("Replayed. This is the new event.");
      go(["events", made.eventId]);
    } catch (problem) {
      tell(`It could not be replayed: ${problem.message}`);
    }
  };
  const redo = async () => {
    if (await redriveSome([id])) {
      setEvery(1000);
      state.reload();
    }
  };
  return html`
    <div class="page-head"><div><p class="crumb"><a href="#/events">Events</a></p><h1 class="long"><${Plain} text=${event.eventType} /> <${Status} of=${event.status} /></h1>
      <p class="id"><code>${id}</code> <${Copy} text=${id} what="the event id" /></p></div>
      <div class="row wrap">
        <${Button} kind="primary" scope="events:admin" why=${event.status === "FAILED" ? "" : "Only a FAILED event can be redriven."} onClick=${redo}>Redrive<//>
        <${Button} scope="events:admin" why=${isOpen ? "It is not at its end yet." : ""} onClick=${again}>Replay<//>
        <${Copy} label="Copy as curl" text=${() => curl("GET", `/events/${id}`)} />
        <${Copy} label="Copy link" text=${() => location.href} /></div></div>
    ${state.problem && html`<${Fault} problem=${state.problem} retry=${state.reload} />`}
    ${event.lastError && html`<${ErrorPanel} event=${event} />`}
    <div class="two">
      <section class="panel" aria-label="Life"><h2>Life</h2><${Timeline} event=${event} /></section>
      <section class="panel" aria-label="Facts"><h2>Facts</h2><${Facts} event=${event} /></section></div>
    <div class="two documents">
      <${Part} title="Payload" state=${payload} file=${`${id}-payload`} none="The payload is no longer kept." />
      <${Part} title="Result" state=${result} file=${`${id}-result.json`} none=${event.status === "PROCESSED" ? "The result is no longer kept." : isOpen ? "It will be here when the event is processed." : "There is none: the event was not processed."} /></div>
    <${Family} event=${event} />`;
}

function ErrorPanel({ event }) {
  const error = event.lastError;
  const meaning = CLASSES[error.class];
  const isOver = event.status === "FAILED" || event.status === "REJECTED";
  const what =
    event.status === "REJECTED"
      ? {
          means: "The payload breaks the schema of its type, or is no JSON. It is kept, and was never processed.",
          press: "Tell the sender; or correct the schema, then replay it.",
        }
      : meaning;
  return html`<section class="panel first ${isOver ? "bad" : "warn"}" aria-label="Error"><h2>${isOver ? "What went wrong" : "What went wrong before"}</h2>
    <p class="long"><span class="badge ${isOver ? "bad" : "warn"}">${error.class}</span> <code><${Plain} text=${error.code} /></code> <bdi>${reveal(String(error.message))}</bdi></p>
    ${error.errors?.length > 0 && html`<ul class="long">${error.errors.map((one) => html`<li><code>${reveal(one.pointer || "the whole")}</code> ${reveal(one.detail)}</li>`)}</ul>`}
    <p>${what?.means} ${isOver && html`<strong>${what?.press}</strong>`}</p>
    <p class="muted small">${event.attempts ? `${event.attempts} attempt${event.attempts === 1 ? "" : "s"}` : "Not attempted"}, last <${Time} at=${event.updatedAt} /></p></section>`;
}

function Timeline({ event }) {
  const steps = event.timeline?.length
    ? event.timeline
    : [
        { status: "RECEIVED", at: event.receivedAt },
        ...(OPEN.has(event.status) ? [] : [{ status: event.status, at: event.updatedAt }]),
      ];
  const from = Date.parse(steps[0].at);
  const whole = Date.parse(steps.at(-1).at) - from;
  return html`<ol class="timeline">${steps.map((step, index) => {
    const since = index ? Date.parse(step.at) - Date.parse(steps[index - 1].at) : 0;
    return html`<li><${Status} of=${step.status} /> <${Time} at=${step.at} form="at" /> ${index > 0 && html`<span class="muted">+${duration(since)}</span>`}${step.detail && html`<div class="long small"><bdi>${reveal(step.detail)}</bdi></div>`}</li>`;
  })}${OPEN.has(event.status) && html`<li class="muted">${event.status === "ENQUEUED" ? "waits for the worker" : "is on its way to the queue"} …</li>`}</ol>
  ${!OPEN.has(event.status) && html`<p class="muted small">${duration(whole)} in all</p>`}`;
}

function Place({ name, bucket, storeKey, range }) {
  if (!bucket || !storeKey) return html`<div><dt>${name}</dt><dd class="muted">not there</dd></div>`;
  const uri = `s3://${bucket}/${storeKey}`;
  const isLocal = /^(127\.|localhost)/.test(location.hostname);
  return html`<div><dt>${name}</dt><dd class="long"><code>${reveal(uri)}</code>${range && html` <span class="muted">bytes ${range}</span>`} <${Copy} text=${uri} what=${`the place in ${name}`} />
    ${!isLocal && html` <a href=${`https://${stage.region}.console.aws.amazon.com/s3/object/${bucket}?prefix=${encodeURIComponent(storeKey)}`} target="_blank" rel="noreferrer">in AWS</a>`}</dd></div>`;
}

function Facts({ event }) {
  const context = event.cloudEvent;
  const bus = event.status === "PROCESSED" ? "published" : OPEN.has(event.status) ? "not yet" : "never published";
  const queue =
    event.status === "ENQUEUED"
      ? "waits or is with the worker"
      : event.status === "RECEIVED"
        ? "not yet"
        : event.status === "FAILED"
          ? "taken off after the last attempt"
          : "done";
  return html`<dl class="facts">
    <div><dt>Source</dt><dd class="long"><${Plain} text=${event.source} /></dd></div>
    <div><dt>Subject</dt><dd class="long"><${Plain} text=${event.subject} /></dd></div>
    <div><dt>Owner</dt><dd><${Plain} text=${event.owner} /></dd></div>
    <div><dt>Payload</dt><dd>${bytes(event.payloadBytes)}, <${Plain} text=${event.contentType} /></dd></div>
    <div><dt>Schema</dt><dd>${event.schemaVersion ? html`<a href=${href(["schemas", event.eventType], { version: event.schemaVersion })}>version ${event.schemaVersion}</a>` : "none when it came"}</dd></div>
    ${event.processor && html`<div><dt>Processor</dt><dd class="long"><code>${event.processor}</code></dd></div>`}
    <div><dt>Attempts</dt><dd>${event.attempts}</dd></div>
    <${Place} name="Bronze" bucket=${event.s3Bucket} storeKey=${event.s3Key} range=${event.s3Range} />
    <${Place} name="Silver" bucket=${event.silverBucket} storeKey=${event.silverKey} range=${event.silverRange} />
    <div><dt>Bus</dt><dd>${bus}</dd></div>
    <div><dt>Queue</dt><dd>${queue}</dd></div>
    ${context && html`<div><dt>CloudEvent</dt><dd class="long">id <code>${reveal(context.id)}</code>${context.time && html`, time ${reveal(context.time)}`}${context.dataschema && html`, schema ${reveal(context.dataschema)}`}${Object.entries(context.extensions || {}).map(([name, value]) => html`, ${reveal(name)} = ${reveal(String(value))}`)}</dd></div>`}
    <div><dt>SHA-256</dt><dd class="long"><code class="small">${event.payloadSha256}</code></dd></div></dl>`;
}

function Part({ title, state, file, none }) {
  if (state.problem)
    return html`<section class="panel document" aria-label=${title}><h2>${title}</h2><${Fault} problem=${state.problem} retry=${state.reload} /></section>`;
  if (state.loading && !state.data)
    return html`<section class="panel document" aria-label=${title}><h2>${title}</h2><${Skeleton} /></section>`;
  if (!state.data || state.data.missing)
    return html`<section class="panel document" aria-label=${title}><h2>${title}</h2><p class="muted">${none}</p></section>`;
  return html`<${Document} title=${title} data=${state.data.data} file=${file} type=${state.data.type} />`;
}

/** Where it comes from and what came of it: replays, the unit it came in, where it was sent, alerts of its
 * type. */
function Family({ event }) {
  const children = useLoad((signal) => get("/events", { replayOf: event.eventId, limit: 20 }, signal), [event.eventId]);
  const alerts = useLoad(
    (signal) => (event.status === "FAILED" ? get("/alerts", { limit: 100 }, signal) : Promise.resolve({ items: [] })),
    [event.eventId, event.status],
  );
  const deliveries = useLoad(
    (signal) => (may("destinations:read") ? get(`/events/${event.eventId}/deliveries`, {}, signal) : Promise.resolve({ items: [] })),
    [event.eventId, event.status],
  );
  const sent = deliveries.data?.items || [];
  const related = (alerts.data?.items || []).filter(
    (group) => group.title?.includes(event.eventType) || group.reason?.includes(event.eventId),
  );
  const unit = event.s3Range ? event.s3Key.split("/").pop().replace(/\..*/, "") : "";
  const here = children.data?.items || [];
  return html`<section class="panel" aria-label="Related"><h2>Related</h2><ul class="plain">
    ${event.replayOf && html`<li>Replay of <a href=${href(["events", event.replayOf])}>${event.replayOf}</a></li>`}
    ${unit && html`<li>Came in a batch: bytes ${event.s3Range} of the unit <code>${unit}</code></li>`}
    ${here.map((child) => html`<li>Replayed as <a href=${href(["events", child.eventId])}>${child.eventId}</a> <${Status} of=${child.status} /> <${Time} at=${child.receivedAt} form="ago" /></li>`)}
    ${related.map((group) => html`<li>Alert: <a href="#/alerts">${reveal(group.title)}</a> <${Status} of=${group.state} /></li>`)}
    ${sent.map((one) => html`<li>To the destination <a href=${href(["destinations", one.destinationId])}>${one.destinationId}</a> <${Status} of=${one.state} /> after ${plural(one.attempts.length, "attempt")}</li>`)}
    ${!event.replayOf && !unit && !here.length && !related.length && !sent.length && html`<li class="muted">${children.problem && isMissing(children.problem) ? "Which replays were made of it is not available." : "It was never replayed, came alone, went to no destination, and no alert names it."}</li>`}
    <li><a href=${href(["events"], { eventType: event.eventType })}>Other events of this type</a>${may("events:admin") && html` · <a href=${href(["replays"], { eventType: event.eventType })}>Replay a window of them</a>`}</li></ul></section>`;
}
