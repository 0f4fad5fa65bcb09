"""Going through one partition of the ledger's indexes, oldest first, a page at a time."""

from collections.abc import Mapping
from typing import Any

from chalicelib.domain.listing import Entry
from chalicelib.domain.replays import Partition

_KEYS = {"by-owner": "ownerShard", "by-status": "statusShard"}


class EventWindow:
    """Queries the ledger's indexes `by-owner` and `by-status`."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def read(
        self,
        partition: Partition,
        bounds: tuple[str, str],
        filters: Mapping[str, str],
        limit: int,
    ) -> tuple[list[Entry], str | None]:
        """(entries that match, the list key that was looked at last or None at the end).

        It looks at no more than `limit` entries with list keys within `bounds`; `filters` are
        attributes of entries. One call.
        """
        values = {":partition": partition.value, ":from": bounds[0], ":to": bounds[1]}
        arguments: dict[str, Any] = {}
        if filters:
            arguments["FilterExpression"] = " AND ".join(f"#{name} = :{name}" for name in filters)
            arguments["ExpressionAttributeNames"] = {f"#{name}": name for name in filters}
            values |= {f":{name}": value for name, value in filters.items()}
        condition = f"{_KEYS[partition.index]} = :partition AND listKey BETWEEN :from AND :to"
        answer = self._client.query(
            TableName=self._table,
            IndexName=partition.index,
            KeyConditionExpression=condition,
            ExpressionAttributeValues={name: {"S": value} for name, value in values.items()},
            Limit=limit,
            **arguments,
        )
        keys = [item["listKey"]["S"] for item in answer["Items"]]
        last = answer.get("LastEvaluatedKey")
        entries = [Entry(key, key.rpartition("#")[2]) for key in keys]
        return entries, last["listKey"]["S"] if last else None
