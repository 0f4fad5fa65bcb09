"""A destination with a rate: its deliveries take turns, and none is lost."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from chalicelib import wiring
from chalicelib.aws.dynamodb import to_item
from chalicelib.destinations.model import Outcome
from chalicelib.destinations.store import PROBE, TURNS_AHEAD
from chalicelib.outbound.send import Answer
from tests.support.destination_world import URL, World
from tests.support.factories import NOON, make_id
from tests.support.moto_aws import client

TABLE = "eventline-test-destinations"
DOWN = Answer(503, "http-503", "busy", 40, is_down=True)
NOT_FOUND = Answer(404, "http-404", "no", 40)


def events(world: World, number: int) -> None:
    """So many events at once."""
    order = [{"eventType": "order.paid", "n": one} for one in range(number)]
    world.somebody.post("/events/batch", {"events": order})
    world.platform.work()


def test_a_second_has_so_many_calls_and_the_others_wait(world: World) -> None:
    world.make(rate=3)
    events(world, 8)

    world.deliver()

    assert len(world.sender.sent) == 3
    assert world.delays() == [1, 1, 1, 2, 2]
    # Each has its turn when it comes again.
    world.wake()
    world.deliver()
    assert sorted(body["data"]["n"] for _, body, _ in world.sender.sent) == list(range(8))
    assert world.messages() == []


def test_the_rate_is_of_one_destination(world: World) -> None:
    limited, free = world.make(rate=1), world.make(url="https://other.example.com/")
    events(world, 4)

    world.deliver()

    called = Counter(url for url, _, _ in world.sender.sent)
    assert called == {limited["url"]: 1, free["url"]: 4}


def test_a_turn_is_one_write_while_others_wait(world: World) -> None:
    made = world.make(rate=2)
    store = wiring.destination_store()
    store.take_turn(made["id"], 2, world.clock())
    world.platform.calls.clear()

    store.take_turn(made["id"], 2, world.clock())

    assert world.platform.calls == ["UpdateItem"]


@pytest.mark.parametrize("rate", [1, 3, 7, 1000])
@pytest.mark.parametrize("pause", [0.0, 0.01, 0.4, 5.0])
def test_no_second_has_more_than_the_rate_and_what_came_together(
    world: World, rate: int, pause: float
) -> None:
    store, id_, at = wiring.destination_store(), make_id(), NOON
    turns = []
    for _ in range(40):
        wait = store.take_turn(id_, rate, at)
        assert wait is not None
        turns.append((at - NOON).total_seconds() + wait)
        at += timedelta(seconds=pause)
    for start in turns:
        within = sum(start <= turn < start + 1 for turn in turns)
        # A second's worth may have been saved up before.
        assert within <= 2 * rate
    assert turns[-1] <= max(40 * pause, 40 / rate) + 1


def test_turns_end_some_way_ahead_and_come_again(world: World) -> None:
    made = world.make(rate=1)
    store = wiring.destination_store()
    while store.take_turn(made["id"], 1, world.clock()) is not None:
        pass
    events(world, 1)

    world.deliver()

    assert world.sender.sent == []
    assert world.delays() == [TURNS_AHEAD / 2]
    world.jitter = 1.0
    world.wake()
    world.deliver()
    assert world.delays() == [TURNS_AHEAD]
    # They are over: there is one at once.
    world.clock.advance(TURNS_AHEAD + 2)
    world.wake()
    world.deliver()
    assert len(world.sender.sent) == 1


@pytest.mark.parametrize("answer", [NOT_FOUND, DOWN])
def test_another_attempt_takes_another_turn(world: World, answer: Answer) -> None:
    # Given an attempt that failed, and a new event when it comes again
    made = world.make(rate=1)
    world.sender.answers = [answer]
    events(world, 1)
    world.deliver()
    world.clock.advance(60)
    events(world, 1)

    world.wake()
    world.deliver()

    # Then one of the two has to wait
    assert len(world.sender.sent) == 2
    assert world.delays() == [1]
    world.wake()
    world.deliver()
    path = f"/destinations/{made['id']}/attempts"
    states = Counter(one["state"] for one in world.somebody.get(path).json_body["items"])
    assert states == {Outcome.DELIVERED: 2}


def test_who_is_put_off_for_another_reason_takes_no_turn(world: World) -> None:
    # Given a destination that is down, and has one call at a time
    made = world.make(rate=1)
    world.sender.answers = [DOWN]
    events(world, 1)
    world.deliver()
    turns = to_item({"pk": f"TURNS#{made['id']}", "sk": "-"})

    def next_turn() -> Any:
        return client("dynamodb").get_item(TableName=TABLE, Key=turns)["Item"]["nextAt"]

    before = next_turn()

    # When that call is taken
    assert wiring.destination_store().take_slot(made["id"], PROBE, world.clock())
    events(world, 3)
    world.deliver()

    # Then those that wait for it took none
    assert len(world.sender.sent) == 1
    assert next_turn() == before


def test_without_a_rate_nothing_is_written_for_turns(world: World) -> None:
    made = world.make(rate=1)
    assert made["rate"] == world.shown(made)["rate"] == 1
    assert world.put(made).status_code == 200
    assert world.shown(made)["rate"] is None
    events(world, 3)

    world.deliver()

    assert len(world.sender.sent) == 3
    assert wiring.destination_store().take_turn(made["id"], 1, world.clock()) == 0


@pytest.mark.parametrize("rate", ["5.0", "5e0"])
def test_a_whole_number_is_one_however_it_is_written(world: World, rate: str) -> None:
    body = f'{{"url": "{URL}", "eventTypes": ["*"], "rate": {rate}}}'.encode()
    made = world.somebody.call("POST", "/destinations", body)
    assert (made.status_code, made.json_body["rate"]) == (201, 5)
    path = f"/destinations/{made.json_body['id']}"
    assert world.somebody.call("PUT", path, body).json_body["rate"] == 5
