"""Whatever fails while an operator replays, aborts and redrives: nothing is lost, nothing skipped,
and nothing made twice."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.events.model import Record, Status
from chalicelib.replays.model import ReplayStatus
from tests.events.test_lifecycle import (
    BODIES,
    DEMO,
    KEYED,
    NO_TYPE,
    OTHER_TYPE,
    PERMANENT,
    TRANSIENT,
    UNIT,
    batches,
    calm,
    live,
    parts,
    quiet,
    sends,
    works,
)
from tests.support.factories import NOON
from tests.support.faults import Fault
from tests.support.simulated_operator import AbortReplays, Redrive, ReplayMany
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

__all__ = ["quiet"]
MOST_CALLS = 30
replays = st.builds(
    ReplayMany,
    status=st.sampled_from([None, None, Status.PROCESSED, Status.FAILED, Status.REJECTED]),
    rate=st.sampled_from([1, 50]),
    key=st.sampled_from([None, None, "r"]),
    include_replays=st.booleans(),
)
operator_jobs = st.one_of(replays, replays, st.just(Redrive()), st.just(AbortReplays()))
jobs = st.one_of(sends, batches, works, works, operator_jobs, operator_jobs, st.just(Reconcile()))


def relive(story: Sequence[Together | Wait]) -> World:
    """Let a story happen and everything come to rest; checks all promises, and those of replays."""
    world = live(story)
    try:
        check_replays(world)
    except AssertionError as error:
        told = ["The story:", *(f"  {part}" for part in story), "What happened:", *world.trace]
        error.add_note("\n".join(told))
        raise
    return world


def made_by(world: World) -> dict[str, list[Record]]:
    """The events that each replay has made."""
    found: dict[str, list[Record]] = {replay_id: [] for replay_id in world.aws.replays}
    for record in world.aws.records.values():
        if record.replay_of is not None:
            found[record.timeline[0]["detail"].rpartition(" ")[2]].append(record)
    return found


def check_replays(world: World) -> None:
    """Each replay came to an end and took each event once."""
    assert world.operator.meant.keys() <= world.aws.replays.keys()
    for replay_id, made in made_by(world).items():
        replay = world.aws.replays[replay_id]
        assert replay.status in (ReplayStatus.DONE, ReplayStatus.ABORTED)
        of = Counter(record.replay_of for record in made)
        assert set(of.values()) <= {1}, "an event was replayed twice"
        for record in made:
            before = world.aws.records[str(record.replay_of)].event
            assert record.event.received_at >= replay.selection.end > before.received_at
            assert record.event.payload_sha256 == before.payload_sha256
            assert record.event.owner == before.owner
        tally = replay.tally
        assert tally.matched == tally.done + tally.failed
        if replay.status is ReplayStatus.DONE:
            assert tally.done == len(made), "the count is wrong"
            assert world.operator.meant.get(replay_id, set()) <= of.keys(), "one was skipped"


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(story=st.lists(parts(jobs, MOST_CALLS), min_size=1, max_size=8).map(calm))
def test_no_story_of_an_operator_loses_skips_or_doubles(story: list[Together | Wait]) -> None:
    relive(story)


BEFORE: list[Together | Wait] = [
    Together([SendBatch((*UNIT, NO_TYPE))]),
    *(Together([Send(body)]) for body in BODIES),
    Together([Work()]),
    Wait(40),
    Together([Work()]),
    Wait(1),
]
"""Events that have come to every end."""


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("call", range(1, 7))
def test_a_start_may_fail_at_any_call(fault: Fault, call: int) -> None:
    # Given a start that fails, and is repeated under its key
    failing = Together([ReplayMany(key="r")], faults=[(0, call, fault)])
    # When the operator asks again
    world = relive([*BEFORE, failing, Together([ReplayMany(key="r")])])
    # Then one replay has run
    (replay,) = world.aws.replays.values()
    assert replay.status is ReplayStatus.DONE
    assert replay.tally.failed == 1
    assert replay.tally.done == len(made_by(world)[replay.replay_id]) == 10
    assert world.aws.running == {}


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("call", range(1, MOST_CALLS))
@pytest.mark.parametrize("rate", [1, 50])
def test_a_step_may_fail_at_any_call(fault: Fault, call: int, rate: int) -> None:
    failing = Together([Work()], faults=[(0, call, fault)])
    world = relive([*BEFORE, Together([ReplayMany(rate=rate)]), failing])
    (replay,) = world.aws.replays.values()
    assert replay.status is ReplayStatus.DONE
    assert (replay.tally.done, replay.tally.failed) == (10, 1)


@pytest.mark.parametrize("seed", range(30))
def test_one_step_at_two_workers_is_one_chain(seed: int) -> None:
    # Given a replay of several steps, the first of which is delivered to two workers at once
    order = random.Random(seed).choices([0, 1], k=120)
    many: list[Together | Wait] = [
        Together([SendBatch((DEMO,) * 40)]),
        Together([Work()]),
        Wait(1),
    ]
    both = Together([Work(), Work(again=True)], [0, *order])
    later: list[Together | Wait] = [Wait(15), Together([Work()]), Together([Work()])] * 10
    world = relive([*many, Together([ReplayMany(rate=1)]), both, *later])
    # Then the second may be sent twice, but those after it are not
    (replay,) = world.aws.replays.values()
    assert replay.tally.done == 40
    sent = Counter(body for body in world.queue.sent if '"replay":{' in body)
    assert len(sent) >= 4
    first, second, *later_ones = sent.values()
    assert first == 1
    assert second <= 2
    assert set(later_ones) == {1}


@pytest.mark.parametrize("seed", range(30))
def test_an_abort_comes_through_whatever_a_step_is_at(seed: int) -> None:
    order = random.Random(seed).choices([0, 1], k=80)
    both = Together([Work(), AbortReplays()], order)
    world = relive([*BEFORE, Together([ReplayMany()]), both])
    (replay,) = world.aws.replays.values()
    assert world.aws.running == {}
    if replay.status is ReplayStatus.ABORTED:
        assert replay.tally.done == len(made_by(world)[replay.replay_id])


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("call", range(1, 8))
def test_a_redrive_may_fail_at_any_call(fault: Fault, call: int) -> None:
    # Given events that are FAILED, alone and after they left their unit
    failing = Together([Redrive()], faults=[(0, call, fault)])
    # When they are redriven, and that fails at one of its calls
    world = relive([*BEFORE, failing, Together([Redrive()])])
    # Then each has come to its end again, and was tried again
    records = [r for r in world.aws.records.values() if r.status is Status.FAILED]
    assert len(records) == 2
    for record in records:
        assert record.attempts >= 2
        assert [step.get("detail") for step in record.timeline].count("redriven") >= 1


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("bodies", [(DEMO, OTHER_TYPE, TRANSIENT), (KEYED, PERMANENT, OTHER_BODY)])
def test_what_was_given_up_goes_on_with_its_unit(seed: int, bodies: tuple[bytes, ...]) -> None:
    # Given a unit that was given up before a worker came to it: its silver file may come to hold it
    lost: list[Together | Wait] = [Together([SendBatch(bodies)])]
    for wait in (1000, 2000, 4000, 8000):
        lost += [Wait(wait), Together([Reconcile()])]
    # When it is redriven while all its old messages are still there
    order = random.Random(seed).choices([0, 1, 2], k=80)
    jobs: list[Job] = [Redrive(), Work(1), Work(2)]
    world = relive([*lost, Together(jobs, order)])
    # Then everything is as if it had never been
    assert len(world.aws.records) == len(bodies)


HAND_ON = ("SendMessage", "PutItem")
"""The last calls of a step that hands on: the next message, and the note of the next step."""


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("last", [1, 2])
def test_a_chain_goes_on_by_itself_if_a_step_dies_at_handing_on(fault: Fault, last: int) -> None:
    # Given a replay of several steps
    many: list[Together | Wait] = [
        Together([SendBatch((DEMO,) * 30)]),
        Together([Work()]),
        Wait(1),
        Together([ReplayMany(rate=1)]),
    ]
    calls = calls_of_a_step(many)
    # When the first fails at one of the calls by which it hands on, and nobody looks after it
    dying = Together([Work()], faults=[(0, calls + 1 - last, fault)])
    later: list[Together | Wait] = [Wait(400), Together([Work()]), Together([Work()])] * 8
    world = live_without_reconcile([*many, dying, *later])
    # Then it comes to its end
    (replay,) = world.aws.replays.values()
    assert (replay.status, replay.tally.done, replay.restarts) == (ReplayStatus.DONE, 30, 0)


def calls_of_a_step(story: Sequence[Together | Wait]) -> int:
    """How many calls the worker makes for the next step."""
    world = live_without_reconcile(story)
    before = len(world.aws.calls)
    world.play(Together([Work()]))
    made = world.aws.calls[before:]
    assert tuple(made[-2:]) == HAND_ON
    return len(made)


def live_without_reconcile(story: Sequence[Together | Wait]) -> World:
    """Let a story happen, and no more."""
    world = World(NOON)
    for part in story:
        world.play(part)
    return world
