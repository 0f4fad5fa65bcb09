"""The problems that the API answers with (RFC 9457), by status, each with the codes it can have."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from chalicelib.core.errors import title_of
from chalicelib.core.media_types import PROBLEM

Json = dict[str, Any]
ALWAYS = (400, 413, 415, 429, 431, 500, 503, 504)
"""What any request may be answered with: the gateway's own refusals, and what goes wrong inside."""
GUARDED = (401, 403)
_REQUEST_ID = "0f6c1d4e-8f0a-4a3e-9a51-6a1b8c1d2e3f"
_EVENT_ID = "019a9d2c-6f3b-7c1e-9b6a-2f4f6d1c8e55"
_SECONDS: Json = {"schema": {"type": "string", "pattern": "^[0-9]+$"}}


class Problem(Struct, frozen=True):
    """The problems of one status: when they occur, their codes, and an example."""

    name: str
    when: str
    codes: tuple[str, ...]
    example: Mapping[str, Any]
    headers: Mapping[str, Json] = field(default_factory=dict)


PROBLEMS: Mapping[int, Problem] = {
    400: Problem(
        "BadRequest",
        "The request cannot be understood; `errors` names each field at fault. What an"
        " authenticated sender's event was refused for is kept with it, under `eventId`.",
        (
            "invalid-request",
            "invalid-json",
            "bad-request",
        ),
        {
            "code": "invalid-request",
            "detail": "/eventType: is required",
            "errors": [{"pointer": "/eventType", "detail": "is required"}],
            "eventId": _EVENT_ID,
        },
    ),
    401: Problem(
        "Unauthorized",
        "There are no valid credentials, or a webhook's signature is not right.",
        ("unauthorized",),
        {"code": "unauthorized", "detail": "a bearer token is required"},
        {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}, "example": "Bearer"}},
    ),
    403: Problem(
        "Forbidden",
        "The token lacks the scope.",
        ("forbidden",),
        {"code": "forbidden", "detail": "this needs a token with the scope events:read"},
    ),
    404: Problem(
        "NotFound",
        "There is no such thing, or it belongs to another owner.",
        ("not-found",),
        {"code": "not-found", "detail": "no such event"},
    ),
    409: Problem(
        "Conflict",
        "The thing is not in a state that allows this.",
        (
            "conflict",
            "limit-reached",
            "not-processed",
        ),
        {"code": "not-processed", "detail": "the event is ENQUEUED, so it has no result"},
    ),
    412: Problem(
        "PreconditionFailed",
        "The thing has changed since it was read.",
        ("precondition-failed",),
        {"code": "precondition-failed", "detail": 'the item is at "2-0f343b0931126a20" now'},
    ),
    413: Problem(
        "PayloadTooLarge",
        "The body is too large.",
        ("payload-too-large",),
        {
            "code": "payload-too-large",
            "detail": "the event has 1048577 bytes; at most 1048576 are accepted",
        },
    ),
    415: Problem(
        "UnsupportedMediaType",
        "The body comes in a format or a content coding that is not read here.",
        ("unsupported-media-type",),
        {
            "code": "unsupported-media-type",
            "detail": "the body is sent as application/json in UTF-8",
        },
        {"Accept-Encoding": {"schema": {"type": "string"}, "example": "gzip"}},
    ),
    422: Problem(
        "Unprocessable",
        "An idempotency key came before with another body, or an event breaks the schema of its"
        " type; that is kept, under `eventId`.",
        (
            "idempotency-conflict",
            "schema-violation",
        ),
        {
            "code": "idempotency-conflict",
            "detail": "this idempotency key came before with another body",
        },
    ),
    428: Problem(
        "PreconditionRequired",
        "A change must say which state it was made for.",
        ("precondition-required",),
        {
            "code": "precondition-required",
            "detail": "send If-Match with the ETag that you read, or *",
        },
    ),
    429: Problem(
        "TooManyRequests",
        "The gateway throttles; send more slowly.",
        ("too-many-requests",),
        {"code": "too-many-requests", "detail": "Send more slowly, and try again."},
        {"Retry-After": _SECONDS},
    ),
    431: Problem(
        "HeadersTooLarge",
        "The headers are too large.",
        ("headers-too-large",),
        {"code": "headers-too-large", "detail": "the headers are too large"},
    ),
    500: Problem(
        "InternalError",
        "Something is broken on our side; the request id finds it in the log.",
        ("internal-error",),
        {"code": "internal-error", "detail": "something went wrong on our side"},
    ),
    503: Problem(
        "Unavailable",
        "AWS did not do what was asked; nothing was acknowledged, so send it again.",
        ("unavailable",),
        {"code": "unavailable", "detail": "try again; nothing was acknowledged"},
        {"Retry-After": {**_SECONDS, "required": True}},
    ),
    504: Problem(
        "GatewayTimeout",
        "No answer came in time; the request may have been carried out. Repeat it with its key.",
        ("gateway-timeout",),
        {
            "code": "gateway-timeout",
            "detail": "No answer came in time. The request may have been carried out; repeat it"
            " with its key.",
        },
        {"Retry-After": {**_SECONDS, "required": True}},
    ),
}


def reference(status: int) -> Json:
    """The response for the problems of a status."""
    return {"$ref": f"#/components/responses/{PROBLEMS[status].name}"}


def responses() -> Json:
    """The components for all of them."""
    return {problem.name: _response(status, problem) for status, problem in PROBLEMS.items()}


def schema() -> Json:
    """What every problem has."""
    return {
        "type": "object",
        "description": "An error (RFC 9457). Programs match on `code`, which does not change.",
        "required": ["type", "title", "status", "detail", "code", "requestId"],
        "properties": {
            "type": {"type": "string", "const": "about:blank"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
            "code": {"type": "string", "pattern": "^[a-z-]+$"},
            "requestId": {"type": "string", "description": "The same as in `X-Request-Id`."},
            "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldError"}},
            "eventId": {
                "type": "string",
                "format": "uuid",
                "description": "The event, REJECTED, under which the refused payload is kept.",
            },
        },
    }


def field_error() -> Json:
    """One fault of a field."""
    return {
        "type": "object",
        "required": ["pointer", "detail"],
        "properties": {
            "pointer": {
                "type": "string",
                "description": "A JSON Pointer (RFC 6901) into the body, or `/query/<name>` or"
                " `/header/<name>`.",
            },
            "detail": {"type": "string"},
        },
    }


def _response(status: int, problem: Problem) -> Json:
    """Every status has the one schema, so that a generated client has one class for all problems:
    generators drop an answer whose schema narrows a member, or make a class for each."""
    example = {
        "type": "about:blank",
        "title": title_of(problem.example["code"]),
        "status": status,
        "requestId": _REQUEST_ID,
        **problem.example,
    }
    codes = ", ".join(f"`{code}`" for code in problem.codes)
    body = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": f"{problem.when} Its `code`: {codes}.",
        "headers": {
            "X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"},
            **problem.headers,
        },
        "content": {PROBLEM: {"schema": body, "examples": {"problem": {"value": example}}}},
    }
