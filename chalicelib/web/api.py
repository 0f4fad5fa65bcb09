"""HTTP: what a view gets, what it answers, and one shape for every error.

`Api` is Chalice with five things added: a request id on every answer, errors as problem+json
(RFC 9457) including Chalice's own, the caller's scopes checked before a view runs, a deadline for
all functions, and the API function answering when it is invoked directly with just a body.
"""

import base64
import functools
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from chalice.app import (
    APIGateway,
    Chalice,
    CognitoUserPoolAuthorizer,
    CORSConfig,
    IAMAuthorizer,
    Request,
    Response,
    RestAPIEventHandler,
)
from msgspec import Struct

from chalicelib.core.config import AuthMode
from chalicelib.core.deadline import keep_deadline
from chalicelib.core.errors import (
    EventlineError,
    InvalidRequestError,
    UnauthenticatedError,
    UnavailableError,
    is_aws_fault,
)
from chalicelib.core.log import log
from chalicelib.core.metrics import note
from chalicelib.core.paging import encode_cursor
from chalicelib.core.strict_json import dump_json
from chalicelib.web import browsers, limits
from chalicelib.web.callers import AuthConfig, Caller, caller_of
from chalicelib.web.limits import SMALL_BODY_BYTES
from chalicelib.web.middleware import observe_run, observed_request, on_behalf_of
from chalicelib.web.request import as_request, direct_caller, is_direct

