"""The journal of open units, in DynamoDB as moto has it."""

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from chalicelib.aws.threads import in_turn
from chalicelib.core import clock
from chalicelib.core.paging import shard_of
from chalicelib.events.journal import SHARDS, Journal, OpenUnit
from chalicelib.events.ledger import EventIndex, EventStore
from chalicelib.events.model import Listing, Status, Step
from tests.support.factories import NOON, make_event, make_id
from tests.support.faults import refusal
from tests.support.moto_aws import client, make_at_once
from tests.support.resources import Names

NAMES = Names.with_prefix("journal")
BEGUN = clock.to_text(NOON)
UNTIL = clock.to_text(NOON + timedelta(seconds=75))


@pytest.fixture
def journal(moto: None) -> Journal:
    make_at_once(NAMES)
    return Journal(client("dynamodb"), NAMES.events_table, each=in_turn)


def a_unit(events: int = 2) -> OpenUnit:
    ids = frozenset(make_id() for _ in range(events))
    return OpenUnit(make_id(), ids, ("silver/demo/dt=2026-03-14/u.ndjson", "k.json"), BEGUN, UNTIL)


def item(unit: OpenUnit) -> dict[str, Any]:
    key = {"pk": {"S": f"UNIT#{unit.unit_id}"}}
    answer = client("dynamodb").get_item(TableName=NAMES.events_table, Key=key)
    found: dict[str, Any] = answer["Item"]
    return found


@pytest.mark.parametrize("events", [1, 2, 100])
def test_an_open_unit_is_found_as_it_was_written(journal: Journal, events: int) -> None:
    unit = a_unit(events)
    journal.put(unit)
    assert journal.open_units() == [unit]


def test_an_entry_is_small(journal: Journal) -> None:
    # Given a unit of fifty events, which are 16 bytes each
    unit = a_unit(50)
    journal.put(unit)
    assert len(item(unit)["events"]["B"]) == 16 * 50
    assert len(str(item(unit))) < 16 * 50 * 4 + 600


def test_open_units_of_all_partitions_are_found(journal: Journal) -> None:
    units = [a_unit() for _ in range(50)]
    for unit in units:
        journal.put(unit)
    assert {shard_of(unit.unit_id, SHARDS) for unit in units} == set(range(SHARDS))
    found = journal.open_units()
    assert sorted(found, key=lambda unit: unit.unit_id) == sorted(
        units, key=lambda unit: unit.unit_id
    )


def test_no_open_unit_is_none(journal: Journal) -> None:
    assert journal.open_units() == []


def test_a_closed_unit_is_open_no_more_and_goes_by_itself(journal: Journal) -> None:
    # Given two open units
    unit, other = a_unit(), a_unit()
    journal.put(unit)
    journal.put(other)
    # When one is closed, and closed again
    journal.close(unit.unit_id, NOON)
    journal.close(unit.unit_id, NOON)
    # Then only the other is open, nobody can take it on, and DynamoDB will delete it
    assert journal.open_units() == [other]
    assert not journal.take(unit, UNTIL)
    stored = item(unit)
    assert "statusShard" not in stored
    assert int(stored["ttl"]["N"]) == (NOON + timedelta(hours=1)).timestamp()
    assert "ttl" not in item(other)


def test_an_unknown_unit_cannot_be_taken_on(journal: Journal) -> None:
    unit = a_unit()
    assert not journal.take(unit, UNTIL)
    assert journal.open_units() == []


def test_a_unit_is_taken_on_by_one(journal: Journal) -> None:
    # Given an open unit that two have seen
    unit = a_unit()
    journal.put(unit)
    later = clock.to_text(NOON + timedelta(seconds=200))
    # When both take it on, for different times
    assert journal.take(unit, later)
    assert not journal.take(unit, clock.to_text(NOON + timedelta(seconds=300)))
    # Then it is the first one's, until that is over, too
    (now,) = journal.open_units()
    assert now == replace(unit, until=later)
    assert journal.take(now, clock.to_text(NOON + timedelta(seconds=400)))


def test_a_unit_that_is_given_up_is_over_at_once(journal: Journal) -> None:
    unit = a_unit()
    journal.put(unit)
    journal.put(replace(unit, until=unit.begun, silver_keys=()))
    (now,) = journal.open_units()
    assert now.is_over(NOON + timedelta(milliseconds=1))
    assert now.silver_keys == ()


def test_a_run_is_over_when_its_time_is() -> None:
    unit = a_unit()
    assert not unit.is_over(NOON)
    assert not unit.is_over(NOON + timedelta(seconds=75))
    assert unit.is_over(NOON + timedelta(seconds=76))


def test_an_entry_is_no_event(journal: Journal) -> None:
    # Given an event beside an open unit
    event = make_event()
    ledger = EventStore(client("dynamodb"), NAMES.events_table, "bronze", "silver", SHARDS)
    ledger.add(event, [Step(Status.RECEIVED, event.received_at)])
    unit = a_unit()
    journal.put(unit)
    # Then no list of events shows it, and no list of units the event
    index = EventIndex(client("dynamodb"), NAMES.events_table, SHARDS)
    listed = index.newest(Listing(owner=None, limit=100)).entries
    assert [entry.event_id for entry in listed] == [event.event_id]
    assert journal.open_units() == [unit]
    assert ledger.get(unit.unit_id) is None


def test_looking_for_open_units_costs_a_call_for_each_partition(journal: Journal) -> None:
    calls: list[str] = []

    def note(model: Any, **_: Any) -> None:
        calls.append(model.name)

    events = client("dynamodb").meta.events
    events.register("before-call", note, "test-journal")
    try:
        journal.open_units()
        assert calls == ["Query"] * SHARDS
        unit = a_unit()
        journal.put(unit)
        journal.take(unit, UNTIL)
        journal.close(unit.unit_id, NOON)
        assert calls[SHARDS:] == ["PutItem", "UpdateItem", "UpdateItem"]
    finally:
        events.unregister("before-call", note, "test-journal")


@pytest.mark.parametrize("operation", ["put_item", "update_item", "query"])
def test_what_dynamodb_refuses_passes(operation: str) -> None:
    class Refusing:
        def __getattr__(self, _name: str) -> Any:
            def refuse(**_: Any) -> Any:
                raise refusal(operation)

            return refuse

    journal, unit = Journal(Refusing(), "t", each=in_turn), a_unit()
    call = {
        "put_item": lambda: journal.put(unit),
        "update_item": lambda: journal.close(unit.unit_id, NOON),
        "query": journal.open_units,
    }[operation]
    with pytest.raises(ClientError):
        call()
