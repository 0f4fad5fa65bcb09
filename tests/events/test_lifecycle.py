"""Whatever fails, in whatever order things happen: nothing that was acknowledged is lost, and
every effect happens once."""

import itertools
import json
import logging
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.core.ids import sha256
from chalicelib.core.log import log
from chalicelib.events.batch import one_line
from chalicelib.events.model import TRANSITIONS, Record, Status
from tests.support.factories import NOON
from tests.support.faults import Fault
from tests.support.simulation import (
    OTHER_BODY,
    Job,
    Reconcile,
    Send,
    SendBatch,
    Together,
    Wait,
    Work,
    World,
)

BEFORE_MIDNIGHT = datetime(2026, 3, 14, 23, 59, 59, 990000, tzinfo=UTC)
DEMO = b'{"eventType":"demo","n":1}'
OTHER_TYPE = b'{"eventType":"demo.other","n":1}'
PERMANENT = b'{"eventType":"eventline.drill.permanent"}'
TRANSIENT = b'{"eventType":"eventline.drill.transient","failures":1}'
BODIES = (DEMO, OTHER_BODY, OTHER_TYPE, PERMANENT, TRANSIENT)
KEYED = b'{"eventType":"demo","n":1,"idempotencyKey":"k"}'
KEYED_OTHER = b'{"eventType":"demo","n":2,"idempotencyKey":"k"}'
KEYED_TRANSIENT = b'{"eventType":"eventline.drill.transient","failures":1,"idempotencyKey":"t"}'
NO_TYPE = b'{"n":1}'
TWICE = b'{"eventType":"demo","eventType":"demo"}'
LINES = b'{\n "eventType":\r\n "demo"\n}'
SAME_TYPE = b'{"eventType":"demo","n":3}'
ITEMS = (*BODIES, KEYED, KEYED_OTHER, KEYED_TRANSIENT, NO_TYPE, TWICE, LINES)
UNIT = (DEMO, OTHER_TYPE, KEYED, PERMANENT, TRANSIENT)
"""One of everything: two types that succeed, an event with a key, and one that leaves each way."""
MOST_CALLS = 12
MOST_CALLS_OF_UNITS = 24
MOST_FAULTS = 3
"""Below MAX_ATTEMPTS by more than the one failure of a transient drill: bad luck alone must not
use up the attempts of an event."""


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """The story's own trace says more than thousands of log lines."""
    level = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(level)


sends = st.builds(
    Send,
    body=st.sampled_from(BODIES),
    owner=st.sampled_from(["alice", "bob"]),
    key=st.sampled_from(["k", None]),
)
keyed_sends = st.builds(Send, body=st.sampled_from([KEYED, KEYED_OTHER]), key=st.just("k"))
batches = st.builds(
    SendBatch,
    bodies=st.lists(st.sampled_from(ITEMS), min_size=1, max_size=6).map(tuple),
    owner=st.sampled_from(["alice", "alice", "bob"]),
)
works = st.builds(
    Work, limit=st.sampled_from([10, 1, 2]), again=st.booleans(), newest_first=st.booleans()
)
jobs = st.one_of(sends, works, st.just(Reconcile()))
unit_jobs = st.one_of(batches, batches, keyed_sends, works, works, st.just(Reconcile()))


@st.composite
def parts(
    draw: st.DrawFn,
    jobs: st.SearchStrategy[Job] = jobs,
    calls: int = MOST_CALLS,
) -> Together | Wait:
    """Some jobs at the same time, or a wait."""
    if draw(st.integers(0, 3)) == 3:
        return Wait(draw(st.sampled_from([1, 30, 400, 1000])))
    together = draw(st.lists(jobs, min_size=1, max_size=3))
    order = draw(st.lists(st.integers(0, 2), max_size=2 * calls)) if len(together) > 1 else []
    fault = st.tuples(
        st.integers(0, len(together) - 1), st.integers(1, calls), st.sampled_from(Fault)
    )
    return Together(together, order, draw(st.lists(fault, max_size=1)))


def calm(story: list[Together | Wait]) -> list[Together | Wait]:
    """The story with no more than MOST_FAULTS faults."""
    left = MOST_FAULTS
    calmer: list[Together | Wait] = []
    for part in story:
        if isinstance(part, Together):
            faults = part.faults[:left]
            left -= len(faults)
            calmer.append(Together(part.jobs, part.order, faults))
        else:
            calmer.append(part)
    return calmer


