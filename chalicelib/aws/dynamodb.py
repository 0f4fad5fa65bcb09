"""Python values as DynamoDB attribute values and back, for what our records hold.

Strings, whole numbers, booleans, lists and maps; None means that the attribute is left out. (The
converter that boto3 has would cost an import of all of boto3 at every cold start.) Source: Amazon
DynamoDB API Reference, "AttributeValue".

Listing a sharded index, newest first, at a cost that does not grow with the table.

An index is split into partitions named `<name>#<shard>`, so that no partition takes all writes; its
range key is `listKey`, `<time>#<id>`. A page asks every shard once and merges by time. Entries come
as the index holds them: what a caller needs of them must be projected into it.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from msgspec import Struct

from chalicelib.aws.threads import in_threads
from chalicelib.core.paging import Entry, just_below, merge_newest


def to_item(values: Mapping[str, Any]) -> dict[str, Any]:
    """An item of `values`, without those that are None."""
    return {name: to_attribute(value) for name, value in values.items() if value is not None}


def from_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an item."""
    return {name: from_attribute(attribute) for name, attribute in item.items()}


def to_attribute(value: Any) -> dict[str, Any]:
    """One value; raises TypeError for a kind that a record never holds."""
    if isinstance(value, str):
        return {"S": str(value)}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int):
        return {"N": str(value)}
    if isinstance(value, Mapping):
        return {"M": to_item(value)}
    if isinstance(value, (list, tuple)):
        return {"L": [to_attribute(element) for element in value]}
    raise TypeError(f"no attribute value for {type(value).__name__}")


def from_attribute(attribute: Mapping[str, Any]) -> Any:
    """The inverse of `to_attribute`."""
    ((kind, value),) = attribute.items()
    match kind:
        case "S" | "BOOL":
            return value
        case "N":
            return int(value)
        case "M":
            return from_item(value)
        case "L":
            return [from_attribute(element) for element in value]
    raise TypeError(f"unexpected attribute kind {kind}")


T = TypeVar("T")


class Partitions(Struct, frozen=True):
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
