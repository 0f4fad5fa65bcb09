"""Describing the API in OpenAPI 3.1: plain functions that make the dictionaries of the document.

A capability describes its operations beside its handlers, with these. What several of them share
is a `Component`: it stands in the document as a reference, and carries what it refers to.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from chalicelib.core import names
from chalicelib.core.media_types import JSON
from chalicelib.core.names import MAX_KEY_CHARACTERS, MAX_NAME_BYTES, MAX_TYPE_BYTES
from chalicelib.web import problems
from chalicelib.web.callers import ANY, SCOPES

Json = dict[str, Any]
EVENT_ID = "019a9d2c-6f3b-7c1e-9b6a-2f4f6d1c8e55"
MOMENT = "2026-01-31T23:59:59.123Z"
CURSOR = "MjAyNi0wMS0zMVQyMzo1OTo1OS4xMjNaIzAxOWE5ZDJjLTZmM2ItN2MxZS05YjZhLTJmNGY2ZDFjOGU1NQ"
NAME_PATTERN = rf"^ *[^ {names.NOT_TEXT}][^{names.NOT_TEXT}]*$"
CURSOR_PATTERN = "^[A-Za-z0-9_-]+$"
OWNER_PATTERN = f"^{names.OWNER}$"
_MOMENT_PATTERN = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"
_HEADER_TEXT = "^[!-~]([ -~]*[!-~])?$"
REQUEST_ID = {"$ref": "#/components/headers/X-Request-Id"}
LOCATION = {
    "description": "The path of what was made.",
    "required": True,
    "schema": {"type": "string", "pattern": "^/"},
}
ETAG = {
    "description": "The state of the item, for `If-Match` and `If-None-Match`.",
    "required": True,
    "schema": {"type": "string", "pattern": '^"[1-9][0-9]*-[0-9TZ:.-]+-[0-9a-f]{16}"$'},
}
REPLAYED = {
    "description": "Sent when the same request had been answered before: this is that answer.",
    "schema": {"type": "string", "const": "true"},
}


class Component(dict[str, Any]):
    """A reference into the document's components, which knows what it refers to."""

    def __init__(self, kind: str, name: str, value: Json) -> None:
        super().__init__({"$ref": f"#/components/{kind}/{name}"})
        self.kind, self.name, self.value = kind, name, value


def component(name: str, value: Json) -> Component:
    """A schema that several operations share, or that is worth a name."""
    return Component("schemas", name, value)


def shared(parameter: Json) -> Component:
    """A parameter that several operations share."""
    return Component("parameters", parameter["name"], parameter)


def text(description: str = "", **more: Any) -> Json:
    """A string."""
    return {"type": "string", **({"description": description} if description else {}), **more}


def name(description: str, max_bytes: int = MAX_NAME_BYTES, **more: Any) -> Json:
    """A name as `name_fault` has it. A schema cannot count bytes, so the words say that it is
    they that are limited."""
    return text(
        f"{description} No control characters, at most {max_bytes} bytes of UTF-8.",
        minLength=1,
        maxLength=max_bytes,
        pattern=NAME_PATTERN,
        **more,
    )


def event_type(description: str = "What kind of event it is.") -> Json:
    """An event type."""
    return name(description, MAX_TYPE_BYTES)


def uuid(description: str = "") -> Json:
    """An id of ours."""
    return text(description, format="uuid")


def moment(description: str = "") -> Json:
    """A time as we write it."""
    return text(description, format="date-time", pattern=_MOMENT_PATTERN)


def number(description: str = "", **more: Any) -> Json:
    """A whole number, from 0 unless `more` says otherwise."""
    return {
        "type": "integer",
        "minimum": 0,
        **({"description": description} if description else {}),
    } | more


def nullable(of: Json) -> Json:
    """`of`, or null. Said in two schemas, which more tools read rightly than a list of types."""
    return {"anyOf": [of, {"type": "null"}]}


def record(
    properties: Mapping[str, Any], optional: Iterable[str] = (), description: str = "", **more: Any
) -> Json:
    """An object of our answers. It may get more members one day, so it is not closed; a test
    checks that it has no others today."""
    left_out = set(optional)
    return {
        "type": "object",
        **({"description": description} if description else {}),
        "required": [member for member in properties if member not in left_out],
        "properties": dict(properties),
        **more,
    }


