"""API tokens: `evl_<id>_<secret>`, of which only a hash is stored.

The secret is 256 random bits, so one SHA-256 is enough: it cannot be guessed.
"""

import hashlib
import hmac
import re
from typing import Any

from msgspec import Struct

_TOKEN_ID = r"[a-z0-9]{1,32}"  # noqa: S105 - a pattern
_TOKEN = rf"evl_({_TOKEN_ID})_([0-9a-f]{{64}})"


class Token(Struct, frozen=True, rename="camel"):
    """A stored token."""

    token_id: str
    secret_sha256: str
    owner: str
    scopes: tuple[str, ...]
    created_at: str
    expires_at: str | None = None
    last_used_at: str | None = None
    """The hour of its last use."""

    def to_dict(self) -> dict[str, Any]:
        """What the API shows of a token: all but the hash."""
        return {
            "id": self.token_id,
            "owner": self.owner,
            "scopes": list(self.scopes),
            "createdAt": self.created_at,
            "expiresAt": self.expires_at,
            "lastUsedAt": self.last_used_at,
        }


def format_token(token_id: str, secret: str) -> str:
    """The text that a client sends."""
    return f"evl_{token_id}_{secret}"


def parse_token(text: str) -> tuple[str, str] | None:
    """The (id, secret) of a token's text; None for any other text."""
    match = re.fullmatch(_TOKEN, text)
    return (match[1], match[2]) if match else None


def hash_secret(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_token_id(text: str) -> bool:
    """Whether `text` can be a token's id."""
    return re.fullmatch(_TOKEN_ID, text) is not None


def hour_of(moment: str) -> str:
    """The hour that a moment (RFC 3339, UTC) is in."""
    return f"{moment[:13]}:00:00.000Z"


def is_valid(token: Token, secret: str, now: str) -> bool:
    """Whether `secret` is the token's (compared in constant time) and it has not expired."""
    same = hmac.compare_digest(token.secret_sha256, hash_secret(secret))
    return same and (token.expires_at is None or now < token.expires_at)
