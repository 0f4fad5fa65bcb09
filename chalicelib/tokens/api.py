"""The routes of tokens: issue, list, revoke, and what one's own allows."""

from chalicelib.core import clock
from chalicelib.core.config import AuthMode
from chalicelib.core.errors import FieldError, NotFoundError
from chalicelib.tokens.manage import issue_token
from chalicelib.tokens.model import is_token_id
from chalicelib.tokens.store import TokenStore
from chalicelib.web.body import check_body, refuse
from chalicelib.web.callers import SCOPES
from chalicelib.web.describe import (
    LIMIT,
    LOCATION,
    MOMENT,
    OWNER_PATTERN,
    Operation,
    component,
    content,
    moment,
    nullable,
    order,
    page_of,
    path,
    query,
    record,
    response,
    shared,
    text,
)
from chalicelib.web.request import Request, read_moment
from chalicelib.web.responses import Response, answer, created, no_content

_TAG = "Tokens"
_ID = "^[a-z0-9]{1,32}$"
_EXAMPLE = {
    "id": "5f0c3a9be1d24c77",
    "owner": "shop",
    "scopes": ["events:write", "events:read"],
    "createdAt": MOMENT,
    "expiresAt": None,
    "lastUsedAt": None,
}
_SCOPE = {"type": "string", "enum": list(SCOPES)}
_IN_THE_FUTURE = "must be an ISO 8601 time in the future"
_MEMBERS = {
    "id": text(pattern=_ID),
    "owner": text(),
    "scopes": {"type": "array", "items": _SCOPE},
    "createdAt": moment(),
    "expiresAt": nullable(moment()),
    "lastUsedAt": nullable(moment("The hour of its last use; null: never.")),
}
_TOKEN = component("Token", record(_MEMBERS))
_TEXT = text("The bearer token; shown only here.", pattern="^evl_[a-z0-9]+_[0-9a-f]+$")
_NEW_TOKEN = component("NewToken", record({**_MEMBERS, "token": _TEXT}))
_ORDER = component(
    "TokenOrder",
    order(
        {
            "owner": text(
                "Whose data the token gives access to: must be 1 to 64 letters, digits and ._@-",
                pattern=OWNER_PATTERN,
            ),
            "scopes": {
                "type": "array",
                "items": {**_SCOPE, "description": "is not a scope"},
                "minItems": 1,
                "description": f"must be a list of some of: {', '.join(SCOPES)}",
            },
            "expiresAt": nullable(text(f"When it ends: {_IN_THE_FUTURE}", format="date-time")),
        },
        ["owner", "scopes"],
    ),
)
_SELF = component(
    "Self",
    record(
        {
            "id": nullable(text("null: no token of ours, but IAM or a user pool.", pattern=_ID)),
            "owner": text("Whose data the caller sees."),
            "scopes": {
                "type": "array",
                "items": {"type": "string"},
                "description": "What the caller may do; admin stands for every scope.",
            },
            "expiresAt": nullable(moment("null: never, or another mode than token.")),
            "authMode": {"type": "string", "enum": list(AuthMode)},
        }
    ),
)
_SELF_EXAMPLE = {
    **{name: _EXAMPLE[name] for name in ("id", "owner", "scopes", "expiresAt")},
    "authMode": "token",
}
_TOKEN_ID = shared(path("token_id", "The token's id.", text(pattern=_ID)))

POST_TOKEN = Operation(
    _TAG,
    "Issue a token",
    {
        201: response(
            "The token.",
            content(_NEW_TOKEN, token={**_EXAMPLE, "token": f"evl_5f0c3a9be1d24c77_{'0' * 64}"}),
            {"Location": LOCATION},
            {"delete_token": {"token_id": "$response.body#/id"}},
        )
    },
    body=content(_ORDER, token={"owner": "shop", "scopes": ["events:write", "events:read"]}),
)
LIST_TOKENS = Operation(
    _TAG,
    "A page of tokens, without their secrets",
    {
        200: response(
            "The page.", content(page_of(_TOKEN), page={"items": [_EXAMPLE], "cursor": None})
        )
    },
    parameters=[
        LIMIT,
        query(
            "cursor", text(pattern=_ID), "The cursor of the page before.", example=_EXAMPLE["id"]
        ),
    ],
)
GET_SELF = Operation(
    _TAG,
    "Who the caller is, and what the token allows",
    {200: response("The caller.", content(_SELF, caller=_SELF_EXAMPLE))},
    description="Any token will do, whatever its scopes.",
)
DELETE_TOKEN = Operation(
    _TAG, "Revoke a token", {204: response("It is revoked.")}, (404,), parameters=[_TOKEN_ID]
)


def post_token(request: Request, tokens: TokenStore) -> Response:
    """`POST /tokens`: the only answer that shows the token."""
    now = clock.utc_now()
    body, faults = check_body(request, _ORDER.value)
    expiry = read_moment(body.get("expiresAt"))
    if expiry is not None and expiry <= now:
        faults.append(FieldError("/expiresAt", _IN_THE_FUTURE))
    refuse("the token cannot be issued", faults)
    token, shown = issue_token(
        tokens,
        body["owner"],
        body["scopes"],
        clock.to_text(now),
        expires_at=None if expiry is None else clock.to_text(expiry),
    )
    return created({**token.to_dict(), "token": shown}, f"/tokens/{token.token_id}")


def list_tokens(request: Request, tokens: TokenStore) -> Response:
    """`GET /tokens`; one call. The cursor is the last id of the page before."""
    page = request.page(read_cursor=lambda text: text if is_token_id(text) else None)
    found, resume = tokens.page(page.limit, page.below)
    return answer({"items": [token.to_dict() for token in found], "cursor": resume})


def get_self(request: Request, mode: AuthMode) -> Response:
    """`GET /tokens/self`; no call: the gateway handed on what the authorizer found."""
    request.parameters()
    caller = request.caller
    return answer(
        {
            "id": caller.token_id or None,
            "owner": caller.owner,
            "scopes": sorted(caller.scopes),
            "expiresAt": caller.expires_at,
            "authMode": mode,
        }
    )


def delete_token(_request: Request, token_id: str, tokens: TokenStore) -> Response:
    """`DELETE /tokens/{token_id}`; one call."""
    if not is_token_id(token_id) or not tokens.delete(token_id):
        raise NotFoundError("no such token")
    return no_content()
