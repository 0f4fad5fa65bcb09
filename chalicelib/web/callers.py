"""Who is calling: the `requestContext` of API Gateway, read as each mode of AUTH_MODE has it.

The gateway has checked the credentials before; here what it vouches for becomes a `Caller`, and
who it vouches for nobody in is refused, should a route have lost its authorizer. Nothing here is
read from the request itself. Sources: API Gateway Developer Guide, "$context Variables for data
models, authorizers, mapping templates, and CloudWatch access logging"; IAM User Guide, "IAM
identifiers"; Amazon Cognito Developer Guide, "Understanding the identity (ID) token" and
"Understanding the access token".
"""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from chalicelib.core.config import AuthMode, Settings
from chalicelib.core.errors import ForbiddenError, NotFoundError, UnauthenticatedError
from chalicelib.core.names import is_owner

SCOPES = (
    "events:write",
    "events:read",
    "events:admin",
    "schemas:write",
    "items:write",
    "items:read",
    "uploads:write",
    "uploads:read",
    "destinations:write",
    "destinations:read",
    "admin",
)
ANY = ""
"""The scope of a route that every token is good for."""


class Caller(Struct, frozen=True):
    """Who is asking: taken from a checked token, never from the request itself. `token_id` is
    empty, and `expires_at` None, for who has no token of ours."""

    owner: str
    scopes: frozenset[str]
    token_id: str
    expires_at: str | None = None

    @property
    def is_admin(self) -> bool:
        return "admin" in self.scopes

    def require(self, scope: str) -> None:
        """Raise `ForbiddenError` unless the caller has `scope`. `admin` stands for every scope, and
        everybody has `ANY`."""
        if scope != ANY and scope not in self.scopes and not self.is_admin:
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


COGNITO_SCOPE_PREFIX = "eventline/"
"""The resource server whose scopes count: `eventline/events:write` is `events:write`."""
_EVERY_SCOPE = frozenset(SCOPES)
_ARN = (
    r"arn:aws[a-z-]*:(?:iam|sts)::(?P<account>[0-9]{12}):"
    r"(?:user/(?:[\x21-\x7e]*/)?(?P<user>[^/]+)|assumed-role/(?P<role>[^/]+)/[^/]+)"
)
_BETWEEN = r"[\s,\[\]]+"


class AuthConfig(Struct, frozen=True):
    """Who may come in, and as whom. `direct_owner` is everybody in the mode `none`; `iam_admins`
    are the names of users and roles that have `admin` in the mode `iam`."""

    mode: AuthMode
    direct_owner: str
    iam_admins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings) -> "AuthConfig":
        """As a stage is set."""
        return cls(settings.auth_mode, settings.direct_owner, settings.iam_admins)


def caller_of(context: Mapping[str, Any], door: AuthConfig) -> Caller:
    """Whom the gateway vouches for; `UnauthenticatedError` for nobody, `ForbiddenError` for
    somebody who cannot own anything here."""
    match door.mode:
        case AuthMode.TOKEN:
            return _from_token(_mapping(context.get("authorizer")))
        case AuthMode.IAM:
            return _from_iam(context, door.iam_admins)
        case AuthMode.COGNITO:
            return _from_claims(_mapping(_mapping(context.get("authorizer")).get("claims")))
        case AuthMode.NONE:
            return Caller(door.direct_owner, _EVERY_SCOPE, token_id="")


def _from_token(identity: Mapping[str, Any]) -> Caller:
    owner = identity.get("owner")
    if not owner:
        raise _nobody()
    scopes = frozenset(str(identity.get("scopes", "")).split())
    token_id, expires_at = str(identity.get("tokenId", "")), identity.get("expiresAt")
    return Caller(str(owner), scopes, token_id, str(expires_at) if expires_at else None)


def _from_iam(context: Mapping[str, Any], admins: frozenset[str]) -> Caller:
    """Every scope but `admin`: which routes a user or role reaches is for its IAM policies."""
    arn = _mapping(context.get("identity")).get("userArn")
    if not arn:
        raise _nobody()
    found = re.fullmatch(_ARN, str(arn))
    owner = found and (found["user"] or found["role"])
    if not found or not is_owner(owner):
        raise ForbiddenError(
            "only IAM users and roles whose names are letters, digits and ._@- can call"
        )
    # A name means one user or role only within an account.
    if found["account"] != context.get("accountId"):
        raise ForbiddenError("only users and roles of the API's own account can call")
    scopes = _EVERY_SCOPE if owner in admins else _EVERY_SCOPE - {"admin"}
    return Caller(str(owner), scopes, token_id="")


def _from_claims(claims: Mapping[str, Any]) -> Caller:
    """Scopes are groups of that name, and the OAuth scopes of an access token. Both are given by
    who runs the user pool; attributes, which a user may write, are not looked at."""
    owner = claims.get("sub")
    if not owner:
        raise _nobody()
    if not is_owner(owner):
        raise ForbiddenError("the subject of the token cannot be an owner here")
    scopes = {name for name in _words(claims.get("cognito:groups")) if name in SCOPES}
    if claims.get("token_use") == "access":
        named = (word.partition(COGNITO_SCOPE_PREFIX) for word in _words(claims.get("scope")))
        scopes |= {name for before, prefix, name in named if prefix and not before} & _EVERY_SCOPE
    return Caller(str(owner), frozenset(scopes), token_id="")


def _words(value: Any) -> list[str]:
    """The words of a claim: API Gateway writes a list as `a,b`, `[a, b]` or `a b`."""
    if isinstance(value, list):
        return [word for word in value if isinstance(word, str)]
    return [word for word in re.split(_BETWEEN, value) if word] if isinstance(value, str) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _nobody() -> UnauthenticatedError:
    return UnauthenticatedError("the gateway vouches for nobody")
