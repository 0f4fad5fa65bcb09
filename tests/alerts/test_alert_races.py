"""Sending alerts: at once, twice, or by somebody who dies, an alert is posted and counted once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from msgspec.structs import replace

from chalicelib.alerts.groups import AlertGroup
from chalicelib.alerts.send import send_alerts
from chalicelib.aws.sqs import Delivery
from chalicelib.core.errors import BatchIncompleteError
from tests.support.alert_world import DOWN, FAILED, OK, VISIBILITY, CrashError, World


def test_twenty_equal_alerts_in_two_concurrent_batches_are_one_message(world: World) -> None:
    world.send(*[FAILED] * 20)
    batches = [world.queue.receive(), world.queue.receive()]
    together = threading.Barrier(2)

    def work(batch: list[Delivery]) -> None:
        together.wait()
        world.work(batch)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, batches))

    assert len(world.slack.posts) == 1
    assert world.only_group.count == 20
    world.run_for(1200)
    assert len(world.slack.posts) == 2
    assert "Repeated 19 times" in world.slack.texts[1]


def test_a_batch_that_comes_while_another_posts_counts_and_is_done_with(world: World) -> None:
    # Given a second batch that runs just while the first one posts
    world.send(*[FAILED] * 20)
    first, second = world.queue.receive(), world.queue.receive()

    def meanwhile() -> None:
        world.slack.on_post = lambda: None
        world.work(second)

    world.slack.on_post = meanwhile
    world.work(first)

    assert len(world.slack.posts) == 1
    assert world.only_group.count == 20
    assert [one.body for one in world.queue.messages if one.body == FAILED] == []


def test_two_batches_that_both_see_no_group_do_not_both_post(world: World) -> None:
    # Given a second batch that runs between the first one's look at the groups and its write
    world.send(FAILED)
    first = world.queue.receive()
    world.send(FAILED)
    second = world.queue.receive()
    open_group = world.groups.open

    def late(group: AlertGroup) -> Any:
        world.groups.open = open_group  # type: ignore[method-assign]
        world.work(second)
        return open_group(group)

    world.groups.open = late  # type: ignore[method-assign]
    world.work(first)

    assert len(world.slack.posts) == 1
    assert world.only_group.count == 2


def test_the_same_message_delivered_twice_at_once_is_posted_once(world: World) -> None:
    # Given a second delivery of a message while the first one posts
    world.send(FAILED)
    delivery = world.queue.receive()[0]

    def meanwhile() -> None:
        world.slack.on_post = lambda: None
        with pytest.raises(BatchIncompleteError):
            send_alerts([replace(delivery, receipt_handle="again", attempt=2)], world.deps)

    world.slack.on_post = meanwhile
    world.work([delivery])

    # Then it waits for the lease, and nothing is posted or counted
    assert len(world.slack.posts) == 1
    assert world.only_group.count == 1
    assert world.queue.waits[0] >= 60


def test_a_crash_before_the_post_loses_nothing(world: World) -> None:
    world.send(FAILED)

    def die() -> None:
        raise CrashError

    world.slack.on_post = die
    with pytest.raises(CrashError):
        world.run()
    assert world.slack.posts == []
    world.slack.on_post = lambda: None
    world.run_for(VISIBILITY + 5)

    assert len(world.slack.posts) == 1
    assert world.only_group.count == 1


def test_a_crash_after_the_post_makes_at_most_one_more_after_the_lease(world: World) -> None:
    # Given a process that dies when Slack has the message and nobody has noted it
    world.send(FAILED)
    world.client.faults["update_item"] = CrashError()
    with pytest.raises(CrashError):
        world.run()
    world.client.faults.clear()
    assert len(world.slack.posts) == 1

    # Then equal alerts do not post while the lease lasts
    world.clock.advance(30)
    world.send(FAILED)
    world.run()
    assert len(world.slack.posts) == 1

    # And in the end there is one more, and the alert is noted as delivered
    world.run_for(1200)
    firsts = [text for text in world.slack.texts if "Repeated" not in text]
    assert len(firsts) == 2
    assert world.only_group.to_dict()["state"] == "delivered"


def test_a_leader_that_never_comes_back_is_followed_by_an_equal_alert(world: World) -> None:
    # Given an alert that is put off and then lost
    world.slack.answer = DOWN
    world.send(FAILED)
    world.run()
    world.queue.messages.clear()
    world.slack.answer = OK

    # When an equal one comes after its lease
    world.clock.advance(100)
    world.send(FAILED)
    world.run()

    # Then that one is posted
    assert len(world.slack.posts) == 1
    assert world.only_group.count == 2


def test_two_batches_that_both_may_take_over_do_not_both_post(world: World) -> None:
    # Given a group whose leader is lost, and a second batch that takes over just before the first
    world.slack.answer = DOWN
    world.send(FAILED)
    world.run()
    world.queue.messages.clear()
    world.slack.answer = OK
    world.clock.advance(100)
    world.send(FAILED, FAILED)
    first, second = world.queue.receive(1), world.queue.receive(1)
    take_over = world.groups.take_over

    def late(seen: AlertGroup, taken: AlertGroup) -> Any:
        world.groups.take_over = take_over  # type: ignore[method-assign]
        world.work(second)
        return take_over(seen, taken)

    world.groups.take_over = late  # type: ignore[method-assign]
    world.work(first)

    # Then only that one posts
    assert len(world.slack.posts) == 1
    assert world.only_group.count == 3


def test_an_alert_is_not_counted_on_a_leader_that_was_just_given_up(world: World) -> None:
    # Given an alert that is about to be counted when its group's leader is given up
    world.send(FAILED)
    first = world.queue.receive()
    world.send(FAILED)
    second = world.queue.receive()
    count = world.groups.count

    def late(seen: AlertGroup, repeats: int, last: str, summary_due: bool) -> Any:
        world.groups.count = count  # type: ignore[method-assign]
        (group,) = world.listed()
        world.groups.mark_undelivered(group, "no_service")
        return count(seen, repeats, last, summary_due)

    def meanwhile() -> None:
        world.slack.on_post = lambda: None
        world.groups.count = late  # type: ignore[method-assign]
        world.work(second)

    world.slack.on_post = meanwhile
    world.slack.answer = OK
    world.work(first)

    # Then it is posted itself
    assert len(world.slack.posts) == 2
