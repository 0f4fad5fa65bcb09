"""Answers and problems, before Chalice has them."""

import base64
import gzip
import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from chalice.app import Response

from chalicelib.core.config import AuthMode
from chalicelib.core.errors import FieldError, InvalidRequestError, NotFoundError, UnavailableError
from chalicelib.core.media_types import PROBLEM
from chalicelib.web.api import Api
from chalicelib.web.browsers import SECURITY_HEADERS
from chalicelib.web.callers import AuthConfig
from chalicelib.web.limits import MAX_BODY_BYTES
from chalicelib.web.request import Request
from chalicelib.web.responses import answer, no_content, problem, stored
from tests.support.faults import no_answer, refusal


def api_with(view: Callable[[], Response], cors_origin: str = "") -> Api:
    """An application with one public route."""
    api = Api("test", AuthConfig(AuthMode.TOKEN, "direct"), cors_origin)
    api.route("/view", methods=["GET"], scope=None)(lambda _call: view())
    return api


def get(api: Api, names: dict[str, str] | None = None, **context: Any) -> dict[str, Any]:
    """What the function answers to GET /view."""
    event = {
        "requestContext": {"httpMethod": "GET", "resourcePath": "/view", **context},
        "headers": {},
        "multiValueQueryStringParameters": None,
        "pathParameters": names,
        "stageVariables": None,
        "body": None,
        "isBase64Encoded": False,
    }
    return api(event, None)


def raising(error: Exception) -> Callable[[], Response]:
    def view() -> Response:
        raise error

    return view


def test_a_problem_has_the_members_of_the_contract() -> None:
    body = problem(404, "not-found", "Not found", "no such event")
    assert body == {
        "type": "about:blank",
        "title": "Not found",
        "status": 404,
        "detail": "no such event",
        "code": "not-found",
    }
    errors = [{"pointer": "/a", "detail": "is required"}]
    assert problem(400, "x", "X", "x", errors) == {
        **problem(400, "x", "X", "x"),
        "errors": errors,
    }


def test_our_errors_become_problems_with_every_field_at_fault() -> None:
    faults = [FieldError("/a", "is required"), FieldError("/b", "is too long")]
    reply = get(api_with(raising(InvalidRequestError("two faults", faults))), requestId="r-1")
    body = json.loads(reply["body"])
    assert reply["statusCode"] == 400
    assert reply["headers"]["Content-Type"] == PROBLEM
    assert body["errors"] == [
        {"pointer": "/a", "detail": "is required"},
        {"pointer": "/b", "detail": "is too long"},
    ]
    assert body["requestId"] == reply["headers"]["X-Request-Id"] == "r-1"


@pytest.mark.parametrize(
    "error", [refusal("PutItem"), no_answer(), UnavailableError("throttled")], ids=repr
)
def test_what_may_be_tried_again_says_when(error: Exception) -> None:
    reply = get(api_with(raising(error)))
    assert reply["statusCode"] == 503
    assert int(reply["headers"]["Retry-After"]) > 0
    assert json.loads(reply["body"])["code"] == "unavailable"


def test_what_can_not_be_tried_again_does_not() -> None:
    reply = get(api_with(raising(NotFoundError("no such event"))))
    assert "Retry-After" not in reply["headers"]


def test_other_errors_become_a_problem_that_tells_nothing() -> None:
    reply = get(api_with(raising(RuntimeError("hunter2"))))
    assert reply["statusCode"] == 500
    assert reply["headers"]["Content-Type"] == PROBLEM
    assert json.loads(reply["body"])["code"] == "internal-error"
    assert "hunter2" not in reply["body"]


def test_a_request_without_an_id_gets_one() -> None:
    api = api_with(lambda: answer({}))
    one, other = (get(api)["headers"]["X-Request-Id"] for _ in range(2))
    assert one
    assert one != other


def test_an_answer_has_the_headers_of_every_answer() -> None:
    reply = get(api_with(lambda: answer({"a": 1}, 202, {"Location": "/a"})))
    assert reply["statusCode"] == 202
    assert reply["body"] == '{"a":1}'
    assert reply["headers"]["Location"] == "/a"
    assert SECURITY_HEADERS.items() <= reply["headers"].items()


@pytest.mark.parametrize("view", [lambda: answer({}), raising(RuntimeError("x"))])
@pytest.mark.parametrize("origin", ["", "https://app.example.com"])
def test_every_answer_says_which_pages_may_read_it(
    view: Callable[[], Response], origin: str
) -> None:
    reply = get(api_with(view, origin))
    assert reply["headers"].get("Access-Control-Allow-Origin", "") == origin
    exposed = reply["headers"].get("Access-Control-Expose-Headers", "").split(",")
    assert ({"Location", "ETag", "X-Request-Id", "Idempotent-Replayed"} <= set(exposed)) is bool(
        origin
    )
    assert "*" not in str(reply["headers"])


