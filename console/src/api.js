// Calls of the API, and who is signed in. The token is in sessionStorage and in headers, never in an
// address, a log or an error.

const KEPT = "eventline-token";
const ENDED = "The token is no longer accepted: it was revoked or has expired.";
const meta = /** @type {HTMLElement} */ (document.querySelector("meta[name=eventline]"));

/** What the page was told when it was served. */
export const stage = {
  name: meta.dataset.stage,
  auth: meta.dataset.auth,
  region: meta.dataset.region,
  version: meta.dataset.version,
};

/** The address of the API: the page's own, without its last part, so below any prefix. */
export const BASE = location.pathname.replace(/\/console\/?$/, "");
export const API_URL = location.origin + BASE;

/** The session. `self` is null until a token was checked, which `isChecking` says. */
export const session = { token: sessionStorage.getItem(KEPT), self: null, reason: "", isChecking: true };
const listeners = new Set();

export function onSession(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell() {
  for (const listener of listeners) listener();
}

/** What went wrong, as the problem+json says it (RFC 9457). `status` is 0 when nothing answered. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `The API answered ${status}.`);
    this.status = status;
    this.title = body.title || "";
    this.code = body.code || "";
    this.errors = body.errors || [];
    this.requestId = body.requestId || "";
    this.eventId = body.eventId || "";
  }
}

function address(path, query) {
  const given = Object.entries(query || {}).filter(([, value]) => value !== "" && value != null);
  const text = new URLSearchParams(given).toString();
  return BASE + path + (text ? `?${text}` : "");
}

/** One request. Throws `Problem`. Answers the Response.
 * @param {string} method
 * @param {string} path
 * @param {{query?: object, body?: any, headers?: object, token?: string, signal?: AbortSignal}} [given] */
export async function request(method, path, given = {}) {
  const token = given.token ?? session.token;
  const headers = { ...given.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  let body = given.body;
  if (body !== undefined && typeof body !== "string") body = JSON.stringify(body);
  if (body !== undefined && !headers["Content-Type"]) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(address(path, given.query), { method, headers, body, signal: given.signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { title: "No answer", detail: "The API did not answer. Is it running, and are you online?" });
  }
  if (answer.ok) return answer;
  let told = {};
  try {
    told = await answer.json();
  } catch {
    // A proxy in between answered in its own words.
  }
  if (answer.status === 401 && given.token === undefined)
    signOut(ENDED);
  throw new Problem(answer.status, told);
}

/** One request and its JSON; null when there is none.
 * @param {string} method
 * @param {string} path
 * @param {{query?: object, body?: any, headers?: object, token?: string, signal?: AbortSignal}} [given] */
export async function call(method, path, given) {
  const answer = await request(method, path, given);
  const text = await answer.text();
  return text ? JSON.parse(text) : null;
}

export const get = (path, query, signal) => call("GET", path, { query, signal });

/** Whether a problem says that this stage's API does not have what was asked for. */
export const isMissing = (problem) =>
  problem.status === 404 ||
  problem.status === 405 ||
  (problem.status === 400 && problem.errors.some((one) => /is not known here/.test(one.detail)));

/** Check a token and keep it. Throws `Problem`. */
export async function signIn(token) {
  const self = token || stage.auth === "none" ? await whoIs(token) : null;
  session.token = token;
  session.self = self;
  session.reason = "";
  sessionStorage.setItem(KEPT, token);
  tell();
}

/** Take up the session of this tab, or the one that `token` begins. Answers what was wrong with it. */
export async function begin(token) {
  let refusal = null;
  try {
    if (token) await signIn(token);
    else if (session.token || stage.auth === "none") session.self = await whoIs(session.token || "");
  } catch (problem) {
    refusal = problem;
    if (!token && (problem.status === 401 || problem.status === 403)) refusal = null;
    if (token) signOut();
    else if (!refusal) signOut(ENDED);
  }
  session.isChecking = false;
  tell();
  return refusal;
}

export function signOut(reason = "") {
  sessionStorage.removeItem(KEPT);
  session.token = null;
  session.self = null;
  session.reason = reason;
  tell();
}

function whoIs(token) {
  return call("GET", "/tokens/self", { token });
}

/** Whether the token allows a scope; `admin` stands for every one. */
export const may = (scope) =>
  Boolean(session.self) && (session.self.scopes.includes("admin") || session.self.scopes.includes(scope));

/** Why a thing is disabled, or "" when the token allows it. */
export const whyNot = (scope) => (may(scope) ? "" : `This needs a token with the scope ${scope}.`);
