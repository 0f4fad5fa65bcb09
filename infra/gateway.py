"""The errors that API Gateway answers itself, in the shape of the application's own.

Each is an RFC 9457 problem with `type,title,status,detail,code,requestId` and an `X-Request-Id`
header (Amazon API Gateway Developer Guide, "Gateway responses for REST APIs in API Gateway").

They are in the Swagger document that Chalice sends (`x-amazon-apigateway-gateway-responses`, in the
same guide): each deployment replaces the whole API (PutRestApi, mode overwrite), and what is put
beside the document would be gone after the next `chalice deploy`.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from chalice.deploy.swagger import SwaggerGenerator

from chalicelib.core.config import AuthMode
from chalicelib.core.errors import title_of
from chalicelib.web.browsers import SECURITY_HEADERS, readable_by
from infra.project import Json

EXTENSION = "x-amazon-apigateway-gateway-responses"
_REQUEST_ID = "$context.requestId"
_GENERATE = SwaggerGenerator.generate_swagger


@dataclass(frozen=True)
class Problem:
    """What the gateway answers in one case: status, stable code, detail, more headers."""

    status: int
    code: str
    detail: str
    headers: dict[str, str] = field(default_factory=dict)


_FORBIDDEN = "The credentials do not allow this request."
_INTERNAL = "The request could not be handled. Nothing was kept unless an answer said so."
_NOBODY = "Who calls could not be looked up, so nothing was done. Try again."
_SLOW = "No answer came in time. The request may have been carried out; repeat it with its key."
_SOON = {"Retry-After": "1"}

# Every response type there is, so that the defaults below catch only what AWS adds later.
# The codes are those of chalicelib/core/errors.py where the application has the same error.
PROBLEMS: dict[str, Problem] = {
    "ACCESS_DENIED": Problem(403, "forbidden", _FORBIDDEN),
    "API_CONFIGURATION_ERROR": Problem(500, "internal-error", _INTERNAL),
    "AUTHORIZER_CONFIGURATION_ERROR": Problem(500, "internal-error", _INTERNAL),
    # AWS failed while the authorizer looked the token up.
    "AUTHORIZER_FAILURE": Problem(503, "unavailable", _NOBODY, _SOON),
    "BAD_REQUEST_BODY": Problem(400, "invalid-request", "The body is not what the route takes."),
    "BAD_REQUEST_PARAMETERS": Problem(
        400, "invalid-request", "A parameter is missing or not usable."
    ),
    "DEFAULT_4XX": Problem(400, "invalid-request", "The gateway refused the request."),
    "DEFAULT_5XX": Problem(500, "internal-error", _INTERNAL),
    "EXPIRED_TOKEN": Problem(403, "forbidden", "The credentials have expired."),
    "INTEGRATION_FAILURE": Problem(504, "gateway-timeout", _SLOW, _SOON),
    "INTEGRATION_TIMEOUT": Problem(504, "gateway-timeout", _SLOW, _SOON),
    "INVALID_API_KEY": Problem(403, "forbidden", _FORBIDDEN),
    "INVALID_SIGNATURE": Problem(403, "forbidden", "The signature does not match."),
    # The gateway says "missing authentication token" when no route has the path and method.
    "MISSING_AUTHENTICATION_TOKEN": Problem(404, "not-found", "No route has this path and method."),
    "QUOTA_EXCEEDED": Problem(429, "too-many-requests", "The quota of the key is used up."),
    "REQUEST_TOO_LARGE": Problem(413, "payload-too-large", "The gateway takes 10 MB at most."),
    "RESOURCE_NOT_FOUND": Problem(404, "not-found", "No route has this path and method."),
    "THROTTLED": Problem(429, "too-many-requests", "Send more slowly, and try again.", _SOON),
    "UNAUTHORIZED": Problem(
        401,
        "unauthorized",
        "A valid token is needed: Authorization: Bearer <token>.",
        {"WWW-Authenticate": "Bearer"},
    ),
    "UNSUPPORTED_MEDIA_TYPE": Problem(
        415, "unsupported-media-type", "The route takes another type."
    ),
    "WAF_FILTERED": Problem(403, "forbidden", "The request was filtered."),
}
_BY_IAM = {
    # The gateway says the same of what is not signed as of what is not there.
    "MISSING_AUTHENTICATION_TOKEN": Problem(
        401,
        "unauthorized",
        "Not signed with AWS Signature Version 4, or no route has this path and method.",
        {"WWW-Authenticate": "AWS4-HMAC-SHA256"},
    ),
}


def problems(mode: str) -> dict[str, Problem]:
    """What the gateway of a stage answers whose AUTH_MODE is `mode`."""
    return PROBLEMS | _BY_IAM if mode == AuthMode.IAM else PROBLEMS


def headers_of(problem: Problem, origin: str) -> dict[str, str]:
    """The headers of an answer that the pages of `origin` may read, but for the request id."""
    media_type = {"Content-Type": "application/problem+json"}
    return media_type | SECURITY_HEADERS | readable_by(origin) | problem.headers


def response(problem: Problem, origin: str = "") -> Json:
    """Return what makes the gateway answer `problem`, as PutGatewayResponse and Swagger have it."""
    body = {
        "type": "about:blank",
        "title": title_of(problem.code),
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "requestId": _REQUEST_ID,
    }
    # Only the outer quotes are the syntax's: those of a Content-Security-Policy stand as they are.
    parameters = {
        f"gatewayresponse.header.{name}": f"'{value}'"
        for name, value in headers_of(problem, origin).items()
    }
    parameters["gatewayresponse.header.X-Request-Id"] = "context.requestId"
    return {
        "statusCode": str(problem.status),
        "responseParameters": parameters,
        # The gateway knows templates by this type only, whatever the header then says.
        "responseTemplates": {"application/json": json.dumps(body)},
    }


def extension(mode: str, origin: str) -> Json:
    """Return the value of the Swagger document's `EXTENSION` for a stage with that AUTH_MODE and
    CORS_ORIGIN."""
    return {kind: response(problem, origin) for kind, problem in problems(mode).items()}


def extend_swagger(mode: str, origin: str) -> None:
    """Have every Swagger document that Chalice makes in this process carry the responses: of
    `chalice deploy`, `chalice package` and `make deploy`. Safe to repeat; the last one counts."""
    made = extension(mode, origin)

    def generate(self: SwaggerGenerator, app: Any, rest_api: Any = None) -> Json:
        document: Json = _GENERATE(self, app, rest_api)
        return document | {EXTENSION: made}

    SwaggerGenerator.generate_swagger = generate  # type: ignore[method-assign]
