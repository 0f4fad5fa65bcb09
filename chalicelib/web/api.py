"""The extended Chalice: what Chalice cannot do by itself, and nothing else.

`route` takes three arguments beside Chalice's own: the `scope` that a caller needs, the `max_body`
and the operation's description for OpenAPI. Its handlers get a `Request` first, and their errors
become problem+json (RFC 9457), as Chalice's own do. Bodies arrive as bytes while answers stay text,
and the API function can be invoked directly with just a body.
"""

import functools
import json
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from chalice.app import (
    APIGateway,
    Chalice,
    CognitoUserPoolAuthorizer,
    CORSConfig,
    EventSourceHandler,
    IAMAuthorizer,
    RestAPIEventHandler,
)
from chalice.app import Request as ChaliceRequest
from msgspec.structs import replace

from chalicelib.aws.faults import aws_faults
from chalicelib.core.config import AuthMode
from chalicelib.core.errors import (
    EventlineError,
    InvalidRequestError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedCodingError,
    title_of,
)
from chalicelib.core.log import log
from chalicelib.core.media_types import PROBLEM
from chalicelib.core.metrics import note
from chalicelib.core.strict_json import dump_json
from chalicelib.web import browsers, limits
from chalicelib.web.callers import AuthConfig, Caller, caller_of
from chalicelib.web.describe import Operation
from chalicelib.web.direct import as_request, direct_caller, is_direct
from chalicelib.web.limits import SMALL_BODY_BYTES
from chalicelib.web.middleware import observe_request, on_behalf_of
from chalicelib.web.request import LambdaEvent, Request
from chalicelib.web.responses import IS_BASE64, Headers, Response, problem

_CHALICE_ERRORS = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    415: "unsupported-media-type",
}
_CHALLENGES = {AuthMode.IAM: "AWS4-HMAC-SHA256"}
RETRY_AFTER_SECONDS = "2"
NOBODY = Caller(owner="", scopes=frozenset(), token_id="")
"""The caller of a public route."""

Handler = Callable[..., Response]


