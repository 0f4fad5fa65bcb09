"""Reconcile: what is stuck is sent again, a bounded number of times."""

import pytest

from chalicelib.events.model import Dispatch, Failure, Status, Step
from tests.support.factories import decode_event, make_body, make_event
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
    assert decode_event(platform.queue.sent[0]).event == event
    record = platform.aws.records[event.event_id]
    assert (record.status, record.requeues) == (Status.ENQUEUED, 1)
    assert record.timeline[-1]["detail"] == "sent again by reconcile"
    assert report.to_dict() == {
        "stuck": 1, "waiting": 0, "requeued": 1, "failed": 0, "unitsFinished": 0,
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


@pytest.mark.parametrize("status", [Status.RECEIVED, Status.ENQUEUED])
def test_with_a_backlog_events_just_wait(platform: Platform, status: Status) -> None:
    # Given more messages than the limit, and an event whose message is among them
    event = platform.stuck(status)
    platform.clock.advance(STUCK_AFTER + 1)
    platform.backlog_limit = 1
    for _ in range(2):
        platform.queue.send("waiting")
    platform.queue.sent.clear()
    # When reconcile runs
    report = platform.run()
    # Then it is not sent again
    assert platform.queue.sent == []
    assert (report.counts["waiting"], report.counts["requeued"]) == (1, 0)
    assert platform.aws.records[event.event_id].requeues == 0
    # Until the backlog is gone
    platform.queue.messages.clear()
    platform.run()
    assert platform.sent() == [event.event_id]


def test_a_stuck_event_is_sent_and_given_up_with_its_payload(platform: Platform) -> None:
    # Given an event whose payload is in the ledger alone
    payload = make_body()
    event = make_event(payload=payload, at=platform.clock())
    platform.ledger.add(event, [Step(Status.RECEIVED, event.received_at)], payload)
    # When it is sent again and again
    for _ in range(100):
        platform.clock.advance(300)
        platform.run()
    # Then each message brings the payload
    parcels = [decode_event(body) for body in platform.queue.sent]
    assert [(one.payload, one.in_bronze) for one in parcels] == [(payload, False)] * MAX_REQUEUES
    # And what is given up is in bronze
    record = platform.aws.records[event.event_id]
    assert (record.status, record.payload) == (Status.FAILED, None)
    assert platform.lake.get_bronze(record.event.s3_key) == payload


def test_units_of_dead_runs_are_finished(platform: Platform) -> None:
    platform.units_finished = 2
    assert platform.run().to_dict()["unitsFinished"] == 2


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
