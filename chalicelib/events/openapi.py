"""CloudEvents 1.0.2: the JSON event format, and the headers of the binary mode.

Batches: many events in one request, with a verdict for each.

What is told of an event: its record in the ledger, and the silver document.

Events: send one, read them, replay them.
"""

from chalicelib.core.names import MAX_KEY_CHARACTERS, MAX_NAME_BYTES
from chalicelib.events.cloudevents import MAX_ATTRIBUTE_NAME, MAX_CONTEXT_BYTES
from chalicelib.events.model import Status
from chalicelib.web.describe import (
    EVENT_ID,
    JSON,
    LOCATION,
    MOMENT,
    PAGE,
    REPLAYED,
    Json,
    content,
    event_type,
    header,
    header_text,
    moment,
    name,
    nullable,
    number,
    operation,
    order,
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

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
_HTTP_TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a token of HTTP, no secret
_PARAMETER = rf'{_HTTP_TOKEN}=({_HTTP_TOKEN}|"[ !#-\[\]-~]*")'
MEDIA_TYPE_PATTERN = rf"^{_HTTP_TOKEN}/{_HTTP_TOKEN}([ \t]*;[ \t]*{_PARAMETER})*$"
_JSON_TYPE = {"pattern": r"^[^;]*[/+][jJ][sS][oO][nN][ \t]*(;|$)"}
# The last character before the padding has no bits to spare (RFC 4648, section 3.5).
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$"
EXAMPLE = {
    "specversion": "1.0",
    "id": "A234-1234-1234",
    "source": "https://shop.example/orders/7",
    "type": "order.paid",
    "subject": "order-7",
    "time": "2026-01-31T23:59:59Z",
    "datacontenttype": "application/json",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "data": {"order": 7, "total": "12.50"},
}


def cloud_event_schemas() -> dict[str, Json]:
    """The components."""
    context = {
        "id": text(),
        "time": text("As the sender wrote it."),
        "datacontenttype": text(),
        "dataschema": text(),
        "extensions": {
            "type": "object",
            "additionalProperties": {"$ref": "#/components/schemas/CloudEventExtension"},
        },
    }
    return {
        "CloudEvent": _cloud_event(),
        "CloudEventExtension": _extension(),
        "CloudEventContext": record(
            context,
            optional=[member for member in context if member != "id"],
            description="What a CloudEvent says of itself beside type, source and subject.",
        ),
    }


def header_parameters() -> dict[str, Json]:
    """The components for the binary mode's headers."""
    what = "CloudEvents, binary mode:"
    all_four = "Sent together with the other three that are required: ce-specversion, ce-id,"
    all_four += " ce-source, ce-type."
    wide = header_text(3 * MAX_NAME_BYTES)
    return {
        "ce-specversion": header(
            "ce-specversion", text(const="1.0"), f"{what} the version. {all_four}"
        ),
        "ce-id": header("ce-id", wide, f"{what} with the source, what identifies the event."),
        "ce-source": header("ce-source", wide, f"{what} where it happened, a URI reference."),
        "ce-type": header("ce-type", wide, f"{what} the event type."),
        "ce-subject": header("ce-subject", wide, f"{what} what it is about."),
        "ce-time": header("ce-time", text(format="date-time"), f"{what} when it happened."),
        "ce-dataschema": header(
            "ce-dataschema",
            text(format="uri"),
            f"{what} the schema of the data. Any other"
            " `ce-<name>` is an extension. Values are percent-encoded UTF-8.",
        ),
    }


HEADERS = [
    parameter(f"ce-{attribute}")
    for attribute in ("specversion", "id", "source", "type", "subject", "time", "dataschema")
]


def _cloud_event() -> Json:
    encoded = {
        "type": "string",
        "contentEncoding": "base64",
        "pattern": _BASE64,
        "description": "Data that are no JSON; or the JSON of a JSON type, in base64.",
    }
    return {
        "type": "object",
        "description": "A CloudEvent 1.0 in the JSON format. Every other member is an extension."
        f" id, time, datacontenttype, dataschema and extensions take at most {MAX_CONTEXT_BYTES}"
        " bytes as ASCII JSON together. An attribute that is null is not set.",
        "required": ["specversion", "id", "source", "type"],
        "properties": {
            "specversion": {"type": "string", "const": "1.0"},
            "id": name("With the source, what identifies the event."),
            "source": name("Where it happened.", format="uri-reference"),
            "type": event_type(),
            "subject": nullable(name("What it is about.")),
            "time": nullable(text("When it happened (RFC 3339).", format="date-time")),
            "datacontenttype": nullable(
                text("The media type of the data.", maxLength=256, pattern=MEDIA_TYPE_PATTERN)
            ),
            "dataschema": nullable(text("The schema of the data.", format="uri")),
            "data": {"description": "A JSON value; a string where the type is not JSON."},
            "data_base64": nullable(encoded),
        },
        "propertyNames": {"pattern": rf"^([a-z0-9]{{1,{MAX_ATTRIBUTE_NAME}}}|data_base64)$"},
        "additionalProperties": {"$ref": "#/components/schemas/CloudEventExtension"},
        "allOf": [
            {
                "description": "There is one kind of data.",
                "if": {
                    "required": ["data_base64"],
                    "properties": {"data_base64": {"type": "string"}},
                },
                "then": {"properties": {"data": False}},
            },
            {
                "description": "Data whose type is not JSON are a string.",
                "if": {
                    "required": ["datacontenttype"],
                    "properties": {"datacontenttype": {"type": "string", "not": _JSON_TYPE}},
                },
                "then": {"properties": {"data": {"type": ["string", "null"]}}},
            },
        ],
        "examples": [EXAMPLE],
    }


def _extension() -> Json:
    return {
        "type": ["string", "boolean", "integer", "null"],
        "minimum": -(2**31),
        "maximum": 2**31 - 1,
        "pattern": r"^[^\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]*$",
        "description": "A string without control characters, a boolean, or a 32-bit integer.",
    }


MAX_EVENTS = 500
_NO_EVENT = {"description": "Anything else is rejected alone, and does not refuse the others."}
BATCHED_EVENTS: Json = {
    "type": "array",
    "minItems": 1,
    "maxItems": MAX_EVENTS,
    "items": {"anyOf": [schema("CloudEvent"), _NO_EVENT]},
}
CLOUD_EVENTS_EXAMPLE = [
    EXAMPLE | {"id": "B-1"},
    EXAMPLE | {"id": "B-2", "data": None},
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


def batch_schemas() -> dict[str, Json]:
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


def batch_paths() -> dict[str, Json]:
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


_RANGE = "^bytes=[0-9]+-[0-9]+$"
_DIGEST = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
_BRONZE_KEY = f"bronze/order.paid/2026/01/31/{EVENT_ID}.json"
EVENT_EXAMPLE = {
    "eventId": EVENT_ID,
    "eventType": "order.paid",
    "owner": "shop",
    "source": "shop/7",
    "subject": None,
    "receivedAt": MOMENT,
    "payloadSha256": _DIGEST,
    "payloadBytes": 62,
    "contentType": JSON,
    "s3Key": _BRONZE_KEY,
    "status": "PROCESSED",
    "updatedAt": MOMENT,
    "s3Bucket": "eventline-dev-123456789012-bronze",
    "attempts": 1,
    "lastError": None,
    "silverBucket": "eventline-dev-123456789012-silver",
    "silverKey": f"silver/order.paid/dt=2026-01-31/{EVENT_ID}.json",
    "replayOf": None,
    "timeline": [
        {"status": "RECEIVED", "at": MOMENT},
        {"status": "ENQUEUED", "at": MOMENT},
        {"status": "PROCESSED", "at": MOMENT},
    ],
}
SILVER_EXAMPLE = {
    "eventId": EVENT_ID,
    "eventType": "order.paid",
    "source": "shop/7",
    "subject": None,
    "owner": "shop",
    "time": MOMENT,
    "receivedAt": MOMENT,
    "processedAt": MOMENT,
    "schemaVersion": 1,
    "bronze": {
        "bucket": "eventline-dev-123456789012-bronze",
        "key": _BRONZE_KEY,
        "sha256": _DIGEST,
    },
    "data": {"eventType": "order.paid", "source": "shop/7", "total": "12.50"},
}


def record_schemas() -> dict[str, Json]:
    """The components."""
    return {"Event": _event(), "SilverDocument": _silver_document()}


def _event() -> Json:
    fault = record(
        {
            "class": text("permanent, transient or unknown."),
            "code": text(),
            "message": text(),
            "errors": {"type": "array", "items": schema("FieldError")},
        },
        optional=("errors",),
    )
    step = record(
        {"status": {"type": "string", "enum": list(Status)}, "at": moment(), "detail": text()},
        optional=("detail",),
    )
    return record(
        {
            "eventId": uuid(),
            "eventType": event_type(),
            "owner": text("Whose it is."),
            "source": name("Where it came from."),
            "subject": nullable(name("What it is about.")),
            "receivedAt": moment(),
            "payloadSha256": text(pattern="^[0-9a-f]{64}$"),
            "payloadBytes": number(),
            "contentType": text("What the payload came as."),
            "s3Bucket": text("Where the payload is."),
            "s3Key": text(),
            "s3Range": text("The part of the object that is the payload.", pattern=_RANGE),
            "schemaVersion": number("The schema it was checked against.", minimum=1),
            "cloudEvent": schema("CloudEventContext"),
            "status": {"type": "string", "enum": list(Status)},
            "updatedAt": moment(),
            "attempts": number("How often processing was tried."),
            "lastError": nullable(fault),
            "silverBucket": nullable(text("Where the result is.")),
            "silverKey": nullable(text()),
            "silverRange": text("The part of the object that is the result.", pattern=_RANGE),
            "replayOf": nullable(uuid("The event that this one repeats.")),
            "timeline": {"type": "array", "items": step},
        },
        optional=("s3Range", "schemaVersion", "cloudEvent", "silverRange"),
    )


def _silver_document() -> Json:
    return record(
        {
            "eventId": uuid(),
            "eventType": event_type(),
            "source": name("Where it came from."),
            "subject": nullable(name("What it is about.")),
            "owner": text(),
            "time": text("When it happened, as the sender wrote it; else when it was received."),
            "receivedAt": moment(),
            "processedAt": moment(),
            "schemaVersion": number(minimum=1),
            "cloudEvent": schema("CloudEventContext"),
            "bronze": record({"bucket": text(), "key": text(), "sha256": text()}),
            "dataEncoding": text(const="base64"),
            "data": {"description": "What the processor made; with dataEncoding, base64 text."},
        },
        optional=("cloudEvent", "dataEncoding"),
    )


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
        **cloud_event_schemas(),
        **record_schemas(),
        **batch_schemas(),
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
        **batch_paths(),
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
                        {JSON: {}, STRUCTURED: {}, **ANYTHING},
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
        parameters=[parameter("Idempotency-Key"), *HEADERS],
        body={
            **content(schema("PlainEvent"), plain=plain),
            **content(schema("CloudEvent"), STRUCTURED, event=EXAMPLE),
            **content(BATCHED_EVENTS, BATCH, batch=CLOUD_EVENTS_EXAMPLE),
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
                    STRUCTURED: {},
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