def check_end(world: World, *, in_turn: bool, is_calm: bool) -> None:
    """What holds when nothing is open any more. Where nothing went wrong (`is_calm`), the bus was
    told once of each event, and each was handed over once, however often its message came."""
    for send, receipt in world.receipts:
        record = world.aws.records[receipt.event_id]
        body = (
            send.body if record.event.payload_sha256 == sha256(send.body) else one_line(send.body)
        )
        assert record.event.payload_sha256 == sha256(body)
        assert record.event.owner == send.owner
        assert payload_of(world, record) == body
        expected = Status.FAILED if send.body == PERMANENT else Status.PROCESSED
        assert record.status is expected, record.last_error
    for send, event_id in world.rejected:
        record = world.aws.records[event_id]
        assert record.status is Status.REJECTED
        assert payload_of(world, record) == send.body
    for record in world.aws.records.values():
        assert record.status in (Status.PROCESSED, Status.FAILED, Status.REJECTED)
        if record.status is not Status.PROCESSED:
            assert record.last_error
        if record.status is not Status.REJECTED:
            check_timeline(record.timeline, in_turn=in_turn)
        check_silver(world, record)
    for refused in world.refused:
        same_key = [s for s in world.sends if (s.owner, s.key) == (refused.owner, refused.key)]
        assert any(send.body != refused.body for send in same_key)
    processed = [r for r in world.aws.records.values() if r.status is Status.PROCESSED]
    ids = sorted(record.event.event_id for record in processed)
    assert sorted(silver_ids(world)) == ids
    told = Counter(json.loads(entry.detail)["eventId"] for entry in world.bus.entries)
    assert set(told) == set(ids)
    assert not is_calm or set(told.values()) <= {1}, told
    sent = [json.loads(body) for body in world.deliveries.sent]
    handed = Counter(one["delivery"]["eventId"] for one in sent)
    assert set(handed) == set(ids)
    assert not is_calm or set(handed.values()) <= {1}, handed
    # Of what is handed over again all but the first say so, unless the queue's answer was lost.
    assert not is_calm or not any(one.get("again") for one in sent)


def payload_of(world: World, record: Record) -> bytes:
    """An event's payload, as bronze has it."""
    return world.lake.get_bronze(record.event.s3_key, record.event.s3_range)


def silver_ids(world: World) -> list[str]:
    """The event ids of all silver documents, those in the files of units among them."""
    ids: list[str] = []
    for (bucket, key), kept in world.aws.objects.items():
        if bucket == "silver":
            lines = kept.body.splitlines() if key.endswith(".ndjson") else [kept.body]
            ids += [json.loads(line)["eventId"] for line in lines if line.strip()]
    return ids


def check_timeline(timeline: Sequence[Mapping[str, str]], *, in_turn: bool) -> None:
    """It begins with RECEIVED, goes on by legal steps, and, if all
    jobs came in turn, never back in time. (Two that race read the clock before they write.)"""
    statuses = [Status(entry["status"]) for entry in timeline]
    assert statuses[0] is Status.RECEIVED
    for before, after in pairwise(statuses):
        assert after in TRANSITIONS[before], f"{before} -> {after}"
    times = [entry["at"] for entry in timeline]
    assert not in_turn or times == sorted(times), f"the timeline goes back: {timeline}"


def check_silver(world: World, record: Record) -> None:
    """The document says what was sent."""
    if record.status is not Status.PROCESSED:
        return
    document = json.loads(world.lake.get_silver(str(record.silver_key), record.silver_range))
    bronze = payload_of(world, record)
    assert document["eventId"] == record.event.event_id
    assert document["data"] == json.loads(bronze)
    assert sha256(bronze) == document["bronze"]["sha256"] == record.event.payload_sha256


