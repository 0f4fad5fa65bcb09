"""Dead letters: what failed for good, and taking it up again."""

from chalicelib.recovery.model import ERROR_CLASSES, QUEUES
from chalicelib.replays.openapi import SCOPE, TAG
from chalicelib.web.describe import (
    EVENT_ID,
    MOMENT,
    PAGE,
    Json,
    content,
    event_type,
    moment,
    nullable,
    number,
    operation,
    order,
    page_of,
    query,
    record,
    response,
    schema,
    text,
    uuid,
)

_ERROR_CLASS = {"type": "string", "enum": list(ERROR_CLASSES)}
_QUEUE = {"type": "string", "enum": list(QUEUES)}
_FAILED_EVENT = {
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
_MESSAGE = {
    "kind": "message",
    "queue": "events-dlq",
    "messageId": "4a1f0b58-60c2-4a5e-9b44-0a2f0f6ad9d1",
    "reason": {"code": "foreign-message"},
    "sentAt": MOMENT,
    "ageSeconds": 311,
    "approximateCount": 1,
    "redrivable": False,
    "whyNot": "it is no message of this platform, so no worker could read it",
}


def schemas() -> dict[str, Json]:
    """The components."""
    return {
        "FailedEvent": _failed_event(),
        "DeadMessage": _dead_message(),
        "RedriveOrder": _redrive_order(),
        "Redriven": _redriven(),
    }


def paths() -> dict[str, Json]:
    """The operations."""
    return {
        "/dead-letters": {"get": _list_dead_letters()},
        "/dead-letters/redrive": {"post": _post_redrive()},
    }


def _list_dead_letters() -> Json:
    letter = {"anyOf": [schema("FailedEvent"), schema("DeadMessage")]}
    page = page_of(letter)
    # Beside the page's events, ten messages of each queue.
    page["properties"]["items"]["maxItems"] = 100 + 10 * len(QUEUES)
    return operation(
        "list_dead_letters",
        SCOPE,
        TAG,
        "A page of FAILED events, and of messages in dead-letter queues",
        {
            200: response(
                "The page.",
                content(page, page={"items": [_MESSAGE, _FAILED_EVENT], "cursor": None}),
            )
        },
        description="Events, newest first. For an admin the first page begins with up to ten"
        " messages of each queue, unless a type or class is asked for, which messages do not have.",
        parameters=[
            query("eventType", event_type(), "Only events of this type."),
            query("errorClass", _ERROR_CLASS, "Only events whose last error is of this class."),
            *PAGE,
        ],
    )


def _post_redrive() -> Json:
    return operation(
        "post_redrive",
        SCOPE,
        TAG,
        "Take up again what failed for good",
        {
            200: response(
                "What was taken up, and why the rest was not.",
                content(
                    schema("Redriven"),
                    done={"redriven": 3, "skipped": [], "more": False, "cursor": None},
                ),
            )
        },
        (404,),
        description="One event, FAILED events by type or error class, all of them, or messages of"
        " a queue (which takes the scope admin). A hundred at once; `more` says that there may be"
        " others: send the same with the `cursor`.",
        body=content(
            schema("RedriveOrder"),
            type={"eventType": "order.paid"},
            transient={"errorClass": "transient"},
            all={"all": True},
        ),
    )


def _failed_event() -> Json:
    reason = record(
        {
            "class": _ERROR_CLASS,
            "code": text(),
            "message": text(),
            "errors": {"type": "array", "items": schema("FieldError")},
        },
        optional=("errors",),
    )
    return record(
        {
            "kind": text(const="event"),
            "eventId": uuid(),
            "eventType": event_type(),
            "owner": text(),
            "reason": nullable(reason),
            "failedAt": moment(),
            "ageSeconds": number(),
            "attempts": number(),
            "redrivable": {"type": "boolean"},
            "whyNot": nullable(text()),
        }
    )


def _dead_message() -> Json:
    return record(
        {
            "kind": text(const="message"),
            "queue": _QUEUE,
            "messageId": text(),
            "reason": {
                "type": "object",
                "description": "What whoever set it aside told.",
                "additionalProperties": {"type": "string"},
            },
            "sentAt": moment(),
            "ageSeconds": number(),
            "approximateCount": number("About how many its queue has."),
            "redrivable": {"type": "boolean"},
            "whyNot": nullable(text()),
        }
    )


def _redrive_order() -> Json:
    members = {
        "eventId": uuid("One event."),
        "eventType": event_type("FAILED events of a type."),
        "errorClass": {**_ERROR_CLASS, "description": "FAILED events with errors of a class."},
        "all": {"type": "boolean", "const": True, "description": "All FAILED events."},
        "queue": {**_QUEUE, "description": "Messages in a dead-letter queue."},
    }
    some = {
        "messageId": text("One message of the queue.", minLength=1, maxLength=128),
        "cursor": text("What the answer before gave.", pattern="^[A-Za-z0-9_-]+$"),
    }
    return {
        "description": "Just one of eventId, eventType, errorClass, all and queue.",
        "oneOf": [
            order({"eventId": members["eventId"]}, ["eventId"]),
            order({"queue": members["queue"], "messageId": some["messageId"]}, ["queue"]),
            *(
                order({name: members[name], "cursor": some["cursor"]}, [name])
                for name in ("eventType", "errorClass", "all")
            ),
        ],
    }


def _redriven() -> Json:
    skipped = record(
        {"eventId": uuid(), "messageId": text(), "queue": text(), "reason": text()},
        optional=("eventId", "messageId", "queue"),
    )
    return record(
        {
            "redriven": number("How many were taken up."),
            "skipped": {"type": "array", "items": skipped},
            "more": {"type": "boolean"},
            "cursor": nullable(text("Where to go on.")),
        }
    )
