"""Sending alerts: one Slack message a group, whatever repeats, fails or dies; and their list.

The groups are in moto's DynamoDB; the queue, Slack and the alarm topic are in memory, and time
stands still until a test moves it.
"""

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from msgspec.structs import replace

from chalicelib.alerts.groups import AlertGroup, candidate_ids
from chalicelib.alerts.model import summary
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
        self, body: str, attributes: dict[str, str] | None = None, *, delay: int | None = None
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


@pytest.fixture
def world() -> Iterator[World]:
    with mock_aws():
        client = botocore.session.Session().create_client(
            "dynamodb",
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        client.create_table(
            TableName="alerts",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": "S"}
                for name in ("pk", "allShard", "listKey")
            ],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "by-time",
                    "KeySchema": [
                        {"AttributeName": "allShard", "KeyType": "HASH"},
                        {"AttributeName": "listKey", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        )
        serial = OneAtATime(client)
        yield World(serial, AlertStore(serial, "alerts", SHARDS))


def throttled() -> ClientError:
    return ClientError({"Error": {"Code": "ThrottlingException"}}, "UpdateItem")


def test_an_alert_is_posted_and_noted(world: World) -> None:
    world.send(FAILED)
    world.run()

    assert world.slack.texts == ["ERROR: Terraform Apply Failed"]
    assert world.queue.messages == []
    shown = world.only_group.to_dict()
    assert shown["state"] == "delivered"
    assert shown["deliveredAt"] == shown["first"] == shown["last"] == clock.to_text(START)
    assert (shown["count"], shown["kind"], shown["severity"]) == (1, "message", "error")


def test_one_alert_takes_three_calls_and_ten_equal_ones_no_more(world: World) -> None:
    world.send(FAILED)
    world.run()
    assert world.client.calls == ["batch_get_item", "put_item", "update_item"]

    world.client.calls.clear()
    world.clock.advance(1)
    world.send(*[FAILED] * 10)
    world.run()
    assert world.client.calls == ["batch_get_item", "update_item"]


def test_alerts_that_differ_are_posted_each(world: World) -> None:
    world.send(FAILED, '{"status":"error","message":"Plan Failed"}', "plain text")
    world.run()

    assert len(world.slack.posts) == 3
    assert len(world.listed()) == 3


def test_a_storm_becomes_one_message_and_one_count_at_the_end_of_the_window(world: World) -> None:
    # Given twenty equal alerts within a minute
    for _ in range(20):
        world.send(FAILED)
        world.run()
        world.clock.advance(3)
    assert world.slack.texts == ["ERROR: Terraform Apply Failed"]

    # When the window is over, and long after
    world.run_for(3600)

    # Then one message tells of the repeats
    assert len(world.slack.posts) == 2
    assert "Repeated 19 times: Terraform Apply Failed" in world.slack.texts[1]
    group = world.only_group
    assert (group.count, group.reported) == (20, 19)
    assert group.summary_at == "2026-03-14T12:05:10.000Z"
    assert world.queue.messages == []


def test_an_alert_that_came_once_has_no_count(world: World) -> None:
    world.send(FAILED)
    world.run()
    world.run_for(1200)

    assert len(world.slack.posts) == 1


def test_twenty_equal_alerts_in_two_concurrent_batches_are_one_message(world: World) -> None:
    world.send(*[FAILED] * 20)
    batches = [world.queue.receive(), world.queue.receive()]
    together = threading.Barrier(2)

    def work(batch: list[Delivery]) -> None:
        together.wait()
        world.work(batch)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, batches))

    assert len(world.slack.posts) == 1
    assert world.only_group.count == 20
    world.run_for(1200)
    assert len(world.slack.posts) == 2
    assert "Repeated 19 times" in world.slack.texts[1]


def test_a_batch_that_comes_while_another_posts_counts_and_is_done_with(world: World) -> None:
    # Given a second batch that runs just while the first one posts
    world.send(*[FAILED] * 20)
    first, second = world.queue.receive(), world.queue.receive()

    def meanwhile() -> None:
        world.slack.on_post = lambda: None
        world.work(second)

    world.slack.on_post = meanwhile
    world.work(first)

    assert len(world.slack.posts) == 1
    assert world.only_group.count == 20
    assert [one.body for one in world.queue.messages if one.body == FAILED] == []


