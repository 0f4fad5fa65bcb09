"""Reconcile's part for units: what came in a batch goes on with its unit."""

import pytest
from msgspec.structs import replace

from chalicelib.events.batch import Form, read_item
from chalicelib.events.keys import rejected_unit_key
from chalicelib.events.message import EventMessage, UnitMessage, decode_message
from chalicelib.events.model import Dispatch, Event, Failure, Status, Step
from chalicelib.events.unit import Checked, Unit, make_events, pack, to_metadata
from chalicelib.recovery.reconcile import UNIT_SETTLED
from tests.support.factories import NOON, make_id
from tests.support.fake_stores import StoredObject
from tests.support.reconcile_on_fakes import MAX_REQUEUES, STUCK_AFTER, Platform

BODIES = (b'{"eventType":"a"}', b'{"eventType":"b"}', b'{"eventType":"a","idempotencyKey":"k"}')
BUSY = Failure("transient", "busy", "later")


@pytest.fixture
def platform() -> Platform:
    return Platform()


def orphan(platform: Platform, *bodies: bytes) -> list[Event]:
    """A unit in bronze that the ledger has not heard of."""
    unit = Unit(make_id(platform.clock()), "alice", platform.clock.text, Form.PLAIN)
    items = [Checked(read_item(body, unit.form)) for body in bodies or BODIES]
    lines, _ = pack([item.draft.payload for item in items])
    platform.lake.put_unit(unit.key, lines, to_metadata(unit, items))
    return make_events(unit, items)


def stuck(platform: Platform, *bodies: bytes) -> list[Event]:
    """A unit in bronze and the ledger that nothing happens to."""
    events = orphan(platform, *bodies)
    platform.ledger.add_new(events)
    return events


def sent(platform: Platform) -> list[list[str]]:
    """The ids in each message; AssertionError when one is not of a unit."""
    messages = [decode_message(body) for body in platform.queue.sent]
    assert all(isinstance(message, UnitMessage) for message in messages)
    return [
        [event.event_id for event in message.events]
        for message in messages
        if isinstance(message, UnitMessage)
    ]


def ids(events: list[Event]) -> list[str]:
    return [event.event_id for event in events]


def test_a_unit_without_entries_is_recovered_in_one_message(platform: Platform) -> None:
    # Given a request that died after it had written to bronze
    events = orphan(platform)
    platform.clock.advance(STUCK_AFTER)
    # When reconcile runs
    report = platform.run()
    # Then all its events are in the ledger and on the queue
    assert (report.counts["orphans"], report.counts["recovered"]) == (3, 3)
    assert report.counts["foreign"] == 0
    assert sent(platform) == [ids(events)]
    assert [platform.aws.records[id_].event for id_ in ids(events)] == events
    # And the next runs leave it alone
    for _ in range(2):
        platform.clock.advance(300)
        assert platform.run().counts["recovered"] == 0
    assert len(platform.queue.sent) == 1


def test_of_a_unit_that_is_known_in_part_the_rest_is_recovered(platform: Platform) -> None:
    events = orphan(platform)
    platform.ledger.add_new(events[:1])
    event, dispatch = events[0], Dispatch("2026-03-14T12:00:00.000Z", noted=False)
    platform.ledger.mark_processed(event, platform.clock.text, "silver", "k", dispatch)
    platform.clock.advance(STUCK_AFTER)
    report = platform.run()
    assert report.counts["recovered"] == 2
    assert sent(platform) == [ids(events[1:])]


def test_a_key_that_another_event_took_is_no_orphan(platform: Platform) -> None:
    first = stuck(platform, BODIES[2])
    platform.ledger.mark_processed(
        first[0], platform.clock.text, "s", "k", Dispatch(first[0].received_at, noted=False)
    )
    second = orphan(platform, BODIES[2], BODIES[0])
    assert second[0].event_id == first[0].event_id
    platform.clock.advance(STUCK_AFTER)
    platform.run()
    assert sent(platform) == [ids(second[1:])]
    assert platform.aws.records[first[0].event_id].event == first[0]


def test_a_file_that_repeats_a_key_is_recovered_by_its_first_line(platform: Platform) -> None:
    events = orphan(platform, BODIES[2], BODIES[0], BODIES[2])
    platform.clock.advance(STUCK_AFTER)
    assert platform.run().counts["recovered"] == 2
    assert sent(platform) == [ids(events[:2])]
    assert platform.aws.records[events[0].event_id].event == events[0]


def test_files_that_are_no_units_are_left_alone(platform: Platform) -> None:
    # Given what a batch was refused of, and two files that somebody put there by hand
    (event,) = orphan(platform, BODIES[0])
    day = event.s3_key.rpartition("/")[0]
    refused = rejected_unit_key(event.received_at, make_id())
    for key in (refused, f"{day}/{make_id()}.ndjson", f"{day}/notes.ndjson"):
        platform.aws.objects["bronze", key] = StoredObject(b"x\n", None, NOON)
    platform.clock.advance(STUCK_AFTER)
    # When reconcile runs
    report = platform.run()
    # Then the refused is as it should be, and the others are counted
    assert (report.counts["foreign"], report.counts["recovered"]) == (2, 1)


