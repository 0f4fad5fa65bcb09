import { useState } from "preact/hooks";
import { html } from "./html.js";
import { session, signIn, stage } from "./api.js";
import { Code, Fault, useTitle } from "./parts.js";

/** `from` is what the address brought, if it was refused. */
export function SignIn({ from }) {
  useTitle("Sign in");
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState(from || null);
  const [busy, setBusy] = useState(false);
  const [shown, setShown] = useState(false);
  const isCognito = stage.auth === "cognito";
  const submit = async (event) => {
    event.preventDefault();
    if (busy || !token.trim()) return;
    setBusy(true);
    setProblem(null);
    try {
      await signIn(token.trim());
    } catch (fault) {
      setProblem(fault);
    }
    setBusy(false);
  };
  if (stage.auth === "iam") {
    return html`<main id="main" class="signin panel" tabindex="-1"><h1>Eventline <span class="stage">${stage.name}</span></h1>
      <p><strong>This page cannot sign requests.</strong> The stage ${stage.name} knows its callers by IAM (<code>AUTH_MODE=iam</code>): every request is signed with AWS Signature Version 4, which takes AWS keys that do not belong into a browser.</p>
      <p>To look at it from a shell that has AWS credentials:</p><${Code} what="a signed request" text=${`curl -sS --aws-sigv4 "aws:amz:${stage.region}:execute-api" \\\n  --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \\\n  '${location.origin}${location.pathname.replace(/\/console\/?$/, "")}/events?status=FAILED'`} />
      <p>With temporary credentials add <code>-H "x-amz-security-token: $AWS_SESSION_TOKEN"</code>.</p></main>`;
  }
  return html`<main id="main" class="signin panel" tabindex="-1"><h1>Eventline <span class="stage">${stage.name}</span></h1>
    ${session.reason && html`<p class="note" role="alert">${session.reason}</p>`}
    <form onSubmit=${submit}>
      <label class="field"><span>${isCognito ? "ID token of the user pool" : "Token"}</span>
        <input type=${shown ? "text" : "password"} autocomplete="off" spellcheck="false" autofocus value=${token} onInput=${(event) => setToken(event.target.value)} placeholder=${isCognito ? "eyJ…" : "evl_…"} required />
        <small>It stays in this tab and is forgotten when you sign out or close it.</small></label>
      <div class="row"><button type="submit" class="primary" aria-disabled=${busy || undefined}>${busy ? "Checking …" : "Sign in"}</button>
        <label class="inline"><input type="checkbox" checked=${shown} onChange=${() => setShown(!shown)} /> <span>Show</span></label></div>
    </form>
    <${Fault} problem=${problem} />
    ${!isCognito && html`<details><summary>Where do I get a token?</summary><p>On a laptop, <code>make up</code> prints an address that signs you in. In AWS, whoever runs the stage issues one:</p><${Code} what="the command" text=${`make token STAGE=${stage.name} OWNER=me SCOPES=events:read`} /></details>`}
  </main>`;
}
