"""From requests about schemas to the values that services take."""

import base64
import binascii
import re
from urllib.parse import unquote

from chalicelib.core.errors import InvalidRequestError, UnsupportedMediaTypeError
from chalicelib.core.names import MAX_TYPE_BYTES, name_fault
from chalicelib.core.paging import encode_cursor
from chalicelib.web.api import Call
from chalicelib.web.parse import read_limit, single_values

_SCHEMA_TYPE = re.compile(
    r'application/(?:schema\+)?json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?', re.IGNORECASE
)
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


def decode_event_type(segment: str) -> str:
    """The event type in a path, percent-encoded or decoded already: gateways differ in that.

    A `%` in the type itself could be read both ways, so such types are refused here.
    """
    try:
        event_type = unquote(segment, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidRequestError.at("/path/eventType", "must be UTF-8") from error
    fault = name_fault(event_type, MAX_TYPE_BYTES)
    if fault is None and "%" in event_type:
        fault = "must not hold a %"
    if fault:
        raise InvalidRequestError.at("/path/eventType", fault)
    return event_type


def decode_schema(call: Call) -> bytes:
    """`PUT /schemas/{eventType}`: the JSON Schema, as it is."""
    single_values(call.query, ())
    content_type = call.header("content-type") or "application/json"
    if not _SCHEMA_TYPE.fullmatch(content_type.strip()):
        raise UnsupportedMediaTypeError(
            "a schema is sent as application/json or application/schema+json in UTF-8"
        )
    return call.body


def decode_schema_version(call: Call) -> int | None:
    """`GET /schemas/{eventType}`: the version asked for, None for the one that is enforced."""
    text = single_values(call.query, ("version",)).get("version")
    if text is None:
        return None
    if not _VERSION.fullmatch(text):
        raise InvalidRequestError.at("/query/version", "must be a whole number, 1 or more")
    return int(text)


def decode_schema_page(call: Call) -> tuple[int, str | None]:
    """`GET /schemas`: (page size, the event type to go on after)."""
    query = single_values(call.query, ("limit", "cursor"))
    cursor = query.get("cursor")
    return read_limit(query), None if cursor is None else _read_cursor(cursor)


def _read_cursor(cursor: str) -> str:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        event_type = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error):
        event_type = ""
    if name_fault(event_type, MAX_TYPE_BYTES) or encode_cursor(event_type) != cursor:
        raise InvalidRequestError.at("/query/cursor", "is not a cursor that was handed out")
    return event_type
