// A long table of which only a window of rows is in the document.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { html } from "./html.js";

const MORE = 12;
const NARROW = matchMedia("(max-width: 720px)");
export const rowHeight = () => (NARROW.matches ? 76 : 38);

/** The rows between `start` and `end` are to be drawn; `ref` is the table's body. */
export function useWindow(length) {
  const ref = useRef(null);
  const [range, setRange] = useState({ start: 0, end: 60, height: rowHeight() });
  const look = () => {
    if (!ref.current) return;
    const height = rowHeight();
    const top = -ref.current.getBoundingClientRect().top;
    const start = Math.max(0, Math.floor(top / height) - MORE);
    const end = Math.min(length, Math.ceil((top + innerHeight) / height) + MORE);
    setRange((before) =>
      before.start === start && before.end === Math.max(end, 0) && before.height === height
        ? before
        : { start: Math.min(start, Math.max(0, length - 1)), end: Math.max(end, 0), height },
    );
  };
  useLayoutEffect(look, [length]);
  useEffect(() => {
    let asked = 0;
    const later = () => {
      cancelAnimationFrame(asked);
      asked = requestAnimationFrame(look);
    };
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", later);
    return () => {
      cancelAnimationFrame(asked);
      removeEventListener("scroll", later);
      removeEventListener("resize", later);
    };
  }, [length]);
  return { ref, ...range };
}

/** A row as high as those that are not drawn. */
export const Spacer = ({ rows, height, columns }) =>
  rows > 0 &&
  html`<tr class="spacer" aria-hidden="true"><td colspan=${columns} style=${{ height: `${rows * height}px` }}></td></tr>`;
