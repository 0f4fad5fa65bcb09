"""What a JSON Schema may cost, known before any event is checked against it.

A validator walks schema and data together. A schema that applies itself twice to each property
doubles the work at every level of the data, and a chain of doubled references does so without any
level. So the work is bounded beforehand: W(subschema, depth) is an upper bound of the work done on
any path down from a value nested `depth` deep, in units of about 20 ns:

    W(s, d) = keywords of s + sum of W(t, d) over what s applies in place ($ref, allOf, anyOf, ...)
              + max over kinds of children of the sum of W(t, d - 1) over what s applies to them

A schema may reach `MAX_WORK`. For an event, W(root, its depth) times the number of its values may
reach `MAX_EVENT_WORK`. The same sum is made of what patterns cost a byte of text, and of what
keywords cost that look at numbers: for each number, and for how long it is (`numbers`).
"""

from decimal import Decimal
from typing import Any, NamedTuple

from msgspec import Struct, field

from chalicelib.core.errors import InvalidRequestError
from chalicelib.core.strict_json import MAX_DEPTH, LongNumber
from chalicelib.schemas.document import Document, escape, subschemas_of
from chalicelib.schemas.numbers import INTEGER_LIMIT, count_twins, digits, weight
from chalicelib.schemas.patterns import translate, translate_with_length

MAX_PATTERN_BYTES = 1 << 20
MAX_PATTERNS_BYTES = 1 << 21
PATTERN_CACHE_BYTES = 1 << 17
_PATTERN_SIZES = tuple(1 << bits for bits in range(12, 21))
ONE = ("not", "if", "then", "else")
MANY = ("allOf", "anyOf", "oneOf")
NAMED = ("dependentSchemas", "dependencies")


class Patterns:
    """The patterns of a schema, each compiled once."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}

    def size(self, pattern: str, pointer: str) -> int:
        """The bytes of a pattern, in the engine's words, when compiled, rounded up; raises
        `InvalidRequestError` for one that is too large."""
        if pattern not in self._sizes:
            self._sizes[pattern] = _pattern_bytes(pattern, pointer)
            if sum(self._sizes.values()) > MAX_PATTERNS_BYTES:
                raise InvalidRequestError.at(pointer, "one pattern too many: together too large")
        return self._sizes[pattern]


def _pattern_bytes(pattern: str, pointer: str) -> int:
    import jsonschema_rs

    for size in _PATTERN_SIZES:
        options = jsonschema_rs.RegexOptions(size_limit=size, dfa_size_limit=PATTERN_CACHE_BYTES)
        try:
            jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=options)
        except jsonschema_rs.ValidationError:
            continue
        return size
    raise InvalidRequestError.at(
        pointer,
        f"takes more than {MAX_PATTERN_BYTES >> 10} KiB when compiled, or names a script that there"
        " is not",
    )


MAX_WORK = 5_000
MAX_NUMBER_WORK = 1_000_000
"""What a schema may ask of one number: 20 ms."""
MAX_EVENT_WORK = 100_000_000
"""About two seconds at worst; docs/schemas.md has the measurement."""
MAX_IN_PLACE = 64
"""Applicators in a row that do not go deeper into the data."""
_BYTES_PER_UNIT = 150
"""A compiled pattern of so many bytes costs a unit for each byte of text, in its slow way."""
_BYTES_PER_STEP = 1_000
_ENUM_UNITS, _UNIQUE_UNITS, _PATTERN_UNITS = 5, 14, 2
_UNIQUE_COMPARED = 14
"""With how many others an element is compared: all, up to 15; more are found by their hash."""
_LIMIT_UNITS, _LONG_LIMIT_UNITS, _DIVISOR_UNITS, _SAME_UNITS = 5, 100, 50, 10
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_UNEVALUATED_FACTOR = 3
"""`unevaluated...` looks again at what was applied beside it."""
_LENGTH_UNITS = 0.02
_NUMBERS = frozenset({int, float, Decimal})
"""Those of a schema are what `exact` made of them."""
_FORMAT_UNITS, _FORMAT_BYTE_UNITS = 50, 5
"""Of one format, when it is asserted."""
_LEAST_BYTES = 64
_BRANCHES = frozenset({"anyOf", "oneOf", "propertyNames", "dependencies"})
_DEPENDENT = ("dependentRequired", "dependencies")
_LOOKED_UP = ("properties", *_DEPENDENT)
"""Each of their names is looked up in each object that is not empty."""
_NAME_UNITS = 0.1
"""Three times that for the smallest object, which has three parts."""
_SILENT = frozenset(
    {"properties", "patternProperties", "items", "prefixItems", "allOf", "$ref"}
    | {"$schema", "$id", "$defs", "definitions", "title", "description", "default", "examples"}
)
"""Keywords that have no violation of their own."""
_FAULT_BYTES = 1_000
"""What a violation takes besides its copies."""
_QUOTED = ("enum", "const", "pattern", "not")
"""A violation of these has what the schema says, in several copies."""
_COPIES_QUOTED = 3
_LONGEST_TRANSLATION = 6
"""What a character of a pattern may become in the engine's words."""


