"""Destinations, deliveries and slots in the table of destinations (ADR 0027).

| item | pk | sk |
|---|---|---|
| destination | `DESTINATION#<id>` | `-` |
| delivery | `DELIVERIES#<destination>` | `<receivedAt>#<eventId>` |
| slot | `SLOT#<destination>#<number>` | `-` |
| turns | `TURNS#<destination>` | `-` |

Those of `destinations.line` are there too.

A filter is stored as JSON text. A destination is in the index `by-owner` without its secrets, a
delivery in `by-due` while it waits for the schedule.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import convert, to_builtins
from msgspec.structs import replace

from chalicelib.aws.dynamodb import (
    Partitions,
    ShardedIndex,
    Table,
    from_item,
    to_attribute,
    to_item,
)
from chalicelib.core import clock
from chalicelib.core.paging import just_below, shard_of
from chalicelib.destinations.model import (
    KEPT,
    TROUBLE,
    Attempt,
    Delivery,
    Destination,
    Outcome,
    Route,
    kept_attempts,
    list_key,
    read_filter,
    write_filter,
)

SLOTS = 8
"""Calls in flight to a destination that is slow."""
PROBE = 0
"""The one slot of a destination that is new or down."""
SLOT_SECONDS = 60
"""The longest that a call keeps its slot: longer than a call takes. One that hung keeps it for so
long."""
TURNS_AHEAD = 600
"""How far ahead turns are given out, in seconds: less than SQS can delay a message."""
_RACE_ROUNDS = 3
DUE_SHARDS = 8
_DUE_AGAIN = timedelta(minutes=30)
"""When what was taken up comes again, should its message be lost."""
_TROUBLE = "troubleSince = if_not_exists(troubleSince, :now), troubleUntil = :until"
_EXISTS = "attribute_exists(pk)"
_UNDELIVERED = "#outcome <> :delivered"
_SAME_URL = "#url = :url"
"""What an answer says holds for the URL that gave it: its owner may have changed it meanwhile."""
_URL_NAME = {"#url": "url"}
_HEALTH = "failingSince, troubleSince, troubleUntil"
_PAGE = 100


class DestinationStore:
    """Reads and writes destinations."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = Table(client, table)
        self._index = ShardedIndex(client, table, shards=1)

    def add(self, destination: Destination) -> None:
        """Write a new destination; one call."""
        item = to_item(
            {
                **_stored(destination),
                **_key(destination.destination_id),
                "ownerShard": f"{destination.owner}#0",
                "listKey": list_key(destination.created_at, destination.destination_id),
            }
        )
        self._client.put_item(
            TableName=self._table.name, Item=item, ConditionExpression="attribute_not_exists(pk)"
        )

    def get(self, destination_id: str) -> Destination | None:
        """A destination, read consistently; one call."""
        item = self._table.get(to_item(_key(destination_id)))
        return None if item is None else _to_destination(item)

    def page(
        self, owner: str, limit: int, below: str | None
    ) -> tuple[list[Destination], str | None]:
        """(an owner's destinations, newest first, below the list key `below`; the list key to go on
        below or None). Two calls."""
        partitions = Partitions("by-owner", "ownerShard", owner)
        ids, resume = self._index.newest(
            partitions, limit, below, lambda entry: str(entry["listKey"]).rpartition("#")[2]
        )
        items = self._table.get_many([to_item(_key(id_)) for id_ in ids])
        found = {one.destination_id: one for one in map(_to_destination, items)}
        return [found[id_] for id_ in ids if id_ in found], resume

    def routes(self, owner: str, *, with_off: bool = False) -> list[Route]:
        """What matching needs of an owner's destinations, without those that are off unless asked;
        one call for some thousand. The index trails by a moment, and has no secrets."""
        found: list[Route] = []
        start: dict[str, Any] = {}
        while True:
            items, last = self._table.query(
                "by-owner",
                "ownerShard = :owner",
                ExpressionAttributeValues={":owner": {"S": f"{owner}#0"}},
                **start,
            )
            values = map(from_item, items)
            found += [_to_route(one) for one in values if with_off or not one["isOff"]]
            if last is None:
                return found
            start = {"ExclusiveStartKey": last}

    def change(
        self, seen: Destination, changed: Destination, *, enable: bool = False
    ) -> Destination | None:
        """Write what its owner changed; `enable` ends its trouble too. The destination as it is
        then, None if its owner has changed it since it was seen, or it is gone. One call."""
        values = {name: value for name, value in _stored(changed).items() if name in _OWNERS_OWN}
        gone = [name for name in _OWNERS_OWN if values.get(name) is None]
        ended = [_HEALTH, "provenAt, disabledAt, disabledReason"] if enable else []
        removed = ", ".join([*(f"#{name}" for name in gone), *ended])
        kept = {name: value for name, value in values.items() if value is not None}
        outcome = self._table.write(
            "update_item",
            Key=to_item(_key(seen.destination_id)),
            UpdateExpression="SET "
            + ", ".join(f"#{name} = :{name}" for name in kept)
            + (f" REMOVE {removed}" if removed else ""),
            ConditionExpression="updatedAt = :seen",
            ExpressionAttributeNames={f"#{name}": name for name in (*kept, *gone)},
            ExpressionAttributeValues=to_item(
                {":seen": seen.updated_at, **{f":{name}": value for name, value in kept.items()}}
            ),
            ReturnValues="ALL_NEW",
        )
        return _to_destination(outcome.item) if outcome.made else None

    def delete(self, destination_id: str) -> None:
        """Delete it; its deliveries stay until their time. One call."""
        self._client.delete_item(TableName=self._table.name, Key=to_item(_key(destination_id)))

    def mark_failed(
        self, called: Destination, now: datetime, *, is_trouble: bool
    ) -> Destination | None:
        """Note a failed attempt: since when it fails, and that calls need a slot. The destination
        as it is then, None if it has another URL than the one `called`, or is gone. One call."""
        failing = "failingSince = if_not_exists(failingSince, :now)"
        return self._note(called, now, failing, is_trouble=is_trouble)

    def mark_slow(self, called: Destination, now: datetime) -> Destination | None:
        """Note that calls need a slot; as `mark_failed`."""
        return self._note(called, now, "", is_trouble=True)

    def mark_healthy(self, called: Destination, now: datetime) -> bool:
        """Note the first success, one after failures, or the end of its trouble; False if it has
        another URL than the one `called`, or is gone. One call."""
        return self._table.write(
            "update_item",
            Key=to_item(_key(called.destination_id)),
            UpdateExpression=f"SET provenAt = if_not_exists(provenAt, :now) REMOVE {_HEALTH}",
            ConditionExpression=_SAME_URL,
            ExpressionAttributeNames=_URL_NAME,
            ExpressionAttributeValues=to_item({":now": clock.to_text(now), ":url": called.url}),
        ).made

    def end_trouble(self, destination_id: str) -> None:
        """Let calls do without slots until the next bad answer; one call."""
        self._table.write(
            "update_item",
            Key=to_item(_key(destination_id)),
            UpdateExpression="REMOVE troubleSince, troubleUntil",
            ConditionExpression=_EXISTS,
        )

    def disable(self, called: Destination, now: datetime, reason: str) -> bool:
        """Disable it; False if it is disabled, has another URL than the one `called`, or is gone.
        One call."""
        return self._table.write(
            "update_item",
            Key=to_item(_key(called.destination_id)),
            UpdateExpression="SET disabledAt = :now, disabledReason = :reason, isOff = :yes",
            ConditionExpression=f"{_SAME_URL} AND attribute_not_exists(disabledAt)",
            ExpressionAttributeNames=_URL_NAME,
            ExpressionAttributeValues=to_item(
                {":now": clock.to_text(now), ":reason": reason, ":yes": True, ":url": called.url}
            ),
        ).made

    def take_slot(self, destination_id: str, number: int, now: datetime) -> bool:
        """Take a slot of a destination; False if it is taken. One call."""
        until = clock.to_text(now + timedelta(seconds=SLOT_SECONDS))
        return self._table.write(
            "update_item",
            Key=_slot(destination_id, number),
            UpdateExpression="SET leaseUntil = :until, #ttl = :ttl",
            ConditionExpression="attribute_not_exists(pk) OR leaseUntil <= :now",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues=to_item(
                {":until": until, ":now": clock.to_text(now), ":ttl": _ttl(now)}
            ),
        ).made

    def free_slot(self, destination_id: str, number: int) -> None:
        """Give a slot back; one call."""
        self._client.update_item(
            TableName=self._table.name,
            Key=_slot(destination_id, number),
            UpdateExpression="SET leaseUntil = :none",
            ExpressionAttributeValues={":none": {"S": "0"}},
        )

    def take_turn(self, destination_id: str, rate: int, now: datetime) -> int | None:
        """Take the next turn at a destination that gets `rate` calls a second: the seconds until
        then, None if those of the next `TURNS_AHEAD` are taken. One call; two after a second
        without any.

        `nextAt` is the time of the next turn in microseconds. It falls behind the clock by no more
        than leaves a second's worth of calls to go out at once (a token bucket).
        """
        step, at = 1_000_000 // rate, round(now.timestamp() * 1_000_000)
        full, empty = at - 1_000_000 + step, at + TURNS_AHEAD * 1_000_000
        for _ in range(_RACE_ROUNDS):
            next_one = self._table.write(
                "update_item",
                Key=_turns(destination_id),
                UpdateExpression="SET nextAt = nextAt + :step, #ttl = :ttl",
                ConditionExpression="nextAt BETWEEN :full AND :empty",
                ExpressionAttributeNames={"#ttl": "ttl"},
                ExpressionAttributeValues=to_item(
                    {":step": step, ":full": full, ":empty": empty, ":ttl": _ttl(now)}
                ),
                ReturnValues="UPDATED_NEW",
            )
            found = from_item(next_one.item)
            if next_one.made:
                return _seconds_until(found["nextAt"] - step, at)
            if found.get("nextAt", 0) > empty:
                return None
            anew = self._table.write(
                "update_item",
                Key=_turns(destination_id),
                UpdateExpression="SET nextAt = :next, #ttl = :ttl",
                ConditionExpression="attribute_not_exists(nextAt) OR nextAt < :full",
                ExpressionAttributeNames={"#ttl": "ttl"},
                ExpressionAttributeValues=to_item(
                    {":next": full + step, ":full": full, ":ttl": _ttl(now)}
                ),
            )
            if anew.made:
                return 0
        return None

    def _note(
        self, called: Destination, now: datetime, failing: str, *, is_trouble: bool
    ) -> Destination | None:
        parts = [part for part in (failing, _TROUBLE if is_trouble else "") if part]
        values = {":now": clock.to_text(now), ":url": called.url}
        if is_trouble:
            values[":until"] = clock.to_text(now + TROUBLE)
        outcome = self._table.write(
            "update_item",
            Key=to_item(_key(called.destination_id)),
            UpdateExpression="SET " + ", ".join(parts),
            ConditionExpression=_SAME_URL,
            ExpressionAttributeNames=_URL_NAME,
            ExpressionAttributeValues=to_item(values),
            ReturnValues="ALL_NEW",
        )
        return _to_destination(outcome.item) if outcome.made else None


