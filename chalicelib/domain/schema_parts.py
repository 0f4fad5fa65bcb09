"""The parts of a JSON Schema: its subschemas, what its references name, its patterns.

Every subschema is known by its JSON Pointer (RFC 6901). A reference may name only one of those, so
that nothing is fetched, and nothing is taken for a schema that is data (in `enum`, say).
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from chalicelib.errors import InvalidRequestError

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
