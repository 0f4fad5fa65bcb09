"""Data of items that are too large for the table: objects of the bronze bucket below `items/`.

An object is named after what it holds and never changed. Like all of bronze, the data of earlier
versions and of deleted items stay for as long as the bucket's life cycle says.

Items: one DynamoDB item each, `pk` = `ITEM#<itemId>`, data up to 64 KB in it as JSON text.

Every change is one conditional write. The table's stream is what the owners' notifications are made
from, so an item carries what they need: owner, version, the data or their hash. What somebody
put into the table by hand is read leniently: its data may be JSON text, a map, or whatever
attributes it has besides ours; it needs an `owner` to be told about, and all of our attributes to
show in the API. `sharded_index` lists the items.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from botocore.exceptions import ClientError
from msgspec.structs import replace

from chalicelib.aws.dynamodb import to_attribute, to_item
from chalicelib.core import clock
from chalicelib.core.errors import (
    ConflictError,
    InvalidJsonError,
    NotFoundError,
    PermanentError,
    PreconditionFailedError,
    UnavailableError,
)
from chalicelib.core.names import is_owner
from chalicelib.core.paging import shard_of
from chalicelib.core.strict_json import parse_json
from chalicelib.items.changes import Snapshot
from chalicelib.items.model import Content, Guard, Item


class ItemBodies:
    """Reads and writes them."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, key: str, text: str) -> None:
        """Keep data, given as JSON; one call."""
        self._client.put_object(
            Bucket=self._bucket, Key=key, Body=text.encode(), ContentType="application/json"
        )

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The data at `key`; None when there are none. One call."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        data: Mapping[str, Any] = json.loads(answer["Body"].read())
        return data


PK_PREFIX = "ITEM#"
_BATCH_GET_LIMIT = 100
_BATCH_GET_ROUNDS = 8
_OWN = {
    "itemId": "item_id",
    "owner": "owner",
    "version": "version",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "dataSha256": "data_sha256",
    "dataBytes": "data_bytes",
    "bodyKey": "body_key",
    "expiresAt": "expires_at",
    "firstSha256": "first_sha256",
}
_OPTIONAL = {"bodyKey", "expiresAt", "firstSha256"}
_NOT_DATA = {*_OWN, "pk", "data", "ttl", "ownerShard", "listKey"}


