"""Deliveries in the table of destinations (ADR 0027): pk `DELIVERIES#<destination>`, sk
`<receivedAt>#<eventId>`. One is in the index `by-due` while it waits for the schedule.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import convert, to_builtins

from chalicelib.aws.dynamodb import Table, from_item, to_attribute, to_item
from chalicelib.core import clock
from chalicelib.core.paging import just_below, shard_of
from chalicelib.destinations.model import (
    Attempt,
    Delivery,
    Outcome,
    kept_attempts,
    kept_until,
    list_key,
)

DUE_SHARDS = 8
_DUE_AGAIN = timedelta(minutes=30)
"""When what was taken up comes again, should its message be lost."""
_EXISTS = "attribute_exists(pk)"
_UNDELIVERED = "#outcome <> :delivered"
_PAGE = 100


class DeliveryStore:
    """Reads and writes deliveries."""

    def __init__(self, client: Any, table: str) -> None:
        self._table = Table(client, table)

    def get_many(self, keys: Sequence[tuple[str, str]]) -> list[Delivery]:
        """Those of (destination, list key) that exist; one call for a hundred."""
        items = self._table.get_many([to_item(_delivery_key(*key)) for key in keys])
        return [_to_delivery(from_item(item)) for item in items]

    def get(self, destination_id: str, key: str) -> Delivery | None:
        """A delivery by its list key, read consistently; one call."""
        item = self._table.get(to_item(_delivery_key(destination_id, key)))
        return None if item is None else _to_delivery(from_item(item))

    def noted(self, delivery: Delivery) -> Delivery | None:
        """A delivery as it is noted; as `get`."""
        key = list_key(delivery.received_at, delivery.event_id)
        return self.get(delivery.destination_id, key)

    def page(
        self, destination_id: str, limit: int, below: str | None
    ) -> tuple[list[Delivery], str | None]:
        """(deliveries, newest event first, below the list key `below`; the list key to go on below
        or None). One call."""
        upper = "~" if below is None else just_below(below)
        items, last = self._query(destination_id, ("0", upper), limit, forward=False)
        return [_to_delivery(from_item(item)) for item in items], last

    def within(
        self, destination_id: str, bounds: tuple[str, str]
    ) -> tuple[list[Delivery], str | None]:
        """(deliveries whose list keys lie in `bounds`, oldest event first; the last key or None at
        the end). One call, a hundred at most."""
        items, last = self._query(destination_id, bounds, _PAGE, forward=True)
        return [_to_delivery(from_item(item)) for item in items], last

    def note(
        self,
        delivery: Delivery,
        attempt: Attempt,
        known: Delivery | None,
        now: datetime,
        *,
        due: bool = False,
    ) -> None:
        """Add an attempt, and write where the delivery stands after it; one call. `known` is the
        delivery as it was read, if it was. With `due` it is taken up at its `next_at` by the
        schedule. What was delivered stays so."""
        values: dict[str, Any] = {
            "eventType": delivery.event_type,
            "silverKey": delivery.silver_key,
            "silverRange": delivery.silver_range,
            "line": delivery.line,
            "outcome": delivery.outcome,
            "tries": delivery.tries,
            "nextAt": delivery.next_at,
            "code": delivery.code,
            "ttl": kept_until(now),
        }
        if known is not None:
            values["attempts"] = to_builtins(kept_attempts(known.attempts, attempt))
        self._write(delivery, values, due=due, added=None if known else attempt)

    def put_off(self, delivery: Delivery, now: datetime) -> None:
        """Let a delivery wait until its `next_at` without an attempt; one call."""
        values = {
            "eventType": delivery.event_type,
            "silverKey": delivery.silver_key,
            "silverRange": delivery.silver_range,
            "line": delivery.line,
            "outcome": Outcome.WAITING,
            "tries": delivery.tries,
            "nextAt": delivery.next_at,
            "ttl": kept_until(now),
        }
        self._write(delivery, values, due=True)

    def give_up(self, delivery: Delivery, code: str, now: datetime) -> None:
        """Note that a delivery failed without another attempt; one call."""
        values = {
            "eventType": delivery.event_type,
            "silverKey": delivery.silver_key,
            "silverRange": delivery.silver_range,
            "line": delivery.line,
            "outcome": Outcome.FAILED,
            "tries": delivery.tries,
            "nextAt": None,
            "code": code,
            "ttl": kept_until(now),
        }
        self._write(delivery, values)

    def begin_again(
        self, delivery: Delivery, now: datetime, *, delivered_too: bool = False
    ) -> bool:
        """Let a delivery that was noted have all its attempts again; False for one that was made,
        unless it is `delivered_too`. One call."""
        values = {
            "outcome": Outcome.WAITING,
            "tries": 0,
            "nextAt": clock.to_text(now),
            "code": None,
            "ttl": kept_until(now),
        }
        guard = _EXISTS if delivered_too else f"{_EXISTS} AND {_UNDELIVERED}"
        return self._write(delivery, values, guard=guard)

    def due(self, shard: int, until: datetime) -> list[tuple[Delivery, str]]:
        """The deliveries of a shard that are due until then, a hundred at most, each with its due
        time, the longest due first; one call."""
        items, _ = self._table.query(
            "by-due",
            "dueShard = :shard AND dueAt <= :until",
            ExpressionAttributeValues=to_item(
                {":shard": f"due#{shard}", ":until": clock.to_text(until)}
            ),
            Limit=_PAGE,
        )
        values = [from_item(item) for item in items]
        return [(_to_delivery(one), str(one["dueAt"])) for one in values]

    def take_up(self, delivery: Delivery, due_at: str, now: datetime) -> bool:
        """Take a delivery up for now: should its message be lost, it is due again in half an hour.
        False if somebody else has. One call."""
        later = clock.to_text(max(clock.from_text(due_at), now) + _DUE_AGAIN)
        return self._table.write(
            "update_item",
            Key=_keys_of(delivery),
            UpdateExpression="SET dueAt = :later",
            ConditionExpression="dueAt = :seen",
            ExpressionAttributeValues=to_item({":later": later, ":seen": due_at}),
        ).made

    def _query(
        self, destination_id: str, bounds: tuple[str, str], limit: int, *, forward: bool
    ) -> tuple[list[Any], str | None]:
        items, last = self._table.query(
            None,
            "pk = :pk AND sk BETWEEN :from AND :to",
            ExpressionAttributeValues=to_item(
                {":pk": f"DELIVERIES#{destination_id}", ":from": bounds[0], ":to": bounds[1]}
            ),
            Limit=limit,
            ScanIndexForward=forward,
        )
        return items, last["sk"]["S"] if last else None

    def _write(
        self,
        delivery: Delivery,
        values: Mapping[str, Any],
        *,
        due: bool = False,
        added: Attempt | None = None,
        guard: str | None = None,
    ) -> bool:
        changes = {name: value for name, value in values.items() if value is not None}
        gone = [name for name in (*values, "code", "nextAt") if values.get(name) is None]
        if due:
            changes["dueAt"] = delivery.next_at
            changes["dueShard"] = f"due#{shard_of(delivery.event_id, DUE_SHARDS)}"
        else:
            gone += ["dueAt", "dueShard"]
        gone = list(dict.fromkeys(gone))
        sets = [f"#{name} = :{name}" for name in changes]
        bound: dict[str, Any] = {f":{name}": value for name, value in changes.items()}
        names = {f"#{name}": name for name in (*changes, *gone, "outcome")}
        if added is not None:
            names["#attempts"] = "attempts"
            bound |= {":none": [], ":added": [to_builtins(added)]}
            sets.append("#attempts = list_append(if_not_exists(#attempts, :none), :added)")
        if guard is None and values["outcome"] != Outcome.DELIVERED:
            guard = f"attribute_not_exists(#outcome) OR {_UNDELIVERED}"
        if guard is not None and _UNDELIVERED in guard:
            bound[":delivered"] = Outcome.DELIVERED
        return self._table.write(
            "update_item",
            Key=_keys_of(delivery),
            UpdateExpression=f"SET {', '.join(sets)} REMOVE "
            + ", ".join(f"#{name}" for name in gone),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={name: to_attribute(value) for name, value in bound.items()},
            **({} if guard is None else {"ConditionExpression": guard}),
        ).made


def _delivery_key(destination_id: str, key: str) -> dict[str, str]:
    return {"pk": f"DELIVERIES#{destination_id}", "sk": key}


def _keys_of(delivery: Delivery) -> dict[str, Any]:
    key = list_key(delivery.received_at, delivery.event_id)
    return to_item(_delivery_key(delivery.destination_id, key))


def _to_delivery(values: Mapping[str, Any]) -> Delivery:
    received_at, _, event_id = str(values["sk"]).rpartition("#")
    named = {
        "destinationId": str(values["pk"]).removeprefix("DELIVERIES#"),
        "eventId": event_id,
        "receivedAt": received_at,
    }
    return convert({**values, **named}, Delivery)
