"""The routes of schemas of event types: list, get, put, end."""

import base64
import binascii
import re
from urllib.parse import unquote

from chalicelib.core import clock
from chalicelib.core.errors import InvalidRequestError, UnsupportedMediaTypeError
from chalicelib.core.media_types import JSON, SCHEMA, is_in_utf8
from chalicelib.core.names import MAX_TYPE_BYTES, name_fault
from chalicelib.core.paging import encode_cursor
from chalicelib.schemas import manage
from chalicelib.schemas.compiler import MAX_SCHEMA_BYTES
from chalicelib.schemas.manage import SchemaDeps
from chalicelib.web.describe import (
    LIMIT,
    MOMENT,
    Operation,
    component,
    content,
    event_type,
    moment,
    name,
    number,
    page_of,
    path,
    query,
    record,
    response,
    shared,
    text,
)
from chalicelib.web.request import Request
from chalicelib.web.responses import Response, answer, no_content, page

_TAG = "Schemas"
_MAX_VERSION = 999_999_999
_VERSION_PATTERN = rf"[1-9][0-9]{{0,{len(str(_MAX_VERSION)) - 1}}}"
_EXAMPLE = {
    "type": "object",
    "required": ["number"],
    "properties": {"number": {"type": "integer", "minimum": 1}},
}
_LISTED_EXAMPLE = {"eventType": "invoice.drafted", "version": 1, "createdAt": MOMENT}
_MEMBERS = {
    "eventType": event_type(),
    "version": number("Counts from 1.", minimum=1),
    "createdAt": moment(),
}
_JSON_SCHEMA = component(
    "JsonSchema",
    {
        "type": ["object", "boolean"],
        "description": "A JSON Schema of draft 2020-12, or of 2019-09 or 7 if its `$schema` says"
        f" so, of at most {MAX_SCHEMA_BYTES} bytes. References stay inside it, patterns are of"
        " ECMA-262 without look-around and back references, its work is bounded.",
    },
)
_ASSERTED = {"type": "boolean", "const": True, "description": "There if `format` is checked, too."}
_LISTED = component("ListedSchema", record(_MEMBERS, description="A version of a type's schema."))
_SHOWN = content(
    component(
        "EventSchema",
        record({**_MEMBERS, "schema": _JSON_SCHEMA, "assertFormat": _ASSERTED}, ["assertFormat"]),
    ),
    schema={**_LISTED_EXAMPLE, "schema": _EXAMPLE},
)
_EVENT_TYPE = shared(
    path(
        "event_type",
        "The event type. One that holds a `%` can have no schema.",
        name("The event type, percent-encoded.", MAX_TYPE_BYTES, allOf=[{"pattern": "^[^%]*$"}]),
    )
)

LIST_SCHEMAS = Operation(
    _TAG,
    "A page of the types that have a schema, by name",
    {
        200: response(
            "The page, without the schemas themselves.",
            content(page_of(_LISTED), page={"items": [_LISTED_EXAMPLE], "cursor": None}),
        )
    },
    parameters=[
        LIMIT,
        query(
            "cursor",
            text(pattern="^[A-Za-z0-9_-]+$", maxLength=1024),
            "What the page before gave as its cursor.",
            example="b3JkZXIucGFpZA",
        ),
    ],
)
GET_SCHEMA = Operation(
    _TAG,
    "The schema of an event type",
    {200: response("The one that is enforced, or the version asked for.", _SHOWN)},
    (404,),
    parameters=[
        _EVENT_TYPE,
        query("version", number(minimum=1, maximum=_MAX_VERSION), "A version of the history."),
    ],
)
PUT_SCHEMA = Operation(
    _TAG,
    "Make a schema the one that events of a type are checked against",
    {
        201: response("A new version.", _SHOWN),
        200: response("It was the latest version already.", _SHOWN),
    },
    (415,),
    description="It belongs to the stage: it checks the events of every owner.",
    parameters=[
        _EVENT_TYPE,
        query(
            "assertFormat",
            {"type": "string", "enum": ["true", "false"], "default": "false"},
            "Whether `format` is checked, too. Without it, it is an annotation.",
        ),
    ],
    body={
        **content(_JSON_SCHEMA, JSON, schema=_EXAMPLE),
        **content(_JSON_SCHEMA, SCHEMA, schema=_EXAMPLE),
    },
)
LIST_VERSIONS = Operation(
    _TAG,
    "A page of the versions of a type's schema, newest first",
    {
        200: response(
            "The page, without the schemas themselves; empty for a type that never had one.",
            content(page_of(_LISTED), page={"items": [_LISTED_EXAMPLE], "cursor": None}),
        )
    },
    description="The history stays when the enforcement ends. `GET /schemas/{eventType}?version=`"
    " gives one of them.",
    parameters=[
        _EVENT_TYPE,
        LIMIT,
        query(
            "cursor",
            text(pattern=f"^{_VERSION_PATTERN}$"),
            "The cursor of the page before.",
            example="7",
        ),
    ],
)
DELETE_SCHEMA = Operation(
    _TAG,
    "Check events of a type no more",
    {204: response("The history stays; a later schema goes on counting.")},
    (404,),
    parameters=[_EVENT_TYPE],
)


