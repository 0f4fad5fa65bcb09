"""The senders of webhooks: how each signs, and which event a delivery of it becomes.

A new sender is one more `Source` in `SOURCES`. Documentation that this follows: GitHub Docs,
"Webhook events and payloads"; the Standard Webhooks specification 1.0.0, "Payload structure".
Header names are lower case.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from chalicelib.core.errors import InvalidRequestError
from chalicelib.core.ids import sha256
from chalicelib.core.media_types import JSON
from chalicelib.core.names import MAX_NAME_BYTES, MAX_TYPE_BYTES, NO_TEXT, name_fault
from chalicelib.core.strict_json import parse_json
from chalicelib.events.alerts import named
from chalicelib.events.model import Draft, Identity
from chalicelib.webhooks.signatures import TOLERANCE, verify_github, verify_standard

_EVENT = r"[a-z0-9_]+"
_EVENT_CHARACTERS = "small letters, digits and _"
_NO_WORD = r"[^A-Za-z0-9_-]"
_FREE_ACTION = "repository_dispatch"
_DELIVERY = r"[A-Za-z0-9_-]{1,128}"
_TYPE = r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*"
_REPOSITORY = r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+"
_SERVER = r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?"


class Source(Struct, frozen=True):
    """One sender, or all that sign and write alike.

    `verify` takes (secrets, headers, body, now). `read` takes (headers, body) once the signature is
    right; its `InvalidRequestError` makes the delivery a REJECTED event. `headers` and `example`
    (a body) are for the OpenAPI document. `takes_forms`: the JSON may come as the field
    `payload` of a form. `unsigned_id` is the header with the delivery's id where the signature does
    not cover it.
    """

    name: str
    sender: str
    verify: Callable[[Sequence[str], Mapping[str, str], bytes, datetime], bool]
    read: Callable[[Mapping[str, str], bytes], Draft]
    headers: Mapping[str, str]
    example: Mapping[str, Any]
    takes_forms: bool = False
    unsigned_id: str | None = None


def read_github(headers: Mapping[str, str], body: bytes) -> Draft:
    """A delivery of GitHub: `github.<event>.<action>`, identified by its delivery id.

    Raises `InvalidRequestError` naming every field at fault.
    """
    data = parse_json(body, exact=True)
    if not isinstance(data, dict):
        raise InvalidRequestError.at("", "must be a JSON object")
    event_type = _github_type(headers.get("x-github-event"), data.get("action"))
    repository = _repository_name(data)
    address = _repository_address(data, repository)
    delivery = _delivery_id(headers, body)
    installation = data.get("installation")
    if isinstance(installation, dict):
        # A repository's hook and an app's deliver one event under one id, with two bodies.
        delivery += f"\0installation\0{installation.get('id')}"
    return _draft("github", delivery, event_type, body, data, address, repository)


def read_standard(headers: Mapping[str, str], body: bytes) -> Draft:
    """A Standard Webhook: `standard.<type>`, identified by its signed `webhook-id`.

    Raises `InvalidRequestError` naming the field at fault.
    """
    data = parse_json(body, exact=True)
    kind = data.get("type") if isinstance(data, dict) else None
    event_type = "standard" if kind is None else _standard_type(kind)
    return _draft("standard", headers["webhook-id"], event_type, body, data)


GITHUB = Source(
    name="github",
    sender="GitHub",
    verify=verify_github,
    read=read_github,
    headers={
        "X-GitHub-Event": "what happened.",
        "X-GitHub-Delivery": "identifies the delivery.",
        "X-Hub-Signature-256": "`sha256=` and the HMAC of the body, in hexadecimal.",
    },
    example={"zen": "Keep it logically awesome.", "hook_id": 1},
    takes_forms=True,
    unsigned_id="x-github-delivery",
)
STANDARD = Source(
    name="standard",
    sender="whoever follows the Standard Webhooks specification",
    verify=verify_standard,
    read=read_standard,
    headers={
        "webhook-id": "identifies the message.",
        "webhook-timestamp": "seconds since 1970, at most"
        f" {TOLERANCE // timedelta(minutes=1)} minutes off.",
        "webhook-signature": "`v1,` and the HMAC in base64; several between spaces.",
    },
    example={"type": "invoice.paid", "timestamp": "2026-01-31T23:59:59Z", "data": {"id": 7}},
)
SOURCES: Mapping[str, Source] = {source.name: source for source in (GITHUB, STANDARD)}


def _draft(
    source: str,
    delivery_id: str,
    event_type: str,
    body: bytes,
    data: Any,
    address: str | None = None,
    subject: str | None = None,
) -> Draft:
    """The event of a delivery; one with the same source and `delivery_id` is the same event."""
    return Draft(
        payload=body,
        content_type=JSON,
        event_type=event_type,
        source=address or f"/webhooks/{source}",
        subject=subject,
        data=data,
        identity=Identity("webhooks", f"{source}\0{delivery_id}"),
    )


def _github_type(event: str | None, action: Any) -> str:
    """`github.<event>.<action>`, at most as long as a type may be. A signed delivery is kept
    whatever its action: what cannot stand in a type becomes `_`."""
    if event is None or not re.fullmatch(_EVENT, event):
        fault = "is required" if event is None else f"must hold {_EVENT_CHARACTERS} only"
        raise InvalidRequestError.at("/header/X-GitHub-Event", fault)
    words = f"github.{event}"
    if isinstance(action, str) and action:
        # The action of a `repository_dispatch` is free text of whoever dispatched it.
        unsafe = NO_TEXT if event == _FREE_ACTION else _NO_WORD
        words += f".{re.sub(unsafe, '_', action)}"
    return words.encode()[:MAX_TYPE_BYTES].decode("utf-8", "ignore")


def _delivery_id(headers: Mapping[str, str], body: bytes) -> str:
    """`X-GitHub-Delivery`, the same for every redelivery; without a usable one, the body's hash,
    with a prefix that no delivery id can have."""
    given = headers.get("x-github-delivery", "")
    return given if re.fullmatch(_DELIVERY, given) else f"sha256:{sha256(body)}"


def _repository_name(data: Mapping[str, Any]) -> str | None:
    """`owner/name`; None for a delivery about an organization or app."""
    name = named(data.get("repository"), "full_name")
    fits = re.fullmatch(_REPOSITORY, name) and not name_fault(name, MAX_NAME_BYTES)
    return name if fits else None


def _repository_address(data: Mapping[str, Any], name: str | None) -> str | None:
    """The repository's URI, on github.com or the server that sent it: a CloudEvents source."""
    if name is None:
        return None
    server = named(data.get("repository"), "html_url").removesuffix(f"/{name}")
    if not re.fullmatch(_SERVER, server):
        server = "https://github.com"
    address = f"{server}/{name}"
    return None if name_fault(address, MAX_NAME_BYTES) else address


def _standard_type(kind: Any) -> str:
    event_type = f"standard.{kind}"
    if not isinstance(kind, str):
        fault: str | None = "must be a string"
    elif not re.fullmatch(_TYPE, kind):
        fault = "must be letters, digits, _ and -, in parts divided by full stops"
    else:
        fault = name_fault(event_type, MAX_TYPE_BYTES)
    if fault:
        raise InvalidRequestError.at("/type", fault)
    return event_type
