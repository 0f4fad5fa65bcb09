// The frame: who is signed in, where we are, the keyboard, dark and light.
import { render } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { html } from "./html.js";
import { begin, onSession, session, signOut, stage } from "./api.js";
import { Dialog, Overlays, Plain, Skeleton } from "./parts.js";
import { go, useRoute } from "./router.js";
import { Event } from "./event.js";
import { Events } from "./events.js";
import { Failures } from "./failures.js";
import { Overview } from "./overview.js";
import { Replays } from "./replays.js";
import { Schemas } from "./schemas.js";
import { Send } from "./send.js";
import { SignIn } from "./signin.js";
import { Access } from "./access.js";
import { Alerts } from "./alerts.js";
import { Destinations } from "./destinations.js";
import { Items } from "./items.js";
import { Settings } from "./settings.js";
import { Subscriptions } from "./subscriptions.js";
import { Uploads } from "./uploads.js";
import { Time } from "./time.js";

const PAGES = [
  ["", "Overview", "o"],
  ["events", "Events", "e"],
  ["send", "Send", "s"],
  ["failures", "Failures", "f"],
  ["replays", "Replays", "r"],
  ["schemas", "Schemas", "c"],
  ["uploads", "Uploads", "u"],
  ["items", "Items", "i"],
  ["subscriptions", "Subscriptions", "n"],
  ["destinations", "Destinations", "d"],
  ["alerts", "Alerts", "a"],
  ["access", "Access", "t"],
  ["settings", "Settings", ","],
];
const THEME = "eventline-theme";
const THEMES = { "": "System", light: "Light", dark: "Dark" };

/** @returns {[string, (theme: string) => void]} */
function useTheme() {
  const [theme, setTheme] = useState(localStorage.getItem(THEME) || "");
  useEffect(() => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    localStorage.setItem(THEME, theme);
  }, [theme]);
  return [theme, setTheme];
}

function Page({ route }) {
  const [name = "", id] = route.parts;
  const { query } = route;
  switch (name) {
    case "":
      return html`<${Overview} query=${query} />`;
    case "events":
      return id ? html`<${Event} key=${id} id=${id} />` : html`<${Events} query=${query} />`;
    case "send":
      return html`<${Send} query=${query} />`;
    case "failures":
      return html`<${Failures} query=${query} />`;
    case "replays":
      return html`<${Replays} key=${id} id=${id} query=${query} />`;
    case "schemas":
      return html`<${Schemas} type=${id} query=${query} />`;
    case "uploads":
      return html`<${Uploads} />`;
    case "items":
      return html`<${Items} id=${id} query=${query} />`;
    case "subscriptions":
      return html`<${Subscriptions} />`;
    case "destinations":
      return html`<${Destinations} key=${id} id=${id} />`;
    case "alerts":
      return html`<${Alerts} />`;
    case "access":
      return html`<${Access} />`;
    case "settings":
      return html`<${Settings} />`;
    default:
      return html`<div class="empty"><h1>No such page</h1><p><a href="#/">Overview</a></p></div>`;
  }
}

function Keys({ onClose }) {
  const keys = [
    ["/", "Search events"],
    ["j, k", "Next, previous row"],
    ["Enter", "Open the row"],
    ["x", "Choose the row"],
    ["p", "Pause or go live"],
    ["?", "This list"],
    ["Esc", "Close"],
    ...PAGES.map(([, label, key]) => [`g ${key}`, label]),
  ];
  return html`<${Dialog} title="Keyboard" onClose=${onClose}><dl class="keys">${keys.map(([key, what]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`)}</dl><div class="row end"><button type="button" class="primary" onClick=${onClose}>Close</button></div><//>`;
}

