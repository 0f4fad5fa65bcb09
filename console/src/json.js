// A document to read: as a tree that folds, as text, or as bytes.
import { useMemo, useState } from "preact/hooks";
import { html } from "./html.js";
import { Copy, bytes, download, reveal } from "./parts.js";

const CHILDREN = 100;
const CHARACTERS = 500;
const HEX_BYTES = 4096;
const TEXT_CHARACTERS = 200_000;

const matches = (text, needle) => Boolean(needle) && String(text).toLowerCase().includes(needle);

/** Whether a value, or something in it, has the needle. */
function holds(value, needle) {
  if (!needle) return false;
  if (value === null || typeof value !== "object") return matches(value, needle);
  return Object.entries(value).some(
    ([key, child]) => (!Array.isArray(value) && matches(key, needle)) || holds(child, needle),
  );
}

export function Marked({ text, needle }) {
  if (!needle) return reveal(text);
  const low = text.toLowerCase();
  const parts = [];
  let from = 0;
  for (let at = low.indexOf(needle); at >= 0 && parts.length < 2000; at = low.indexOf(needle, from)) {
    parts.push(reveal(text.slice(from, at)), html`<mark>${reveal(text.slice(at, at + needle.length))}</mark>`);
    from = at + needle.length;
  }
  return [...parts, reveal(text.slice(from))];
}

function Scalar({ value, needle }) {
  const [all, setAll] = useState(false);
  if (typeof value !== "string")
    return html`<span class="js-${value === null ? "null" : typeof value}"><${Marked} text=${String(value)} needle=${needle} /></span>`;
  const long = value.length > CHARACTERS;
  const shown = long && !all ? value.slice(0, CHARACTERS) : value;
  return html`<span class="js-string">"<bdi><${Marked} text=${shown} needle=${needle} /></bdi>"</span>${long && html` <button type="button" class="quiet" onClick=${() => setAll(!all)}>${all ? "less" : `all ${value.length.toLocaleString()} characters`}</button>`}`;
}

function Node({ name, value, depth, needle, last }) {
  const [open, setOpen] = useState(depth < 3);
  const [limit, setLimit] = useState(CHILDREN);
  const label =
    name !== null && html`<span class="js-key"><bdi><${Marked} text=${String(name)} needle=${needle} /></bdi></span>: `;
  const comma = last ? "" : ",";
  if (value === null || typeof value !== "object")
    return html`<div class="js-line">${label}<${Scalar} value=${value} needle=${needle} />${comma}</div>`;
  const isList = Array.isArray(value);
  const entries = Object.entries(value);
  const [left, right] = isList ? "[]" : "{}";
  if (!entries.length) return html`<div class="js-line">${label}${left}${right}${comma}</div>`;
  const isOpen = open || (needle && holds(value, needle));
  const size = `${entries.length} ${isList ? "entries" : "members"}`;
  return html`<div class="js-node">
    <div class="js-line"><button type="button" class="fold" aria-expanded=${isOpen} aria-label=${`${name ?? "document"}, ${size}`} onClick=${() => setOpen(!isOpen)}>${isOpen ? "▾" : "▸"}</button>${label}${left}${!isOpen && html` <span class="muted">${size}</span> ${right}${comma}`}</div>
    ${
      isOpen &&
      html`<div class="js-children">${entries.slice(0, limit).map(([key, child], index) => html`<${Node} key=${key} name=${isList ? null : key} value=${child} depth=${depth + 1} needle=${needle} last=${index === entries.length - 1} />`)}
      ${entries.length > limit && html`<button type="button" class="quiet" onClick=${() => setLimit(limit + 10 * CHILDREN)}>${(entries.length - limit).toLocaleString()} more</button>`}</div>
    <div class="js-line">${right}${comma}</div>`
    }
  </div>`;
}

function hex(data) {
  const lines = [];
  for (let at = 0; at < Math.min(data.length, HEX_BYTES); at += 16) {
    const part = data.subarray(at, at + 16);
    const digits = [...part].map((one) => one.toString(16).padStart(2, "0")).join(" ");
    const letters = [...part].map((one) => (one > 31 && one < 127 ? String.fromCharCode(one) : "·")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${digits.padEnd(47)}  ${letters}`);
  }
  if (data.length > HEX_BYTES) lines.push(`… ${bytes(data.length - HEX_BYTES)} more; download to see all`);
  return lines.join("\n");
}

/** What bytes are: JSON, text or neither. */
export function read(data) {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    return { kind: "bytes" };
  }
  try {
    return { kind: "json", text, value: JSON.parse(text) };
  } catch {
    return { kind: "text", text };
  }
}

/** A document: `data` is its bytes. */
export function Document({ title, data, file, type = "application/octet-stream" }) {
  const found = useMemo(() => read(data), [data]);
  const [view, setView] = useState("");
  const [search, setSearch] = useState("");
  const views = { json: ["tree", "text", "bytes"], text: ["text", "bytes"], bytes: ["bytes"] }[found.kind];
  const shown = views.includes(view) ? view : views[0];
  const needle = search.toLowerCase();
  const pretty = useMemo(() => (found.kind === "json" ? JSON.stringify(found.value, null, 2) : found.text), [found]);
  const hits = useMemo(() => (needle && pretty ? pretty.toLowerCase().split(needle).length - 1 : 0), [needle, pretty]);
  return html`<section class="panel document" aria-label=${title}>
    <div class="panel-head"><h2>${title} <span class="muted small">${bytes(data.length)}</span></h2>
      <div class="row">
        <div class="tabs" role="group" aria-label=${`View of the ${title.toLowerCase()}`}>${views.map((one) => html`<button type="button" aria-pressed=${one === shown} onClick=${() => setView(one)}>${one}</button>`)}</div>
        ${found.text !== undefined && html`<${Copy} text=${found.text} what=${`the ${title.toLowerCase()}`} />`}
        <button type="button" class="quiet" aria-label=${`Download the ${title.toLowerCase()}`} onClick=${() => download(file, [data], type)}>Download</button>
      </div></div>
    ${shown !== "bytes" && html`<div class="row"><input type="search" class="small-input" placeholder=${`Search the ${title.toLowerCase()}`} aria-label=${`Search the ${title.toLowerCase()}`} value=${search} onInput=${(event) => setSearch(event.target.value)} />${needle && html`<span class="muted small" role="status">${hits} found</span>`}</div>`}
    <div class="document-body" tabindex="0" role="group" aria-label=${`${title}, ${shown}`}>
      ${shown === "tree" && html`<div class="js"><${Node} name=${null} value=${found.value} depth=${0} needle=${needle} last=${true} /></div>`}
      ${shown === "text" && html`<pre class="wrap"><bdi><${Marked} text=${pretty.slice(0, TEXT_CHARACTERS)} needle=${needle} /></bdi>${pretty.length > TEXT_CHARACTERS && "\n… download to see all"}</pre>`}
      ${shown === "bytes" && html`<pre>${hex(data)}</pre>`}
    </div>
  </section>`;
}