def test_security_headers_forbid_what_a_browser_might_do_with_an_answer() -> None:
    assert SECURITY_HEADERS["Content-Security-Policy"] == (
        "default-src 'none'; frame-ancestors 'none'"
    )
    assert SECURITY_HEADERS["X-Frame-Options"] == "DENY"
    assert SECURITY_HEADERS["Referrer-Policy"] == "no-referrer"
    assert SECURITY_HEADERS["X-Content-Type-Options"] == "nosniff"
    assert SECURITY_HEADERS["Cache-Control"] == "no-store"
    assert SECURITY_HEADERS["Strict-Transport-Security"].startswith("max-age=")


def test_no_content_has_no_body() -> None:
    reply = get(api_with(no_content))
    assert (reply["statusCode"], reply["body"]) == (204, "")


@pytest.mark.parametrize(
    ("content_type", "attached"),
    [
        ("application/json", False),
        ("Application/JSON; charset=utf-8", False),
        ("text/html", True),
        ("image/svg+xml", True),
        ("application/jsonx", True),
        ("text/html; application/json", True),
    ],
)
def test_what_a_sender_stored_runs_nowhere(content_type: str, *, attached: bool) -> None:
    headers = stored(b"<script>", content_type).headers
    assert headers["Content-Type"] == content_type
    assert (headers.get("Content-Disposition") == "attachment") is attached


@pytest.mark.parametrize(
    ("whole", "route", "location"),
    [
        ("/api/view", "/view", "/api/events/1"),
        ("/a/b/view/", "/view", "/a/b/events/1"),
        ("/view", "/view", "/events/1"),
        ("/api/events/7/replay", "/events/{event_id}/replay", "/api/events/1"),
        (None, "/view", "/events/1"),
    ],
)
def test_a_location_is_below_the_path_that_the_client_used(
    whole: str | None, route: str, location: str
) -> None:
    # As API Gateway tells it: on execute-api, a custom domain with and without a base path
    api = Api("test", AuthConfig(AuthMode.TOKEN, "direct"))
    place: dict[str, str] = {"Location": "/events/1"}
    view = api.route(route, methods=["GET"], scope=None)
    view(lambda _call, **_path: answer({}, 202, place))
    context = {"resourcePath": route} | ({} if whole is None else {"path": whole})
    assert get(api, {"event_id": "7"}, **context)["headers"]["Location"] == location


def coded(body: bytes, coding: str, max_body: int = 1000) -> tuple[dict[str, Any], list[bytes]]:
    """(the answer to a body in that coding, the bodies that the handler got)."""
    api = Api("test", AuthConfig(AuthMode.TOKEN, "direct"))
    seen: list[bytes] = []

    @api.route("/view", methods=["POST"], scope=None, max_body=max_body)
    def view(request: Request) -> Response:
        seen.append(request.body)
        return no_content()

    event = {
        "requestContext": {"httpMethod": "POST", "resourcePath": "/view"},
        "headers": {"content-encoding": coding},
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }
    return api(event, None), seen


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", " GZIP "])
def test_a_compressed_body_is_read(coding: str) -> None:
    for body in (gzip.compress(b"{}"), gzip.compress(b"{") + gzip.compress(b"}")):
        assert coded(body, coding)[1] == [b"{}"]
    # API Gateway may have unpacked it before.
    assert coded(b"{}", coding)[1] == [b"{}"]
    assert coded(b"{}", "identity")[1] == [b"{}"]


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "x"])
def test_another_coding_is_refused_with_the_one_that_is_read(coding: str) -> None:
    reply, seen = coded(gzip.compress(b"{}"), coding)
    assert (reply["statusCode"], reply["headers"]["Accept-Encoding"], seen) == (415, "gzip", [])


def test_broken_gzip_is_refused() -> None:
    whole = gzip.compress(b"{}")
    for body in (whole[:-1], whole + b"more", b"\x1f\x8bnothing", b"\x1f\x8b"):
        reply, seen = coded(body, "gzip")
        assert (reply["statusCode"], seen) == (400, [])


def test_gzip_of_very_many_members_is_refused_at_once() -> None:
    empty = gzip.compress(b"")
    assert coded(gzip.compress(b"{}") + empty * 99, "gzip", MAX_BODY_BYTES)[1] == [b"{}"]
    started = time.process_time()
    for number in (101, 200_000):
        reply, seen = coded(empty * number, "gzip", MAX_BODY_BYTES)
        assert (reply["statusCode"], seen) == (400, [])
        assert "members" in reply["body"]
    assert time.process_time() - started < 2


def test_a_bomb_is_not_unpacked() -> None:
    assert coded(gzip.compress(b"0" * 1000), "gzip")[1] == [b"0" * 1000]
    bomb = gzip.compress(b"0" * 20_000_000)
    tracemalloc.start()
    reply, seen = coded(bomb, "gzip", max_body=200_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (reply["statusCode"], seen) == (413, [])
    assert peak < 2_000_000
