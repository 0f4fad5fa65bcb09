"""An ordered destination: the events of a subject go one at a time, and none is left behind."""

import json
from contextlib import suppress
from datetime import datetime

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib import wiring
from chalicelib.core import clock
from chalicelib.destinations.line import LineStore
from chalicelib.destinations.message import DeliveryMessage, decode
from chalicelib.destinations.model import RETRY_SECONDS, Delivery
from chalicelib.outbound.send import Answer
from tests.support.app_on_moto import BreakCall
from tests.support.destination_world import (
    QUEUE,
    TABLE,
    DeathError,
    World,
    deliver_all,
    dying,
    lines,
    sent,
)
from tests.support.moto_aws import client, queue_url

DOWN = Answer(500, "http-500", "no", 12)
GONE = Answer(410, "http-410", "gone", 12)
REFUSED = EndpointConnectionError(endpoint_url="https://aws")


def test_one_that_fails_holds_up_those_of_its_subject_alone(world: World) -> None:
    made = world.make(ordered=True)
    world.sender.answers = [DOWN]
    first = world.event(subject="order/7")
    world.deliver()
    second, third = world.event(subject="order/7"), world.event(subject="order/7")
    other, none = world.event(subject="order/8"), world.event()
    world.deliver()
    assert set(sent(world)) == {first, other, none}

    deliver_all(world)

    assert [one for one in sent(world) if one in (first, second, third)] == [
        first,
        first,
        second,
        third,
    ]
    assert lines(made) == []


def test_those_that_come_together_go_one_after_the_other(world: World) -> None:
    made = world.make(ordered=True)
    events = [world.event(subject="order/7") for _ in range(8)]

    records = world.messages()
    world.deliver(records[::-1])
    deliver_all(world)

    assert sent(world) == events
    assert lines(made) == []


def test_what_waits_in_line_is_in_view(world: World) -> None:
    # Given an event that is to be tried again, and one behind it
    made = world.make(ordered=True)
    first = world.event(subject="order/7")
    world.sender.answers = [DOWN]
    world.deliver()
    second, elsewhere = world.event(subject="order/7"), world.event(subject="order/8")
    world.deliver()

    def shown(event_id: str) -> list[tuple[str, str, int]]:
        items = world.somebody.get(f"/events/{event_id}/deliveries").json_body["items"]
        return [(one["destinationId"], one["state"], len(one["attempts"])) for one in items]

    # Then that is shown as waiting, without an attempt
    id_ = made["id"]
    assert shown(first) == [(id_, "waiting", 1)]
    assert shown(second) == [(id_, "waiting", 0)]

    # And when all have come, as delivered
    deliver_all(world)
    assert shown(first) == [(id_, "delivered", 2)]
    assert shown(second) == shown(elsewhere) == [(id_, "delivered", 1)]


@pytest.mark.parametrize("answers", [[], [DOWN]], ids=["delivered", "failed"])
def test_two_messages_of_one_make_one_call(
    world: World, monkeypatch: pytest.MonkeyPatch, answers: list[Answer]
) -> None:
    # Given a message that came twice: one has made its call when the other takes the lease
    made = world.make(ordered=True)
    first, second = world.event(subject="order/7"), world.event(subject="order/7")
    world.sender.answers = list(answers)
    records = [one for one in world.messages() if first in one["body"]]
    take, is_taken = LineStore.take, list[bool]()

    def take_late(lines: LineStore, delivery: Delivery, now: datetime) -> bool:
        if not is_taken:
            is_taken.append(True)
            world.deliver(records)
        return take(lines, delivery, now)

    monkeypatch.setattr(LineStore, "take", take_late)

    # When both are handled
    world.deliver(records)

    # Then there was one call, and each attempt is noted
    assert sent(world) == [first]
    deliver_all(world)
    assert sent(world) == [first] * len(answers) + [first, second]
    (shown,) = world.somebody.get(f"/events/{first}/deliveries").json_body["items"]
    assert [one["status"] for one in shown["attempts"]] == [*[500] * len(answers), 200]
    assert lines(made) == []


def test_an_older_one_that_comes_late_goes_first_and_calls_the_other(world: World) -> None:
    # Given one that waits to be tried again when an older one is processed at last
    made = world.make(ordered=True)
    body = {"eventType": "order.paid", "subject": "order/7"}
    older, newer = world.somebody.event_id(body), world.somebody.event_id(body)
    taken = {older in one["body"]: one for one in world.platform.receive()}
    world.sender.answers = [DOWN]
    world.platform.work([taken[False]])
    world.deliver()
    world.platform.work([taken[True]])

    # When it is tried again while the older one is before it
    world.wake()
    again = [one for one in world.messages() if newer in one["body"]]
    world.deliver(again)
    assert sent(world) == [newer]
    deliver_all(world)

    # Then it goes after that
    assert sent(world) == [newer, older, newer]
    assert lines(made) == []


PLAIN, CLOUD_EVENTS = "application/json", "application/cloudevents-batch+json"


