// The events: find some, watch them come, choose some, and do something with them.
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { html } from "./html.js";
import { get, isMissing, may } from "./api.js";
import { redriveSome, replaySome } from "./actions.js";
import {
  Button,
  Copy,
  Empty,
  Fault,
  Input,
  Plain,
  Skeleton,
  Status,
  count,
  curl,
  download,
  plural,
  tell,
  useTitle,
} from "./parts.js";
import { go, href } from "./router.js";
import { Spacer, useWindow } from "./table.js";
import { Time, duration, fromInput, toInput } from "./time.js";

export const STATUSES = ["RECEIVED", "ENQUEUED", "PROCESSED", "FAILED", "REJECTED"];
const OPEN = new Set(["RECEIVED", "ENQUEUED"]);
const PRESETS = { "15m": ["15 minutes", 15], "1h": ["1 hour", 60], "24h": ["24 hours", 1440], "7d": ["7 days", 10080] };
const PAGE = 100;
const POLL = 2000;
const POLL_HIDDEN = 30_000;
const CATCH_UP = 20;
const EXPORT = 10_000;
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The API's query for what the address says. */
export function filters(query) {
  const found = {
    eventType: query.eventType,
    status: query.status,
    from: query.from,
    to: query.to,
    owner: query.owner,
    replayOf: query.replayOf,
  };
  if (PRESETS[query.last]) found.from = new Date(Date.now() - PRESETS[query.last][1] * 60_000).toISOString();
  if (query.key) return { idempotencyKey: query.key, owner: query.owner };
  if (query.ceId) return { source: query.ceSource, id: query.ceId, owner: query.owner };
  return found;
}

/** The list, which grows at its end by pages and at its start by what is new. */
function useEvents(query) {
  const key = JSON.stringify(query);
  const [state, setState] = useState({ items: null, cursor: null, problem: null, busy: true });
  const [fresh, setFresh] = useState([]);
  const newest = useRef({ cursor: null, id: null });
  const control = useRef(null);

  const start = useCallback(async () => {
    control.current?.abort();
    const mine = new AbortController();
    control.current = mine;
    setState((before) => ({ ...before, busy: true, problem: null }));
    try {
      const page = await get("/events", { ...filters(query), limit: PAGE }, mine.signal);
      if (mine.signal.aborted) return;
      newest.current = { cursor: page.newest ?? null, id: page.items[0]?.eventId ?? null };
      setFresh([]);
      setState({ items: page.items, cursor: page.cursor, problem: null, busy: false });
    } catch (problem) {
      if (!mine.signal.aborted) setState({ items: null, cursor: null, problem, busy: false });
    }
  }, [key]);
  useEffect(() => {
    setState({ items: null, cursor: null, problem: null, busy: true });
    start();
    return () => control.current?.abort();
  }, [start]);

  const next = useCallback(async () => {
    if (state.busy || !state.cursor) return;
    setState((before) => ({ ...before, busy: true }));
    const mine = control.current;
    try {
      const page = await get("/events", { ...filters(query), limit: PAGE, cursor: state.cursor }, mine?.signal);
      if (mine?.signal.aborted) return;
      setState((before) => ({
        items: merge(before.items, page.items),
        cursor: page.cursor,
        problem: null,
        busy: false,
      }));
    } catch (problem) {
      if (!mine?.signal.aborted) setState((before) => ({ ...before, problem, busy: false }));
    }
  }, [key, state.busy, state.cursor]);

  /** Look for what is newer. Nothing between two looks is missed: it goes on until it meets what is known. */
  const poll = useCallback(async () => {
    const mine = control.current;
    const known = new Set([...fresh, ...(state.items || [])].map((event) => event.eventId));
    const found = [];
    if (newest.current.cursor) {
      for (let page = 0; page < CATCH_UP; page++) {
        const answer = await get(
          "/events",
          { ...filters(query), from: undefined, limit: PAGE, after: newest.current.cursor },
          mine?.signal,
        );
        if (answer.newest) newest.current.cursor = answer.newest;
        const added = answer.items.filter((event) => !known.has(event.eventId));
        for (const event of added) known.add(event.eventId);
        found.push(...added);
        if (!answer.items.length) break;
      }
    } else {
      let cursor = null;
      for (let page = 0; page < CATCH_UP; page++) {
        const answer = await get("/events", { ...filters(query), limit: PAGE, cursor }, mine?.signal);
        newest.current.cursor = answer.newest ?? null;
        const added = answer.items.filter((event) => !known.has(event.eventId));
        found.push(...added);
        cursor = answer.cursor;
        if (added.length < answer.items.length || !cursor) break;
      }
    }
    if (mine?.signal.aborted || !found.length) return;
    found.sort((one, other) => (one.receivedAt < other.receivedAt ? 1 : -1));
    setFresh((before) => merge(found, before));
  }, [key, state.items, fresh]);

  const show = () => {
    setState((before) => ({ ...before, items: merge(fresh, before.items || []) }));
    setFresh([]);
  };
  const update = (event) =>
    setState((before) => ({
      ...before,
      items: before.items && before.items.map((one) => (one.eventId === event.eventId ? event : one)),
    }));
  return { ...state, fresh, start, next, poll, show, update };
}

