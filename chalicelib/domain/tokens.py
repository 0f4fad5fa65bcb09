"""API tokens: `evl_<id>_<secret>`, of which only a hash is kept.

The secret is 256 random bits, so one SHA-256 is enough: there is nothing to guess from.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chalicelib.errors import ForbiddenError, NotFoundError

SCOPES = (
    "events:write",
    "events:read",
    "events:admin",
    "schemas:write",
    "items:write",
    "items:read",
    "uploads:write",
    "uploads:read",
    "admin",
)
MAX_AUTHORIZATION = 256
"""Characters of an `Authorization` header that are looked at; a token has 69 to 101."""
_TOKEN_ID = re.compile(r"[a-z0-9]{1,32}")
_TOKEN = re.compile(rf"evl_({_TOKEN_ID.pattern})_([0-9a-f]{{64}})")
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True)
class Token:
    """A token as the store keeps it."""

    token_id: str
    secret_sha256: str
    owner: str
    scopes: tuple[str, ...]
    created_at: str
    expires_at: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """What may be shown of a token: all but the hash."""
        return {
            "id": self.token_id,
            "owner": self.owner,
            "scopes": list(self.scopes),
            "createdAt": self.created_at,
            "expiresAt": self.expires_at,
        }


@dataclass(frozen=True)
class Caller:
    """Who is asking: taken from a checked token, never from the request itself."""

    owner: str
    scopes: frozenset[str]
    token_id: str

    @property
    def is_admin(self) -> bool:
        return "admin" in self.scopes

    def require(self, scope: str) -> None:
        """Raise `ForbiddenError` unless the caller has `scope`. `admin` stands for every scope."""
        if scope not in self.scopes and not self.is_admin:
            raise ForbiddenError(f"this needs a token with the scope {scope}")

    def check_owner(self, owner: str, what: str) -> None:
        """Raise `NotFoundError` unless the caller may see what `owner` has.

        The one place where ownership is decided. Another's thing looks as if it did not exist.
        """
        if owner != self.owner and not self.is_admin:
            raise NotFoundError(f"no such {what}")

    @property
    def sees_only(self) -> str | None:
        """The owner whose things the caller's lists are limited to; None for no limit."""
        return None if self.is_admin else self.owner


def format_token(token_id: str, secret: str) -> str:
    """The text that a client sends."""
    return f"evl_{token_id}_{secret}"


def parse_token(text: str) -> tuple[str, str] | None:
    """The (id, secret) of a token's text; None when it can not be one of ours."""
    match = _TOKEN.fullmatch(text)
    return (match[1], match[2]) if match else None


def hash_secret(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_token_id(text: str) -> bool:
    """Whether `text` can be a token's id."""
    return _TOKEN_ID.fullmatch(text) is not None


def is_valid(token: Token, secret: str, now: str) -> bool:
    """Whether `secret` is the token's (compared in constant time) and it has not expired."""
    same = hmac.compare_digest(token.secret_sha256, hash_secret(secret))
    return same and (token.expires_at is None or now < token.expires_at)


def is_owner(text: object) -> bool:
    """Whether `text` can be an owner's name: 1 to 64 letters, digits and `._@-`."""
    return isinstance(text, str) and _OWNER.fullmatch(text) is not None


def unknown_scopes(scopes: Iterable[str]) -> list[str]:
    """Those of `scopes` that do not exist."""
    return [scope for scope in scopes if scope not in SCOPES]
