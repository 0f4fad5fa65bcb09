"""Sending alerts: one Slack message a group, and no alert in another's way."""

import json
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from chalicelib.alerts.groups import AlertGroup
from chalicelib.alerts.send import send_alerts
from chalicelib.core import clock
from tests.support.alert_world import DOWN, FAILED, OK, START, WINDOW, World


def test_an_alert_is_posted_and_noted(world: World) -> None:
    world.send(FAILED)
    world.run()

    assert world.slack.texts == ["ERROR: Terraform Apply Failed"]
    assert world.queue.messages == []
    shown = world.only_group.to_dict()
    assert shown["state"] == "delivered"
    assert shown["deliveredAt"] == shown["first"] == shown["last"] == clock.to_text(START)
    assert (shown["count"], shown["kind"], shown["severity"]) == (1, "message", "error")


def test_one_alert_takes_three_calls_and_ten_equal_ones_no_more(world: World) -> None:
    world.send(FAILED)
    world.run()
    assert world.client.calls == ["batch_get_item", "put_item", "update_item"]

    world.client.calls.clear()
    world.clock.advance(1)
    world.send(*[FAILED] * 10)
    world.run()
    assert world.client.calls == ["batch_get_item", "update_item"]


def test_alerts_that_differ_are_posted_each(world: World) -> None:
    world.send(FAILED, '{"status":"error","message":"Plan Failed"}', "plain text")
    world.run()

    assert len(world.slack.posts) == 3
    assert len(world.listed()) == 3


def test_a_storm_becomes_one_message_and_one_count_at_the_end_of_the_window(world: World) -> None:
    # Given twenty equal alerts within a minute
    for _ in range(20):
        world.send(FAILED)
        world.run()
        world.clock.advance(3)
    assert world.slack.texts == ["ERROR: Terraform Apply Failed"]

    # When the window is over, and long after
    world.run_for(3600)

    # Then one message tells of the repeats
    assert len(world.slack.posts) == 2
    assert "Repeated 19 times: Terraform Apply Failed" in world.slack.texts[1]
    group = world.only_group
    assert (group.count, group.reported) == (20, 19)
    assert group.summary_at == "2026-03-14T12:05:10.000Z"
    assert world.queue.messages == []


def test_an_alert_that_came_once_has_no_count(world: World) -> None:
    world.send(FAILED)
    world.run()
    world.run_for(1200)

    assert len(world.slack.posts) == 1


def test_a_redelivered_alert_posts_nothing_and_counts_nothing(world: World) -> None:
    world.send(FAILED)
    delivery = world.queue.receive()[0]
    world.work([delivery])
    world.work([replace(delivery, receipt_handle="again", attempt=2)])

    assert len(world.slack.posts) == 1
    assert world.only_group.count == 1


def test_what_worked_is_deleted_before_the_rest_is_put_off(world: World) -> None:
    # Given a receiver that goes down after the first of two
    world.send("one", "two")

    def goes_down() -> None:
        world.slack.answer = DOWN if world.slack.attempts > 1 else OK

    world.slack.on_post = goes_down
    world.work(world.queue.receive())

    assert [one.body for one in world.queue.messages] == ["two"]
    assert world.slack.texts == ["WARNING: one"]


def test_no_time_left_leaves_an_alert_for_the_next_run(world: World) -> None:
    world.remaining = 3
    world.send(FAILED)
    world.work(world.queue.receive())
    assert (world.slack.attempts, world.queue.waits) == (0, [0])

    world.remaining = 60
    world.run()
    assert len(world.slack.posts) == 1


def test_the_next_window_is_a_group_of_its_own(world: World) -> None:
    world.send(FAILED)
    world.run()
    world.clock.advance(WINDOW)
    world.send(FAILED)
    world.run()

    assert len(world.slack.posts) == 2
    assert [group.count for group in world.listed()] == [1, 1]


def test_a_storm_across_two_slots_is_one_group(world: World) -> None:
    world.clock.now = datetime(2026, 3, 14, 12, 4, 59, tzinfo=UTC)
    for _ in range(4):
        world.send(FAILED)
        world.run()
        world.clock.advance(1)

    assert len(world.slack.posts) == 1
    assert world.only_group.count == 4


def test_a_message_of_any_kind_is_posted(world: World) -> None:
    world.send("", "\u0000", "[]", '{"eventline":{"kind":"summary"}}', '{"a":{"b":"<!channel>"}}')
    world.run()

    assert len(world.slack.posts) == 5
    assert world.queue.messages == []
    assert "<" not in json.dumps(world.slack.posts)


def test_a_poison_alert_does_not_take_its_neighbours_down(world: World) -> None:
    # Given an alert at which the store's code breaks
    open_group = world.groups.open

    def breaks(group: AlertGroup) -> Any:
        if "poison" in group.alert.title:
            raise ZeroDivisionError
        return open_group(group)

    world.groups.open = breaks  # type: ignore[method-assign]
    world.send("one", "poison", "two")
    world.run_for(5)

    assert world.slack.texts == ["WARNING: one", "WARNING: two"]
    assert [one.body for one in world.queue.messages] == ["poison"]


def test_messages_that_failed_before_come_last(world: World) -> None:
    world.send("old", "new")
    old, new = world.queue.receive()
    send_alerts([replace(old, attempt=7), new], world.deps)

    assert world.slack.texts == ["WARNING: new", "WARNING: old"]