function merge(first, second) {
  const known = new Set(first.map((event) => event.eventId));
  return [...first, ...second.filter((event) => !known.has(event.eventId))];
}

export function Events({ query }) {
  useTitle(query.status ? `${query.status} events` : "Events");
  const list = useEvents(query);
  const [live, setLive] = useState(true);
  const [chosen, setChosen] = useState(new Set());
  const [pollFault, setPollFault] = useState(null);
  const [at, setAt] = useState(-1);
  const isLookup = Boolean(query.key || query.ceId);
  const items = list.items || [];
  useEffect(() => {
    setChosen(new Set());
    setAt(-1);
  }, [JSON.stringify(query)]);

  // The live tail: what is new comes in at the top while the reader is there, and waits otherwise.
  const { poll } = list;
  useEffect(() => {
    if (!live || isLookup || !list.items || query.to) return undefined;
    let timer = 0;
    let gone = false;
    let failures = 0;
    const turn = async () => {
      try {
        await poll();
        const open = items.filter((event) => OPEN.has(event.status)).slice(0, 10);
        await Promise.all(
          open.map(async (event) => {
            const now = await get(`/events/${event.eventId}`);
            if (!gone && now.status !== event.status) list.update(now);
          }),
        );
        failures = 0;
        if (!gone) setPollFault(null);
      } catch (problem) {
        failures++;
        if (!gone && problem.name !== "AbortError") setPollFault(problem);
      }
      if (!gone) timer = setTimeout(turn, wait());
    };
    const wait = () => Math.min(document.hidden ? POLL_HIDDEN : POLL * 2 ** failures, POLL_HIDDEN);
    const seen = () => {
      if (document.hidden) return;
      clearTimeout(timer);
      timer = setTimeout(turn, 0);
    };
    timer = setTimeout(turn, wait());
    document.addEventListener("visibilitychange", seen);
    return () => {
      gone = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [live, poll, isLookup, list.items, query.to]);
  useEffect(() => {
    if (live && list.fresh.length && scrollY < 80) list.show();
  }, [list.fresh]);

  // j and k go through the rows, Enter opens, x chooses. In place before the next key arrives: an
  // Enter right after j must know the row.
  useLayoutEffect(() => {
    const press = (event) => {
      if (
        event.defaultPrevented ||
        event.ctrlKey ||
        event.metaKey ||
        event.altKey ||
        /^(INPUT|TEXTAREA|SELECT|DIALOG)$/.test(event.target.tagName) ||
        document.querySelector("dialog[open]")
      )
        return;
      if (event.key === "j" || event.key === "k") {
        event.preventDefault();
        setAt((before) => Math.max(0, Math.min(items.length - 1, before + (event.key === "j" ? 1 : -1))));
      } else if (event.key === "Enter" && at >= 0 && items[at] && !/^(A|BUTTON)$/.test(event.target.tagName)) {
        go(["events", items[at].eventId]);
      } else if (event.key === "x" && items[at]) {
        toggle(items[at].eventId);
      } else if (event.key === "p") {
        setLive((before) => !before);
      }
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
  const toggle = (id) =>
    setChosen((before) => {
      const after = new Set(before);
      if (!after.delete(id)) after.add(id);
      return after;
    });

  const picked = items.filter((event) => chosen.has(event.eventId));
  const failed = picked.filter((event) => event.status === "FAILED");
  return html`
    <div class="page-head"><h1>Events</h1><div class="row">
      <button type="button" aria-pressed=${live} disabled=${isLookup || Boolean(query.to)} onClick=${() => setLive(!live)} title="p">${live ? "❚❚ Pause" : "▶ Go live"}</button>
      <${Export} query=${query} items=${items} more=${Boolean(list.cursor)} />
      <${Copy} label="Copy link" text=${() => location.href} /></div></div>
    <${Filters} query=${query} items=${items} />
    ${
      chosen.size > 0 &&
      html`<div class="panel chosen row" role="group" aria-label="Chosen events"><strong>${count(chosen.size)} chosen</strong>
      <${Button} scope="events:admin" onClick=${async () => (await replaySome(picked.map((event) => event.eventId))) && setChosen(new Set())}>Replay<//>
      <${Button} scope="events:admin" kind="primary" why=${failed.length ? "" : "None of the chosen events is FAILED."} onClick=${async () => {
        if (await redriveSome(failed.map((event) => event.eventId))) {
          setChosen(new Set());
          list.start();
        }
      }}>Redrive ${failed.length ? count(failed.length) : ""}<//>
      <button type="button" class="quiet" onClick=${() => setChosen(new Set())}>Clear</button></div>`
    }
    <div class="fresh" role="status">${
      list.fresh.length > 0 &&
      html`<button type="button" class="primary" onClick=${() => {
        list.show();
        scrollTo({ top: 0 });
      }}>↑ ${plural(list.fresh.length, "new event")}</button>`
    }</div>
    ${pollFault && html`<p class="note">Live updates wait: ${pollFault.message}</p>`}
    ${
      list.problem && !list.items
        ? isLookup && isMissing(list.problem) && list.problem.status === 400
          ? html`<${Fault} problem=${{ ...list.problem, title: "This search is not available", message: "This stage's API cannot search by key or by CloudEvents id." }} />`
          : html`<${Fault} problem=${list.problem} retry=${list.start} />`
        : !list.items
          ? html`<${Skeleton} lines=${10} />`
          : !items.length
            ? html`<${Nothing} query=${query} />`
            : html`<${Rows} items=${items} chosen=${chosen} setChosen=${setChosen} toggle=${toggle} at=${at} list=${list} />`
    }
    ${list.problem && list.items && html`<${Fault} problem=${list.problem} retry=${list.next} />`}`;
}

function Rows({ items, chosen, setChosen, toggle, at, list }) {
  const { ref, start, end, height } = useWindow(items.length);
  const isAdmin = may("admin");
  const columns = isAdmin ? 8 : 7;
  useEffect(() => {
    if (list.cursor && !list.busy && end > items.length - 20) list.next();
  }, [end, items.length, list.cursor, list.busy]);
  useEffect(() => {
    if (at < 0 || !ref.current) return;
    const top = ref.current.getBoundingClientRect().top + at * height;
    if (top < 120) scrollBy({ top: top - 120 });
    else if (top + height > innerHeight) scrollBy({ top: top + height - innerHeight + 8 });
  }, [at]);
  const all = items.length > 0 && chosen.size === items.length;
  return html`<table class="events" aria-rowcount=${list.cursor ? -1 : items.length + 1} aria-label="Events">
    <thead><tr><th scope="col" class="check"><input type="checkbox" aria-label="Choose all that are loaded" checked=${all} onChange=${() => setChosen(all ? new Set() : new Set(items.map((event) => event.eventId)))} /></th>
      <th scope="col" class="c-status">Status</th><th scope="col" class="c-type">Type</th><th scope="col">Source</th><th scope="col">Subject</th>${isAdmin && html`<th scope="col" class="c-owner">Owner</th>`}<th scope="col" class="c-time">Received</th><th scope="col" class="num c-took">Took</th></tr></thead>
    <tbody ref=${ref}><${Spacer} rows=${start} height=${height} columns=${columns} />
      ${items.slice(start, end).map((event, index) => html`<${Row} key=${event.eventId} event=${event} index=${start + index} isAt=${start + index === at} isAdmin=${isAdmin} isChosen=${chosen.has(event.eventId)} toggle=${toggle} />`)}
      <${Spacer} rows=${items.length - end} height=${height} columns=${columns} /></tbody></table>
    <p class="muted small" role="status">${plural(items.length, "event")} loaded${list.cursor ? (list.busy ? ", more are coming" : "") : ", these are all"}.</p>`;
}

export const took = (event) =>
  OPEN.has(event.status) ? null : Date.parse(event.updatedAt) - Date.parse(event.receivedAt);

function Row({ event, index, isAt, isAdmin, isChosen, toggle }) {
  const to = href(["events", event.eventId]);
  return html`<tr class=${isAt ? "at" : ""} aria-rowindex=${index + 2} onClick=${(press) => {
    if (!press.target.closest("a, input, button, label") && !String(getSelection())) location.hash = to;
  }}>
    <td class="check"><label><input type="checkbox" aria-label=${`Choose the event ${event.eventId}`} checked=${isChosen} onChange=${() => toggle(event.eventId)} /></label></td>
    <td class="c-status"><${Status} of=${event.status} /></td>
    <th scope="row" class="c-type"><a href=${to}><${Plain} text=${event.eventType} /></a></th>
    <td class="c-source"><${Plain} text=${event.source} /></td>
    <td class="c-subject"><${Plain} text=${event.subject} /></td>
    ${isAdmin && html`<td class="c-owner"><${Plain} text=${event.owner} /></td>`}
    <td class="c-time"><${Time} at=${event.receivedAt} /></td>
    <td class="num c-took">${duration(took(event))}</td></tr>`;
}

function Nothing({ query }) {
  const isFiltered = Object.keys(query).length > 0;
  if (isFiltered)
    return html`<${Empty} title="No event matches">Widen the time, or <a href="#/events">clear all filters</a>. A search by key or by id finds only what this token's owner sent.<//>`;
  return html`<${Empty} title="No event yet" curl=${curl("POST", "/events", { eventType: "demo", message: "hello" })}><a href="#/send">Send one</a> from here, or paste this line into a shell:<//>`;
}

function Filters({ query, items }) {
  const [search, setSearch] = useState("");
  const [exact, setExact] = useState(Boolean(query.from || query.to));
  useEffect(() => setExact(Boolean(query.from || query.to)), [query.from, query.to]);
  const types = useMemo(() => [...new Set(items.map((event) => event.eventType))].sort().slice(0, 50), [items]);
  const schemas = useTypes();
  const set = (changes) => {
    const after = { ...query, ...changes };
    for (const name of ["key", "ceSource", "ceId"]) if (!(name in changes)) delete after[name];
    go(["events"], after);
  };
  return html`<div class="filters">
    <form role="search" class="row grow" onSubmit=${(event) => {
      event.preventDefault();
      find(search.trim(), setSearch);
    }}>
      <label class="grow"><span class="hidden">Search</span><input id="search" type="search" value=${search} onInput=${(event) => setSearch(event.target.value)} placeholder="Event id, idempotency key, or source + id  ( / )" /></label><button type="submit">Find</button></form>
    <div class="row wrap">
      <label class="inline"><span>Type</span><${Input} type="text" list="types" value=${query.eventType || ""} placeholder="any" onText=${(text) => set({ eventType: text })} /></label>
      <datalist id="types">${[...new Set([...types, ...schemas])].map((type) => html`<option value=${type}></option>`)}</datalist>
      <label class="inline"><span>Status</span><select value=${query.status || ""} onChange=${(event) => set({ status: event.target.value })}><option value="">any</option>${STATUSES.map((status) => html`<option value=${status}>${status}</option>`)}</select></label>
      <label class="inline"><span>Time</span><select value=${exact ? "exact" : query.last || ""} onChange=${(event) => (event.target.value === "exact" ? setExact(true) : set({ last: event.target.value, from: "", to: "" }))}><option value="">any</option>${Object.entries(PRESETS).map(([name, [label]]) => html`<option value=${name}>last ${label}</option>`)}<option value="exact">exact …</option></select></label>
      ${
        exact &&
        html`<label class="inline"><span>From</span><${Input} type="datetime-local" step="1" value=${toInput(query.from)} onText=${(text) => set({ from: fromInput(text), last: "" })} /></label>
        <label class="inline"><span>To</span><${Input} type="datetime-local" step="1" value=${toInput(query.to)} onText=${(text) => set({ to: fromInput(text), last: "" })} /></label>`
      }
      ${may("admin") && html`<label class="inline"><span>Owner</span><${Input} type="text" value=${query.owner || ""} placeholder="any" onText=${(text) => set({ owner: text })} /></label>`}
      ${query.key && html`<span class="chip">key <${Plain} text=${query.key} /></span>`}${query.ceId && html`<span class="chip"><${Plain} text=${query.ceSource} /> + <${Plain} text=${query.ceId} /></span>`}${query.replayOf && html`<span class="chip">replays of ${query.replayOf}</span>`}
      ${Object.keys(query).length > 0 && html`<button type="button" class="quiet" onClick=${() => go(["events"])}>Clear</button>`}
    </div></div>`;
}

/** Types that have a schema, as suggestions; none without them is no fault. */
export function useTypes() {
  const [types, setTypes] = useState([]);
  useEffect(() => {
    get("/schemas", { limit: 100 }).then(
      (page) => setTypes(page.items.map((one) => one.eventType)),
      () => {},
    );
  }, []);
  return types;
}

/** Where a search leads: an event's id opens it, two words are source and id, one is a key. */
function find(text, setSearch) {
  if (!text) return;
  setSearch("");
  const [source, id, ...others] = text.split(/\s*\+\s*|\s+/);
  if (ID.test(text)) go(["events", text.toLowerCase()]);
  else if (id && !others.length) go(["events"], { ceSource: source, ceId: id });
  else go(["events"], { key: text });
}

function Export({ query, items, more }) {
  const [busy, setBusy] = useState(0);
  const all = async () => {
    const found = [...items];
    if (!more) return found;
    let cursor = null;
    found.length = 0;
    do {
      const page = await get("/events", { ...filters(query), limit: PAGE, cursor });
      found.push(...page.items);
      setBusy(found.length);
      cursor = page.cursor;
    } while (cursor && found.length < EXPORT);
    if (cursor) tell(`The export has the newest ${count(EXPORT)} events; narrow the time for others.`);
    return found;
  };
  const save = async (event) => {
    const form = event.target.value;
    event.target.value = "";
    if (!form) return;
    setBusy(1);
    try {
      const events = await all();
      const text = form === "csv" ? csv(events) : events.map((one) => `${JSON.stringify(one)}\n`).join("");
      download(`events.${form}`, [text], form === "csv" ? "text/csv" : "application/x-ndjson");
    } catch (problem) {
      tell(`The export failed: ${problem.message}`);
    }
    setBusy(0);
  };
  return html`<label><span class="hidden">Export</span><select onChange=${save} disabled=${busy > 0}><option value="">${busy > 1 ? `Exporting, ${count(busy)} …` : "Export …"}</option><option value="ndjson">NDJSON</option><option value="csv">CSV</option></select></label>`;
}

const COLUMNS = [
  "eventId",
  "status",
  "eventType",
  "source",
  "subject",
  "owner",
  "receivedAt",
  "updatedAt",
  "attempts",
  "payloadBytes",
  "replayOf",
];

/** RFC 4180. A cell that a spreadsheet would take for a formula is given an apostrophe (OWASP, "CSV Injection"). */
export function csv(events) {
  const cell = (value) => {
    const text = String(value ?? "");
    const safe = /^[=+\-@\t\r]/.test(text) && typeof value !== "number" ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const rows = events.map((event) =>
    [...COLUMNS.map((name) => event[name]), event.lastError?.class, event.lastError?.code].map(cell).join(","),
  );
  return [[...COLUMNS, "errorClass", "errorCode"].join(","), ...rows, ""].join("\r\n");
}