class DeliveryStore:
    """Reads and writes deliveries."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = Table(client, table)

    def get_many(self, keys: Sequence[tuple[str, str]]) -> list[Delivery]:
        """Those of (destination, list key) that exist; one call for a hundred."""
        items = self._table.get_many([to_item(_delivery_key(*key)) for key in keys])
        return [_to_delivery(from_item(item)) for item in items]

    def get(self, destination_id: str, key: str) -> Delivery | None:
        """A delivery by its list key, read consistently; one call."""
        item = self._table.get(to_item(_delivery_key(destination_id, key)))
        return None if item is None else _to_delivery(from_item(item))

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
            "ttl": _ttl(now),
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
            "ttl": _ttl(now),
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
            "ttl": _ttl(now),
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
            "ttl": _ttl(now),
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


_OWNERS_OWN = (
    *("url", "eventTypes", "filter", "description", "headers", "rate", "ordered"),
    *("paused", "format", "secrets", "updatedAt", "isOff"),
)
"""The attributes that change with what its owner changes."""


def _key(destination_id: str) -> dict[str, str]:
    return {"pk": f"DESTINATION#{destination_id}", "sk": "-"}


def _slot(destination_id: str, number: int) -> dict[str, Any]:
    return to_item({"pk": f"SLOT#{destination_id}#{number}", "sk": "-"})


def _turns(destination_id: str) -> dict[str, Any]:
    return to_item({"pk": f"TURNS#{destination_id}", "sk": "-"})


def _seconds_until(turn: int, at: int) -> int:
    """Whole seconds from `at` to a turn, both in microseconds; 0 for one that is over."""
    return max(-(-(turn - at) // 1_000_000), 0)


def _delivery_key(destination_id: str, key: str) -> dict[str, str]:
    return {"pk": f"DELIVERIES#{destination_id}", "sk": key}


def _keys_of(delivery: Delivery) -> dict[str, Any]:
    key = list_key(delivery.received_at, delivery.event_id)
    return to_item(_delivery_key(delivery.destination_id, key))


def _ttl(now: datetime) -> int:
    return int((now + KEPT).timestamp())


def _stored(destination: Destination) -> dict[str, Any]:
    values = to_builtins(destination)
    return {**values, "filter": write_filter(destination.filter), "isOff": destination.is_off}


def _to_destination(item: Mapping[str, Any]) -> Destination:
    values = from_item(item)
    return convert({**values, "filter": read_filter(values.get("filter"))}, Destination)


def _to_route(values: Mapping[str, Any]) -> Route:
    return Route(
        destination_id=str(values["pk"]).removeprefix("DESTINATION#"),
        event_types=tuple(values["eventTypes"]),
        filter=read_filter(values.get("filter")),
        ordered=values.get("ordered", False),
    )


def _to_delivery(values: Mapping[str, Any]) -> Delivery:
    received_at, _, event_id = str(values["sk"]).rpartition("#")
    named = {
        "destinationId": str(values["pk"]).removeprefix("DELIVERIES#"),
        "eventId": event_id,
        "receivedAt": received_at,
    }
    return convert({**values, **named}, Delivery)


def with_next(delivery: Delivery, at: datetime) -> Delivery:
    """The delivery, which waits until then."""
    return replace(delivery, outcome=Outcome.WAITING, next_at=clock.to_text(at))
