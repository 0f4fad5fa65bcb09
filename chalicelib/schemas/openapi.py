"""Schemas of event types."""

from chalicelib.core.names import MAX_TYPE_BYTES
from chalicelib.schemas.compiler import MAX_SCHEMA_BYTES
from chalicelib.web.describe import (
    JSON,
    MOMENT,
    Json,
    content,
    event_type,
    moment,
    name,
    number,
    operation,
    page_of,
    parameter,
    path,
    query,
    record,
    response,
    schema,
    text,
)

TAG = "Schemas"
SCHEMA_JSON = "application/schema+json"
EXAMPLE = {
    "type": "object",
    "required": ["number"],
    "properties": {"number": {"type": "integer", "minimum": 1}},
}
_SCHEMA = {
    "type": ["object", "boolean"],
    "description": f"A JSON Schema, draft 2020-12, of at most {MAX_SCHEMA_BYTES} bytes. References"
    " stay inside it, patterns have no look-around and no back references, its work is bounded.",
}


def parameters() -> dict[str, Json]:
    """The components."""
    plain = {"pattern": "^[^%]*$"}
    named = name("The event type, percent-encoded.", MAX_TYPE_BYTES, allOf=[plain])
    return {
        "event_type": path(
            "event_type", "The event type. One that holds a `%` can have no schema.", named
        )
    }


def schemas() -> dict[str, Json]:
    """The components."""
    members = {
        "eventType": event_type(),
        "version": number("Counts from 1.", minimum=1),
        "createdAt": moment(),
    }
    return {
        "JsonSchema": _SCHEMA,
        "EventSchema": record({**members, "schema": schema("JsonSchema")}),
        "ListedSchema": record(members, description="A type that has a schema."),
    }


def paths() -> dict[str, Json]:
    """The operations."""
    listed = {"eventType": "invoice.drafted", "version": 1, "createdAt": MOMENT}
    one = {**listed, "schema": EXAMPLE}
    named = [parameter("event_type")]
    version = query("version", number(minimum=1, maximum=999_999_999), "A version of the history.")
    body = content(schema("EventSchema"), schema=one)
    return {
        "/schemas": {
            "get": operation(
                "list_schemas",
                "events:read",
                TAG,
                "A page of the types that have a schema, by name",
                {
                    200: response(
                        "The page, without the schemas themselves.",
                        content(
                            page_of(schema("ListedSchema")),
                            page={"items": [listed], "cursor": None},
                        ),
                    )
                },
                parameters=[
                    parameter("limit"),
                    query(
                        "cursor",
                        text(pattern="^[A-Za-z0-9_-]+$", maxLength=1024),
                        "What the page before gave as its cursor.",
                        example="b3JkZXIucGFpZA",
                    ),
                ],
            )
        },
        "/schemas/{event_type}": {
            "get": operation(
                "get_schema",
                "events:read",
                TAG,
                "The schema of an event type",
                {200: response("The one that is enforced, or the version asked for.", body)},
                (404,),
                parameters=[*named, version],
            ),
            "put": operation(
                "put_schema",
                "schemas:write",
                TAG,
                "Make a schema the one that events of a type are checked against",
                {
                    201: response("A new version.", body),
                    200: response("It was the latest version already.", body),
                },
                (415,),
                description="It belongs to the stage: it checks the events of every owner.",
                parameters=named,
                body={
                    **content(schema("JsonSchema"), JSON, schema=EXAMPLE),
                    **content(schema("JsonSchema"), SCHEMA_JSON, schema=EXAMPLE),
                },
            ),
            "delete": operation(
                "delete_schema",
                "schemas:write",
                TAG,
                "Check events of a type no more",
                {204: response("The history stays; a later schema goes on counting.")},
                (404,),
                parameters=named,
            ),
        },
    }
