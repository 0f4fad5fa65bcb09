"""GET /events?after=: a reader who follows a list misses nothing and gets nothing twice."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core import clock
from chalicelib.core.paging import Entry, encode_cursor
from chalicelib.events import read
from chalicelib.events.model import Listing, Status, Step
from chalicelib.events.read import ReadDeps
from chalicelib.events.tail import (
    MAX_SHOWN,
    SETTLE,
    Mark,
    decode_mark,
    encode_mark,
    next_mark,
)
from tests.support.app_on_moto import Platform, Sender
from tests.support.factories import NOON, make_event, make_id
from tests.support.fake_lake import FakeLake
from tests.support.fake_stores import FakeAws, FakeEventIndex, FakeEventStore
from tests.support.problems import check_problem

DEMO = {"eventType": "demo"}


def entry(seconds: float) -> Entry:
    event_id = make_id()
    return Entry(f"{clock.to_text(NOON + timedelta(seconds=seconds))}#{event_id}", event_id)


class World:
    """A ledger in which events show later than they were received, and a reader of it."""

    def __init__(self) -> None:
        self.aws = FakeAws()
        self.store = FakeEventStore(self.aws)
        self.deps = ReadDeps(self.store, FakeEventIndex(self.aws), FakeLake(self.aws))
        self.seen: list[str] = []

    def show(self, received: datetime) -> str:
        event = make_event(at=received, owner="alice")
        self.store.add(event, [Step(Status.RECEIVED, event.received_at)])
        return event.event_id

    def read(self, mark: Mark, now: datetime, limit: int) -> Mark:
        """Read until there is nothing new."""
        for _ in range(200):
            records, mark = read.list_newer(Listing("alice", limit=limit), mark, now, self.deps)
            assert len(records) <= limit
            mark = decoded(encode_mark(mark))
            self.seen += [record.event.event_id for record in records]
            if not records:
                return mark
        raise AssertionError("there is always something new")


def decoded(text: str) -> Mark:
    mark = decode_mark(text)
    assert mark is not None
    return mark


@given(
    late=st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, int(SETTLE.total_seconds()) - 1)), max_size=40
    ),
    every=st.integers(1, 15),
    limit=st.integers(1, 7),
)
def test_what_shows_late_is_read_once(late: list[tuple[int, int]], every: int, limit: int) -> None:
    # Given events, each received at some second and shown up to nine seconds later
    world = World()
    due = sorted((received + delay, received) for received, delay in late)
    sent: list[str] = []
    # When somebody reads the list, and then follows it
    first, resume = read.list_events(Listing("alice", limit=limit), None, world.deps)
    mark = read.first_mark(first, resume, NOON)
    for second in range(0, 61 + every, every):
        now = NOON + timedelta(seconds=second)
        while due and due[0][0] <= second:
            sent.append(world.show(NOON + timedelta(seconds=due.pop(0)[1])))
        mark = world.read(mark, now, limit)
    # Then each came once
    assert sorted(world.seen) == sorted(sent)


@given(there=st.integers(0, 12), limit=st.integers(1, 5))
def test_who_starts_with_a_page_gets_only_what_comes_after_it(there: int, limit: int) -> None:
    # Given a list that is longer than a page, all of this second
    world = World()
    for number in range(there):
        world.show(NOON + timedelta(milliseconds=number))
    first, resume = read.list_events(Listing("alice", limit=limit), None, world.deps)
    mark = decoded(encode_mark(read.first_mark(first, resume, NOON + timedelta(seconds=1))))
    # When something comes
    new = [world.show(NOON + timedelta(seconds=1, milliseconds=number)) for number in range(3)]
    world.read(mark, NOON + timedelta(seconds=2), limit)
    # Then that alone is new
    assert sorted(world.seen) == sorted(new)


def test_more_at_once_than_a_mark_can_name_are_read_once_all_the_same() -> None:
    world = World()
    sent = [world.show(NOON + timedelta(milliseconds=number)) for number in range(3 * MAX_SHOWN)]
    mark = world.read(Mark("0"), NOON + timedelta(seconds=1), 100)
    assert len(mark.shown) == MAX_SHOWN
    world.read(mark, NOON + timedelta(seconds=2), 100)
    assert sorted(world.seen) == sorted(sent)


def test_a_mark_travels_as_a_text_that_a_query_can_hold() -> None:
    many = [entry(number / 1000) for number in range(300)]
    mark = next_mark(many, "", None, NOON)
    text = encode_mark(mark)
    assert len(text) <= 1024
    assert decode_mark(text) == mark
    # And a cursor is a mark with nothing shown
    key = many[0].list_key
    assert decode_mark(encode_cursor(key)) == Mark(key)


@pytest.mark.parametrize("wrong", ["", "x", "====", "\u00fc", encode_cursor("~"), "A" * 1024])
def test_another_text_is_no_mark(wrong: str) -> None:
    assert decode_mark(wrong) is None


def test_a_mark_that_was_changed_is_none() -> None:
    text = encode_mark(next_mark([entry(1), entry(2)], "", None, NOON))
    assert decode_mark(text) is not None
    assert decode_mark(text[:-1]) is None
    assert decode_mark(text + "A") is None
    assert decode_mark(text + "=") is None


def new(sender: Sender, after: str, more: str = "") -> Any:
    response = sender.get(f"/events?after={after}{more}")
    assert response.status_code == 200, response.body
    assert response.json_body["cursor"] is None
    return response.json_body


def ids(body: Any) -> list[str]:
    return [record["eventId"] for record in body["items"]]


def test_a_list_is_followed(platform: Platform) -> None:
    # Given a list that somebody has read
    alice, bob = platform.sender(), platform.sender()
    for _ in range(3):
        alice.event_id(DEMO)
    start = alice.get("/events?limit=2").json_body
    # When nothing has come, and then something
    nothing = new(alice, start["newest"])
    sent = [alice.event_id(DEMO) for _ in range(3)]
    bob.event_id(DEMO)
    platform.calls.clear()
    first = new(alice, nothing["newest"], "&limit=2")
    # Then the oldest of it comes first, the newest on top, at the cost of a page
    assert nothing["items"] == []
    assert ids(first) == sent[:2][::-1]
    assert sorted(platform.calls) == ["BatchGetItem", "GetItem", *["Query"] * 8]
    rest = new(alice, first["newest"], "&limit=2")
    assert ids(rest) == sent[2:]
    assert ids(new(alice, rest["newest"])) == []
    # And who never read anything can start from an empty list
    carol = platform.sender()
    mark = carol.get("/events").json_body["newest"]
    assert ids(new(carol, mark)) == []
    hers = carol.event_id(DEMO)
    assert ids(new(carol, mark)) == [hers]
    # And a mark of another owner's list grants nothing
    assert ids(new(platform.sender(), start["newest"])) == []


def test_filters_hold_for_what_is_new(platform: Platform) -> None:
    alice, admin = platform.sender(), platform.sender("admin")
    mark, everybodys = (who.get("/events").json_body["newest"] for who in (alice, admin))
    wanted = alice.event_id({"eventType": "order.paid"})
    other = alice.event_id(DEMO)
    assert ids(new(alice, mark, "&eventType=order.paid")) == [wanted]
    assert ids(new(alice, mark, "&status=FAILED")) == []
    assert ids(new(alice, mark, "&to=2020-01-01")) == []
    assert ids(new(alice, mark, "&from=2020-01-01")) == [other, wanted]
    assert {wanted, other} <= set(ids(new(admin, everybodys)))


def test_only_the_first_page_says_what_is_newest(platform: Platform) -> None:
    alice = platform.sender()
    for _ in range(3):
        alice.event_id(DEMO)
    first = alice.get("/events?limit=1").json_body
    second = alice.get(f"/events?limit=1&cursor={first['cursor']}").json_body
    assert first["newest"] is not None
    assert second["newest"] is None
    both = alice.get(f"/events?after={first['newest']}&cursor={first['cursor']}")
    check_problem(both, 400, "invalid-request", "/query/after")
    check_problem(alice.get("/events?after=x"), 400, "invalid-request", "/query/after")
    # And a cursor is a place to go on from as well
    assert len(ids(new(alice, second["cursor"]))) == 1
