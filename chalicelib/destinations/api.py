"""The routes of destinations: make, list, read, change, rotate, delete; attempts and retries."""

from datetime import UTC, datetime

from chalicelib.core.errors import FieldError
from chalicelib.destinations.manage import (
    RECENT,
    ManageDeps,
    change,
    create,
    delete,
    deliveries_of,
    read,
    recent,
    retry_many,
    retry_one,
    rotate,
)
from chalicelib.destinations.model import (
    MAX_DESTINATIONS,
    OVERLAP,
    Format,
    Outcome,
    State,
)
from chalicelib.destinations.order import ORDER, read_order
from chalicelib.events import api as events
from chalicelib.web.body import check_body, refuse
from chalicelib.web.describe import (
    EVENT_ID,
    LOCATION,
    MOMENT,
    OWNER,
    PAGE,
    Json,
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
from chalicelib.web.responses import Response, answer, created, no_content, page

_TAG = "Destinations"
_URL = "https://shop.example.com/hooks"
_EXAMPLE = {
    "id": EVENT_ID,
    "owner": "shop",
    "url": _URL,
    "eventTypes": ["order.*"],
    "filter": {"data": {"total": [{"numeric": [">=", 100]}]}},
    "description": "the warehouse",
    "headerNames": ["Authorization"],
    "format": "standard",
    "rate": None,
    "ordered": False,
    "paused": False,
    "state": "active",
    "failingSince": None,
    "disabledAt": None,
    "disabledReason": None,
    "previousSecretUntil": None,
    "createdAt": MOMENT,
    "updatedAt": MOMENT,
}
_MEMBERS: Json = {
    "id": uuid(),
    "owner": text(),
    "url": text(),
    "eventTypes": {"type": "array", "items": text()},
    "filter": nullable({"type": "object"}),
    "description": nullable(text()),
    "headerNames": {"type": "array", "items": text()},
    "format": {"type": "string", "enum": list(Format)},
    "rate": nullable(number("The most deliveries a second.")),
    "ordered": {"type": "boolean"},
    "paused": {"type": "boolean"},
    "state": {"type": "string", "enum": list(State)},
    "failingSince": nullable(moment("Since when no attempt has succeeded.")),
    "disabledAt": nullable(moment()),
    "disabledReason": nullable(text("gone (it answered 410), or failing (for five days).")),
    "previousSecretUntil": nullable(moment("How long the secret before is signed with.")),
    "createdAt": moment(),
    "updatedAt": moment(),
}
_DESTINATION = component("Destination", record(_MEMBERS))
_RECENT = record(
    {
        **{str(outcome): number() for outcome in Outcome},
        "successRate": nullable(
            {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "description": "Of those that ended, how many were delivered.",
            }
        ),
    }
)
_WITH_RECENT = component(
    "DestinationWithRecent",
    record(
        {
            **_MEMBERS,
            "recent": {**_RECENT, "description": f"Of the newest {RECENT} deliveries."},
        }
    ),
)
_WITH_SECRET = component(
    "DestinationWithSecret",
    record(
        {**_MEMBERS, "secret": text("What signatures are made with. Shown now, and never again.")}
    ),
)
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="  # noqa: S105 - an example
_SHOWN = content(_DESTINATION, destination=_EXAMPLE)
_SECRET_SHOWN = content(_WITH_SECRET, destination={**_EXAMPLE, "secret": _SECRET})
_ATTEMPT = component(
    "DeliveryAttempt",
    record(
        {
            "at": moment(),
            "millis": number("How long it took."),
            "status": nullable(number("The HTTP status; null for no answer.")),
            "code": text("Why it failed; empty for a success."),
            "answer": text("The beginning of the answer."),
        }
    ),
)
_DELIVERY = component(
    "Delivery",
    record(
        {
            "destinationId": uuid(),
            "eventId": uuid(),
            "receivedAt": moment("When the event was received."),
            "eventType": event_type(),
            "state": {"type": "string", "enum": list(Outcome)},
            "attempts": {"type": "array", "items": _ATTEMPT},
            "nextAt": nullable(moment("When the next attempt is planned.")),
            "code": nullable(text("Why it was given up, where no attempt says so.")),
        }
    ),
)
_DELIVERY_EXAMPLE = {
    "destinationId": EVENT_ID,
    "eventId": EVENT_ID,
    "receivedAt": MOMENT,
    "eventType": "order.paid",
    "state": "waiting",
    "attempts": [
        {"at": MOMENT, "millis": 31, "status": 503, "code": "http-503", "answer": "try later"}
    ],
    "nextAt": MOMENT,
    "code": None,
}
_DELIVERIES = content(page_of(_DELIVERY), page={"items": [_DELIVERY_EXAMPLE], "cursor": None})
_WHEN = "must be an ISO 8601 date or time."
_RETRY = component(
    "DeliveryRetry",
    order(
        {
            "eventId": uuid(
                "The one event to send again, also if it was delivered: must be a UUID"
            ),
            "failedSince": text(
                f"Send again what failed, of events received then or later: {_WHEN}",
                format="date-time",
            ),
            "from": text(
                "Send all that match and were not delivered, of events received then or later:"
                f" {_WHEN}",
                format="date-time",
            ),
            "to": text(
                f"Only with from: of events received before then; {_WHEN}", format="date-time"
            ),
        },
        [],
        description="A retry must have one of eventId, failedSince and from.",
        allOf=[{"oneOf": [{"required": [name]} for name in ("eventId", "failedSince", "from")]}],
        dependentSchemas={"to": {"required": ["from"]}},
    ),
)
_ACCEPTED = component("RetryAccepted", record({"status": text("accepted")}))
_ID = shared(path("destination_id", "The destination's id.", uuid()))
_LINKS = {
    view: {"destination_id": "$response.body#/id"}
    for view in ("get_destination", "put_destination", "delete_destination", "rotate_secret")
}

POST_DESTINATION = Operation(
    _TAG,
    "Make a destination",
    {
        201: response(
            "The destination, with its secret.", _SECRET_SHOWN, {"Location": LOCATION}, _LINKS
        )
    },
    (409,),
    description="Each event of its owner that matches is sent there by POST from then on, signed as"
    " Standard Webhooks has it, at least once, and in no order unless it is `ordered`. It may miss"
    f" events of its first seconds. 409 when there are {MAX_DESTINATIONS}.",
    body=content(
        ORDER,
        destination={
            "url": _URL,
            "eventTypes": ["order.*"],
            "filter": {"data": {"total": [{"numeric": [">=", 100]}]}},
            "description": "the warehouse",
        },
    ),
)
LIST_DESTINATIONS = Operation(
    _TAG,
    "A page of the destinations of an owner, newest first",
    {
        200: response(
            "The page.",
            content(page_of(_DESTINATION), page={"items": [_EXAMPLE], "cursor": None}),
        )
    },
    parameters=[*PAGE, OWNER],
)
GET_DESTINATION = Operation(
    _TAG,
    "A destination",
    {
        200: response(
            "The destination; never its secret.",
            content(
                _WITH_RECENT,
                destination={
                    **_EXAMPLE,
                    "recent": {"waiting": 1, "delivered": 98, "failed": 1, "successRate": 0.99},
                },
            ),
        )
    },
    (404,),
    parameters=[_ID],
)
PUT_DESTINATION = Operation(
    _TAG,
    "Change a destination, and enable it",
    {200: response("The destination as it is now.", _SHOWN)},
    (404, 409),
    description="What is left out gets its default, but for headers, which stay. A destination that"
    " was disabled is enabled. 409 when somebody else has changed it at the same time.",
    parameters=[_ID],
    body=content(ORDER, destination={"url": _URL, "eventTypes": ["order.*"], "paused": True}),
)
DELETE_DESTINATION = Operation(
    _TAG,
    "Delete a destination",
    {204: response("It is gone, and gets nothing more.")},
    (404,),
    parameters=[_ID],
)
ROTATE_SECRET = Operation(
    _TAG,
    "Give a destination a new secret",
    {200: response("The destination, with its new secret.", _SECRET_SHOWN)},
    (404, 409),
    description=f"For {OVERLAP.days * 24} hours messages are signed with the secret before too. To"
    " end that one at once, rotate twice.",
    parameters=[_ID],
)
LIST_ATTEMPTS = Operation(
    _TAG,
    "A page of the deliveries to a destination with their attempts, newest event first",
    {200: response("The page.", _DELIVERIES)},
    (404,),
    description="Kept for 30 days after the last attempt.",
    parameters=[_ID, *PAGE],
)
LIST_DELIVERIES = Operation(
    events.TAG,
    "The deliveries of an event to destinations",
    {
        200: response(
            "One for each destination that it was tried at.",
            content(
                component(
                    "DeliveriesOfEvent",
                    record({"items": {"type": "array", "items": _DELIVERY}}),
                ),
                deliveries={"items": [_DELIVERY_EXAMPLE]},
            ),
        )
    },
    (404,),
    parameters=[events.EVENT_ID_PARAMETER],
)
POST_RETRY = Operation(
    _TAG,
    "Send events to a destination again",
    {202: response("They are being sent.", content(_ACCEPTED, accepted={"status": "accepted"}))},
    (404, 409),
    description="One event, all that failed since, or all of a window that match and were not"
    " delivered, such as those of the time when the destination was disabled. What waits in a"
    " window to be tried again begins again now. To an `ordered` destination all come in order. 409"
    " while it is paused or disabled.",
    parameters=[_ID],
    body=content(
        _RETRY,
        one={"eventId": EVENT_ID},
        failed={"failedSince": "2026-01-01T00:00:00Z"},
        window={"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"},
    ),
)


def post_destination(request: Request, deps: ManageDeps) -> Response:
    """`POST /destinations`."""
    order = read_order(request, loopback=deps.loopback)
    made, secret = create(request.caller.owner, order, deps)
    return created({**made.to_dict(), "secret": secret}, f"/destinations/{made.destination_id}")


def list_destinations(request: Request, deps: ManageDeps) -> Response:
    """`GET /destinations`."""
    owner, asked = request.owned_page()
    return page(*deps.destinations.page(owner, asked.limit, asked.below))


def get_destination(request: Request, destination_id: str, deps: ManageDeps) -> Response:
    """`GET /destinations/{destination_id}`; two calls."""
    request.parameters()
    found = read(destination_id, request.caller, deps)
    return answer({**found.to_dict(), "recent": recent(destination_id, deps)})


def put_destination(request: Request, destination_id: str, deps: ManageDeps) -> Response:
    """`PUT /destinations/{destination_id}`."""
    seen = read(destination_id, request.caller, deps)
    return answer(change(seen, read_order(request, loopback=deps.loopback), deps).to_dict())


def delete_destination(request: Request, destination_id: str, deps: ManageDeps) -> Response:
    """`DELETE /destinations/{destination_id}`."""
    request.parameters()
    delete(destination_id, request.caller, deps)
    return no_content()


def rotate_secret(request: Request, destination_id: str, deps: ManageDeps) -> Response:
    """`POST /destinations/{destination_id}/rotate`."""
    request.parameters()
    rotated, secret = rotate(destination_id, request.caller, deps)
    return answer({**rotated.to_dict(), "secret": secret})


def list_attempts(request: Request, destination_id: str, deps: ManageDeps) -> Response:
    """`GET /destinations/{destination_id}/attempts`; two calls."""
    asked = request.page()
    read(destination_id, request.caller, deps)
    return page(*deps.deliveries.page(destination_id, asked.limit, asked.below))


def list_deliveries(request: Request, event_id: str, deps: ManageDeps) -> Response:
    """`GET /events/{event_id}/deliveries`."""
    request.parameters()
    found = deliveries_of(event_id, request.caller, deps)
    return answer({"items": [one.to_dict() for one in found]})


def post_retry(request: Request, destination_id: str, deps: ManageDeps) -> Response:
    """`POST /destinations/{destination_id}/retry`."""
    request.parameters()
    destination = read(destination_id, request.caller, deps)
    body, faults = check_body(request, _RETRY.value)
    now = deps.now()
    start = read_moment(body.get("failedSince", body.get("from")))
    end = read_moment(body.get("to")) or now
    if start is not None and start >= end:
        name = "failedSince" if "failedSince" in body else "from"
        faults.append(FieldError(f"/{name}", "must be before now, and before /to"))
    refuse("the retry cannot be begun", faults)
    if "eventId" in body:
        retry_one(destination, body["eventId"], deps)
    else:
        first = start or datetime.fromtimestamp(0, UTC)
        retry_many(destination, first, end, every="from" in body, deps=deps)
    return answer({"status": "accepted"}, 202)
