"""Bulk replays in the ledger's table, and the partitions that they go through."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from chalicelib.core import clock
from chalicelib.core.paging import NEWEST
from chalicelib.events.model import Dispatch, Event, Failure, Listing, Partition, Status, Step
from chalicelib.replays.model import Replay, ReplayStatus, ReplayTally, Selection
from tests.support.factories import NOON, make_event, make_id, unique
from tests.support.fake_stores import SHARDS
from tests.support.store_backends import Backend


def make_replay(**changes: object) -> Replay:
    selection = Selection(
        owner="alice",
        event_type="demo",
        status=Status.FAILED,
        start="2026-01-01T00:00:00.000Z",
        end=clock_text(),
    )
    replay = Replay(make_id(), "alice", selection, 50, SHARDS, "0" * 64, clock_text(), clock_text())
    return replace(replay, **changes)


def clock_text() -> str:
    return clock.to_text(NOON)


def test_a_replay_is_read_as_it_was_written(aws_backends: Backend) -> None:
    # Given one with nothing optional, and one with everything
    bare = make_replay(selection=Selection(end=clock_text()))
    full = make_replay(
        status=ReplayStatus.FAILED,
        step=3,
        holder="message",
        held_at=clock_text(),
        due_at=clock_text(),
        partition=2,
        after=f"{clock_text()}#{make_id()}",
        tally=ReplayTally(4, 3, 1, 2),
        restarts=1,
        finished_at=clock_text(),
        last_failure={"code": "x", "message": "ü"},
    )
    for replay in (bare, full):
        # When it is added twice
        assert aws_backends.replays.add(replay) is None
        # Then the first is there
        assert aws_backends.replays.add(replace(replay, rate=1)) == replay
        assert aws_backends.replays.get(replay.replay_id) == replay
    assert aws_backends.calls == ["PutItem", "PutItem", "GetItem"] * 2


def test_a_replay_is_written_over_the_version_that_was_read_only(aws_backends: Backend) -> None:
    # Given a replay that two have read
    replay = make_replay()
    assert aws_backends.replays.save(replay) is None
    aws_backends.replays.add(replay)
    # When both write it
    first = aws_backends.replays.save(replace(replay, tally=ReplayTally(matched=1)))
    second = aws_backends.replays.save(replace(replay, tally=ReplayTally(matched=2)))
    # Then the first has, and goes on
    assert first is not None
    assert second is None
    assert (first.version, first.tally.matched) == (1, 1)
    again = aws_backends.replays.save(first.ended(ReplayStatus.DONE, clock_text()))
    assert again is not None
    assert aws_backends.replays.get(replay.replay_id) == again


def test_the_register_has_what_runs(aws_backends: Backend) -> None:
    first, second, third = make_id(), make_id(), make_id()
    aws_backends.replays.unregister(first)
    for replay_id in (first, second, first):
        assert aws_backends.replays.register(replay_id, "alice", clock_text(), limit=2)
    assert not aws_backends.replays.register(third, "alice", clock_text(), limit=2)
    aws_backends.replays.unregister(first)
    running = aws_backends.replays.running()
    assert first not in running
    assert running[second] == {"owner": "alice", "at": clock_text()}
    aws_backends.replays.unregister(second)
    aws_backends.replays.unregister(second)
    assert second not in aws_backends.replays.running()


def test_no_list_of_events_shows_a_replay(aws_backends: Backend) -> None:
    replay = make_replay(owner=unique("owner"))
    replay = replace(replay, selection=replace(replay.selection, owner=replay.owner))
    aws_backends.replays.add(replay)
    aws_backends.replays.register(replay.replay_id, replay.owner, clock_text(), limit=5)
    assert aws_backends.index.newest(Listing(owner=replay.owner)).entries == ()
    for status in Status:
        listed = aws_backends.index.newest(Listing(owner=None, status=status, limit=1000)).entries
        assert replay.replay_id not in {entry.event_id for entry in listed}


def all_of(backend: Backend, partition: Partition, limit: int, **filters: str) -> list[str]:
    """The ids of a partition before NOON + 10 s, a page at a time."""
    end = clock.to_text(NOON + timedelta(seconds=10))
    found: list[str] = []
    start = "0"
    for _ in range(100):
        entries, last = backend.window.read(partition, (start, end), filters, limit)
        assert len(entries) <= limit
        found += [entry.event_id for entry in entries]
        if last is None:
            return found
        start = f"{last}{NEWEST}"
    raise AssertionError("the partition does not end")


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_partitions_hold_each_event_of_the_window_once_oldest_first(
    aws_backends: Backend, limit: int
) -> None:
    # Given events within the window and at its end, of two types, among another's
    owner = unique("owner")
    made: list[Event] = []
    for second in range(12):
        event_type = "demo" if second % 2 else "other"
        event = make_event(owner=owner, event_type=event_type, at=NOON + timedelta(seconds=second))
        aws_backends.ledger.add(event, [Step(Status.FAILED, event.received_at)])
        aws_backends.ledger.add(make_event(), [Step(Status.FAILED, event.received_at)])
        made.append(event)
    # When every partition is gone through
    by_owner = [Partition("by-owner", f"{owner}#{shard}", None) for shard in range(SHARDS)]
    by_status = [
        Partition("by-status", f"FAILED#{shard}", Status.FAILED) for shard in range(SHARDS)
    ]
    mine = [all_of(aws_backends, partition, limit) for partition in by_owner]
    failed = [all_of(aws_backends, partition, 1000, owner=owner) for partition in by_status]
    demos = [all_of(aws_backends, partition, limit, eventType="demo") for partition in by_owner]
    # Then each event before the end is there once, in order
    expected = [event.event_id for event in made[:10]]
    assert sorted(id_ for ids in mine for id_ in ids) == sorted(expected)
    assert [sorted(ids, key=expected.index) for ids in mine] == mine
    assert sorted(id_ for ids in failed for id_ in ids) == sorted(expected)
    assert sorted(id_ for ids in demos for id_ in ids) == sorted(expected[1::2])


def test_only_a_redrive_takes_up_again_what_failed(aws_backends: Backend) -> None:
    # Given an event that was given up
    event = make_event()
    ledger = aws_backends.ledger
    ledger.add(event, [Step(Status.RECEIVED, clock_text()), Step(Status.ENQUEUED, clock_text())])
    record = ledger.get(event.event_id)
    assert record is not None
    ledger.mark_requeued(record, clock_text(), "sent again")
    record = ledger.get(event.event_id)
    assert record is not None
    ledger.mark_given_up(record, record.event, clock_text(), Failure("stuck", "requeue-limit", "x"))
    # When a late attempt at it fails
    late = Failure("transient", "busy", "later")
    dispatch = Dispatch(clock_text(), noted=True)
    assert not ledger.mark_attempt_failed(event, clock_text(), late, final=False, dispatch=dispatch)
    # Then it stays FAILED
    record = ledger.get(event.event_id)
    assert record is not None
    assert (record.status, record.requeues) == (Status.FAILED, 1)
    # When it is redriven by two who have both read it
    later = clock.to_text(NOON + timedelta(seconds=1))
    aws_backends.calls.clear()
    assert [ledger.mark_redriven(record, later) for _ in range(2)] == [True, False]
    # Then it is open again, with all its chances, and its reason is kept
    assert aws_backends.calls == ["UpdateItem"] * 2
    record = ledger.get(event.event_id)
    assert record is not None
    assert (record.status, record.requeues, record.updated_at) == (Status.ENQUEUED, 0, later)
    assert record.timeline[-1]["detail"] == "redriven"
    assert record.last_error is not None
    # And an attempt may go on with it
    assert ledger.mark_attempt_failed(event, later, late, final=True, dispatch=dispatch)


def test_replays_are_listed_newest_first_each_once(aws_backends: Backend) -> None:
    # Given replays of two owners, changed since, and an event of each
    store, alice, bob = aws_backends.replays, unique("alice"), unique("bob")
    replays = [
        make_replay(owner=alice, started_at=clock.to_text(NOON + timedelta(minutes=number)))
        for number in range(5)
    ]
    others = [make_replay(owner=bob) for _ in range(2)]
    for replay in (*replays, *others):
        store.add(replay)
    changed = store.save(replays[2].ended(ReplayStatus.ABORTED, clock_text()))
    assert changed is not None
    replays[2] = changed
    aws_backends.calls.clear()
    # When one owner's are read two at a time
    found, below = [], None
    while True:
        some, below = store.page(alice, 2, below)
        found += some
        if below is None:
            break
    # Then they are there as they are now, at two calls a page
    assert found == replays[::-1]
    assert aws_backends.calls == ["Query", "BatchGetItem"] * 3
    # And of all owners, all are there
    everybody, _ = store.page(None, 100, None)
    listed = {replay.replay_id for replay in everybody}
    assert listed >= {replay.replay_id for replay in (*replays, *others)}
    assert store.page(unique("nobody"), 10, None) == ([], None)


@pytest.mark.parametrize("owner", ["replays", "0"])
def test_no_owner_is_named_so_that_lists_mix(aws_backends: Backend, owner: str) -> None:
    # Given an event and a replay of an owner with an awkward name
    event = make_event(owner=owner)
    aws_backends.ledger.add(event, [Step(Status.RECEIVED, event.received_at)])
    replay = make_replay(owner=owner)
    aws_backends.replays.add(replay)
    # Then each list has its own kind only
    ids = [entry.event_id for entry in aws_backends.index.newest(Listing(owner)).entries]
    assert event.event_id in ids
    assert replay.replay_id not in ids
    everything = aws_backends.index.newest(Listing(None, limit=100)).entries
    assert replay.replay_id not in [entry.event_id for entry in everything]
    assert replay in aws_backends.replays.page(owner, 100, None)[0]
