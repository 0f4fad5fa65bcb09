// Counts or times over time: a crosshair, a brush that zooms, a click that opens the minute.
import { useEffect, useRef, useState } from "preact/hooks";
import { html } from "./html.js";

const HEIGHT = 220;
let loading = null;
const library = () => (loading ??= import("uplot").then((module) => module.default));
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** `at` are seconds; `series` [{label, values, colour, dash}]; `onPick(from, to)` gets seconds, of
 * what was brushed or of the step that was clicked. */
export function Chart({ at, series, step, label, format, onPick, theme }) {
  const place = useRef(null);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    let chart = null;
    let gone = false;
    let brushed = false;
    const width = () => Math.max(place.current?.clientWidth || 0, 200);
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "12px system-ui" };
    library().then((UPlot) => {
      if (gone || !place.current) return;
      chart = new UPlot({
        width: width(),
        height: HEIGHT,
        cursor: { y: false, drag: { x: true, y: false, setScale: false } },
        legend: { live: true },
        scales: { x: { time: true }, y: { range: (_self, _low, high) => [0, Math.max(high * 1.1, 1)] } },
        axes: [{ ...axis, space: 70 }, { ...axis, size: 56, values: (_self, ticks) => ticks.map(format) }],
        series: [{ value: (_self, when) => (when == null ? "" : new Date(when * 1000).toLocaleString()) }, ...series.map((one) => ({
          label: one.label, stroke: colour(one.colour), width: 2, dash: one.dash, points: { show: at.length < 40 },
          value: (_self, value) => (value == null ? "–" : format(value)),
        }))],
        hooks: {
          setSelect: [(self) => {
            if (self.select.width < 5) return;
            brushed = true;
            const from = self.posToVal(self.select.left, "x");
            const to = self.posToVal(self.select.left + self.select.width, "x");
            self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            onPick?.(from, to, true);
          }],
        },
      }, [at, ...series.map((one) => one.values)], place.current);
      chart.over.addEventListener("click", () => {
        const index = chart.cursor.idx;
        if (!brushed && index != null) onPick?.(at[index], at[index] + step, false);
        brushed = false;
      });
    }, () => setFailed(true));
    const watch = new ResizeObserver(() => chart?.setSize({ width: width(), height: HEIGHT }));
    watch.observe(place.current);
    return () => {
      gone = true;
      watch.disconnect();
      chart?.destroy();
    };
  }, [at, series, theme]);
  if (failed) return html`<p class="note">The chart could not be loaded; the console was updated meanwhile. <button type="button" onClick=${() => location.reload()}>Load the page again</button></p>`;
  return html`<div class="chart" role="img" aria-label=${label} ref=${place}></div>`;
}
