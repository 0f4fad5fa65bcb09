"""A schema as a document: its draft, its subschemas by place, and what its references name.

Three drafts are taken: 2020-12, 2019-09 and 7. Every subschema is known by its JSON Pointer (RFC
6901) from the root, with the keywords that the draft knows; what it does not know is left out, so
data (in `enum`, say) is never taken for a schema. A reference may name only one of those: by a
pointer, an anchor, or the `$id` of a schema embedded in this one. Nothing is ever fetched.

`rewrite` makes of it what the validator compiles: references are pointers from the root, `$id` and
anchors are gone, patterns are in its engine's words, and numbers are such that it computes exactly.
"""

from collections.abc import Iterator
from copy import copy
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urljoin

from msgspec import Struct, field

from chalicelib.core.errors import InvalidRequestError
from chalicelib.schemas.numbers import exact_divisor
from chalicelib.schemas.patterns import PatternError, translate, translate_with_length

MAX_SUBSCHEMAS = 3_000


class Dialect(NamedTuple):
    """A draft: the name of its validator in `jsonschema_rs`, and the keywords that hold schemas:
    one, a list, one or a list, or schemas by name; and the others that it knows."""

    uri: str
    validator: str
    one: frozenset[str]
    many: frozenset[str]
    named: frozenset[str]
    other: frozenset[str]


_ONE = frozenset({"additionalProperties", "contains", "else", "if", "items", "not"}) | {
    "propertyNames",
    "then",
}
_MANY = frozenset({"allOf", "anyOf", "oneOf"})
_NAMED = frozenset({"definitions", "patternProperties", "properties"})
_OTHER_TEXT = """
$ref const enum exclusiveMaximum exclusiveMinimum format maxItems maxLength maxProperties
maximum minItems minLength minProperties minimum multipleOf pattern required type
uniqueItems
"""
_OTHER = frozenset(_OTHER_TEXT.split())
_LATER_ONE = _ONE | {"contentSchema", "unevaluatedItems", "unevaluatedProperties"}
_LATER_NAMED = _NAMED | {"$defs", "dependentSchemas"}
_LATER_OTHER = _OTHER | {"dependentRequired", "maxContains", "minContains"}
DRAFT_2020_12 = Dialect(
    "https://json-schema.org/draft/2020-12/schema",
    "Draft202012Validator",
    _LATER_ONE,
    _MANY | {"prefixItems"},
    _LATER_NAMED,
    _LATER_OTHER | {"$dynamicRef"},
)
DRAFT_2019_09 = Dialect(
    "https://json-schema.org/draft/2019-09/schema",
    "Draft201909Validator",
    _LATER_ONE | {"additionalItems"},
    _MANY,
    _LATER_NAMED,
    _LATER_OTHER | {"$recursiveRef"},
)
DRAFT_7 = Dialect(
    "http://json-schema.org/draft-07/schema",
    "Draft7Validator",
    _ONE | {"additionalItems"},
    _MANY,
    _NAMED | {"dependencies"},
    _OTHER,
)
_DRAFTS = {draft.uri: draft for draft in (DRAFT_2020_12, DRAFT_2019_09, DRAFT_7)}
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_BESIDE_REF = frozenset({"$ref", "definitions"})
"""In draft 7 a reference hides what is beside it; `definitions` are only a place."""


def dialect_of(schema: Any) -> Dialect:
    """The draft that the schema's `$schema` names; 2020-12 without one. Raises
    `InvalidRequestError` for another."""
    name = schema.get("$schema", DRAFT_2020_12.uri) if isinstance(schema, dict) else ""
    draft = _DRAFTS.get(name.removesuffix("#")) if isinstance(name, str) else None
    if draft is None and isinstance(schema, dict):
        raise InvalidRequestError.at("/$schema", f"must be one of {', '.join(_DRAFTS)}, or absent")
    return draft or DRAFT_2020_12


class Document(Struct):
    """Subschemas by their pointer, each with the keywords that its draft knows, and the pointers
    of what its references name."""

    dialect: Dialect
    found: dict[str, Any] = field(default_factory=dict)
    references: dict[str, list[str]] = field(default_factory=dict)


