"""The routes of replays: replay one event; count, start, list, read and abort bulk replays."""

from datetime import datetime
from functools import partial

from msgspec import convert, to_builtins

from chalicelib.core import clock
from chalicelib.core.errors import FieldError, ForbiddenError
from chalicelib.core.names import MAX_TYPE_BYTES, name_fault
from chalicelib.core.paging import encode_cursor
from chalicelib.events import api as events
from chalicelib.replays.model import (
    DEFAULT_RATE,
    ENDS,
    MAX_RATE,
    STALLED_AFTER,
    ReplayStatus,
    Selection,
)
from chalicelib.replays.start import (
    MAX_RUNNING,
    BulkReplayDeps,
    ReplayDeps,
    ReplayOrder,
    abort,
    count,
    read,
    replay,
    start,
)
from chalicelib.web.body import check_body, refuse
from chalicelib.web.describe import (
    EVENT_ID,
    IDEMPOTENCY_KEY,
    LOCATION,
    MOMENT,
    OWNER_PATTERN,
    PAGE,
    REPLAYED,
    Operation,
    component,
    content,
    event_type,
    moment,
    nullable,
    number,
    order,
    page_of,
    path,
    record,
    response,
    shared,
    text,
    uuid,
)
from chalicelib.web.request import Request, read_moment
from chalicelib.web.responses import Response, answer, created

_TAG = "Recovery"
_FILTERS = ("eventType", "status", "from", "to")
_TIME = "must be an ISO 8601 date or time."
_FLAG = "must be true or false."
_ORDER = component(
    "ReplayOrder",
    order(
        {
            "eventType": event_type("Only events of this type."),
            "status": {
                "type": "string",
                "enum": list(ENDS),
                "description": f"Only events in this status: must be one of {', '.join(ENDS)}.",
            },
            "from": text(
                f"Only events received then or later; before now: {_TIME}", format="date-time"
            ),
            "to": text(f"Only events received before then: {_TIME}", format="date-time"),
            "rate": number(
                f"Events a second, at most: must be a whole number, 1 to {MAX_RATE}.",
                minimum=1,
                maximum=MAX_RATE,
                default=DEFAULT_RATE,
            ),
            "dryRun": {"type": "boolean", "default": False, "description": f"Only count: {_FLAG}"},
            "includeReplays": {
                "type": "boolean",
                "default": False,
                "description": f"Replay events that are replays themselves, too: {_FLAG}",
            },
            "owner": text(
                "Whose events; another owner's need the scope admin: must be 1 to 64 letters,"
                " digits and ._@-",
                pattern=OWNER_PATTERN,
            ),
        },
        [],
        description=f"An order must have at least one of {', '.join(_FILTERS)}.",
        allOf=[{"anyOf": [{"required": [name]} for name in _FILTERS]}],
    ),
)
_CHECKS = {"eventType": partial(name_fault, max_bytes=MAX_TYPE_BYTES)}
_FILTER_EXAMPLE = {
    "owner": "shop",
    "eventType": "order.paid",
    "status": "FAILED",
    "from": "2026-01-01T00:00:00.000Z",
    "to": MOMENT,
    "includeReplays": False,
}
_FILTER = component(
    "ReplayFilter",
    record(
        {
            "owner": nullable(text("null: all owners.")),
            "eventType": nullable(event_type()),
            "status": nullable({"type": "string", "enum": list(ENDS)}),
            "from": nullable(moment()),
            "to": moment("The end of the window, frozen at the start."),
            "includeReplays": {"type": "boolean"},
        }
    ),
)
_RATE = number(minimum=1, maximum=MAX_RATE)
_COUNT = component(
    "ReplayCount",
    record(
        {
            "dryRun": {"type": "boolean", "const": True},
            "filter": _FILTER,
            "rate": _RATE,
            "matched": number("How many events would be replayed now."),
            "atLeast": {"type": "boolean", "description": "The count stopped before its end."},
            "estimatedSeconds": number(),
        }
    ),
)
_COUNT_EXAMPLE = {
    "dryRun": True,
    "filter": _FILTER_EXAMPLE,
    "rate": 50,
    "matched": 10_000,
    "atLeast": True,
    "estimatedSeconds": 200,
}
_REPLAY = component(
    "Replay",
    record(
        {
            "id": uuid(),
            "status": {"type": "string", "enum": list(ReplayStatus)},
            "stalled": {
                "type": "boolean",
                "description": "RUNNING, but without a step since `updatedAt`, which is"
                f" {STALLED_AFTER.seconds // 60} minutes ago or more: its message waits behind a"
                " backlog, or is lost. `reconcile` sends it again.",
            },
            "filter": _FILTER,
            "rate": _RATE,
            "matched": number("Events that match, of those looked at so far."),
            "done": number("Matched events that were handed to the worker."),
            "failed": number("Matched events that could not be."),
            "skipped": number("Events skipped: still open, or replays themselves."),
            "eventsPerSecond": {"type": "number", "minimum": 0},
            "progress": {"type": "number", "minimum": 0, "maximum": 1},
            "estimatedSecondsLeft": nullable(number("null: not known, or it does not run.")),
            "startedAt": moment(),
            "updatedAt": moment(),
            "finishedAt": nullable(moment()),
            "lastFailure": nullable({"type": "object", "additionalProperties": {"type": "string"}}),
        }
    ),
)
_EXAMPLE = {
    "id": EVENT_ID,
    "status": "RUNNING",
    "stalled": False,
    "filter": _FILTER_EXAMPLE,
    "rate": 50,
    "matched": 1200,
    "done": 1198,
    "failed": 2,
    "skipped": 14,
    "eventsPerSecond": 48.7,
    "progress": 0.25,
    "estimatedSecondsLeft": 74,
    "startedAt": MOMENT,
    "updatedAt": MOMENT,
    "finishedAt": None,
    "lastFailure": None,
}
_SHOWN = content(_REPLAY, replay=_EXAMPLE)
_LINKS = {view: {"replay_id": "$response.body#/id"} for view in ("get_replay", "abort_replay")}
_REPLAY_ID = shared(path("replay_id", "The replay's id.", uuid()))

