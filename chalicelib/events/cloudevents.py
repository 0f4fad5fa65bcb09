"""CloudEvents 1.0.2 in the JSON event format: read from a request, read for the worker, written.

A structured event is stored as its bytes; of a binary one (see `cloudevents_http`) the body, with
the attributes beside it. `to_cloud_event` gives either back, and makes a CloudEvent of a plain
event. Whichever mode it came in, its context attributes are checked here ("Context Attributes",
"Type System" and "Naming Conventions"). Faults are collected, not raised, so that a sender sees all
of them at once.
"""

import base64
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from chalicelib.core.errors import FieldError, InvalidJsonError, InvalidRequestError
from chalicelib.core.media_types import CLOUD_EVENT, MEDIA_TYPE
from chalicelib.core.names import MAX_NAME_BYTES, MAX_TYPE_BYTES, NO_TEXT, name_fault
from chalicelib.core.strict_json import BOM, dump_json, parse_json
from chalicelib.events.model import Draft, Event, Identity

SPEC_VERSION = "1.0"
REQUIRED = ("specversion", "id", "source", "type")
MAX_CONTEXT_BYTES = 1024
"""Limit of a draft's `cloud_event` as compact ASCII JSON: it is stored in the metadata of an
S3 object, which hold 2,048 bytes (Amazon S3 User Guide, "Object metadata")."""
MAX_ATTRIBUTE_NAME = 64
"""The specification advises against names longer than 20 characters, but allows them."""
MAX_FAULTS = 20
"""How many faults an answer reports, so that it does not grow with a hostile event."""
INT32 = 2**31
_QUOTED_CHARACTERS = 20
_NAME = r"[a-z0-9]+"
_CONTEXT = ("id", "time", "datacontenttype", "dataschema")
_DATA_MEMBERS = ("data", "data_base64")
_TIME = (
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
# RFC 3986, appendix A.
_PCHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_NO_COLON = r"(?:[A-Za-z0-9._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2})"
_NAMED_HOST = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*"
_HOST = rf"(?:\[(?:[0-9A-Fa-f:.]+|[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\]|{_NAMED_HOST})"
_USER = r"(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@)?"
_ROOTED = rf"//{_USER}{_HOST}(?::[0-9]*)?(?:/{_PCHAR}*)*|/(?:{_PCHAR}+(?:/{_PCHAR}*)*)?"
_TAIL = rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
_ABSOLUTE = rf"[A-Za-z][A-Za-z0-9+.-]*:(?:{_ROOTED}|(?:{_PCHAR}+(?:/{_PCHAR}*)*)?){_TAIL}"
_RELATIVE = rf"(?:{_ROOTED}|(?:{_NO_COLON}+(?:/{_PCHAR}*)*)?){_TAIL}"
URI = _ABSOLUTE
URI_REFERENCE = rf"{_ABSOLUTE}|{_RELATIVE}"
_URI_CHARACTERS = ":/?#[]@!$&'()*+,;=%-._~"


def context_faults(attributes: Mapping[str, Any], place: Callable[[str], str]) -> list[FieldError]:
    """Everything wrong with `attributes` (those that are set; no data); `place` makes the pointer
    of an attribute's escaped name."""
    faults = [FieldError(place(name), "is required") for name in REQUIRED if name not in attributes]
    for name, value in attributes.items():
        check = _CHECKS.get(name)
        fault = check(value) if check else _extension_name_fault(name) or _extension_fault(value)
        if fault:
            faults.append(FieldError(place(escape(name)), fault))
    if not faults:
        size = len(dump_json(_cloud_event(attributes)))
        if size > MAX_CONTEXT_BYTES:
            detail = (
                f"id, time, datacontenttype, dataschema and extensions take {size} bytes of ASCII"
                f" JSON together; at most {MAX_CONTEXT_BYTES} are kept"
            )
            faults.append(FieldError("", detail))
    return faults


def make_draft(
    attributes: Mapping[str, Any],
    payload: bytes,
    content_type: str,
    data: tuple[Any, bool],
    identity: Identity | None,
) -> Draft:
    """The draft of an event, from attributes without a fault. Without the sender's own key, its
    identity is the specification's: source and id."""
    source, event_id = attributes["source"], attributes["id"]
    return Draft(
        payload=payload,
        content_type=content_type,
        event_type=attributes["type"],
        source=source,
        subject=attributes.get("subject"),
        data=data[0],
        data_is_base64=data[1],
        identity=identity or Identity("cloudevents", f"{source}\0{event_id}"),
        cloud_event=_cloud_event(attributes),
    )


def escape(name: str) -> str:
    """A name as part of a JSON Pointer (RFC 6901), cut when no attribute can be as long."""
    return name[:MAX_ATTRIBUTE_NAME].replace("~", "~0").replace("/", "~1")


def read_structured(body: bytes, identity: Identity | None = None) -> Draft:
    """One event in the JSON format; `body` is its payload. Raises `InvalidJsonError`, or
    one `InvalidRequestError` with every fault."""
    return read_structured_value(parse_json(body, exact=True), body, identity)


def read_structured_value(value: Any, payload: bytes, identity: Identity | None = None) -> Draft:
    """The same for a `value` that was parsed before, an element of a batch: pointers lead from the
    element, `payload` is stored of it."""
    if not isinstance(value, dict):
        raise InvalidRequestError.at("", "must be a JSON object")
    # An attribute that is null is not set (JSON event format, section 2.2).
    attributes = {
        name: member
        for name, member in value.items()
        if name not in _DATA_MEMBERS and member is not None
    }
    faults = context_faults(attributes, "/{}".format)
    data, data_faults = _structured_data(value)
    refuse(faults + data_faults)
    draft = make_draft(attributes, payload, CLOUD_EVENT, data, identity)
    return replace(draft, data_pointer="/data")


def read_data(content_type: str, payload: bytes) -> tuple[Any, bool]:
    """The data of a stored event and whether it is base64 text: of a structured CloudEvent what
    its envelope holds, of all others the payload. Raises `InvalidRequestError` for a payload that
    is not what its content type says."""
    if media_type(content_type) != CLOUD_EVENT:
        return read_content(content_type, payload)
    value = parse_json(payload, exact=True)
    if not isinstance(value, dict):
        raise InvalidRequestError.at("", "must be a JSON object")
    data, faults = _structured_data(value)
    refuse(faults)
    return data


def read_content(content_type: str | None, content: bytes) -> tuple[Any, bool]:
    """`content` as data, and whether that is base64 text: a JSON value, text where it is text in
    UTF-8, base64 of anything else. None for no content at all."""
    return _read_bytes(content_type, content) if content else (None, False)


def to_cloud_event(event: Event, cloud_event: Mapping[str, Any] | None, payload: bytes) -> bytes:
    """A stored event in the JSON format (`application/cloudevents+json`).

    A structured event is its payload, byte for byte unless its `data_base64` is null. JSON data are
    written as they were sent, text in UTF-8 as a string, everything else as base64. A plain event
    (`cloud_event` is None) gets its event id as id and the time of its receipt.
    """
    if media_type(event.content_type) == CLOUD_EVENT:
        return _without_null_bytes(payload)
    if cloud_event is None:
        cloud_event = {
            "id": event.event_id,
            "time": event.received_at,
            "datacontenttype": event.content_type,
        }
    attributes = {
        "specversion": SPEC_VERSION,
        "id": cloud_event["id"],
        "source": _uri_reference(event.source),
        "type": event.event_type,
        "subject": event.subject,
        **{name: cloud_event.get(name) for name in _CONTEXT[1:]},
        **cloud_event.get("extensions", {}),
    }
    head = dump_json({name: value for name, value in attributes.items() if value is not None})
    return head[:-1].encode() + _data_member(event.content_type, payload) + b"}"


def media_type(content_type: str | None) -> str | None:
    """`type/subtype` in lower case, without parameters; None for anything else."""
    match = re.fullmatch(MEDIA_TYPE, (content_type or "").strip(" \t"))
    return match[1].lower() if match else None


def is_json(content_type: str | None) -> bool:
    """Whether content of this type is JSON (JSON event format, section 3.1.1)."""
    return (media_type(content_type) or "").endswith(("/json", "+json"))


def refuse(faults: list[FieldError]) -> None:
    """Raise one error for all `faults`, up to a number; nothing when there are none."""
    if len(faults) == 1:
        raise InvalidRequestError.at(faults[0].pointer, faults[0].detail)
    if faults:
        raise InvalidRequestError("the CloudEvent cannot be understood", faults[:MAX_FAULTS])


def _cloud_event(attributes: Mapping[str, Any]) -> dict[str, Any]:
    context = {name: attributes[name] for name in _CONTEXT if name in attributes}
    extensions = {name: value for name, value in attributes.items() if name not in _CHECKS}
    return {**context, "extensions": extensions} if extensions else context


def _version_fault(value: object) -> str | None:
    if value == SPEC_VERSION:
        return None
    named = f", not {dump_json(value[:_QUOTED_CHARACTERS])}" if isinstance(value, str) else ""
    return f'must be "{SPEC_VERSION}"{named}'


def _name_fault(
    value: object,
    limit: int = MAX_NAME_BYTES,
    pattern: str | None = None,
    what: str = "",
) -> str | None:
    fault = name_fault(value, limit)
    if fault is None and pattern and not re.fullmatch(pattern, str(value)):
        return f"must be a {what}"
    return fault


def _schema_fault(value: object) -> str | None:
    # A fragment passes, though the specification's absolute URI has none: it is how one schema of
    # a document is named.
    is_uri = isinstance(value, str) and re.fullmatch(URI, value)
    return None if is_uri else "must be an absolute URI (RFC 3986)"


def _time_fault(value: object) -> str | None:
    match = re.fullmatch(_TIME, value) if isinstance(value, str) else None
    return None if match and _is_moment(match) else "must be a timestamp (RFC 3339)"


def _is_moment(match: re.Match[str]) -> bool:
    """Whether the numbers of a timestamp can be. A second 60 is one only at the end of a month in
    UTC (RFC 3339, section 5.7)."""
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    sign, hours, minutes = match[7], int(match[8] or 0), int(match[9] or 0)
    if hours > 23 or minutes > 59 or second > 60:  # noqa: PLR2004 - a clock's numbers
        return False
    try:
        # The calendar repeats every 400 years; these lie within what datetime can hold.
        moment = datetime(2000 + year % 400, month, day, hour, minute)  # noqa: DTZ001 - moved below
    except ValueError:
        return False
    offset = timedelta(hours=hours, minutes=minutes)
    next_minute = moment + (offset if sign == "-" else -offset) + timedelta(minutes=1)
    at_month_end = (next_minute.day, next_minute.hour, next_minute.minute) == (1, 0, 0)
    return second < 60 or at_month_end  # noqa: PLR2004


def _extension_name_fault(name: str) -> str | None:
    if name in _DATA_MEMBERS:
        return "is reserved for the data of an event"
    if not re.fullmatch(_NAME, name):
        return "an attribute's name must be of lower-case letters a-z and digits"
    if len(name) > MAX_ATTRIBUTE_NAME:
        return f"an attribute's name must have at most {MAX_ATTRIBUTE_NAME} characters"
    return None


def _extension_fault(value: object) -> str | None:
    if isinstance(value, str):
        bad = re.search(NO_TEXT, value)
        return "must be Unicode text without control characters" if bad else None
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if -INT32 <= value < INT32 else "must be an integer of 32 bits"
    return "must be a string, a boolean or an integer"


def _structured_data(value: Mapping[str, Any]) -> tuple[tuple[Any, bool], list[FieldError]]:
    """The data of an envelope (JSON event format, section 3.1.2), and what is wrong with it."""
    data, encoded, sent_as = (value.get(key) for key in ("data", "data_base64", "datacontenttype"))
    content_type = sent_as if isinstance(sent_as, str) else None
    nothing = None, False
    if encoded is None:
        is_other = media_type(content_type) is not None and not is_json(content_type)
        if is_other and not (data is None or isinstance(data, str)):
            detail = "must be a string, as datacontenttype is not JSON"
            return nothing, [FieldError("/data", detail)]
        return (data, False), []
    if "data" in value:
        return nothing, [FieldError("/data_base64", "cannot come together with data")]
    content = _decoded(encoded)
    if content is None:
        return nothing, [FieldError("/data_base64", "must be base64 (RFC 4648, section 4)")]
    try:
        return _read_bytes(content_type, content), []
    except InvalidJsonError as error:
        return nothing, [FieldError("/data_base64", fault.detail) for fault in error.errors]


def _read_bytes(content_type: str | None, content: bytes) -> tuple[Any, bool]:
    """`read_content` where no bytes are data as well, but for JSON, which they are not."""
    if is_json(content_type):
        return parse_json(content, exact=True) if content else None, False
    text = _text(content_type, content)
    return (_base64(content), True) if text is None else (text, False)


def _without_null_bytes(envelope: bytes) -> bytes:
    """An envelope without a `data_base64` that is null, which may stand beside `data` only as it is
    read: the two exclude each other (JSON event format, section 3.1.1)."""
    value = parse_json(envelope, exact=True) if b"null" in envelope else {}
    if value.get("data_base64", "") is not None:
        return envelope
    del value["data_base64"]
    return dump_json(value, exact=True).encode()


def _decoded(encoded: object) -> bytes | None:
    """The bytes that base64 text stands for; None unless it is written as `_base64` does."""
    try:
        content = base64.b64decode(encoded if isinstance(encoded, str) else "")
    except ValueError:
        return None
    return content if _base64(content) == encoded else None


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _text(content_type: str | None, content: bytes) -> str | None:
    """`content` as text if its type says so, in no other character set than UTF-8."""
    match = re.fullmatch(MEDIA_TYPE, (content_type or "").strip(" \t"))
    if match is None or not match[1].lower().startswith("text/"):
        return None
    for parameter in match[2].lower().split(";"):
        name, _, charset = parameter.strip(" \t").partition("=")
        if name == "charset" and charset.strip('"') not in {"utf-8", "us-ascii"}:
            return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _data_member(content_type: str, payload: bytes) -> bytes:
    """The member for the data, with the comma before it; nothing for no data."""
    if not payload:
        return b""
    text = None
    if not is_json(content_type):
        text = _text(content_type, payload)
    else:
        # A payload that was refused is stored too; its bytes are all there is to show.
        with suppress(InvalidJsonError):
            parse_json(payload)
            return b',"data":' + payload.removeprefix(BOM)
    name, value = ("data_base64", _base64(payload)) if text is None else ("data", text)
    return f',"{name}":{dump_json(value)}'.encode()


def _uri_reference(source: str) -> str:
    """A plain event's source may be any name; a CloudEvent's is a URI reference."""
    if re.fullmatch(URI_REFERENCE, source):
        return source
    partly = quote(source, safe=_URI_CHARACTERS)
    return partly if re.fullmatch(URI_REFERENCE, partly) else quote(source, safe="")


_CHECKS: Mapping[str, Callable[[object], str | None]] = {
    "specversion": _version_fault,
    "id": _name_fault,
    "source": partial(_name_fault, pattern=URI_REFERENCE, what="URI reference (RFC 3986)"),
    "type": partial(_name_fault, limit=MAX_TYPE_BYTES),
    "subject": _name_fault,
    "time": _time_fault,
    "datacontenttype": partial(_name_fault, pattern=MEDIA_TYPE, what="media type (RFC 9110)"),
    "dataschema": _schema_fault,
}