class _Names(Struct):
    """What references may name: pointers of schemas by `$id`, and by (`$id`, anchor); and by the
    name of a dynamic anchor the schemas that have it."""

    bases: dict[str, str] = field(default_factory=dict)
    resources: dict[str, str] = field(default_factory=dict)
    anchors: dict[tuple[str, str], str] = field(default_factory=dict)
    dynamic: dict[str, list[str]] = field(default_factory=dict)


def read_document(schema: Any) -> Document:
    """Read a schema that is valid by the metaschema of its draft.

    Raises `InvalidRequestError`, with a pointer into the schema, for too many subschemas, for a
    name that is there twice, and for a reference that names no subschema.
    """
    document, names = Document(dialect_of(schema)), _Names(resources={"": ""})
    waiting = [("", schema, "")]
    while waiting:
        pointer, value, base = waiting.pop()
        if len(document.found) >= MAX_SUBSCHEMAS:
            raise InvalidRequestError.at("", f"must have at most {MAX_SUBSCHEMAS} subschemas")
        if isinstance(value, dict):
            base = _name(pointer, value, base, document.dialect, names)
            value = _known(value, document.dialect)
        names.bases[pointer] = base
        document.found[pointer] = value
        if isinstance(value, dict):
            steps = subschemas_of(value, document.dialect)
            waiting += [(pointer + step, below, base) for step, below in steps]
    for pointer, value in document.found.items():
        if isinstance(value, dict):
            document.references[pointer] = [
                _target(value[name], pointer, name, names, document.found)
                for name in _REFERENCES
                if name in value
            ]
    return document


def subschemas_of(value: dict[str, Any], dialect: Dialect) -> Iterator[tuple[str, Any]]:
    """(step of a pointer, subschema) of all that a schema holds."""
    for name, held in value.items():
        if isinstance(held, list) and name in dialect.many | {"items"}:
            for number, below in enumerate(held):
                yield f"/{name}/{number}", below
        elif name in dialect.one:
            yield f"/{name}", held
        elif name in dialect.named:
            for key, below in held.items():
                # `dependencies` may also hold lists of names.
                if isinstance(below, dict | bool):
                    yield f"/{name}/{escape(key)}", below


def escape(token: str) -> str:
    """A token of a JSON Pointer."""
    return token.replace("~", "~0").replace("/", "~1")


