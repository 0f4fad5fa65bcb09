"""Replays of many events: count, start, watch, abort."""

from chalicelib.replays.model import DEFAULT_RATE, ENDS, MAX_RATE, ReplayStatus
from chalicelib.web.describe import (
    EVENT_ID,
    LOCATION,
    MOMENT,
    OWNER_PATTERN,
    REPLAYED,
    Json,
    content,
    event_type,
    moment,
    nullable,
    number,
    operation,
    order,
    parameter,
    path,
    record,
    response,
    schema,
    text,
    uuid,
)

TAG = "Recovery"
SCOPE = "events:admin"
_FILTER = {
    "owner": "shop",
    "eventType": "order.paid",
    "status": "FAILED",
    "from": "2026-01-01T00:00:00.000Z",
    "to": MOMENT,
    "includeReplays": False,
}
_REPLAY = {
    "id": EVENT_ID,
    "status": "RUNNING",
    "filter": _FILTER,
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
_COUNT = {
    "dryRun": True,
    "filter": _FILTER,
    "rate": 50,
    "matched": 10_000,
    "atLeast": True,
    "estimatedSeconds": 200,
}


def parameters() -> dict[str, Json]:
    """The components."""
    return {"replay_id": path("replay_id", "The replay's id.", uuid())}


def schemas() -> dict[str, Json]:
    """The components."""
    return {
        "ReplayOrder": _replay_order(),
        "ReplayFilter": _replay_filter(),
        "ReplayCount": record(
            {
                "dryRun": {"type": "boolean", "const": True},
                "filter": schema("ReplayFilter"),
                "rate": number(minimum=1, maximum=MAX_RATE),
                "matched": number("How many events would be replayed now."),
                "atLeast": {"type": "boolean", "description": "The count stopped before its end."},
                "estimatedSeconds": number(),
            }
        ),
        "Replay": _replay(),
    }


def paths() -> dict[str, Json]:
    """The operations."""
    one = {"get_replays": {"replay_id": "$response.body#/id"}}
    one["delete_replays"] = one["get_replays"]
    shown = content(schema("Replay"), replay=_REPLAY)
    there: dict[str, Json] = {"Location": LOCATION, "Idempotent-Replayed": REPLAYED}
    return {
        "/replays": {
            "post": operation(
                "post_replays",
                SCOPE,
                TAG,
                "Replay many events, or count how many that would be",
                {
                    200: response("The count.", content(schema("ReplayCount"), count=_COUNT)),
                    202: response("The replay runs.", shown, there, one),
                },
                (409, 422),
                description="Each event that matches is processed again as a new event, whose"
                " replayOf names the first. The window ends now at the latest: what is made by a"
                " replay is not part of it. 409 while five replays of the owner are running.",
                parameters=[parameter("Idempotency-Key")],
                body=content(
                    schema("ReplayOrder"),
                    count={"eventType": "order.paid", "status": "FAILED", "dryRun": True},
                    replay={"from": "2026-01-01T00:00:00Z", "rate": 50},
                ),
            )
        },
        "/replays/{replay_id}": {
            "get": operation(
                "get_replays",
                SCOPE,
                TAG,
                "One replay and how far it is",
                {200: response("The replay.", shown)},
                (404,),
                parameters=[parameter("replay_id")],
            ),
            "delete": operation(
                "delete_replays",
                SCOPE,
                TAG,
                "Abort a replay",
                {200: response("The replay, aborted; what it has made stays.", shown)},
                (404, 409),
                description="409 when it has come to its end by itself.",
                parameters=[parameter("replay_id")],
            ),
        },
    }


def _replay_order() -> Json:
    statuses = {"type": "string", "enum": list(ENDS)}
    times = text("A date or time (ISO 8601).", format="date-time")
    return order(
        {
            "eventType": event_type("Only events of this type."),
            "status": {**statuses, "description": "Only events in this status."},
            "from": {**times, "description": "Only events received then or later; before now."},
            "to": {**times, "description": "Only events received before then."},
            "rate": number(
                "Events a second, at most.", minimum=1, maximum=MAX_RATE, default=DEFAULT_RATE
            ),
            "dryRun": {"type": "boolean", "default": False, "description": "Only count."},
            "includeReplays": {
                "type": "boolean",
                "default": False,
                "description": "Replay also what is itself a replay.",
            },
            "owner": text("Whose events; another's takes the scope admin.", pattern=OWNER_PATTERN),
        },
        [],
        description="At least one of eventType, status, from and to.",
        anyOf=[{"required": [name]} for name in ("eventType", "status", "from", "to")],
    )


def _replay_filter() -> Json:
    return record(
        {
            "owner": nullable(text("null: of all owners.")),
            "eventType": nullable(event_type()),
            "status": nullable({"type": "string", "enum": list(ENDS)}),
            "from": nullable(moment()),
            "to": moment("The end of the window, frozen at the start."),
            "includeReplays": {"type": "boolean"},
        }
    )


def _replay() -> Json:
    failure = {"type": "object", "additionalProperties": {"type": "string"}}
    return record(
        {
            "id": uuid(),
            "status": {"type": "string", "enum": list(ReplayStatus)},
            "filter": schema("ReplayFilter"),
            "rate": number(minimum=1, maximum=MAX_RATE),
            "matched": number("Events that it is for, of those looked at by now."),
            "done": number("Those that were handed to the worker."),
            "failed": number("Those that could not be."),
            "skipped": number("Events left out: still open, or replays themselves."),
            "eventsPerSecond": {"type": "number", "minimum": 0},
            "progress": {"type": "number", "minimum": 0, "maximum": 1},
            "estimatedSecondsLeft": nullable(number()),
            "startedAt": moment(),
            "updatedAt": moment(),
            "finishedAt": nullable(moment()),
            "lastFailure": nullable(failure),
        }
    )