class Cost(NamedTuple):
    """Units for each value (or name), for each byte of text, for each number; how often the weight
    of a number counts, and that of elements which `uniqueItems` takes for the same at first; and
    how many violations each value may have."""

    per_value: float = 0
    per_byte: float = 0
    per_number: float = 0
    per_weight: float = 0
    per_twin: float = 0
    faults: float = 0


_LIMIT_OF_COST = Cost(MAX_WORK + 1, MAX_EVENT_WORK, MAX_NUMBER_WORK + 1, *[MAX_EVENT_WORK] * 3)
"""Beyond it, it does not matter how far."""


class Size(NamedTuple):
    """How large data is: its values and names, the bytes of its strings and names, the bytes of all
    its parts together (each counts in every part around it), the members of its widest object, its
    depth; its numbers, their weights together, whether any is a `LongNumber`, and whether one has a
    fraction that its double lacks.
    """

    values: int
    text_bytes: int
    copied_bytes: int
    widest: int
    depth: int
    numbers: int
    weight: float
    is_long: bool
    is_blurred: bool


class Work(NamedTuple):
    """What `bound_work` finds: the cost by depth of the data; the bytes that a violation takes
    besides its part of the data; whether one may hold those of each branch; whether names are
    checked, whose violations hold the whole object; whether numbers are compared with integers or
    divided by them, for which the validator rounds one with a fraction to a double."""

    costs: tuple[Cost, ...]
    fault_bytes: int
    has_branches: bool
    has_names: bool
    has_integers: bool

    def cost_of(self, size: Size, data: Any) -> float:
        """The units that data of that size may take; `data` is looked at only for the twins."""
        cost = self.at(size.depth)
        units = (
            cost.per_value * size.values
            + cost.per_byte * size.text_bytes
            + cost.per_number * size.numbers
            + (1 + cost.per_weight) * size.weight
        )
        if cost.per_twin and units <= MAX_EVENT_WORK:
            units += cost.per_twin * count_twins(data)
        return units

    def bytes_of_faults(self, size: Size) -> float:
        """The bytes that all violations of data of that size may take: each has a copy of its part
        of the data."""
        copies = size.widest if self.has_names else 1
        return self.at(size.depth).faults * (
            size.values * self.fault_bytes + size.copied_bytes * copies
        )

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


