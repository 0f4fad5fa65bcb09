// What the stage is, and where to look in AWS.
import { html } from "./html.js";
import { API_URL, get, may, stage } from "./api.js";
import { Code, Copy, Loaded, Plain, Table, useLoad, useTitle } from "./parts.js";

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
    <section class="panel" aria-label="Its settings"><h2>Its settings</h2>${may("admin") ? html`<${Values} />` : html`<p class="muted">They need a token with the scope admin.</p>`}</section>
    <section class="panel" aria-label="To change them"><h2>To change them</h2><p>Settings are variables of the stage in <code>.chalice/config.json</code>. Change one there, then deploy:</p><${Code} text=${`make deploy STAGE=${stage.name}`} what="the command" /></section>`;
}

function Values() {
  const state = useLoad((signal) => get("/settings", {}, signal), []);
  return html`<${Loaded} state=${state} what="The list of settings" empty="">
    ${(items) => html`<${Table} label="Settings" heads=${["Setting", "Value", "Default", "What it is"]}>${items.map((one) => html`<tr key=${one.name}><th scope="row"><code>${one.name}</code></th><td class="long"><${Plain} text=${one.value || "–"} /></td><td class="long">${one.value === one.default ? html`<span class="muted">the same</span>` : html`<${Plain} text=${one.default || "–"} />`}</td><td class="long"><${Plain} text=${one.help} /></td></tr>`)}<//>`}<//>`;
}
