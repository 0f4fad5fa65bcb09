"""What is told of an event: its record in the ledger, and the silver document."""

from typing import Any

from chalicelib.domain.events import Status
from chalicelib.openapi.parts import (
    EVENT_ID,
    JSON,
    MOMENT,
    event_type,
    moment,
    name,
    nullable,
    number,
    record,
    schema,
    text,
    uuid,
)

Json = dict[str, Any]

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


def schemas() -> dict[str, Json]:
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