def bound_work(document: Document) -> Work:
    """Bound the work of a schema.

    Raises `InvalidRequestError`, with a pointer into the schema, for work without a bound or above
    it, and for a pattern that is large. Patterns have been translated before.
    """
    found, patterns = document.found, Patterns()
    nodes = {pointer: _read(pointer, value, document, patterns) for pointer, value in found.items()}
    order = _in_place_order(nodes)
    costs: list[Cost] = []
    below = dict.fromkeys(nodes, Cost())
    for _ in range(MAX_DEPTH + 2):
        level: dict[str, Cost] = {}
        for pointer in order:
            level[pointer] = _cost(nodes[pointer], level, below)
        costs.append(level[""])
        if level[""].per_value > MAX_WORK:
            raise InvalidRequestError.at(
                "", "may take too long: too many subschemas apply to the same part of an event"
            )
        if level[""].per_number > MAX_NUMBER_WORK:
            raise InvalidRequestError.at(
                "", "may take too long: too many or too long numbers for one number of an event"
            )
        if level == below:
            break
        below = level
    named = [
        (name, held)
        for value in found.values()
        if isinstance(value, dict)
        for name, held in value.items()
    ]
    names = {name for name, _ in named}
    # A violation says where in the schema it is, too.
    quoted = max(*map(len, nodes), *(_quoted(name, held) for name, held in named), 0)
    return Work(
        tuple(costs),
        _FAULT_BYTES + _COPIES_QUOTED * quoted,
        not names.isdisjoint(_BRANCHES),
        "propertyNames" in names,
        any(name in {*_LIMITS, "multipleOf"} and float(held).is_integer() for name, held in named),
    )


def measure(data: Any) -> Size:
    """The size of data, level by level."""
    level, depth, values, text, copied, widest = [data], 0, 0, 0, 0, 0
    numbers, weights, is_long, is_blurred = 0, 0.0, False, False
    while level:
        below: list[Any] = []
        bytes_here = 0
        for value in level:
            bytes_here += _LEAST_BYTES
            kind = type(value)
            if kind is str:
                long = _utf8_bytes(value)
                text += long
                bytes_here += long
            elif kind is dict:
                values += len(value)
                widest = max(widest, len(value))
                names = sum(map(_utf8_bytes, value))
                text += names
                bytes_here += names
                below.extend(value.values())
            elif kind is list:
                below.extend(value)
            elif kind in _NUMBERS:
                numbers += 1
                weights += weight(value)
            elif kind is LongNumber:
                numbers += 1
                is_long = True
                number = value.exactly()
                weights += weight(number)
                is_blurred |= isinstance(number, Decimal) and value.is_integer()
        values += len(level)
        depth += 1
        copied += depth * bytes_here
        level = below
    return Size(values, text, copied, widest, depth - 1, numbers, weights, is_long, is_blurred)


def _utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _read(pointer: str, value: Any, document: Document, patterns: Patterns) -> _Node:
    if not isinstance(value, dict):
        return _Node(pointer, Cost(1, faults=1))
    held = [pointer + step for step, _ in subschemas_of(value, document.dialect)]

    def under(*names: str) -> list[str]:
        heads = tuple(f"{pointer}/{name}" for name in names)
        return [
            sub for sub in held if any(sub == head or sub.startswith(f"{head}/") for head in heads)
        ]

    any_name = under("patternProperties", "unevaluatedProperties")
    any_item = under("contains", "unevaluatedItems")
    items = "items" if not isinstance(value.get("items"), list) else "additionalItems"
    placed = under("prefixItems") if items == "items" else under("items")
    kinds = [[sub, *any_name] for sub in under("properties")]
    kinds += [[sub, *any_item] for sub in placed]
    kinds += [
        under("additionalProperties") + any_name,
        under(items) + any_item,
        under("propertyNames"),
    ]
    unevaluated = "unevaluatedProperties" in value or "unevaluatedItems" in value
    return _Node(
        pointer,
        _own(pointer, value, patterns),
        under(*ONE, *MANY, *NAMED) + document.references[pointer],
        _UNEVALUATED_FACTOR if unevaluated else 1,
        [kind for kind in kinds if kind],
    )


