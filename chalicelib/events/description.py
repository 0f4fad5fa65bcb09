"""What the OpenAPI document says of events: their schemas, the headers of CloudEvents, examples."""

import re

from chalicelib.core.media_types import CLOUD_EVENT, CLOUD_EVENTS, JSON, TOKEN
from chalicelib.core.names import MAX_KEY_CHARACTERS, MAX_NAME_BYTES
from chalicelib.events.batch import KEY, MAX_ITEMS
from chalicelib.events.cloudevents import (
    INT32,
    MAX_ATTRIBUTE_NAME,
    MAX_CONTEXT_BYTES,
    REQUIRED,
    SPEC_VERSION,
)
from chalicelib.events.cloudevents_http import PREFIX
from chalicelib.events.failures import FAILURES, LOOKED_AT
from chalicelib.events.ingest_batch import Outcome
from chalicelib.events.model import Status
from chalicelib.events.stats import STEPS, Count
from chalicelib.web.describe import (
    CURSOR,
    EVENT_ID,
    FIELD_ERROR,
    MOMENT,
    Json,
    component,
    content,
    event_type,
    header,
    header_text,
    moment,
    name,
    nullable,
    number,
    order,
    page_of,
    record,
    shared,
    text,
    uuid,
)

_PARAMETER = rf'{TOKEN}=({TOKEN}|"[ !#-\[\]-~]*")'
_MEDIA_TYPE = rf"^{TOKEN}/{TOKEN}([ \t]*;[ \t]*{_PARAMETER})*$"
_JSON_TYPE = {"pattern": r"^[^;]*[/+][jJ][sS][oO][nN][ \t]*(;|$)"}
# The last character before the padding has no bits to spare (RFC 4648, section 3.5).
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$"
_RANGE = "^bytes=[0-9]+-[0-9]+$"
_DIGEST = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
_BRONZE_KEY = f"bronze/order.paid/2026/01/31/{EVENT_ID}.json"
STATUS: Json = {"type": "string", "enum": list(Status)}

