// JSON Schema in the browser: a sample of one, and what of a value breaks it. The API's own check
// decides; this one knows the common keywords and names those that it does not (2020-12).

const KNOWN = new Set([
  "$schema",
  "$id",
  "$comment",
  "$defs",
  "definitions",
  "title",
  "description",
  "examples",
  "default",
  "deprecated",
  "readOnly",
  "writeOnly",
  "format",
  "type",
  "enum",
  "const",
  "required",
  "properties",
  "additionalProperties",
  "minProperties",
  "maxProperties",
  "items",
  "minItems",
  "maxItems",
  "uniqueItems",
  "minLength",
  "maxLength",
  "pattern",
  "minimum",
  "maximum",
  "exclusiveMinimum",
  "exclusiveMaximum",
  "multipleOf",
  "allOf",
  "anyOf",
  "oneOf",
  "not",
  "$ref",
]);

const typeOf = (value) => (value === null ? "null" : Array.isArray(value) ? "array" : typeof value);
const isObject = (value) => typeOf(value) === "object";
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

function resolve(schema, root) {
  let found = schema;
  for (
    let steps = 0;
    isObject(found) && typeof found.$ref === "string" && found.$ref.startsWith("#") && steps < 20;
    steps++
  ) {
    found = found.$ref
      .split("/")
      .slice(1)
      .reduce((part, name) => part?.[decodeURIComponent(name).replaceAll("~1", "/").replaceAll("~0", "~")], root);
  }
  return found;
}

const isType = (value, type) => (type === "integer" ? Number.isInteger(value) : type === typeOf(value));

/** What breaks the schema: [{pointer, detail}]. `unknown` collects keywords that were not checked. */
export function check(value, schema, root = schema, pointer = "", unknown = new Set(), depth = 0) {
  const faults = [];
  const found = resolve(schema, root);
  if (found === false) return [{ pointer, detail: "is not allowed" }];
  if (!isObject(found) || depth > 60) return faults;
  const say = (detail) => faults.push({ pointer, detail });
  const into = (child, part, name) =>
    faults.push(
      ...check(
        child,
        part,
        root,
        `${pointer}/${String(name).replaceAll("~", "~0").replaceAll("/", "~1")}`,
        unknown,
        depth + 1,
      ),
    );
  for (const keyword of Object.keys(found)) if (!KNOWN.has(keyword)) unknown.add(keyword);
  const breaks = (part) => check(value, part, root, pointer, unknown, depth + 1);
  if (found.type !== undefined) {
    const types = [found.type].flat();
    if (!types.some((type) => isType(value, type)))
      return [{ pointer, detail: `must be ${types.join(" or ")}, not ${typeOf(value)}` }];
  }
  if (found.enum && !found.enum.some((one) => same(one, value)))
    say(`must be one of ${found.enum.map((one) => JSON.stringify(one)).join(", ")}`);
  if ("const" in found && !same(found.const, value)) say(`must be ${JSON.stringify(found.const)}`);
  if (typeof value === "number") {
    if (value < found.minimum) say(`must be at least ${found.minimum}`);
    if (value > found.maximum) say(`must be at most ${found.maximum}`);
    if (value <= found.exclusiveMinimum) say(`must be more than ${found.exclusiveMinimum}`);
    if (value >= found.exclusiveMaximum) say(`must be less than ${found.exclusiveMaximum}`);
    if (found.multipleOf && Math.abs(value / found.multipleOf - Math.round(value / found.multipleOf)) > 1e-9)
      say(`must be a multiple of ${found.multipleOf}`);
  }
  if (typeof value === "string") {
    const length = [...value].length;
    if (length < found.minLength) say(`must have at least ${found.minLength} characters`);
    if (length > found.maxLength) say(`must have at most ${found.maxLength} characters`);
    if (found.pattern !== undefined) {
      try {
        if (!new RegExp(found.pattern, "u").test(value)) say(`must match ${found.pattern}`);
      } catch {
        unknown.add("pattern");
      }
    }
  }
  if (Array.isArray(value)) {
    if (value.length < found.minItems) say(`must have at least ${found.minItems} entries`);
    if (value.length > found.maxItems) say(`must have at most ${found.maxItems} entries`);
    if (found.uniqueItems && new Set(value.map((one) => JSON.stringify(one))).size < value.length)
      say("must not repeat an entry");
    if (found.items !== undefined && !Array.isArray(found.items))
      value.forEach((child, index) => into(child, found.items, index));
  }
  if (isObject(value)) {
    for (const name of found.required || []) if (!Object.hasOwn(value, name)) say(`must have the member ${name}`);
    const size = Object.keys(value).length;
    if (size < found.minProperties) say(`must have at least ${found.minProperties} members`);
    if (size > found.maxProperties) say(`must have at most ${found.maxProperties} members`);
    for (const [name, child] of Object.entries(value)) {
      if (found.properties && Object.hasOwn(found.properties, name)) into(child, found.properties[name], name);
      else if (found.additionalProperties !== undefined && !found.patternProperties)
        into(child, found.additionalProperties, name);
    }
  }
  for (const part of found.allOf || []) faults.push(...breaks(part));
  if (found.anyOf && !found.anyOf.some((part) => !breaks(part).length)) say("matches none of anyOf");
  if (found.oneOf && found.oneOf.filter((part) => !breaks(part).length).length !== 1)
    say("must match exactly one of oneOf");
  if (found.not !== undefined && !breaks(found.not).length) say("matches what is not allowed");
  return faults;
}

