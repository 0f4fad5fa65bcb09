"""Schemas of event types: put, get, list, end. They belong to the stage, not to an owner."""

from collections.abc import Callable

from msgspec import Struct

from chalicelib.core.errors import InvalidRequestError, NotFoundError, UnavailableError
from chalicelib.core.strict_json import parse_json
from chalicelib.schemas.compiler import MAX_SCHEMA_BYTES, check_schema
from chalicelib.schemas.store import Schema, SchemaStore
from chalicelib.web.callers import Caller

_RACE_ROUNDS = 8


class SchemaDeps(Struct, frozen=True):
    """The collaborators of the functions below; `forget` lets this process's check read the
    schema of a type anew."""

    store: SchemaStore
    forget: Callable[[str], None]


def put_schema(
    event_type: str,
    body: bytes,
    caller: Caller,
    now: str,
    deps: SchemaDeps,
    asserts_format: bool = False,
) -> tuple[Schema, bool]:
    """Make `body` the schema of a type; (the schema, whether it is a new version). With
    `asserts_format` it checks `format`, too.

    The schema that is enforced already makes no new version. Two calls, and two more for each
    writer that came between. Raises `InvalidRequestError` for a body that
    cannot be a schema here.
    """
    if len(body) > MAX_SCHEMA_BYTES:
        raise InvalidRequestError.at("", f"must be at most {MAX_SCHEMA_BYTES} bytes")
    value = parse_json(body, exact=True)
    check_schema(value, len(body), asserts_format)
    for _ in range(_RACE_ROUNDS):
        before = deps.store.head(event_type)
        if before is not None and before.active and before.schema.is_same(value, asserts_format):
            return before.schema, False
        version = 1 if before is None else before.schema.version + 1
        text = body.decode()
        schema = Schema(event_type, version, text, now, caller.owner, asserts_format)
        try:
            added = deps.store.add(schema, before)
        finally:
            # Even if the answer was lost: the schema may be there.
            deps.forget(event_type)
        if added:
            return schema, True
    raise UnavailableError("the schema of this type is being changed by others")


def get_schema(event_type: str, version: int | None, deps: SchemaDeps) -> Schema:
    """The schema that is enforced, or one version of the history; one call.

    `NotFoundError` for a type that has none (or no more), and for a version that never was.
    """
    if version is not None:
        schema = deps.store.version(event_type, version)
    else:
        head = deps.store.head(event_type)
        schema = head.schema if head is not None and head.active else None
    if schema is None:
        raise NotFoundError("no such schema")
    return schema


def delete_schema(event_type: str, deps: SchemaDeps) -> None:
    """End the enforcement; the history stays, and a later schema counts on. One call.

    `NotFoundError` for a type without a schema.
    """
    try:
        ended = deps.store.end(event_type)
    finally:
        deps.forget(event_type)
    if not ended:
        raise NotFoundError("no such schema")
