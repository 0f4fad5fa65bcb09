"""From requests about replays and dead letters to the values that services take."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chalicelib.core import clock
from chalicelib.core.errors import FieldError, ForbiddenError, InvalidRequestError
from chalicelib.core.ids import is_event_id
from chalicelib.core.names import MAX_TYPE_BYTES, is_owner, name_fault
from chalicelib.core.paging import decode_cursor
from chalicelib.core.strict_json import parse_json
from chalicelib.events.model import Listing, Status
from chalicelib.recovery.dead_letters import Choice, RedriveOrder
from chalicelib.recovery.model import ERROR_CLASSES, QUEUES
from chalicelib.replays.model import DEFAULT_RATE, ENDS, MAX_RATE, Selection
from chalicelib.replays.start import Order
from chalicelib.web.api import Call
from chalicelib.web.parse import (
    check_idempotency_key,
    read_cursor,
    read_limit,
    read_moment,
    single_values,
)

_FILTERS = ("eventType", "status", "from", "to")
_REPLAY = (*_FILTERS, "rate", "dryRun", "includeReplays", "owner")
_REDRIVE = ("eventId", "eventType", "errorClass", "all", "queue")
_MAX_MESSAGE_ID = 128


def decode_replay(call: Call, now: datetime) -> tuple[Order, bool]:
    """`POST /replays`: (the order, whether it is to be counted only).

    The window ends now at the latest, so that what the replay makes is never in it.
    """
    body = _object(call)
    faults = [FieldError(f"/{name}", "is not known here") for name in body.keys() - {*_REPLAY}]
    faults += _type_fault(body)
    status = body.get("status")
    if "status" in body and status not in ENDS:
        faults.append(FieldError("/status", f"must be one of {', '.join(ENDS)}"))
    moments = {name: _moment(body, name, faults) for name in ("from", "to")}
    start, asked_end = moments["from"], moments["to"]
    end = now if asked_end is None else min(asked_end, now)
    if start is not None and start >= end:
        faults.append(FieldError("/from", "must be before now, and before /to"))
    rate = body.get("rate", DEFAULT_RATE)
    if not _is_whole(rate) or not 1 <= rate <= MAX_RATE:
        faults.append(FieldError("/rate", f"must be a whole number, 1 to {MAX_RATE}"))
    faults += _flag_faults(body, ("dryRun", "includeReplays"))
    owner = body.get("owner")
    if "owner" in body and not is_owner(owner):
        faults.append(FieldError("/owner", "must be 1 to 64 letters, digits and ._@-"))
    if not faults and not body.keys() & {*_FILTERS}:
        faults.append(FieldError("", f"must have at least one of {', '.join(_FILTERS)}"))
    if faults:
        raise InvalidRequestError("the replay can not be started", faults)
    if owner is not None and call.caller.sees_only not in (None, owner):
        raise ForbiddenError("replaying what others have needs a token with the scope admin")
    key = call.header("idempotency-key")
    if key is not None:
        check_idempotency_key(key)
    selection = Selection(
        owner=owner or call.caller.sees_only,
        event_type=body.get("eventType"),
        status=None if status is None else Status(status),
        start=None if start is None else clock.to_text(start),
        end=clock.to_text(end),
        with_replays=body.get("includeReplays", False),
    )
    return Order(selection, rate, body, key), body.get("dryRun", False)


def decode_dead_letters(call: Call) -> tuple[Choice, str | None]:
    """`GET /dead-letters`: (what to list, the list key to go on below)."""
    query = single_values(call.query, ("eventType", "errorClass", "limit", "cursor"))
    faults = [
        FieldError(f"/query{fault.pointer}", fault.detail)
        for fault in _type_fault(query) + _class_fault(query)
    ]
    if faults:
        raise InvalidRequestError("the query can not be understood", faults)
    choice = _choice(call, query, read_limit(query))
    return choice, read_cursor(query)


def decode_redrive(call: Call) -> RedriveOrder:
    """`POST /dead-letters/redrive`: just one of `_REDRIVE`; with a queue maybe a message's id, with
    the others but `eventId` maybe a cursor."""
    body = _object(call)
    known = {*_REDRIVE, "messageId", "cursor"}
    faults = [FieldError(f"/{name}", "is not known here") for name in body.keys() - known]
    named = [name for name in _REDRIVE if name in body]
    if len(named) != 1:
        faults.append(FieldError("", f"must have just one of {', '.join(_REDRIVE)}"))
    faults += _type_fault(body) + _class_fault(body) + _id_faults(body)
    if "all" in body and body["all"] is not True:
        faults.append(FieldError("/all", "must be true"))
    if "queue" in body and body["queue"] not in QUEUES:
        faults.append(FieldError("/queue", f"must be one of {', '.join(QUEUES)}"))
    resume = None
    if "cursor" in body:
        cursor = body["cursor"]
        resume = decode_cursor(cursor) if isinstance(cursor, str) else None
        if resume is None or {"eventId", "queue"} & body.keys():
            faults.append(FieldError("/cursor", "is not a cursor that was handed out for this"))
    if faults:
        raise InvalidRequestError("nothing was redriven", faults)
    return RedriveOrder(
        choice=_choice(call, body, 1),
        event_id=body.get("eventId"),
        queue=body.get("queue"),
        message_id=body.get("messageId"),
        resume_below=resume,
    )


def _choice(call: Call, named: Mapping[str, Any], limit: int) -> Choice:
    listing = Listing(
        owner=call.caller.sees_only,
        event_type=named.get("eventType"),
        status=Status.FAILED,
        limit=limit,
    )
    return Choice(listing, named.get("errorClass"))


def _object(call: Call) -> dict[str, Any]:
    single_values(call.query, ())
    body = parse_json(call.body)
    if not isinstance(body, dict):
        raise InvalidRequestError.at("", "must be a JSON object")
    return body


def _type_fault(named: Mapping[str, Any]) -> list[FieldError]:
    if "eventType" not in named:
        return []
    fault = name_fault(named["eventType"], MAX_TYPE_BYTES)
    return [FieldError("/eventType", fault)] if fault else []


def _class_fault(named: Mapping[str, Any]) -> list[FieldError]:
    if "errorClass" not in named or named["errorClass"] in ERROR_CLASSES:
        return []
    return [FieldError("/errorClass", f"must be one of {', '.join(ERROR_CLASSES)}")]


def _id_faults(body: Mapping[str, Any]) -> list[FieldError]:
    faults = []
    event_id, message_id = body.get("eventId"), body.get("messageId")
    if "eventId" in body and not (isinstance(event_id, str) and is_event_id(event_id)):
        faults.append(FieldError("/eventId", "must be the id of an event"))
    if "messageId" in body:
        is_text = isinstance(message_id, str) and 0 < len(message_id) <= _MAX_MESSAGE_ID
        if not is_text or "queue" not in body:
            faults.append(FieldError("/messageId", "must be a message's id, beside its queue"))
    return faults


def _flag_faults(body: Mapping[str, Any], names: tuple[str, ...]) -> list[FieldError]:
    return [
        FieldError(f"/{name}", "must be true or false")
        for name in names
        if not isinstance(body.get(name, False), bool)
    ]


def _moment(body: Mapping[str, Any], name: str, faults: list[FieldError]) -> datetime | None:
    if name not in body:
        return None
    moment = read_moment(body[name])
    if moment is None:
        faults.append(FieldError(f"/{name}", "must be an ISO 8601 date or time"))
    return moment


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