@pytest.mark.parametrize("status", [Status.RECEIVED, Status.ENQUEUED])
def test_a_stuck_unit_is_sent_again_as_one_message(platform: Platform, status: Status) -> None:
    # Given a unit whose message was never sent, or lost
    events = stuck(platform)
    if status is Status.ENQUEUED:
        for event in events:
            record = platform.aws.records[event.event_id]
            platform.ledger.mark_requeued(record, platform.clock.text, "x")
        platform.clock.advance(STUCK_AFTER)
    platform.clock.advance(STUCK_AFTER + 1)
    # When reconcile runs
    report = platform.run()
    # Then its events are on the queue together, and the ledger says so of each
    assert (report.counts["stuck"], report.counts["requeued"]) == (3, 3)
    assert [sorted(some) for some in sent(platform)] == [sorted(ids(events))]
    for id_ in ids(events):
        record = platform.aws.records[id_]
        assert record.status is Status.ENQUEUED
        assert record.timeline[-1]["detail"] == "sent again by reconcile"
    # And not again in the next run
    platform.clock.advance(300)
    assert platform.run().counts["stuck"] == 0


def test_a_stuck_unit_whose_file_is_gone_is_sent_all_the_same(platform: Platform) -> None:
    events = stuck(platform)
    platform.aws.objects.clear()
    platform.clock.advance(STUCK_AFTER + 1)
    platform.run()
    assert sorted(some[0] for some in sent(platform)) == sorted(ids(events))


def test_only_what_is_stuck_of_a_unit_is_sent(platform: Platform) -> None:
    events = stuck(platform)
    dispatch = Dispatch(events[0].received_at, noted=False)
    platform.ledger.mark_processed(events[0], platform.clock.text, "silver", "k", dispatch)
    platform.clock.advance(STUCK_AFTER + 1)
    platform.run()
    assert [sorted(some) for some in sent(platform)] == [sorted(ids(events[1:]))]


def test_an_event_that_left_its_unit_is_sent_alone(platform: Platform) -> None:
    # Given an event that has left, whose own message was lost
    events = stuck(platform)
    dispatch = Dispatch(events[0].received_at, noted=False)
    platform.ledger.mark_attempt_failed(
        events[0], platform.clock.text, BUSY, final=False, dispatch=dispatch
    )
    platform.clock.advance(STUCK_AFTER + 1)
    # When reconcile runs
    platform.run()
    # Then it goes alone, and the others together
    messages = [decode_message(body) for body in platform.queue.sent]
    alone = [message for message in messages if isinstance(message, EventMessage)]
    together = [message for message in messages if isinstance(message, UnitMessage)]
    assert [message.event for message in alone] == [events[0]]
    assert [len(message.events) for message in together] == [2]


def test_a_replay_of_an_event_of_a_unit_is_sent_alone(platform: Platform) -> None:
    (event,) = stuck(platform, BODIES[0])
    platform.ledger.mark_processed(
        event, platform.clock.text, "s", "k", Dispatch(event.received_at, noted=False)
    )
    replay = replace(event, event_id=make_id())
    platform.ledger.add(replay, [Step(Status.RECEIVED, event.received_at)], replayOf=event.event_id)
    platform.clock.advance(STUCK_AFTER + 1)
    platform.run()
    (message,) = [decode_message(body) for body in platform.queue.sent]
    assert isinstance(message, EventMessage)
    assert message.event == replay


def test_a_unit_is_given_up_visibly(platform: Platform) -> None:
    events = stuck(platform)
    for _ in range(100):
        platform.clock.advance(300)
        platform.run()
    assert len(platform.queue.sent) == MAX_REQUEUES
    for id_ in ids(events):
        record = platform.aws.records[id_]
        assert record.status is Status.FAILED
        assert record.last_error is not None
        assert record.last_error["code"] == "requeue-limit"
    assert len(platform.alerts.sent) == len(events)


def test_with_a_backlog_units_that_were_sent_wait(platform: Platform) -> None:
    first, second = stuck(platform), stuck(platform, b'{"eventType":"a","n":2}')
    for id_ in ids(first):
        platform.ledger.mark_requeued(platform.aws.records[id_], platform.clock.text, "x")
    platform.clock.advance(2 * STUCK_AFTER + 1)
    platform.backlog_limit = 0
    platform.queue.send("waiting")
    platform.queue.sent.clear()
    report = platform.run()
    assert sent(platform) == [ids(second)]
    assert report.counts["waiting"] == 3


def test_a_unit_that_a_request_may_be_at_work_on_is_left_alone(platform: Platform) -> None:
    # Given an operator who takes everything for stuck
    orphan(platform)
    stuck(platform, b'{"eventType":"a","n":2}')
    platform.stuck_after = 1
    platform.clock.advance(UNIT_SETTLED.total_seconds() - 1)
    # When reconcile runs while ingest may still write to the ledger without looking
    report = platform.run()
    assert (report.counts["stuck"], report.counts["orphans"]) == (0, 0)
    # Then it waits, and finds both when that cannot be any more
    platform.clock.advance(1)
    report = platform.run()
    assert (report.counts["stuck"], report.counts["orphans"]) == (1, 3)
    assert len(platform.queue.sent) == 2
