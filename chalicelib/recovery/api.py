"""The routes of recovery: queues, reports of reconcile, dead letters and their redrive."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from msgspec import to_builtins

from chalicelib.core.errors import FieldError
from chalicelib.core.names import MAX_TYPE_BYTES, name_fault
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.events.model import Listing, Status
from chalicelib.recovery import dead_letters
from chalicelib.recovery.dead_letters import (
    MAX_AT_ONCE,
    DeadLetterDeps,
    FailedEvents,
    redrive_event,
    redrive_events,
    redrive_messages,
)
from chalicelib.recovery.model import ERROR_CLASSES, FOREIGN, QUEUES
from chalicelib.recovery.queues import QueueDeps
from chalicelib.recovery.queues import list_queues as look_at_queues
from chalicelib.recovery.reports import MAX_REPORTS, ReportDeps, list_reports, read_ended
from chalicelib.web.body import faults_of, read_body, refuse
from chalicelib.web.describe import (
    CURSOR_PATTERN,
    EVENT_ID,
    FIELD_ERROR,
    LIMIT,
    MOMENT,
    PAGE,
    Operation,
    component,
    content,
    event_type,
    moment,
    nullable,
    number,
    order,
    page_of,
    query,
    record,
    response,
    text,
    uuid,
)
from chalicelib.web.request import MAX_LIMIT, Request
from chalicelib.web.responses import Response, answer

_TAG = "Recovery"
_ERROR_CLASS = {"type": "string", "enum": list(ERROR_CLASSES)}
_QUEUE = {"type": "string", "enum": list(QUEUES)}
_CHOICES = {
    "eventId": uuid("One event: must be the id of an event."),
    "eventType": event_type("FAILED events of a type."),
    "errorClass": {
        **_ERROR_CLASS,
        "description": "FAILED events with errors of a class: must be one of"
        f" {', '.join(ERROR_CLASSES)}.",
    },
    "all": {"type": "boolean", "const": True, "description": "All FAILED events: must be true."},
    "queue": {
        **_QUEUE,
        "description": f"Messages in a dead-letter queue: must be one of {', '.join(QUEUES)}.",
    },
}
_ORDER = component(
    "RedriveOrder",
    order(
        {
            **_CHOICES,
            "messageId": text(
                "One message of the queue: must be a message's id, beside its queue.",
                minLength=1,
                maxLength=128,
            ),
            "cursor": text(
                "The cursor of the last answer, not for an event or a queue: must be a cursor that"
                " was handed out for this.",
                format="cursor",
                pattern=CURSOR_PATTERN,
            ),
        },
        [],
        description=f"An order must have just one of {', '.join(_CHOICES)}.",
        allOf=[{"oneOf": [{"required": [name]} for name in _CHOICES]}],
        dependentSchemas={
            "messageId": {"required": ["queue"]},
            "cursor": {"not": {"anyOf": [{"required": ["eventId"]}, {"required": ["queue"]}]}},
        },
    ),
)
_FILTERS = order({name: _CHOICES[name] for name in ("eventType", "errorClass")}, [])
_CHECKS = {"eventType": partial(name_fault, max_bytes=MAX_TYPE_BYTES)}
_REASON = record(
    {
        "class": _ERROR_CLASS,
        "code": text(),
        "message": text(),
        "errors": {"type": "array", "items": FIELD_ERROR},
    },
    optional=("errors",),
)
_FAILED_EVENT = component(
    "FailedEvent",
    record(
        {
            "kind": text(const="event"),
            "eventId": uuid(),
            "eventType": event_type(),
            "owner": text(),
            "reason": nullable(_REASON),
            "failedAt": moment(),
            "ageSeconds": number(),
            "attempts": number(),
            "redrivable": {"type": "boolean"},
            "whyNot": nullable(text()),
        }
    ),
)
_EVENT_EXAMPLE = {
    "kind": "event",
    "eventId": EVENT_ID,
    "eventType": "order.paid",
    "owner": "shop",
    "reason": {"class": "permanent", "code": "KeyError", "message": "KeyError in processors:71"},
    "failedAt": MOMENT,
    "ageSeconds": 311,
    "attempts": 1,
    "redrivable": True,
    "whyNot": None,
}
_DEAD_MESSAGE = component(
    "DeadMessage",
    record(
        {
            "kind": text(const="message"),
            "queue": _QUEUE,
            "messageId": text(),
            "reason": {
                "type": "object",
                "description": "What set it aside gave as its reason.",
                "additionalProperties": {"type": "string"},
            },
            "sentAt": moment(),
            "ageSeconds": number(),
            "approximateCount": number("About how many messages its queue has."),
            "redrivable": {"type": "boolean"},
            "whyNot": nullable(text()),
        }
    ),
)
_MESSAGE_EXAMPLE = {
    "kind": "message",
    "queue": "events-dlq",
    "messageId": "4a1f0b58-60c2-4a5e-9b44-0a2f0f6ad9d1",
    "reason": {"code": "foreign-message"},
    "sentAt": MOMENT,
    "ageSeconds": 311,
    "approximateCount": 1,
    "redrivable": False,
    "whyNot": FOREIGN,
}
_PAGE = page_of({"anyOf": [_FAILED_EVENT, _DEAD_MESSAGE]})
# Beside the page's events, ten messages of each queue.
_PAGE["properties"]["items"]["maxItems"] = MAX_LIMIT + 10 * len(QUEUES)
_SKIPPED = record(
    {"eventId": uuid(), "messageId": text(), "queue": text(), "reason": text()},
    optional=("eventId", "messageId", "queue"),
)
_REDRIVEN = component(
    "Redriven",
    record(
        {
            "redriven": number("How many were redriven."),
            "skipped": {"type": "array", "items": _SKIPPED},
            "more": {"type": "boolean"},
            "cursor": nullable(text("Send it with the same order to go on.")),
        }
    ),
)

_COUNTS = {"type": "object", "additionalProperties": number()}
_REPORT = component(
    "ReconcileReport",
    record(
        {
            "stage": text(),
            "begun": moment(),
            "ended": moment(),
            "runs": number("How many runs of reconcile it took."),
            "window": record({"from": moment(), "to": moment()}, description="Events received."),
            "bronze": {**_COUNTS, "description": "What bronze has."},
            "ledger": {**_COUNTS, "description": "Events by status."},
            "silver": {**_COUNTS, "description": "What silver has."},
            "differences": {**_COUNTS, "description": "How often each was found."},
            "examples": {
                "type": "object",
                "description": "Events of each difference; only shown to an admin.",
                "additionalProperties": {"type": "array", "items": text()},
            },
            "clean": {"type": "boolean", "description": "No difference remains."},
        },
        description="A comparison of bronze, the ledger and silver.",
    ),
)
_REPORT_EXAMPLE = {
    "stage": "dev",
    "begun": MOMENT,
    "ended": MOMENT,
    "runs": 1,
    "window": {"from": "2026-01-30T00:00:00.000Z", "to": MOMENT},
    "bronze": {"events": 2, "units": 0, "refusedUnits": 0, "foreign": 0},
    "ledger": {"RECEIVED": 0, "ENQUEUED": 0, "PROCESSED": 2, "FAILED": 0, "REJECTED": 0},
    "silver": {"documents": 2, "units": 0, "foreign": 0},
    "differences": {"silverMissing": 0},
    "examples": {},
    "clean": True,
}
_DEPTH = component(
    "Queue",
    record(
        {
            "name": text("Without the prefix `eventline-<stage>-`."),
            "waiting": number("About how many messages can be received."),
            "inFlight": number("About how many were received and are being worked on."),
            "delayed": number("About how many are to be seen later."),
            "oldestSeconds": nullable(
                number(
                    "How long the oldest event that is RECEIVED or ENQUEUED has waited. null: there"
                    " is none, or the queue is another than `events`, of which SQS does not tell."
                )
            ),
        }
    ),
)
_DEPTH_EXAMPLE = {
    "name": "events",
    "waiting": 12,
    "inFlight": 10,
    "delayed": 0,
    "oldestSeconds": 3,
}

LIST_QUEUES = Operation(
    _TAG,
    "Every queue and how many messages it holds",
    {
        200: response(
            "All queues, those of dead letters too, on one page.",
            content(page_of(_DEPTH), page={"items": [_DEPTH_EXAMPLE], "cursor": None}),
        )
    },
    description="The counts are SQS's, which are approximate and trail by up to a minute.",
)
LIST_REPORTS = Operation(
    _TAG,
    "A page of the reports of reconcile, newest first",
    {
        200: response(
            f"The page, of at most {MAX_REPORTS} reports.",
            content(page_of(_REPORT), page={"items": [_REPORT_EXAMPLE], "cursor": None}),
        )
    },
    description="Each time that reconcile has compared the stores it leaves one. They are kept as"
    " long as the stage says, see docs/configuration.md.",
    parameters=[
        LIMIT,
        query(
            "cursor",
            text(format="date-time"),
            "The cursor of the page before.",
            example=MOMENT,
        ),
    ],
)
LIST_DEAD_LETTERS = Operation(
    _TAG,
    "A page of FAILED events, and of messages in dead-letter queues",
    {
        200: response(
            "The page.",
            content(_PAGE, page={"items": [_MESSAGE_EXAMPLE, _EVENT_EXAMPLE], "cursor": None}),
        )
    },
    description="Events, newest first. For an admin the first page begins with up to ten messages"
    " of each queue, unless a type or class is asked for: messages have neither.",
    parameters=[
        query("eventType", event_type(), "Only events of this type."),
        query("errorClass", _ERROR_CLASS, "Only events whose last error is of this class."),
        *PAGE,
    ],
)
POST_REDRIVE = Operation(
    _TAG,
    "Redrive FAILED events, or messages of a dead-letter queue",
    {
        200: response(
            "What was redriven, and why the rest was not.",
            content(_REDRIVEN, done={"redriven": 3, "skipped": [], "more": False, "cursor": None}),
        )
    },
    (404,),
    description="One event, FAILED events by type or error class, all of them, or messages of a"
    f" queue (which needs the scope admin). {MAX_AT_ONCE} at once; `more` says that there may be"
    " others: send the same with the `cursor`.",
    body=content(
        _ORDER,
        type={"eventType": "order.paid"},
        transient={"errorClass": "transient"},
        all={"all": True},
    ),
)


def list_queues(request: Request, deps: QueueDeps) -> Response:
    """`GET /queues`: the same for everybody, as queues belong to the stage."""
    request.parameters()
    return answer({"items": look_at_queues(deps), "cursor": None})


def get_reconcile(request: Request, deps: ReportDeps) -> Response:
    """`GET /reconcile`: counts are the stage's; ids of events, of any owner, are for admins."""
    asked = request.page(read_cursor=read_ended)
    reports, cursor = list_reports(asked.limit, asked.below, deps)
    if not request.caller.is_admin:
        reports = [{**report, "examples": {}} for report in reports]
    return answer({"items": reports, "cursor": cursor})


