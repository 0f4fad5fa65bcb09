"""The order to make or change a destination: what an owner may ask, and what is wrong with it."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from chalicelib.core.errors import FieldError
from chalicelib.core.names import MAX_TYPE_BYTES, name_fault
from chalicelib.destinations.match import ENVELOPE, filter_faults
from chalicelib.destinations.model import MAX_RATE, Format
from chalicelib.outbound.address import MAX_URL, url_fault
from chalicelib.web.body import check_body, refuse
from chalicelib.web.describe import component, nullable, order, text
from chalicelib.web.request import Request

MAX_TYPES, MAX_HEADERS, MAX_HEADER = 50, 10, 1024
_HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$"
_HEADER_VALUE = r"^[!-~]([ -~]*[!-~])?$"
# Those that say whose a message is, how long it is, and where it goes; hop-by-hop ones (RFC 9110,
# section 7.6.1); and those by which servers take a request for another or as if from elsewhere. A
# name is judged with `-` for each `_`: many servers (CGI, WSGI) make the same variable of both.
_NOT_TO_SET = (
    r"(?i)host|content-.*|transfer-encoding|connection|keep-alive|te|trailer|upgrade|expect"
    r"|proxy-.*|sec-.*|webhook-.*|ce-.*|x-amz.*|x-forwarded-.*|forwarded|via|date|cookie.*"
    r"|accept-encoding|user-agent|http2-settings|(.*-)?(real|client|connecting)-ip|x-original-.*"
    r"|x-rewrite-.*|x-(http-)?method.*|range|if-.*"
)
_TYPE_WORDS = "an event type, a prefix such as `order.*`, or `*`"
ORDER = component(
    "DestinationOrder",
    order(
        {
            "url": text(
                "Where events go: must be an https URL of a public host.",
                maxLength=MAX_URL,
                minLength=1,
            ),
            "eventTypes": {
                "type": "array",
                "description": f"What it gets; each {_TYPE_WORDS}: must be 1 to {MAX_TYPES} texts.",
                "items": text(f"Must be {_TYPE_WORDS}.", minLength=1, maxLength=MAX_TYPE_BYTES),
                "minItems": 1,
                "maxItems": MAX_TYPES,
            },
            "filter": nullable(
                {
                    "type": "object",
                    "description": "An EventBridge pattern over the envelope and the data; its"
                    f" members are {', '.join(ENVELOPE)}: must be an object.",
                    "minProperties": 1,
                }
            ),
            "description": nullable(text("Must be text of up to 256 characters.", maxLength=256)),
            "headers": {
                "type": "object",
                "description": "Headers of its own, such as Authorization. Their values are not"
                " shown again. A change that leaves them out leaves them as they are: must be an"
                f" object of up to {MAX_HEADERS} texts.",
                "maxProperties": MAX_HEADERS,
                "additionalProperties": text(
                    f"Must be 1 to {MAX_HEADER} printable ASCII characters.",
                    minLength=1,
                    maxLength=MAX_HEADER,
                    pattern=_HEADER_VALUE,
                ),
            },
            "rate": nullable(
                {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MAX_RATE,
                    "description": "The most deliveries a second; what is over it waits: must be an"
                    f" integer from 1 to {MAX_RATE}.",
                }
            ),
            "ordered": {
                "type": "boolean",
                "default": False,
                "description": "Send the events of one source and subject one at a time, in the"
                " order in which they were received: must be true or false.",
            },
            "paused": {
                "type": "boolean",
                "default": False,
                "description": "Deliver nothing for now: must be true or false.",
            },
            "format": {
                "type": "string",
                "enum": list(Format),
                "default": Format.STANDARD,
                "description": "The payload of Standard Webhooks, or a CloudEvent, structured or"
                f" binary: must be one of {', '.join(Format)}.",
            },
        },
        ["url", "eventTypes"],
    ),
)


def read_order(request: Request, *, loopback: bool) -> dict[str, Any]:
    """The order in a request's body; raises `InvalidRequestError` with every fault. With `loopback`
    an endpoint may be on this machine."""
    request.parameters()
    checks = {"url": partial(_url_fault, loopback=loopback)}
    body, faults = check_body(request, ORDER.value, checks)
    if isinstance(body.get("filter"), dict):
        faults += filter_faults(body["filter"])
    faults += _type_faults(body.get("eventTypes"))
    faults += _header_faults(body.get("headers"))
    refuse("the destination cannot be made", faults)
    return body


def _url_fault(url: Any, *, loopback: bool) -> str | None:
    return url_fault(url, loopback=loopback) if isinstance(url, str) else "must be text"


def _type_faults(types: Any) -> list[FieldError]:
    """What is wrong with event types, beside what the schema says."""
    if not isinstance(types, list):
        return []
    found = ((number, _type_fault(one)) for number, one in enumerate(types) if _is_text(one))
    return [FieldError(f"/eventTypes/{number}", words) for number, words in found if words]


def _type_fault(pattern: str) -> str | None:
    bare = pattern.removesuffix("*")
    if "*" in bare:
        return "must have a star at its end only"
    return name_fault(bare, MAX_TYPE_BYTES) if bare else None


def _header_faults(headers: Any) -> list[FieldError]:
    """Headers that an owner may not set, or that are no headers."""
    if not isinstance(headers, Mapping):
        return []
    faults: list[FieldError] = []
    seen: set[str] = set()
    for name in headers:
        pointer = f"/headers/{name[:64].replace('~', '~0').replace('/', '~1')}"
        if not re.fullmatch(_HEADER_NAME, name):
            faults.append(FieldError(pointer, "must be the name of a header"))
        elif re.fullmatch(_NOT_TO_SET, name.replace("_", "-")):
            faults.append(FieldError(pointer, "must be a header that you may set"))
        elif name.lower() in seen:
            faults.append(FieldError(pointer, "must come once, in whichever case"))
        seen.add(name.lower())
    return faults


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TYPE_BYTES
