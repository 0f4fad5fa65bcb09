"""TO DO"""

from datetime import datetime
from typing import Any

from msgspec import Struct

from chalicelib.core import clock
from chalicelib.core.errors import FieldError, InvalidRequestError
from chalicelib.core.names import is_owner
from chalicelib.core.strict_json import parse_json
from chalicelib.tokens.model import is_token_id
from chalicelib.web.api import Call
from chalicelib.web.callers import SCOPES
from chalicelib.web.parse import read_limit, read_moment, single_values


class TokenOrder(Struct, frozen=True):
    """What `POST /tokens` asks for."""

    owner: str
    scopes: list[str]
    expires_at: str | None


def decode_token_order(call: Call, now: datetime) -> TokenOrder:
    """`POST /tokens`: `{"owner", "scopes", "expiresAt"?}`."""
    body = parse_json(call.body)
    if not isinstance(body, dict):
        raise InvalidRequestError.at("", "must be a JSON object")
    faults = [
        FieldError(f"/{name}", "is not known here")
        for name in body.keys() - {"owner", "scopes", "expiresAt"}
    ]
    if not is_owner(body.get("owner")):
        faults.append(FieldError("/owner", "must be 1 to 64 letters, digits and ._@-"))
    faults += _scope_faults(body.get("scopes"))
    expires_at = body.get("expiresAt")
    expiry = None if expires_at is None else read_moment(expires_at)
    if expires_at is not None and (expiry is None or expiry <= now):
        faults.append(FieldError("/expiresAt", "must be an ISO 8601 time to come"))
    if faults:
        raise InvalidRequestError("the token can not be issued", faults)
    return TokenOrder(
        body["owner"], body["scopes"], None if expiry is None else clock.to_text(expiry)
    )


def decode_token_page(call: Call) -> tuple[int, str | None]:
    """`GET /tokens`: (page size, the token id to go on after)."""
    query = single_values(call.query, ("limit", "cursor"))
    cursor = query.get("cursor")
    if cursor is not None and not is_token_id(cursor):
        raise InvalidRequestError.at("/query/cursor", "is not a cursor that was handed out")
    return read_limit(query), cursor


def _scope_faults(scopes: Any) -> list[FieldError]:
    if not isinstance(scopes, list) or not scopes:
        return [FieldError("/scopes", f"must be a list of some of: {', '.join(SCOPES)}")]
    return [
        FieldError(f"/scopes/{number}", "is not a scope")
        for number, scope in enumerate(scopes)
        if scope not in SCOPES
    ]
