"""Sending alerts: one message at the end of a window tells how often its alert came."""

from datetime import timedelta

from chalicelib.alerts.groups import AlertGroup, candidate_ids
from chalicelib.alerts.model import summary
from chalicelib.core import clock
from tests.support.alert_world import DOWN, FAILED, GONE, OK, START, WINDOW, World


def test_a_summary_that_comes_twice_is_told_once(world: World) -> None:
    world.send(FAILED, FAILED)
    world.run()
    world.send(*[summary(world.only_group.group_id)] * 3)
    world.run_for(1200)

    assert len(world.slack.posts) == 2
    assert world.queue.messages == []


def test_two_summaries_at_once_are_told_once(world: World) -> None:
    # Given a second summary that is worked off while the first one posts
    world.send(FAILED, FAILED)
    world.run()
    world.queue.messages.clear()
    world.clock.advance(WINDOW)
    world.send(*[summary(world.only_group.group_id)] * 2)
    first, second = world.queue.receive(1), world.queue.receive(1)

    def meanwhile() -> None:
        world.slack.on_post = lambda: None
        world.work(second)

    world.slack.on_post = meanwhile
    world.work(first)
    world.run_for(300)

    assert len(world.slack.posts) == 2
    assert world.queue.messages == []


def test_a_summary_waits_while_slack_is_down(world: World) -> None:
    world.send(FAILED, FAILED)
    world.run()
    world.slack.answer = DOWN
    world.run_for(900)
    assert len(world.slack.posts) == 1
    world.slack.answer = OK
    world.run_for(900)

    assert "Repeated once more" in world.slack.texts[1]
    assert world.only_group.to_dict()["state"] == "delivered"


def test_repeats_that_come_late_are_told_too(world: World) -> None:
    # Given a message that is delivered only after its window was told of
    world.send(FAILED, FAILED)
    world.run()
    world.send(FAILED)
    late = world.queue.messages[-1]
    late.visible_at = START + timedelta(seconds=WINDOW + 60)
    world.run_for(1200)

    assert len(world.slack.posts) == 3
    assert [text.split(":")[1] for text in world.slack.texts[1:]] == [" Repeated once more"] * 2
    assert world.only_group.reported == 2


def test_a_summary_of_nothing_is_done_with(world: World) -> None:
    world.send(summary(candidate_ids("none", clock.to_text(START), WINDOW)[0]))
    world.run()

    assert world.queue.messages == []
    assert world.slack.posts == []


def test_the_delay_of_a_summary_ends_with_the_window(world: World) -> None:
    world.send(FAILED)
    world.run()
    world.clock.advance(100)
    world.send(FAILED)
    world.run()

    assert world.queue.delays == [WINDOW - 100]


def test_a_storm_sends_for_one_summary(world: World) -> None:
    for _ in range(5):
        world.send(FAILED, FAILED)
        world.run()

    assert len(world.queue.messages) == 1


def test_a_summary_before_its_time_is_told_in_time(world: World) -> None:
    world.send(FAILED, FAILED)
    world.run()
    world.queue.messages.clear()
    world.send(summary(world.only_group.group_id))
    world.run_for(WINDOW - 5)
    assert len(world.slack.posts) == 1

    world.run_for(5)
    assert len(world.slack.posts) == 2


def test_repeats_of_what_nobody_was_told_of_are_not_told(world: World) -> None:
    # Given a group that was given up
    world.slack.answer = GONE
    world.send(FAILED, FAILED)
    world.run()
    world.slack.answer = OK

    # Then its summary waits for a message of the group, and not for ever
    world.run_for(3600)
    assert world.slack.posts == []
    assert len(world.queue.messages) == 1
    world.run_for(6 * 3600, step=60)
    assert world.slack.posts == []
    assert world.queue.messages == []


def test_a_summary_whose_repeats_another_has_just_reserved_waits(world: World) -> None:
    # Given a second summary that reserves the repeats just before the first one does
    world.send(FAILED, FAILED)
    world.run()
    world.queue.messages.clear()
    world.clock.advance(WINDOW)
    world.send(*[summary(world.only_group.group_id)] * 2)
    first, second = world.queue.receive(1), world.queue.receive(1)
    lease_summary = world.groups.lease_summary

    def late(seen: AlertGroup, lease_until: str) -> bool:
        world.groups.lease_summary = lease_summary  # type: ignore[method-assign]
        world.work(second)
        return lease_summary(seen, lease_until)

    world.groups.lease_summary = late  # type: ignore[method-assign]
    world.work(first)
    world.run_for(300)

    assert len(world.slack.posts) == 2
    assert world.queue.messages == []


def test_repeats_that_another_reserved_and_died_are_told_after_its_lease(world: World) -> None:
    # Given somebody who reserves the repeats just before the summary does, and dies
    world.send(FAILED, FAILED)
    world.run()
    lease_summary = world.groups.lease_summary

    def late(seen: AlertGroup, lease_until: str) -> bool:
        world.groups.lease_summary = lease_summary  # type: ignore[method-assign]
        assert lease_summary(seen, lease_until)
        return lease_summary(seen, lease_until)

    world.groups.lease_summary = late  # type: ignore[method-assign]
    world.clock.advance(WINDOW)
    world.run()
    world.run_for(30)
    assert len(world.slack.posts) == 1

    world.run_for(60)
    assert len(world.slack.posts) == 2


def test_repeats_counted_while_others_are_told_are_told_next(world: World) -> None:
    # Given an alert of the window that is counted while its repeats are being told
    world.send(FAILED, FAILED)
    world.run()
    world.send(FAILED)
    late = world.queue.receive()
    world.clock.advance(WINDOW)

    def meanwhile() -> None:
        world.slack.on_post = lambda: None
        world.work(late)

    world.slack.on_post = meanwhile
    world.run()
    world.run_for(120)

    assert len(world.slack.posts) == 3
    assert world.only_group.reported == 2
