"""From requests to the values that services take; each fault is told by the field it is in."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from chalicelib.domain import clock, tokens
from chalicelib.domain.drafts import JSON, Draft, Identity, key_fault, read_plain
from chalicelib.domain.events import MAX_TYPE_BYTES, Status, name_fault
from chalicelib.domain.listing import Listing, decode_cursor
from chalicelib.domain.payloads import parse_json
from chalicelib.errors import FieldError, InvalidRequestError, UnsupportedMediaTypeError
from chalicelib.http import Call
from chalicelib.services.ingest_events import Submission

DEFAULT_LIMIT, MAX_LIMIT = 50, 100
_UTF_8 = r'\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?'
CLOUD_EVENT = "application/cloudevents+json"
JSON_TYPE = re.compile(rf"application/json{_UTF_8}", re.IGNORECASE)
CLOUD_EVENT_TYPE = re.compile(rf"application/cloudevents\+json{_UTF_8}", re.IGNORECASE)
CLOUD_EVENTS_TYPE = re.compile(rf"application/cloudevents-batch\+json{_UTF_8}", re.IGNORECASE)


@dataclass(frozen=True)
class TokenOrder:
    """What `POST /tokens` asks for."""

    owner: str
    scopes: list[str]
    expires_at: str | None


def decode_submission(call: Call) -> Submission:
    """`POST /events`, one event: a CloudEvent (its `ce-` headers or its media type say so), or
    plain JSON (no content type counts as JSON)."""
    identity = read_identity(call)
    sent_as = (call.header("content-type") or JSON).strip()
    if CLOUD_EVENT_TYPE.fullmatch(sent_as):
        from chalicelib.domain.cloudevents import read_structured

        return _submission(call, CLOUD_EVENT, partial(read_structured, call.body, identity))
    if any(name.startswith("ce-") for name in call.headers):
        from chalicelib.domain.cloudevents_http import is_binary, read_binary

        if is_binary(call.headers):
            read = partial(read_binary, call.headers, call.body, identity)
            return _submission(call, sent_as, read)
    if not JSON_TYPE.fullmatch(sent_as):
        raise UnsupportedMediaTypeError(f"an event is sent as {JSON} or {CLOUD_EVENT}, in UTF-8")
    return _submission(call, JSON, partial(read_plain, call.body, identity))


def is_cloud_event_batch(call: Call) -> bool:
    """Whether `POST /events` brings CloudEvents in batched mode."""
    return CLOUD_EVENTS_TYPE.fullmatch((call.header("content-type") or "").strip()) is not None


def wants_cloud_event(call: Call) -> bool:
    """Whether `GET /events/{id}` is to answer with the event as a CloudEvent."""
    accepted = (call.header("accept") or "").split(",")
    return any(part.partition(";")[0].strip().lower() == CLOUD_EVENT for part in accepted)


def read_identity(call: Call) -> Identity | None:
    """What the header `Idempotency-Key` makes the event; None without it."""
    key = call.header("idempotency-key")
    if key is None:
        return None
    check_idempotency_key(key)
    return Identity("idempotency", key)


def check_idempotency_key(key: str) -> None:
    """Raise `InvalidRequestError` unless the header `Idempotency-Key` holds a key."""
    fault = key_fault(key)
    if fault:
        raise InvalidRequestError.at("/header/Idempotency-Key", fault)


def _submission(call: Call, content_type: str, read: Callable[[], Draft]) -> Submission:
    return Submission(call.body, content_type, call.caller.owner, call.request_id, read)


def decode_listing(call: Call) -> tuple[Listing, str | None]:
    """`GET /events`: (what to list, the list key to go on below)."""
    query = single_values(call.query, ("eventType", "status", "from", "to", "limit", "cursor"))
    status = query.get("status")
    if status is not None and status not in set(Status):
        raise InvalidRequestError.at("/query/status", f"must be one of {', '.join(Status)}")
    event_type = query.get("eventType")
    fault = None if event_type is None else name_fault(event_type, MAX_TYPE_BYTES)
    if fault:
        raise InvalidRequestError.at("/query/eventType", fault)
    start, end = _moment(query, "from"), _moment(query, "to")
    listing = Listing(
        owner=call.caller.sees_only,
        event_type=event_type,
        status=None if status is None else Status(status),
        limit=read_limit(query),
        **({} if start is None else {"start": clock.to_text(start)}),
        **({} if end is None else {"end": clock.to_text(end)}),
    )
    return listing, read_cursor(query)


def decode_token_order(call: Call, now: datetime) -> TokenOrder:
    """`POST /tokens`: `{"owner", "scopes", "expiresAt"?}`."""
    body = parse_json(call.body)
    if not isinstance(body, dict):
        raise InvalidRequestError.at("", "must be a JSON object")
    faults = [
        FieldError(f"/{name}", "is not known here")
        for name in body.keys() - {"owner", "scopes", "expiresAt"}
    ]
    if not tokens.is_owner(body.get("owner")):
        faults.append(FieldError("/owner", "must be 1 to 64 letters, digits and ._@-"))
    faults += _scope_faults(body.get("scopes"))
    expires_at = body.get("expiresAt")
    expiry = None if expires_at is None else read_moment(expires_at)
    if expires_at is not None and (expiry is None or expiry <= now):
        faults.append(FieldError("/expiresAt", "must be an ISO 8601 time to come"))
    if faults:
        raise InvalidRequestError("the token can not be issued", faults)
    return TokenOrder(
        body["owner"], body["scopes"], None if expiry is None else clock.to_text(expiry)
    )


def decode_token_page(call: Call) -> tuple[int, str | None]:
    """`GET /tokens`: (page size, the token id to go on after)."""
    query = single_values(call.query, ("limit", "cursor"))
    cursor = query.get("cursor")
    if cursor is not None and not tokens.is_token_id(cursor):
        raise InvalidRequestError.at("/query/cursor", "is not a cursor that was handed out")
    return read_limit(query), cursor


def _scope_faults(scopes: Any) -> list[FieldError]:
    if not isinstance(scopes, list) or not scopes:
        return [FieldError("/scopes", f"must be a list of some of: {', '.join(tokens.SCOPES)}")]
    return [
        FieldError(f"/scopes/{number}", "is not a scope")
        for number, scope in enumerate(scopes)
        if scope not in tokens.SCOPES
    ]


def single_values(query: Mapping[str, list[str]], known: tuple[str, ...]) -> dict[str, str]:
    faults = [
        FieldError(f"/query/{name}", "is not known here" if name not in known else "comes twice")
        for name, values in query.items()
        if name not in known or len(values) != 1
    ]
    if faults:
        raise InvalidRequestError("the query can not be understood", faults)
    return {name: values[0] for name, values in query.items()}


def read_limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", str(DEFAULT_LIMIT))
    in_range = len(text) <= len(str(MAX_LIMIT)) and text.isascii() and text.isdecimal()
    if not in_range or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidRequestError.at("/query/limit", f"must be a whole number, 1 to {MAX_LIMIT}")
    return int(text)


def _moment(query: Mapping[str, str], name: str) -> datetime | None:
    if name not in query:
        return None
    # A `+` that was not percent-encoded arrives as a space.
    moment = read_moment(query[name].replace(" ", "+"))
    if moment is None:
        raise InvalidRequestError.at(f"/query/{name}", "must be an ISO 8601 date or time")
    return moment


def read_moment(text: Any) -> datetime | None:
    """The moment that a text names in ISO 8601; None when it names none."""
    try:
        return clock.from_text(text)
    except (ValueError, TypeError, OverflowError):
        return None


def read_cursor(query: Mapping[str, str]) -> str | None:
    if "cursor" not in query:
        return None
    list_key = decode_cursor(query["cursor"])
    if list_key is None:
        raise InvalidRequestError.at("/query/cursor", "is not a cursor that was handed out")
    return list_key