def test_two_batches_that_both_see_no_group_do_not_both_post(world: World) -> None:
    # Given a second batch that runs between the first one's look at the groups and its write
    world.send(FAILED)
    first = world.queue.receive()
    world.send(FAILED)
    second = world.queue.receive()
    open_group = world.groups.open

    def late(group: AlertGroup) -> Any:
        world.groups.open = open_group  # type: ignore[method-assign]
        world.work(second)
        return open_group(group)

    world.groups.open = late  # type: ignore[method-assign]
    world.work(first)

    assert len(world.slack.posts) == 1
    assert world.only_group.count == 2


def test_a_redelivered_alert_posts_nothing_and_counts_nothing(world: World) -> None:
    world.send(FAILED)
    delivery = world.queue.receive()[0]
    world.work([delivery])
    world.work([replace(delivery, receipt_handle="again", attempt=2)])

    assert len(world.slack.posts) == 1
    assert world.only_group.count == 1


def test_the_same_message_delivered_twice_at_once_is_posted_once(world: World) -> None:
    # Given a second delivery of a message while the first one posts
    world.send(FAILED)
    delivery = world.queue.receive()[0]

    def meanwhile() -> None:
        world.slack.on_post = lambda: None
        with pytest.raises(BatchIncompleteError):
            send_alerts([replace(delivery, receipt_handle="again", attempt=2)], world.deps)

    world.slack.on_post = meanwhile
    world.work([delivery])

    # Then it waits for the lease, and nothing is posted or counted
    assert len(world.slack.posts) == 1
    assert world.only_group.count == 1
    assert world.queue.waits[0] >= 60


def test_a_crash_before_the_post_loses_nothing(world: World) -> None:
    world.send(FAILED)

    def die() -> None:
        raise CrashError

    world.slack.on_post = die
    with pytest.raises(CrashError):
        world.run()
    assert world.slack.posts == []
    world.slack.on_post = lambda: None
    world.run_for(VISIBILITY + 5)

    assert len(world.slack.posts) == 1
    assert world.only_group.count == 1


def test_a_crash_after_the_post_makes_at_most_one_more_after_the_lease(world: World) -> None:
    # Given a process that dies when Slack has the message and nobody has noted it
    world.send(FAILED)
    world.client.faults["update_item"] = CrashError()
    with pytest.raises(CrashError):
        world.run()
    world.client.faults.clear()
    assert len(world.slack.posts) == 1

    # Then equal alerts do not post while the lease lasts
    world.clock.advance(30)
    world.send(FAILED)
    world.run()
    assert len(world.slack.posts) == 1

    # And in the end there is one more, and the alert is noted as delivered
    world.run_for(1200)
    firsts = [text for text in world.slack.texts if "Repeated" not in text]
    assert len(firsts) == 2
    assert world.only_group.to_dict()["state"] == "delivered"


def test_a_receiver_that_is_down_for_ten_minutes_loses_no_alert(world: World) -> None:
    # Given a receiver that is down, while a new alert comes every minute
    world.slack.answer = DOWN
    for number in range(10):
        world.send(f"outage alert {number}")
        world.run_for(60)
    assert world.slack.posts == []
    assert {group.state for group in world.listed()} == {"retrying"}

    # When it is back
    world.slack.answer = OK
    world.run_for(700)

    # Then every alert is there, once
    assert sorted(world.slack.texts) == [f"WARNING: outage alert {number}" for number in range(10)]
    assert {group.state for group in world.listed()} == {"delivered"}
    assert world.queue.messages == []
    assert world.dead.messages == []


def test_equal_alerts_during_an_outage_count_and_are_told_after_it(world: World) -> None:
    world.slack.answer = DOWN
    for _ in range(4):
        world.send(FAILED)
        world.run_for(30)
    assert world.only_group.count == 4

    world.slack.answer = OK
    world.run_for(2400)

    assert len(world.slack.posts) == 2
    assert "Repeated 3 times" in world.slack.texts[1]