PROBLEM = "application/problem+json"
_CHALICE_ERRORS = {
    400: ("bad-request", "Bad request"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    415: ("unsupported-media-type", "Unsupported media type"),
}
_CHALLENGES = {AuthMode.IAM: "AWS4-HMAC-SHA256"}
RETRY_AFTER_SECONDS = "2"
NOBODY = Caller(owner="", scopes=frozenset(), token_id="")
"""The caller of a public route."""
_IS_BASE64 = "X-Is-Base64"
"""Marks, between a view and the end of `Api`, an answer that the gateway is to decode."""
Headers = dict[str, str | list[str]]


class Call(Struct, frozen=True):
    """One request, as a view sees it. Header names are lower case."""

    caller: Caller
    request_id: str
    headers: Mapping[str, str]
    query: Mapping[str, list[str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The header of that (lower case) name; None if it is absent."""
        return self.headers.get(name)


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    all_headers: Headers = {"Content-Type": "application/json", **(headers or {})}
    return Response(dump_json(body), status_code=status, headers=all_headers)


def page(items: Sequence[Mapping[str, Any]], resume_below: str | None) -> Response:
    """A page of a list; `resume_below` is the list key where the next one goes on."""
    cursor = None if resume_below is None else encode_cursor(resume_below)
    return answer({"items": items, "cursor": cursor})


def no_content() -> Response:
    """204."""
    return Response("", status_code=204)


def not_modified(etag: str) -> Response:
    """304 (RFC 9110, section 15.4.5)."""
    return Response("", status_code=304, headers={"ETag": etag})


def stored(payload: bytes, content_type: str) -> Response:
    """What somebody stored, as it is; as an attachment unless it is JSON, since a sender's HTML
    must never run on our origin (`nosniff` is on every answer)."""
    headers: Headers = {"Content-Type": content_type}
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        headers["Content-Disposition"] = "attachment"
    try:
        return Response(payload.decode(), headers=headers)
    except UnicodeDecodeError:
        encoded = base64.b64encode(payload).decode()
        return Response(encoded, headers={**headers, _IS_BASE64: "true"})


class Api(Chalice):
    """The Chalice application. `door` says who may come in; pages of `cors_origin` may read the
    answers in a browser, those of no other origin."""

    def __init__(
        self, app_name: str, door: AuthConfig, cors_origin: str = "", stage: str = "-"
    ) -> None:
        super().__init__(app_name, configure_logs=False)
        # Every body arrives as the bytes that were sent: as text, the gateway would replace what
        # is no UTF-8, and we would keep something else than we acknowledge.
        self.api.binary_types = ["*/*"]
        self.register_middleware(observe_run(stage))
        self.register_middleware(keep_deadline)
        self._door, self._stage = door, stage
        self._guard: Any = None
        self._for_browsers = browsers.SECURITY_HEADERS | browsers.readable_by(cors_origin)
        if cors_origin:
            self.api.cors = CORSConfig(
                cors_origin,
                allow_headers=browsers.ALLOWED_HEADERS,
                expose_headers=browsers.EXPOSED_HEADERS,
                max_age=browsers.PREFLIGHT_SECONDS,
            )

    def guarded_by(self, of_tokens: Any, user_pool_arn: str) -> None:
        """Choose the authorizer of the routes that are served hereafter: by the mode, Chalice's
        `of_tokens`, API Gateway's own for IAM or the user pool, or none."""
        authorizers = {
            AuthMode.TOKEN: of_tokens,
            AuthMode.IAM: IAMAuthorizer(),
            AuthMode.COGNITO: CognitoUserPoolAuthorizer("users", provider_arns=[user_pool_arn]),
        }
        self._guard = authorizers.get(self._door.mode)

    def serves(
        self, method: str, path: str, scope: str | None, max_bytes: int = SMALL_BODY_BYTES
    ) -> Callable[..., Any]:
        """Decorate a view: it answers `method` on `path` to callers who have `scope`, see
        `requires`. Content types are the decoding's business, not Chalice's."""
        options: dict[str, Any] = {"content_types": []} if method in ("POST", "PUT") else {}
        if scope is not None:
            options["authorizer"] = self._guard

        def decorate(view: Callable[..., Response]) -> Any:
            guarded = self.requires(scope, max_bytes)(view)
            return self.route(path, methods=[method], **options)(guarded)

        return decorate

    def requires(
        self, scope: str | None, max_bytes: int = SMALL_BODY_BYTES
    ) -> Callable[[Callable[..., Response]], Any]:
        """Decorate a view: it gets a `Call` first, and runs only if the caller has `scope` and the
        request is within the limits (`domain.requests`), its body within `max_bytes`.

        None is for a public route, whose caller is nobody. Errors become problem+json.
        """

        def decorate(view: Callable[..., Response]) -> Callable[..., Response]:
            @functools.wraps(view)
            def guarded(**path: str) -> Response:
                try:
                    call = self._call(is_public=scope is None)
                    if scope is not None:
                        call.caller.require(scope)
                    limits.check_headers(call.headers)
                    limits.check_parameters(path, call.query)
                    limits.check_body(call.body, max_bytes)
                    with on_behalf_of(call.caller.owner, path):
                        return view(call, **path)
                except EventlineError as error:
                    return self._problem_of(error)
                except Exception as error:
                    if not is_aws_fault(error):
                        raise
                    log.error("AWS call failed", exc_info=True)
                    return self._problem_of(UnavailableError("try again; nothing was acknowledged"))

            guarded.scope = scope  # type: ignore[attr-defined]
            return guarded

        return decorate

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        direct = is_direct(event)
        if direct:
            event = as_request(event, self._door.direct_owner)
        request_id = event["requestContext"].setdefault("requestId", str(uuid.uuid4()))
        with observed_request(self._stage, event):
            return self._finish(self._respond(event, context), request_id, direct)

    def _respond(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """What Chalice's own `__call__` does, but that answers are text although requests are
        binary; Chalice would refuse them to a client whose Accept header does not say so."""
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

    def _call(self, *, is_public: bool) -> Call:
        request = self.current_request
        if request is None:
            raise UnauthenticatedError("there is no request")
        return Call(
            caller=NOBODY if is_public else self._caller(request.context),
            request_id=request.context["requestId"],
            headers={str(name).lower(): value for name, value in request.headers.items()},
            query=request.to_original_event().get("multiValueQueryStringParameters") or {},
            body=_raw_body(request),
        )

    def _caller(self, context: Mapping[str, Any]) -> Caller:
        return direct_caller(context) or caller_of(context, self._door)

    def _problem_of(self, error: EventlineError) -> Response:
        errors = [{"pointer": fault.pointer, "detail": fault.detail} for fault in error.errors]
        body = problem(error.status, error.code, error.title, error.detail, errors)
        if error.event_id is not None:
            body["eventId"] = error.event_id
        headers: Headers = {"Content-Type": PROBLEM}
        if error.retryable:
            headers["Retry-After"] = RETRY_AFTER_SECONDS
        if error.status == UnauthenticatedError.status:
            headers["WWW-Authenticate"] = _CHALLENGES.get(self._door.mode, "Bearer")
        return Response(dump_json(body), status_code=error.status, headers=headers)

    def _finish(self, response: dict[str, Any], request_id: str, direct: bool) -> dict[str, Any]:
        """Give every answer its request id, and every error the one shape."""
        headers, status = response["headers"], response["statusCode"]
        note(status=status)
        if status >= HTTPStatus.BAD_REQUEST:
            if headers.get("Content-Type") == PROBLEM:
                body = json.loads(response["body"])
            else:
                code, title = _CHALICE_ERRORS.get(status, ("internal-error", "Internal error"))
                is_ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
                detail = "something went wrong on our side" if is_ours else title
                body = problem(status, code, title, detail)
            note(code=body["code"], eventId=body.get("eventId"))
            response["body"] = dump_json({**body, "requestId": request_id})
            headers["Content-Type"] = PROBLEM
        if headers.pop(_IS_BASE64, None):
            response["isBase64Encoded"] = True
        headers |= {**self._for_browsers, "X-Request-Id": request_id}
        if direct:
            response["headers"] = {name.lower(): value for name, value in headers.items()}
        return response


def problem(
    status: int, code: str, title: str, detail: str, errors: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    """The members of a problem, but for the request id."""
    said = {"detail": detail, "code": code, **({"errors": errors} if errors else {})}
    return {"type": "about:blank", "title": title, "status": status, **said}


def _raw_body(request: Request) -> bytes:
    """The body's bytes. `chalice local` hands over bytes, API Gateway base64 or text."""
    try:
        body = request.raw_body
    except ValueError as error:
        raise InvalidRequestError.at("", "is not base64, though isBase64Encoded says so") from error
    return body if isinstance(body, bytes) else str(body).encode("utf-8", "surrogatepass")
