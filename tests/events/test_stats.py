"""Counters by minute: what runs count, what a window of them shows, and whose."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import wiring
from chalicelib.core import clock
from chalicelib.events.stats import (
    BUCKETS,
    EVERYBODY,
    SHARDS,
    STEPS,
    Count,
    StatStore,
    bucket_of,
    count,
    counting,
    totals,
)
from tests.support.app_on_moto import NAMES, BreakCall, Platform, Sender
from tests.support.factories import NOON
from tests.support.faults import refusal
from tests.support.problems import check_problem

MINUTE = timedelta(minutes=1)


def seen(sender: Sender, query: str) -> list[dict[str, Any]]:
    response = sender.get(f"/stats?{query}")
    assert response.status_code == 200, response.body
    assert response.json_body["cursor"] is None
    items: list[dict[str, Any]] = response.json_body["items"]
    return items


def summed(items: list[dict[str, Any]]) -> dict[str, int]:
    return {str(what): sum(item[what] for item in items) for what in Count}


def window(**parts: datetime) -> str:
    return "&".join(f"{name}={clock.to_text(at)}" for name, at in parts.items())


def test_what_a_run_counts_is_added_at_its_end_at_a_call_an_owner(platform: Platform) -> None:
    # Given a run that counts two owners' events within a quarter of an hour
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    at = an_hour_ago.replace(minute=0, second=30, microsecond=0)
    alice, bob = platform.sender(), platform.sender()
    platform.calls.clear()
    # When it ends
    with counting(wiring.stats):
        for _ in range(3):
            count(alice.owner, Count.ACCEPTED, at)
            count(alice.owner, Count.PROCESSED, at + MINUTE, 400)
        count(bob.owner, Count.FAILED, at)
        assert platform.calls == []
    # Then it has cost a call for each, and one for the stage
    assert platform.calls == ["UpdateItem"] * 3
    # And each sees what is theirs, an admin all, or one's
    here = window(**{"from": at, "to": at + 2 * MINUTE})
    hers = seen(alice, here)
    assert [item["at"][14:] for item in hers] == ["00:00.000Z", "01:00.000Z", "02:00.000Z"]
    assert [item["accepted"] for item in hers] == [3, 0, 0]
    assert [item["processed"] for item in hers] == [0, 3, 0]
    assert hers[1]["latencyP50Ms"] == pytest.approx(400, rel=0.2)
    assert hers[0]["latencyP50Ms"] is None
    nobody = {"accepted": 0, "processed": 0, "failed": 0, "rejected": 0}
    assert summed(seen(bob, here)) == {**nobody, "failed": 1}
    assert summed(seen(platform.sender(), here)) == nobody
    admin = platform.sender("admin")
    assert summed(seen(admin, here)) == {**nobody, "accepted": 3, "processed": 3, "failed": 1}
    assert summed(seen(admin, f"{here}&owner={bob.owner}")) == {**nobody, "failed": 1}


def test_runs_add_up_in_whichever_items_they_fall(platform: Platform) -> None:
    # Given many runs, whose counts fall into all shards
    alice, now = platform.sender(), datetime.now(UTC)
    for number in range(40):
        with counting(wiring.stats):
            count(alice.owner, Count.PROCESSED, now - number * MINUTE, 10 * 2 ** (number % 5))
    items = platform.aws("dynamodb").scan(TableName=NAMES.events_table)["Items"]
    keys = [item["pk"]["S"] for item in items if alice.owner in item["pk"]["S"]]
    assert len({key.rpartition("#")[2] for key in keys}) > 1
    # Then they are all there, at whichever step
    for step in STEPS:
        start = window(**{"from": now - timedelta(hours=1), "to": now})
        assert summed(seen(alice, f"{start}&step={step}"))["processed"] == 40
    # And the items end by themselves
    for item in items:
        assert int(item["ttl"]["N"]) > now.timestamp() + 8 * 86400


@pytest.mark.parametrize(("hours", "calls"), [(1, 1), (24, 4)])
def test_a_window_costs_the_same_however_much_is_in_it(
    platform: Platform, hours: int, calls: int
) -> None:
    alice, now = platform.sender(), datetime.now(UTC)
    query = window(**{"from": now - timedelta(hours=hours), "to": now})
    for _ in range(2):
        platform.calls.clear()
        assert len(seen(alice, query)) == 60 * hours + 1
        assert platform.calls == ["GetItem", *["BatchGetItem"] * calls]
        with counting(wiring.stats):
            for minute in range(60):
                count(alice.owner, Count.ACCEPTED, now - minute * MINUTE)


def test_a_window_is_the_last_hour_day_or_week_unless_it_is_given(platform: Platform) -> None:
    alice = platform.sender()
    assert len(seen(alice, "")) == 61
    assert len(seen(alice, "step=hour")) == 25
    assert len(seen(alice, "step=day")) == 8
    last = clock.from_text(seen(alice, "")[-1]["at"])
    assert last <= datetime.now(UTC) < last + 2 * MINUTE


def test_an_item_of_one_owner_and_slot_stays_small(platform: Platform) -> None:
    # Given a quarter of an hour with everything in it
    alice, at = platform.sender(), NOON
    for minute in range(15):
        with counting(lambda: StatStore(platform.aws("dynamodb"), NAMES.events_table, lambda _: 0)):
            for what in Count:
                count(alice.owner, what, at + minute * MINUTE)
            for bucket in range(8):
                count(alice.owner, Count.PROCESSED, at + minute * MINUTE, 10 * 2 ** (bucket / 2))
    items = platform.aws("dynamodb").scan(TableName=NAMES.events_table)["Items"]
    (item,) = [item for item in items if alice.owner in item["pk"]["S"]]
    # Then one write is at most two units of 1 KB
    assert sum(len(name) + len(str(value)) for name, value in item.items()) < 4096


def test_counts_that_aws_refuses_fail_nothing(platform: Platform, break_call: BreakCall) -> None:
    with break_call("dynamodb", "UpdateItem", refusal("Throttling")), counting(wiring.stats):
        count("alice", Count.ACCEPTED, NOON)
    assert wiring.stats().read("alice", NOON, NOON + MINUTE) == {}


def test_a_run_that_fails_keeps_what_it_counted(platform: Platform) -> None:
    def run() -> None:
        with counting(wiring.stats):
            count("alice", Count.ACCEPTED, NOON)
            raise KeyError("x")

    with pytest.raises(KeyError):
        run()
    found = wiring.stats().read("alice", NOON, NOON + MINUTE)
    assert found == {NOON: Counter({"accepted": 1})}


def test_a_run_that_counts_nothing_makes_no_store() -> None:
    def make() -> StatStore:
        raise AssertionError("there is nothing to add")

    with counting(make):
        pass
    count("alice", Count.ACCEPTED, NOON)


@given(st.lists(st.floats(0, 10**9), min_size=1, max_size=50))
def test_a_percentile_is_right_within_a_fifth(latencies: list[float]) -> None:
    counts = Counter(str(bucket_of(latency)) for latency in latencies)
    (shown,) = totals({NOON: counts}, [NOON], MINUTE)
    for share, name in ((0.5, "latencyP50Ms"), (0.95, "latencyP95Ms")):
        exact = sorted(latencies)[-(-len(latencies) * round(share * 100) // 100) - 1]
        if 10 < exact < 10 * 2 ** ((BUCKETS - 1) / 2):
            assert shown[name] == pytest.approx(exact, rel=0.2, abs=1)


def test_buckets_cover_every_latency() -> None:
    assert bucket_of(-5) == bucket_of(0) == bucket_of(10) == 0
    assert bucket_of(10**12) == BUCKETS - 1
    assert [bucket_of(10 * 2**n) for n in range(5)] == [0, 2, 4, 6, 8]


def test_a_run_takes_any_of_the_shards(platform: Platform) -> None:
    taken: list[int] = []

    def shard(shards: int) -> int:
        taken.append(random.randrange(shards))
        return taken[-1]

    store = StatStore(platform.aws("dynamodb"), NAMES.events_table, shard)
    for _ in range(60):
        store.add(EVERYBODY, {NOON: Counter({"accepted": 1})})
    assert set(taken) == set(range(SHARDS))
    assert store.read(EVERYBODY, NOON, NOON + MINUTE)[NOON]["accepted"] == 60


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("step=week", "/query/step"),
        ("from=x", "/query/from"),
        ("to=x", "/query/to"),
        ("from=2026-01-02&to=2026-01-01", "/query/from"),
        ("from=2026-01-01&to=2026-01-02T00:01", "/query/from"),
        ("from=2026-01-01&to=2026-01-10&step=hour", "/query/from"),
        ("from=2026-01-01&to=2026-01-10&step=day", "/query/from"),
        ("from=0001-01-01&to=0001-01-01", "/query/to"),
        ("from=1970-01-01&to=1970-01-01&step=day", None),
        ("to=9999-12-31T23:59:59.999Z", None),
        ("from=9999-12-31", "/query/from"),
        ("from=0001-01-01", "/query/from"),
        ("to=0001-01-01T00:00&step=day", "/query/to"),
        ("limit=5", "/query/limit"),
        ("owner=bob", "/query/owner"),
        ("step=hour&step=day", "/query/step"),
    ],
)
def test_a_query_at_its_bounds(platform: Platform, query: str, pointer: str | None) -> None:
    response = platform.sender().get(f"/stats?{query}")
    if pointer is None:
        assert response.status_code == 200
    else:
        check_problem(response, 400, "invalid-request", pointer)


def test_what_becomes_of_events_is_counted(platform: Platform) -> None:
    # Given events that are done, one that fails, a batch, and what is refused
    alice, admin = platform.sender(), platform.sender("admin")
    for _ in range(2):
        alice.event_id({"eventType": "demo"})
    alice.event_id({"eventType": "eventline.drill.permanent"})
    batch = [{"eventType": "demo"}, {"eventType": "demo"}, {"eventType": ""}]
    assert alice.post("/events/batch", {"events": batch}).status_code == 202
    alice.post("/events", b"{")
    while records := platform.receive():
        platform.work(records)
    # Then each is counted as what it became
    found = seen(alice, "")
    assert summed(found) == {"accepted": 5, "processed": 4, "failed": 1, "rejected": 2}
    (latest,) = [item for item in found if item["processed"]][-1:]
    assert latest["latencyP50Ms"] <= latest["latencyP95Ms"] < 60_000
    assert summed(seen(admin, f"owner={alice.owner}")) == summed(found)
    assert summed(seen(admin, ""))["processed"] >= 4


def test_a_run_of_the_worker_costs_two_writes_more_for_one_owner(platform: Platform) -> None:
    alice = platform.sender()
    for _ in range(3):
        alice.event_id({"eventType": "demo"})
    platform.work()
    # One for each event, one at the end of their unit, and the counters
    assert platform.calls.count("UpdateItem") == 3 + 1 + 2
    assert platform.calls[-2:] == ["UpdateItem"] * 2


def test_an_event_is_accepted_once_however_often_its_message_comes(platform: Platform) -> None:
    alice = platform.sender()
    alice.event_id({"eventType": "eventline.drill.transient"})
    (record,) = platform.receive()
    with pytest.raises(Exception, match="retry"):
        platform.work([record])
    record["attributes"] = {**record["attributes"], "ApproximateReceiveCount": "2"}
    with pytest.raises(Exception, match="retry"):
        platform.work([record])
    assert summed(seen(alice, ""))["accepted"] == 1


def test_events_go_on_while_counts_cannot_be_kept(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: StatStore, _owner: str, _minutes: object) -> None:
        raise refusal("Throttling")

    monkeypatch.setattr(StatStore, "add", refuse)
    alice = platform.sender()
    event_id = alice.event_id({"eventType": "demo"})
    platform.work()
    assert alice.get(f"/events/{event_id}").json_body["status"] == "PROCESSED"