def test_a_wish_to_wait_is_kept(world: World) -> None:
    world.slack.answer = BUSY
    world.send(FAILED)
    world.run()

    assert 30 <= world.queue.waits[0] <= 45
    world.slack.answer = OK
    world.run_for(25)
    assert world.slack.attempts == 1
    world.run_for(25)
    assert len(world.slack.posts) == 1


def test_waits_grow_to_the_limit(world: World) -> None:
    world.slack.answer = DOWN
    world.send(FAILED)
    world.run_for(3600)

    assert world.queue.waits[:3] == sorted(world.queue.waits[:3])
    assert world.queue.waits[0] < 10
    assert 200 <= world.queue.waits[-1] <= 300


def test_a_failing_receiver_is_asked_once_a_batch(world: World) -> None:
    world.slack.answer = DOWN
    world.send(*[f"alert {number}" for number in range(10)])
    world.work(world.queue.receive())

    assert world.slack.attempts == 1
    assert len(world.queue.messages) == 10


def test_what_worked_is_deleted_before_the_rest_is_put_off(world: World) -> None:
    # Given a receiver that goes down after the first of two
    world.send("one", "two")

    def goes_down() -> None:
        world.slack.answer = DOWN if world.slack.attempts > 1 else OK

    world.slack.on_post = goes_down
    world.work(world.queue.receive())

    assert [one.body for one in world.queue.messages] == ["two"]
    assert world.slack.texts == ["WARNING: one"]


def test_no_time_left_leaves_an_alert_for_the_next_run(world: World) -> None:
    world.remaining = 3
    world.send(FAILED)
    world.work(world.queue.receive())
    assert (world.slack.attempts, world.queue.waits) == (0, [0])

    world.remaining = 60
    world.run()
    assert len(world.slack.posts) == 1


def test_what_slack_will_never_take_is_set_aside_with_the_reason(world: World) -> None:
    world.slack.answer = GONE
    world.send(FAILED)
    world.run()

    (dead,) = world.dead.messages
    assert dead.body == FAILED
    assert dead.attributes["reason"] == "Slack answered 404: no_service"
    assert dead.attributes["code"] == "http-404"
    assert world.queue.messages == []
    assert world.topic.lines == ["error: Terraform Apply Failed (Slack answered 404: no_service)"]
    shown = world.only_group.to_dict()
    assert (shown["state"], shown["deliveredAt"]) == ("undelivered", None)
    assert shown["reason"] == "Slack answered 404: no_service"


def test_a_storm_at_a_webhook_that_is_gone_is_one_line_and_no_alert_is_lost(world: World) -> None:
    world.slack.answer = GONE
    for _ in range(5):
        world.send(FAILED)
        world.run()
        world.clock.advance(1)

    assert len(world.topic.lines) == 1
    assert len(world.dead.messages) == 5
    assert world.only_group.count == 5


def test_the_next_equal_alert_is_posted_once_the_webhook_is_put_right(world: World) -> None:
    world.slack.answer = GONE
    world.send(FAILED)
    world.run()
    world.slack.answer = OK
    world.clock.advance(10)
    world.send(FAILED)
    world.run()

    assert len(world.slack.posts) == 1
    shown = world.only_group.to_dict()
    assert (shown["state"], shown["count"], shown["reason"]) == ("delivered", 2, None)


def test_an_alert_is_given_up_after_its_last_attempt(world: World) -> None:
    world.slack.answer = DOWN
    world.send(FAILED)
    delivery = replace(world.queue.receive()[0], attempt=MAX_ATTEMPTS - 1)
    world.work([delivery])
    assert world.dead.messages == []
    world.clock.advance(600)
    world.work([replace(delivery, attempt=MAX_ATTEMPTS)])

    (dead,) = world.dead.messages
    assert dead.attributes["attempts"] == str(MAX_ATTEMPTS)
    assert dead.attributes["code"] == "http-500"
    assert len(world.topic.lines) == 1
    assert world.only_group.to_dict()["state"] == "undelivered"


def test_equal_alerts_that_came_before_the_first_was_given_up_are_counted(world: World) -> None:
    world.slack.answer = DOWN
    world.send(FAILED, FAILED, FAILED)
    world.run()
    world.slack.answer = GONE
    world.run_for(10)

    group = world.only_group
    assert (group.count, group.state) == (3, "undelivered")
    assert len(world.dead.messages) == 1


