// Items: a list, and an editor that explains a conflict.
import { useEffect, useMemo, useState } from "preact/hooks";
import { html } from "./html.js";
import { get, may, request, session } from "./api.js";
import {
  Button,
  Dialog,
  Empty,
  Fault,
  Field,
  Input,
  Loaded,
  More,
  Plain,
  Table,
  bytes,
  confirm,
  curl,
  readJson,
  tell,
  usePages,
  useTitle,
} from "./parts.js";
import { go, href } from "./router.js";
import { Time } from "./time.js";

const pretty = (value) => JSON.stringify(value, null, 2);

export function Items({ id, query }) {
  useTitle("Items");
  const [making, setMaking] = useState(false);
  const owner = query.owner || "";
  const state = usePages(
    (cursor, signal) =>
      may("items:read")
        ? get("/items", { limit: 50, cursor, owner }, signal)
        : Promise.resolve({ items: [], cursor: null }),
    [owner],
  );
  return html`<div class="page-head"><h1>Items</h1><div class="row wrap">${may("admin") && html`<label class="inline"><span>Owner</span><${Input} type="text" value=${owner} placeholder=${session.self.owner} onText=${(text) => go(["items"], { owner: text })} /></label>`}<${Button} kind="primary" scope="items:write" onClick=${() => setMaking(true)}>New item<//></div></div>
    ${
      !may("items:read")
        ? html`<p class="note">This needs a token with the scope items:read.</p>`
        : html`<${Loaded} state=${state} what="The list of items" empty=${html`<${Empty} title="No item" curl=${curl("POST", "/items", { name: "desk" })}>Make one here, or from a shell:<//>`}>
      ${(items) => html`<${Table} label="Items" heads=${["Item", "Data", { label: "Version", num: true }, "Changed"]}>${items.map((one) => html`<tr key=${one.itemId}><th scope="row"><a href=${href(["items", one.itemId], query)}>${one.itemId}</a></th><td class="cut"><${Plain} text=${one.data ? JSON.stringify(one.data).slice(0, 200) : `${bytes(one.dataBytes)}, open it to see`} /></td><td class="num">${one.version}</td><td><${Time} at=${one.updatedAt} /></td></tr>`)}<//>`}<//><${More} state=${state} />`
    }
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
  useEffect(() => {
    if (id)
      load().then((found) => {
        setText(pretty(found.item.data));
        setEtag(found.etag);
      }, setProblem);
  }, [id]);
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
  const remove = async () =>
    (await confirm({
      title: "Delete this item?",
      text: html`<p><code>${id}</code> is deleted, and its owner is told.</p>`,
      action: "Delete 1",
      danger: true,
    })) && act("DELETE");
  return html`<${Dialog} title=${id ? "Item" : "New item"} onClose=${onClose} wide=${true}>
    ${id && html`<p class="id"><code>${id}</code> <span class="muted">ETag ${etag}</span></p>`}
    <${Field} label="Data" fault=${text && read.fault} wide=${true}><textarea class="mono" rows="12" spellcheck="false" value=${text} onInput=${(event) => setText(event.target.value)}></textarea><//>
    ${
      theirs &&
      html`<div class="fault" role="alert"><p><strong>Somebody else changed it meanwhile.</strong> Nothing of yours was saved. This is what is there now (version ${theirs.item.version}):</p><pre class="wrap">${pretty(theirs.item.data)}</pre>
      <div class="row wrap"><button type="button" onClick=${() => {
        setText(pretty(theirs.item.data));
        setEtag(theirs.etag);
        setTheirs(null);
      }}>Take theirs</button><button type="button" class="danger" onClick=${() => {
        const fresh = theirs.etag;
        setEtag(fresh);
        setTheirs(null);
        act("PUT", fresh);
      }}>Overwrite it with mine</button></div></div>`
    }
    <${Fault} problem=${problem} />
    <div class="row end wrap">${id && html`<${Button} kind="danger" scope="items:write" busy=${busy} onClick=${remove}>Delete<//>`}<button type="button" onClick=${onClose}>Cancel</button><${Button} kind="primary" scope="items:write" busy=${busy} why=${read.fault} onClick=${() => act(id ? "PUT" : "POST")}>Save<//></div><//>`;
}