_PLAIN_EXAMPLE = {"eventType": "order.paid", "source": "shop/7", "total": "12.50"}
_CLOUD_EVENT_EXAMPLE = {
    "specversion": SPEC_VERSION,
    "id": "A234-1234-1234",
    "source": "https://shop.example/orders/7",
    "type": "order.paid",
    "subject": "order-7",
    "time": "2026-01-31T23:59:59Z",
    "datacontenttype": JSON,
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "data": {"order": 7, "total": "12.50"},
}
_CLOUD_EVENTS_EXAMPLE = [
    _CLOUD_EVENT_EXAMPLE | {"id": "B-1"},
    _CLOUD_EVENT_EXAMPLE | {"id": "B-2", "data": None},
]
_BATCH_EXAMPLE = {
    "events": [
        {"eventType": "order.paid", "total": "12.50", KEY: "order-7-paid"},
        {"eventType": "order.sent", "carrier": "by hand"},
    ]
}
_RESULTS_EXAMPLE = {
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
_ACCEPTED_EXAMPLE = {"status": "accepted", "eventId": EVENT_ID}
_FACTS_EXAMPLE = {
    "eventId": EVENT_ID,
    "eventType": "order.paid",
    "owner": "shop",
    "source": "shop/7",
    "subject": None,
    "receivedAt": MOMENT,
}
_EVENT_EXAMPLE = {
    **_FACTS_EXAMPLE,
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
    "timeline": [{"status": step, "at": MOMENT} for step in ("RECEIVED", "ENQUEUED", "PROCESSED")],
}
_SILVER_EXAMPLE = {
    **_FACTS_EXAMPLE,
    "time": MOMENT,
    "processedAt": MOMENT,
    "schemaVersion": 1,
    "bronze": {"bucket": _EVENT_EXAMPLE["s3Bucket"], "key": _BRONZE_KEY, "sha256": _DIGEST},
    "data": _PLAIN_EXAMPLE,
}

_EXTENSION = component(
    "CloudEventExtension",
    {
        "type": ["string", "boolean", "integer", "null"],
        "minimum": -INT32,
        "maximum": INT32 - 1,
        "pattern": r"^[^\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]*$",
        "description": "A string without control characters, a boolean, or a 32-bit integer.",
    },
)
_CONTEXT = component(
    "CloudEventContext",
    record(
        {
            "id": text(),
            "time": text("As the sender wrote it."),
            "datacontenttype": text(),
            "dataschema": text(),
            "extensions": {"type": "object", "additionalProperties": _EXTENSION},
        },
        optional=("time", "datacontenttype", "dataschema", "extensions"),
        description="What a CloudEvent says of itself beside type, source and subject.",
    ),
)
_DATA_BASE64 = text(
    "Data that is not JSON; or the JSON of a JSON type, in base64.",
    contentEncoding="base64",
    pattern=_BASE64,
)
_ONE_KIND_OF_DATA = {
    "description": "data and data_base64 cannot come together.",
    "if": {"required": ["data_base64"], "properties": {"data_base64": {"type": "string"}}},
    "then": {"properties": {"data": False}},
}
_DATA_OF_ITS_TYPE = {
    "description": "Data of another type than JSON is a string.",
    "if": {
        "required": ["datacontenttype"],
        "properties": {"datacontenttype": {"type": "string", "not": _JSON_TYPE}},
    },
    "then": {"properties": {"data": {"type": ["string", "null"]}}},
}
_CLOUD_EVENT_SCHEMA = component(
    "CloudEvent",
    {
        "type": "object",
        "description": "A CloudEvent 1.0 in the JSON format. Every other member is an extension."
        f" id, time, datacontenttype, dataschema and extensions take at most {MAX_CONTEXT_BYTES}"
        " bytes as ASCII JSON together. An attribute that is null is not set.",
        "required": list(REQUIRED),
        "properties": {
            "specversion": text(const=SPEC_VERSION),
            "id": name("With the source, what identifies the event."),
            "source": name("Where it happened.", format="uri-reference"),
            "type": event_type(),
            "subject": nullable(name("What it is about.")),
            "time": nullable(text("When it happened (RFC 3339).", format="date-time")),
            "datacontenttype": nullable(
                text("The media type of the data.", maxLength=MAX_NAME_BYTES, pattern=_MEDIA_TYPE)
            ),
            "dataschema": nullable(text("The schema of the data.", format="uri")),
            "data": {"description": "A JSON value; a string where the type is not JSON."},
            "data_base64": nullable(_DATA_BASE64),
        },
        "propertyNames": {"pattern": rf"^([a-z0-9]{{1,{MAX_ATTRIBUTE_NAME}}}|data_base64)$"},
        "additionalProperties": _EXTENSION,
        "allOf": [_ONE_KIND_OF_DATA, _DATA_OF_ITS_TYPE],
        "examples": [_CLOUD_EVENT_EXAMPLE],
    },
)
_PLAIN = {
    "type": "object",
    "description": "The whole body is the payload. `source` and `subject` become the event's where"
    " they can be names; otherwise they are just part of the payload.",
    "required": ["eventType"],
    "properties": {"eventType": event_type()},
    "additionalProperties": True,
}
_PLAIN_SCHEMA = component("PlainEvent", _PLAIN)
_BATCH_KEY = text(
    "As the header Idempotency-Key of a single event.", minLength=1, maxLength=MAX_KEY_CHARACTERS
)
_BATCH_EVENT = component(
    "BatchEvent",
    {
        **_PLAIN,
        "description": "A plain event.",
        "properties": {"eventType": event_type(), KEY: _BATCH_KEY},
    },
)


def _events_of(schema: Json, fewest: int) -> Json:
    anything = {"description": "Anything else is rejected by itself, without refusing the others."}
    items = {"anyOf": [schema, anything]}
    return {"type": "array", "minItems": fewest, "maxItems": MAX_ITEMS, "items": items}


_BATCH_SCHEMA = order({"events": _events_of(_BATCH_EVENT, 1)}, ["events"])
_CLOUD_EVENTS_SCHEMA = _events_of(_CLOUD_EVENT_SCHEMA, 0)
# The same as `items`. openapi-python-client leaves out a body that is a list without `items`; where
# there are several bodies, and one is a list with them, its code fails for all.
_CLOUD_EVENTS_SCHEMA["unevaluatedItems"] = _CLOUD_EVENTS_SCHEMA.pop("items")
_VERDICT = record(
    {
        "index": number("The item's place in the request, from 0."),
        "status": {
            "type": "string",
            "enum": list(Outcome),
            "description": "rejected: refused for its content, and stored where it has an eventId;"
            " failed: not stored, send it again.",
        },
        "eventId": nullable(uuid("The event as which it is stored.")),
        "errors": {"type": "array", "items": FIELD_ERROR},
    }
)
_RESULTS_SCHEMA = component(
    "BatchResults",
    record(
        {"results": {"type": "array", "items": _VERDICT, "maxItems": MAX_ITEMS}},
        description="One verdict for each item, in order.",
    ),
)
_ACCEPTED_SCHEMA = component(
    "Accepted",
    record(
        {"status": text(const="accepted"), "eventId": uuid("The event that is stored.")},
        description="The payload is stored and will be processed.",
    ),
)
_LAST_ERROR = record(
    {
        "class": text("permanent, transient or unknown."),
        "code": text(),
        "message": text(),
        "errors": {"type": "array", "items": FIELD_ERROR},
    },
    optional=("errors",),
)
_STEP = record({"status": STATUS, "at": moment(), "detail": text()}, optional=("detail",))
_FACTS = {
    "eventId": uuid(),
    "eventType": event_type(),
    "owner": text("Whose event it is."),
    "source": name("Where it came from."),
    "subject": nullable(name("What it is about.")),
    "receivedAt": moment(),
    "schemaVersion": number("The schema it was checked against.", minimum=1),
    "cloudEvent": _CONTEXT,
}
_EVENT_SCHEMA = component(
    "Event",
    record(
        {
            **_FACTS,
            "payloadSha256": text(pattern="^[0-9a-f]{64}$"),
            "payloadBytes": number(),
            "contentType": text("The media type of the payload."),
            "s3Bucket": text("Where the payload is."),
            "s3Key": text(),
            "s3Range": text("The part of the object that is the payload.", pattern=_RANGE),
            "status": STATUS,
            "updatedAt": moment(),
            "attempts": number("How often processing was tried."),
            "lastError": nullable(_LAST_ERROR),
            "silverBucket": nullable(text("Where the result is.")),
            "silverKey": nullable(text()),
            "silverRange": text("The part of the object that is the result.", pattern=_RANGE),
            "replayOf": nullable(uuid("The event that this one repeats.")),
            "timeline": {"type": "array", "items": _STEP},
        },
        optional=("s3Range", "schemaVersion", "cloudEvent", "silverRange"),
    ),
)
_SILVER_SCHEMA = component(
    "SilverDocument",
    record(
        {
            **_FACTS,
            "time": text("When it happened, as the sender wrote it; else when it was received."),
            "processedAt": moment(),
            "bronze": record({"bucket": text(), "key": text(), "sha256": text()}),
            "dataEncoding": text(const="base64"),
            "data": {"description": "What the processor made; with dataEncoding, base64 text."},
        },
        optional=("cloudEvent", "dataEncoding"),
    ),
)


def _ce_header(attribute: str, description: str, value: Json | None = None) -> Json:
    value = value or header_text(3 * MAX_NAME_BYTES)  # percent-encoded
    return shared(header(PREFIX + attribute, value, f"CloudEvents, binary mode: {description}"))


CE_HEADERS = (
    _ce_header(
        "specversion",
        "the version. Sent together with the other three that are required:"
        f" {', '.join(PREFIX + attribute for attribute in REQUIRED)}.",
        text(pattern=f"^{re.escape(SPEC_VERSION)}$"),
    ),
    _ce_header("id", "with the source, what identifies the event."),
    _ce_header("source", "where it happened, a URI reference."),
    _ce_header("type", "the event type."),
    _ce_header("subject", "what it is about."),
    _ce_header("time", "when it happened (RFC 3339)."),
    _ce_header(
        "dataschema",
        "the schema of the data. Any other `ce-<name>` is an extension. Values are percent-encoded"
        " UTF-8.",
        text(format="uri"),
    ),
)
_ANYTHING: Json = {"*/*": {}}
"""Bytes of any type."""
EVENT_BODY = {
    **content(_PLAIN_SCHEMA, plain=_PLAIN_EXAMPLE),
    **content(_CLOUD_EVENT_SCHEMA, CLOUD_EVENT, event=_CLOUD_EVENT_EXAMPLE),
    **content(_CLOUD_EVENTS_SCHEMA, CLOUD_EVENTS, batch=_CLOUD_EVENTS_EXAMPLE),
    **_ANYTHING,
}
BATCH_BODY = content(_BATCH_SCHEMA, two=_BATCH_EXAMPLE)
ACCEPTED = content(_ACCEPTED_SCHEMA, accepted=_ACCEPTED_EXAMPLE)
RESULTS = content(_RESULTS_SCHEMA, results=_RESULTS_EXAMPLE)
_EITHER = {"anyOf": [_ACCEPTED_SCHEMA, _RESULTS_SCHEMA]}
ACCEPTED_OR_RESULTS = content(_EITHER, accepted=_ACCEPTED_EXAMPLE, batch=_RESULTS_EXAMPLE)
EVENT = {**content(_EVENT_SCHEMA, record=_EVENT_EXAMPLE), CLOUD_EVENT: {}}
_EVENT_PAGE = page_of(_EVENT_SCHEMA)
_EVENT_PAGE["required"].append("newest")
_EVENT_PAGE["properties"]["newest"] = nullable(
    text("Send it as `after` to get what is newer. null beyond the first page, and for a search.")
)
EVENT_PAGE = content(
    _EVENT_PAGE, page={"items": [_EVENT_EXAMPLE], "cursor": None, "newest": CURSOR}
)
FAILURE_STATUS: Json = {"type": "string", "enum": list(FAILURES)}
_FAILURE = component(
    "FailureGroup",
    record(
        {
            "eventType": event_type(),
            "status": FAILURE_STATUS,
            "class": text("permanent, transient, unknown or stuck."),
            "code": text(),
            "count": number("How many events of those looked at.", minimum=1),
            "first": moment("When the first of them failed."),
            "last": moment("When the last of them failed."),
            "eventId": uuid("The last of them."),
        }
    ),
)
_FAILURE_EXAMPLE = {
    "eventType": "order.paid",
    "status": "FAILED",
    "class": "permanent",
    "code": "KeyError",
    "count": 42,
    "first": MOMENT,
    "last": MOMENT,
    "eventId": EVENT_ID,
}
_FAILURES = page_of(_FAILURE)
_FAILURES["properties"]["items"]["maxItems"] = len(FAILURES) * LOOKED_AT
FAILURE_PAGE = content(_FAILURES, page={"items": [_FAILURE_EXAMPLE], "cursor": None})
STEP: Json = {"type": "string", "enum": list(STEPS), "default": "minute"}
_STATS = component(
    "Stats",
    record(
        {
            "at": moment("When the step begins."),
            **{str(what): number() for what in Count},
            "latencyP50Ms": nullable(number("From received to PROCESSED, of half the events.")),
            "latencyP95Ms": nullable(number("The same of 95 of 100. null: none was processed.")),
        }
    ),
)
_STATS_EXAMPLE = {
    "at": "2026-01-31T23:59:00.000Z",
    "accepted": 1200,
    "processed": 1198,
    "failed": 2,
    "rejected": 0,
    "latencyP50Ms": 538,
    "latencyP95Ms": 2153,
}
_STATS_PAGE = page_of(_STATS)
_STATS_PAGE["properties"]["items"]["maxItems"] = 24 * 60 + 1
STATS_PAGE = content(_STATS_PAGE, page={"items": [_STATS_EXAMPLE], "cursor": None})
PAYLOAD = {JSON: {}, CLOUD_EVENT: {}, **_ANYTHING}
SILVER = content(_SILVER_SCHEMA, result=_SILVER_EXAMPLE)
