"""Whatever hangs, the API answers before API Gateway gives up on it, and says when to come again.

Here AWS is a server that takes connections and does not answer, or not to all calls, or by halves;
the time-outs, the retries and the deadline are the real ones.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

import app
from chalicelib.web.middleware import ANSWER_SECONDS
from tests.support.app_on_moto import sample
from tests.support.emulator import ROOT
from tests.support.factories import make_body, make_event, make_message
from tests.support.hanging_aws import hanging_aws

pytestmark = pytest.mark.slow

LAMBDA_SECONDS = 29
AT_A_TIME = 3
DESTINATION = {"url": "https://shop.example.com/", "eventTypes": ["*"]}
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/events/batch"): {"events": [{"eventType": "demo", "n": n} for n in range(500)]},
    ("PUT", "/schemas/{event_type}"): {"type": "object"},
    ("POST", "/tokens"): {"owner": "bob", "scopes": ["events:read"]},
    ("POST", "/items"): {"name": "a"},
    ("PUT", "/items/{item_id}"): {"name": "a"},
    ("POST", "/subscriptions"): {"protocol": "email", "endpoint": "a@example.com"},
    ("POST", "/destinations"): DESTINATION,
    ("PUT", "/destinations/{destination_id}"): DESTINATION,
    ("POST", "/destinations/{destination_id}/retry"): {"failedSince": "2026-01-01"},
}
CONDITIONS = {"If-Match": '"1"'}
WITHOUT_AWS = {
    *("/health", "/openapi.json", "/settings", "/tokens/self", "/console", "/console/{file}")
}
"""Paths whose routes ask nothing of AWS; an upload's form is made without it, too."""
ROUTES = sorted(
    (method, path)
    for path, methods in app.app.routes.items()
    for method in methods
    if path not in WITHOUT_AWS and (method, path) != ("POST", "/uploads")
)
KEYED = json.dumps(
    {"events": [{"eventType": "demo", "n": n, "idempotencyKey": f"k{n}"} for n in range(500)]}
)
Case = tuple[str, str, str, dict[str, str]]


def case(method: str, path: str) -> Case:
    """A good request on a route."""
    body = BODIES.get((method, path), {"eventType": "demo"})
    return method, path, json.dumps(body), CONDITIONS


def ask(url: str, cases: Sequence[Case], seconds: float = LAMBDA_SECONDS) -> list[dict[str, Any]]:
    """The answers of an API function whose AWS is at `url`."""
    return probe(url, "cases", cases, seconds)


