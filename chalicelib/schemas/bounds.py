"""What a JSON Schema may cost, known before any event is checked against it.

A validator walks schema and data together. A schema that applies itself twice to each property
doubles the work at every level of the data, and a chain of doubled references does so without any
level. So the work is bounded beforehand: W(subschema, depth) is an upper bound of the work done on
any path down from a value nested `depth` deep, in units of about 20 ns:

    W(s, d) = keywords of s + sum of W(t, d) over what s applies in place ($ref, allOf, anyOf, ...)
              + max over kinds of children of the sum of W(t, d - 1) over what s applies to them

A schema may reach `MAX_WORK`. For an event, W(root, its depth) times the number of its values may
reach `MAX_EVENT_WORK`. The same sum is made of what patterns cost a byte of text.

Every subschema is known by its JSON Pointer (RFC 6901). A reference may name only one of those, so
nothing is fetched, and data (in `enum`, say) is never taken for a schema.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

from msgspec import Struct, field

from chalicelib.core.errors import InvalidRequestError
from chalicelib.core.strict_json import MAX_DEPTH

MAX_SUBSCHEMAS = 3_000
MAX_PATTERN_BYTES = 1 << 20
MAX_PATTERNS_BYTES = 1 << 21
PATTERN_CACHE_BYTES = 1 << 17
_PATTERN_SIZES = tuple(1 << bits for bits in range(12, 21))
ONE = ("not", "if", "then", "else")
MANY = ("allOf", "anyOf", "oneOf")
NAMED = ("dependentSchemas", "dependencies")
_WILD_NAMES = ("additionalProperties", "unevaluatedProperties")
_WILD_ITEMS = ("items", "contains", "unevaluatedItems")
_DEFINITIONS = ("$defs", "definitions")


def find_subschemas(schema: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """(every subschema by its pointer, the pointers of anchors)"""
    found: dict[str, Any] = {}
    anchors: dict[str, str] = {}
    waiting = [("", schema)]
    while waiting:
        pointer, value = waiting.pop()
        found[pointer] = value
        if len(found) > MAX_SUBSCHEMAS:
            raise InvalidRequestError.at("", f"must have at most {MAX_SUBSCHEMAS} subschemas")
        if not isinstance(value, dict):
            continue
        for name in ("$id", "$schema", "$vocabulary"):
            if name in value:
                at = f"{pointer}/{name}"
                raise InvalidRequestError.at(at, "is not accepted within a schema")
        for name in ("$anchor", "$dynamicAnchor"):
            if name in value:
                if value[name] in anchors:
                    raise InvalidRequestError.at(f"{pointer}/{name}", "is there twice")
                anchors[value[name]] = pointer
        waiting += [(pointer + step, below) for step, below in subschemas_of(value)]
    return found, anchors


def subschemas_of(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(step of a pointer, subschema) of all that a schema holds."""
    for name in (*ONE, *_WILD_NAMES, *_WILD_ITEMS, "propertyNames", "contentSchema"):
        if name in value:
            yield f"/{name}", value[name]
    for name in (*MANY, "prefixItems"):
        for number, below in enumerate(value.get(name, ())):
            yield f"/{name}/{number}", below
    for name in (*NAMED, *_DEFINITIONS, "properties", "patternProperties"):
        for key, below in value.get(name, {}).items():
            # `dependencies` may also hold lists of names.
            if isinstance(below, dict | bool):
                yield f"/{name}/{escape(key)}", below


def target_of(reference: str, pointer: str, found: dict[str, Any], anchors: dict[str, str]) -> str:
    """The pointer of the subschema that the reference at `pointer` names."""
    if not reference.startswith("#"):
        raise InvalidRequestError.at(pointer, "must point into this schema: begin with #")
    fragment = unquote(reference[1:])
    target = fragment if not fragment or fragment.startswith("/") else anchors.get(fragment)
    if target is None or target not in found:
        raise InvalidRequestError.at(pointer, "points at no subschema of this schema")
    return target


