"""Reconcile: what is stuck is sent again, a bounded number of times."""

import pytest

from chalicelib.events.model import Dispatch, Failure, Status
from tests.support.factories import decode_event
from tests.support.reconcile_on_fakes import MAX_REQUEUES, STUCK_AFTER, Platform


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.mark.parametrize("status", [Status.RECEIVED, Status.ENQUEUED])
def test_a_stuck_event_is_sent_again(platform: Platform, status: Status) -> None:
    # Given an event that nothing happened to for long enough
    event = platform.stuck(status)
    platform.clock.advance(STUCK_AFTER + 1)
    # When reconcile runs
    report = platform.run()
    # Then it is on the queue, and the ledger says so
    assert platform.sent() == [event.event_id]
    is_noted = decode_event(platform.queue.sent[0]).recorded
    assert is_noted is (status is Status.ENQUEUED)
    record = platform.aws.records[event.event_id]
    assert (record.status, record.requeues) == (Status.ENQUEUED, 1)
    assert record.timeline[-1]["detail"] == "sent again by reconcile"
    assert report.to_dict() == {
        "stuck": 1, "waiting": 0, "requeued": 1, "failed": 0,
        "orphans": 0, "recovered": 0, "foreign": 0, "complete": True,
    }  # fmt: skip


@pytest.mark.parametrize("status", [Status.RECEIVED, Status.ENQUEUED])
def test_an_event_that_is_young_is_left_alone(platform: Platform, status: Status) -> None:
    platform.stuck(status)
    platform.clock.advance(STUCK_AFTER - 1)
    assert platform.run().counts["stuck"] == 0
    assert platform.sent() == []


def test_an_event_that_is_being_retried_is_not_stuck(platform: Platform) -> None:
    # Given an old event with a failed attempt a moment ago
    event = platform.stuck(Status.ENQUEUED)
    platform.clock.advance(STUCK_AFTER + 1)
    platform.ledger.mark_attempt_failed(
        event,
        platform.clock.text,
        Failure("transient", "busy", "later"),
        final=False,
        dispatch=Dispatch(event.received_at, noted=True),
    )
    # Then reconcile leaves it to the queue
    assert platform.run().counts["stuck"] == 0


def test_waits_double_and_then_it_is_given_up_visibly(platform: Platform) -> None:
    # Given an event whose messages are all lost
    event = platform.stuck(Status.ENQUEUED)
    waits: list[int] = []
    # When reconcile runs every five minutes
    last = platform.clock()
    for _ in range(100):
        platform.clock.advance(300)
        if platform.run().counts["stuck"]:
            waits.append(int((platform.clock() - last).total_seconds()))
            last = platform.clock()
    # Then it is sent when it is older than 15, 30, 60 minutes, and FAILED after 120
    assert waits == [1200, 1800, 3600, 7200]
    assert len(platform.sent()) == MAX_REQUEUES
    record = platform.aws.records[event.event_id]
    assert record.status is Status.FAILED
    assert record.last_error is not None
    assert record.last_error["code"] == "requeue-limit"
    assert record.timeline[-1]["detail"] == "gave up: requeue-limit"


def test_with_a_backlog_enqueued_events_just_wait(platform: Platform) -> None:
    # Given more messages than the limit, and an event of each kind
    enqueued, received = platform.stuck(Status.ENQUEUED), platform.stuck(Status.RECEIVED)
    platform.clock.advance(STUCK_AFTER + 1)
    platform.backlog_limit = 1
    for _ in range(2):
        platform.queue.send("waiting")
    platform.queue.sent.clear()
    # When reconcile runs
    report = platform.run()
    # Then only the one that was never sent is sent
    assert platform.sent() == [received.event_id]
    assert (report.counts["waiting"], report.counts["requeued"]) == (1, 1)
    assert platform.aws.records[enqueued.event_id].requeues == 0


def test_an_outage_stops_the_run_loudly(platform: Platform) -> None:
    platform.stuck()
    platform.clock.advance(STUCK_AFTER + 1)
    calls = len(platform.aws.calls)
    platform.run()
    send = platform.aws.calls[calls:].index("SendMessage") + 1
    platform.stuck()
    platform.clock.advance(STUCK_AFTER * 4)
    platform.aws.fail(send)
    with pytest.raises(Exception, match="InternalServerError"):
        platform.run()
