"""Reconcile's part for files of many events, and what it sends in one message."""

import pytest
from msgspec.structs import replace

from chalicelib.events.batch import Form, read_item
from chalicelib.events.keys import rejected_unit_key
from chalicelib.events.model import Dispatch, Event, Failure, Status, Step
from chalicelib.events.unit import Checked, Unit, make_events, pack, to_metadata
from chalicelib.recovery.reconcile import UNIT_SETTLED
from tests.support.factories import NOON, decode_events, make_body, make_done, make_event, make_id
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
    """The ids in each message."""
    messages = [decode_events(body) for body in platform.queue.sent]
    return [[parcel.event.event_id for parcel in message.parcels] for message in messages]


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
    platform.ledger.mark_processed(make_done(event), dispatch, event)
    platform.clock.advance(STUCK_AFTER)
    report = platform.run()
    assert report.counts["recovered"] == 2
    assert sent(platform) == [ids(events[1:])]


def test_a_key_that_another_event_took_is_no_orphan(platform: Platform) -> None:
    first = stuck(platform, BODIES[2])
    dispatch = Dispatch(first[0].received_at, noted=False)
    platform.ledger.mark_processed(make_done(first[0]), dispatch, first[0])
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
    assert [sorted(some) for some in sent(platform)] == [sorted(ids(events))]


def test_only_what_is_stuck_of_a_unit_is_sent(platform: Platform) -> None:
    events = stuck(platform)
    dispatch = Dispatch(events[0].received_at, noted=False)
    platform.ledger.mark_processed(make_done(events[0]), dispatch, events[0])
    platform.clock.advance(STUCK_AFTER + 1)
    platform.run()
    assert [sorted(some) for some in sent(platform)] == [sorted(ids(events[1:]))]


def test_all_that_is_stuck_is_sent_together(platform: Platform) -> None:
    # Given events of a batch, one of them with a failed attempt, a replay of one, and a single one
    events = stuck(platform)
    dispatch = Dispatch(events[0].received_at, noted=False)
    platform.ledger.mark_attempt_failed(
        events[0], platform.clock.text, BUSY, final=False, dispatch=dispatch
    )
    replay = replace(events[1], event_id=make_id())
    received = [Step(Status.RECEIVED, replay.received_at)]
    platform.ledger.add(replay, received, replayOf=events[1].event_id)
    payload = make_body()
    single = make_event(payload=payload, at=platform.clock())
    platform.ledger.add(single, received, payload)
    platform.clock.advance(STUCK_AFTER + 1)
    # When reconcile runs
    platform.run()
    # Then they share messages, a page of a status each
    assert sorted(id_ for some in sent(platform) for id_ in some) == sorted(
        ids([*events, replay, single])
    )
    assert len(platform.queue.sent) <= 5


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


def test_a_unit_that_a_request_may_be_at_work_on_is_left_alone(platform: Platform) -> None:
    # Given an operator who takes everything for stuck
    orphan(platform)
    stuck(platform, b'{"eventType":"a","n":2}')
    platform.stuck_after = 1
    platform.full_scan_every = None
    platform.clock.advance(UNIT_SETTLED.total_seconds() - 1)
    # When reconcile runs while ingest may still write to the ledger without looking
    report = platform.run()
    assert (report.counts["stuck"], report.counts["orphans"]) == (0, 0)
    # Then it waits, and finds both when that cannot be any more
    platform.clock.advance(1)
    report = platform.run()
    assert (report.counts["stuck"], report.counts["orphans"]) == (1, 3)
    assert len(platform.queue.sent) == 2
