// Groups of alerts, and whether each was delivered.
import { html } from "./html.js";
import { get } from "./api.js";
import { count, Empty, Loaded, More, Plain, Status, Table, usePages, useTitle } from "./parts.js";
import { Time } from "./time.js";

const isWeb = (link) => /^https?:\/\//.test(link || "");

export function Alerts() {
  useTitle("Alerts");
  const state = usePages((cursor, signal) => get("/alerts", { limit: 50, cursor }, signal), []);
  return html`<div class="page-head"><h1>Alerts</h1></div><${Loaded} state=${state} what="The list of alerts" empty=${html`<${Empty} title="No alert">Failures, alarms and failed builds are grouped here, and posted to Slack once a group.<//>`}>
    ${(items) => html`<${Table} label="Alerts" heads=${["What", "Severity", { label: "Count", num: true }, "First", "Last", "Delivery"]}>${items.map((one) => html`<tr key=${one.groupId}><th scope="row" class="long">${isWeb(one.link) ? html`<a href=${one.link} target="_blank" rel="noreferrer noopener"><${Plain} text=${one.title} /></a>` : html`<${Plain} text=${one.title} />`}<div class="muted small">${one.kind}${one.repository && html` · <${Plain} text=${one.repository} />`}${one.branch && html` · <${Plain} text=${one.branch} />`}</div></th><td>${one.severity}</td><td class="num">${count(one.count)}</td><td><${Time} at=${one.first} /></td><td><${Time} at=${one.last} /></td><td class="long"><${Status} of=${one.state} /> ${one.deliveredAt && html`<${Time} at=${one.deliveredAt} form="ago" />`}${one.reason && html`<div class="small"><${Plain} text=${one.reason} /></div>`}</td></tr>`)}<//>`}<//><${More} state=${state} />`;
}
