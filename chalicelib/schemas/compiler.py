"""JSON Schemas of event types: what is a schema, its compilation, and what an event breaks.

JSON Schema draft 2020-12. `format` is an annotation, as the specification's default has it. A
schema refers to nothing outside itself, its patterns run in linear time, and its work is bounded
(`chalicelib/schemas/bounds.py`): whoever may put a schema cannot stop the platform with one.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec import Struct

from chalicelib.core.errors import FieldError, InvalidRequestError
from chalicelib.schemas.bounds import (
    INTEGER_LIMIT,
    MAX_EVENT_WORK,
    MAX_PATTERN_BYTES,
    PATTERN_CACHE_BYTES,
    Work,
    bound_work,
    escape,
    measure,
)

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator, ValidationError

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 32
MAX_VIOLATIONS = 20
MAX_DETAIL = 200
_MAX_EXPLANATION = 20_000_000
"""Bytes of data times work up to which every violation is told: each one costs a copy of its part
of the data."""


class Compiled(Struct, frozen=True):
    """A schema ready to check events with, and the work that takes."""

    validator: "Draft202012Validator"
    work: Work


def check_schema(schema: Any, bytes_size: int) -> Compiled:
    """Compile a schema that somebody sent in `bytes_size` bytes.

    Raises `InvalidRequestError`, with a pointer into the schema, for one that is no schema of draft
    2020-12, is too large or too deep, refers to something outside itself or to nothing, has a
    pattern that does not run in linear time, or may take too long.
    """
    if bytes_size > MAX_SCHEMA_BYTES:
        raise InvalidRequestError.at("", f"must be at most {MAX_SCHEMA_BYTES} bytes")
    if not isinstance(schema, dict | bool):
        raise InvalidRequestError.at("", "must be a JSON Schema: an object, true or false")
    _check_depth(schema)
    return compile_schema(schema)


def compile_schema(schema: Any) -> Compiled:
    """Compile a schema; raises as `check_schema` does."""
    import jsonschema_rs

    if isinstance(schema, dict):
        if schema.get("$schema", DIALECT) != DIALECT:
            raise InvalidRequestError.at("/$schema", f"must be {DIALECT}, or absent")
        # The schema's own name is for people: references are within it, whatever it is called.
        schema = {name: schema[name] for name in schema if name not in {"$schema", "$id"}}
    meta = jsonschema_rs.Draft202012Validator({"$ref": DIALECT}, mask="this")
    try:
        meta.validate(schema)
    except jsonschema_rs.ValidationError as error:
        _refuse(error, schema)
    work = bound_work(schema)
    try:
        validator = jsonschema_rs.Draft202012Validator(
            schema,
            mask="this",
            validate_formats=False,
            retriever=_refuse_to_fetch,
            pattern_options=jsonschema_rs.RegexOptions(
                size_limit=MAX_PATTERN_BYTES, dfa_size_limit=PATTERN_CACHE_BYTES
            ),
        )
    except jsonschema_rs.ValidationError as error:
        _refuse(error, schema)
    return Compiled(validator, work)


def violations(compiled: Compiled, data: Any) -> list[FieldError]:
    """What `data` breaks, by JSON Pointer (RFC 6901) into it, sorted; none when it is valid.

    At most `MAX_VIOLATIONS`, each of at most `MAX_DETAIL` characters. Large data gets the first
    violation only, or none but that there is one. Data for which the schema might take too long is
    refused unseen. Under `uniqueItems` integers beyond 64 bits are compared as doubles (RFC 7493,
    section 2.2).
    """
    import jsonschema_rs

    size, work = measure(data), compiled.work
    cost = work.cost_of(size)
    if cost > MAX_EVENT_WORK:
        return [FieldError("", "is too large for a schema that asks this much of each part")]
    if work.compares and size.largest_integer >= INTEGER_LIMIT:
        data = _as_doubles(data)
    if compiled.validator.is_valid(data):
        return []
    may_look_twice = cost <= MAX_EVENT_WORK / 4
    if may_look_twice and work.at(size.depth).per_value * size.copied_bytes <= _MAX_EXPLANATION:
        return _told(compiled.validator.iter_errors(data), data)
    if may_look_twice and not work.has_branches:
        try:
            compiled.validator.validate(data)
        except jsonschema_rs.ValidationError as error:
            return _told(iter([error]), data)
    return [FieldError("", "does not match the schema, and is too large to say where")]


def _told(errors: "Iterator[ValidationError]", data: Any) -> list[FieldError]:
    found = {(tuple(map(_order, _path(error, data))), _short(error)) for error in errors}
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


def _short(error: "ValidationError") -> str:
    text = error.message.removeprefix("this ")
    if text == "False schema does not allow this":
        # The validator's words for `false`; alone, `additionalProperties` is told at the object.
        alone = error.schema_path[-1:] == ["additionalProperties"]
        return "has members that are not allowed" if alone else "is not allowed"
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


def _as_doubles(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_doubles(below) for name, below in value.items()}
    if isinstance(value, list):
        return [_as_doubles(below) for below in value]
    is_large = isinstance(value, int) and abs(value) >= INTEGER_LIMIT
    return float(value) if is_large else value