class Api(Chalice):
    """The Chalice application. `auth` says who may come in; pages of `cors_origin` may read the
    answers in a browser, those of no other origin."""

    def __init__(
        self, app_name: str, auth: AuthConfig, cors_origin: str = "", stage: str = "-"
    ) -> None:
        super().__init__(app_name, configure_logs=False)
        # Every body arrives as the bytes that were sent. As text, the gateway would replace what
        # is not UTF-8, and we would store something else than we acknowledge.
        self.api.binary_types = ["*/*"]
        self._auth, self._stage = auth, stage
        self._authorizer: Any = None
        self._for_browsers = browsers.SECURITY_HEADERS | browsers.readable_by(cors_origin)
        if cors_origin:
            self.api.cors = CORSConfig(
                cors_origin,
                allow_headers=browsers.ALLOWED_HEADERS,
                expose_headers=browsers.EXPOSED_HEADERS,
                max_age=browsers.PREFLIGHT_SECONDS,
            )

    def use_authorizer(self, of_tokens: Any, user_pool_arn: str) -> None:
        """Set the authorizer for the routes registered after this call, by the mode: Chalice's
        `of_tokens`, API Gateway's own for IAM or the user pool, or none."""
        authorizers = {
            AuthMode.TOKEN: of_tokens,
            AuthMode.IAM: IAMAuthorizer(),
            AuthMode.COGNITO: CognitoUserPoolAuthorizer("users", provider_arns=[user_pool_arn]),
        }
        self._authorizer = authorizers.get(self._auth.mode)

    def route(  # type: ignore[override]  # a route must say who may call it
        self,
        path: str,
        *,
        scope: str | None,
        spec: Operation | None = None,
        max_body: int = SMALL_BODY_BYTES,
        **options: Any,
    ) -> Callable[[Handler], Handler]:
        """Chalice's decorator, extended. Callers need `scope`, with `ANY` just a token; None
        makes the route public. The body has at most `max_body` bytes; its content type is the
        handler's business."""
        if options.get("methods", ["GET"])[0] in ("POST", "PUT"):
            options.setdefault("content_types", [])
        if scope is not None:
            options["authorizer"] = self._authorizer
        register = super().route(path, **options)

        def decorate(handler: Handler) -> Handler:
            guarded: Any = self._guard(handler, scope, max_body)
            guarded.scope, guarded.spec = scope, spec
            registered: Handler = register(guarded)
            return registered

        return decorate

    def _guard(self, handler: Handler, scope: str | None, max_body: int) -> Handler:
        """Check the caller and the limits before `handler`, and turn its errors into problems:
        Chalice would answer them before any middleware sees them."""

        @functools.wraps(handler)
        def guarded(**path: str) -> Response:
            try:
                request = self._read_request(is_public=scope is None)
                if scope is not None:
                    request.caller.require(scope)
                limits.check_headers(request.headers)
                limits.check_parameters(path, request.query)
                limits.check_body(request.body, max_body)
                coding = request.header("content-encoding")
                body = limits.decode_body(request.body, coding, max_body)
                request = replace(request, body=body)
                with on_behalf_of(request.caller.owner, path):
                    return handler(request, **path)
            except EventlineError as error:
                return self._problem(error)
            except aws_faults():
                log.error("AWS call failed", exc_info=True)
                return self._problem(UnavailableError("try again; nothing was acknowledged"))

        return guarded

    def _wrap_handler(self, handler_type: str, handler_name: str, user_handler: Any) -> Any:
        """Give every other function its event as it came: see `LambdaEvent`."""
        wrapped = super()._wrap_handler(handler_type, handler_name, user_handler)
        if isinstance(wrapped, EventSourceHandler):
            wrapped.event_class = LambdaEvent
        return wrapped

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        direct = is_direct(event)
        if direct:
            event = as_request(event, self._auth.direct_owner)
        request_id = event["requestContext"].setdefault("requestId", str(uuid.uuid4()))
        with observe_request(self._stage, event):
            response = self._respond(event, context)
            return self._finish(response, request_id, direct, _base_path(event["requestContext"]))

    def _respond(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Chalice's own `__call__`, except that answers are text although requests are binary.
        Chalice would refuse them to a client whose Accept header does not name a binary type."""
        answers_are_text = APIGateway()
        answers_are_text.binary_types = []
        handler = RestAPIEventHandler(
            self.routes,
            answers_are_text,
            self.log,
            self.debug,
            middleware_handlers=self._get_middleware_handlers("http"),
        )
        self.lambda_context = context
        self.current_request = handler.create_request_object(event, context)
        response: dict[str, Any] = handler(event, context)
        return response

    def _read_request(self, *, is_public: bool) -> Request:
        request = self.current_request
        if request is None:
            raise UnauthenticatedError("there is no request")
        context = request.context
        sent = request.to_original_event()
        many = sent.get("multiValueHeaders") or {}
        return Request(
            caller=NOBODY
            if is_public
            else direct_caller(context) or caller_of(context, self._auth),
            request_id=context["requestId"],
            headers={str(name).lower(): value for name, value in request.headers.items()},
            query=sent.get("multiValueQueryStringParameters") or {},
            body=_raw_body(request),
            repeated=frozenset(name.lower() for name, values in many.items() if len(values) > 1),
            path=sent.get("path") or "",
        )

    def _problem(self, error: EventlineError) -> Response:
        errors = [{"pointer": fault.pointer, "detail": fault.detail} for fault in error.errors]
        body = problem(error.status, error.code, error.title, error.detail, errors)
        if error.event_id is not None:
            body["eventId"] = error.event_id
        headers: Headers = {"Content-Type": PROBLEM}
        if error.retryable:
            headers["Retry-After"] = RETRY_AFTER_SECONDS
        if isinstance(error, UnsupportedCodingError):
            headers["Accept-Encoding"] = limits.CODING
        if error.status == UnauthenticatedError.status:
            headers["WWW-Authenticate"] = _CHALLENGES.get(self._auth.mode, "Bearer")
        return Response(dump_json(body), status_code=error.status, headers=headers)

    def _finish(
        self, response: dict[str, Any], request_id: str, direct: bool, base: str
    ) -> dict[str, Any]:
        """Give every answer its request id, every error the one shape, and a `Location` the path
        `base` below which the client sees the API."""
        headers, status = response["headers"], response["statusCode"]
        note(status=status)
        if status >= HTTPStatus.BAD_REQUEST:
            body = self._problem_body(headers, status, response["body"])
            note(code=body["code"], eventId=body.get("eventId"))
            response["body"] = dump_json({**body, "requestId": request_id})
            headers["Content-Type"] = PROBLEM
        if headers.pop(IS_BASE64, None):
            response["isBase64Encoded"] = True
        # A handler may have its own: the console's page, what it may load.
        headers |= {**self._for_browsers, **headers, "X-Request-Id": request_id}
        if headers.get("Location", "").startswith("/"):
            headers["Location"] = base + headers["Location"]
        if direct:
            response["headers"] = {name.lower(): value for name, value in headers.items()}
        return response

    def _problem_body(self, headers: Mapping[str, Any], status: int, body: str) -> dict[str, Any]:
        """The members of a handler's problem, or of one that Chalice answered itself."""
        if headers.get("Content-Type") == PROBLEM:
            members: dict[str, Any] = json.loads(body)
            return members
        code = _CHALICE_ERRORS.get(status, "internal-error")
        is_ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        title = title_of(code)
        return problem(
            status, code, title, "something went wrong on our side" if is_ours else title
        )


def _base_path(context: Mapping[str, Any]) -> str:
    """The path that comes before a route's own in the URL that the client used: the stage (`/api`)
    on an execute-api URL, the base path of a custom domain, or nothing.

    `requestContext.path` is the whole path, `resourcePath` the route's (Amazon API Gateway
    Developer Guide, "Set up Lambda proxy integrations", and "Use API mappings").
    """
    whole, route = (str(context.get(name) or "") for name in ("path", "resourcePath"))
    parts = whole.strip("/").split("/")
    before = parts[: max(len(parts) - len(route.strip("/").split("/")), 0)]
    return "".join(f"/{part}" for part in before)


def _raw_body(request: ChaliceRequest) -> bytes:
    """The body's bytes. `chalice local` hands over bytes, API Gateway base64 or text."""
    try:
        body = request.raw_body
    except ValueError as error:
        raise InvalidRequestError.at("", "is not base64, though isBase64Encoded says so") from error
    return body if isinstance(body, bytes) else str(body).encode("utf-8", "surrogatepass")
