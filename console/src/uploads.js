// Uploads: drop a file, watch its progress, see its record.
import { useState } from "preact/hooks";
import { html } from "./html.js";
import { call, get, may } from "./api.js";
import { bytes, curl, Empty, Loaded, More, Plain, Table, usePages, useTitle } from "./parts.js";
import { Time } from "./time.js";

/** Send a file to the bucket with its progress: fetch tells none. */
function post(offer, file, onProgress) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    for (const [name, value] of Object.entries(offer.fields)) form.append(name, value);
    form.append("file", file);
    const ask = new XMLHttpRequest();
    ask.upload.addEventListener(
      "progress",
      (event) => event.lengthComputable && onProgress(event.loaded / event.total),
    );
    ask.addEventListener("load", () =>
      ask.status < 300 ? resolve(null) : reject(new Error(`The bucket answered ${ask.status}.`)),
    );
    ask.addEventListener("error", () =>
      reject(new Error("The bucket did not answer, or does not allow this page to post to it.")),
    );
    ask.open("POST", offer.url);
    ask.send(form);
  });
}

export function Uploads() {
  useTitle("Uploads");
  const [sending, setSending] = useState([]);
  const [over, setOver] = useState(false);
  const state = usePages(
    (cursor, signal) =>
      may("uploads:read")
        ? get("/uploads", { limit: 50, cursor }, signal)
        : Promise.resolve({ items: [], cursor: null }),
    [],
  );
  const change = (id, more) => setSending((before) => before.map((one) => (one.id === id ? { ...one, ...more } : one)));
  const send = async (file) => {
    const id = crypto.randomUUID();
    setSending((before) => [{ id, name: file.name, part: 0 }, ...before]);
    try {
      const order = { filename: file.name, ...(file.type ? { contentType: file.type } : {}) };
      const offer = await call("POST", "/uploads", { body: order });
      if (file.size > offer.maxBytes)
        throw new Error(`It has ${bytes(file.size)}; ${bytes(offer.maxBytes)} are allowed.`);
      await post(offer, file, (part) => change(id, { part }));
      change(id, { part: 1, key: offer.objectKey });
      for (let tries = 0; tries < 30; tries++) {
        const page = await get("/uploads", { limit: 50 });
        const record = page.items.find((one) => one.objectKey === offer.objectKey);
        if (record) {
          change(id, { record });
          state.reload();
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
      change(id, { note: "It is in the bucket; its record is not there yet." });
    } catch (problem) {
      change(id, { fault: problem.errors?.[0]?.detail || problem.message });
    }
  };
  const take = (files) => {
    if (may("uploads:write")) for (const file of files) send(file);
  };
  return html`<div class="page-head"><h1>Uploads</h1></div>
    <div class="drop panel ${over ? "over" : ""}" onDragOver=${(event) => {
      event.preventDefault();
      setOver(true);
    }} onDragLeave=${() => setOver(false)} onDrop=${(event) => {
      event.preventDefault();
      setOver(false);
      take(event.dataTransfer.files);
    }}>
      ${
        may("uploads:write")
          ? html`<label class="field"><span>Drop files here, or choose some</span><input type="file" multiple onChange=${(
              event,
            ) => {
              take(event.target.files);
              event.target.value = "";
            }} /></label>`
          : html`<p class="muted">To upload needs a token with the scope uploads:write.</p>`
      }
      <div role="status"><ul class="plain">${sending.map((one) => html`<li key=${one.id} class="long"><strong><${Plain} text=${one.name} /></strong> ${one.fault ? html`<span class="bad">${one.fault}</span>` : one.record ? html`<span class="good-text">✓ recorded</span>` : one.note || html`<progress aria-label=${`Upload of ${one.name}`} max="1" value=${one.part}></progress> ${one.part === 1 ? "uploaded, waiting for its record …" : `${Math.round(one.part * 100)} %`}`}</li>`)}</ul></div></div>
    ${
      !may("uploads:read")
        ? html`<p class="note">The list needs a token with the scope uploads:read.</p>`
        : html`<${Loaded} state=${state} what="The list of uploads" empty=${html`<${Empty} title="No upload in the last day" curl=${curl("POST", "/uploads", { filename: "report.pdf", contentType: "application/pdf" })}>Records are kept for 24 hours. Drop a file above, or get a signed form:<//>`}>
      ${(items) => html`<${Table} label="Uploads" heads=${["Object", { label: "Size", num: true }, "Owner", "Created", "Record ends"]}>${items.map((one) => html`<tr key=${one.objectId}><th scope="row" class="long"><${Plain} text=${one.objectKey} /></th><td class="num">${bytes(one.size)}</td><td><${Plain} text=${one.owner} /></td><td><${Time} at=${one.eventTime} /></td><td><${Time} at=${new Date(one.ttl * 1000).toISOString()} form="ago" /></td></tr>`)}<//>`}<//><${More} state=${state} />`
    }`;
}