POST_REPLAY = Operation(
    events.TAG,
    "Process an event again from its payload, as a new event",
    {202: events.accepted_response()},
    (404, 409, 422),
    description="409 while the event is still to be processed. A REJECTED event is read and checked"
    " again; if it is refused again, nothing is written.",
    parameters=[events.EVENT_ID_PARAMETER],
)
POST_REPLAYS = Operation(
    _TAG,
    "Replay many events, or count how many that would be",
    {
        200: response("The count.", content(_COUNT, count=_COUNT_EXAMPLE)),
        202: response(
            "The replay runs.",
            _SHOWN,
            {"Location": LOCATION, "Idempotent-Replayed": REPLAYED},
            _LINKS,
        ),
    },
    (409, 422),
    description="Each event that matches is processed again as a new event, whose replayOf names"
    " the first. The window ends now at the latest, so the replay's own events are not in it."
    f" 409 while {MAX_RUNNING} replays of the owner are running.",
    parameters=[IDEMPOTENCY_KEY],
    body=content(
        _ORDER,
        count={"eventType": "order.paid", "status": "FAILED", "dryRun": True},
        replay={"from": "2026-01-01T00:00:00Z", "rate": 50},
    ),
)
LIST_REPLAYS = Operation(
    _TAG,
    "A page of bulk replays, newest first",
    {
        200: response(
            "The page.",
            content(page_of(_REPLAY), page={"items": [_EXAMPLE], "cursor": None}),
        )
    },
    description="Each as `GET /replays/{id}` shows it. An admin sees those of every owner.",
    parameters=PAGE,
)
GET_REPLAY = Operation(
    _TAG,
    "A replay and its progress",
    {200: response("The replay.", _SHOWN)},
    (404,),
    parameters=[_REPLAY_ID],
)
ABORT_REPLAY = Operation(
    _TAG,
    "Abort a replay",
    {200: response("The aborted replay; its events stay.", _SHOWN)},
    (404, 409),
    description="409 when it is DONE or FAILED.",
    parameters=[_REPLAY_ID],
)


def post_replay(request: Request, event_id: str, deps: ReplayDeps) -> Response:
    """`POST /events/{event_id}/replay`: answers as for a new event."""
    return events.accepted(replay(event_id, request.caller, request.request_id, deps))


def post_replays(request: Request, deps: BulkReplayDeps) -> Response:
    """`POST /replays`: 202 for a replay that runs, 200 for the count of a dry run."""
    now = clock.utc_now()
    asked, is_dry = _read_order(request, now)
    if is_dry:
        matched, is_cut = count(asked, deps)
        return answer(
            {
                "dryRun": True,
                "filter": to_builtins(asked.selection),
                "rate": asked.rate,
                "matched": matched,
                "atLeast": is_cut,
                "estimatedSeconds": -(-matched // asked.rate),
            }
        )
    started, was_known = start(asked, request.caller, deps)
    location = f"/replays/{started.replay_id}"
    return created(started.to_dict(now), location, 202, replayed=was_known)


def list_replays(request: Request, deps: BulkReplayDeps) -> Response:
    """`GET /replays`; two calls. An admin sees the replays of every owner."""
    asked = request.page()
    found, resume = deps.replays.page(request.caller.sees_only, asked.limit, asked.below)
    now, cursor = deps.now(), None if resume is None else encode_cursor(resume)
    return answer({"items": [replay.to_dict(now) for replay in found], "cursor": cursor})


def get_replay(request: Request, replay_id: str, deps: BulkReplayDeps) -> Response:
    """`GET /replays/{replay_id}`."""
    return answer(read(replay_id, request.caller, deps).to_dict(clock.utc_now()))


def abort_replay(request: Request, replay_id: str, deps: BulkReplayDeps) -> Response:
    """`DELETE /replays/{replay_id}`: the replay stays, and is shown as it ended."""
    return answer(abort(replay_id, request.caller, deps).to_dict(clock.utc_now()))


def _read_order(request: Request, now: datetime) -> tuple[ReplayOrder, bool]:
    """(the order, whether to count only). The window ends now at the latest, so the events that
    the replay makes are never in it."""
    request.parameters()
    body, faults = check_body(request, _ORDER.value, _CHECKS)
    first, end = (read_moment(body.get(name)) for name in ("from", "to"))
    end = now if end is None else min(end, now)
    if first is not None and first >= end:
        faults.append(FieldError("/from", "must be before now, and before /to"))
    refuse("the replay cannot be started", faults)
    owner = body.get("owner")
    if owner is not None and request.caller.sees_only not in (None, owner):
        raise ForbiddenError("replaying another owner's events needs a token with the scope admin")
    window = {"from": first and clock.to_text(first), "to": clock.to_text(end)}
    asked = {**body, "owner": owner or request.caller.sees_only, **window}
    # To JSON Schema, 50.0 is a whole number too.
    rate = int(body.get("rate", DEFAULT_RATE))
    key = request.idempotency_key
    return ReplayOrder(convert(asked, Selection), rate, body, key), body.get("dryRun", False)