class ItemStore:
    """Reads and writes items. `shards` is the number of index partitions an owner."""

    def __init__(self, client: Any, table: str, shards: int) -> None:
        self._client = client
        self._table = table
        self._shards = shards

    def add(self, item: Item, content: Content) -> Item | None:
        """Write a new item; None when it was written, else the one that has its id. One call."""
        values = {
            "pk": f"{PK_PREFIX}{item.item_id}",
            **{name: getattr(item, attribute) for name, attribute in _OWN.items()},
            "data": None if item.body_key else content.text,
            "ttl": _ttl(item.expires_at),
            "ownerShard": f"{item.owner}#{shard_of(item.item_id, self._shards)}",
            "listKey": item.list_key,
        }
        _, before = self._write(
            "put_item", Item=to_item(values), ConditionExpression="attribute_not_exists(pk)"
        )
        if before is None:
            return None
        other = _to_item(before)
        if other is None:
            raise ConflictError("something that is no item of ours has this id")
        return other

    def get(self, item_id: str) -> Item | None:
        """The item, read consistently; one call."""
        answer = self._client.get_item(
            TableName=self._table, Key=_key(item_id), ConsistentRead=True
        )
        return _to_item(answer["Item"]) if "Item" in answer else None

    def get_many(self, item_ids: list[str]) -> dict[str, Item]:
        """Up to a hundred items, those that exist, by id; one call, more if they are large."""
        found: dict[str, Item] = {}
        keys = [_key(item_id) for item_id in item_ids[:_BATCH_GET_LIMIT]]
        request: Mapping[str, Any] = {self._table: {"Keys": keys, "ConsistentRead": True}}
        for _ in range(_BATCH_GET_ROUNDS):
            if not request or not keys:
                return found
            answer = self._client.batch_get_item(RequestItems=request)
            for item in map(_to_item, answer["Responses"].get(self._table, [])):
                if item is not None:
                    found[item.item_id] = item
            request = answer.get("UnprocessedKeys") or {}
        raise UnavailableError("the table of items is being throttled")

    def put(self, item_id: str, content: Content, body_key: str | None, guard: Guard) -> Item:
        """Make an item hold `content` from now on, one version up; one call.

        Raises `NotFoundError` or `PreconditionFailedError` when `guard` does not let it.
        """
        changes = {
            "updatedAt": guard.now,
            "dataSha256": content.data_sha256,
            "dataBytes": len(content.text),
            "data": None if body_key else content.text,
            "bodyKey": body_key,
            "expiresAt": content.expires_at,
            "ttl": _ttl(content.expires_at),
        }
        kept = {name: value for name, value in changes.items() if value is not None}
        gone = [name for name, value in changes.items() if value is None]
        assignments = ["#version = #version + :one", *(f"#{name} = :{name}" for name in kept)]
        expression = "SET " + ", ".join(assignments)
        if gone:
            expression += " REMOVE " + ", ".join(f"#{name}" for name in gone)
        condition, names, values = _condition(guard)
        answer, before = self._write(
            "update_item",
            Key=_key(item_id),
            UpdateExpression=expression,
            ConditionExpression=condition,
            ExpressionAttributeNames={**names, **{f"#{name}": name for name in changes}},
            ExpressionAttributeValues={
                name: to_attribute(value)
                for name, value in {
                    **values,
                    ":one": 1,
                    **{f":{name}": value for name, value in kept.items()},
                }.items()
            },
            ReturnValues="ALL_NEW",
        )
        now_kept = _to_item(answer["Attributes"] if before is None else before)
        if before is not None and not (now_kept and _is_own_work(now_kept, content, guard)):
            raise _refusal(now_kept, guard)
        if now_kept is None:
            raise NotFoundError("no such item")
        return replace(now_kept, data=content.data)

    def delete(self, item_id: str, guard: Guard) -> None:
        """Remove an item; raises as `put` does. One call.

        The SDK sends again what was not answered: a repeat that finds no item stands for the first
        try, which removed it.
        """
        condition, names, values = _condition(guard)
        _, before = self._write(
            "delete_item",
            Key=_key(item_id),
            ConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={name: to_attribute(text) for name, text in values.items()},
        )
        if before is not None:
            raise _refusal(_to_item(before), guard)

    def _write(
        self, operation: str, **arguments: Any
    ) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """(the answer, None) when the write was made; else ({}, the item that forbade it or {})."""
        try:
            answer = getattr(self._client, operation)(
                TableName=self._table, ReturnValuesOnConditionCheckFailure="ALL_OLD", **arguments
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            before: Mapping[str, Any] = error.response.get("Item", {})
            is_repeat = error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
            made = operation == "delete_item" and is_repeat and not before
            return {}, None if made else before
        return answer, None


def read_image(image: Mapping[str, Any]) -> Snapshot:
    """An item as an image of a stream record shows it; `PermanentError` for what is none."""
    try:
        values = _plain_item(image)
        data = _data(values)
    except (ValueError, TypeError, AttributeError, ArithmeticError, InvalidJsonError) as error:
        raise PermanentError("the image cannot be read", code="image") from error
    if not is_owner(values.get("owner")):
        raise PermanentError("the item has no owner", code="owner")
    if data is None and not values.get("bodyKey"):
        data = {name: value for name, value in values.items() if name not in _NOT_DATA}
    version, size = values.get("version"), values.get("dataBytes")
    sha256 = values.get("dataSha256")
    return Snapshot(
        owner=values["owner"],
        version=version if isinstance(version, int) else None,
        data=data,
        data_sha256=sha256 if isinstance(sha256, str) else None,
        data_bytes=size if isinstance(size, int) else None,
    )


def _condition(guard: Guard) -> tuple[str, dict[str, str], dict[str, Any]]:
    """(condition, its names, its values): `guard` as DynamoDB checks it."""
    is_item = "attribute_exists(#version)"
    is_there = "(attribute_not_exists(#expiresAt) OR #expiresAt > :now)"
    names = {"#version": "version", "#expiresAt": "expiresAt"}
    values: dict[str, Any] = {":now": guard.now}
    clauses = [is_item, is_there]
    if guard.owner is not None:
        clauses.append("#owner = :owner")
        names["#owner"] = "owner"
        values[":owner"] = guard.owner
    if guard.revisions is not None:
        # No item has version 0: without a revision of ours, nothing matches.
        wanted = [(revision.version, revision.hash_start) for revision in guard.revisions]
        at_revision = []
        names["#dataSha256"] = "dataSha256"
        for number, (version, hash_start) in enumerate(wanted or [(0, "none")]):
            at_revision.append(
                f"#version = :version{number} AND begins_with(#dataSha256, :hash{number})"
            )
            values |= {f":version{number}": version, f":hash{number}": hash_start}
        clauses.append(f"({' OR '.join(at_revision)})")
    return " AND ".join(clauses), names, values


def _refusal(item: Item | None, guard: Guard) -> NotFoundError | PreconditionFailedError:
    if item is None or not guard.sees(item):
        return NotFoundError("no such item")
    return PreconditionFailedError(f"the item is at {item.etag} now")


def _is_own_work(item: Item, content: Content, guard: Guard) -> bool:
    """Whether the state that stands against a change is what it made: the SDK sends again what was
    not answered."""
    is_next = item.version - 1 in [revision.version for revision in guard.revisions or ()]
    is_same = (item.updated_at, item.data_sha256) == (guard.now, content.data_sha256)
    return is_next and is_same and guard.sees(item)


def _key(item_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"{PK_PREFIX}{item_id}"}}


def _ttl(expires_at: str | None) -> int | None:
    return None if expires_at is None else int(clock.from_text(expires_at).timestamp())


def _to_item(attributes: Mapping[str, Any]) -> Item | None:
    """The item; None for one that lacks what we write."""
    values = _plain_item(attributes)
    if not values.keys() >= _OWN.keys() - _OPTIONAL:
        return None
    fields: dict[str, Any] = {attribute: values.get(name) for name, attribute in _OWN.items()}
    return Item(data=_data(values), **fields)


def _data(values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    data = values.get("data")
    if isinstance(data, str):
        data = parse_json(data.encode())
    if data is not None and not isinstance(data, Mapping):
        raise ValueError("the data are no JSON object")
    return data


def _plain_item(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(attribute) for name, attribute in attributes.items()}


def _plain(attribute: Mapping[str, Any]) -> Any:
    """An attribute value of any kind as JSON; binary values are only named. Raises ValueError."""
    ((kind, value),) = attribute.items()
    plain: Any
    match kind:
        case "S" | "BOOL":
            plain = value
        case "N":
            number = Decimal(value)
            plain = int(number) if number == number.to_integral_value() else float(number)
        case "NULL":
            plain = None
        case "M":
            plain = _plain_item(value)
        case "L":
            plain = [_plain(element) for element in value]
        case "SS":
            plain = sorted(value)
        case "NS":
            plain = sorted(_plain({"N": element}) for element in value)
        case "B" | "BS":
            plain = "(binary)"
        case _:
            raise ValueError("an attribute value of an unknown kind")
    return plain
