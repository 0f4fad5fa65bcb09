"""Checking a request's body by the very schema that the OpenAPI document shows.

Every fault is reported at once, at its pointer. The words of a fault are those of the member's own
description, from its last "must" on: a member described as "Events a second: must be a whole
number, 1 to 500." is refused with "must be a whole number, 1 to 500"; a description without a
"must" is the fault as it stands. A fault of `dependentSchemas` is told of the member that depends.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chalicelib.core.errors import FieldError, InvalidRequestError
from chalicelib.core.ids import is_event_id
from chalicelib.core.paging import decode_cursor
from chalicelib.core.strict_json import parse_json
from chalicelib.web.request import Request, read_moment

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator, ValidationError

MAX_FAULTS = 20
_SHOWN = 64
_UNKNOWN = "is not known here"
_FORMATS: dict[str, Any] = {
    "date-time": lambda text: read_moment(text) is not None,
    "uuid": is_event_id,
    "cursor": lambda text: decode_cursor(text) is not None,
}
_validators: dict[int, tuple[Mapping[str, Any], "Draft202012Validator"]] = {}
"""By the identity of a schema, which is kept with it, so that no other can have the same one."""

Checks = Mapping[str, Callable[[Any], str | None]]
"""By member, what is wrong with its value, in words. They stand in for the schema where it cannot
be exact: it cannot count bytes."""
_NO_CHECKS: Checks = {}


def read_body(
    request: Request, schema: Mapping[str, Any], refusal: str, checks: Checks = _NO_CHECKS
) -> dict[str, Any]:
    """The JSON object in the body; raises `InvalidRequestError` with `refusal` and every fault."""
    body, faults = check_body(request, schema, checks)
    refuse(refusal, faults)
    return body


def check_body(
    request: Request, schema: Mapping[str, Any], checks: Checks = _NO_CHECKS
) -> tuple[dict[str, Any], list[FieldError]]:
    """(the JSON object in the body, what is wrong with it). Raises `InvalidJsonError`, and
    `InvalidRequestError` for any other JSON than an object."""
    body = parse_json(request.body)
    if not isinstance(body, dict):
        raise InvalidRequestError.at("", "must be a JSON object")
    return body, faults_of(body, schema, checks)


def refuse(refusal: str, faults: Sequence[FieldError]) -> None:
    """Raise `InvalidRequestError` if there are `faults`."""
    if faults:
        raise InvalidRequestError(refusal, faults[:MAX_FAULTS])


def faults_of(
    value: Any, schema: Mapping[str, Any], checks: Checks = _NO_CHECKS
) -> list[FieldError]:
    """What is wrong with `value`, in the order of the schema's members; unknown members last, so
    that they hide no other fault."""
    checked = {f"/{name}": check(value[name]) for name, check in checks.items() if name in value}
    found = {
        (pointer, words): FieldError(pointer, words) for pointer, words in checked.items() if words
    }
    for error in _validator(schema).iter_errors(value):
        for fault in _faults(error, schema):
            if fault.pointer not in checked:
                found.setdefault((fault.pointer, fault.detail), fault)
    members = ["", *schema.get("properties", ())]

    def place(fault: FieldError) -> int:
        if fault.detail == _UNKNOWN:
            return len(members) + 1
        name = fault.pointer.split("/")[1] if fault.pointer else ""
        return members.index(name) if name in members else len(members)

    return sorted(found.values(), key=place)


def _validator(schema: Mapping[str, Any]) -> "Draft202012Validator":
    """The compiled schema; compiled at first use, since schemas are constants."""
    if id(schema) not in _validators:
        import jsonschema_rs

        compiled = jsonschema_rs.Draft202012Validator(
            dict(schema), formats=_FORMATS, validate_formats=True, mask="it"
        )
        _validators[id(schema)] = schema, compiled
    return _validators[id(schema)][1]


def _faults(error: "ValidationError", schema: Mapping[str, Any]) -> Iterator[FieldError]:
    pointer = "".join(f"/{_escape(str(step))}" for step in error.instance_path)
    keyword, around = error.schema_path[-1], error.schema_path[:-1]
    kind: Any = error.kind
    if "dependentSchemas" in around:
        at = around.index("dependentSchemas")
        name = str(around[at + 1])
        words = _words([*around[:at], "properties", name], schema) or error.message
        yield FieldError(f"{pointer}/{_escape(name)}", words)
    elif keyword == "additionalProperties":
        for name in kind.unexpected:
            yield FieldError(f"{pointer}/{_escape(name)}", _UNKNOWN)
    elif keyword == "required":
        name = kind.property
        words = _words([*around, "properties", name], schema) or "is required"
        yield FieldError(f"{pointer}/{_escape(name)}", words)
    else:
        yield FieldError(pointer, _words(around, schema) or error.message)


def _words(path: Sequence[str | int], schema: Mapping[str, Any]) -> str | None:
    """What the nearest description on the way to `path` says."""
    place: Any = schema
    words = _said(place)
    for step in path:
        place = place[step]
        words = _said(place) or words
    return words


def _said(place: Any) -> str | None:
    if not isinstance(place, dict):
        return None
    text = place.get("description") or _said((place.get("anyOf") or [None])[0])
    # Among an object's properties, one that is called so is a schema.
    if not isinstance(text, str):
        return None
    _, must, rest = text.rpartition("must ")
    return (must + rest).rstrip(".")


def _escape(name: str) -> str:
    """A name in a JSON Pointer (RFC 6901), cut short: it is the sender's."""
    return name[:_SHOWN].replace("~", "~0").replace("/", "~1")
