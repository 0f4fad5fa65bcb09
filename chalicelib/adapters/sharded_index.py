"""Listing a sharded index, newest first, at a cost that does not grow with the table.

An index is split into partitions named `<name>#<shard>`, so that no partition takes all writes; its
range key is `listKey`, `<time>#<id>`. A page asks every shard once and merges by time. Entries come
as the index holds them: what a caller needs of them must be projected into it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from chalicelib.adapters.attributes import from_item
from chalicelib.domain.listing import Entry, just_below, merge_newest
from chalicelib.spread import in_threads

T = TypeVar("T")


@dataclass(frozen=True)
class Partitions:
    """The partitions `<name>#<shard>` of an index whose hash key is `key`."""

    index: str
    key: str
    name: str


class ShardedIndex:
    """Queries the indexes of a table, each split into `shards`."""

    def __init__(self, client: Any, table: str, shards: int) -> None:
        self._client = client
        self._table = table
        self._shards = shards

    def newest(
        self,
        partitions: Partitions,
        limit: int,
        below: str | None,
        read: Callable[[Mapping[str, Any]], T],
    ) -> tuple[list[T], str | None]:
        """(`read` of each entry's values, the list key to go on below or None at the end).

        Entries below the list key `below`, at most `limit`. As many calls as there are shards.
        """
        upper = {} if below is None else {":end": {"S": just_below(below)}}
        condition = f"{partitions.key} = :partition" + (" AND listKey <= :end" if upper else "")
        found: dict[str, Mapping[str, Any]] = {}

        def query(shard: int) -> dict[str, Any]:
            answer: dict[str, Any] = self._client.query(
                TableName=self._table,
                IndexName=partitions.index,
                KeyConditionExpression=condition,
                ExpressionAttributeValues={
                    ":partition": {"S": f"{partitions.name}#{shard}"},
                    **upper,
                },
                ScanIndexForward=False,
                Limit=limit,
            )
            return answer

        def entries(answer: dict[str, Any]) -> tuple[list[Entry], str | None]:
            items = {item["listKey"]["S"]: item for item in answer["Items"]}
            found.update(items)
            last = answer.get("LastEvaluatedKey")
            page = [Entry(list_key, list_key.rpartition("#")[2]) for list_key in items]
            return page, last["listKey"]["S"] if last else None

        answers = in_threads(query, range(self._shards))
        page = merge_newest(map(entries, answers), limit)
        read_entries = [read(from_item(found[entry.list_key])) for entry in page.entries]
        return read_entries, page.resume_below