def list_dead_letters(request: Request, deps: DeadLetterDeps) -> Response:
    """`GET /dead-letters`: an admin sees the messages in the queues as well."""
    asked = request.page("eventType", "errorClass")
    faults = faults_of(asked.filters, _FILTERS, _CHECKS)
    at_query = [FieldError(f"/query{fault.pointer}", fault.detail) for fault in faults]
    refuse("the query cannot be understood", at_query)
    wanted = _failed_events(request, asked.filters, asked.below, asked.limit)
    found, resume = dead_letters.list_dead_letters(wanted, request.caller, deps)
    return answer({"items": found, "cursor": None if resume is None else encode_cursor(resume)})


def post_redrive(request: Request, deps: DeadLetterDeps) -> Response:
    """`POST /dead-letters/redrive`: an event, messages of a queue, or else FAILED events."""
    request.parameters()
    body = read_body(request, _ORDER.value, "nothing was redriven", _CHECKS)
    if "eventId" in body:
        done = redrive_event(body["eventId"], request.caller, deps)
    elif "queue" in body:
        request.caller.require("admin")
        done = redrive_messages(body["queue"], body.get("messageId"), deps)
    else:
        below = decode_cursor(body["cursor"]) if "cursor" in body else None
        done = redrive_events(_failed_events(request, body, below), deps)
    return answer(to_builtins(done))


def _failed_events(
    request: Request, filters: Mapping[str, Any], below: str | None, limit: int = MAX_LIMIT
) -> FailedEvents:
    listing = Listing(
        owner=request.caller.sees_only,
        event_type=filters.get("eventType"),
        status=Status.FAILED,
        limit=limit,
    )
    wanted = FailedEvents(listing, filters.get("errorClass"))
    return wanted if below is None else wanted.below(below)
