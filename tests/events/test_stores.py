"""What the stores do when AWS does half of what was asked."""

import logging
from typing import Any

import pytest

from chalicelib.aws.sqs import Queue
from chalicelib.core.errors import UnavailableError
from chalicelib.events.ledger import EventIndex, EventStore
from chalicelib.events.model import Dispatch, Listing, Status, Step
from tests.support.factories import make_done, make_event, make_id
from tests.support.faults import refusal


class ThrottledDynamoDB:
    """Answers one key of a batch at a time; nothing at all when it is `stuck`."""

    def __init__(self, items: dict[str, Any], *, stuck: bool = False) -> None:
        self._items = items
        self._stuck = stuck
        self.calls = 0

    def batch_get_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
        self.calls += 1
        ((table, request),) = RequestItems.items()
        first, *rest = request["Keys"]
        if self._stuck:
            return {"Responses": {}, "UnprocessedKeys": RequestItems}
        left = {table: {**request, "Keys": rest}} if rest else {}
        return {"Responses": {table: [self._items[first["pk"]["S"]]]}, "UnprocessedKeys": left}


def _store(client: Any) -> EventStore:
    return EventStore(client, "table", "bronze", "silver", 4)


def _items(count: int) -> dict[str, Any]:
    """Items as the ledger writes them, by their key."""
    written: dict[str, Any] = {}

    class Taking:
        def put_item(self, **arguments: Any) -> dict[str, Any]:
            written[arguments["Item"]["pk"]["S"]] = arguments["Item"]
            return {}

    for _ in range(count):
        event = make_event()
        _store(Taking()).add(event, [Step(Status.RECEIVED, event.received_at)])
    return written


def test_keys_that_were_left_out_are_asked_for_again() -> None:
    items = _items(3)
    client = ThrottledDynamoDB(items)
    ids = [key.removeprefix("EVENT#") for key in items]
    assert _store(client).get_many(ids).keys() == set(ids)
    assert client.calls == 3


def test_a_table_that_answers_nothing_is_unavailable() -> None:
    client = ThrottledDynamoDB(_items(2), stuck=True)
    with pytest.raises(UnavailableError):
        _store(client).get_many([make_id()])
    assert 1 < client.calls < 10


def test_a_ledger_that_keeps_changing_is_unavailable() -> None:
    class Flickering:
        """An item that is there when it is added, and gone when it is updated."""

        calls = 0

        def put_item(self, **_: Any) -> None:
            self.calls += 1
            error = refusal("PutItem", "ConditionalCheckFailedException")
            (item,) = _items(1).values()
            raise type(error)({**error.response, "Item": item}, "PutItem")

        def update_item(self, **_: Any) -> None:
            self.calls += 1
            raise refusal("UpdateItem", "ConditionalCheckFailedException")

    client = Flickering()
    event = make_event()
    dispatch = Dispatch(event.received_at, noted=True)
    with pytest.raises(UnavailableError):
        _store(client).mark_processed(make_done(event), dispatch, event)
    assert client.calls < 12


class CountingDynamoDB:
    """Answers queries with nothing and counts them by index."""

    def __init__(self) -> None:
        self.indexes: list[str] = []

    def query(self, **arguments: Any) -> dict[str, Any]:
        self.indexes.append(arguments["IndexName"])
        return {"Items": []}


@pytest.mark.parametrize(
    ("listing", "indexes"),
    [
        (Listing(owner="a"), ["by-owner"] * 4),
        (Listing(owner="a", event_type="demo"), ["by-owner"] * 4),
        (Listing(owner="a", status=Status.FAILED), ["by-status"] * 4),
        (Listing(owner=None, status=Status.FAILED), ["by-status"] * 4),
        (Listing(owner=None), ["by-status"] * 4 * len(Status)),
    ],
)
def test_a_page_asks_each_shard_of_one_index_once(listing: Listing, indexes: list[str]) -> None:
    client = CountingDynamoDB()
    EventIndex(client, "table", 4).newest(listing)
    assert client.indexes == indexes


def test_a_message_that_could_not_be_deleted_is_only_noted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class PartlyFailing:
        def delete_message_batch(self, **_: Any) -> dict[str, Any]:
            return {"Failed": [{"Id": "0", "Code": "ReceiptHandleIsInvalid"}]}

        def change_message_visibility_batch(self, **_: Any) -> dict[str, Any]:
            return {}

    caplog.set_level(logging.WARNING, "eventline")
    Queue(PartlyFailing(), "url").delete(["handle"])
    (record,) = caplog.records
    assert vars(record)["code"] == "ReceiptHandleIsInvalid"
    assert "handle" not in {str(value) for value in vars(record).values()}


class ThrottlingWrites:
    """Takes `taken` items of a batch at a time, and remembers how long the ledger paused."""

    def __init__(self, taken: int) -> None:
        self._taken = taken
        self.written: list[str] = []
        self.pauses: list[float] = []

    def batch_write_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
        ((table, entries),) = RequestItems.items()
        some, left = entries[: self._taken], entries[self._taken :]
        self.written += [entry["PutRequest"]["Item"]["eventId"]["S"] for entry in some]
        return {"UnprocessedItems": {table: left} if left else {}}


def test_what_was_left_over_of_a_batch_is_written_again_after_a_pause() -> None:
    client = ThrottlingWrites(taken=10)
    events = [make_event() for _ in range(25)]
    ledger = EventStore(client, "table", "bronze", "silver", 4, pause=client.pauses.append)
    assert ledger.add_new(events) == set()
    assert client.written == [event.event_id for event in events]
    assert client.pauses == [0.05, 0.1]


def test_what_a_batch_did_not_write_is_returned() -> None:
    # Given a table that takes one item a call
    client = ThrottlingWrites(taken=1)
    events = [make_event() for _ in range(25)]
    ledger = EventStore(client, "table", "bronze", "silver", 4, pause=client.pauses.append)
    # When a batch is written
    left = ledger.add_new(events)
    # Then it is tried a bounded number of times, and nothing is said to be written that is not
    assert left == {event.event_id for event in events} - set(client.written)
    assert len(client.written) == 5
    assert sum(client.pauses) < 1
