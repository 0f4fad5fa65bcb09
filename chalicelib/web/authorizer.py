"""The Lambda authorizer's answer: who the bearer of a token is, for API Gateway to hand on.

What a scope allows is decided at each route. Source: API Gateway Developer Guide, "Use API Gateway
Lambda authorizers".
"""

import uuid
from collections.abc import Callable

from chalice.app import AuthRequest, AuthResponse

from chalicelib.core.errors import UnauthenticatedError
from chalicelib.core.log import log_context
from chalicelib.web.callers import Caller

CACHE_SECONDS = 10
"""How long API Gateway may go on honouring a token that was revoked."""


def authorize_token(request: AuthRequest, authenticate: Callable[[str], Caller]) -> AuthResponse:
    """Let the caller in whom `authenticate` finds in the `Authorization` header."""
    run_id = str(uuid.uuid4())  # Chalice does not pass on Lambda's.
    try:
        with log_context(requestId=run_id):
            caller = authenticate(request.token)
    except UnauthenticatedError:
        # The one text that API Gateway turns into a 401.
        raise Exception("Unauthorized") from None
    context = {
        "owner": caller.owner,
        "scopes": " ".join(sorted(caller.scopes)),
        "tokenId": caller.token_id,
        "runId": run_id,
    }
    if caller.expires_at is not None:
        context["expiresAt"] = caller.expires_at
    return AuthResponse(routes=["*"], principal_id=caller.owner, context=context)
