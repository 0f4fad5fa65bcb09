"""Reconcile's scan of bronze: what the ledger has not heard of is found, once."""

from datetime import timedelta

import pytest
from msgspec import convert
from msgspec.structs import asdict, replace

from chalicelib.events.model import Dispatch, Status
from chalicelib.recovery.model import Scan
from tests.support.factories import NOON, decode_event, make_done, make_event
from tests.support.fake_stores import StoredObject
from tests.support.faults import Fault, ProcessKilledError
from tests.support.reconcile_on_fakes import STUCK_AFTER, Platform


@pytest.fixture
def platform() -> Platform:
    return Platform()


def test_a_payload_without_an_entry_is_recovered(platform: Platform) -> None:
    # Given a request that died after its first call
    orphan = platform.orphan("order/created")
    platform.clock.advance(STUCK_AFTER)
    # When reconcile runs
    report = platform.run()
    # Then the event is in the ledger and on the queue
    assert (report.counts["orphans"], report.counts["recovered"]) == (1, 1)
    record = platform.aws.records[orphan.event_id]
    assert record.event == orphan
    assert record.status is Status.RECEIVED
    assert platform.sent() == [orphan.event_id]
    assert decode_event(platform.queue.sent[0]).in_bronze


def test_a_recovered_event_gets_its_time_before_it_counts_as_stuck(platform: Platform) -> None:
    # Given an orphan that was found and sent just now
    platform.orphan()
    platform.clock.advance(STUCK_AFTER)
    platform.run()
    # When reconcile runs again while the message waits for its worker
    platform.clock.advance(300)
    report = platform.run()
    # Then it is not sent a second time
    assert report.counts["stuck"] == 0
    assert len(platform.sent()) == 1


def test_a_request_that_is_still_on_its_way_is_no_orphan(platform: Platform) -> None:
    platform.orphan()
    platform.clock.advance(STUCK_AFTER - 1)
    assert platform.run().counts["orphans"] == 0
    assert platform.aws.records == {}


def test_objects_put_by_hand_are_counted_and_left_alone(platform: Platform) -> None:
    day = "bronze/demo/2026/03/14"
    of_an_event = f"{day}/{make_event().event_id}.json"
    for key in (f"{day}/notes.txt", of_an_event, "bronze/readme.txt"):
        platform.aws.objects["bronze", key] = StoredObject(b"x", None, NOON)
    platform.clock.advance(STUCK_AFTER)
    report = platform.run()
    assert report.counts["foreign"] == 2
    assert report.counts["recovered"] == 0
    assert platform.aws.records == {}


def test_yesterdays_orphans_are_found_today(platform: Platform) -> None:
    orphan = platform.orphan()
    platform.clock.advance(timedelta(hours=14).total_seconds())
    platform.run()
    assert platform.sent() == [orphan.event_id]


def test_a_scan_that_runs_out_of_time_goes_on_where_it_stopped(platform: Platform) -> None:
    # Given orphans of three types, and time for one page a run
    orphans = [platform.orphan(event_type) for event_type in ("a", "b", "c")]
    platform.clock.advance(STUCK_AFTER)
    found: list[int] = []
    # When reconcile runs again and again
    for _ in range(20):
        looks_at_the_stuck = 8
        platform.seconds = [60.0] * looks_at_the_stuck + [1.0]
        report = platform.run()
        found.append(report.counts["recovered"])
        platform.queue.receive()
    # Then each run goes on after the last, and every orphan is found once
    assert sum(found) == len(orphans)
    assert max(found) < len(orphans)
    assert sorted(set(platform.sent())) == sorted(orphan.event_id for orphan in orphans)


def test_between_scans_a_run_costs_the_same_whatever_is_there(platform: Platform) -> None:
    # Given events that are done, and a scan that has seen them
    for _ in range(250):
        event = platform.stuck()
        platform.ledger.mark_processed(
            make_done(event), Dispatch(event.received_at, noted=True), event
        )
    platform.clock.advance(STUCK_AFTER + 61)
    platform.run()
    # When the next run comes before a scan is due
    platform.clock.advance(300)
    platform.aws.calls.clear()
    platform.run()
    # Then it asks for what is open, and no more than with an empty ledger
    empty = Platform()
    empty.run()
    empty.clock.advance(300)
    empty.aws.calls.clear()
    empty.run()
    assert platform.aws.calls == empty.aws.calls
    assert len(platform.aws.calls) < 15


