// Who is told when an item changes.
import { useState } from "preact/hooks";
import { html } from "./html.js";
import { call, get, may, request, session } from "./api.js";
import {
  ACTIONS,
  Button,
  confirm,
  Empty,
  Fault,
  Field,
  Loaded,
  More,
  Plain,
  Status,
  Table,
  tell,
  usePages,
  useTitle,
} from "./parts.js";
import { Time } from "./time.js";

const EXAMPLES = {
  email: "me@example.com",
  https: "https://example.com/hook",
  sqs: "arn:aws:sqs:eu-west-1:123456789012:mine",
};

export function Subscriptions() {
  useTitle("Subscriptions");
  const allowed = may("items:write");
  const [protocol, setProtocol] = useState("email");
  const [endpoint, setEndpoint] = useState("");
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState(null);
  const state = usePages(
    (cursor, signal) =>
      allowed ? get("/subscriptions", { limit: 50, cursor }, signal) : Promise.resolve({ items: [], cursor: null }),
    [allowed],
  );
  const make = async (event) => {
    event.preventDefault();
    setProblem(null);
    const proof = token.trim() ? { token: token.trim() } : {};
    try {
      const made = await call("POST", "/subscriptions", { body: { protocol, endpoint: endpoint.trim(), ...proof } });
      tell(made.status === "confirmed" ? "Confirmed." : "Made. The endpoint is asked: it gets a link, or a token to enter here.");
      setToken("");
      if (made.status === "confirmed") setEndpoint("");
      state.reload();
    } catch (fault) {
      setProblem(fault);
    }
  };
  // The same order asks the endpoint again; with the token that it got, it confirms.
  const fill = (one) => {
    setProtocol(one.protocol);
    setEndpoint(one.endpoint);
    setToken("");
    document.getElementById("subscription-token")?.focus();
  };
  const end = async (one) => {
    if (
      !(await confirm({
        title: "End this subscription?",
        text: html`<p>${one.endpoint} is no longer told when an item changes.</p>`,
        action: "End 1",
        danger: true,
      }))
    )
      return;
    try {
      await call("DELETE", `/subscriptions/${one.subscriptionId}`);
      tell("Ended.", () =>
        call("POST", "/subscriptions", { body: { protocol: one.protocol, endpoint: one.endpoint } }).then(
          state.reload,
          (fault) => tell(fault.message),
        ),
      );
    } catch (fault) {
      tell(fault.message);
    }
    state.reload();
  };
  // A change of an item is what subscribers are told of, so a test is one.
  const test = async () => {
    if (
      !(await confirm({
        title: "Send a test?",
        text: html`<p>An item is made for ${session.self.owner}, and every confirmed subscription is told of it. Delete it under Items afterwards.</p>`,
        action: "Make 1 item",
      }))
    )
      return;
    try {
      const item = await call("POST", "/items", { body: { test: "from the console" } });
      tell(`Made the item ${item.itemId}.`, () =>
        request("GET", `/items/${item.itemId}`)
          .then((answer) =>
            request("DELETE", `/items/${item.itemId}`, { headers: { "If-Match": answer.headers.get("ETag") } }),
          )
          .catch((fault) => tell(fault.message)),
      );
    } catch (fault) {
      tell(fault.message);
    }
  };
  return html`<div class="page-head"><h1>Subscriptions</h1><${Button} scope="items:write" onClick=${test}>Test …<//></div>
    <p class="muted">Who is told when an item of ${session.self.owner} changes. On AWS it can take 15 minutes to begin and to end.</p>
    <form class="panel row wrap bottom" onSubmit=${make}><${Field} label="By"><select value=${protocol} onChange=${(event) => setProtocol(event.target.value)}><option value="email">E-mail</option><option value="https">HTTPS</option><option value="sqs">SQS queue</option></select><//><${Field} label="Endpoint"><input type="text" required value=${endpoint} placeholder=${EXAMPLES[protocol]} onInput=${(event) => setEndpoint(event.target.value)} /><//><${Field} label="Token" hint="If the endpoint got one. Leave it empty to have it asked."><input id="subscription-token" type="text" autocomplete="off" maxlength="128" value=${token} onInput=${(event) => setToken(event.target.value)} /><//><${Button} type="submit" kind="primary" scope="items:write">Subscribe<//></form><${Fault} problem=${problem} />
    ${
      !allowed
        ? html`<p class="note">The list needs a token with the scope items:write.</p>`
        : html`<${Loaded} state=${state} what="The list of subscriptions" empty=${html`<${Empty} title="Nobody is told">Subscribe an address above.<//>`}>
      ${(items) => html`<${Table} label="Subscriptions" heads=${["Endpoint", "By", "Status", "Made", ACTIONS]}>${items.map((one) => html`<tr key=${one.subscriptionId}><th scope="row" class="long"><${Plain} text=${one.endpoint} /></th><td>${one.protocol}</td><td><${Status} of=${one.status} />${one.status === "pending" && html` <span class="muted small">follow the link that it got, or enter its token</span>`}</td><td><${Time} at=${one.createdAt} /></td><td>${one.status !== "confirmed" && html`<${Button} scope="items:write" aria-label=${`Confirm the subscription of ${one.endpoint}`} onClick=${() => fill(one)}>Confirm …<//> `}<${Button} scope="items:write" aria-label=${`End the subscription of ${one.endpoint}`} onClick=${() => end(one)}>End<//></td></tr>`)}<//>`}<//><${More} state=${state} />`
    }`;
}
