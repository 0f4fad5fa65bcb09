// Tokens: yours, and with admin everybody's.
import { useState } from "preact/hooks";
import { html } from "./html.js";
import { call, get, may, session } from "./api.js";
import {
  ACTIONS,
  Button,
  confirm,
  Copy,
  Dialog,
  Fault,
  Field,
  Loaded,
  More,
  Plain,
  Table,
  tell,
  usePages,
  useTitle,
} from "./parts.js";
import { Time } from "./time.js";

const SCOPES = [
  "events:write",
  "events:read",
  "events:admin",
  "schemas:write",
  "items:write",
  "items:read",
  "uploads:write",
  "uploads:read",
  "destinations:write",
  "destinations:read",
  "admin",
];

export function Access() {
  useTitle("Access");
  const self = session.self;
  const [making, setMaking] = useState(false);
  const state = usePages(
    (cursor, signal) =>
      may("admin") ? get("/tokens", { limit: 50, cursor }, signal) : Promise.resolve({ items: [], cursor: null }),
    [],
  );
  const revoke = async (one) => {
    const isOwn = one.id === self.id;
    if (
      !(await confirm({
        title: "Revoke this token?",
        text: html`<p>The token <code>${one.id}</code> of ${one.owner} is refused from now on, within a minute everywhere. This cannot be undone.${isOwn && html` <strong>It is the one you are signed in with.</strong>`}</p>`,
        action: "Revoke 1",
        danger: true,
      }))
    )
      return;
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
    ${
      !may("admin")
        ? html`<p class="note">To make and revoke tokens needs a token with the scope admin.</p>`
        : html`<section class="panel" aria-label="Tokens"><h2>Tokens</h2><${Loaded} state=${state} what="The list of tokens" empty=${html`<p class="muted">No token.</p>`}>
      ${(items) => html`<${Table} label="Tokens" heads=${["Token", "Owner", "Scopes", "Made", "Last used", "Ends", ACTIONS]}>${items.map((one) => html`<tr key=${one.id}><th scope="row"><code>${one.id}</code>${one.id === self.id && html` <span class="chip">you</span>`}</th><td><${Plain} text=${one.owner} /></td><td class="long">${one.scopes.join(", ")}</td><td><${Time} at=${one.createdAt} /></td><td>${one.lastUsedAt ? html`<${Time} at=${one.lastUsedAt} form="ago" />` : html`<span class="muted">–</span>`}</td><td>${one.expiresAt ? html`<${Time} at=${one.expiresAt} form="ago" />` : "never"}</td><td><${Button} kind="danger" scope="admin" aria-label=${`Revoke the token ${one.id}`} onClick=${() => revoke(one)}>Revoke<//></td></tr>`)}<//>`}<//><${More} state=${state} /></section>`
    }
    ${
      making &&
      html`<${NewToken} onClose=${() => {
        setMaking(false);
        state.reload();
      }} />`
    }`;
}

function NewToken({ onClose }) {
  const [owner, setOwner] = useState("");
  const [scopes, setScopes] = useState(["events:write", "events:read"]);
  const [days, setDays] = useState("90");
  const [made, setMade] = useState(null);
  const [problem, setProblem] = useState(null);
  const toggle = (scope) =>
    setScopes((before) => (before.includes(scope) ? before.filter((one) => one !== scope) : [...before, scope]));
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
