// What several pages are made of.
import { useCallback, useEffect, useId, useRef, useState } from "preact/hooks";
import { html } from "./html.js";
import { API_URL, isMissing, whyNot } from "./api.js";

// Characters that change the direction of what follows, or cannot be seen, are shown by their code.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Foreign text, isolated from what stands around it. */
export function Plain({ text }) {
  const shown = String(text ?? "");
  if (!shown) return html`<span class="muted">–</span>`;
  return html`<bdi>${reveal(shown)}</bdi>`;
}

export const reveal = (text) =>
  text.replace(UNSEEN, (one) => `⟨U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);

const MARKS = {
  clean: "ok",
  differences: "bad",
  PROCESSED: "ok",
  DONE: "ok",
  delivered: "ok",
  confirmed: "ok",
  FAILED: "bad",
  undelivered: "bad",
  REJECTED: "warn",
  ABORTED: "warn",
  retrying: "warn",
  pending: "warn",
  ended: "bad",
  active: "ok",
  failing: "bad",
  failed: "bad",
  waiting: "warn",
  paused: "warn",
  disabled: "bad",
};
const SIGNS = { ok: "✓", bad: "✕", warn: "!", open: "…" };

/** A status: a sign and a word, so that colour is not all there is. */
export function Status({ of }) {
  const mark = MARKS[of] || "open";
  return html`<span class="badge ${mark}"><span aria-hidden="true">${SIGNS[mark]}</span> ${of}</span>`;
}

/** A button which says why it is disabled instead of doing nothing. `scope` is what it needs.
 * It stays in the tab order, so that everybody can read the reason. */
export function Button({ children, onClick, scope = "", why = "", kind = "", busy = false, type = "button", ...more }) {
  const reason = why || (scope && whyNot(scope));
  const id = useId();
  const press = (event) => {
    if (reason || busy) event.preventDefault();
    else onClick?.(event);
  };
  return html`<button type=${type} class=${kind} aria-disabled=${reason || busy ? "true" : undefined} title=${reason || undefined}
      aria-describedby=${reason ? id : undefined} onClick=${press} ...${more}>${children}${busy && " …"}</button>
    ${reason && html`<span id=${id} class="hidden">${reason}</span>`}`;
}

/** What went wrong, in the API's words, with the request id to copy. */
export function Fault({ problem, retry }) {
  if (!problem) return null;
  if (problem.name === "AbortError") return null;
  return html`<div class="fault" role="alert">
    <p><strong>${problem.title || "Something went wrong"}${problem.status ? ` (${problem.status})` : ""}</strong> ${reveal(problem.message)}</p>
    ${problem.errors?.length > 0 && html`<ul>${problem.errors.map((one) => html`<li><code>${one.pointer || "the body"}</code> ${reveal(one.detail)}</li>`)}</ul>`}
    ${problem.requestId && html`<p class="small">Request <code>${problem.requestId}</code> <${Copy} text=${problem.requestId} what="the request id" /></p>`}
    ${problem.eventId && html`<p class="small">What was refused is kept: <a href=${`#/events/${problem.eventId}`}>open it</a>.</p>`}
    ${retry && html`<p><button type="button" onClick=${retry}>Try again</button></p>`}
  </div>`;
}

/** For what this version of the API does not have. */
export function Missing({ what }) {
  return html`<p class="note">${what} is not available: this stage's API does not offer it.</p>`;
}

export function Empty({ title, children, curl = "" }) {
  return html`<div class="empty"><h2>${title}</h2><p>${children}</p>${curl && html`<${Code} text=${curl} what="the curl line" />`}</div>`;
}

export function Skeleton({ lines = 4 }) {
  return html`<div class="skeleton" role="status"><span class="hidden">Loading</span>${Array.from({ length: lines }, () => html`<div></div>`)}</div>`;
}

export function Copy({ text, what = "", label = "Copy" }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await toClipboard(typeof text === "function" ? text() : text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button type="button" class="quiet" onClick=${copy} aria-label=${what ? `${label} ${what}` : undefined}>${done ? "Copied" : label}</button>`;
}

async function toClipboard(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Without TLS there is no clipboard but the old one.
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Text to copy, such as a curl line. */
export function Code({ text, what }) {
  return html`<div class="code"><pre tabindex="0" role="group" aria-label=${what}>${text}</pre><${Copy} text=${text} what=${what} /></div>`;
}

/** The curl line of a request. The token is a variable of the shell, never the token itself. */
export function curl(method, path, body, headers = {}) {
  const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
  const lines = [
    `curl -sS ${method === "GET" ? "" : `-X ${method} `}${quoted(API_URL + path)}`,
    `-H "Authorization: Bearer $API_TOKEN"`,
  ];
  for (const [name, value] of Object.entries(headers)) lines.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (body !== undefined) {
    if (!headers["Content-Type"]) lines.push(`-H 'Content-Type: application/json'`);
    lines.push(`--data-binary ${quoted(typeof body === "string" ? body : JSON.stringify(body))}`);
  }
  return lines.join(" \\\n  ");
}

/** A label with its field, and what is wrong with it. */
export function Field({ label, hint = "", fault = "", children, wide = false }) {
  return html`<label class="field ${wide ? "wide" : ""}"><span>${label}</span>${children}${hint && html`<small>${hint}</small>`}${fault && html`<small class="bad" role="alert">${fault}</small>`}</label>`;
}

/** An input that hands on its text when it is left. What is typed stays, whatever is drawn anew beside it
 * meanwhile.
 * @param {{value: string, onText: (text: string) => void} & Record<string, any>} given */
export function Input({ value, onText, ...others }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  return html`<input ...${others} value=${text} onInput=${(event) => setText(event.target.value)} onChange=${(event) => onText(event.target.value.trim())} />`;
}

/** Load something, and again when `deps` change. `every` is milliseconds between loads, 0 for once;
 * hidden tabs wait. */
export function useLoad(load, deps, every = 0) {
  const [state, setState] = useState({ data: null, problem: null, loading: true });
  const live = useRef(null);
  const run = useCallback(async () => {
    live.current?.abort();
    const control = new AbortController();
    live.current = control;
    try {
      const data = await load(control.signal);
      if (!control.signal.aborted) setState({ data, problem: null, loading: false });
    } catch (problem) {
      if (!control.signal.aborted) setState((before) => ({ ...before, problem, loading: false }));
    }
    if (live.current === control) live.current = null;
  }, deps);
  useEffect(() => {
    setState((before) => ({ ...before, loading: true }));
    run();
    const timer = every ? setInterval(() => document.hidden || live.current || run(), every) : 0;
    return () => {
      clearInterval(timer);
      live.current?.abort();
    };
  }, [run, every]);
  return { ...state, reload: run };
}

/** What a list shows while it loads, fails, is missing or is empty; its rows otherwise. */
export function Loaded({ state, what, empty, children }) {
  if (state.problem && isMissing(state.problem)) return html`<${Missing} what=${what} />`;
  if (state.problem && !state.data) return html`<${Fault} problem=${state.problem} retry=${state.reload} />`;
  if (!state.data) return html`<${Skeleton} />`;
  const items = state.data.items;
  return html`${state.problem && html`<${Fault} problem=${state.problem} retry=${state.reload} />`}${items && !items.length ? empty : children(items || state.data)}`;
}

/** Pages of a list, one below the other. */
export function usePages(fetchPage, deps) {
  const [more, setMore] = useState({ items: [], cursor: null, problem: null, busy: false });
  const first = useLoad((signal) => fetchPage(null, signal), deps);
  useEffect(() => setMore({ items: [], cursor: first.data?.cursor ?? null, problem: null, busy: false }), [first.data]);
  const next = async () => {
    if (more.busy) return;
    setMore({ ...more, busy: true });
    try {
      const page = await fetchPage(more.cursor);
      setMore({ items: [...more.items, ...page.items], cursor: page.cursor, problem: null, busy: false });
    } catch (problem) {
      setMore({ ...more, problem, busy: false });
    }
  };
  const data = first.data && { ...first.data, items: [...first.data.items, ...more.items] };
  return { ...first, data, cursor: more.cursor, next, busy: more.busy, problem: first.problem || more.problem };
}

export function More({ state }) {
  return state.cursor && html`<p><${Button} onClick=${state.next} busy=${state.busy}>Load more<//></p>`;
}

// ------------------------------------------------------------------ dialogs and short messages

let ask = null;
let say = null;

/** Ask before something that touches many or cannot be undone; answers true or false.
 * @param {{title: string, text: any, action: string, danger?: boolean}} question
 * @returns {Promise<boolean>} */
export const confirm = (question) => new Promise((resolve) => ask({ ...question, resolve }));

/** Tell that something was done; `undo` is offered beside it.
 * @param {string} text
 * @param {(() => void) | null} [undo] */
export const tell = (text, undo = null) => say({ text, undo, at: Date.now() });

export function Overlays() {
  const [question, setQuestion] = useState(null);
  const [message, setMessage] = useState(null);
  ask = setQuestion;
  say = setMessage;
  useEffect(() => {
    if (!message) return undefined;
    const timer = setTimeout(() => setMessage(null), message.undo ? 10000 : 6000);
    return () => clearTimeout(timer);
  }, [message]);
  const close = (answer) => {
    question.resolve(answer);
    setQuestion(null);
  };
  return html`
    ${
      question &&
      html`<${Dialog} title=${question.title} onClose=${() => close(false)}>
      <div>${question.text}</div>
      <div class="row end">
        <button type="button" onClick=${() => close(false)}>Cancel</button>
        <button type="button" class=${question.danger ? "danger" : "primary"} onClick=${() => close(true)}>${question.action}</button>
      </div>
    <//>`
    }
    <div class="toast-place" role="status" aria-live="polite">${
      message &&
      html`<div class="toast">${message.text}
      ${
        message.undo &&
        html` <button type="button" class="quiet" onClick=${() => {
          message.undo();
          setMessage(null);
        }}>Undo</button>`
      }</div>`
    }</div>`;
}

/** A modal dialog: the browser keeps the focus in it and gives it back. */
export function Dialog({ title, onClose, children, wide = false }) {
  const ref = useRef(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    ref.current.showModal();
    return () => before instanceof HTMLElement && before.isConnected && before.focus();
  }, []);
  return html`<dialog ref=${ref} class=${wide ? "wide" : ""} aria-labelledby=${id} onCancel=${(event) => {
    event.preventDefault();
    onClose();
  }}>
    <h2 id=${id}>${title}</h2>${children}</dialog>`;
}

export function download(name, parts, type) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

export const bytes = (size) =>
  size == null
    ? "–"
    : size < 1024
      ? `${size} B`
      : size < 1048576
        ? `${(size / 1024).toFixed(1)} KB`
        : `${(size / 1048576).toFixed(1)} MB`;

export const count = (number) => (number ?? 0).toLocaleString();
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** Text in JSON, or the reason why it is none, with its line. */
export function readJson(text) {
  try {
    return { value: JSON.parse(text), fault: "" };
  } catch (error) {
    const at = /position (\d+)/.exec(error.message);
    const line = at ? ` (line ${text.slice(0, Number(at[1])).split("\n").length})` : "";
    return {
      value: undefined,
      fault: `This is not JSON: ${error.message.replace(/ \(line .*| in JSON at.*/, "")}${line}`,
    };
  }
}

export function useTitle(title) {
  useEffect(() => {
    document.title = `${title} · Eventline`;
  }, [title]);
}

/** A table that scrolls by itself where it is wider than the window. */
export const Table = ({ label, heads, children }) =>
  html`<div class="scroll" tabindex="0" role="group" aria-label=${label}><table><thead><tr>${heads.map((head) => html`<th scope="col" class=${head.num ? "num" : ""}>${head.label || head}</th>`)}</tr></thead><tbody>${children}</tbody></table></div>`;

export const ACTIONS = { label: html`<span class="hidden">Actions</span>` };