def order(properties: Mapping[str, Any], required: Sequence[str], **more: Any) -> Json:
    """An object that a client sends, in which members that are not known are refused."""
    return {
        "type": "object",
        "required": list(required),
        "properties": dict(properties),
        "additionalProperties": False,
        **more,
    }


def page_of(item: Json) -> Json:
    """The schema of a list's page."""
    return record(
        {
            "items": {"type": "array", "items": item, "maxItems": 100},
            "cursor": {
                "type": ["string", "null"],
                "description": "Send it as `cursor` for the next page; null at the end.",
            },
        }
    )


def content(body: Json, media_type: str = JSON, **examples: Any) -> Json:
    """`content` of one media type; `examples` by name."""
    media: Json = {"schema": body} if body else {}
    if examples:
        media["examples"] = {label: {"value": value} for label, value in examples.items()}
    return {media_type: media}


def response(
    description: str,
    body: Json | None = None,
    headers: Mapping[str, Json] | None = None,
    links: Mapping[str, Json] | None = None,
) -> Json:
    """An answer that is no problem; `body` is its `content`."""
    answer: Json = {
        "description": description,
        "headers": {"X-Request-Id": REQUEST_ID, **(headers or {})},
    }
    if body is not None:
        answer["content"] = body
    if links:
        answer["links"] = {
            label: {"operationId": label, "parameters": dict(values)}
            for label, values in links.items()
        }
    return answer


def query(label: str, value: Json, description: str, **more: Any) -> Json:
    """A query parameter; each may come once, and others are refused."""
    return {"name": label, "in": "query", "description": description, "schema": value, **more}


def header(label: str, value: Json, description: str, **more: Any) -> Json:
    """A header parameter."""
    return {"name": label, "in": "header", "description": description, "schema": value, **more}


def path(label: str, description: str, value: Json) -> Json:
    """A path parameter."""
    return {
        "name": label,
        "in": "path",
        "required": True,
        "description": description,
        "schema": value,
    }


def header_text(longest: int) -> Json:
    """A header's value: printable ASCII; HTTP drops blanks at its ends."""
    return text(minLength=1, maxLength=longest, pattern=_HEADER_TEXT)


LIMIT = shared(
    query(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": 100, "default": 50},
        "How many entries the page may have.",
    )
)
PAGE = (
    LIMIT,
    shared(
        query(
            "cursor",
            text(pattern=CURSOR_PATTERN, maxLength=1024),
            "What the page before gave as its cursor.",
            example=CURSOR,
        )
    ),
)
OWNER = shared(
    query("owner", text(pattern=OWNER_PATTERN), "Whose; only an admin may name another.")
)
IDEMPOTENCY_KEY = shared(
    header(
        "Idempotency-Key",
        header_text(MAX_KEY_CHARACTERS),
        "Makes the request idempotent, for ever: the same key and body give the first answer"
        " again, the same key with another body is refused (422). It wins over a CloudEvent's"
        " own source and id. Not for batches, whose events have their own.",
    )
)
FIELD_ERROR = component("FieldError", problems.field_error())


class Operation(Struct, frozen=True):
    """One operation, but for its name and scope, which are those of its route. `refusals` are the
    statuses of the problems that it can answer beside those that every operation can."""

    tag: str
    summary: str
    answers: Mapping[int, Json]
    refusals: Sequence[int] = ()
    description: str = ""
    parameters: Sequence[Json] = ()
    body: Json | None = None

    def to_dict(self, view: str, scope: str | None) -> Json:
        """The operation as the document has it."""
        if scope not in (None, ANY, *SCOPES):
            raise ValueError(f"{scope} is not a scope")
        guarded = problems.GUARDED if scope is not None else ()
        statuses = sorted({*self.refusals, *guarded, *problems.ALWAYS})
        return {
            "operationId": view,
            "tags": [self.tag],
            "summary": self.summary,
            **({"description": self.description} if self.description else {}),
            "security": [] if scope is None else [{"bearer": [scope] if scope else []}],
            "x-required-scope": scope or None,
            **({"parameters": list(self.parameters)} if self.parameters else {}),
            **({"requestBody": {"required": True, "content": self.body}} if self.body else {}),
            "responses": {
                **{str(status): answer for status, answer in self.answers.items()},
                **{str(status): problems.reference(status) for status in statuses},
            },
        }