@pytest.mark.parametrize("media_type", [PLAIN, CLOUD_EVENTS])
def test_the_events_of_a_batch_keep_its_order(world: World, media_type: str) -> None:
    # Given events of one subject and two types; the ids of CloudEvents make ours, in no order
    world.make(ordered=True)
    types = [f"order.{'ab'[number % 2]}" for number in range(9)]
    plain = {"events": [{"eventType": one, "subject": "order/7"} for one in types]}
    cloud = [
        {"specversion": "1.0", "source": "/a", "id": str(number), "type": one, "subject": "order/7"}
        for number, one in enumerate(types)
    ]
    path, batch = ("/events/batch", plain) if media_type == PLAIN else ("/events", cloud)

    # When they come in a batch
    body = json.dumps(batch).encode()
    answer = world.somebody.call("POST", path, body, {"Content-Type": media_type})
    accepted = [one["eventId"] for one in answer.json_body["results"]]
    world.platform.work()
    deliver_all(world)

    # Then they go out in its order
    assert len(accepted) == len(types)
    assert sent(world) == accepted


def test_another_source_is_another_line(world: World) -> None:
    world.make(ordered=True)
    world.sender.answers = [DOWN]
    held = world.event(subject="7", source="/a")
    world.deliver()
    free = world.event(subject="7", source="/b")
    world.deliver()
    assert sent(world) == [held, free]


def test_without_it_nothing_waits(world: World) -> None:
    made = world.make()
    world.sender.answers = [DOWN]
    first = world.event(subject="order/7")
    world.deliver()
    second = world.event(subject="order/7")
    world.deliver()
    assert sent(world) == [first, second]
    assert lines(made) == []


def test_what_is_given_up_lets_the_next_go(world: World) -> None:
    made = world.make(ordered=True)
    tries = 1 + len(RETRY_SECONDS)
    world.sender.answers = [DOWN] * tries
    first = world.event(subject="order/7")
    second = world.event(subject="order/7")
    for wait in (*RETRY_SECONDS, 0):
        world.deliver()
        world.wake()
        world.clock.advance(wait + 1)
        world.take_up()
        world.wake()
    deliver_all(world)
    assert sent(world) == [first] * tries + [second]
    assert world.delivery(made, first)["state"] == "failed"
    assert world.delivery(made, second)["state"] == "delivered"
    assert lines(made) == []


@pytest.mark.parametrize("end", ["gone", "deleted", "paused"])
def test_a_destination_that_ends_leaves_no_line(world: World, end: str) -> None:
    made = world.make(ordered=True)
    world.sender.answers = [DOWN, GONE]
    events = [world.event(subject="order/7") for _ in range(3)]
    world.deliver()
    if end == "deleted":
        path = f"/destinations/{made['id']}"
        assert world.somebody.call("DELETE", path).status_code == 204
    elif end == "paused":
        assert world.put(made, ordered=True, paused=True).status_code == 200

    deliver_all(world)

    assert set(sent(world)) == {events[0]}
    assert lines(made) == []


def test_who_turns_it_off_gets_what_waited(world: World) -> None:
    made = world.make(ordered=True)
    world.sender.answers = [DOWN]
    events = [world.event(subject="order/7") for _ in range(3)]
    world.deliver()
    assert world.put(made).status_code == 200
    assert world.shown(made)["ordered"] is False
    deliver_all(world)
    assert sent(world) == [events[0], *events]
    assert lines(made) == []


def test_a_filter_that_changed_leaves_no_line(world: World) -> None:
    # Given events that are sent again, one of which failed once more and waits in its line
    made = world.make(ordered=True)
    world.sender.answers = [GONE, DOWN]
    for _ in range(2):
        world.event(subject="order/7")
    deliver_all(world)
    assert world.put(made, ordered=True).status_code == 200
    assert world.retry(made, **{"from": "2026-01-01", "to": "2027-01-01"}).status_code == 202
    while len(sent(world)) < 2:
        world.wake()
        world.deliver()
    assert lines(made)

    # When it wants neither any more
    wanted = {"data": {"nosuch": [{"exists": True}]}}
    assert world.put(made, ordered=True, filter=wanted).status_code == 200
    deliver_all(world)

    # Then none is sent, and none is left in the line
    assert len(sent(world)) == 2
    assert lines(made) == []


HOUR = 3_600


def now(world: World) -> None:
    """Let the clock show the time at which the worker puts events into their lines."""
    world.clock.advance((clock.utc_now() - world.clock()).total_seconds())


def lose_messages() -> None:
    """Lose all that is on the queue of deliveries, also what is delayed."""
    client("sqs").purge_queue(QueueUrl=queue_url(QUEUE))