def list_schemas(request: Request, deps: SchemaDeps) -> Response:
    """`GET /schemas`; one call, which reads no schema. The cursor is the type to go on after."""
    asked = request.page(read_cursor=_read_cursor)
    return page(*deps.store.page(asked.limit, asked.below))


def get_schema(request: Request, event_type: str, deps: SchemaDeps) -> Response:
    """`GET /schemas/{event_type}`: the one that is enforced, or the `version` asked for."""
    named, version = _read_event_type(event_type), _read_version(request)
    return answer(manage.get_schema(named, version, deps).to_dict())


def list_versions(request: Request, event_type: str, deps: SchemaDeps) -> Response:
    """`GET /schemas/{event_type}/versions`; one call. The cursor is the version to go on below."""
    named, asked = _read_event_type(event_type), request.page(read_cursor=_read_number)
    below = None if asked.below is None else int(asked.below)
    found, resume = deps.store.versions(named, asked.limit, below)
    cursor = None if resume is None else str(resume)
    return answer({"items": [version.to_dict() for version in found], "cursor": cursor})


def put_schema(request: Request, event_type: str, deps: SchemaDeps) -> Response:
    """`PUT /schemas/{event_type}`: 201 for a new version, 200 for the one that is enforced."""
    named = _read_event_type(event_type)
    asserts_format = request.parameters("assertFormat").get("assertFormat", "false")
    if asserts_format not in {"true", "false"}:
        raise InvalidRequestError.at("/query/assertFormat", "must be true or false")
    if not any(is_in_utf8(request.content_type, media_type) for media_type in (JSON, SCHEMA)):
        raise UnsupportedMediaTypeError(f"a schema is sent as {JSON} or {SCHEMA} in UTF-8")
    now = clock.to_text(clock.utc_now())
    schema, is_new = manage.put_schema(
        named, request.body, request.caller, now, deps, asserts_format == "true"
    )
    return answer(schema.to_dict(), 201 if is_new else 200)


def delete_schema(_request: Request, event_type: str, deps: SchemaDeps) -> Response:
    """`DELETE /schemas/{event_type}`."""
    manage.delete_schema(_read_event_type(event_type), deps)
    return no_content()


def _read_event_type(segment: str) -> str:
    """The event type in a path, percent-encoded or decoded already: gateways differ in that.

    A `%` in the type itself could be read both ways, so such types are refused here.
    """
    try:
        named = unquote(segment, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidRequestError.at("/path/eventType", "must be UTF-8") from error
    fault = name_fault(named, MAX_TYPE_BYTES)
    if fault is None and "%" in named:
        fault = "must not hold a %"
    if fault:
        raise InvalidRequestError.at("/path/eventType", fault)
    return named


def _read_version(request: Request) -> int | None:
    """The version asked for; None for the one that is enforced."""
    version = request.parameters("version").get("version")
    if version is None:
        return None
    if not re.fullmatch(_VERSION_PATTERN, version):
        raise InvalidRequestError.at("/query/version", "must be a whole number, 1 or more")
    return int(version)


def _read_number(text: str) -> str | None:
    """A version; None for a text that is none."""
    return text if re.fullmatch(_VERSION_PATTERN, text) else None


def _read_cursor(cursor: str) -> str | None:
    """The event type in a cursor; None when it was not handed out."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        named = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error):
        return None
    is_ours = not name_fault(named, MAX_TYPE_BYTES) and encode_cursor(named) == cursor
    return named if is_ours else None
