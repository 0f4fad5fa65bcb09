"""A process that dies between two AWS calls, told by the number of the call or its name."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from chalicelib.aws.threads import in_turn
from chalicelib.core import clock
from chalicelib.core.ids import keyed_event_id, new_event_id
from chalicelib.events.ingest import IngestDeps, Submission
from chalicelib.events.model import Status
from tests.support.deployed_stage import Stage, unique, wait_for
from tests.support.factories import make_submission, no_schema

SMALL = b'{"eventType":"crash","message":"hello"}'
MEDIUM = b'{"eventType":"crash","message":"' + b"hello" * 2000 + b'"}'
"""Too large to wait in the ledger."""
A = TypeVar("A")
B = TypeVar("B")


class CrashError(BaseException):
    """Raised where a process would have died: nothing in the application catches it."""


@dataclass
class CrashPoint:
    """Lets `calls` calls through, then dies; with `operation`, after that operation's first call.

    0 calls dies before the first. All clients that share the point share its count.
    """

    calls: int | None = None
    operation: str | None = None
    made: list[str] = field(default_factory=list)

    def guard(self, client: Any) -> Any:
        """`client`, dying at this point."""
        return _Guarded(client, self)

    def check(self) -> None:
        """Die if this is where it happens."""
        if self.calls is not None and len(self.made) >= self.calls:
            raise CrashError
        if self.operation is not None and self.operation in self.made:
            raise CrashError


class _Guarded:
    def __init__(self, client: Any, point: CrashPoint) -> None:
        self._client = client
        self._point = point

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._client, name)
        if name == "get_paginator":
            return operation

        def call(**arguments: Any) -> Any:
            self._point.check()
            try:
                return operation(**arguments)
            finally:
                self._point.made.append(name)
                self._point.check()

        return call


@dataclass(frozen=True)
class Attempt:
    """One ingest: its request, and the id that its event has or would have had."""

    submission: Submission
    deps: IngestDeps
    event_id: str


def prepare(
    stage: Stage, point: CrashPoint, body: bytes, key: str | None, *, queue_first: bool = False
) -> Attempt:
    """An ingest in this process that dies at `point`. What it writes at the same time is written
    one after the other, the message first if `queue_first`."""

    def each(work: Callable[[A], B], values: Iterable[A]) -> list[B]:
        return in_turn(work, list(values)[::-1] if queue_first else values)

    now, entropy, owner = clock.utc_now(), os.urandom(10), unique("owner")
    deps = IngestDeps(
        ledger=stage.ledger(point.guard(stage.dynamodb)),
        lake=stage.lake(point.guard(stage.s3)),
        queue=stage.queue(point.guard(stage.sqs)),
        check_schema=no_schema,
        max_event_bytes=stage.settings.max_event_bytes,
        now=lambda: now,
        random=lambda _: entropy,
        each=each,
    )
    submission = make_submission(body, owner=owner, key=key)
    event_id = new_event_id(now, entropy) if key is None else keyed_event_id(owner, key)
    return Attempt(submission, deps, event_id)


def assert_whole(stage: Stage, event_id: str, body: bytes, owner: str) -> None:
    """Check that the event came to its end, once."""
    record = stage.follow(event_id)
    assert record.status is Status.PROCESSED
    assert stage.lake().get_bronze(record.event.s3_key, record.event.s3_range) == body
    wait_for("a quiet queue", lambda: not any(stage.waiting().values()))
    assert stage.silver_documents(record.event) == 1
    assert stage.versions(stage.settings.bronze_bucket, record.event.s3_key) == 1
    assert stage.records_of(owner) == [event_id]
    assert not stage.dead_letters_with(event_id)
    steps = [step["status"] for step in record.timeline]
    assert (steps[0], steps[-1], steps.count("PROCESSED")) == ("RECEIVED", "PROCESSED", 1)


def assert_handed_over(stage: Stage, event_id: str) -> None:
    """Check that the timeline tells when the event was handed to the worker."""
    record = stage.record(event_id)
    assert record is not None
    assert "ENQUEUED" in [step["status"] for step in record.timeline]
