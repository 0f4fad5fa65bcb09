"""Sweeps: what a retry of many takes, in which order it comes, and that none is left behind."""

import json
from contextlib import suppress
from typing import Any

import pytest

from chalicelib.aws.sqs import read_deliveries
from chalicelib.destinations import delivery_store, sweep
from chalicelib.destinations.deliver import deliver_batch
from chalicelib.destinations.line import LineStore
from chalicelib.destinations.message import DeliveryMessage
from chalicelib.outbound.send import Answer
from tests.support.destination_world import (
    QUEUE,
    DeathError,
    World,
    deliver_all,
    dying,
    lines,
    sent,
)
from tests.support.moto_aws import client, queue_url

NOT_FOUND = Answer(404, "http-404", "no", 12)
GONE = Answer(410, "http-410", "gone", 12)
SUBJECTS = ("1", "2", "3")
WINDOW, FAILED = {"from": "2026-01-01"}, {"failedSince": "2026-01-01"}


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sweep need many steps."""
    monkeypatch.setattr(sweep, "PAGE", 3)
    monkeypatch.setattr(delivery_store, "_PAGE", 3)


def missed(
    world: World, retry: dict[str, str], singles: int = 12, together: int = 12
) -> tuple[Any, dict[str, Any]]:
    """(an ordered destination, the events of each subject in their order): what it missed while it
    was paused, or what was given up. The last subject's come in a batch, with ids in no order."""
    made = world.make(ordered=True, paused=retry is WINDOW)
    events: dict[str, list[str]] = {one: [] for one in SUBJECTS}
    for count in range(singles):
        subject = SUBJECTS[count % 2]
        events[subject].append(world.event(subject=subject))
    batch = [
        {"specversion": "1.0", "source": "/a", "id": str(one), "type": "order.paid", "subject": "3"}
        for one in range(together)
    ]
    media_type = {"Content-Type": "application/cloudevents-batch+json"}
    answer = world.somebody.call("POST", "/events", json.dumps(batch).encode(), media_type)
    events[SUBJECTS[2]] = [one["eventId"] for one in answer.json_body["results"]]
    world.platform.work()
    if retry is FAILED:
        world.sender.answers = [GONE]
        deliver_all(world)
        world.sender.sent.clear()
    assert sent(world) == []
    assert world.put(made, ordered=True).status_code == 200
    return made, events


@pytest.mark.parametrize("is_busy", [False, True])
@pytest.mark.parametrize("retry", [WINDOW, FAILED], ids=["from", "failedSince"])
def test_a_window_that_is_sent_again_comes_in_order(
    world: World, retry: dict[str, str], *, is_busy: bool
) -> None:
    # Given an ordered destination that has missed events of several subjects
    made, events = missed(world, retry)

    # When they are sent again, their messages come the wrong way round, and new events meanwhile
    assert world.retry(made, **retry).status_code == 202
    for count in range(40):
        if is_busy and count < 20:
            world.event(subject=SUBJECTS[count % 2])
        world.wake()
        world.deliver(world.messages()[::-1])
    deliver_all(world)

    # Then those of each subject come in their order, each once
    for subject in SUBJECTS:
        assert [one for one in sent(world) if one in events[subject]] == events[subject]
    assert lines(made) == []