def test_a_dead_letter_queue_that_fails_keeps_the_alert(world: World) -> None:
    world.slack.answer = GONE
    world.send(FAILED)
    send, world.dead.send = world.dead.send, fail_to_send  # type: ignore[method-assign]
    world.run()
    assert [one.body for one in world.queue.messages] == [FAILED]
    assert world.topic.lines == []

    world.dead.send = send  # type: ignore[method-assign]
    world.run_for(60)
    assert [one.body for one in world.dead.messages] == [FAILED]
    assert world.queue.messages == []


def fail_to_send(*_: Any, **__: Any) -> None:
    raise throttled()


def test_a_topic_that_fails_does_not_keep_an_alert_from_the_dead_letter_queue(world: World) -> None:
    world.slack.answer = GONE
    world.topic.publish = fail_to_send  # type: ignore[method-assign]
    world.send(FAILED)
    world.run()

    assert [one.body for one in world.dead.messages] == [FAILED]
    assert world.queue.messages == []


@pytest.mark.parametrize("operation", ["batch_get_item", "put_item", "update_item"])
def test_a_database_that_fails_makes_alerts_wait(world: World, operation: str) -> None:
    world.client.faults[operation] = throttled()
    world.send("one", "two")
    world.run()
    assert len(world.queue.messages) == 2

    world.client.faults.clear()
    world.run_for(900)
    assert world.queue.messages == []
    assert world.dead.messages == []
    assert {"WARNING: one", "WARNING: two"} == set(world.slack.texts)
    assert all(group.state == "delivered" for group in world.listed())


def test_a_leader_that_never_comes_back_is_followed_by_an_equal_alert(world: World) -> None:
    # Given an alert that is put off and then lost
    world.slack.answer = DOWN
    world.send(FAILED)
    world.run()
    world.queue.messages.clear()
    world.slack.answer = OK

    # When an equal one comes after its lease
    world.clock.advance(100)
    world.send(FAILED)
    world.run()

    # Then that one is posted
    assert len(world.slack.posts) == 1
    assert world.only_group.count == 2


def test_a_summary_that_comes_twice_is_told_once(world: World) -> None:
    world.send(FAILED, FAILED)
    world.run()
    world.send(*[summary(world.only_group.group_id)] * 3)
    world.run_for(1200)

    assert len(world.slack.posts) == 2
    assert world.queue.messages == []


def test_two_summaries_at_once_are_told_once(world: World) -> None:
    # Given a second summary that is worked off while the first one posts
    world.send(FAILED, FAILED)
    world.run()
    world.queue.messages.clear()
    world.clock.advance(WINDOW)
    world.send(*[summary(world.only_group.group_id)] * 2)
    first, second = world.queue.receive(1), world.queue.receive(1)

    def meanwhile() -> None:
        world.slack.on_post = lambda: None
        world.work(second)

    world.slack.on_post = meanwhile
    world.work(first)
    world.run_for(300)

    assert len(world.slack.posts) == 2
    assert world.queue.messages == []


def test_a_summary_waits_while_slack_is_down(world: World) -> None:
    world.send(FAILED, FAILED)
    world.run()
    world.slack.answer = DOWN
    world.run_for(900)
    assert len(world.slack.posts) == 1
    world.slack.answer = OK
    world.run_for(900)

    assert "Repeated once more" in world.slack.texts[1]
    assert world.only_group.to_dict()["state"] == "delivered"


def test_repeats_that_come_late_are_told_too(world: World) -> None:
    # Given a message that is delivered only after its window was told of
    world.send(FAILED, FAILED)
    world.run()
    world.send(FAILED)
    late = world.queue.messages[-1]
    late.visible_at = START + timedelta(seconds=WINDOW + 60)
    world.run_for(1200)

    assert len(world.slack.posts) == 3
    assert [text.split(":")[1] for text in world.slack.texts[1:]] == [" Repeated once more"] * 2
    assert world.only_group.reported == 2


def test_a_summary_of_nothing_is_done_with(world: World) -> None:
    world.send(summary(candidate_ids("none", clock.to_text(START), WINDOW)[0]))
    world.run()

    assert world.queue.messages == []
    assert world.slack.posts == []


