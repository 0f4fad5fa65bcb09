"""What API Gateway does around the API function, for `chalice local`.

Chalice's own local gateway lets an authorizer's exception through, answers in other shapes than
the deployed API, and shares one context between threads; this one answers as the deployed API
does. Source: Amazon API Gateway Developer Guide, "Set up Lambda proxy integrations" (the event),
"Content type conversions in API Gateway" (the body), "Use API Gateway Lambda authorizers" and
"Gateway response types".
"""

import base64
import json
import logging
import time
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from chalice.app import ChaliceAuthorizer
from chalice.config import Config
from chalice.local import (
    ForbiddenError,
    LambdaContext,
    LocalGatewayAuthorizer,
    LocalGatewayException,
    NotAuthorizedError,
)

from chalicelib.core.errors import title_of
from chalicelib.web.limits import MAX_HEADER_BYTES, header_bytes
from infra.gateway import PROBLEMS, Problem, headers_of
from local.routes import Match, match

log = logging.getLogger("local.gateway")


@dataclass(frozen=True)
class HttpRequest:
    """A request as it came; `target` is the raw path with its query, header names as sent."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class HttpReply:
    """An answer to send; a header may come more than once."""

    status: int
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        """The first value of a header, whatever its case; None when it is not there."""
        found = (value for key, value in self.headers if key.lower() == name.lower())
        return next(found, None)


_HEADERS_TOO_LARGE = Problem(
    431,
    "headers-too-large",
    f"The request line and the headers may have {MAX_HEADER_BYTES} bytes.",
)


def refusal(kind: str, request_id: str, origin: str = "") -> HttpReply:
    """What the deployed API answers for a gateway response type, such as "UNAUTHORIZED"."""
    return _problem(PROBLEMS[kind], request_id, origin)


def malformed(status: int, detail: str, request_id: str) -> HttpReply:
    """The answer to what is no proper HTTP request, which never reaches a route."""
    problem = Problem(status, "malformed-request", detail)
    return _problem(problem, request_id, title=HTTPStatus(status).phrase)


def _problem(
    what: Problem, request_id: str, origin: str = "", *, title: str | None = None
) -> HttpReply:
    body = {
        "type": "about:blank",
        "title": title or title_of(what.code),
        "status": what.status,
        "detail": what.detail,
        "code": what.code,
        "requestId": request_id,
    }
    headers = headers_of(what, origin) | {"X-Request-Id": request_id}
    return HttpReply(what.status, json.dumps(body).encode(), list(headers.items()))


class Gateway:
    """Runs requests through an app's authorizers and views; one instance serves all threads.

    `app` must keep its current request per thread, as `chalice.local.LocalChalice` does.
    """

    def __init__(self, app: Any, config: Config, stage: str = "api") -> None:
        self._app = app
        self._stage = stage
        self._origin = getattr(app.api.cors, "allow_origin", "")
        self._authorizer = LocalGatewayAuthorizer(app)
        self._function = config.function_name
        self._memory = config.lambda_memory_size or 128
        self._timeout_ms = (config.lambda_timeout or 60) * 1000

    def handle(self, request: HttpRequest) -> HttpReply:
        """Answer a request. Never raises: a failure of the app is a 5xx, as on AWS."""
        context = LambdaContext(self._function, self._memory, max_runtime_ms=self._timeout_ms)
        request_id = context.aws_request_id
        path = request.target.partition("?")[0]
        if header_bytes([*request.headers, (request.method, request.target)]) > MAX_HEADER_BYTES:
            return _problem(_HEADERS_TOO_LARGE, request_id, self._origin)
        found = match(self._app.routes, path)
        if found is None or request.method not in self._app.routes[found.route]:
            return self._without_view(request.method, found, request_id)
        event = self._event(request, found, request_id)
        # A laptop can check neither signatures nor the tokens of a user pool. Chalice would let
        # everybody in; here nobody is vouched for, and so the app refuses everybody.
        view = self._app.routes[found.route][request.method]
        is_asked = isinstance(view.authorizer, ChaliceAuthorizer)
        refused = self._authorize(path, event, context) if is_asked else None
        if refused is not None:
            return refused
        try:
            return _reply(self._app(event, context), request_id)
        except Exception:
            log.exception("the API function failed")
            return self._refusal("DEFAULT_5XX", request_id)

    def _refusal(self, kind: str, request_id: str) -> HttpReply:
        return refusal(kind, request_id, self._origin)

    def _without_view(self, method: str, found: Match | None, request_id: str) -> HttpReply:
        views = self._app.routes[found.route] if found else {}
        cors = next((view.cors for view in views.values() if view.cors), None)
        if method != "OPTIONS" or cors is None:
            return self._refusal("MISSING_AUTHENTICATION_TOKEN", request_id)
        headers = {str(key): str(value) for key, value in cors.get_access_control_headers().items()}
        headers["Access-Control-Allow-Methods"] = ",".join([*views, "OPTIONS"])
        headers["X-Request-Id"] = request_id
        return HttpReply(200, headers=list(headers.items()))

    def _authorize(
        self, path: str, event: dict[str, Any], context: LambdaContext
    ) -> HttpReply | None:
        request_id = context.aws_request_id
        if not event["headers"].get("authorization", "").strip():
            # An empty header is none: the gateway does not ask the authorizer about it.
            event["headers"].pop("authorization", None)
        try:
            self._authorizer.authorize(path, event, context)
        except NotAuthorizedError:
            return self._refusal("UNAUTHORIZED", request_id)
        except ForbiddenError:
            return self._refusal("ACCESS_DENIED", request_id)
        except LocalGatewayException:
            return self._refusal("AUTHORIZER_CONFIGURATION_ERROR", request_id)
        except Exception as error:
            if str(error) == "Unauthorized":
                return self._refusal("UNAUTHORIZED", request_id)
            log.exception("the authorizer failed")
            return self._refusal("AUTHORIZER_FAILURE", request_id)
        given = event["requestContext"].get("authorizer")
        if given:
            # The gateway passes an authorizer's context on as text.
            event["requestContext"]["authorizer"] = {
                key: value if key == "claims" else _text(value) for key, value in given.items()
            }
        return None

    def _event(self, request: HttpRequest, found: Match, request_id: str) -> dict[str, Any]:
        path, _, query = request.target.partition("?")
        queries = parse_qs(query, keep_blank_values=True)
        many: dict[str, list[str]] = {}
        for name, value in request.headers:
            many.setdefault(name.lower(), []).append(value)
        single = {name: values[-1] for name, values in many.items()}
        binary = self._is_binary(single.get("content-type", ""))
        now = time.time()
        return {
            "resource": found.route,
            "path": path,
            "httpMethod": request.method,
            "headers": single,
            "multiValueHeaders": many,
            "queryStringParameters": {key: values[-1] for key, values in queries.items()} or None,
            "multiValueQueryStringParameters": queries or None,
            "pathParameters": found.parameters or None,
            "stageVariables": None,
            "requestContext": {
                "accountId": "000000000000",
                "apiId": "local",
                "stage": self._stage,
                "requestId": request_id,
                "extendedRequestId": str(uuid.uuid4()),
                "requestTimeEpoch": int(now * 1000),
                "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
                "protocol": "HTTP/1.1",
                "httpMethod": request.method,
                "resourcePath": found.route,
                "path": path,
                "identity": {
                    "sourceIp": "127.0.0.1",
                    "userAgent": single.get("user-agent", ""),
                },
            },
            "body": _body(request.body, binary),
            "isBase64Encoded": binary and bool(request.body),
        }

    def _is_binary(self, content_type: str) -> bool:
        # What has no type is JSON.
        media = content_type.partition(";")[0].strip().lower() or "application/json"
        kinds = {"*/*", media, f"{media.partition('/')[0]}/*"}
        return any(kind.lower() in kinds for kind in self._app.api.binary_types)


def _body(body: bytes, binary: bool) -> str | None:
    if not body:
        return None
    # As on AWS, bytes that are not UTF-8 in a type not declared binary arrive replaced.
    return base64.b64encode(body).decode() if binary else body.decode("utf-8", "replace")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _reply(answer: dict[str, Any], request_id: str) -> HttpReply:
    """Turn a proxy integration's answer into a reply; raises when it is malformed."""
    body = answer.get("body") or ""
    if isinstance(body, str):
        body = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    headers = [(name, str(value)) for name, value in (answer.get("headers") or {}).items()]
    for name, values in (answer.get("multiValueHeaders") or {}).items():
        headers += [(name, str(value)) for value in values]
    reply = HttpReply(int(answer["statusCode"]), body, headers)
    if reply.header("Content-Type") is None and body:
        reply.headers.append(("Content-Type", "application/json"))
    if reply.header("X-Request-Id") is None:
        reply.headers.append(("X-Request-Id", request_id))
    return reply
