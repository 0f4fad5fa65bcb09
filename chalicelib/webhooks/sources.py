"""Webhooks: what kind of event a delivery is, what makes it the same as another, what it alerts of.

Sources: GitHub Docs, "Webhook events and payloads"; the Standard Webhooks specification 1.0.0,
"Payload structure". A delivery gets here when its signature is right. Header names are lower case.
"""

import re
from collections.abc import Mapping
from typing import Any

from chalicelib.core.errors import FieldError, InvalidRequestError
from chalicelib.core.ids import sha256
from chalicelib.core.names import MAX_NAME_BYTES, MAX_TYPE_BYTES, name_fault
from chalicelib.core.strict_json import parse_json
from chalicelib.events.alerts import named
from chalicelib.events.model import JSON, Draft, Identity

GITHUB, STANDARD = "github", "standard"
SOURCES = (GITHUB, STANDARD)
_KIND = "webhooks"
_EVENT = re.compile(r"[a-z0-9_]+")
_EVENT_CHARACTERS = "small letters, digits and _"
_FREE_ACTION = "repository_dispatch"
"""The event whose `action` is the words of whoever dispatched it, not one of GitHub's."""
_DELIVERY = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TYPE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
_SERVER = re.compile(r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?")


def read_github(headers: Mapping[str, str], body: bytes) -> Draft:
    """A delivery of GitHub: `github.<event>.<action>`, known by its delivery id.

    Raises `InvalidRequestError` naming every field at fault.
    """
    data = parse_json(body)
    if not isinstance(data, dict):
        raise InvalidRequestError.at("", "must be a JSON object")
    repository = _repository_name(data)
    return Draft(
        payload=body,
        content_type=JSON,
        event_type=_github_type(headers.get("x-github-event"), data.get("action")),
        source=_repository_address(data, repository),
        subject=repository,
        data=data,
        identity=Identity(_KIND, f"{GITHUB}\0{_delivery_id(headers, body)}"),
    )


def read_standard(headers: Mapping[str, str], body: bytes) -> Draft:
    """A Standard Webhook: `standard.<type>`, known by its `webhook-id`, which was signed.

    Raises `InvalidRequestError` naming the field at fault.
    """
    data = parse_json(body)
    kind = data.get("type") if isinstance(data, dict) else None
    return Draft(
        payload=body,
        content_type=JSON,
        event_type=STANDARD if kind is None else _standard_type(kind),
        source=f"/webhooks/{STANDARD}",
        subject=None,
        data=data,
        identity=Identity(_KIND, f"{STANDARD}\0{headers['webhook-id']}"),
    )


def _github_type(event: str | None, action: Any) -> str:
    header, faults = "/header/X-GitHub-Event", []
    if event is None:
        faults.append(FieldError(header, "is required"))
    elif not _EVENT.fullmatch(event):
        faults.append(FieldError(header, f"must hold {_EVENT_CHARACTERS} only"))
    fault = None if action is None else _action_fault(event, action)
    if fault:
        faults.append(FieldError("/action", fault))
    event_type = f"{GITHUB}.{event}" if action is None else f"{GITHUB}.{event}.{action}"
    too_long = None if faults else name_fault(event_type, MAX_TYPE_BYTES)
    if too_long:
        pointer = header if action is None else "/action"
        faults.append(FieldError(pointer, f"makes an event type that {too_long}"))
    if faults:
        raise InvalidRequestError("the delivery is none that GitHub sends", faults)
    return event_type


def _action_fault(event: str | None, action: Any) -> str | None:
    if event == _FREE_ACTION:
        return name_fault(action, MAX_TYPE_BYTES)
    if not isinstance(action, str):
        return "must be a string"
    return None if _EVENT.fullmatch(action) else f"must hold {_EVENT_CHARACTERS} only"


def _delivery_id(headers: Mapping[str, str], body: bytes) -> str:
    """`X-GitHub-Delivery`, the same for every redelivery; without a usable one, the body's hash,
    marked so that no delivery id can be one."""
    given = headers.get("x-github-delivery", "")
    return given if _DELIVERY.fullmatch(given) else f"sha256:{sha256(body)}"


def _repository_name(data: Mapping[str, Any]) -> str | None:
    """`owner/name`; None where the delivery is about no repository, but an organization or app."""
    name = named(data.get("repository"), "full_name")
    fits = _REPOSITORY.fullmatch(name) and not name_fault(name, MAX_NAME_BYTES)
    return name if fits else None


def _repository_address(data: Mapping[str, Any], name: str | None) -> str:
    """The repository's address, on whichever server it is; a URI, as a source is in CloudEvents."""
    if name is None:
        return f"/webhooks/{GITHUB}"
    server = named(data.get("repository"), "html_url").removesuffix(f"/{name}")
    if not _SERVER.fullmatch(server):
        server = "https://github.com"
    address = f"{server}/{name}"
    return f"/webhooks/{GITHUB}" if name_fault(address, MAX_NAME_BYTES) else address


def _standard_type(kind: Any) -> str:
    event_type = f"{STANDARD}.{kind}"
    if not isinstance(kind, str):
        fault: str | None = "must be a string"
    elif not _TYPE.fullmatch(kind):
        fault = "must be letters, digits, _ and -, in parts divided by full stops"
    else:
        fault = name_fault(event_type, MAX_TYPE_BYTES)
    if fault:
        raise InvalidRequestError.at("/type", fault)
    return event_type
