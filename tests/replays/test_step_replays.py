"""Steps of bulk replays, one safeguard at a time and without reconcile."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from chalicelib.core import clock
from chalicelib.core.ids import sha256
from chalicelib.events.message import ReplayMessage, decode_message
from chalicelib.events.model import Event, Record, Status, Step
from chalicelib.replays.model import Replay, ReplayStatus, Selection
from chalicelib.replays.start import ReplayOrder, start
from chalicelib.replays.steps import WAIT_SECONDS
from tests.support import simulated_operator as operating
from tests.support.factories import NOON, Clock, decode_event, make_delivery, make_event
from tests.support.fake_queue import FakeQueue
from tests.support.fake_stores import FakeAws
from tests.support.simulated_operator import OPERATOR, Operator

SECONDS = 60.0


class Platform:
    """An operator, and the worker that takes the steps."""

    def __init__(self) -> None:
        self.clock = Clock(NOON)
        self.aws = FakeAws(self.clock)
        self.queue = FakeQueue(self.aws)
        self.operator = Operator(self.aws, self.queue, lambda _: None)

    def ended(self, count: int = 1, status: Status = Status.PROCESSED) -> list[Event]:
        """Events that have come to an end."""
        events = [
            make_event(at=NOON - timedelta(minutes=1), payload=b"%d" % number)
            for number in range(count)
        ]
        for event in events:
            self.operator.ledger.add(event, [Step(status, event.received_at)])
        return events

    def start(self, rate: int = 50, status: Status | None = None) -> Replay:
        """A replay of everybody's events."""
        selection = Selection(status=status, end=self.clock.text)
        order = ReplayOrder(selection, rate, {})
        replay, _ = start(order, OPERATOR, self.operator._replaying())
        self.queue.sent.clear()
        return replay

    def step(self, replay: Replay, step: int = 0, attempt: int = 1) -> int | None:
        """A message of a step comes, one that never came before."""
        message = ReplayMessage(replay.replay_id, step)
        return self.operator.step(message, make_delivery(message.encode(), attempt), SECONDS)

    def replay(self, replay: Replay) -> Replay:
        """As it is kept."""
        return self.aws.replays[replay.replay_id]

    def made(self) -> list[Record]:
        return [record for record in self.aws.records.values() if record.replay_of]

    def steps_sent(self) -> list[int]:
        """The steps whose messages were sent."""
        messages = [decode_message(body) for body in self.queue.sent]
        return [message.step for message in messages if isinstance(message, ReplayMessage)]


@pytest.fixture
def platform() -> Platform:
    return Platform()


def test_a_step_that_is_over_is_dropped(platform: Platform) -> None:
    # Given a replay at its second step
    platform.ended(30)
    replay = platform.start(rate=1)
    platform.step(replay)
    assert platform.steps_sent() == [1]
    platform.clock.advance(60)
    calls = len(platform.aws.calls)
    # When the first comes once more
    assert platform.step(replay) is None
    # Then it is looked up, and no more
    assert platform.aws.calls[calls:] == ["GetItem"]


def test_a_step_that_another_message_has_taken_is_dropped(platform: Platform) -> None:
    # Given a step that a message has just taken
    platform.ended()
    replay = platform.start()
    now = platform.clock.text
    platform.aws.replays[replay.replay_id] = replace(replay, holder="other", held_at=now)
    # When a second one comes, it is dropped
    assert platform.step(replay) is None
    assert platform.made() == []
    # When the first has been gone for long, the second goes on
    platform.clock.advance(91)
    assert platform.step(replay) is None
    assert platform.replay(replay).status is ReplayStatus.DONE


def test_a_step_to_come_or_not_due_waits(platform: Platform) -> None:
    platform.ended(30)
    replay = platform.start(rate=1)
    wait = platform.step(replay, step=1)
    assert wait
    assert platform.made() == []
    platform.step(replay)
    assert platform.step(replay, step=1) == 9
    assert len(platform.made()) == 10
    platform.clock.advance(10)
    assert platform.step(replay, step=1) is None
    assert len(platform.made()) == 20
    # And at its last delivery it is given up, not left to the dead-letter queue
    assert platform.step(replay, step=9, attempt=operating.MAX_ATTEMPTS) is None


