"""What `chalice local` answers in API Gateway's place."""

import json
from typing import Any, cast

import pytest
from chalice import (
    AuthResponse,
    Chalice,
    CognitoUserPoolAuthorizer,
    CORSConfig,
    IAMAuthorizer,
    Response,
)
from chalice.app import AuthRequest
from chalice.config import Config

from chalicelib.web.browsers import SECURITY_HEADERS
from chalicelib.web.limits import MAX_HEADER_BYTES
from infra.gateway import PROBLEMS
from local.gateway import Gateway, HttpReply, HttpRequest
from local.serve import ThreadSafeChalice

PROBLEM_FIELDS = {"type", "title", "status", "detail", "code", "requestId"}


def make_app(cors: Any = False) -> Chalice:
    class App(ThreadSafeChalice, Chalice):
        """A small app with every kind of answer."""

    app = App("test")
    app.log.disabled = True
    app.api.cors = cors

    @app.authorizer()
    def guard(request: AuthRequest) -> AuthResponse:
        if request.token == "good":
            context: Any = {"owner": "me", "admin": True, "level": 3}
            return AuthResponse(routes=["*"], principal_id="me", context=context)
        if request.token == "denied":
            return AuthResponse(routes=[], principal_id="me")
        if request.token == "broken":
            raise KeyError("x")
        raise Exception("Unauthorized")

    @app.route("/things/{name}", methods=["GET", "POST"], authorizer=guard, content_types=[])
    def thing(name: str) -> Any:
        request = app.current_request
        event = {
            "name": name,
            "query": request.query_params and request.query_params.getlist("q"),
            "body": cast(bytes, request.raw_body).decode("latin-1"),
            "authorizer": request.context["authorizer"],
            "ids": [request.context["requestId"], app.lambda_context.aws_request_id],
        }
        return Response(event, {"X-Many": ["a", "b"]})

    @app.route("/open", cors=CORSConfig(allow_origin="https://example.com"))
    def opened() -> dict[str, str]:
        return {"hello": "you"}

    pool = CognitoUserPoolAuthorizer("users", provider_arns=["arn"])

    @app.route("/signed", authorizer=IAMAuthorizer())
    @app.route("/pooled", authorizer=pool)
    def builtin() -> dict[str, Any]:
        return {"authorizer": app.current_request.context.get("authorizer")}

    @app.route("/empty", methods=["DELETE"])
    def empty() -> Response:
        return Response("", {"Content-Type": "text/plain"}, 204)

    @app.route("/unusable")
    def unusable() -> Response:
        return Response({"when": object()})

    return app


@pytest.fixture(name="gateway", scope="module")
def make_gateway() -> Gateway:
    return Gateway(make_app(), Config.create(app_name="test", chalice_stage="local"))


def send(
    gateway: Gateway,
    method: str,
    target: str,
    token: str | None = None,
    body: bytes = b"",
    **more: str,
) -> HttpReply:
    headers = [(name.replace("_", "-"), value) for name, value in more.items()]
    if token is not None:
        headers.append(("Authorization", token))
    return gateway.handle(HttpRequest(method, target, headers, body))


def assert_problem(reply: HttpReply, status: int, code: str) -> None:
    body = json.loads(reply.body)
    assert reply.status == status
    assert reply.header("content-type") == "application/problem+json"
    assert set(body) == PROBLEM_FIELDS
    assert (body["status"], body["code"]) == (status, code)
    assert body["requestId"] == reply.header("x-request-id")


@pytest.mark.parametrize("token", [None, "", "  ", "stranger"])
def test_no_valid_token_is_a_401_with_a_challenge(gateway: Gateway, token: str | None) -> None:
    reply = send(gateway, "GET", "/things/a", token)
    assert_problem(reply, 401, "unauthorized")
    assert reply.header("WWW-Authenticate") == "Bearer"


def test_denied_token_is_a_403(gateway: Gateway) -> None:
    assert_problem(send(gateway, "GET", "/things/a", "denied"), 403, "forbidden")


def test_failing_authorizer_is_a_503_without_its_words(gateway: Gateway) -> None:
    failed = send(gateway, "GET", "/things/a", "broken")
    assert_problem(failed, 503, "unavailable")
    assert failed.header("Retry-After") == "1"


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/nope"), ("DELETE", "/open"), ("TRACE", "/open"), ("HEAD", "/open"), ("X", "/")],
)
def test_no_such_route_is_a_404(gateway: Gateway, method: str, target: str) -> None:
    assert_problem(send(gateway, method, target), 404, "not-found")


def test_view_sees_what_it_would_see_on_lambda(gateway: Gateway) -> None:
    reply = send(gateway, "POST", "/things/a%2Fb?q=1&q=2%203", "good", b'{"x":1}')
    seen = json.loads(reply.body)
    assert seen["name"] == "a/b"
    assert seen["query"] == ["1", "2 3"]
    assert seen["body"] == '{"x":1}'
    assert seen["authorizer"] == {
        "owner": "me",
        "admin": "true",
        "level": "3",
        "principalId": "me",
    }
    assert seen["ids"] == [reply.header("x-request-id")] * 2
    assert [value for name, value in reply.headers if name == "X-Many"] == ["a", "b"]


