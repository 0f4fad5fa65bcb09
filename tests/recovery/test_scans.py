"""Reconcile's scan of bronze: what the ledger has not heard of is found, once."""

from datetime import timedelta

import pytest
from msgspec import convert
from msgspec.structs import asdict, replace

from chalicelib.events.model import Dispatch, Status
from chalicelib.recovery.model import Scan
from tests.support.factories import NOON, decode_event, make_event
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
    assert decode_event(platform.queue.sent[0]).recorded is False


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


def test_between_full_scans_only_new_payloads_are_looked_up(platform: Platform) -> None:
    # Given a scan that has seen an event's payload
    first = platform.stuck()
    dispatch = Dispatch(first.received_at, noted=True)
    platform.ledger.mark_processed(first, platform.clock.text, "silver", "k", dispatch)
    platform.clock.advance(STUCK_AFTER + 61)
    platform.run()
    # When the next one comes after another payload
    platform.clock.advance(300)
    orphan = platform.orphan()
    platform.clock.advance(STUCK_AFTER)
    asked = platform.watch_lookups()
    report = platform.run()
    # Then it looks up the new one
    assert report.counts["recovered"] == 1
    assert asked == [[orphan.event_id]]
    # And when a full scan is due, both
    asked.clear()
    platform.clock.advance(timedelta(hours=1).total_seconds())
    platform.run()
    assert sorted(asked[-1]) == sorted([first.event_id, orphan.event_id])


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


def test_consecutive_scans_leave_no_gap() -> None:
    # Given scans every five minutes
    hour, settled = timedelta(hours=1), timedelta(seconds=STUCK_AFTER)
    scans = [Scan().started(NOON, settled, hour)]
    for number in range(1, 40):
        now = NOON + number * timedelta(minutes=5)
        scans.append(scans[-1].started(now, settled, hour))
    # Then each second of the day that has settled is looked at, and none before it has
    for second in range(39 * 300):
        modified = NOON - settled + timedelta(seconds=second)
        assert any(scan.covers(modified) for scan in scans)
    assert not scans[-1].covers(NOON + 39 * timedelta(minutes=5) - settled + timedelta(seconds=1))


def test_a_full_scan_looks_at_everything_that_has_settled() -> None:
    hour, settled = timedelta(hours=1), timedelta(seconds=STUCK_AFTER)
    first = Scan().started(NOON, settled, hour)
    assert first.covers(NOON - timedelta(days=9))
    second = first.started(NOON + timedelta(minutes=59), settled, hour)
    assert not second.covers(NOON - timedelta(days=9))
    assert second.started(NOON + hour, settled, hour).covers(NOON - timedelta(days=9))


def test_an_operator_gets_a_full_scan_whatever_is_on_its_way() -> None:
    settled = timedelta(seconds=STUCK_AFTER)
    stopped = replace(Scan().started(NOON, settled, timedelta(hours=1)), position="bronze/x")
    asked = stopped.started(NOON + timedelta(hours=1), timedelta(0), None)
    assert (asked.position, asked.since) == ("", "")
    assert asked.covers(NOON + timedelta(hours=1))
