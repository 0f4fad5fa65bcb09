"""The Slack adapter against a real HTTP server, and the cache of secrets behind it."""

import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib.alerts import slack
from chalicelib.alerts.slack import Slack, Verdict
from chalicelib.aws.ssm import ABSENT_SECONDS, REFUSED_SECONDS, Secrets
from chalicelib.outbound.send import Sender

pytestmark = pytest.mark.enable_socket
MESSAGE = {"text": "CI failed", "blocks": []}
NOW = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
PARAMETER = "/eventline/local/slack/webhook_url"


class Receiver(ThreadingHTTPServer):
    """Slack, as far as the adapter can tell. A post to `/hang` gets no answer, one to `/reset` a
    reset, any other what `answers_to` said."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.posts: list[tuple[str, Any, str]] = []
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.release = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def answers_to(
        self, path: str, status: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> str:
        """Let `path` be answered so; its URL."""
        self.answers[path] = (status, {"Content-Length": str(len(body)), **(headers or {})}, body)
        return self.url + path

    def close(self) -> None:
        """Let go of whoever hangs, and stop."""
        self.release.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def shutdown_request(self, request: Any) -> None:
        if request.fileno() >= 0:
            super().shutdown_request(request)

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, json.loads(body), self.headers["Content-Type"]))
        if self.path == "/hang":
            self.server.release.wait(10)
        elif self.path == "/reset":
            # With a linger of 0 s, closing sends a reset.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        else:
            status, headers, answer = self.server.answers[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def make_slack() -> Callable[..., Slack]:
    def make(*urls: str | None, loopback: bool = True) -> Slack:
        """Slack behind the first of `urls`; behind the second when it is asked to look again."""
        return Slack(
            lambda: Sender(slack.LIMITS, loopback=loopback, now=lambda: NOW),
            lambda max_age: urls[0] if max_age is None else urls[-1],
            loopback=loopback,
        )

    return make


def test_a_message_is_posted_as_json(receiver: Receiver, make_slack: Callable[..., Slack]) -> None:
    outcome = make_slack(receiver.answers_to("/hook", 200, b"ok")).post({"text": "Zürich 🔴"})

    assert outcome.verdict is Verdict.DELIVERED
    ((path, body, content_type),) = receiver.posts
    assert (path, body) == ("/hook", {"text": "Zürich 🔴"})
    assert content_type == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("status", "reply"),
    [
        (400, b"invalid_payload"),
        (400, b"no_text"),
        (403, b"action_prohibited"),
        (403, b"invalid_token"),
        (404, b"no_service"),
        (410, b"channel_is_archived"),
    ],
)
def test_a_refusal_is_for_good_and_says_why(
    receiver: Receiver, make_slack: Callable[..., Slack], status: int, reply: bytes
) -> None:
    outcome = make_slack(receiver.answers_to("/hook", status, reply)).post(MESSAGE)

    assert outcome.verdict is Verdict.GONE
    assert outcome.code == f"http-{status}"
    assert outcome.reason == f"Slack answered {status}: {reply.decode()}"
    assert len(receiver.posts) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_what_passes_is_tried_again(
    receiver: Receiver, make_slack: Callable[..., Slack], status: int
) -> None:
    outcome = make_slack(receiver.answers_to("/hook", status)).post(MESSAGE)

    assert outcome.verdict is Verdict.RETRY
    assert outcome.retry_after is None
    assert len(receiver.posts) == 1


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("30", 30),
        ("0", 0),
        ("999999999999", 3600),
        ("Sat, 14 Mar 2026 12:01:30 GMT", 90),
        ("Sat, 14 Mar 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
    ],
)
def test_slacks_wish_to_wait_is_told(
    receiver: Receiver, make_slack: Callable[..., Slack], retry_after: str, seconds: int | None
) -> None:
    url = receiver.answers_to("/hook", 429, b"rate_limited", {"Retry-After": retry_after})
    outcome = make_slack(url).post(MESSAGE)

    assert outcome.verdict is Verdict.RETRY
    assert outcome.retry_after == seconds


def test_a_redirect_is_not_followed(receiver: Receiver, make_slack: Callable[..., Slack]) -> None:
    there = receiver.answers_to("/there", 200, b"ok")
    outcome = make_slack(receiver.answers_to("/hook", 307, b"", {"Location": there})).post(MESSAGE)

    assert outcome.verdict is Verdict.RETRY
    assert [path for path, *_ in receiver.posts] == ["/hook"]


def test_a_receiver_that_hangs_is_left_after_five_seconds(
    receiver: Receiver, make_slack: Callable[..., Slack]
) -> None:
    begun = time.monotonic()
    outcome = make_slack(receiver.url + "/hang").post(MESSAGE)

    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "time-out")
    assert 4.5 < time.monotonic() - begun < 8
    assert len(receiver.posts) == 1


def test_a_reset_is_tried_again_later_and_not_at_once(
    receiver: Receiver, make_slack: Callable[..., Slack]
) -> None:
    outcome = make_slack(receiver.url + "/reset").post(MESSAGE)

    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "no-answer")
    assert outcome.reason == "no answer from Slack: no-answer"
    assert len(receiver.posts) == 1


def test_nobody_at_the_port_is_tried_again(
    receiver: Receiver, make_slack: Callable[..., Slack]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    outcome = make_slack(f"http://127.0.0.1:{port}/hook").post(MESSAGE)

    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "no-connection")


def test_a_webhook_whose_host_is_inside_is_not_called(
    receiver: Receiver,
) -> None:
    port = receiver.server_port
    inside = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]
    outcome = Slack(
        lambda: Sender(slack.LIMITS, look_up=lambda *_: inside),
        lambda _: f"https://hooks.example.com:{port}/hook",
    ).post(MESSAGE)

    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "address-refused")
    assert receiver.posts == []


def test_no_log_line_and_no_reason_holds_the_url(
    receiver: Receiver, make_slack: Callable[..., Slack], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="eventline")
    receiver.answers_to("/secret", 404, b"no_service")
    outcomes = [
        make_slack(receiver.url + "/secret").post(MESSAGE),
        make_slack("http://127.0.0.1:1/secret").post(MESSAGE),
        make_slack("http://example.com/secret").post(MESSAGE),
        make_slack("https://[secret/").post(MESSAGE),
    ]

    assert [str(vars(record)) for record in caplog.records if "secret" in str(vars(record))] == []
    assert all("secret" not in outcome.reason for outcome in outcomes)


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_webhook_that_was_replaced_is_looked_up_and_used(
    receiver: Receiver, make_slack: Callable[..., Slack], status: int
) -> None:
    # Given a webhook that is gone, and another in its place
    old = receiver.answers_to("/old", status, b"no_service")
    new = receiver.answers_to("/new", 200, b"ok")

    # Then the message goes to the other
    assert make_slack(old, new).post(MESSAGE).verdict is Verdict.DELIVERED
    assert [path for path, *_ in receiver.posts] == ["/old", "/new"]


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        (None, True),
        ("", True),
        ("change-me", True),
        ("http://example.com/hook", True),
        ("http://127.0.0.1:8670/hook", False),
        ("http://127.0.0.1.example.com/hook", True),
        ("https://user:password@example.com/hook", True),
        ("https://[/hook", True),
        ("file:///etc/passwd", True),
        (" https://example.com/hook\n", True),
        ("https://example.com:port/", True),
    ],
)
def test_an_unusable_webhook_makes_alerts_wait_and_is_logged(
    make_slack: Callable[..., Slack],
    caplog: pytest.LogCaptureFixture,
    url: str | None,
    loopback: bool,
) -> None:
    outcome = make_slack(url, loopback=loopback).post(MESSAGE)

    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "webhook-not-set")
    assert "webhook not usable" in caplog.text


class FakeParameters:
    """SSM: its parameters, its fault if it has one, and how often it was asked."""

    def __init__(self, **values: str) -> None:
        self.values = values
        self.fault: Exception | None = None
        self.calls = 0

    def get_parameter(self, Name: str, WithDecryption: bool) -> Any:  # noqa: N803 - boto's names
        assert WithDecryption
        self.calls += 1
        if self.fault:
            raise self.fault
        if Name not in self.values:
            raise ClientError({"Error": {"Code": "ParameterNotFound"}}, "GetParameter")
        return {"Parameter": {"Value": self.values[Name]}}


def test_a_secret_is_read_once_and_again_when_it_is_old() -> None:
    # Given a secret that was read, and changed since
    time_now = 0.0
    ssm = FakeParameters(**{PARAMETER: "one"})
    secrets = Secrets(ssm, 300, monotonic=lambda: time_now)
    assert secrets.get(PARAMETER) == "one"
    ssm.values[PARAMETER] = "two"

    # Then it is used until its age is over, or shorter where that is asked for
    time_now = 299.0
    assert secrets.get(PARAMETER) == "one"
    assert ssm.calls == 1
    assert secrets.get(PARAMETER, max_age=5) == "two"
    ssm.values[PARAMETER] = "three"
    time_now = 303.0
    assert secrets.get(PARAMETER, max_age=5) == "two"
    time_now = 600.0
    assert secrets.get(PARAMETER) == "three"
    assert ssm.calls == 3


def test_a_missing_secret_is_none_and_is_found_once_it_is_there() -> None:
    time_now = 0.0
    ssm = FakeParameters()
    secrets = Secrets(ssm, 300, monotonic=lambda: time_now)

    # Looked for again and again, it is asked for once in a moment
    assert [secrets.get(PARAMETER) for _ in range(100)] == [None] * 100
    assert ssm.calls == 1
    ssm.values[PARAMETER] = "set"
    assert secrets.get(PARAMETER) is None
    time_now = ABSENT_SECONDS
    assert secrets.get(PARAMETER) == "set"
    assert ssm.calls == 2


def test_a_secret_that_must_be_new_is_looked_for_although_there_was_none() -> None:
    ssm = FakeParameters()
    secrets = Secrets(ssm, 300)
    assert secrets.get(PARAMETER) is None
    ssm.values[PARAMETER] = "set"
    assert secrets.get(PARAMETER, max_age=0) == "set"


def test_while_ssm_can_not_be_reached_the_last_secret_is_used() -> None:
    time_now = 0.0
    ssm = FakeParameters(**{PARAMETER: "one"})
    secrets = Secrets(ssm, 300, monotonic=lambda: time_now)
    secrets.get(PARAMETER)
    time_now = 1000.0
    ssm.fault = EndpointConnectionError(endpoint_url="https://ssm")

    assert secrets.get(PARAMETER) == "one"


def test_while_ssm_throttles_it_is_not_asked_with_every_request() -> None:
    # AWS General Reference, "AWS Systems Manager endpoints and quotas": 40 GetParameter a second.
    time_now = 0.0
    ssm = FakeParameters(**{PARAMETER: "one"})
    throttled = ClientError({"Error": {"Code": "ThrottlingException"}}, "GetParameter")
    ssm.fault = throttled
    secrets = Secrets(ssm, 300, monotonic=lambda: time_now)

    # Given none that was read: the error passes, and a moment later SSM is asked again
    for _ in range(100):
        with pytest.raises(ClientError):
            secrets.get(PARAMETER)
    assert ssm.calls == 1
    time_now, ssm.fault = REFUSED_SECONDS, None
    assert secrets.get(PARAMETER) == "one"

    # Given an old one: it goes on being used
    time_now, ssm.fault = 1000.0, throttled
    assert [secrets.get(PARAMETER) for _ in range(100)] == ["one"] * 100
    assert ssm.calls == 3


def test_threads_that_start_at_once_read_a_secret_once() -> None:
    ssm = FakeParameters(**{PARAMETER: "one"})
    secrets = Secrets(ssm, 300)
    read = ssm.get_parameter

    def slowly(**arguments: Any) -> Any:
        time.sleep(0.02)
        return read(**arguments)

    ssm.get_parameter = slowly  # type: ignore[assignment]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: secrets.get(PARAMETER), range(64)))
    assert found == ["one"] * 64
    assert ssm.calls == 1


def test_a_secret_that_was_never_read_is_no_secret_when_ssm_fails() -> None:
    ssm = FakeParameters()
    ssm.fault = ClientError({"Error": {"Code": "ThrottlingException"}}, "GetParameter")

    with pytest.raises(ClientError):
        Secrets(ssm, 300).get(PARAMETER)
