"""What sends alerts, and what it works with: Slack, the queues and the alarm topic in memory, and
time that stands still until a test moves it."""

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.alerts.groups import AlertGroup
from chalicelib.alerts.send import SendDeps, send_alerts
from chalicelib.alerts.slack import Outcome, Slack, Verdict
from chalicelib.alerts.store import AlertStore
from chalicelib.aws.sns import AlarmTopic
from chalicelib.aws.sqs import Delivery, Queue
from chalicelib.core import clock
from chalicelib.core.errors import BatchIncompleteError

START = datetime(2026, 3, 14, 12, 0, 10, tzinfo=UTC)
WINDOW = 300
VISIBILITY = 360
MAX_ATTEMPTS = 50
SHARDS = 3
FAILED = '{"status":"error","message":"Terraform Apply Failed"}'
OK = Outcome(Verdict.DELIVERED, "http-200", "Slack answered 200: ok")
DOWN = Outcome(Verdict.RETRY, "http-500", "Slack answered 500")
BUSY = Outcome(Verdict.RETRY, "http-429", "Slack answered 429", retry_after=30)
GONE = Outcome(Verdict.GONE, "http-404", "Slack answered 404: no_service")


class CrashError(BaseException):
    """The process is killed."""


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class FakeSlack(Slack):
    """Slack: `answer` for every post, or what `on_post` does."""

    def __init__(self) -> None:
        self.posts: list[Any] = []
        self.attempts = 0
        self.answer = OK
        self.on_post: Callable[[], None] = lambda: None

    def post(self, message: Any) -> Outcome:
        self.attempts += 1
        self.on_post()
        if self.answer.verdict is Verdict.DELIVERED:
            self.posts.append(message)
        return self.answer

    @property
    def texts(self) -> list[str]:
        return [post["text"] for post in self.posts]


class FakeTopic(AlarmTopic):
    """The alarm topic."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def publish(self, text: str) -> None:
        self.lines.append(text)


@dataclass
class Message:
    """A message of a queue."""

    message_id: str
    body: str
    attributes: dict[str, str]
    sent_at: datetime
    visible_at: datetime
    attempts: int = 0
    handle: str = ""


class FakeQueue(Queue):
    """An SQS queue; `receive` is Lambda's part."""

    def __init__(self, now: Clock) -> None:
        self._now = now
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.messages: list[Message] = []
        self.delays: list[int] = []
        self.waits: list[int] = []

    def send(
        self,
        body: str,
        attributes: dict[str, str] | None = None,
        *,
        delay: int | None = None,
        group: str | None = None,
    ) -> None:
        assert delay is None or 0 <= delay <= 900
        with self._lock:
            now = self._now()
            name = f"message-{next(self._numbers)}"
            due = now + timedelta(seconds=delay or 0)
            self.messages.append(Message(name, body, attributes or {}, now, due))
            if delay:
                self.delays.append(delay)

    def delete(self, receipt_handles: Sequence[str]) -> None:
        with self._lock:
            self.messages = [one for one in self.messages if one.handle not in receipt_handles]

    def put_off(self, waits: Sequence[tuple[str, int]]) -> None:
        with self._lock:
            for handle, wait in waits:
                assert 0 <= wait <= 43200
                self.waits.append(wait)
                for one in self.messages:
                    if one.handle == handle:
                        one.visible_at = self._now() + timedelta(seconds=wait)

    def receive(self, limit: int = 10) -> list[Delivery]:
        due = [one for one in self.messages if one.visible_at <= self._now()]
        deliveries = []
        for one in due[:limit]:
            one.attempts += 1
            one.handle = f"{one.message_id}/{one.attempts}"
            one.visible_at = self._now() + timedelta(seconds=VISIBILITY)
            deliveries.append(
                Delivery(
                    body=one.body,
                    receipt_handle=one.handle,
                    message_id=one.message_id,
                    attempt=one.attempts,
                    sent_at=clock.to_text(one.sent_at),
                )
            )
        return deliveries


class OneAtATime:
    """A client whose calls happen one after the other, as a database's conditional writes do, and
    of which one can be made to fail: `faults` maps an operation to its error."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()
        self.faults: dict[str, Exception | BaseException] = {}
        self.calls: list[str] = []

    def __getattr__(self, operation: str) -> Any:
        def call(**arguments: Any) -> Any:
            with self._lock:
                self.calls.append(operation)
                if operation in self.faults:
                    raise self.faults[operation]
                return getattr(self._client, operation)(**arguments)

        return call


@dataclass
class World:
    """The platform around `send_alerts`."""

    client: OneAtATime
    groups: AlertStore
    clock: Clock = field(default_factory=Clock)
    slack: FakeSlack = field(default_factory=FakeSlack)
    topic: FakeTopic = field(default_factory=FakeTopic)
    remaining: float = 60.0

    def __post_init__(self) -> None:
        self.queue = FakeQueue(self.clock)
        self.dead = FakeQueue(self.clock)

    @property
    def deps(self) -> SendDeps:
        return SendDeps(
            groups=self.groups,
            slack=self.slack,
            queue=self.queue,
            dead_letters=self.dead,
            alarm_topic=self.topic,
            window=WINDOW,
            max_attempts=MAX_ATTEMPTS,
            retry_max=300,
            remaining=lambda: self.remaining,
            now=self.clock,
            jitter=lambda: 0.5,
        )

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self.queue.send(body)

    def work(self, deliveries: list[Delivery]) -> None:
        """One run of the function: Lambda deletes the batch only if it returned."""
        try:
            send_alerts(deliveries, self.deps)
        except BatchIncompleteError:
            return
        self.queue.delete([delivery.receipt_handle for delivery in deliveries])

    def run(self) -> None:
        """Work off what is due now."""
        while deliveries := self.queue.receive():
            self.work(deliveries)

    def run_for(self, seconds: int, step: int = 5) -> None:
        for _ in range(0, seconds, step):
            self.clock.advance(step)
            self.run()

    def listed(self) -> list[AlertGroup]:
        return self.groups.newest(100, None)[0]

    @property
    def only_group(self) -> AlertGroup:
        (group,) = self.listed()
        return group


def throttled() -> ClientError:
    return ClientError({"Error": {"Code": "ThrottlingException"}}, "UpdateItem")