/** A value that a schema takes, as far as one can tell. */
export function sample(schema, root = schema, depth = 0) {
  const found = resolve(schema, root);
  if (!isObject(found) || depth > 8) return {};
  if ("const" in found) return found.const;
  if (found.default !== undefined) return found.default;
  if (found.examples?.length) return found.examples[0];
  if (found.enum?.length) return found.enum[0];
  const part = found.anyOf?.[0] || found.oneOf?.[0];
  if (part && !found.properties) return sample(part, root, depth + 1);
  const type = [found.type].flat()[0] || (found.properties ? "object" : "string");
  if (type === "object") {
    const made = {};
    for (const one of [found, ...(found.allOf || []).map((each) => resolve(each, root))]) {
      for (const [name, child] of Object.entries(one?.properties || {})) made[name] = sample(child, root, depth + 1);
      for (const name of one?.required || []) if (!Object.hasOwn(made, name)) made[name] = "…";
    }
    return made;
  }
  if (type === "array")
    return Array.from({ length: Math.max(1, found.minItems || 0) }, () => sample(found.items || {}, root, depth + 1));
  if (type === "integer" || type === "number")
    return Math.max(
      found.minimum ?? (found.exclusiveMinimum !== undefined ? found.exclusiveMinimum + 1 : 1),
      Math.min(1, found.maximum ?? 1),
    );
  if (type === "boolean") return true;
  if (type === "null") return null;
  const formats = {
    "date-time": new Date().toISOString(),
    date: new Date().toISOString().slice(0, 10),
    email: "someone@example.com",
    uri: "https://example.com/",
    uuid: crypto.randomUUID(),
  };
  return formats[found.format] || "text".padEnd(found.minLength || 0, "x").slice(0, found.maxLength ?? undefined);
}

/** Lines of two texts, for a diff: [{kind: "same" | "old" | "new", text}]. */
export function diff(before, after) {
  const one = before.split("\n");
  const other = after.split("\n");
  if (one.length * other.length > 4_000_000)
    return [...one.map((text) => ({ kind: "old", text })), ...other.map((text) => ({ kind: "new", text }))];
  const length = Array.from({ length: one.length + 1 }, () => new Uint32Array(other.length + 1));
  for (let i = one.length - 1; i >= 0; i--)
    for (let j = other.length - 1; j >= 0; j--)
      length[i][j] = one[i] === other[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
  const lines = [];
  for (let i = 0, j = 0; i < one.length || j < other.length;) {
    if (i < one.length && j < other.length && one[i] === other[j]) {
      lines.push({ kind: "same", text: one[i++] });
      j++;
    } else if (j >= other.length || (i < one.length && length[i + 1][j] >= length[i][j + 1]))
      lines.push({ kind: "old", text: one[i++] });
    else lines.push({ kind: "new", text: other[j++] });
  }
  return lines;
}