def live(story: Sequence[Together | Wait], start: datetime = NOON) -> World:
    """Let a story happen and everything come to rest; checks all promises on the way."""
    world = World(start)
    in_turn = all(isinstance(part, Wait) or len(part.jobs) == 1 for part in story)
    is_calm = all(isinstance(part, Wait) or not part.faults for part in story)
    try:
        for part in story:
            world.play(part)
        world.come_to_rest()
        check_end(world, in_turn=in_turn, is_calm=is_calm)
    except AssertionError as error:
        told = ["The story:", *(f"  {part}" for part in story), "What happened:", *world.trace]
        error.add_note("\n".join(told))
        raise
    return world


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    story=st.lists(parts(), min_size=1, max_size=7).map(calm),
    start=st.sampled_from([NOON, BEFORE_MIDNIGHT]),
)
def test_no_story_loses_an_event_or_repeats_an_effect(
    story: list[Together | Wait], start: datetime
) -> None:
    live(story, start)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    story=st.lists(parts(unit_jobs, MOST_CALLS_OF_UNITS), min_size=1, max_size=7).map(calm),
    start=st.sampled_from([NOON, BEFORE_MIDNIGHT]),
)
def test_no_story_with_batches_loses_an_event_or_repeats_an_effect(
    story: list[Together | Wait], start: datetime
) -> None:
    live(story, start)


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("resent", [False, True])
def test_an_ingest_may_fail_at_any_call(
    key: str | None, fault: Fault, call: int, *, resent: bool
) -> None:
    # Given a sender whose request fails at one of its calls
    failing = Together([Send(DEMO, key=key)], faults=[(0, call, fault)])
    again = [Together([Send(DEMO, key=key)])] if resent else []
    # When it sends again, or does not
    world = live([failing, *again])
    # Then what was acknowledged is processed, once for each key
    acknowledged = {receipt.event_id for _, receipt in world.receipts}
    assert acknowledged <= world.aws.records.keys()
    if key:
        assert len(world.aws.records) <= 1


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("call", range(1, 8))
@pytest.mark.parametrize("body", [DEMO, OTHER_BODY, PERMANENT, TRANSIENT])
def test_a_processing_may_fail_at_any_call(
    key: str | None, fault: Fault, call: int, body: bytes
) -> None:
    world = live([Together([Send(body, key=key)]), Together([Work()], faults=[(0, call, fault)])])
    assert len(world.receipts) == len(world.aws.records) == 1


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("call", range(1, MOST_CALLS_OF_UNITS + 1))
@pytest.mark.parametrize("again", [False, True])
def test_a_processing_of_many_messages_may_fail_at_any_call(
    fault: Fault, call: int, *, again: bool
) -> None:
    # Given single events that one run takes, of two types, and one that has a document of its own
    sent = [Together([Send(body, key=body.decode())]) for body in (*BODIES, LINES, SAME_TYPE)]
    # When the run fails at one of its calls, alone or beside a run that has the same messages
    jobs: list[Job] = [Work(), Work(again=True)] if again else [Work()]
    world = live([*sent, Together(jobs, [0, 1] * 12, [(0, call, fault)])])
    # Then every event ends as it would have
    assert len(world.receipts) == len(world.aws.records) == len(sent)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("call", range(1, 8))
@pytest.mark.parametrize("later", [Reconcile(), Work()])
def test_the_end_of_a_dead_run_may_fail_at_any_call(fault: Fault, call: int, later: Job) -> None:
    # Given a run that died after its events were noted, and before they were published
    sent = [Together([Send(body)]) for body in (DEMO, DEMO, OTHER_TYPE)]
    dead = Together([Work()], faults=[(0, 8, Fault.KILLED_AFTER)])
    # When those who finish its unit fail at one of their calls
    failing = Together([later], faults=[(0, call, fault)])
    world = live([*sent, dead, Wait(400), failing])
    # Then all is published
    assert [r.status for r in world.aws.records.values()] == [Status.PROCESSED] * 3


@pytest.mark.parametrize("seed", range(300))
def test_messages_at_two_workers_at_once_have_one_effect(seed: int) -> None:
    # Given messages, one of them sent twice
    sent = [Together([Send(body, key=body.decode())]) for body in (*BODIES, LINES, SAME_TYPE)]
    numbers = random.Random(seed)
    # When two runs take them, in any order of their calls
    jobs = [Work(numbers.choice((10, 3))), Work(again=numbers.random() < 0.7)]
    world = live([*sent, Together(jobs, [0, *numbers.choices([0, 1], k=80)])])
    # Then each is told once, and its document is there once
    assert len(world.aws.records) == len(sent)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("call", range(1, 8))
@pytest.mark.parametrize("resent", [False, True])
def test_an_ingest_of_a_batch_may_fail_at_any_call(
    fault: Fault, call: int, *, resent: bool
) -> None:
    failing = Together([SendBatch((*UNIT, NO_TYPE))], faults=[(0, call, fault)])
    again = [Together([SendBatch((*UNIT, NO_TYPE))])] if resent else []
    world = live([failing, *again])
    acknowledged = {receipt.event_id for _, receipt in world.receipts}
    assert acknowledged <= world.aws.records.keys()
    assert len(acknowledged) >= (len(UNIT) if resent else 0)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("call", range(1, MOST_CALLS_OF_UNITS + 1))
def test_a_processing_of_a_unit_may_fail_at_any_call(fault: Fault, call: int) -> None:
    world = live([Together([SendBatch(UNIT)]), Together([Work()], faults=[(0, call, fault)])])
    assert len(world.receipts) == len(world.aws.records) == len(UNIT)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("call", range(1, MOST_CALLS_OF_UNITS + 1))
