"""Destinations, their slots and turns in the table of destinations (ADR 0027).

| item | pk | sk |
|---|---|---|
| destination | `DESTINATION#<id>` | `-` |
| slot | `SLOT#<destination>#<number>` | `-` |
| turns | `TURNS#<destination>` | `-` |

Those of `delivery_store` and `line` are there too. A filter is stored as JSON text. A destination
is in the index `by-owner` without its secrets.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import convert, to_builtins

from chalicelib.aws.dynamodb import (
    Partitions,
    ShardedIndex,
    Table,
    from_item,
    to_item,
)
from chalicelib.core import clock
from chalicelib.destinations.model import (
    TROUBLE,
    Destination,
    Route,
    kept_until,
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
_TROUBLE = "troubleSince = if_not_exists(troubleSince, :now), troubleUntil = :until"
_EXISTS = "attribute_exists(pk)"
_SAME_URL = "#url = :url"
"""What an answer says holds for the URL that gave it: its owner may have changed it meanwhile."""
_URL_NAME = {"#url": "url"}
_HEALTH = "failingSince, troubleSince, troubleUntil"


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
                {":until": until, ":now": clock.to_text(now), ":ttl": kept_until(now)}
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
                    {":step": step, ":full": full, ":empty": empty, ":ttl": kept_until(now)}
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
                    {":next": full + step, ":full": full, ":ttl": kept_until(now)}
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