def test_the_delay_of_a_summary_ends_with_the_window(world: World) -> None:
    world.send(FAILED)
    world.run()
    world.clock.advance(100)
    world.send(FAILED)
    world.run()

    assert world.queue.delays == [WINDOW - 100]


def test_the_next_window_is_a_group_of_its_own(world: World) -> None:
    world.send(FAILED)
    world.run()
    world.clock.advance(WINDOW)
    world.send(FAILED)
    world.run()

    assert len(world.slack.posts) == 2
    assert [group.count for group in world.listed()] == [1, 1]


def test_a_storm_across_two_slots_is_one_group(world: World) -> None:
    world.clock.now = datetime(2026, 3, 14, 12, 4, 59, tzinfo=UTC)
    for _ in range(4):
        world.send(FAILED)
        world.run()
        world.clock.advance(1)

    assert len(world.slack.posts) == 1
    assert world.only_group.count == 4


def test_a_message_of_any_kind_is_posted(world: World) -> None:
    world.send("", "\u0000", "[]", '{"eventline":{"kind":"summary"}}', '{"a":{"b":"<!channel>"}}')
    world.run()

    assert len(world.slack.posts) == 5
    assert world.queue.messages == []
    assert "<" not in json.dumps(world.slack.posts)


def test_a_poison_alert_does_not_take_its_neighbours_down(world: World) -> None:
    # Given an alert at which the store's code breaks
    open_group = world.groups.open

    def breaks(group: AlertGroup) -> Any:
        if "poison" in group.alert.title:
            raise ZeroDivisionError
        return open_group(group)

    world.groups.open = breaks  # type: ignore[method-assign]
    world.send("one", "poison", "two")
    world.run_for(5)

    assert world.slack.texts == ["WARNING: one", "WARNING: two"]
    assert [one.body for one in world.queue.messages] == ["poison"]


def test_two_batches_that_both_may_take_over_do_not_both_post(world: World) -> None:
    # Given a group whose leader is lost, and a second batch that takes over just before the first
    world.slack.answer = DOWN
    world.send(FAILED)
    world.run()
    world.queue.messages.clear()
    world.slack.answer = OK
    world.clock.advance(100)
    world.send(FAILED, FAILED)
    first, second = world.queue.receive(1), world.queue.receive(1)
    take_over = world.groups.take_over

    def late(seen: AlertGroup, taken: AlertGroup) -> Any:
        world.groups.take_over = take_over  # type: ignore[method-assign]
        world.work(second)
        return take_over(seen, taken)

    world.groups.take_over = late  # type: ignore[method-assign]
    world.work(first)

    # Then only that one posts
    assert len(world.slack.posts) == 1
    assert world.only_group.count == 3


def test_an_alert_is_not_counted_on_a_leader_that_was_just_given_up(world: World) -> None:
    # Given an alert that is about to be counted when its group's leader is given up
    world.send(FAILED)
    first = world.queue.receive()
    world.send(FAILED)
    second = world.queue.receive()
    count = world.groups.count

    def late(seen: AlertGroup, repeats: int, last: str, summary_due: bool) -> Any:
        world.groups.count = count  # type: ignore[method-assign]
        (group,) = world.listed()
        world.groups.mark_undelivered(group, "no_service")
        return count(seen, repeats, last, summary_due)

    def meanwhile() -> None:
        world.slack.on_post = lambda: None
        world.groups.count = late  # type: ignore[method-assign]
        world.work(second)

    world.slack.on_post = meanwhile
    world.slack.answer = OK
    world.work(first)

    # Then it is posted itself
    assert len(world.slack.posts) == 2


def test_a_storm_sends_for_one_summary(world: World) -> None:
    for _ in range(5):
        world.send(FAILED, FAILED)
        world.run()

    assert len(world.queue.messages) == 1


def test_messages_that_failed_before_come_last(world: World) -> None:
    world.send("old", "new")
    old, new = world.queue.receive()
    send_alerts([replace(old, attempt=7), new], world.deps)

    assert world.slack.texts == ["WARNING: new", "WARNING: old"]