def test_a_scan_takes_a_small_step_a_run_unless_an_operator_asks(platform: Platform) -> None:
    # Given payloads without entries, and a clock on which each look takes half a second
    orphans = [platform.orphan(event_type) for event_type in ("a", "b", "c", "d", "e", "f")]
    platform.clock.advance(STUCK_AFTER)
    platform.seconds = [60 - n / 2 for n in range(200)]
    # When a run begins a scan, it ends its step with most of its time left
    first = platform.run()
    assert 0 < first.counts["recovered"] < len(orphans)
    assert not first.complete
    assert platform.seconds[0] > 45
    # And an operator's run takes all the time that it has
    platform.full_scan_every = None
    platform.seconds = [60 - n / 2 for n in range(90)]
    platform.run()
    assert sorted(set(platform.sent())) == sorted(orphan.event_id for orphan in orphans)


def test_a_scan_gives_way_to_traffic(platform: Platform) -> None:
    # Given an orphan, and more messages than the limit
    orphan = platform.orphan()
    platform.clock.advance(STUCK_AFTER)
    platform.backlog_limit = 0
    platform.queue.send("waiting")
    # Then the scan waits until they are gone
    assert platform.run().counts["recovered"] == 0
    platform.queue.messages.clear()
    platform.queue.sent.clear()
    assert platform.run().counts["recovered"] == 1
    assert platform.sent() == [orphan.event_id]


def test_a_full_scan_finds_what_an_earlier_one_did_not_see(platform: Platform) -> None:
    # Given a scan, and then a payload that says it is older than that
    platform.clock.advance(STUCK_AFTER + 61)
    platform.run()
    orphan = platform.orphan()
    platform.aws.objects["bronze", orphan.s3_key].modified = NOON
    platform.clock.advance(300)
    # When scans follow
    platform.run()
    assert platform.sent() == []
    platform.clock.advance(timedelta(hours=1).total_seconds())
    platform.run()
    # Then the full one finds it
    assert platform.sent() == [orphan.event_id]


def test_two_runs_at_once_recover_an_orphan_once(platform: Platform) -> None:
    # Given a run that dies after it noted the orphan
    orphan = platform.orphan()
    platform.clock.advance(STUCK_AFTER)
    before = platform.aws.calls.copy()
    platform.run()
    noted = platform.aws.calls[len(before) :].index("PutItem") + 1
    other = Platform()
    other.orphan()
    other.clock.advance(STUCK_AFTER)
    other.aws.fail(noted, Fault.KILLED_AFTER)
    with pytest.raises(ProcessKilledError):
        other.run()
    assert other.sent() == []
    # When the next run comes
    other.clock.advance(STUCK_AFTER)
    other.run()
    # Then the event is sent
    assert len(other.sent()) == 1
    assert platform.sent() == [orphan.event_id]


def test_a_scan_comes_back_from_its_checkpoint() -> None:
    hour, settled = timedelta(hours=1), timedelta(seconds=STUCK_AFTER)
    scan = convert({}, Scan).started(NOON, settled, hour)
    stopped = replace(scan, position="bronze/x")
    assert convert(asdict(stopped), Scan) == stopped


def test_a_scan_that_stopped_goes_on_unchanged() -> None:
    hour, settled = timedelta(hours=1), timedelta(seconds=STUCK_AFTER)
    stopped = replace(Scan().started(NOON, settled, hour), position="bronze/x")
    assert stopped.started(NOON + 5 * hour, settled, hour) == stopped


def test_a_scan_looks_at_everything_that_has_settled_once_a_period() -> None:
    hour, settled = timedelta(hours=1), timedelta(seconds=STUCK_AFTER)
    first = Scan().started(NOON, settled, hour)
    assert first.covers(NOON - timedelta(days=9))
    assert first.covers(NOON - settled)
    assert not first.covers(NOON - settled + timedelta(seconds=1))
    assert first.started(NOON + timedelta(minutes=59), settled, hour) == first
    second = first.started(NOON + hour, settled, hour)
    assert second != first
    assert second.covers(NOON - timedelta(days=9))
    assert second.covers(NOON + hour - settled)


def test_an_operator_gets_a_full_scan_whatever_is_on_its_way() -> None:
    settled = timedelta(seconds=STUCK_AFTER)
    stopped = replace(Scan().started(NOON, settled, timedelta(hours=1)), position="bronze/x")
    asked = stopped.started(NOON + timedelta(hours=1), timedelta(0), None)
    assert asked.position == ""
    assert asked.covers(NOON + timedelta(hours=1))
