"""The journal: the units that the worker is at work on (ADR 0024).

A run writes its unit's entry before the unit's silver files, and closes it when everything is done.
An open entry whose run is over is of a run that died, and somebody else finishes its unit. An entry
is a small item of the ledger's table, `pk` = `UNIT#<unitId>`; its `statusShard` puts it into the
index of statuses, where open units are found. A closed one has none, and is gone by TTL: no
function may delete items of the ledger.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from chalicelib.aws.dynamodb import Table, from_item, to_item
from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock
from chalicelib.core.paging import shard_of

SHARDS = 8
"""Partitions of the index: room for some 4,000 units a second."""
_INDEX, _PAGE = "by-status", 100
_KEPT = timedelta(hours=1)


class OpenUnit(Struct, frozen=True):
    """A unit at work: its events, its silver files, and the time `until` which its run may last."""

    unit_id: str
    event_ids: frozenset[str]
    silver_keys: tuple[str, ...]
    begun: str
    until: str

    def is_over(self, now: datetime) -> bool:
        """Whether its run has ended, or died."""
        return clock.from_text(self.until) < now


class Journal:
    """Reads and writes the entries of open units."""

    def __init__(self, client: Any, table: str, each: Each = in_threads) -> None:
        self._table = Table(client, table)
        self._client = client
        self._each = each

    def put(self, unit: OpenUnit) -> None:
        """Write an entry, or write it again; one call."""
        ids = sorted(unit.event_ids)
        item = {
            "pk": f"UNIT#{unit.unit_id}",
            "statusShard": f"UNIT#{shard_of(unit.unit_id, SHARDS)}",
            "listKey": f"{unit.begun}#{unit.unit_id}",
            "begun": unit.begun,
            "until": unit.until,
            "silverKeys": unit.silver_keys,
            "events": b"".join(uuid.UUID(event_id).bytes for event_id in ids),
        }
        self._client.put_item(TableName=self._table.name, Item=to_item(item))

    def take(self, unit: OpenUnit, until: str) -> bool:
        """Take on a unit whose run is over, until then; False if somebody else has. One call."""
        return self._table.write(
            "update_item",
            Key=_key(unit.unit_id),
            UpdateExpression="SET #until = :until",
            ConditionExpression="#until = :seen AND attribute_exists(statusShard)",
            ExpressionAttributeNames={"#until": "until"},
            ExpressionAttributeValues=to_item({":until": until, ":seen": unit.until}),
        ).made

    def close(self, unit_id: str, now: datetime) -> None:
        """Close an entry; one call."""
        self._client.update_item(
            TableName=self._table.name,
            Key=_key(unit_id),
            UpdateExpression="SET #ttl = :ttl REMOVE statusShard",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues=to_item({":ttl": int((now + _KEPT).timestamp())}),
        )

    def open_units(self) -> list[OpenUnit]:
        """The units that are open, a hundred of each partition at most; a call for each partition,
        and one for the entries. An entry shows here a moment after it was written."""

        def query(shard: int) -> Sequence[Any]:
            values = {":partition": {"S": f"UNIT#{shard}"}}
            return self._table.query(
                _INDEX,
                "statusShard = :partition",
                ExpressionAttributeValues=values,
                Limit=_PAGE,
            )[0]

        found = [item for items in self._each(query, range(SHARDS)) for item in items]
        keys = [{"pk": item["pk"]} for item in found]
        items = [item for item in self._table.get_many(keys) if "statusShard" in item]
        return [_unit(from_item(item)) for item in items]


def _key(unit_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"UNIT#{unit_id}"}}


def _unit(fields: dict[str, Any]) -> OpenUnit:
    raw = bytes(fields["events"])
    ids = (str(uuid.UUID(bytes=raw[at : at + 16])) for at in range(0, len(raw), 16))
    return OpenUnit(
        unit_id=fields["pk"].removeprefix("UNIT#"),
        event_ids=frozenset(ids),
        silver_keys=tuple(fields["silverKeys"]),
        begun=fields["begun"],
        until=fields["until"],
    )
