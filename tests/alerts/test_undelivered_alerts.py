"""Sending alerts: while Slack, the table or a queue fails, none is lost; what Slack never takes is
set aside."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.alert_world import BUSY, DOWN, FAILED, GONE, MAX_ATTEMPTS, OK, World, throttled


def test_a_receiver_that_is_down_for_ten_minutes_loses_no_alert(world: World) -> None:
    # Given a receiver that is down, while a new alert comes every minute
    world.slack.answer = DOWN
    for number in range(10):
        world.send(f"outage alert {number}")
        world.run_for(60)
    assert world.slack.posts == []
    assert {group.state for group in world.listed()} == {"retrying"}

    # When it is back
    world.slack.answer = OK
    world.run_for(700)

    # Then every alert is there, once
    assert sorted(world.slack.texts) == [f"WARNING: outage alert {number}" for number in range(10)]
    assert {group.state for group in world.listed()} == {"delivered"}
    assert world.queue.messages == []
    assert world.dead.messages == []


def test_equal_alerts_during_an_outage_count_and_are_told_after_it(world: World) -> None:
    world.slack.answer = DOWN
    for _ in range(4):
        world.send(FAILED)
        world.run_for(30)
    assert world.only_group.count == 4

    world.slack.answer = OK
    world.run_for(2400)

    assert len(world.slack.posts) == 2
    assert "Repeated 3 times" in world.slack.texts[1]


def test_a_wish_to_wait_is_kept(world: World) -> None:
    world.slack.answer = BUSY
    world.send(FAILED)
    world.run()

    assert 30 <= world.queue.waits[0] <= 45
    world.slack.answer = OK
    world.run_for(25)
    assert world.slack.attempts == 1
    world.run_for(25)
    assert len(world.slack.posts) == 1


def test_waits_grow_to_the_limit(world: World) -> None:
    world.slack.answer = DOWN
    world.send(FAILED)
    world.run_for(3600)

    assert world.queue.waits[:3] == sorted(world.queue.waits[:3])
    assert world.queue.waits[0] < 10
    assert 200 <= world.queue.waits[-1] <= 300


def test_a_failing_receiver_is_asked_once_a_batch(world: World) -> None:
    world.slack.answer = DOWN
    world.send(*[f"alert {number}" for number in range(10)])
    world.work(world.queue.receive())

    assert world.slack.attempts == 1
    assert len(world.queue.messages) == 10


def test_what_slack_will_never_take_is_set_aside_with_the_reason(world: World) -> None:
    world.slack.answer = GONE
    world.send(FAILED)
    world.run()

    (dead,) = world.dead.messages
    assert dead.body == FAILED
    assert dead.attributes["reason"] == "Slack answered 404: no_service"
    assert dead.attributes["code"] == "http-404"
    assert world.queue.messages == []
    assert world.topic.lines == ["error: Terraform Apply Failed (Slack answered 404: no_service)"]
    shown = world.only_group.to_dict()
    assert (shown["state"], shown["deliveredAt"]) == ("undelivered", None)
    assert shown["reason"] == "Slack answered 404: no_service"


def test_a_storm_at_a_webhook_that_is_gone_is_one_line_and_no_alert_is_lost(world: World) -> None:
    world.slack.answer = GONE
    for _ in range(5):
        world.send(FAILED)
        world.run()
        world.clock.advance(1)

    assert len(world.topic.lines) == 1
    assert len(world.dead.messages) == 5
    assert world.only_group.count == 5


def test_the_next_equal_alert_is_posted_once_the_webhook_is_put_right(world: World) -> None:
    world.slack.answer = GONE
    world.send(FAILED)
    world.run()
    world.slack.answer = OK
    world.clock.advance(10)
    world.send(FAILED)
    world.run()

    assert len(world.slack.posts) == 1
    shown = world.only_group.to_dict()
    assert (shown["state"], shown["count"], shown["reason"]) == ("delivered", 2, None)


def test_an_alert_is_given_up_after_its_last_attempt(world: World) -> None:
    world.slack.answer = DOWN
    world.send(FAILED)
    delivery = replace(world.queue.receive()[0], attempt=MAX_ATTEMPTS - 1)
    world.work([delivery])
    assert world.dead.messages == []
    world.clock.advance(600)
    world.work([replace(delivery, attempt=MAX_ATTEMPTS)])

    (dead,) = world.dead.messages
    assert dead.attributes["attempts"] == str(MAX_ATTEMPTS)
    assert dead.attributes["code"] == "http-500"
    assert len(world.topic.lines) == 1
    assert world.only_group.to_dict()["state"] == "undelivered"


def test_equal_alerts_that_came_before_the_first_was_given_up_are_counted(world: World) -> None:
    world.slack.answer = DOWN
    world.send(FAILED, FAILED, FAILED)
    world.run()
    world.slack.answer = GONE
    world.run_for(10)

    group = world.only_group
    assert (group.count, group.state) == (3, "undelivered")
    assert len(world.dead.messages) == 1


def test_a_dead_letter_queue_that_fails_keeps_the_alert(world: World) -> None:
    world.slack.answer = GONE
    world.send(FAILED)
    send, world.dead.send = world.dead.send, fail_to_send  # type: ignore[method-assign]
    world.run()
    assert [one.body for one in world.queue.messages] == [FAILED]
    assert world.topic.lines == []

    world.dead.send = send  # type: ignore[method-assign]
    world.run_for(60)
    assert [one.body for one in world.dead.messages] == [FAILED]
    assert world.queue.messages == []


def test_a_topic_that_fails_does_not_keep_an_alert_from_the_dead_letter_queue(world: World) -> None:
    world.slack.answer = GONE
    world.topic.publish = fail_to_send  # type: ignore[method-assign]
    world.send(FAILED)
    world.run()

    assert [one.body for one in world.dead.messages] == [FAILED]
    assert world.queue.messages == []


@pytest.mark.parametrize("operation", ["batch_get_item", "put_item", "update_item"])
def test_a_database_that_fails_makes_alerts_wait(world: World, operation: str) -> None:
    world.client.faults[operation] = throttled()
    world.send("one", "two")
    world.run()
    assert len(world.queue.messages) == 2

    world.client.faults.clear()
    world.run_for(900)
    assert world.queue.messages == []
    assert world.dead.messages == []
    assert {"WARNING: one", "WARNING: two"} == set(world.slack.texts)
    assert all(group.state == "delivered" for group in world.listed())


def test_an_alert_is_not_given_up_for_lack_of_time(world: World) -> None:
    world.remaining = 3
    world.send(FAILED)
    world.work([replace(world.queue.receive()[0], attempt=MAX_ATTEMPTS)])

    assert world.dead.messages == []
    assert [one.body for one in world.queue.messages] == [FAILED]


def fail_to_send(*_: Any, **__: Any) -> None:
    raise throttled()
