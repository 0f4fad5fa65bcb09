"""DynamoDB: values and attributes, the calls that stores make, and listing by a sharded index.

Records hold strings, whole numbers, booleans, bytes, lists and maps; None means that the attribute
is left out. (boto3's own converter would cost every cold start an import of all of boto3.) Source:
Amazon DynamoDB API Reference, "AttributeValue".
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from botocore.exceptions import ClientError
from msgspec import Struct

from chalicelib.aws.threads import in_threads
from chalicelib.core.errors import UnavailableError
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
    if isinstance(value, bytes):
        return {"B": value}
    if isinstance(value, Mapping):
        return {"M": to_item(value)}
    if isinstance(value, (list, tuple)):
        return {"L": [to_attribute(element) for element in value]}
    raise TypeError(f"no attribute value for {type(value).__name__}")


def from_attribute(attribute: Mapping[str, Any]) -> Any:
    """The inverse of `to_attribute`."""
    ((kind, value),) = attribute.items()
    match kind:
        case "S" | "BOOL" | "B":
            return value
        case "N":
            return int(value)
        case "M":
            return from_item(value)
        case "L":
            return [from_attribute(element) for element in value]
    raise TypeError(f"unexpected attribute kind {kind}")


BATCH = 100
"""Keys of one BatchGetItem."""
_ROUNDS = 8


class Outcome(Struct, frozen=True):
    """What became of a conditional write. `item` is the item after it, where ReturnValues asks for
    that; or the one that stood against it, {} for none. `is_repeat`: the SDK had sent it before,
    so that what stands against it may be its own work."""

    made: bool
    item: Mapping[str, Any]
    is_repeat: bool = False


class Table:
    """The calls of a store on its table."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = name

    def get(self, key: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The item of a key (both as attribute values), read consistently; one call."""
        answer = self._client.get_item(TableName=self.name, Key=key, ConsistentRead=True)
        item: Mapping[str, Any] | None = answer.get("Item")
        return item

    def get_many(
        self, keys: Sequence[Mapping[str, Any]], *, consistent: bool = True
    ) -> Iterator[Mapping[str, Any]]:
        """The items that exist, read consistently unless that does not matter, at half the price;
        one call for each hundred keys, more while DynamoDB leaves some out. `UnavailableError` if
        it keeps doing so."""
        for start in range(0, len(keys), BATCH):
            wanted = {"Keys": list(keys[start : start + BATCH]), "ConsistentRead": consistent}
            request: Mapping[str, Any] = {self.name: wanted}
            for _ in range(_ROUNDS):
                answer = self._client.batch_get_item(RequestItems=request)
                yield from answer["Responses"].get(self.name, [])
                request = answer.get("UnprocessedKeys") or {}
                if not request:
                    break
            else:
                raise UnavailableError("the table is being throttled")

    def write(self, operation: str, **arguments: Any) -> Outcome:
        """One conditional write: `put_item`, `update_item` or `delete_item`; one call."""
        try:
            answer = getattr(self._client, operation)(
                TableName=self.name, ReturnValuesOnConditionCheckFailure="ALL_OLD", **arguments
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            is_repeat = error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
            return Outcome(made=False, item=error.response.get("Item", {}), is_repeat=is_repeat)
        return Outcome(made=True, item=answer.get("Attributes") or {})

    def query(self, index: str | None, condition: str, **arguments: Any) -> tuple[list[Any], Any]:
        """(items, the key to start the next page at or None) of one page of an index, or of the
        table itself; one call."""
        named = {} if index is None else {"IndexName": index}
        answer = self._client.query(
            TableName=self.name, KeyConditionExpression=condition, **named, **arguments
        )
        return answer["Items"], answer.get("LastEvaluatedKey")


T = TypeVar("T")


class Partitions(Struct, frozen=True):
    """The partitions `<name>#<shard>` of an index whose hash key is `key`."""

    index: str
    key: str
    name: str


class ShardedIndex:
    """Lists a table by an index, newest first, at a cost that does not grow with the table.

    An index is split into `shards` partitions named `<name>#<shard>`, so that no partition takes
    all writes; its range key is `listKey`, `<time>#<id>`. A page asks every shard once and merges
    by time. Entries come as the index holds them: what a caller needs must be projected into it.
    """

    def __init__(self, client: Any, table: str, shards: int) -> None:
        self._table = Table(client, table)
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

        def query(shard: int) -> tuple[list[Entry], str | None]:
            items, last = self._table.query(
                partitions.index,
                condition,
                ExpressionAttributeValues={
                    ":partition": {"S": f"{partitions.name}#{shard}"},
                    **upper,
                },
                ScanIndexForward=False,
                Limit=limit,
            )
            found.update({item["listKey"]["S"]: item for item in items})
            entries = [Entry(key, key.rpartition("#")[2]) for key in map(_list_key, items)]
            return entries, last["listKey"]["S"] if last else None

        page = merge_newest(in_threads(query, range(self._shards)), limit)
        read_entries = [read(from_item(found[entry.list_key])) for entry in page.entries]
        return read_entries, page.resume_below


def _list_key(item: Mapping[str, Any]) -> str:
    return str(item["listKey"]["S"])
