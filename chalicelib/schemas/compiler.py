"""JSON Schemas of event types: what is a schema, its compilation, and what an event breaks.

JSON Schema drafts 2020-12, 2019-09 and 7. `format` is an annotation, unless its assertion was asked
for. A schema refers to nothing outside itself (`document`), its patterns run in linear time
(`patterns`), and its work is bounded (`bounds`): whoever may put a schema cannot stop the platform
with one.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec import Struct

from chalicelib.core.errors import FieldError, InvalidRequestError
from chalicelib.schemas.bounds import (
    MAX_EVENT_WORK,
    MAX_PATTERN_BYTES,
    PATTERN_CACHE_BYTES,
    Work,
    bound_work,
    measure,
)
from chalicelib.schemas.document import dialect_of, escape, read_document, rewrite
from chalicelib.schemas.formats import FORMATS
from chalicelib.schemas.numbers import exact

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator

MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 32
MAX_VIOLATIONS = 20
MAX_DETAIL = 200
_MAX_EXPLANATION = 20_000_000
"""Bytes up to which every violation is told."""


class Compiled(Struct, frozen=True):
    """A schema ready to check events with, the work that takes, and its patterns by what they were
    compiled from."""

    validator: "Validator"
    work: Work
    patterns: dict[str, str]


def check_schema(schema: Any, bytes_size: int, asserts_format: bool = False) -> Compiled:
    """Compile a schema that somebody sent in `bytes_size` bytes.

    Raises `InvalidRequestError`, with a pointer into the schema, for one that is no schema of its
    draft, is too large or too deep, refers to something outside itself or to nothing, has a
    pattern that does not run in linear time, or may take too long.
    """
    if bytes_size > MAX_SCHEMA_BYTES:
        raise InvalidRequestError.at("", f"must be at most {MAX_SCHEMA_BYTES} bytes")
    if not isinstance(schema, dict | bool):
        raise InvalidRequestError.at("", "must be a JSON Schema: an object, true or false")
    _check_depth(schema)
    return compile_schema(schema, asserts_format)


def compile_schema(schema: Any, asserts_format: bool = False) -> Compiled:
    """Compile a schema; raises as `check_schema` does."""
    import jsonschema_rs

    schema = exact(schema)
    draft = dialect_of(schema)
    kind: Any = getattr(jsonschema_rs, draft.validator)
    meta = kind({"$ref": draft.uri}, mask="this", validate_formats=False)
    try:
        meta.validate(schema)
    except jsonschema_rs.ValidationError as error:
        _refuse(error, schema)
    document = read_document(schema)
    rewritten, patterns = rewrite(document)
    work = bound_work(document)
    try:
        validator = kind(
            rewritten,
            mask="this",
            validate_formats=asserts_format,
            formats=FORMATS,
            retriever=_refuse_to_fetch,
            pattern_options=jsonschema_rs.RegexOptions(
                size_limit=MAX_PATTERN_BYTES, dfa_size_limit=PATTERN_CACHE_BYTES
            ),
        )
    except jsonschema_rs.ValidationError as error:
        _refuse(error, schema)
    return Compiled(validator, work, patterns)


def violations(compiled: Compiled, data: Any) -> list[FieldError]:
    """What `data` breaks, by JSON Pointer (RFC 6901) into it, sorted; none when it is valid.

    At most `MAX_VIOLATIONS`, each of at most `MAX_DETAIL` characters. Large data gets the first
    violation only, or none but that there is one. Data for which the schema might take too long is
    refused unseen. Numbers are compared as they were written, or the data are refused.
    """
    import jsonschema_rs

    size, work = measure(data), compiled.work
    cost = work.cost_of(size, data)
    if cost > MAX_EVENT_WORK:
        return [FieldError("", "is too large for a schema that asks this much of each part")]
    if size.is_blurred and work.has_integers:
        return [FieldError("", "holds a number of more digits than are compared exactly")]
    if size.is_long:
        data = exact(data)
    if compiled.validator.is_valid(data):
        return []
    may_look_twice = cost <= MAX_EVENT_WORK / 4
    if may_look_twice and work.bytes_of_faults(size) <= _MAX_EXPLANATION:
        return _told(compiled.validator.iter_errors(data), data, compiled.patterns)
    if may_look_twice and not work.has_branches:
        try:
            compiled.validator.validate(data)
        except jsonschema_rs.ValidationError as error:
            return _told(iter([error]), data, compiled.patterns)
    return [FieldError("", "does not match the schema, and is too large to say where")]


def _told(
    errors: "Iterator[ValidationError]", data: Any, patterns: dict[str, str]
) -> list[FieldError]:
    found = {(tuple(map(_order, _path(error, data))), _short(error, patterns)) for error in errors}
    return [
        FieldError(_pointer([token for *_, token in path]), detail)
        for path, detail in sorted(found)[:MAX_VIOLATIONS]
    ]


def _pointer(path: Iterable[str | int]) -> str:
    return "".join(f"/{escape(str(token))}" for token in path)


def _order(token: str | int) -> tuple[bool, int, str]:
    """What a step of a path sorts by: elements of an array by their number."""
    return isinstance(token, str), 0 if isinstance(token, str) else token, str(token)


def _path(error: "ValidationError", data: Any) -> list[str | int]:
    """Where in `data` the error is. The validator's own path leaves out empty names, and has
    numbers for names that look like one ("01"), so it is followed through the data."""
    path: list[str | int] = []
    value = data
    for token in error.instance_path:
        while isinstance(value, dict) and _name(value, token) is None and "" in value:
            path.append("")
            value = value[""]
        step = _name(value, token) if isinstance(value, dict) else token
        if step is None:
            return path
        path.append(step)
        value = value[step]
    while isinstance(value, dict) and "" in value and value != error.instance:
        path.append("")
        value = value[""]
    return path


def _name(members: dict[str, Any], token: str | int) -> str | None:
    """The member's name that the validator gives as `token`."""
    if str(token) in members:
        return str(token)
    return next((name for name in members if name.isdecimal() and int(name) == token), None)


def _short(error: "ValidationError", patterns: dict[str, str] | None = None) -> str:
    text = error.message.removeprefix("this ")
    kind: Any = error.kind
    if text == "False schema does not allow this":
        # The validator's words for `false`; alone, `additionalProperties` is told at the object.
        alone = error.schema_path[-1:] == ["additionalProperties"]
        return "has members that are not allowed" if alone else "is not allowed"
    if patterns and error.schema_path[-1:] == ["pattern"]:
        inner: Any = getattr(kind, "error", error)
        compiled = inner.kind.pattern
        text = text.removesuffix(f'"{compiled}"') + f'"{patterns[compiled]}"'
    if error.schema_path[-1:] == ["multipleOf"]:
        text = f"is not a multiple of {str(kind.multiple_of).removesuffix('.0')}"
    return text if len(text) <= MAX_DETAIL else f"{text[: MAX_DETAIL - 1]}…"


def _refuse(error: "ValidationError", schema: Any) -> NoReturn:
    raise InvalidRequestError.at(_pointer(_path(error, schema)), _short(error)) from error


def _refuse_to_fetch(uri: str) -> NoReturn:
    # The second of two nets: `bound_work` lets no reference out of the schema.
    raise ValueError(f"not fetched: {uri[:MAX_DETAIL]}")


def _check_depth(schema: Any) -> None:
    level = [schema]
    for _ in range(MAX_SCHEMA_DEPTH + 1):
        level = [
            below
            for value in level
            if isinstance(value, dict | list)
            for below in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise InvalidRequestError.at("", f"must not be nested deeper than {MAX_SCHEMA_DEPTH}")