@pytest.mark.parametrize("tries", [0, 1, 2])
def test_a_line_whose_first_lost_its_message_goes_on(world: World, tries: int) -> None:
    # Given a line whose first lost its message, before its first attempt or one of the next
    made = world.make(ordered=True)
    now(world)
    world.sender.answers = [DOWN] * tries
    first = world.event(subject="order/7")
    for _ in range(tries):
        world.deliver()
        world.wake()
    lose_messages()
    second = world.event(subject="order/7")
    world.deliver()
    assert world.messages() == []

    # When another event comes within the hour, then nothing more is sent
    world.clock.advance(HOUR - 60)
    third = world.event(subject="order/7")
    world.deliver()
    assert world.messages() == []

    # When more come after it, then the first is called once
    world.clock.advance(120)
    more = [world.event(subject="order/7") for _ in range(2)]
    world.deliver()
    assert [json.loads(one["body"])["delivery"]["eventId"] for one in world.messages()] == [first]
    world.sender.sent.clear()
    deliver_all(world)

    # And all are sent in their order, each once
    assert sent(world) == [first, second, third, *more]
    assert len(world.delivery(made, first)["attempts"]) == tries + 1
    assert lines(made) == []


def test_a_line_whose_next_lost_its_call_goes_on(world: World) -> None:
    # Given a line whose first was sent hours after the second had come, whose call is lost
    made = world.make(ordered=True)
    now(world)
    world.sender.answers = [DOWN] * 4
    first, second = world.event(subject="order/7"), world.event(subject="order/7")
    for wait in RETRY_SECONDS[:4]:
        world.wake()
        world.deliver()
        world.clock.advance(wait)
        world.take_up()
    world.wake()
    world.deliver()
    assert sent(world)[-1] == first
    lose_messages()

    # When another comes at once, then nothing more is sent, but after an hour it is
    third = world.event(subject="order/7")
    world.deliver()
    assert world.messages() == []
    world.clock.advance(HOUR + 60)
    fourth = world.event(subject="order/7")
    deliver_all(world)
    assert sent(world)[-3:] == [second, third, fourth]
    assert lines(made) == []


def test_of_those_who_find_a_silent_line_one_calls_it(world: World) -> None:
    # Given a delivery in its line, of which nobody has heard for an hour
    world.make(ordered=True)
    now(world)
    world.event(subject="order/7")
    (message,) = world.messages()
    found = decode(message["body"])
    assert isinstance(found, DeliveryMessage)
    store, delivery = wiring.lines(), found.delivery
    assert not store.hear(delivery, world.clock())
    world.clock.advance(HOUR + 60)
    # When two find it so, then one may call it, and nobody once it has left
    assert [store.hear(delivery, world.clock()) for _ in range(2)] == [True, False]
    world.clock.advance(HOUR + 60)
    assert store.leave(delivery)
    assert not store.hear(delivery, world.clock())
    assert store.first(delivery) is None


def test_a_first_that_waits_for_its_retry_is_left_alone(world: World) -> None:
    # Given a first that waits for two hours, and one behind it
    made = world.make(ordered=True)
    now(world)
    world.sender.answers = [DOWN] * 4
    first = world.event(subject="order/7")
    for wait in (*RETRY_SECONDS[:3], 0):
        world.wake()
        world.deliver()
        world.clock.advance(wait)
        world.take_up()
    assert sent(world) == [first] * 4

    # When events come all the while, then it is not sent before its time
    behind = []
    for _ in range(3):
        world.clock.advance(RETRY_SECONDS[3] / 4)
        behind.append(world.event(subject="order/7"))
        world.deliver()
        assert world.messages() == []
    assert sent(world) == [first] * 4

    # And all go out once it is
    world.clock.advance(RETRY_SECONDS[3] / 4)
    assert world.take_up() == 1
    deliver_all(world)
    assert sent(world) == [first] * 5 + behind
    assert lines(made) == []


def test_a_first_that_came_to_its_end_is_not_sent_again(
    world: World, break_call: BreakCall
) -> None:
    # Given a first that was delivered, whose run died before it left, and whose message was lost
    made = world.make(ordered=True)
    now(world)
    first = world.event(subject="order/7")
    with break_call("dynamodb", "DeleteItem", REFUSED, table=TABLE):
        assert not world.deliver()
    assert sent(world) == [first]
    assert len(lines(made)) == 2
    lose_messages()

    # When another event comes an hour later, then that alone is sent
    world.clock.advance(HOUR + 60)
    second = world.event(subject="order/7")
    deliver_all(world)
    assert sent(world) == [first, second]
    assert lines(made) == []


@pytest.mark.parametrize("at", range(1, 41))
def test_a_death_at_any_call_leaves_nobody_behind(world: World, at: int) -> None:
    # Given a line, whose second is tried twice
    made = world.make(ordered=True)
    events = [world.event(subject="order/7") for _ in range(3)]
    world.sender.answers = [world.sender.usual, DOWN]

    # When the process dies at a call
    with dying(at), suppress(DeathError):
        deliver_all(world)
    deliver_all(world)

    # Then all arrive, in their order, and nobody is left in the line
    assert {world.delivery(made, one)["state"] for one in events} == {"delivered"}
    assert sent(world) == sorted(sent(world), key=events.index)
    assert lines(made) == []