def test_a_summary_before_its_time_is_told_in_time(world: World) -> None:
    world.send(FAILED, FAILED)
    world.run()
    world.queue.messages.clear()
    world.send(summary(world.only_group.group_id))
    world.run_for(WINDOW - 5)
    assert len(world.slack.posts) == 1

    world.run_for(5)
    assert len(world.slack.posts) == 2


def test_repeats_of_what_nobody_was_told_of_are_not_told(world: World) -> None:
    # Given a group that was given up
    world.slack.answer = GONE
    world.send(FAILED, FAILED)
    world.run()
    world.slack.answer = OK

    # Then its summary waits for a message of the group, and not for ever
    world.run_for(3600)
    assert world.slack.posts == []
    assert len(world.queue.messages) == 1
    world.run_for(6 * 3600, step=60)
    assert world.slack.posts == []
    assert world.queue.messages == []


def test_a_summary_whose_repeats_another_has_just_reserved_waits(world: World) -> None:
    # Given a second summary that reserves the repeats just before the first one does
    world.send(FAILED, FAILED)
    world.run()
    world.queue.messages.clear()
    world.clock.advance(WINDOW)
    world.send(*[summary(world.only_group.group_id)] * 2)
    first, second = world.queue.receive(1), world.queue.receive(1)
    lease_summary = world.groups.lease_summary

    def late(seen: AlertGroup, lease_until: str) -> bool:
        world.groups.lease_summary = lease_summary  # type: ignore[method-assign]
        world.work(second)
        return lease_summary(seen, lease_until)

    world.groups.lease_summary = late  # type: ignore[method-assign]
    world.work(first)
    world.run_for(300)

    assert len(world.slack.posts) == 2
    assert world.queue.messages == []


def test_repeats_that_another_reserved_and_died_are_told_after_its_lease(world: World) -> None:
    # Given somebody who reserves the repeats just before the summary does, and dies
    world.send(FAILED, FAILED)
    world.run()
    lease_summary = world.groups.lease_summary

    def late(seen: AlertGroup, lease_until: str) -> bool:
        world.groups.lease_summary = lease_summary  # type: ignore[method-assign]
        assert lease_summary(seen, lease_until)
        return lease_summary(seen, lease_until)

    world.groups.lease_summary = late  # type: ignore[method-assign]
    world.clock.advance(WINDOW)
    world.run()
    world.run_for(30)
    assert len(world.slack.posts) == 1

    world.run_for(60)
    assert len(world.slack.posts) == 2


def test_an_alert_is_not_given_up_for_lack_of_time(world: World) -> None:
    world.remaining = 3
    world.send(FAILED)
    world.work([replace(world.queue.receive()[0], attempt=MAX_ATTEMPTS)])

    assert world.dead.messages == []
    assert [one.body for one in world.queue.messages] == [FAILED]


def test_repeats_counted_while_others_are_told_are_told_next(world: World) -> None:
    # Given an alert of the window that is counted while its repeats are being told
    world.send(FAILED, FAILED)
    world.run()
    world.send(FAILED)
    late = world.queue.receive()
    world.clock.advance(WINDOW)

    def meanwhile() -> None:
        world.slack.on_post = lambda: None
        world.work(late)

    world.slack.on_post = meanwhile
    world.run()
    world.run_for(120)

    assert len(world.slack.posts) == 3
    assert world.only_group.reported == 2


def test_groups_are_listed_newest_first_page_by_page(world: World) -> None:
    # Given seven groups
    for number in range(7):
        world.send(f"alert {number}")
        world.run()
        world.clock.advance(1)

    # When they are read three at a time
    titles: list[str] = []
    below = None
    for _ in range(9):
        page, below = world.groups.newest(3, below)
        assert len(page) <= 3
        titles += [group.alert.title for group in page]
        if below is None:
            break

    # Then each is there once
    assert titles == [f"alert {number}" for number in range(6, -1, -1)]


def test_a_page_of_the_list_costs_the_same_whatever_there_is(world: World) -> None:
    for number in range(12):
        world.send(f"alert {number}")
    world.run()
    world.client.calls.clear()
    world.groups.newest(2, None)

    assert sorted(world.client.calls) == ["batch_get_item", *["query"] * SHARDS]
