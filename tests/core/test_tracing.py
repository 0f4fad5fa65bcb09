"""Sub-segments of X-Ray, as the daemon on the machine gets them: over a real UDP socket."""

import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.aws.threads import in_threads
from chalicelib.core.log import log_context
from chalicelib.core.tracing import span
from tests.support.app_on_moto import Platform

pytestmark = pytest.mark.enable_socket

ROOT = "1-67891233-abcdef012345678912345678"
PARENT = "53995c3f42cd8ad8"
SAMPLED = f"Root={ROOT};Parent={PARENT};Sampled=1"
MARKER = "p4yl04d-m4rk3r"


class Daemon:
    """What listens where Lambda's X-Ray daemon does."""

    def __init__(self, listening: socket.socket) -> None:
        self._socket = listening
        self.address = "{}:{}".format(*listening.getsockname())

    def received(self) -> list[dict[str, Any]]:
        """The segments that have come."""
        found: list[dict[str, Any]] = []
        while True:
            try:
                header, _, text = self._socket.recv(65_536).partition(b"\n")
            except BlockingIOError:
                return found
            assert json.loads(header) == {"format": "json", "version": 1}
            found.append(json.loads(text))


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A daemon, and a run that is traced."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(0)
        daemon = Daemon(listening)
        monkeypatch.setenv("AWS_XRAY_DAEMON_ADDRESS", daemon.address)
        monkeypatch.setenv("_X_AMZN_TRACE_ID", SAMPLED)
        yield daemon


def test_a_step_is_a_subsegment_of_the_run(daemon: Daemon) -> None:
    # When a step is taken on behalf of a request
    before = time.time()
    with log_context(requestId="r", eventId="e", owner="alice"), span("bronze"):
        time.sleep(0.01)
    # Then the daemon has it, in the form of the segment documents
    (segment,) = daemon.received()
    assert re.fullmatch(r"[0-9a-f]{16}", segment.pop("id"))
    assert before <= segment.pop("start_time") <= segment.pop("end_time") - 0.01
    assert segment == {
        "name": "bronze",
        "trace_id": ROOT,
        "parent_id": PARENT,
        "type": "subsegment",
        "namespace": "aws",
        "annotations": {"requestId": "r", "eventId": "e"},
    }


def test_steps_are_nested_in_threads_too(daemon: Daemon) -> None:
    def work(number: int) -> None:
        with span(f"inner-{number}", namespace=None):
            pass

    with span("outer"):
        in_threads(work, [1, 2])
    with span("after"):
        pass
    segments = {segment["name"]: segment for segment in daemon.received()}
    assert len(segments) == 4
    assert {segments[f"inner-{number}"]["parent_id"] for number in (1, 2)} == {
        segments["outer"]["id"]
    }
    assert segments["after"]["parent_id"] == PARENT
    assert "namespace" not in segments["inner-1"]


def test_a_step_that_fails_is_a_fault_without_its_words(daemon: Daemon) -> None:
    def fail() -> None:
        with span("bronze"):
            raise ValueError(MARKER)

    with pytest.raises(ValueError, match=MARKER):
        fail()
    (segment,) = daemon.received()
    assert segment["fault"] is True
    assert MARKER not in json.dumps(segment)


def test_what_another_run_left_over_is_not_this_one_s_parent(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "1-67891234-abcdef012345678912345678"
    with span("outer"):
        monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root={other};Parent={PARENT};Sampled=1")
        with span("inner"):
            pass
    inner, outer = daemon.received()
    assert (inner["trace_id"], inner["parent_id"]) == (other, PARENT)
    assert outer["trace_id"] == ROOT


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        f"Root={ROOT};Parent={PARENT};Sampled=0",
        f"Root={ROOT};Parent={PARENT}",
        f"Root={ROOT};Sampled=1",
        f"Root=nonsense;Parent={PARENT};Sampled=1",
        f"Root={ROOT};Parent=nonsense;Sampled=1",
        f"Root={ROOT};Parent={PARENT};Sampled=10",
        ";;=;Sampled=1;",
    ],
)
def test_a_run_that_is_not_traced_sends_nothing(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, header: str | None
) -> None:
    if header is None:
        monkeypatch.delenv("_X_AMZN_TRACE_ID")
    else:
        monkeypatch.setenv("_X_AMZN_TRACE_ID", header)
    with span("bronze"):
        pass
    assert daemon.received() == []


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nonsense",
        "127.0.0.1",
        "127.0.0.1:99999999",
        "127.0.0.1:99999",
        "999.0.0.1:2000",
        "no.such.host.invalid:2000",
        "127.0.0.1:1",
        "tcp:127.0.0.1:2000",
        "255.255.255.255:2000",
    ],
)
def test_a_daemon_that_can_not_be_reached_harms_nobody(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("AWS_XRAY_DAEMON_ADDRESS", address)
    begun = time.monotonic()
    for _ in range(20):
        with span("bronze"):
            pass
    # No name is looked up, and nothing is waited for
    assert time.monotonic() - begun < 1


def test_no_address_is_no_daemon(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_XRAY_DAEMON_ADDRESS")
    with span("bronze"):
        pass
    assert daemon.received() == []


def test_the_address_may_name_both_protocols(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_XRAY_DAEMON_ADDRESS", f"tcp:127.0.0.1:9 udp:{daemon.address}")
    with span("bronze"):
        pass
    assert [segment["name"] for segment in daemon.received()] == ["bronze"]


def test_a_daemon_that_reads_nothing_blocks_nobody(daemon: Daemon) -> None:
    # More than its socket can hold
    begun = time.monotonic()
    for _ in range(3000):
        with span("bronze"):
            pass
    assert time.monotonic() - begun < 5


def test_an_event_s_steps_are_seen_from_its_request_to_its_end(
    platform: Platform, daemon: Daemon
) -> None:
    # Given a request that is traced
    event_id = platform.sender().event_id({"eventType": "demo", "secret": MARKER})
    ingested = daemon.received()
    assert ingested[0]["name"] == "tokens"
    assert sorted(segment["name"] for segment in ingested[1:]) == ["ledger", "queue"]
    # When the worker takes it
    platform.work()
    processed = daemon.received()
    # Then its steps say whose they are
    assert [segment["name"] for segment in processed] == [
        "processor", "bronze", "silver", "ledger", "bus",
    ]  # fmt: skip
    (request_id,) = {segment["annotations"]["requestId"] for segment in ingested[1:]}
    own = [segment["annotations"] for segment in (processed[0], processed[3])]
    assert {one["eventId"] for one in own} == {event_id}
    assert {one["requestId"] for one in own} == {request_id}
    assert MARKER not in json.dumps([ingested, processed])