def probe(url: str, kind: str, order: Sequence[Any], seconds: float) -> list[dict[str, Any]]:
    """What comes of `order` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.hang_probe"],
        cwd=ROOT,
        env={**os.environ, "AWS_ENDPOINT_URL": url},
        input=json.dumps({kind: order, "seconds": seconds}),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert len(lines) == len(order), done.stdout[-2000:] + done.stderr[-2000:]
    return [json.loads(line.removeprefix("ANSWER ")) for line in lines]


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    """Runs several probes side by side: what they do is wait. Few at a time, since each has to
    come to its end within seconds."""
    with ThreadPoolExecutor(AT_A_TIME) as running:
        yield running


@dataclass(frozen=True)
class Ended:
    """What came of one probe: its answer, and how many calls AWS saw."""

    answer: dict[str, Any]
    attempts: int


def one_probe(
    kind: str,
    order: Any,
    seconds: float = LAMBDA_SECONDS,
    answered: tuple[bytes, ...] = (),
    *,
    by_halves: bool = False,
) -> Ended:
    """Probe once, with an AWS of its own that hangs."""
    with hanging_aws(answered, by_halves=by_halves) as aws:
        (answer,) = probe(aws.url, kind, [order], seconds)
        return Ended(answer, aws.attempts)


def check_unavailable(answer: dict[str, Any]) -> None:
    """It is the problem that says: try again."""
    assert answer["statusCode"] == 503, answer
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    assert int(answer["headers"]["Retry-After"]) > 0
    assert answer["headers"]["X-Request-Id"]
    problem = json.loads(answer["body"])
    assert (problem["status"], problem["code"]) == (503, "unavailable")


def test_every_route_answers_in_time_while_all_of_aws_hangs() -> None:
    cases = [case(*route) for route in ROUTES]
    workers = 10
    with hanging_aws() as aws, ThreadPoolExecutor(workers) as pool:
        shares = [cases[number::workers] for number in range(workers)]
        found = list(pool.map(lambda some: ask(aws.url, some), shares))
    answers = [
        (one[:2], answer)
        for some, answered in zip(shares, found, strict=True)
        for one, answer in zip(some, answered, strict=True)
    ]
    assert len(answers) == len(ROUTES)
    for route, answer in answers:
        assert answer["seconds"] < LAMBDA_SECONDS - 1, route
        check_unavailable(answer)
    assert aws.attempts >= 2 * len(ROUTES)


HALVES: dict[str, tuple[Case, tuple[bytes, ...]]] = {
    # Bronze and the look-up are answered: five hundred conditional puts hang, on 16 threads.
    "ledger of a batch with keys": (
        ("POST", "/events/batch", KEYED, {}),
        (b"PUT /", b"BatchGetItem", b"DynamoDB_20120810.Query"),
    ),
    "queue of a batch": (
        ("POST", "/events/batch", json.dumps(BODIES["POST", "/events/batch"]), {}),
        (b"PUT /", b"DynamoDB_20120810"),
    ),
    "ledger of an event": (("POST", "/events", '{"eventType":"demo"}', {}), (b"PUT /", b"SQS")),
}


@pytest.fixture(scope="module")
def halves(pool: ThreadPoolExecutor) -> dict[str, Future[Ended]]:
    return {
        name: pool.submit(one_probe, "cases", one, answered=answered)
        for name, (one, answered) in HALVES.items()
    }


@pytest.mark.parametrize("name", HALVES)
def test_an_answer_comes_in_time_where_a_later_call_hangs(
    halves: dict[str, Future[Ended]], name: str
) -> None:
    answer = halves[name].result().answer
    assert answer["seconds"] < LAMBDA_SECONDS - 1
    check_unavailable(answer)


STOPPED = ("/events", "/events/{event_id}/payload")


@pytest.fixture(scope="module")
def stopped(pool: ThreadPoolExecutor) -> dict[str, Future[Ended]]:
    return {
        path: pool.submit(one_probe, "cases", ("GET", path, "", {}), by_halves=True)
        for path in STOPPED
    }


@pytest.mark.parametrize("path", STOPPED)
def test_an_answer_that_stops_half_way_is_a_call_that_hangs(
    stopped: dict[str, Future[Ended]], path: str
) -> None:
    answer = stopped[path].result().answer
    assert answer["seconds"] < LAMBDA_SECONDS - 1
    check_unavailable(answer)


HURRIED: dict[str, Case] = {
    "threads of the index of events": case("GET", "/events"),
    "threads of another index": case("GET", "/items"),
    "threads of a batch": ("POST", "/events/batch", KEYED, {}),
    "no threads": case("GET", "/items/{item_id}"),
}
HURRY_SECONDS = 10
"""Less than all attempts at one call may take; as little as any stage gives a worker."""


@pytest.fixture(scope="module")
def hurried(pool: ThreadPoolExecutor) -> dict[str, Future[Ended]]:
    answered = (b"PUT /", b"BatchGetItem")
    return {
        name: pool.submit(
            one_probe, "cases", one, HURRY_SECONDS, answered if one[0] == "POST" else ()
        )
        for name, one in HURRIED.items()
    }


@pytest.mark.parametrize("name", HURRIED)
def test_no_attempt_is_begun_that_can_not_end_in_time(
    hurried: dict[str, Future[Ended]], name: str
) -> None:
    # Given a run that has less time left than all attempts at one call may take
    answer = hurried[name].result().answer
    # Then it gives up on the second attempt, or before that
    assert answer["seconds"] < HURRY_SECONDS - ANSWER_SECONDS + max_overrun()
    check_unavailable(answer)


def max_overrun() -> float:
    """A back-off after the last attempt, and what a busy machine takes."""
    return 2.5


def sqs(*bodies: str) -> dict[str, Any]:
    """What Lambda hands over from a queue."""
    record = sample("sqs_batch")["Records"][0]
    return {"Records": [{**record, "messageId": str(n), "body": b} for n, b in enumerate(bodies)]}


def events_of_the_worker() -> dict[str, Any]:
    """Ten messages, each of an event of its own."""
    events = [make_event(payload=make_body()) for _ in range(10)]
    return sqs(*(make_message(event, None) for event in events))


WORKERS: dict[str, Callable[[], dict[str, Any]]] = {
    "process_events": events_of_the_worker,
    "alert_ci_event": lambda: sqs(*(json.dumps({"title": f"a{n}"}) for n in range(10))),
    "notify_owners": lambda: {"Records": sample("dynamodb_insert")["Records"][:1]},
    "reconcile": lambda: {"stuckAfterSeconds": 0},
}


@pytest.fixture(scope="module")
def workers(pool: ThreadPoolExecutor) -> dict[str, Future[Ended]]:
    return {
        function: pool.submit(one_probe, "events", (function, make()), HURRY_SECONDS)
        for function, make in WORKERS.items()
    }


@pytest.mark.parametrize("function", WORKERS)
def test_a_worker_whose_aws_hangs_ends_within_its_time(
    workers: dict[str, Future[Ended]], function: str
) -> None:
    # Given as little time as any stage gives a worker
    ended = workers[function].result()
    # Then it raises, so that nothing counts as done, before Lambda would have killed it
    assert ended.answer["raised"]
    assert ended.answer["seconds"] < HURRY_SECONDS
    assert ended.attempts