def test_bytes_survive_in_a_binary_type_only(gateway: Gateway) -> None:
    binary = send(
        gateway, "POST", "/things/a", "good", b"\xff\x00", content_type="application/octet-stream"
    )
    text = send(gateway, "POST", "/things/a", "good", b"\xff", content_type="text/plain")
    assert json.loads(binary.body)["body"].encode("latin-1") == b"\xff\x00"
    assert json.loads(text.body)["body"].encode("latin-1").decode() == "\ufffd"


@pytest.mark.parametrize(
    "content_type", [None, "", "*/*", ";", "text", "text/plain", "application/json; charset=utf-8"]
)
def test_every_byte_survives_where_all_types_are_binary(content_type: str | None) -> None:
    # Given an app that takes every type as bytes, as Eventline does
    app = make_app()
    app.api.binary_types = ["*/*"]
    gateway = Gateway(app, Config.create(app_name="test", chalice_stage="local"))
    headers = {} if content_type is None else {"content_type": content_type}
    # When each byte there is comes, whatever it is sent as
    sent = bytes(range(256))
    reply = send(gateway, "POST", "/things/a", "good", sent, accept="*/*", **headers)
    # Then it is what the app sees
    assert json.loads(reply.body)["body"].encode("latin-1") == sent


def test_a_body_without_a_type_is_json(gateway: Gateway) -> None:
    # Given an app that takes JSON as text
    reply = send(gateway, "POST", "/things/a", "good", b"\xff")
    assert json.loads(reply.body)["body"].encode("latin-1").decode() == "\ufffd"
    # When it takes JSON as bytes
    app = make_app()
    app.api.binary_types = ["application/json"]
    gateway = Gateway(app, Config.create(app_name="test", chalice_stage="local"))
    reply = send(gateway, "POST", "/things/a", "good", b"\xff", accept="application/json")
    assert json.loads(reply.body)["body"].encode("latin-1") == b"\xff"


def test_preflight_is_answered_where_cors_is_on(gateway: Gateway) -> None:
    reply = send(gateway, "OPTIONS", "/open")
    assert reply.status == 200
    assert reply.header("Access-Control-Allow-Origin") == "https://example.com"
    assert_problem(send(gateway, "OPTIONS", "/empty"), 404, "not-found")


ORIGIN = "https://app.example.com"
FORGED = "eyJhbGciOiJub25lIn0.eyJjb2duaXRvOnVzZXJuYW1lIjoiYSIsInN1YiI6ImEifQ."


@pytest.mark.parametrize("origin", ["", ORIGIN])
@pytest.mark.parametrize(
    ("method", "target", "token"),
    [("GET", "/nope", None), ("GET", "/things/a", None), ("GET", "/things/a", "broken")],
)
def test_a_refusal_has_the_headers_of_every_answer(
    origin: str, method: str, target: str, token: str | None
) -> None:
    app = make_app(CORSConfig(allow_origin=origin) if origin else False)
    gateway = Gateway(app, Config.create(app_name="test", chalice_stage="local"))
    headers = dict(send(gateway, method, target, token).headers)
    assert SECURITY_HEADERS.items() <= headers.items()
    assert headers.get("Access-Control-Allow-Origin", "") == origin


@pytest.mark.parametrize("target", ["/signed", "/pooled"])
@pytest.mark.parametrize("token", [None, FORGED, f"Bearer {FORGED}", "AWS4-HMAC-SHA256 x"])
def test_what_can_not_be_checked_here_vouches_for_nobody(
    gateway: Gateway, target: str, token: str | None
) -> None:
    reply = send(gateway, "GET", target, token)
    assert json.loads(reply.body) == {"authorizer": None}


def test_request_line_and_headers_have_the_gateways_limit(gateway: Gateway) -> None:
    taken = len("GET/openX-Long")
    fits = send(gateway, "GET", "/open", X_Long="x" * (MAX_HEADER_BYTES - taken))
    assert fits.status == 200
    too_long = send(gateway, "GET", "/open", X_Long="x" * (MAX_HEADER_BYTES - taken + 1))
    assert_problem(too_long, 431, "headers-too-large")
    target = "/open?" + "x" * MAX_HEADER_BYTES
    assert_problem(send(gateway, "GET", target), 431, "headers-too-large")


def test_empty_answer_stays_empty(gateway: Gateway) -> None:
    reply = send(gateway, "DELETE", "/empty")
    assert (reply.status, reply.body) == (204, b"")


def test_failing_function_is_a_problem_of_the_gateway(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    assert_problem(send(gateway, "GET", "/unusable"), 500, "internal-error")
    assert "the API function failed" in caplog.text


def test_refusal_is_the_one_the_deployed_api_gives(gateway: Gateway) -> None:
    body = json.loads(send(gateway, "GET", "/nope").body)
    assert body["detail"] == PROBLEMS["MISSING_AUTHENTICATION_TOKEN"].detail
