"""Events: send one, read them, replay them."""

from typing import Any

from chalicelib.domain.drafts import MAX_KEY_CHARACTERS
from chalicelib.domain.events import Status
from chalicelib.openapi import cloudevents
from chalicelib.openapi.batches import BATCH_RESULTS, BATCHED_EVENTS, CLOUD_EVENTS_EXAMPLE
from chalicelib.openapi.event_records import EVENT_EXAMPLE, SILVER_EXAMPLE
from chalicelib.openapi.parts import (
    EVENT_ID,
    JSON,
    LOCATION,
    PAGE,
    REPLAYED,
    content,
    event_type,
    header,
    header_text,
    operation,
    page_of,
    parameter,
    path,
    query,
    record,
    response,
    schema,
    text,
    uuid,
)

Json = dict[str, Any]

TAG = "Events"
ACCEPTED = {"status": "accepted", "eventId": EVENT_ID}
LINKS = {
    view: {"event_id": "$response.body#/eventId"}
    for view in ("get_event", "get_payload", "get_result", "post_replay")
}
ANYTHING: Json = {"*/*": {}}
"""Bytes of whatever type they came in."""


def parameters() -> dict[str, Json]:
    """The components."""
    return {
        "event_id": path("event_id", "The event's id.", uuid()),
        "Idempotency-Key": header(
            "Idempotency-Key",
            header_text(MAX_KEY_CHARACTERS),
            "Makes the request idempotent, for ever: the same key and body give the first answer"
            " again, the same key with another body is refused (422). It wins over a CloudEvent's"
            " own source and id. Not for batches, whose events have their own.",
        ),
    }


def schemas() -> dict[str, Json]:
    """The components."""
    return {
        "PlainEvent": _plain_event(),
        "Accepted": record(
            {"status": text(const="accepted"), "eventId": uuid("The event that is kept.")},
            description="The payload is kept and will be processed.",
        ),
    }


def paths() -> dict[str, Json]:
    """The operations."""
    one = [parameter("event_id")]
    silver = content(schema("SilverDocument"), result=SILVER_EXAMPLE)
    return {
        "/events": {"post": _post_event(), "get": _list_events()},
        "/events/{event_id}": {"get": _get_event()},
        "/events/{event_id}/payload": {
            "get": operation(
                "get_payload",
                "events:read",
                TAG,
                "The payload, byte for byte as it was sent",
                {
                    200: response(
                        "The payload, as an attachment unless it is JSON.",
                        {JSON: {}, cloudevents.STRUCTURED: {}, **ANYTHING},
                        {"Content-Disposition": {"schema": text(const="attachment")}},
                    )
                },
                (404,),
                parameters=one,
            )
        },
        "/events/{event_id}/result": {
            "get": operation(
                "get_result",
                "events:read",
                TAG,
                "The silver document that processing made",
                {200: response("The document.", silver)},
                (404, 409),
                description="409 while the event is not PROCESSED.",
                parameters=one,
            )
        },
        "/events/{event_id}/replay": {
            "post": operation(
                "post_replay",
                "events:admin",
                TAG,
                "Process an event again from its payload, as a new event",
                {202: accepted()},
                (404, 409, 422),
                description="409 while the event is still to be processed. What was REJECTED is"
                " read and checked anew; if it is still refused, nothing is written.",
                parameters=one,
            )
        },
    }


def accepted(**headers: Json) -> Json:
    """202 for one event."""
    return response(
        "The payload is kept; the event ends PROCESSED or FAILED.",
        content(schema("Accepted"), accepted=ACCEPTED),
        {"Location": LOCATION, **headers},
        LINKS,
    )


def _post_event() -> Json:
    plain = {"eventType": "order.paid", "source": "shop/7", "total": "12.50"}
    taken = accepted(**{"Idempotent-Replayed": REPLAYED})
    taken["description"] = "The event is kept; in batched mode, a verdict for each."
    taken["headers"]["Location"] = {**LOCATION, "required": False}
    taken["content"] = content(
        {"anyOf": [schema("Accepted"), schema("BatchResults")]},
        accepted=ACCEPTED,
        batch=BATCH_RESULTS,
    )
    return operation(
        "post_event",
        "events:write",
        TAG,
        "Send an event",
        {202: taken},
        (415, 422),
        description="Plain JSON, or CloudEvents 1.0 in structured, batched or binary mode. In"
        " binary mode the `ce-` headers make the event and the body is its data, of any type."
        " A CloudEvent is idempotent by its source and id. An event may have 1 MiB unless the"
        " stage sets another limit.",
        parameters=[parameter("Idempotency-Key"), *cloudevents.HEADERS],
        body={
            **content(schema("PlainEvent"), plain=plain),
            **content(schema("CloudEvent"), cloudevents.STRUCTURED, event=cloudevents.EXAMPLE),
            **content(BATCHED_EVENTS, cloudevents.BATCH, batch=CLOUD_EVENTS_EXAMPLE),
            **ANYTHING,
        },
    )


def _list_events() -> Json:
    return operation(
        "list_events",
        "events:read",
        TAG,
        "A page of events, newest first",
        {
            200: response(
                "The page.",
                content(page_of(schema("Event")), page={"items": [EVENT_EXAMPLE], "cursor": None}),
            )
        },
        parameters=[
            query("eventType", event_type(), "Only events of this type."),
            query("status", {"type": "string", "enum": list(Status)}, "Only those in this status."),
            query("from", text(format="date-time"), "Received then or later (ISO 8601)."),
            query("to", text(format="date-time"), "Received then or before (ISO 8601)."),
            *PAGE,
        ],
    )


def _get_event() -> Json:
    return operation(
        "get_event",
        "events:read",
        TAG,
        "One event: what it is and what has become of it",
        {
            200: response(
                "The record; with `Accept: application/cloudevents+json`, the event itself as a"
                " CloudEvent, and one that came structured byte for byte.",
                {
                    **content(schema("Event"), record=EVENT_EXAMPLE),
                    cloudevents.STRUCTURED: {},
                },
            )
        },
        (404,),
        parameters=[parameter("event_id")],
    )


def _plain_event() -> Json:
    return {
        "type": "object",
        "description": "The whole body is the payload. `source` and `subject` are taken over when"
        " they are names, and otherwise left alone.",
        "required": ["eventType"],
        "properties": {"eventType": event_type()},
        "additionalProperties": True,
    }
