"""HTTP: what a view gets, what it answers, and one shape for every error.

`Api` is Chalice with four things added: a request id on every answer, errors as problem+json
(RFC 9457) including Chalice's own, the caller's scopes checked before a view runs, and the API
function answering when it is invoked directly with just a body.
"""

import functools
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from chalice.app import APIGateway, Chalice, Request, Response, RestAPIEventHandler

from chalicelib.domain.listing import encode_cursor
from chalicelib.domain.payloads import dump_json
from chalicelib.domain.tokens import Caller
from chalicelib.errors import (
    EventlineError,
    InvalidRequestError,
    UnauthenticatedError,
    UnavailableError,
    is_aws_fault,
)
from chalicelib.observability import log, log_context

PROBLEM = "application/problem+json"
_SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
_CHALICE_ERRORS = {
    400: ("bad-request", "Bad request"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    415: ("unsupported-media-type", "Unsupported media type"),
}
RETRY_AFTER_SECONDS = "2"

Headers = dict[str, str | list[str]]


@dataclass(frozen=True)
class Call:
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
    if content_type.partition(";")[0].strip().lower() != "application/json":
        headers["Content-Disposition"] = "attachment"
    return Response(payload.decode(), headers=headers)


class Api(Chalice):
    """The Chalice application. `direct_owner` owns what is sent by invoking the function itself."""

    def __init__(self, app_name: str, direct_owner: str) -> None:
        super().__init__(app_name, configure_logs=False)
        # Every body arrives as the bytes that were sent: as text, the gateway would replace what
        # is no UTF-8, and we would keep something else than we acknowledge.
        self.api.binary_types = ["*/*"]
        self._direct_owner = direct_owner

    def requires(self, scope: str | None) -> Callable[[Callable[..., Response]], Any]:
        """Decorate a view: it gets a `Call` first, and runs only if the caller has `scope`.

        None is for a public route, whose view gets no `Call`. Errors become problem+json.
        """

        def decorate(view: Callable[..., Response]) -> Callable[..., Response]:
            @functools.wraps(view)
            def guarded(**path: str) -> Response:
                try:
                    if scope is None:
                        return view(**path)
                    call = self._call()
                    call.caller.require(scope)
                    with log_context(requestId=call.request_id, owner=call.caller.owner):
                        return view(call, **path)
                except EventlineError as error:
                    return _problem_of(error)
                except Exception as error:
                    if not is_aws_fault(error):
                        raise
                    log.error("AWS call failed", exc_info=True)
                    return _problem_of(UnavailableError("try again; nothing was acknowledged"))

            return guarded

        return decorate

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        direct = not isinstance(event, dict) or "requestContext" not in event
        if direct:
            event = self._direct_event(event)
        request_id = event["requestContext"].setdefault("requestId", str(uuid.uuid4()))
        with log_context(requestId=request_id):
            return _finish(self._respond(event, context), request_id, direct)

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

    def _call(self) -> Call:
        request = self.current_request
        if request is None:
            raise UnauthenticatedError("there is no request")
        identity = request.context.get("authorizer") or {}
        if not identity.get("owner"):
            raise UnauthenticatedError("the gateway vouches for nobody")
        scopes = frozenset(str(identity.get("scopes", "")).split())
        return Call(
            caller=Caller(str(identity["owner"]), scopes, str(identity.get("tokenId", ""))),
            request_id=request.context["requestId"],
            headers={str(name).lower(): value for name, value in request.headers.items()},
            query=request.to_original_event().get("multiValueQueryStringParameters") or {},
            body=_raw_body(request),
        )

    def _direct_event(self, event: Any) -> dict[str, Any]:
        """The proxy event for a direct invocation `{"body": "..."}`: the body is an event.

        IAM has decided that the invoker may do this (lambda:InvokeFunction); what is sent belongs
        to `direct_owner`.
        """
        given = event if isinstance(event, dict) else {}
        body = given.get("body")
        identity = {"owner": self._direct_owner, "scopes": "events:write", "tokenId": "direct"}
        return {
            "requestContext": {
                "httpMethod": "POST",
                "resourcePath": "/events",
                "authorizer": identity,
            },
            "headers": given.get("headers") or {},
            "multiValueQueryStringParameters": None,
            "pathParameters": None,
            "stageVariables": None,
            "body": body if isinstance(body, str) or body is None else dump_json(body),
            "isBase64Encoded": given.get("isBase64Encoded") is True,
        }


def problem(
    status: int, code: str, title: str, detail: str, errors: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    """The members of a problem, but for the request id."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    }
    return body if not errors else {**body, "errors": errors}


def _problem_of(error: EventlineError) -> Response:
    errors = [{"pointer": fault.pointer, "detail": fault.detail} for fault in error.errors]
    body = problem(error.status, error.code, error.title, error.detail, errors)
    headers: Headers = {"Content-Type": PROBLEM}
    if error.retryable:
        headers["Retry-After"] = RETRY_AFTER_SECONDS
    if error.status == UnauthenticatedError.status:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(dump_json(body), status_code=error.status, headers=headers)


def _finish(response: dict[str, Any], request_id: str, direct: bool) -> dict[str, Any]:
    """Give every answer its request id, and every error the one shape."""
    headers = response["headers"]
    status = response["statusCode"]
    if status >= HTTPStatus.BAD_REQUEST:
        if headers.get("Content-Type") == PROBLEM:
            body = json.loads(response["body"])
        else:
            fallback = ("internal-error", "Internal error")
            code, title = _CHALICE_ERRORS.get(status, fallback)
            detail = (
                "something went wrong on our side"
                if status >= HTTPStatus.INTERNAL_SERVER_ERROR
                else title
            )
            body = problem(status, code, title, detail)
        response["body"] = dump_json({**body, "requestId": request_id})
        headers["Content-Type"] = PROBLEM
    headers |= {**_SECURITY_HEADERS, "X-Request-Id": request_id}
    if direct:
        response["headers"] = {name.lower(): value for name, value in headers.items()}
    return response


def _raw_body(request: Request) -> bytes:
    """The body's bytes. `chalice local` hands over bytes, API Gateway base64 or text."""
    try:
        body = request.raw_body
    except ValueError as error:
        raise InvalidRequestError.at("", "is not base64, though isBase64Encoded says so") from error
    return body if isinstance(body, bytes) else str(body).encode()