function Frame() {
  const route = useRoute();
  const [theme, setTheme] = useTheme();
  const [isOpen, setOpen] = useState(false);
  const [help, setHelp] = useState(false);
  const wantsSearch = useRef(false);
  const main = useRef(null);
  const last = useRef(route);
  const going = useRef(0);
  const path = route.parts.join("/");
  useEffect(() => {
    // A new page begins at its top, with the focus there; a change of filters leaves it alone.
    if (last.current.parts.join("/") !== path) {
      const first = wantsSearch.current ? document.getElementById("search") : main.current;
      wantsSearch.current = false;
      first?.focus({ preventScroll: true });
      scrollTo({ top: 0 });
    }
    last.current = route;
    setOpen(false);
  }, [path]);
  useLayoutEffect(() => {
    const press = (event) => {
      if (
        event.ctrlKey ||
        event.metaKey ||
        event.altKey ||
        /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) ||
        document.querySelector("dialog[open]")
      )
        return;
      if (event.key === "/") {
        event.preventDefault();
        const field = document.getElementById("search");
        if (field) field.focus();
        else {
          wantsSearch.current = true;
          go(["events"]);
        }
      } else if (event.key === "?") setHelp(true);
      else if (event.key === "g") going.current = Date.now();
      else if (Date.now() - going.current < 1500) {
        const page = PAGES.find(([, , key]) => key === event.key);
        going.current = 0;
        if (page) {
          event.preventDefault();
          go(page[0] ? [page[0]] : []);
        }
      }
    };
    addEventListener("keydown", press, true);
    return () => removeEventListener("keydown", press, true);
  }, []);
  const self = session.self;
  const soon = self.expiresAt && Date.parse(self.expiresAt) - Date.now() < 86_400_000;
  return html`<a class="skip" href="#main" onClick=${(event) => {
    event.preventDefault();
    main.current.focus();
  }}>Skip to the content</a>
    <header class="top"><button type="button" class="menu" aria-label="Menu" aria-expanded=${isOpen} aria-controls="nav" onClick=${() => setOpen(!isOpen)}>☰ <span>Menu</span></button>
      <a class="brand" href="#/">Eventline</a><span class="stage">${stage.name}</span><span class="grow"></span>
      <label class="inline theme"><span class="hidden">Colours</span><select value=${theme} onChange=${(event) => setTheme(event.target.value)}>${Object.entries(THEMES).map(([name, label]) => html`<option value=${name}>${label}</option>`)}</select></label>
      <button type="button" class="keyboard" onClick=${() => setHelp(true)} aria-label="Keyboard shortcuts">?</button>
      <span class="who"><${Plain} text=${self.owner} /></span><button type="button" onClick=${() => signOut()}>Sign out</button></header>
    <nav id="nav" class=${isOpen ? "open" : ""} aria-label="Pages"><ul>${PAGES.map(([name, label]) => html`<li><a href=${`#/${name}`} aria-current=${(route.parts[0] || "") === name ? "page" : undefined}>${label}</a></li>`)}</ul></nav>
    <main id="main" tabindex="-1" ref=${main}>${soon && html`<p class="note">This token ends <${Time} at=${self.expiresAt} form="ago" />.</p>`}
      <${Page} route=${route} /></main>
    ${help && html`<${Keys} onClose=${() => setHelp(false)} />`}<${Overlays} />`;
}

function App({ refused }) {
  const [, again] = useState(0);
  // Before the paint: the answer about the token may come sooner.
  useLayoutEffect(() => onSession(() => again((before) => before + 1)), []);
  if (session.self) return html`<${Frame} />`;
  if (session.isChecking) return html`<main class="signin"><${Skeleton} /></main>`;
  return html`<${SignIn} from=${refused} />`;
}

/** A token in the fragment signs in, and is taken out of the address before anything else. */
async function start() {
  const found = /^#token=([^&]+)/.exec(location.hash);
  if (found) {
    history.replaceState(null, "", location.pathname + location.search);
    dispatchEvent(new HashChangeEvent("hashchange"));
  }
  const refused = await begin(found ? decodeURIComponent(found[1]) : "");
  if (refused) render(html`<${App} key="refused" refused=${refused} />`, place);
}

const place = document.getElementById("app");
const chosen = localStorage.getItem(THEME);
if (chosen) document.documentElement.dataset.theme = chosen;
addEventListener("hashchange", () => {
  if (location.hash.startsWith("#token=")) start();
});
start();
render(html`<${App} />`, place);
