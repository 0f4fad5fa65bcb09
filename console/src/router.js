// Addresses: #/events/<id>?view=text. They are in the fragment, which no server sees or logs.
import { useLayoutEffect, useState } from "preact/hooks";

/** @returns {{parts: string[], query: Record<string, string>}} */
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const parts = path
    .split("/")
    .filter(Boolean)
    .map((part) => {
      try {
        return decodeURIComponent(part);
      } catch {
        return part;
      }
    });
  return { parts, query: Object.fromEntries(new URLSearchParams(query)) };
}

/** The address of a page, for a link.
 * @param {string[]} parts
 * @param {object} [query] */
export function href(parts, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value != null);
  const text = new URLSearchParams(given).toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** @param {string[]} parts
 * @param {object} [query]
 * @param {{replace?: boolean}} [how] */
export function go(parts, query = {}, how = {}) {
  const to = href(parts, query);
  if (to === location.hash) return;
  if (how.replace) {
    history.replaceState(null, "", to);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = to;
  }
}

export function useRoute() {
  const [route, setRoute] = useState(() => parse(location.hash));
  useLayoutEffect(() => {
    const read = () => setRoute(parse(location.hash));
    addEventListener("hashchange", read);
    return () => removeEventListener("hashchange", read);
  }, []);
  return route;
}