def test_a_unit_that_kills_workers_may_fail_at_any_call_of_its_break_up(
    fault: Fault, call: int
) -> None:
    # Given a unit at which two workers died before they wrote anything
    deadly: list[Together | Wait] = [
        Together([Work()], faults=[(0, 1, Fault.KILLED_BEFORE)]),
        Wait(400),
    ]
    # When its break-up fails at one of its calls
    world = live(
        [
            Together([SendBatch(UNIT)]),
            *deadly,
            *deadly,
            Together([Work()], faults=[(0, call, fault)]),
        ]
    )
    # Then every event ends as it would have
    assert len(world.receipts) == len(world.aws.records) == len(UNIT)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("call", range(1, MOST_CALLS_OF_UNITS + 1))
def test_a_reconcile_of_units_may_fail_at_any_call(fault: Fault, call: int) -> None:
    # Given a unit that only bronze has, and one that was never sent
    orphan = Together([SendBatch(UNIT)], faults=[(0, 4, Fault.KILLED_BEFORE)])
    unsent = Together([SendBatch((OTHER_BODY, LINES))], faults=[(0, 3, Fault.REFUSED)])
    # When reconcile fails at one of its calls
    failing = Together([Reconcile()], faults=[(0, call, fault)])
    world = live([orphan, unsent, Wait(1000), failing])
    # Then the next runs repair both
    ends = [record.status for record in world.aws.records.values()]
    assert (ends.count(Status.PROCESSED), ends.count(Status.FAILED)) == (len(UNIT) + 1, 1)


@pytest.mark.parametrize("seed", range(150))
def test_one_unit_at_two_workers_has_one_effect(seed: int) -> None:
    order = random.Random(seed).choices([0, 1], k=60)
    world = live([Together([SendBatch(UNIT)]), Together([Work(), Work(again=True)], [0, *order])])
    assert len(world.aws.records) == len(UNIT)


@pytest.mark.parametrize("seed", range(60))
def test_two_batches_with_one_key_make_one_event(seed: int) -> None:
    order = random.Random(seed).choices([0, 1, 2], k=30)
    jobs: list[Job] = [
        SendBatch((KEYED, DEMO)),
        SendBatch((KEYED_OTHER, KEYED)),
        Send(KEYED, key="k"),
    ]
    world = live([Together(jobs, order)])
    assert len(world.aws.records) == 2
    assert len({receipt.event_id for send, receipt in world.receipts if send.key}) == 1


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("call", range(1, MOST_CALLS + 1))
def test_a_reconcile_may_fail_at_any_call(fault: Fault, call: int) -> None:
    # Given an orphan in bronze, and an event that was never sent
    orphan = Together([Send(DEMO)], faults=[(0, 2, Fault.KILLED_BEFORE)])
    unsent = Together([Send(OTHER_BODY, key="k")], faults=[(0, 3, Fault.REFUSED)])
    # When reconcile fails at one of its calls
    failing = Together([Reconcile()], faults=[(0, call, fault)])
    world = live([orphan, unsent, Wait(1000), failing])
    # Then the next runs repair both
    assert [r.status for r in world.aws.records.values()] == [Status.PROCESSED] * 2


@pytest.mark.parametrize("order", list(itertools.product([0, 1], repeat=6)))
@pytest.mark.parametrize("bodies", [(DEMO, DEMO), (DEMO, OTHER_BODY), (DEMO, OTHER_TYPE)])
def test_two_requests_with_one_key_make_one_event(
    order: Sequence[int], bodies: tuple[bytes, bytes]
) -> None:
    # Given two requests with one key at the same time, in every order of their calls
    together = Together([Send(body, key="k") for body in bodies], order)
    # When all has come to rest
    world = live([together])
    # Then there is one event, and the same body was never refused
    assert len(world.aws.records) == 1
    assert len({receipt.event_id for _, receipt in world.receipts}) == 1
    if bodies[0] == bodies[1]:
        assert world.refused == []
    else:
        assert len(world.refused) == 1


@pytest.mark.parametrize("order", list(itertools.product([0, 1], repeat=4)))
def test_one_message_at_two_workers_has_one_effect(order: Sequence[int]) -> None:
    sent = Together([Send(DEMO)])
    world = live([sent, Together([Work(), Work(again=True)], [0, *order])])
    (record,) = world.aws.records.values()
    assert record.status is Status.PROCESSED
    assert record.attempts == 1


@pytest.mark.parametrize("order", list(itertools.product([0, 1], repeat=5)))
def test_a_worker_may_be_faster_than_the_api(order: Sequence[int]) -> None:
    world = live([Together([Send(DEMO), Work()], order)])
    (record,) = world.aws.records.values()
    assert [entry["status"] for entry in record.timeline] == ["RECEIVED", "ENQUEUED", "PROCESSED"]
