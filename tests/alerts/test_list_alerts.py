"""The list of alerts."""

from tests.support.alert_world import SHARDS, World


def test_groups_are_listed_newest_first_page_by_page(world: World) -> None:
    # Given seven groups
    for number in range(7):
        world.send(f"alert {number}")
        world.run()
        world.clock.advance(1)

    # When they are read three at a time
    titles: list[str] = []
    below = None
    for _ in range(9):
        page, below = world.groups.newest(3, below)
        assert len(page) <= 3
        titles += [group.alert.title for group in page]
        if below is None:
            break

    # Then each is there once
    assert titles == [f"alert {number}" for number in range(6, -1, -1)]


def test_a_page_of_the_list_costs_the_same_whatever_there_is(world: World) -> None:
    for number in range(12):
        world.send(f"alert {number}")
    world.run()
    world.client.calls.clear()
    world.groups.newest(2, None)

    assert sorted(world.client.calls) == ["batch_get_item", *["query"] * SHARDS]
