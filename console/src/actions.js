// Replay and redrive: one, some, or all, with the count first.
import { html } from "./html.js";
import { call } from "./api.js";
import { confirm, count, plural, tell } from "./parts.js";

const AT_ONCE = 4;

export const redrive = (eventId) => call("POST", "/dead-letters/redrive", { body: { eventId } });
export const replay = (eventId) => call("POST", `/events/${eventId}/replay`);

/** Do something with each; answers how many went well and the problems. */
export async function each(list, act, onProgress = undefined) {
  const waiting = [...list];
  const problems = [];
  let done = 0;
  const work = async () => {
    for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) {
      try {
        await act(one);
      } catch (problem) {
        problems.push(problem);
      }
      done++;
      onProgress?.(done);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return { good: list.length - problems.length, problems };
}

const report = (verb, good, problems) =>
  tell(
    problems.length
      ? `${plural(good, "event")} ${verb}; ${count(problems.length)} could not be: ${problems[0].message}`
      : `${plural(good, "event")} ${verb}.`,
  );

/** Redrive events by their ids, after asking. Answers whether it was done. */
export async function redriveSome(ids, what = "") {
  const title = `Redrive ${plural(ids.length, "event")}?`;
  const text = html`<p>${what} Each goes back to the worker's queue and is processed again under its own id. What was processed already is not processed twice.</p>`;
  if (!(await confirm({ title, text, action: `Redrive ${count(ids.length)}` }))) return false;
  const { good, problems } = await each(ids, redrive);
  report("redriven", good, problems);
  return true;
}

/** Replay events by their ids, after asking. */
export async function replaySome(ids) {
  const title = `Replay ${plural(ids.length, "event")}?`;
  const text = html`<p>Each is processed again from its payload as a new event, with an id of its own. Consumers of the bus see it again.</p>`;
  if (!(await confirm({ title, text, action: `Replay ${count(ids.length)}` }))) return false;
  const { good, problems } = await each(ids, replay);
  report("replayed", good, problems);
  return true;
}

/** Redrive all FAILED events of an order (`all`, `eventType`, `errorClass`), page by page. */
export async function redriveAll(order, onProgress = undefined) {
  let redriven = 0;
  let skipped = 0;
  let cursor = null;
  do {
    const done = await call("POST", "/dead-letters/redrive", { body: cursor ? { ...order, cursor } : order });
    redriven += done.redriven;
    skipped += done.skipped.length;
    cursor = done.more ? done.cursor : null;
    onProgress?.(redriven);
  } while (cursor);
  return { redriven, skipped };
}
