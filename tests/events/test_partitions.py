"""No partition of an index is asked for more writes than DynamoDB takes of one.

Source: Amazon DynamoDB Developer Guide, "Designing partition keys to distribute your workload": a
partition takes 1,000 write units a second.
"""

import os
from collections import Counter
from datetime import UTC, datetime

import pytest

from chalicelib.aws.dynamodb import from_item
from chalicelib.core.ids import keyed_event_id, new_event_id
from chalicelib.events.ledger import EventStore
from chalicelib.events.model import Status, Step
from tests.support.factories import make_event

LIMIT = 1_000
MOMENT = datetime(2026, 1, 31, tzinfo=UTC)


class Puts:
    """A client of DynamoDB that takes entries and keeps their keys."""

    def __init__(self) -> None:
        self.items: list[dict[str, object]] = []

    def put_item(self, **arguments: object) -> dict[str, object]:
        item = arguments["Item"]
        assert isinstance(item, dict)
        self.items.append(from_item(item))
        return {}


@pytest.mark.parametrize(("rate", "shards", "keyed"), [(3_500, 8, True), (10_000, 32, False)])
def test_a_second_of_events_of_one_owner_meets_no_hot_partition(
    rate: int, shards: int, keyed: bool
) -> None:
    # Given
    puts = Puts()
    store = EventStore(puts, "events", "bronze", "silver", shards)
    for number in range(rate):
        event_id = (
            keyed_event_id("owner", f"key-{number}")
            if keyed
            else new_event_id(MOMENT, os.urandom(10))
        )
        event = make_event(event_id=event_id, owner="owner", at=MOMENT)
        store.add(event, [Step(Status.RECEIVED, event.received_at)])
    # Then: written once by owner, put and taken out again by status, once more when PROCESSED
    by_owner = Counter(item["ownerShard"] for item in puts.items)
    by_status = Counter(item["statusShard"] for item in puts.items)
    assert len(by_owner) == len(by_status) == shards
    assert max(by_owner.values()) <= LIMIT
    assert 2 * max(by_status.values()) <= LIMIT
