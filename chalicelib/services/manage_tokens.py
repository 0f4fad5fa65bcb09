"""Tokens: issue, list, revoke, and check one that came with a request."""

import secrets
from collections.abc import Callable, Sequence

from chalicelib.adapters.token_store import TokenStore
from chalicelib.domain import tokens
from chalicelib.domain.tokens import Caller, Token
from chalicelib.errors import NotFoundError, UnauthenticatedError


def issue_token(
    store: TokenStore,
    owner: str,
    scopes: Sequence[str],
    now: str,
    *,
    expires_at: str | None = None,
    token_id: str | None = None,
    random_hex: Callable[[int], str] = secrets.token_hex,
) -> tuple[Token, str]:
    """Make a token for `owner`; (what is stored, the text to hand out, never to be seen again).

    With a `token_id` it replaces the token of that id. One call.
    """
    secret = random_hex(32)
    token = Token(
        token_id=token_id or random_hex(8),
        secret_sha256=tokens.hash_secret(secret),
        owner=owner,
        scopes=tuple(dict.fromkeys(scopes)),
        created_at=now,
        expires_at=expires_at,
    )
    store.put(token, replace=token_id is not None)
    return token, tokens.format_token(token.token_id, secret)


def authenticate(store: TokenStore, authorization: str, now: str) -> Caller:
    """Who sent this `Authorization` header; `UnauthenticatedError` for nobody we know.

    One call; none for a text that can not be a token.
    """
    if len(authorization) > tokens.MAX_AUTHORIZATION:
        raise UnauthenticatedError("a bearer token is required")
    scheme, _, text = authorization.partition(" ")
    parsed = tokens.parse_token(text.strip()) if scheme.lower() == "bearer" else None
    if parsed is None:
        raise UnauthenticatedError("a bearer token is required")
    token_id, secret = parsed
    token = store.get(token_id)
    if token is None or not tokens.is_valid(token, secret, now):
        raise UnauthenticatedError("the token is not valid")
    return Caller(token.owner, frozenset(token.scopes), token.token_id)


def list_tokens(store: TokenStore, limit: int, after: str | None) -> tuple[list[Token], str | None]:
    """(tokens, the id to go on after); one call."""
    return store.page(limit, after)


def revoke_token(store: TokenStore, token_id: str) -> None:
    """Remove a token; `NotFoundError` if there is none. One call."""
    if not tokens.is_token_id(token_id) or not store.delete(token_id):
        raise NotFoundError("no such token")
