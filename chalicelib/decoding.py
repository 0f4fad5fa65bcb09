"""From requests to the values that services take; each fault is told by the field it is in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.domain import clock, tokens
from chalicelib.domain.events import MAX_TYPE_BYTES, Status, name_fault
from chalicelib.domain.listing import Listing, decode_cursor
from chalicelib.domain.payloads import parse_json
from chalicelib.errors import FieldError, InvalidRequestError, UnsupportedMediaTypeError
from chalicelib.http import Call
from chalicelib.services.ingest_events import Submission

DEFAULT_LIMIT, MAX_LIMIT = 50, 100
JSON_TYPE = re.compile(r'application/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?', re.IGNORECASE)


@dataclass(frozen=True)
class TokenOrder:
    """What `POST /tokens` asks for."""

    owner: str
    scopes: list[str]
    expires_at: str | None


def decode_submission(call: Call) -> Submission:
    """`POST /events`: the body as it is, a JSON content type (none counts as JSON)."""
    content_type = call.header("content-type") or "application/json"
    if not JSON_TYPE.fullmatch(content_type.strip()):
        raise UnsupportedMediaTypeError("an event is sent as application/json in UTF-8")
    return Submission(
        body=call.body,
        content_type="application/json",
        owner=call.caller.owner,
        idempotency_key=call.header("idempotency-key"),
        request_id=call.request_id,
    )


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
    expiry = None if expires_at is None else _read_moment(expires_at)
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
    moment = _read_moment(query[name].replace(" ", "+"))
    if moment is None:
        raise InvalidRequestError.at(f"/query/{name}", "must be an ISO 8601 date or time")
    return moment


def _read_moment(text: Any) -> datetime | None:
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