@pytest.mark.parametrize("retry", [WINDOW, FAILED], ids=["from", "failedSince"])
def test_those_of_a_line_join_it_oldest_first(
    world: World, retry: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a step that takes many events of a line, whose ids are in another order
    monkeypatch.setattr(sweep, "PAGE", 100)
    monkeypatch.setattr(delivery_store, "_PAGE", 100)
    made, events = missed(world, retry, singles=0)
    join, joined = LineStore.join, []

    def note(self: LineStore, message: DeliveryMessage, now: Any) -> None:
        joined.append(message.delivery.event_id)
        join(self, message, now)

    # When it is taken, then whoever is called meanwhile is the oldest
    monkeypatch.setattr(LineStore, "join", note)
    assert world.retry(made, **retry).status_code == 202
    world.deliver()
    assert joined == events[SUBJECTS[2]]


@pytest.mark.parametrize("ordered", [False, True])
def test_a_window_takes_what_waits_to_be_tried_again(world: World, *, ordered: bool) -> None:
    # Given a delivery that waits for hours, and in an ordered destination one behind it
    made = world.make(ordered=ordered)
    waiting = world.event(subject="order/7")
    world.sender.usual = NOT_FOUND
    for _ in range(4):
        world.wake()
        world.deliver()
        world.clock.advance(1801)
        world.take_up()
    world.sender.usual = Answer(200, "", "ok", 12)
    behind = world.event(subject="order/7")
    deliver_all(world)
    assert world.delivery(made, waiting)["state"] == "waiting"
    world.sender.sent.clear()

    # When its window is sent again
    assert world.retry(made, **WINDOW).status_code == 202
    deliver_all(world)

    # Then it is sent now, before the one behind it, and not once more when its wait is over
    assert sent(world) == ([waiting, behind] if ordered else [waiting])
    assert world.delivery(made, waiting)["state"] == "delivered"
    world.clock.advance(86_400)
    assert world.take_up() == 0
    assert lines(made) == []


@pytest.mark.parametrize("ordered", [False, True])
def test_what_waits_and_is_not_wanted_any_more_waits_no_longer(
    world: World, *, ordered: bool
) -> None:
    made = world.make(ordered=ordered)
    waiting = world.event(subject="order/7")
    world.sender.answers = [NOT_FOUND] * 4
    for _ in range(3):
        world.wake()
        world.deliver()
    wanted = {"data": {"nosuch": [{"exists": True}]}}
    assert world.put(made, ordered=ordered, filter=wanted).status_code == 200
    assert world.retry(made, **WINDOW).status_code == 202
    deliver_all(world)
    found = world.delivery(made, waiting)
    assert (found["state"], found["code"], found["nextAt"]) == ("failed", "filtered", None)
    assert lines(made) == []


@pytest.mark.parametrize("retry", [WINDOW, FAILED], ids=["from", "failedSince"])
def test_a_sweep_whose_destination_is_turned_off_leaves_nobody_waiting(
    world: World, retry: dict[str, str]
) -> None:
    # Given a sweep of which some have joined their lines
    made, events = missed(world, retry)
    assert world.retry(made, **retry).status_code == 202
    for _ in range(3):
        world.deliver()
    assert lines(made)
    assert sent(world) == []

    # When the destination is paused
    assert world.put(made, ordered=True, paused=True).status_code == 200
    deliver_all(world)

    # Then those are given up, and the others as they were
    assert sent(world) == []
    assert lines(made) == []
    found = world.somebody.get(f"/destinations/{made['id']}/attempts?limit=100").json_body["items"]
    assert {one["state"] for one in found} == {"failed"}

    # And all come when it is sent again later
    assert world.put(made, ordered=True).status_code == 200
    assert world.retry(made, **retry).status_code == 202
    deliver_all(world, rounds=200)
    for subject in SUBJECTS:
        assert [one for one in sent(world) if one in events[subject]] == events[subject]


def test_one_that_was_just_delivered_holds_up_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a sweep that has read a delivery whose own message is on its way
    made = world.make(ordered=True)
    event_id = world.event(subject="order/7")
    (own,) = world.messages()
    client("sqs").purge_queue(QueueUrl=queue_url(QUEUE))
    assert world.retry(made, **WINDOW).status_code == 202
    join = LineStore.join

    def deliver_before(self: LineStore, message: DeliveryMessage, now: Any) -> None:
        monkeypatch.setattr(LineStore, "join", join)
        deliver_batch(read_deliveries([own]), world.deps())
        join(self, message, now)

    # When that is delivered before the sweep puts it into its line
    monkeypatch.setattr(LineStore, "join", deliver_before)
    deliver_all(world)
    assert lines(made) == []

    # Then what comes behind it goes on
    behind = world.event(subject="order/7")
    deliver_all(world)
    assert sent(world) == [event_id, behind]


@pytest.mark.parametrize(
    ("retry", "at"),
    [*((WINDOW, at) for at in range(1, 30)), *((FAILED, at) for at in range(1, 21))],
)
def test_a_death_at_any_call_of_a_sweep_leaves_nobody_behind(
    world: World, retry: dict[str, str], at: int
) -> None:
    # Given what an ordered destination has missed
    made, events = missed(world, retry, singles=0, together=3)
    assert world.retry(made, **retry).status_code == 202

    # When the process dies at a call
    with dying(at), suppress(DeathError):
        deliver_all(world)
    deliver_all(world)

    # Then all arrive in their order, and nobody is left in a line
    wanted = events[SUBJECTS[2]]
    assert {world.delivery(made, one)["state"] for one in wanted} == {"delivered"}
    assert sent(world) == sorted(sent(world), key=wanted.index)
    assert lines(made) == []


@pytest.mark.parametrize("tries", [0, 1, 2])
def test_a_window_gets_a_line_going_whose_first_lost_its_message(world: World, tries: int) -> None:
    made = world.make(ordered=True)
    world.sender.answers = [NOT_FOUND] * tries
    first = world.event(subject="order/7")
    for _ in range(tries):
        world.deliver()
        world.wake()
    client("sqs").purge_queue(QueueUrl=queue_url(QUEUE))
    second = world.event(subject="order/7")
    deliver_all(world)
    assert sent(world) == [first] * tries

    assert world.retry(made, **WINDOW).status_code == 202
    deliver_all(world)

    assert sent(world) == [first] * tries + [first, second]
    assert lines(made) == []


@pytest.mark.parametrize("at", range(1, 13))
def test_a_death_at_any_call_leaves_out_nothing_that_failed(world: World, at: int) -> None:
    # Given a destination without an order to which deliveries have failed
    made = world.make()
    world.sender.answers = [GONE]
    events = [world.event() for _ in range(4)]
    deliver_all(world)
    world.sender.sent.clear()
    assert world.put(made).status_code == 200
    assert world.retry(made, **FAILED).status_code == 202

    with dying(at), suppress(DeathError):
        deliver_all(world)
    deliver_all(world)

    assert {world.delivery(made, one)["state"] for one in events} == {"delivered"}
