// Uploads, items, subscriptions, alerts, tokens and the stage: lists with a few deeds each.
import { useEffect, useMemo, useState } from "preact/hooks";
import { html } from "./html.js";
import { API_URL, call, get, may, request, session, stage } from "./api.js";
import { Button, Code, Copy, Dialog, Empty, Fault, Field, Loaded, More, Plain, Status, bytes, confirm, count, curl, readJson, tell, useLoad, usePages, useTitle } from "./parts.js";
import { go, href } from "./router.js";
import { Time } from "./time.js";

const pretty = (value) => JSON.stringify(value, null, 2);
const Table = ({ label, heads, children }) => html`<div class="scroll" tabindex="0" role="group" aria-label=${label}><table><thead><tr>${heads.map((head) => html`<th scope="col" class=${head.num ? "num" : ""}>${head.label || head}</th>`)}</tr></thead><tbody>${children}</tbody></table></div>`;
const HIDDEN = { label: html`<span class="hidden">Actions</span>` };

// ------------------------------------------------------------------------------------ uploads

/** Send a file to the bucket with its progress: fetch tells none. */
function post(offer, file, onProgress) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    for (const [name, value] of Object.entries(offer.fields)) form.append(name, value);
    form.append("file", file);
    const ask = new XMLHttpRequest();
    ask.upload.addEventListener("progress", (event) => event.lengthComputable && onProgress(event.loaded / event.total));
    ask.addEventListener("load", () => (ask.status < 300 ? resolve(null) : reject(new Error(`The bucket answered ${ask.status}.`))));
    ask.addEventListener("error", () => reject(new Error("The bucket did not answer, or does not allow this page to post to it.")));
    ask.open("POST", offer.url);
    ask.send(form);
  });
}