class Patterns:
    """The patterns of a schema, each compiled once."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}

    def size(self, pattern: str, pointer: str) -> int:
        """The bytes of a pattern compiled, rounded up; raises `InvalidRequestError` for one that
        is not linear or too large."""
        if pattern not in self._sizes:
            self._sizes[pattern] = _pattern_bytes(pattern, pointer)
            if sum(self._sizes.values()) > MAX_PATTERNS_BYTES:
                raise InvalidRequestError.at(pointer, "one pattern too many: together too large")
        return self._sizes[pattern]


def _pattern_bytes(pattern: str, pointer: str) -> int:
    """The size of a compiled pattern, rounded up."""
    import jsonschema_rs

    for size in _PATTERN_SIZES:
        options = jsonschema_rs.RegexOptions(size_limit=size, dfa_size_limit=PATTERN_CACHE_BYTES)
        try:
            jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=options)
        except jsonschema_rs.ValidationError:
            continue
        return size
    raise InvalidRequestError.at(
        pointer, "is no regular expression that runs in linear time (no look-around), or too large"
    )


def escape(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")


MAX_WORK = 5_000
MAX_EVENT_WORK = 100_000_000
"""About two seconds at worst; docs/schemas.md has the measurement."""
MAX_IN_PLACE = 64
"""Applicators in a row that do not go deeper into the data."""
_BYTES_PER_UNIT = 300
"""A compiled pattern of so many bytes costs a unit for each byte of text, in its slow way."""
_ENUM_UNITS, _MULTIPLE_UNITS, _UNIQUE_UNITS, _PATTERN_UNITS = 5, 15, 4, 2
_UNEVALUATED_FACTOR = 3
"""`unevaluated...` looks again at what was applied beside it."""
_LENGTH_UNITS = 0.02
_DOUBLE_BITS = 53
_LEAST_BYTES = 64
INTEGER_LIMIT = 1 << 63
"""Beyond it `uniqueItems` takes integers for doubles."""
_BRANCHES = frozenset({"anyOf", "oneOf", "propertyNames", "dependencies"})


class Cost(NamedTuple):
    """Units for each value (or name) and for each byte of text."""

    per_value: int
    per_byte: float


class Size(NamedTuple):
    """How large data is: its values and names, the bytes of its strings and names, the bytes of all
    its parts together (each counts in every part around it), its depth; and of its integers beyond
    2^53 how many others each may share a double with, and the largest."""

    values: int
    text_bytes: int
    copied_bytes: int
    depth: int
    collisions: int
    largest_integer: int


class Work(NamedTuple):
    """What `bound_work` finds: the cost by depth of the data; whether a violation may hold those of
    each branch; whether `uniqueItems` compares elements, which the validator finds by their hash:
    integers that share a double share it, too."""

    costs: tuple[Cost, ...]
    has_branches: bool
    compares: bool

    def cost_of(self, size: Size) -> float:
        """The units that data of that size may take."""
        cost = self.at(size.depth)
        values = size.values + (size.collisions if self.compares else 0)
        return cost.per_value * values + cost.per_byte * size.text_bytes

    def at(self, depth: int) -> Cost:
        """The cost for data that is `depth` deep."""
        return self.costs[min(depth, len(self.costs) - 1)]


class _Node(Struct):
    """A subschema: its own cost, and which others it applies to what."""

    pointer: str
    own: Cost
    in_place: list[str] = field(default_factory=list)
    factor: int = 1
    kinds: list[list[str]] = field(default_factory=list)


def bound_work(schema: Any) -> Work:
    """Bound the work of a schema that is valid by the metaschema.

    Raises `InvalidRequestError`, with a pointer into the schema, for work without a bound or above
    it, for a reference that points at no subschema, and for a pattern that is not linear or large.
    """
    found, anchors = find_subschemas(schema)
    pattern_costs = Patterns()
    nodes = {
        pointer: _read(pointer, value, found, anchors, pattern_costs)
        for pointer, value in found.items()
    }
    order = _in_place_order(nodes)
    costs: list[Cost] = []
    below = dict.fromkeys(nodes, Cost(0, 0.0))
    for _ in range(MAX_DEPTH + 2):
        level: dict[str, Cost] = {}
        for pointer in order:
            level[pointer] = _cost(nodes[pointer], level, below)
        costs.append(level[""])
        if level[""].per_value > MAX_WORK:
            raise InvalidRequestError.at(
                "", "may take too long: too many subschemas apply to the same part of an event"
            )
        if level == below:
            break
        below = level
    names = {name for value in found.values() if isinstance(value, dict) for name in value}
    return Work(tuple(costs), not _BRANCHES.isdisjoint(names), "uniqueItems" in names)


def measure(data: Any) -> Size:
    """The size of data, level by level."""
    level, depth, values, text, copied = [data], 0, 0, 0, 0
    large: list[int] = []
    while level:
        below: list[Any] = []
        bytes_here = 0
        for value in level:
            bytes_here += _LEAST_BYTES
            if isinstance(value, str):
                bytes_here += len(value)
                text += _utf8_bytes(value)
            elif isinstance(value, dict):
                values += len(value)
                names = sum(map(_utf8_bytes, value))
                text += names
                bytes_here += names
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, int) and abs(value) >> _DOUBLE_BITS:
                large.append(abs(value))
        values += len(level)
        depth += 1
        copied += depth * bytes_here
        level = below
    collisions = sum(
        min(value >> _DOUBLE_BITS, len(large)) for value in large if value < INTEGER_LIMIT
    )
    return Size(values, text, copied, depth - 1, collisions, max(large, default=0))


def _utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _read(
    pointer: str,
    value: Any,
    found: dict[str, Any],
    anchors: dict[str, str],
    patterns: Patterns,
) -> _Node:
    if not isinstance(value, dict):
        return _Node(pointer, Cost(1, 0.0))
    held = [pointer + step for step, _ in subschemas_of(value)]

    def under(*names: str) -> list[str]:
        heads = tuple(f"{pointer}/{name}" for name in names)
        return [
            sub for sub in held if any(sub == head or sub.startswith(f"{head}/") for head in heads)
        ]

    in_place = under(*ONE, *MANY, *NAMED)
    in_place += [
        target_of(value[name], f"{pointer}/{name}", found, anchors)
        for name in ("$ref", "$dynamicRef")
        if name in value
    ]
    any_name = under("patternProperties", "unevaluatedProperties")
    any_item = under("contains", "unevaluatedItems")
    kinds = [[sub, *any_name] for sub in under("properties")]
    kinds += [[sub, *any_item] for sub in under("prefixItems")]
    kinds += [
        under("additionalProperties") + any_name,
        under("items") + any_item,
        under("propertyNames"),
    ]
    unevaluated = "unevaluatedProperties" in value or "unevaluatedItems" in value
    return _Node(
        pointer,
        _own(pointer, value, patterns),
        in_place,
        _UNEVALUATED_FACTOR if unevaluated else 1,
        kinds,
    )


def _own(pointer: str, value: dict[str, Any], patterns: Patterns) -> Cost:
    per_value, per_byte = 1 + len(value), 0.0
    for name, units in (("enum", _ENUM_UNITS), ("const", 1)):
        if name in value:
            per_value += units * measure(value[name]).values
    per_value += _MULTIPLE_UNITS if "multipleOf" in value else 0
    per_value += _UNIQUE_UNITS if "uniqueItems" in value else 0
    per_byte += sum(_LENGTH_UNITS for name in ("minLength", "maxLength") if name in value)
    sources = [(value["pattern"], f"{pointer}/pattern")] if "pattern" in value else []
    sources += [
        (source, f"{pointer}/patternProperties/{escape(source)}")
        for source in value.get("patternProperties", {})
    ]
    for source, place in sources:
        per_value += _PATTERN_UNITS
        per_byte += patterns.size(source, place) / _BYTES_PER_UNIT
    return Cost(per_value, per_byte)


def _in_place_order(nodes: dict[str, _Node]) -> list[str]:
    """Every subschema after those it applies in place; refuses a circle and a long chain."""
    heights: dict[str, int] = {}
    open_nodes: set[str] = set()
    for start in nodes:
        waiting = [start]
        while waiting:
            pointer = waiting[-1]
            if pointer in heights:
                waiting.pop()
                continue
            missing = [sub for sub in nodes[pointer].in_place if sub not in heights]
            if not missing:
                heights[pointer] = 1 + max((heights[s] for s in nodes[pointer].in_place), default=0)
                if heights[pointer] > MAX_IN_PLACE:
                    raise InvalidRequestError.at(
                        pointer, f"applies more than {MAX_IN_PLACE} schemas one within the other"
                    )
                open_nodes.discard(pointer)
                waiting.pop()
                continue
            open_nodes.add(pointer)
            if not open_nodes.isdisjoint(missing):
                raise InvalidRequestError.at(pointer, "applies itself to the same value for ever")
            waiting += missing
    return list(heights)


def _cost(node: _Node, level: dict[str, Cost], below: dict[str, Cost]) -> Cost:
    in_place = _sum(level[sub] for sub in node.in_place)
    children = [_sum(below[sub] for sub in kind) for kind in node.kinds]
    deepest = max((cost.per_value for cost in children), default=0)
    longest = max((cost.per_byte for cost in children), default=0.0)
    # Beyond the limit it does not matter how far.
    return Cost(
        min(node.own.per_value + node.factor * in_place.per_value + deepest, MAX_WORK + 1),
        min(node.own.per_byte + node.factor * in_place.per_byte + longest, float(MAX_EVENT_WORK)),
    )


def _sum(costs: Iterable[Cost]) -> Cost:
    per_value, per_byte = 0, 0.0
    for cost in costs:
        per_value += cost.per_value
        per_byte += cost.per_byte
    return Cost(per_value, per_byte)
