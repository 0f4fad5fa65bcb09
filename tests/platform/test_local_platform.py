"""`make up` on a fresh checkout, as a person uses it: start, send, stop, start again."""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.checkout import Checkout, Up, is_running, platform_up
from tests.support.emulator import free_port

pytestmark = [pytest.mark.emulator, pytest.mark.slow]

STEPS = ["RECEIVED", "ENQUEUED", "PROCESSED"]
EXPORTED = {
    "API_URL", "DEPLOYED_API_URL", "API_TOKEN", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "STAGE",
}  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh checkout."""
    return Checkout(tmp_path / "eventline")


def paste(command: str) -> dict[str, Any]:
    """Run the printed curl line in a shell, or do what it says where there is no curl."""
    if shutil.which("curl"):
        told = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True
        ).stdout
    else:
        words = shlex.split(command.replace("\\\n", " "))
        headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
        (url,) = (word for word in words if word.startswith("http"))
        data = words[words.index("-d") + 1].encode()
        told = requests.post(url, headers=headers, data=data, timeout=60).text
    answer: dict[str, Any] = json.loads(told)
    return answer


def get(url: str, token: str) -> requests.Response:
    """A GET with a token, which must be answered with a 200."""
    answer = requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def follow(url: str, token: str, event_id: str) -> dict[str, Any]:
    """The event once it is PROCESSED."""
    deadline = time.monotonic() + 60
    while True:
        event: dict[str, Any] = get(f"{url}/events/{event_id}", token).json()
        if event["status"] == "PROCESSED":
            return event
        assert time.monotonic() < deadline, event
        time.sleep(0.1)


def listed(url: str, token: str) -> list[str]:
    """The ids on the first page of the list."""
    return [event["eventId"] for event in get(f"{url}/events?limit=100", token).json()["items"]]


@contextmanager
def chalice_local(checkout: Checkout) -> Iterator[str]:
    """The URL of a bare `chalice local` in another terminal, whose shell knows of no emulator."""
    program, port = Path(sys.executable).with_name("chalice"), free_port()
    process = subprocess.Popen(
        [str(program), "local", "--stage", "local", "--port", str(port)],
        cwd=checkout.path,
        env=checkout.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not is_open(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        # It and its worker.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def assert_smoke_passes(checkout: Checkout) -> None:
    """Check that `make smoke` does all of its steps."""
    smoke = checkout.make("smoke")
    assert smoke.returncode == 0, smoke.stdout
    assert smoke.stdout.count("  ok ") >= 20


def assert_chalice_local_works_beside(up: Up, checkout: Checkout, env: dict[str, str]) -> None:
    """Check that what a bare `chalice local` takes, the platform processes."""
    with chalice_local(checkout) as url:
        answer = paste(up.curl().replace(env["API_URL"], url))
        follow(env["DEPLOYED_API_URL"], env["API_TOKEN"], answer["eventId"])


def is_open(port: int) -> bool:
    """Whether something listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def assert_all_gone(checkout: Checkout, started: set[int]) -> None:
    """Check that nothing that ran runs, and that nobody listens."""
    deadline = time.monotonic() + 15
    while any(is_running(pid) for pid in started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in started if is_running(pid)] == []
    assert not is_open(checkout.api_port)
    assert not is_open(checkout.aws_port)


def started_by(up: Up) -> set[int]:
    """What a running platform consists of."""
    found = up.notice()
    if Path("/proc").exists():
        # At least `make up` itself or its program, the emulator, and `chalice local`.
        assert len(found) >= 2
    return found


def test_the_platform_starts_works_stops_and_finds_its_data_again(checkout: Checkout) -> None:
    sent: list[str] = []

    # First start: both URLs, and the smoke test on top
    with platform_up(checkout) as up:
        env = checkout.sourced_env()
        assert env.keys() >= EXPORTED
        assert env["STAGE"] == "local"
        assert env["API_URL"] == f"http://127.0.0.1:{checkout.api_port}"
        assert env["AWS_ENDPOINT_URL"] == f"http://127.0.0.1:{checkout.aws_port}"
        assert env["DEPLOYED_API_URL"].startswith(env["AWS_ENDPOINT_URL"])
        assert env["API_TOKEN"] in up.curl()
        assert env["DEPLOYED_API_URL"] in up.output()
        assert f"{env['API_URL']}/console#token={env['API_TOKEN']}\n" in up.output()
        for url in (env["API_URL"], env["DEPLOYED_API_URL"]):
            answer = paste(up.curl().replace(env["API_URL"], url))
            assert answer["status"] == "accepted"
            event = follow(url, env["API_TOKEN"], answer["eventId"])
            assert [step["status"] for step in event["timeline"]] == STEPS
            payload = get(f"{url}/events/{event['eventId']}/payload", env["API_TOKEN"])
            assert payload.content == b'{"eventType":"demo","message":"hello"}'
            sent.append(event["eventId"])

        assert_smoke_passes(checkout)
        assert_chalice_local_works_beside(up, checkout, env)
        second = checkout.make("up", API_PORT=free_port(), AWS_PORT=free_port())
        assert second.returncode != 0
        assert "already running in this checkout" in second.stdout
        assert checkout.env_file.exists()

        started = started_by(up)
        up.interrupt()

        assert "Stopping." in up.output()
        assert "had to be killed" not in up.output()
        assert "Traceback" not in up.output()
        assert not checkout.env_file.exists()
        assert_all_gone(checkout, started)
        assert checkout.changes() == ""

    # Second start: the data of the first
    began = time.monotonic()
    with platform_up(checkout) as up:
        assert time.monotonic() - began < 30
        env = checkout.sourced_env()
        for url in (env["API_URL"], env["DEPLOYED_API_URL"]):
            assert set(sent) <= set(listed(url, env["API_TOKEN"]))
            event = follow(url, env["API_TOKEN"], sent[0])
            result = get(f"{url}/events/{sent[0]}/result", env["API_TOKEN"]).json()
            assert result["data"] == {"eventType": "demo", "message": "hello"}
            assert [step["status"] for step in event["timeline"]] == STEPS
        third = paste(up.curl())["eventId"]
        follow(env["API_URL"], env["API_TOKEN"], third)

        # Even when it is killed outright, what it started does not stay behind
        started = started_by(up)
        up.kill()
        if Path("/proc").exists():
            assert_all_gone(checkout, started)
        assert checkout.changes() == ""


@pytest.mark.parametrize("name", ["API_PORT", "AWS_PORT"])
def test_a_port_that_is_taken_is_named(checkout: Checkout, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        refused = checkout.make("up", **{name: port})

    assert refused.returncode != 0
    assert f"port {port} ({name}) is taken by another program" in refused.stdout
    assert f"make up {name}={port + 10}" in refused.stdout
    assert "Traceback" not in refused.stdout
    assert not checkout.env_file.exists()
    assert checkout.changes() == ""
