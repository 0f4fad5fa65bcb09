"""Issue a token, and check the one that came with a request."""

from collections.abc import Sequence
from secrets import token_hex

from chalicelib.core.errors import TransientError, UnauthenticatedError
from chalicelib.core.log import log
from chalicelib.core.tracing import span
from chalicelib.tokens.model import (
    Token,
    format_token,
    hash_secret,
    hour_of,
    is_valid,
    parse_token,
)
from chalicelib.tokens.store import TokenStore
from chalicelib.web.callers import Caller

_LONGEST_HEADER = 256
"""Characters of an `Authorization` header; a token has 69 to 101."""


def issue_token(
    store: TokenStore,
    owner: str,
    scopes: Sequence[str],
    now: str,
    *,
    expires_at: str | None = None,
    token_id: str | None = None,
) -> tuple[Token, str]:
    """Make a token for `owner`: (what is stored, the text to hand out, which is shown only now).

    A given `token_id` replaces the token of that id. One call.
    """
    secret = token_hex(32)
    token = Token(
        token_id=token_id or token_hex(8),
        secret_sha256=hash_secret(secret),
        owner=owner,
        scopes=tuple(dict.fromkeys(scopes)),
        created_at=now,
        expires_at=expires_at,
    )
    store.put(token, replace=token_id is not None)
    return token, format_token(token.token_id, secret)


def authenticate(store: TokenStore, authorization: str, now: str) -> Caller:
    """The caller that an `Authorization` header stands for, else `UnauthenticatedError`.

    One call, and one more for a token's first use in an hour, which notes the hour; none for a text
    that cannot be a token.
    """
    is_short = len(authorization) <= _LONGEST_HEADER
    scheme, _, text = authorization.partition(" ") if is_short else ("", "", "")
    parsed = parse_token(text.strip()) if scheme.lower() == "bearer" else None
    if parsed is None:
        log.info("token refused", extra={"reason": "no token"})
        raise UnauthenticatedError("a bearer token is required")
    token_id, secret = parsed
    with span("tokens"):
        token = store.get(token_id)
    if token is None or not is_valid(token, secret, now):
        log.info("token refused", extra={"reason": _reason(token, secret), "tokenId": token_id})
        raise UnauthenticatedError("the token is not valid")
    log.info("token accepted", extra={"tokenId": token_id, "owner": token.owner})
    _note_use(store, token, hour_of(now))
    return Caller(token.owner, frozenset(token.scopes), token.token_id, token.expires_at)


def _note_use(store: TokenStore, token: Token, hour: str) -> None:
    """A caller is let in whether or not that can be noted."""
    if (token.last_used_at or "") >= hour:
        return
    try:
        store.note_use(token.token_id, hour)
    except TransientError as error:
        log.warning("use not noted", extra={"tokenId": token.token_id, "code": error.code})


def _reason(token: Token | None, secret: str) -> str:
    """Why a token is refused, for the log only: callers get one answer."""
    if token is None:
        return "unknown"
    return "expired" if is_valid(token, secret, now="") else "wrong secret"
