"""Listing: pages newest first, filters, and the sweep over what is open."""

import itertools
from datetime import timedelta

import pytest
from msgspec.structs import replace

from chalicelib.core.clock import to_text
from chalicelib.core.paging import just_below
from chalicelib.events.model import Dispatch, Event, Failure, Listing, Status, Step
from tests.support.factories import NOON, make_done, make_event, unique
from tests.support.store_backends import Backend


def add(backend: Backend, event: Event, status: Status = Status.RECEIVED) -> Event:
    backend.ledger.add(event, [Step(Status.RECEIVED, event.received_at)])
    at = event.received_at
    dispatch = Dispatch(at, noted=True)
    if status is Status.PROCESSED:
        backend.ledger.mark_processed(make_done(event, at), dispatch, event)
    if status is Status.FAILED:
        failure = Failure("permanent", "drill", "a test")
        backend.ledger.mark_attempt_failed(
            event, event.received_at, failure, final=True, dispatch=dispatch
        )
    return event


def pages(backend: Backend, listing: Listing) -> list[list[str]]:
    """The ids of every page of a listing."""
    found: list[list[str]] = []
    for _ in range(100):
        page = backend.index.newest(listing)
        found.append([entry.event_id for entry in page.entries])
        if page.resume_below is None:
            return found
        listing = replace(listing, end=just_below(page.resume_below))
    raise AssertionError("the listing does not end")


def flat(found: list[list[str]]) -> list[str]:
    return list(itertools.chain.from_iterable(found))


