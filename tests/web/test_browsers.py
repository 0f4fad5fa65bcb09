"""A page in a browser calls the API as `chalice local` serves it: the browser asks first (Fetch
Standard, "CORS protocol"), and keeps from the page what it may not read."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from chalice.app import AuthRequest, AuthResponse, Response
from chalice.config import Config

from chalicelib.core.config import AuthMode
from chalicelib.core.errors import NotFoundError
from chalicelib.web.api import Api
from chalicelib.web.browsers import SECURITY_HEADERS
from chalicelib.web.callers import AuthConfig
from chalicelib.web.request import Request
from chalicelib.web.responses import answer
from local.serve import ThreadSafeChalice, make_server

pytestmark = pytest.mark.enable_socket

ORIGIN = "https://app.example.com"


def make_app(cors_origin: str) -> Api:
    class App(ThreadSafeChalice, Api):
        """One guarded route of each kind."""

    app = App("test", AuthConfig(AuthMode.TOKEN, "direct"), cors_origin)

    @app.authorizer()
    def authorize(request: AuthRequest) -> AuthResponse:
        if request.token != "Bearer good":
            raise Exception("Unauthorized")
        context: Any = {"owner": "me", "scopes": "items:write"}
        return AuthResponse(routes=["*"], principal_id="me", context=context)

    app.use_authorizer(authorize, "")

    @app.route("/items/{item_id}", methods=["PUT"], scope="items:write")
    def put_item(_call: Request, item_id: str) -> Response:
        if item_id == "none":
            raise NotFoundError("no such item")
        return answer({}, headers={"ETag": '"2"'})

    return app


@contextmanager
def serving(cors_origin: str) -> Iterator[int]:
    config = Config.create(app_name="test", chalice_stage="local")
    server = make_server(make_app(cors_origin), config, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(name="port", scope="module")
def serve_for_one_origin() -> Iterator[int]:
    with serving(ORIGIN) as port:
        yield port


def call(
    port: int, method: str, path: str, headers: dict[str, str]
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, b"{}" if method == "PUT" else None, headers)
    response = connection.getresponse()
    found = response.status, dict(response.getheaders()), response.read()
    connection.close()
    return found


def may_ask(port: int, origin: str, method: str, *names: str) -> bool:
    """Whether a browser lets a page of `origin` send a request with these headers."""
    status, headers, _ = call(
        port,
        "OPTIONS",
        "/items/one",
        {
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": ",".join(sorted(name.lower() for name in names)),
        },
    )
    allowed = headers.get("Access-Control-Allow-Headers", "").lower().split(",")
    methods = headers.get("Access-Control-Allow-Methods", "").split(",")
    return (
        200 <= status < 300
        and headers.get("Access-Control-Allow-Origin") == origin
        and method in methods
        and all(name.lower() in allowed for name in names)
    )


HEADERS = ("Authorization", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key")
CE_HEADERS = ("ce-id", "ce-source", "ce-specversion", "ce-type", "ce-time", "ce-subject")


def test_a_page_of_the_origin_may_ask(port: int) -> None:
    assert may_ask(port, ORIGIN, "PUT", *HEADERS, *CE_HEADERS)


def test_no_other_page_may_and_nothing_else_may_be_asked(port: int) -> None:
    for origin in ("https://evil.example.com", "http://app.example.com", "null", ORIGIN + ".evil"):
        assert not may_ask(port, origin, "PUT", "Authorization")
    assert not may_ask(port, ORIGIN, "DELETE", "Authorization")
    assert not may_ask(port, ORIGIN, "PUT", "X-Anything")


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/items/one", "good", 200),
        ("/items/none", "good", 404),
        ("/items/one", "bad", 401),
        ("/nowhere", "good", 404),
    ],
)
def test_the_page_reads_answers_and_errors_with_their_headers(
    port: int, path: str, token: str, status: int
) -> None:
    headers = {"Origin": ORIGIN, "Authorization": f"Bearer {token}"}
    found, answered, _ = call(port, "PUT", path, headers)
    assert found == status
    assert answered["Access-Control-Allow-Origin"] == ORIGIN
    exposed = answered["Access-Control-Expose-Headers"].split(",")
    assert {"ETag", "Location", "X-Request-Id", "Idempotent-Replayed"} <= set(exposed)
    assert "Access-Control-Allow-Credentials" not in answered
    assert SECURITY_HEADERS.items() <= answered.items()


def test_without_the_setting_no_page_may_ask_or_read() -> None:
    with serving("") as port:
        assert not may_ask(port, ORIGIN, "PUT")
        for token in ("good", "bad"):
            headers = {"Origin": ORIGIN, "Authorization": f"Bearer {token}"}
            _, answered, body = call(port, "PUT", "/items/one", headers)
            assert not [name for name in answered if name.startswith("Access-Control")]
            assert isinstance(json.loads(body), dict)
