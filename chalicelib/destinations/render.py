"""The request for an event: its body and headers in each format.

Sources: Standard Webhooks, "Payload structure"; CloudEvents 1.0.2, "JSON Event Format" and "HTTP
Protocol Binding". A document is a silver document (`events.bus`).
"""

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from chalicelib.core.media_types import CLOUD_EVENT, JSON
from chalicelib.core.strict_json import dump_json
from chalicelib.destinations.model import Format

_OF_ENVELOPE = ("id", "type", "source", "subject", "time")
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


def render(format_: Format, document: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    """(body, headers)."""
    match format_:
        case Format.STANDARD:
            return dump_json(_standard(document)).encode(), {"Content-Type": JSON}
        case Format.STRUCTURED:
            event = {**_context(document), **_data_member(document)}
            return dump_json(event).encode(), {"Content-Type": CLOUD_EVENT}
        case Format.BINARY:
            return _binary(document)


def _standard(document: Mapping[str, Any]) -> dict[str, Any]:
    """`type`, `timestamp` and `data` are the specification's; the rest is the envelope's."""
    encoding = {"dataEncoding": "base64"} if _is_base64(document) else {}
    return {
        "type": document["eventType"],
        "timestamp": document["time"],
        "id": document["eventId"],
        "source": document["source"],
        "subject": document.get("subject"),
        **encoding,
        "data": document.get("data"),
    }


def _binary(document: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    context = _context(document)
    content_type = str(context.pop("datacontenttype"))
    headers = {f"ce-{name}": quote(_text(value), safe=_PLAIN) for name, value in context.items()}
    body = dump_json(document.get("data")).encode()
    if _is_base64(document):
        body = base64.b64decode(document["data"])
    return body, {"Content-Type": content_type, **headers}


def _text(value: Any) -> str:
    """The canonical form of an attribute (CloudEvents 1.0.2, "Type System")."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _context(document: Mapping[str, Any]) -> dict[str, Any]:
    """The context attributes. The id is the event's, as it is in `webhook-id`: that of a CloudEvent
    that came in is unique within its source only."""
    own = document.get("cloudEvent") or {}
    more = {
        name: value
        for name, value in own.items()
        if name not in (*_OF_ENVELOPE, "specversion", "datacontenttype") and name.isalnum()
    }
    subject = document.get("subject")
    is_base64 = _is_base64(document)
    usual = "application/octet-stream" if is_base64 else JSON
    return {
        "specversion": "1.0",
        "id": document["eventId"],
        "type": document["eventType"],
        "source": document["source"],
        "time": document["time"],
        **({} if subject is None else {"subject": subject}),
        "datacontenttype": own.get("datacontenttype", usual) if is_base64 else JSON,
        **{name: value for name, value in more.items() if isinstance(value, (str, int, bool))},
    }


def _data_member(document: Mapping[str, Any]) -> dict[str, Any]:
    return {"data_base64" if _is_base64(document) else "data": document.get("data")}


def _is_base64(document: Mapping[str, Any]) -> bool:
    return document.get("dataEncoding") == "base64"
