"""Batches: many events in one request, with a verdict for each."""

from typing import Any

from chalicelib.openapi import cloudevents
from chalicelib.openapi.parts import (
    EVENT_ID,
    content,
    event_type,
    nullable,
    number,
    operation,
    order,
    record,
    response,
    schema,
    text,
    uuid,
)

Json = dict[str, Any]

MAX_EVENTS = 500
_NO_EVENT = {"description": "Anything else is rejected alone, and does not refuse the others."}
BATCHED_EVENTS: Json = {
    "type": "array",
    "minItems": 1,
    "maxItems": MAX_EVENTS,
    "items": {"anyOf": [schema("CloudEvent"), _NO_EVENT]},
}
CLOUD_EVENTS_EXAMPLE = [
    cloudevents.EXAMPLE | {"id": "B-1"},
    cloudevents.EXAMPLE | {"id": "B-2", "data": None},
]
BATCH_RESULTS = {
    "results": [
        {"index": 0, "status": "accepted", "eventId": EVENT_ID, "errors": []},
        {
            "index": 1,
            "status": "rejected",
            "eventId": EVENT_ID[:-1] + "6",
            "errors": [{"pointer": "/events/1/eventType", "detail": "is required"}],
        },
    ]
}


def schemas() -> dict[str, Json]:
    """The components."""
    verdict = record(
        {
            "index": number("The item's place in the request, from 0."),
            "status": {
                "type": "string",
                "enum": ["accepted", "duplicate", "rejected", "failed"],
                "description": "rejected: refused for its content, and kept where it has an"
                " eventId; failed: not kept, send it again.",
            },
            "eventId": nullable(uuid("The event under which it is kept.")),
            "errors": {"type": "array", "items": schema("FieldError")},
        }
    )
    return {
        "BatchEvent": {
            "type": "object",
            "description": "A plain event.",
            "required": ["eventType"],
            "properties": {
                "eventType": event_type(),
                "idempotencyKey": text(
                    "As the header Idempotency-Key of a single event.", minLength=1, maxLength=255
                ),
            },
            "additionalProperties": True,
        },
        "BatchResults": record(
            {"results": {"type": "array", "items": verdict, "maxItems": MAX_EVENTS}},
            description="One verdict for each item, in order.",
        ),
    }


def paths() -> dict[str, Json]:
    """The operations."""
    events = {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_EVENTS,
        "items": {"anyOf": [schema("BatchEvent"), _NO_EVENT]},
    }
    example = {
        "events": [
            {"eventType": "order.paid", "total": "12.50", "idempotencyKey": "order-7-paid"},
            {"eventType": "order.sent", "carrier": "by hand"},
        ]
    }
    return {
        "/events/batch": {
            "post": operation(
                "post_batch",
                "events:write",
                "Events",
                "Send up to 500 events",
                {
                    202: response(
                        "A verdict for each.",
                        content(schema("BatchResults"), results=BATCH_RESULTS),
                    )
                },
                (415,),
                description="One bad item never refuses the others. Safe to send again whole:"
                " items with a key are not doubled.",
                body=content(order({"events": events}, ["events"]), two=example),
            )
        }
    }