def _own(pointer: str, value: dict[str, Any], patterns: Patterns) -> Cost:
    per_value, per_byte = 1.0 + len(value), 0.0
    for name, units in (("enum", _ENUM_UNITS), ("const", 1)):
        if name in value:
            per_value += units * measure(value[name]).values
    per_value += _UNIQUE_UNITS if "uniqueItems" in value else 0
    needed = _needed(value)
    per_value += needed + sum(_NAME_UNITS * len(value.get(name, ())) for name in _LOOKED_UP)
    if "format" in value:
        per_value, per_byte = per_value + _FORMAT_UNITS, per_byte + _FORMAT_BYTE_UNITS
    per_byte += sum(_LENGTH_UNITS for name in ("minLength", "maxLength") if name in value)
    sources = []
    if "pattern" in value:
        sources.append((translate_with_length(value["pattern"]).text, f"{pointer}/pattern"))
    sources += [
        (translate(source), f"{pointer}/patternProperties/{escape(source)}")
        for source in value.get("patternProperties", {})
    ]
    for source, place in sources:
        per_value += _PATTERN_UNITS
        # What a length says is counted with the pattern. An empty text takes a step through it.
        per_value += patterns.size(source, place) / _BYTES_PER_STEP
        per_byte += patterns.size(source, place) / _BYTES_PER_UNIT + 2 * _LENGTH_UNITS
    per_number, per_weight = _own_of_numbers(value)
    twins = "uniqueItems" in value
    return Cost(
        per_value,
        per_byte,
        per_number,
        per_weight + _UNIQUE_COMPARED * twins,
        twins,
        sum(name not in _SILENT for name in value)
        + needed
        + len(_names_in("required", value.get("required", ()))),
    )


def _quoted(keyword: str, held: Any) -> int:
    """The characters of a keyword's value that one violation quotes."""
    if keyword in _QUOTED:
        return len(repr(held)) * (_LONGEST_TRANSLATION if keyword == "pattern" else 1)
    return max(map(len, _names_in(keyword, held)), default=0)


def _needed(value: dict[str, Any]) -> int:
    """The names that members require: each is looked up, and may be missing."""
    return sum(len(_names_in(keyword, value.get(keyword, {}))) for keyword in _DEPENDENT)


def _names_in(keyword: str, held: Any) -> list[str]:
    """The names that a keyword requires."""
    if keyword == "required":
        return list(held)
    if keyword not in _DEPENDENT:
        return []
    return [name for names in held.values() if isinstance(names, list) for name in names]


def _own_of_numbers(value: dict[str, Any]) -> tuple[float, float]:
    """(units for each number, how often its weight counts) of keywords that look at numbers."""
    per_number, per_weight = 0.0, 0
    for name in _LIMITS:
        if name in value:
            is_short = isinstance(value[name], int) and abs(value[name]) < INTEGER_LIMIT
            per_number += _LIMIT_UNITS if is_short else _LONG_LIMIT_UNITS + digits(value[name]) / 2
            per_weight += 1
    if "multipleOf" in value:
        divisor = value["multipleOf"]
        # A fraction is divided by as a fraction; its digits count as far as the number has some.
        long = 0 if isinstance(divisor, int) else 100 + digits(divisor) ** 2 / 80
        per_number += _DIVISOR_UNITS + long
        per_weight += 2
    for name in ("const", "enum"):
        if name in value:
            size = measure(value[name])
            per_number += _SAME_UNITS * size.numbers + size.weight
            per_weight += size.numbers
    if "integer" in value.get("type", ()):
        per_weight += 1
    return per_number, per_weight


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
    if not node.in_place and not node.kinds:
        return node.own
    here = _sum([level[sub] for sub in node.in_place])
    children = [_sum([below[sub] for sub in kind]) for kind in node.kinds]
    parts = zip(node.own, here, *children, strict=True)
    return Cost(
        *(
            min(own + node.factor * applied + max(deep, default=0), limit)
            for (own, applied, *deep), limit in zip(parts, _LIMIT_OF_COST, strict=True)
        )
    )


def _sum(costs: list[Cost]) -> Cost:
    if len(costs) == 1:
        return costs[0]
    return Cost(*map(sum, zip(*costs, strict=True)))
