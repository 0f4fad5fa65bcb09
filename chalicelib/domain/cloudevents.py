"""CloudEvents 1.0.2 in the JSON event format: read from a request, read for the worker, written.

What is kept of a structured event is its bytes as they were sent; of a binary one (see
`cloudevents_http`), its body, with the attributes beside it. `to_cloud_event` gives either back,
and makes a CloudEvent of an event that was none.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from chalicelib.domain.cloudevents_context import (
    MAX_FAULTS,
    MEDIA_TYPE,
    SPEC_VERSION,
    URI_REFERENCE,
    context_faults,
    make_draft,
)
from chalicelib.domain.drafts import Draft, Identity
from chalicelib.domain.events import Event
from chalicelib.domain.payloads import dump_json, parse_json
from chalicelib.errors import FieldError, InvalidJsonError, InvalidRequestError

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
_DATA_MEMBERS = ("data", "data_base64")
_URI_CHARACTERS = ":/?#[]@!$&'()*+,;=%-._~"
_UNREADABLE = "the CloudEvent can not be understood"


def read_structured(body: bytes, identity: Identity | None = None) -> Draft:
    """One event in the JSON format; `body` is kept as its payload. Raises `InvalidJsonError`, or
    one `InvalidRequestError` with every fault."""
    return read_structured_value(parse_json(body), body, identity)


def read_structured_value(value: Any, payload: bytes, identity: Identity | None = None) -> Draft:
    """The same of a `value` that was parsed before, an element of a batch: pointers lead from the
    element, `payload` is what is kept of it."""
    if not isinstance(value, dict):
        raise InvalidRequestError.at("", "must be a JSON object")
    # An attribute that is null is not set (JSON event format, section 2.2).
    attributes = {
        name: member
        for name, member in value.items()
        if name not in _DATA_MEMBERS and member is not None
    }
    faults = context_faults(attributes, _pointer)
    data, data_faults = _structured_data(value)
    refuse(faults + data_faults)
    draft = make_draft(attributes, payload, STRUCTURED, data, identity)
    return replace(draft, data_pointer="/data")


def read_data(content_type: str, payload: bytes) -> tuple[Any, bool]:
    """The data of a stored event and whether it is base64 text: of a structured CloudEvent what
    its envelope holds, of all others the payload. Raises `InvalidRequestError` for a payload that
    is not what its content type says."""
    if media_type(content_type) != STRUCTURED:
        return read_content(content_type, payload)
    value = parse_json(payload)
    if not isinstance(value, dict):
        raise InvalidRequestError.at("", "must be a JSON object")
    data, faults = _structured_data(value)
    refuse(faults)
    return data


def read_content(content_type: str | None, content: bytes) -> tuple[Any, bool]:
    """`content` as data, and whether that is base64 text: a JSON value, text where it is text in
    UTF-8, base64 of anything else. None for no content at all."""
    if not content:
        return None, False
    if is_json(content_type):
        return parse_json(content), False
    text = _text(content_type, content)
    return (_base64(content), True) if text is None else (text, False)


def to_cloud_event(event: Event, cloud_event: Mapping[str, Any] | None, payload: bytes) -> bytes:
    """A stored event in the JSON format (`application/cloudevents+json`).

    A structured event is its payload, byte for byte. JSON data are written as they were sent,
    text in UTF-8 as a string, everything else as base64. Of an event that was no CloudEvent
    (`cloud_event` is None), the id is ours and the time is that of receipt.
    """
    if media_type(event.content_type) == STRUCTURED:
        return payload
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
        "time": cloud_event.get("time"),
        "datacontenttype": cloud_event.get("datacontenttype"),
        "dataschema": cloud_event.get("dataschema"),
        **cloud_event.get("extensions", {}),
    }
    head = dump_json({name: value for name, value in attributes.items() if value is not None})
    return head[:-1].encode() + _data_member(event.content_type, payload) + b"}"


def silver_context(cloud_event: Mapping[str, Any] | None, received_at: str) -> dict[str, Any]:
    """What the silver document says of an event's origin: `time`, as the sender wrote it or else
    that of receipt; and `cloudEvent` (id, and where sent time, datacontenttype, dataschema and
    extensions) when the event is one."""
    if cloud_event is None:
        return {"time": received_at}
    return {"time": cloud_event.get("time", received_at), "cloudEvent": dict(cloud_event)}


def media_type(content_type: str | None) -> str | None:
    """`type/subtype` in lower case, without parameters; None for what is no media type."""
    match = MEDIA_TYPE.fullmatch((content_type or "").strip(" \t"))
    return match[1].lower() if match else None


def is_json(content_type: str | None) -> bool:
    """Whether content of this type is JSON (JSON event format, section 3.1.1)."""
    return (media_type(content_type) or "").endswith(("/json", "+json"))


def refuse(faults: list[FieldError]) -> None:
    """Raise one error for all `faults`, up to a number; nothing when there are none."""
    if len(faults) == 1:
        raise InvalidRequestError.at(faults[0].pointer, faults[0].detail)
    if faults:
        raise InvalidRequestError(_UNREADABLE, faults[:MAX_FAULTS])


def _pointer(name: str) -> str:
    return f"/{name}"


def _structured_data(value: Mapping[str, Any]) -> tuple[tuple[Any, bool], list[FieldError]]:
    """The data of an envelope (JSON event format, section 3.1.2), and what is wrong with it."""
    none = None, False
    encoded = value.get("data_base64")
    if encoded is not None:
        if "data" in value:
            return none, [FieldError("/data_base64", "can not come together with data")]
        return _encoded_data(value, encoded)
    data, content_type = value.get("data"), value.get("datacontenttype")
    if data is None or isinstance(data, str):
        return (data, False), []
    if isinstance(content_type, str) and media_type(content_type) and not is_json(content_type):
        return none, [FieldError("/data", "must be a string, as datacontenttype is not JSON")]
    return (data, False), []


def _encoded_data(
    value: Mapping[str, Any], encoded: object
) -> tuple[tuple[Any, bool], list[FieldError]]:
    none = None, False
    content = _decoded(encoded)
    if content is None:
        return none, [FieldError("/data_base64", "must be base64 (RFC 4648, section 4)")]
    content_type = value.get("datacontenttype")
    try:
        return read_content(content_type if isinstance(content_type, str) else None, content), []
    except InvalidJsonError as error:
        return none, [FieldError("/data_base64", fault.detail) for fault in error.errors]


def _decoded(encoded: object) -> bytes | None:
    """The bytes that base64 text stands for; None when it is not how we would write them."""
    if not isinstance(encoded, str):
        return None
    try:
        content = base64.b64decode(encoded)
    except (binascii.Error, ValueError):
        return None
    return content if _base64(content) == encoded else None


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _text(content_type: str | None, content: bytes) -> str | None:
    """`content` as text if its type says so, in no other character set than UTF-8."""
    match = MEDIA_TYPE.fullmatch((content_type or "").strip(" \t"))
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
    if is_json(content_type):
        try:
            parse_json(payload)
        except InvalidJsonError:
            # A payload that was refused is kept too; its bytes are all there is to tell.
            return _member("data_base64", _base64(payload))
        return b',"data":' + payload
    text = _text(content_type, payload)
    if text is None:
        return _member("data_base64", _base64(payload))
    return _member("data", text)


def _member(name: str, value: str) -> bytes:
    return f',"{name}":{dump_json(value)}'.encode()


def _uri_reference(source: str) -> str:
    """A plain event's source may be any name; a CloudEvent's is a URI reference."""
    if URI_REFERENCE.fullmatch(source):
        return source
    partly = quote(source, safe=_URI_CHARACTERS)
    return partly if URI_REFERENCE.fullmatch(partly) else quote(source, safe="")