def ids(events: list[Event]) -> list[str]:
    newest_first = sorted(events, key=lambda e: (e.received_at, e.event_id), reverse=True)
    return [event.event_id for event in newest_first]


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_pages_show_every_event_of_an_owner_once_newest_first(
    aws_backends: Backend, limit: int
) -> None:
    # Given events of one owner, some in the same millisecond, among another's
    owner, other = unique("owner"), unique("owner")
    mine = [
        add(aws_backends, make_event(owner=owner, at=NOON + timedelta(milliseconds=number // 3)))
        for number in range(20)
    ]
    add(aws_backends, make_event(owner=other))
    # When they are listed
    found = pages(aws_backends, Listing(owner=owner, limit=limit))
    # Then every page is full or less, and together they are the sorted whole
    assert max(map(len, found)) <= limit
    assert flat(found) == ids(mine)


def test_filters_leave_what_matches(aws_backends: Backend) -> None:
    # Given an owner's events of two types in two statuses
    owner = unique("owner")
    made = {
        (event_type, status): [
            add(aws_backends, make_event(owner=owner, event_type=event_type), status)
            for _ in range(3)
        ]
        for event_type in ("demo", "order.created")
        for status in (Status.FAILED, Status.PROCESSED)
    }
    # When they are listed by type, by a rare status, and by both
    by_type = pages(aws_backends, Listing(owner=owner, event_type="demo"))
    failed = pages(aws_backends, Listing(owner=owner, status=Status.FAILED))
    both = pages(aws_backends, Listing(owner=owner, event_type="demo", status=Status.FAILED))
    # Then just those are listed
    demos = made["demo", Status.FAILED] + made["demo", Status.PROCESSED]
    all_failed = made["demo", Status.FAILED] + made["order.created", Status.FAILED]
    assert flat(by_type) == ids(demos)
    assert flat(failed) == ids(all_failed)
    assert flat(both) == ids(made["demo", Status.FAILED])


def test_a_listing_is_limited_to_its_time(aws_backends: Backend) -> None:
    owner = unique("owner")
    events = [
        add(aws_backends, make_event(owner=owner, at=NOON + timedelta(seconds=number)))
        for number in range(5)
    ]
    start, end = to_text(NOON + timedelta(seconds=1)), to_text(NOON + timedelta(seconds=4))
    found = pages(aws_backends, Listing(owner=owner, start=start, end=end))
    assert flat(found) == ids(events[1:4])


def test_everyones_events_are_listed_without_an_owner(aws_backends: Backend) -> None:
    event_type = unique("type")
    events = [
        add(aws_backends, make_event(owner=unique("owner"), event_type=event_type), status)
        for status in (Status.RECEIVED, Status.PROCESSED, Status.FAILED)
    ]
    found = pages(aws_backends, Listing(owner=None, event_type=event_type))
    assert flat(found) == ids(events)


def test_oldest_gives_open_events_before_a_time(aws_backends: Backend) -> None:
    # Given open events before and after a cut-off, and one that is done
    long_ago = NOON - timedelta(days=9, seconds=int(unique("x").split("-")[1]))
    old = [
        add(aws_backends, make_event(at=long_ago + timedelta(milliseconds=number)))
        for number in range(9)
    ]
    done = add(aws_backends, make_event(at=long_ago), Status.PROCESSED)
    new = add(aws_backends, make_event(at=long_ago + timedelta(milliseconds=9)))
    # When those before it are asked for, two at a time
    cutoff = to_text(long_ago + timedelta(milliseconds=9))
    found = list(aws_backends.index.oldest(Status.RECEIVED, cutoff, 2))
    # Then all of them come, each once, in pages of at most two
    assert max(map(len, found)) <= 2
    seen = [event_id for page in found for event_id in page]
    assert len(seen) == len(set(seen))
    assert {event.event_id for event in old} <= set(seen)
    assert not {done.event_id, new.event_id} & set(seen)


def test_a_checkpoint_is_not_an_event(aws_backends: Backend) -> None:
    # Given a job's checkpoint in the ledger's table
    job, state = unique("job"), {"position": "bronze/größe/x.json", "since": ""}
    assert aws_backends.checkpoints.get(job) == {}
    aws_backends.checkpoints.put(job, state)
    assert aws_backends.calls == ["GetItem", "PutItem"]
    # Then it is read back, is replaced by the next one, and no list shows it
    assert aws_backends.checkpoints.get(job) == state
    aws_backends.checkpoints.put(job, {"position": ""})
    assert aws_backends.checkpoints.get(job) == {"position": ""}
    assert job not in str(pages(aws_backends, Listing(owner=None)))


def test_a_page_from_the_oldest_on_is_the_other_end_of_the_list(aws_backends: Backend) -> None:
    # Given an owner's events in all shards
    owner = unique("owner")
    made = ids(
        [
            add(aws_backends, make_event(owner=owner, at=NOON + timedelta(milliseconds=number)))
            for number in range(12)
        ]
    )
    # When the oldest are listed, and then those above
    first = aws_backends.index.newest(Listing(owner=owner, limit=5, oldest_first=True))
    assert first.resume_below == first.entries[-1].list_key
    above = Listing(owner=owner, start=f"{first.resume_below}~", limit=10, oldest_first=True)
    rest = aws_backends.index.newest(above)
    # Then they come oldest first, each once
    assert [entry.event_id for entry in (*first.entries, *rest.entries)] == made[::-1]
    assert rest.resume_below is None


def test_what_repeats_an_event_is_listed_by_it(aws_backends: Backend) -> None:
    # Given two events that repeat one, and one that repeats another
    parent, other = make_event(), make_event()
    children = [make_event(at=NOON + timedelta(seconds=number)) for number in range(2)]
    for child in children:
        step = Step(Status.RECEIVED, child.received_at)
        aws_backends.ledger.add(child, [step], replayOf=parent.event_id)
    step = Step(Status.RECEIVED, other.received_at)
    aws_backends.ledger.add(other, [step], replayOf=make_event().event_id)
    # When they are listed
    aws_backends.calls.clear()
    listing = Listing(owner=None, replay_of=parent.event_id)
    # Then they are there, at one query, and for their owner only
    assert flat(pages(aws_backends, listing)) == ids(children)
    assert aws_backends.calls == ["Query"]
    mine = replace(listing, owner=children[0].owner)
    assert flat(pages(aws_backends, mine)) == [
        event_id
        for event_id in ids(children)
        if event_id in {one.event_id for one in children if one.owner == children[0].owner}
    ]
    assert flat(pages(aws_backends, replace(listing, owner=unique("nobody")))) == []