export function Uploads() {
  useTitle("Uploads");
  const [sending, setSending] = useState([]);
  const [over, setOver] = useState(false);
  const state = usePages((cursor, signal) => (may("uploads:read") ? get("/uploads", { limit: 50, cursor }, signal) : Promise.resolve({ items: [], cursor: null })), []);
  const change = (id, more) => setSending((before) => before.map((one) => (one.id === id ? { ...one, ...more } : one)));
  const send = async (file) => {
    const id = crypto.randomUUID();
    setSending((before) => [{ id, name: file.name, part: 0 }, ...before]);
    try {
      const order = { filename: file.name, ...(file.type ? { contentType: file.type } : {}) };
      const offer = await call("POST", "/uploads", { body: order });
      if (file.size > offer.maxBytes) throw new Error(`It has ${bytes(file.size)}; ${bytes(offer.maxBytes)} are allowed.`);
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
    <div class="drop panel ${over ? "over" : ""}" onDragOver=${(event) => { event.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)} onDrop=${(event) => { event.preventDefault(); setOver(false); take(event.dataTransfer.files); }}>
      ${may("uploads:write") ? html`<label class="field"><span>Drop files here, or choose some</span><input type="file" multiple onChange=${(event) => { take(event.target.files); event.target.value = ""; }} /></label>` : html`<p class="muted">To upload needs a token with the scope uploads:write.</p>`}
      <div role="status"><ul class="plain">${sending.map((one) => html`<li key=${one.id} class="long"><strong><${Plain} text=${one.name} /></strong> ${one.fault ? html`<span class="bad">${one.fault}</span>` : one.record ? html`<span class="good-text">✓ recorded</span>` : one.note || html`<progress aria-label=${`Upload of ${one.name}`} max="1" value=${one.part}></progress> ${one.part === 1 ? "uploaded, waiting for its record …" : `${Math.round(one.part * 100)} %`}`}</li>`)}</ul></div></div>
    ${!may("uploads:read") ? html`<p class="note">The list needs a token with the scope uploads:read.</p>` : html`<${Loaded} state=${state} what="The list of uploads" empty=${html`<${Empty} title="No upload in the last day" curl=${curl("POST", "/uploads", { filename: "report.pdf", contentType: "application/pdf" })}>Records are kept for 24 hours. Drop a file above, or get a signed form:<//>`}>
      ${(items) => html`<${Table} label="Uploads" heads=${["Object", { label: "Size", num: true }, "Owner", "Created", "Record ends"]}>${items.map((one) => html`<tr key=${one.objectId}><th scope="row" class="long"><${Plain} text=${one.objectKey} /></th><td class="num">${bytes(one.size)}</td><td><${Plain} text=${one.owner} /></td><td><${Time} at=${one.eventTime} /></td><td><${Time} at=${new Date(one.ttl * 1000).toISOString()} form="ago" /></td></tr>`)}<//>`}<//><${More} state=${state} />`}`;
}

// -------------------------------------------------------------------------------------- items

export function Items({ id, query }) {
  useTitle("Items");
  const [making, setMaking] = useState(false);
  const owner = query.owner || "";
  const state = usePages((cursor, signal) => (may("items:read") ? get("/items", { limit: 50, cursor, owner }, signal) : Promise.resolve({ items: [], cursor: null })), [owner]);
  return html`<div class="page-head"><h1>Items</h1><div class="row wrap">${may("admin") && html`<label class="inline"><span>Owner</span><input type="text" value=${owner} placeholder=${session.self.owner} onChange=${(event) => go(["items"], { owner: event.target.value.trim() })} /></label>`}<${Button} kind="primary" scope="items:write" onClick=${() => setMaking(true)}>New item<//></div></div>
    ${!may("items:read") ? html`<p class="note">This needs a token with the scope items:read.</p>` : html`<${Loaded} state=${state} what="The list of items" empty=${html`<${Empty} title="No item" curl=${curl("POST", "/items", { name: "desk" })}>Make one here, or from a shell:<//>`}>
      ${(items) => html`<${Table} label="Items" heads=${["Item", "Data", { label: "Version", num: true }, "Changed"]}>${items.map((one) => html`<tr key=${one.itemId}><th scope="row"><a href=${href(["items", one.itemId], query)}>${one.itemId}</a></th><td class="cut"><${Plain} text=${one.data ? JSON.stringify(one.data).slice(0, 200) : `${bytes(one.dataBytes)}, open it to see`} /></td><td class="num">${one.version}</td><td><${Time} at=${one.updatedAt} /></td></tr>`)}<//>`}<//><${More} state=${state} />`}
    ${id && html`<${ItemEditor} key=${id} id=${id} onClose=${() => go(["items"], query)} onDone=${state.reload} />`}
    ${making && html`<${ItemEditor} id="" onClose=${() => setMaking(false)} onDone=${state.reload} />`}`;
}

function ItemEditor({ id, onClose, onDone }) {
  const [text, setText] = useState(id ? "" : pretty({ name: "desk" }));
  const [etag, setEtag] = useState("");
  const [problem, setProblem] = useState(null);
  const [theirs, setTheirs] = useState(null);
  const [busy, setBusy] = useState(false);
  const read = useMemo(() => readJson(text), [text]);
  const load = async () => {
    const answer = await request("GET", `/items/${id}`);
    const item = await answer.json();
    return { item, etag: answer.headers.get("ETag") };
  };
  useEffect(() => { if (id) load().then((found) => { setText(pretty(found.item.data)); setEtag(found.etag); }, setProblem); }, [id]);
  const act = async (method, withEtag = etag) => {
    setBusy(true);
    setProblem(null);
    try {
      const body = method === "DELETE" ? undefined : text;
      await request(method, id ? `/items/${id}` : "/items", { body, headers: id ? { "If-Match": withEtag } : {} });
      tell(method === "DELETE" ? "Deleted." : "Saved.");
      onDone();
      onClose();
    } catch (fault) {
      if (fault.status === 412) setTheirs(await load().catch(() => null));
      setProblem(fault.status === 412 ? null : fault);
    }
    setBusy(false);
  };
  const remove = async () => (await confirm({ title: "Delete this item?", text: html`<p><code>${id}</code> is deleted, and its owner is told.</p>`, action: "Delete 1", danger: true })) && act("DELETE");
  return html`<${Dialog} title=${id ? "Item" : "New item"} onClose=${onClose} wide=${true}>
    ${id && html`<p class="id"><code>${id}</code> <span class="muted">ETag ${etag}</span></p>`}
    <${Field} label="Data" fault=${text && read.fault} wide=${true}><textarea class="mono" rows="12" spellcheck="false" value=${text} onInput=${(event) => setText(event.target.value)}></textarea><//>
    ${theirs && html`<div class="fault" role="alert"><p><strong>Somebody else changed it meanwhile.</strong> Nothing of yours was saved. This is what is there now (version ${theirs.item.version}):</p><pre class="wrap">${pretty(theirs.item.data)}</pre>
      <div class="row wrap"><button type="button" onClick=${() => { setText(pretty(theirs.item.data)); setEtag(theirs.etag); setTheirs(null); }}>Take theirs</button><button type="button" class="danger" onClick=${() => { const fresh = theirs.etag; setEtag(fresh); setTheirs(null); act("PUT", fresh); }}>Overwrite it with mine</button></div></div>`}
    <${Fault} problem=${problem} />
    <div class="row end wrap">${id && html`<${Button} kind="danger" scope="items:write" busy=${busy} onClick=${remove}>Delete<//>`}<button type="button" onClick=${onClose}>Cancel</button><${Button} kind="primary" scope="items:write" busy=${busy} why=${read.fault} onClick=${() => act(id ? "PUT" : "POST")}>Save<//></div><//>`;
}

// ------------------------------------------------------------------------------ subscriptions

const EXAMPLES = { email: "me@example.com", https: "https://example.com/hook", sqs: "arn:aws:sqs:eu-west-1:123456789012:mine" };

export function Subscriptions() {
  useTitle("Subscriptions");
  const allowed = may("items:write");
  const [protocol, setProtocol] = useState("email");
  const [endpoint, setEndpoint] = useState("");
  const [problem, setProblem] = useState(null);
  const state = usePages((cursor, signal) => (allowed ? get("/subscriptions", { limit: 50, cursor }, signal) : Promise.resolve({ items: [], cursor: null })), [allowed]);
  const make = async (event) => {
    event.preventDefault();
    setProblem(null);
    try {
      await call("POST", "/subscriptions", { body: { protocol, endpoint: endpoint.trim() } });
      tell(protocol === "sqs" ? "Subscribed." : "Made. The endpoint got a link that confirms it.");
      setEndpoint("");
      state.reload();
    } catch (fault) {
      setProblem(fault);
    }
  };
  const end = async (one) => {
    if (!(await confirm({ title: "End this subscription?", text: html`<p>${one.endpoint} is no longer told when an item changes.</p>`, action: "End 1", danger: true }))) return;
    try {
      await call("DELETE", `/subscriptions/${one.subscriptionId}`);
      tell("Ended.", () => call("POST", "/subscriptions", { body: { protocol: one.protocol, endpoint: one.endpoint } }).then(state.reload, (fault) => tell(fault.message)));
    } catch (fault) {
      tell(fault.message);
    }
    state.reload();
  };
  // A change of an item is what subscribers are told of, so a test is one.
  const test = async () => {
    if (!(await confirm({ title: "Send a test?", text: html`<p>An item is made for ${session.self.owner}, and every confirmed subscription is told of it. Delete it under Items afterwards.</p>`, action: "Make 1 item" }))) return;
    try {
      const item = await call("POST", "/items", { body: { test: "from the console" } });
      tell(`Made the item ${item.itemId}.`, () => request("GET", `/items/${item.itemId}`).then((answer) => request("DELETE", `/items/${item.itemId}`, { headers: { "If-Match": answer.headers.get("ETag") } })).catch((fault) => tell(fault.message)));
    } catch (fault) {
      tell(fault.message);
    }
  };
  return html`<div class="page-head"><h1>Subscriptions</h1><${Button} scope="items:write" onClick=${test}>Test …<//></div>
    <p class="muted">Who is told when an item of ${session.self.owner} changes.</p>
    <form class="panel row wrap bottom" onSubmit=${make}><${Field} label="By"><select value=${protocol} onChange=${(event) => setProtocol(event.target.value)}><option value="email">E-mail</option><option value="https">HTTPS</option><option value="sqs">SQS queue</option></select><//><${Field} label="Endpoint"><input type="text" required value=${endpoint} placeholder=${EXAMPLES[protocol]} onInput=${(event) => setEndpoint(event.target.value)} /><//><${Button} type="submit" kind="primary" scope="items:write">Subscribe<//></form><${Fault} problem=${problem} />
    ${!allowed ? html`<p class="note">The list needs a token with the scope items:write.</p>` : html`<${Loaded} state=${state} what="The list of subscriptions" empty=${html`<${Empty} title="Nobody is told">Subscribe an address above.<//>`}>
      ${(items) => html`<${Table} label="Subscriptions" heads=${["Endpoint", "By", "Status", "Made", HIDDEN]}>${items.map((one) => html`<tr key=${one.subscriptionId}><th scope="row" class="long"><${Plain} text=${one.endpoint} /></th><td>${one.protocol}</td><td><${Status} of=${one.status} />${one.status === "pending" && html` <span class="muted small">waits for its link to be followed</span>`}</td><td><${Time} at=${one.createdAt} /></td><td><${Button} scope="items:write" aria-label=${`End the subscription of ${one.endpoint}`} onClick=${() => end(one)}>End<//></td></tr>`)}<//>`}<//><${More} state=${state} />`}`;
}

// ------------------------------------------------------------------------------------- alerts

const isWeb = (link) => /^https?:\/\//.test(link || "");

export function Alerts() {
  useTitle("Alerts");
  const state = usePages((cursor, signal) => get("/alerts", { limit: 50, cursor }, signal), []);
  return html`<div class="page-head"><h1>Alerts</h1></div><${Loaded} state=${state} what="The list of alerts" empty=${html`<${Empty} title="No alert">Failures, alarms and failed builds are grouped here, and posted to Slack once a group.<//>`}>
    ${(items) => html`<${Table} label="Alerts" heads=${["What", "Severity", { label: "Count", num: true }, "First", "Last", "Delivery"]}>${items.map((one) => html`<tr key=${one.groupId}><th scope="row" class="long">${isWeb(one.link) ? html`<a href=${one.link} target="_blank" rel="noreferrer noopener"><${Plain} text=${one.title} /></a>` : html`<${Plain} text=${one.title} />`}<div class="muted small">${one.kind}${one.repository && html` · <${Plain} text=${one.repository} />`}${one.branch && html` · <${Plain} text=${one.branch} />`}</div></th><td>${one.severity}</td><td class="num">${count(one.count)}</td><td><${Time} at=${one.first} /></td><td><${Time} at=${one.last} /></td><td class="long"><${Status} of=${one.state} /> ${one.deliveredAt && html`<${Time} at=${one.deliveredAt} form="ago" />`}${one.reason && html`<div class="small"><${Plain} text=${one.reason} /></div>`}</td></tr>`)}<//>`}<//><${More} state=${state} />`;
}

// ------------------------------------------------------------------------------------- access

const SCOPES = ["events:write", "events:read", "events:admin", "schemas:write", "items:write", "items:read", "uploads:write", "uploads:read", "destinations:write", "destinations:read", "admin"];

export function Access() {
  useTitle("Access");
  const self = session.self;
  const [making, setMaking] = useState(false);
  const state = usePages((cursor, signal) => (may("admin") ? get("/tokens", { limit: 50, cursor }, signal) : Promise.resolve({ items: [], cursor: null })), []);
  const revoke = async (one) => {
    const isOwn = one.id === self.id;
    if (!(await confirm({ title: "Revoke this token?", text: html`<p>The token <code>${one.id}</code> of ${one.owner} is refused from now on, within a minute everywhere. This cannot be undone.${isOwn && html` <strong>It is the one you are signed in with.</strong>`}</p>`, action: "Revoke 1", danger: true }))) return;
    try {
      await call("DELETE", `/tokens/${one.id}`);
      tell("Revoked.");
    } catch (problem) {
      tell(problem.message);
    }
    state.reload();
  };
  return html`<div class="page-head"><h1>Access</h1><${Button} kind="primary" scope="admin" onClick=${() => setMaking(true)}>New token<//></div>
    <section class="panel" aria-label="You"><h2>You</h2><dl class="facts"><div><dt>Owner</dt><dd><${Plain} text=${self.owner} /></dd></div><div><dt>Token</dt><dd>${self.id ? html`<code>${self.id}</code>` : "–"}</dd></div><div><dt>Scopes</dt><dd>${self.scopes.map((scope) => html`<span class="chip">${scope}</span> `)}</dd></div><div><dt>Ends</dt><dd>${self.expiresAt ? html`<${Time} at=${self.expiresAt} />` : "never"}</dd></div><div><dt>Known by</dt><dd><code>AUTH_MODE=${self.authMode}</code></dd></div></dl></section>
    ${!may("admin") ? html`<p class="note">To make and revoke tokens needs a token with the scope admin.</p>` : html`<section class="panel" aria-label="Tokens"><h2>Tokens</h2><${Loaded} state=${state} what="The list of tokens" empty=${html`<p class="muted">No token.</p>`}>
      ${(items) => html`<${Table} label="Tokens" heads=${["Token", "Owner", "Scopes", "Made", "Last used", "Ends", HIDDEN]}>${items.map((one) => html`<tr key=${one.id}><th scope="row"><code>${one.id}</code>${one.id === self.id && html` <span class="chip">you</span>`}</th><td><${Plain} text=${one.owner} /></td><td class="long">${one.scopes.join(", ")}</td><td><${Time} at=${one.createdAt} /></td><td>${one.lastUsedAt ? html`<${Time} at=${one.lastUsedAt} form="ago" />` : html`<span class="muted">–</span>`}</td><td>${one.expiresAt ? html`<${Time} at=${one.expiresAt} form="ago" />` : "never"}</td><td><${Button} kind="danger" scope="admin" aria-label=${`Revoke the token ${one.id}`} onClick=${() => revoke(one)}>Revoke<//></td></tr>`)}<//>`}<//><${More} state=${state} /></section>`}
    ${making && html`<${NewToken} onClose=${() => { setMaking(false); state.reload(); }} />`}`;
}

function NewToken({ onClose }) {
  const [owner, setOwner] = useState("");
  const [scopes, setScopes] = useState(["events:write", "events:read"]);
  const [days, setDays] = useState("90");
  const [made, setMade] = useState(null);
  const [problem, setProblem] = useState(null);
  const toggle = (scope) => setScopes((before) => (before.includes(scope) ? before.filter((one) => one !== scope) : [...before, scope]));
  const make = async (event) => {
    event.preventDefault();
    setProblem(null);
    try {
      const ends = days ? { expiresAt: new Date(Date.now() + Number(days) * 86_400_000).toISOString() } : {};
      setMade(await call("POST", "/tokens", { body: { owner: owner.trim(), scopes, ...ends } }));
    } catch (fault) {
      setProblem(fault);
    }
  };
  if (made) {
    return html`<${Dialog} title="The new token" onClose=${onClose}><p><strong>It is shown only now.</strong> Whoever has it can do for ${made.owner} what its scopes allow: ${made.scopes.join(", ")}.</p><div class="code"><pre class="wrap" id="new-token">${made.token}</pre><${Copy} text=${made.token} what="the token" /></div><div class="row end"><button type="button" class="primary" onClick=${onClose}>I have kept it</button></div><//>`;
  }
  return html`<${Dialog} title="New token" onClose=${onClose}><form onSubmit=${make}><${Field} label="Owner" hint="Whose events, items and uploads it gives access to."><input type="text" required maxlength="64" value=${owner} onInput=${(event) => setOwner(event.target.value)} /><//>
    <fieldset><legend>Scopes</legend><div class="checks">${SCOPES.map((scope) => html`<label class="inline"><input type="checkbox" checked=${scopes.includes(scope)} onChange=${() => toggle(scope)} /> <span>${scope}</span></label>`)}</div></fieldset>
    <${Field} label="Ends"><select value=${days} onChange=${(event) => setDays(event.target.value)}><option value="1">in a day</option><option value="30">in 30 days</option><option value="90">in 90 days</option><option value="365">in a year</option><option value="">never</option></select><//>
    <${Fault} problem=${problem} /><div class="row end"><button type="button" onClick=${onClose}>Cancel</button><${Button} type="submit" kind="primary" scope="admin" why=${scopes.length ? "" : "Choose at least one scope."}>Make it<//></div></form><//>`;
}

// ----------------------------------------------------------------------------------- settings

export function Settings() {
  useTitle("Settings");
  const health = useLoad((signal) => get("/health", {}, signal), []);
  const isLocal = /^(127\.|localhost)/.test(location.hostname);
  const aws = `https://${stage.region}.console.aws.amazon.com`;
  const named = `eventline-${stage.name}`;
  const links = [
    ["Dashboard", `${aws}/cloudwatch/home?region=${stage.region}#dashboards:name=${named}`],
    ["Alarms", `${aws}/cloudwatch/home?region=${stage.region}#alarmsV2:`],
    ["Logs", `${aws}/cloudwatch/home?region=${stage.region}#logsV2:log-groups$3FlogGroupNameFilter$3D${named}`],
    ["Functions", `${aws}/lambda/home?region=${stage.region}#/functions?f0=true&k0=functionName&o0=%3A&v0=${named}`],
    ["Queues", `${aws}/sqs/v3/home?region=${stage.region}#/queues`],
    ["Tables", `${aws}/dynamodbv2/home?region=${stage.region}#tables`],
    ["Buckets", `${aws}/s3/buckets?region=${stage.region}&search=${named}`],
    ["Event bus", `${aws}/events/home?region=${stage.region}#/eventbus/${named}`],
  ];
  return html`<div class="page-head"><h1>Settings of the stage</h1></div>
    <section class="panel" aria-label="Stage"><h2>Stage</h2><dl class="facts"><div><dt>Stage</dt><dd>${stage.name}</dd></div><div><dt>Version of the page</dt><dd>${stage.version}</dd></div><div><dt>Version of the API</dt><dd>${health.data?.version ?? "…"}</dd></div><div><dt>API</dt><dd class="long"><code>${API_URL}</code> <${Copy} text=${API_URL} what="the address" /></dd></div><div><dt>Region</dt><dd>${stage.region}</dd></div><div><dt>Callers are known by</dt><dd><code>AUTH_MODE=${stage.auth}</code></dd></div><div><dt>Description of the API</dt><dd><a href=${`${API_URL}/openapi.json`} target="_blank" rel="noreferrer">openapi.json</a></dd></div></dl>
      ${health.data && health.data.version !== stage.version && html`<p class="note">The API is newer than this page. <button type="button" onClick=${() => location.reload()}>Load it again</button></p>`}</section>
    <section class="panel" aria-label="In AWS"><h2>In AWS</h2>${isLocal ? html`<p class="muted">This stage runs on an emulator, which has no AWS console. In AWS, links to the dashboard, logs, queues and tables are here.</p>` : html`<ul class="plain">${links.map(([label, link]) => html`<li><a href=${link} target="_blank" rel="noreferrer noopener">${label}</a></li>`)}</ul>`}</section>
    <section class="panel" aria-label="To change them"><h2>To change them</h2><p>Settings are variables of the stage in <code>.chalice/config.json</code>. Change one there, then deploy:</p><${Code} text=${`make deploy STAGE=${stage.name}`} what="the command" /></section>`;
}