def _known(value: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    known = dialect.one | dialect.many | dialect.named | dialect.other
    if dialect is DRAFT_7 and "$ref" in value:
        known = _BESIDE_REF
    return {name: held for name, held in value.items() if name in known}


def _name(pointer: str, value: dict[str, Any], base: str, dialect: Dialect, names: _Names) -> str:
    """Note what names a subschema has; its base URI (RFC 3986, section 5.1)."""
    if "$vocabulary" in value:
        raise InvalidRequestError.at(f"{pointer}/$vocabulary", "is for metaschemas only")
    if pointer and "$schema" in value and dialect_of(value) is not dialect:
        raise InvalidRequestError.at(f"{pointer}/$schema", "must be that of the whole schema")
    if dialect is DRAFT_7 and "$ref" in value:
        return base
    identity, _, fragment = value.get("$id", "").partition("#")
    if identity:
        base = urljoin(base, identity)
        if names.resources.setdefault(base, pointer) != pointer:
            raise InvalidRequestError.at(f"{pointer}/$id", "is there twice")
    for key in ("$id", "$anchor", "$dynamicAnchor"):
        anchor = value.get(key) if key != "$id" else fragment
        is_known = (key == "$id") == (dialect is DRAFT_7)
        if anchor and is_known and names.anchors.setdefault((base, anchor), pointer) != pointer:
            raise InvalidRequestError.at(f"{pointer}/{key}", "is there twice")
    moving = "#" if value.get("$recursiveAnchor") is True else value.get("$dynamicAnchor")
    if moving:
        names.dynamic.setdefault(moving, []).append(pointer)
    return base


def _target(
    reference: str, pointer: str, keyword: str, names: _Names, found: dict[str, Any]
) -> str:
    """The pointer of the subschema that a reference names.

    A dynamic one is the same as a static one unless more than one embedded schema has the anchor:
    then it would depend on the way that led to it, and is refused.
    """
    place = f"{pointer}/{keyword}"
    uri, _, fragment = reference.partition("#")
    base = names.bases[pointer]
    absolute = urljoin(base, uri) if uri else base
    root = names.resources.get(absolute)
    if root is None:
        raise InvalidRequestError.at(
            place, "must name a subschema of this schema: nothing is fetched"
        )
    fragment = unquote(fragment)
    target: str | None = root + fragment
    if fragment and not fragment.startswith("/"):
        target = names.anchors.get((absolute, fragment))
    if target is None or target not in found:
        raise InvalidRequestError.at(place, "points at no subschema of this schema")
    if keyword != "$ref":
        same = names.dynamic.get(fragment or "#", [])
        if target in same and len(same) > 1:
            raise InvalidRequestError.at(
                place, "may mean several of the embedded schemas: name one of them"
            )
    return target


def rewrite(document: Document) -> tuple[Any, dict[str, str]]:
    """(the schema as the validator compiles it, the patterns of the schema by what became of
    them). Raises `InvalidRequestError` for a pattern that is refused."""
    return _Rewriting(document).rewrite()


class _Rewriting:
    """Holds what a rewriting needs on its way down."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._patterns: dict[str, str] = {}
        self._moved: dict[str, str] = {}

    def rewrite(self) -> tuple[Any, dict[str, str]]:
        # Where a subschema stands is known when all patterns are: names are patterns, too.
        self._move("", "")
        return self._schema(""), self._patterns

    def _move(self, pointer: str, moved: str) -> None:
        self._moved[pointer] = moved
        value = self._document.found[pointer]
        if not isinstance(value, dict):
            return
        names = self._names(pointer, value)
        for step, _ in subschemas_of(value, self._document.dialect):
            keyword, _, key = step[1:].partition("/")
            if keyword == "patternProperties":
                self._move(pointer + step, f"{moved}/{keyword}/{escape(names[key])}")
            else:
                self._move(pointer + step, moved + step)

    def _names(self, pointer: str, value: dict[str, Any]) -> dict[str, str]:
        """What becomes of the names of `patternProperties`, by their token of a pointer; two that
        become the same are kept apart by a group with nothing in it."""
        names: dict[str, str] = {}
        taken: set[str] = set()
        for number, source in enumerate(value.get("patternProperties", {})):
            text = self._pattern(source, f"{pointer}/patternProperties/{escape(source)}")
            if text in taken:
                text = f"{text}(?:){{{number}}}"
            taken.add(text)
            self._patterns[text] = source
            names[escape(source)] = text
        return names

    def _pattern(self, source: str, place: str) -> str:
        try:
            return translate(source)
        except PatternError as error:
            raise InvalidRequestError.at(place, f"is refused for {error}") from error

    def _schema(self, pointer: str) -> Any:
        value = self._document.found[pointer]
        if not isinstance(value, dict):
            return value
        made = {name: copy(held) for name, held in value.items() if name not in _REFERENCES}
        for step, _ in subschemas_of(value, self._document.dialect):
            keyword, _, key = step[1:].partition("/")
            below = self._schema(pointer + step)
            if not key and keyword not in self._document.dialect.named:
                made[keyword] = below
            elif isinstance(value[keyword], list):
                made[keyword][int(key)] = below
            else:
                made[keyword][_unescape(key)] = below
        if "patternProperties" in value:
            names = self._names(pointer, value)
            held = made["patternProperties"]
            made["patternProperties"] = {names[escape(key)]: held[key] for key in held}
        if "pattern" in value:
            self._set_pattern(pointer, made)
        if "multipleOf" in value:
            made["multipleOf"] = exact_divisor(value["multipleOf"])
        targets = [f"#{quote(self._moved[one])}" for one in self._document.references[pointer]]
        if targets:
            made["$ref"] = targets[0]
        if targets[1:]:
            made["allOf"] = [*made.get("allOf", ()), *({"$ref": one} for one in targets[1:])]
        return made

    def _set_pattern(self, pointer: str, made: dict[str, Any]) -> None:
        source = made["pattern"]
        self._pattern(source, f"{pointer}/pattern")
        pattern = translate_with_length(source)
        made["pattern"] = pattern.text
        self._patterns[pattern.text] = source
        if pattern.most is not None:
            made["minLength"] = max(made.get("minLength", 0), pattern.least)
            made["maxLength"] = min(made.get("maxLength", pattern.most), pattern.most)


def _unescape(token: str) -> str:
    return token.replace("~1", "/").replace("~0", "~")
