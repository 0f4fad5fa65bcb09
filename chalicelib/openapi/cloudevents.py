"""CloudEvents 1.0.2: the JSON event format, and the headers of the binary mode."""

from typing import Any

from chalicelib.domain.cloudevents_context import MAX_ATTRIBUTE_NAME, MAX_CONTEXT_BYTES
from chalicelib.domain.events import MAX_NAME_BYTES
from chalicelib.openapi.parts import (
    event_type,
    header,
    header_text,
    name,
    nullable,
    parameter,
    record,
    text,
)

Json = dict[str, Any]

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
_TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a token of HTTP, no secret
_PARAMETER = rf'{_TOKEN}=({_TOKEN}|"[ !#-\[\]-~]*")'
MEDIA_TYPE_PATTERN = rf"^{_TOKEN}/{_TOKEN}([ \t]*;[ \t]*{_PARAMETER})*$"
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


def schemas() -> dict[str, Json]:
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