def test_what_was_made_and_not_sent_is_sent_by_the_next_delivery(platform: Platform) -> None:
    # Given a step whose events SQS did not take
    (event,) = platform.ended()
    replay = platform.start()
    message = ReplayMessage(replay.replay_id, 0)
    delivery = make_delivery(message.encode())
    send = platform.queue.send_many
    platform.queue.send_many = lambda bodies, delays=(), groups=(): [  # type: ignore[method-assign]
        "ThrottlingException" for _ in bodies
    ]
    assert platform.operator.step(message, delivery, SECONDS)
    assert platform.queue.sent == []
    assert platform.replay(replay).tally.matched == 0
    # When its message comes again
    platform.queue.send_many = send  # type: ignore[method-assign]
    assert platform.operator.step(message, replace(delivery, attempt=2), SECONDS) is None
    # Then they are sent, and counted once
    (record,) = platform.made()
    (body,) = platform.queue.sent
    assert decode_event(body).event == record.event
    assert record.replay_of == event.event_id
    tally = platform.replay(replay).tally
    assert (tally.matched, tally.done) == (1, 1)


def test_what_was_sent_and_processed_is_not_sent_again(platform: Platform) -> None:
    # Given a step that died after it sent, before it noted so
    platform.ended()
    replay = platform.start()
    platform.step(replay)
    (record,) = platform.made()
    for status, sent in ((Status.RECEIVED, 1), (Status.ENQUEUED, 0), (Status.PROCESSED, 0)):
        platform.aws.records[record.event.event_id] = replace(record, status=status)
        platform.aws.replays[replay.replay_id] = replay
        platform.queue.sent.clear()
        # When it is taken again
        platform.step(replay)
        # Then only what nobody has had yet is sent again
        assert len(platform.queue.sent) == sent
        assert platform.replay(replay).tally.done == 1


def test_an_event_that_turns_from_failed_to_processed_is_met_and_counted_once(
    platform: Platform,
) -> None:
    # Given a FAILED event that a replay has been at, and one that it has not come to yet
    met, unmet = platform.ended(2, Status.FAILED)
    replay = platform.start()
    platform.aws.records[unmet.event_id] = replace(
        platform.aws.records[unmet.event_id], status=Status.ENQUEUED
    )
    add = platform.operator.ledger.add

    def add_and_turn(event: Event, *arguments: object, **more: object) -> Record | None:
        known = add(event, *arguments, **more)  # type: ignore[arg-type]
        for one in (met, unmet):
            record = platform.aws.records[one.event_id]
            platform.aws.records[one.event_id] = replace(record, status=Status.PROCESSED)
        return known

    platform.operator.ledger.add = add_and_turn  # type: ignore[method-assign]
    # When both turn PROCESSED meanwhile, whose partitions come later
    platform.step(replay)
    # Then both are replayed, once each
    tally = platform.replay(replay).tally
    assert {record.replay_of for record in platform.made()} == {met.event_id, unmet.event_id}
    assert (tally.matched, tally.done) == (2, 2)


def test_with_a_backlog_a_step_stands_back(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.ended()
    replay = platform.start()
    monkeypatch.setattr(operating, "BACKLOG_LIMIT", 0)
    assert platform.step(replay) is None
    assert platform.made() == []
    assert platform.steps_sent() == [1]
    assert platform.queue.messages[-1].visible_at == NOON + timedelta(seconds=WAIT_SECONDS)


def test_what_a_replay_makes_is_received_after_its_window(platform: Platform) -> None:
    # Given a worker whose clock is behind that of the API
    (event,) = platform.ended()
    replay = platform.start()
    platform.clock.advance(-30)
    platform.step(replay)
    # Then the new event is not in the window all the same
    (record,) = platform.made()
    assert record.event.received_at == replay.selection.end > clock.to_text(platform.clock())
    assert record.event.payload_sha256 == event.payload_sha256 == sha256(b"0")


def test_reconcile_strikes_what_does_not_run_from_the_register(platform: Platform) -> None:
    # Given a replay that died when it was done, one whose start died, and one that has just begun
    done, running = platform.start(), platform.start()
    platform.aws.replays[done.replay_id] = replace(done, status=ReplayStatus.DONE)
    platform.operator.replays.register("lost", "alice", platform.clock.text, 5)
    platform.operator.restart(900)
    assert set(platform.aws.running) == {running.replay_id, "lost"}
    platform.clock.advance(901)
    platform.operator.restart(900)
    assert set(platform.aws.running) == {running.replay_id}
    assert platform.steps_sent() == [0]


def test_a_replay_that_never_makes_progress_is_failed_visibly(platform: Platform) -> None:
    platform.ended()
    replay = platform.start()
    for _ in range(operating.MAX_RESTARTS + 1):
        platform.clock.advance(901)
        platform.operator.restart(900)
    kept = platform.replay(replay)
    assert kept.status is ReplayStatus.FAILED
    assert (kept.last_failure or {})["code"] == "restart-limit"
    assert platform.steps_sent() == [0] * operating.MAX_RESTARTS
    assert platform.aws.running == {}


def test_an_operator_s_impatience_fails_no_replay(platform: Platform) -> None:
    replay = platform.start()
    for _ in range(20):
        platform.operator.restart(0)
    assert platform.replay(replay).status is ReplayStatus.RUNNING
