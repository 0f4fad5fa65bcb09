"""Tokens, and what is public."""

from chalicelib import __version__
from chalicelib.web.callers import SCOPES
from chalicelib.web.describe import (
    LOCATION,
    MOMENT,
    OWNER_PATTERN,
    Json,
    content,
    moment,
    nullable,
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
)

TAG = "Tokens"
_ID = "^[a-z0-9]{1,32}$"
_TOKEN = {
    "id": "5f0c3a9be1d24c77",
    "owner": "shop",
    "scopes": ["events:write", "events:read"],
    "createdAt": MOMENT,
    "expiresAt": None,
}


def parameters() -> dict[str, Json]:
    """The components."""
    return {"token_id": path("token_id", "The token's id.", text(pattern=_ID))}


def schemas() -> dict[str, Json]:
    """The components."""
    scopes: Json = {"type": "array", "items": {"type": "string", "enum": list(SCOPES)}}
    members = {
        "id": text(pattern=_ID),
        "owner": text(),
        "scopes": scopes,
        "createdAt": moment(),
        "expiresAt": nullable(moment()),
    }
    shown = text(
        "What to send as the bearer; shown this once.", pattern="^evl_[a-z0-9]+_[0-9a-f]+$"
    )
    return {
        "TokenOrder": order(
            {
                "owner": text("Whose things the token gives.", pattern=OWNER_PATTERN),
                "scopes": {**scopes, "minItems": 1},
                "expiresAt": nullable(text("A time to come.", format="date-time")),
            },
            ["owner", "scopes"],
        ),
        "Token": record(members),
        "NewToken": record({**members, "token": shown}),
        "Health": record(
            {"status": text(const="ok"), "version": text("Eventline's."), "stage": text()}
        ),
    }


def paths() -> dict[str, Json]:
    """The operations."""
    issued = {**_TOKEN, "token": f"evl_5f0c3a9be1d24c77_{'0' * 64}"}
    example = {"owner": "shop", "scopes": ["events:write", "events:read"]}
    page = {"items": [_TOKEN], "cursor": None}
    return {
        "/tokens": {
            "post": operation(
                "post_token",
                "admin",
                TAG,
                "Issue a token",
                {
                    201: response(
                        "The token.",
                        content(schema("NewToken"), token=issued),
                        {"Location": LOCATION},
                        {"delete_token": {"token_id": "$response.body#/id"}},
                    )
                },
                body=content(schema("TokenOrder"), token=example),
            ),
            "get": operation(
                "list_tokens",
                "admin",
                TAG,
                "A page of tokens, without their secrets",
                {200: response("The page.", content(page_of(schema("Token")), page=page))},
                parameters=[
                    parameter("limit"),
                    query(
                        "cursor",
                        text(pattern=_ID),
                        "What the page before gave as its cursor.",
                        example=_TOKEN["id"],
                    ),
                ],
            ),
        },
        "/tokens/{token_id}": {
            "delete": operation(
                "delete_token",
                "admin",
                TAG,
                "Revoke a token",
                {204: response("It is gone.")},
                (404,),
                parameters=[parameter("token_id")],
            )
        },
        "/health": {
            "get": operation(
                "get_health",
                None,
                "Platform",
                "Whether the API answers",
                {
                    200: response(
                        "It does.",
                        content(
                            schema("Health"),
                            health={"status": "ok", "version": __version__, "stage": "dev"},
                        ),
                    )
                },
            )
        },
        "/openapi.json": {
            "get": operation(
                "get_openapi",
                None,
                "Platform",
                "This document",
                {
                    200: response(
                        "The document.", content({"type": "object", "additionalProperties": True})
                    )
                },
            )
        },
    }
