"""Items in DynamoDB, and large data in S3.

An item is one DynamoDB item, `pk` = `ITEM#<itemId>`, with data up to 64 KB in it as JSON text.
Every change is one conditional write. The notifications for owners come from the table's stream, so
an item carries what they need: owner, version, and the data or their hash.

A deleted item leaves a tombstone, so that a late request to create it does not bring it back: the
same entry without version and data, with `tombstoneAt`, until `ttl`. An item or tombstone past its
time is gone, whether or not DynamoDB has removed it.

An item that somebody put into the table by hand is read leniently. Its data may be JSON text, a
map, or whatever attributes it has besides ours. Notifications need its `owner`; the API shows it
only with all of our attributes.

Larger data are objects of the bronze bucket below `items/`, named after their hash and never
changed. As in all of bronze, the data of old versions and deleted items stay until the bucket's
lifecycle rules remove them.
"""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from botocore.exceptions import ClientError
from msgspec.structs import replace

from chalicelib.aws.dynamodb import Partitions, ShardedIndex, Table, to_item
from chalicelib.core import clock
from chalicelib.core.errors import ConflictError, InvalidJsonError, PermanentError
from chalicelib.core.names import is_owner
from chalicelib.core.paging import shard_of
from chalicelib.core.strict_json import parse_json
from chalicelib.items.changes import Snapshot
from chalicelib.items.model import TOMBSTONE, Content, Guard, Item

PK_PREFIX = "ITEM#"
TOMBSTONE_AT = "tombstoneAt"
_NOT_DATA = {*Item.__struct_encode_fields__, "pk", "ttl", "ownerShard", "listKey", TOMBSTONE_AT}


class ItemBodies:
    """Reads and writes large data."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, key: str, text: str) -> None:
        """Store data, given as JSON; one call."""
        self._client.put_object(
            Bucket=self._bucket, Key=key, Body=text.encode(), ContentType="application/json"
        )

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The data at `key`; None if there are none. One call."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        data: Mapping[str, Any] = json.loads(answer["Body"].read())
        return data


class ItemStore:
    """Reads and writes items. `shards` is the number of index partitions an owner."""

    def __init__(self, client: Any, table: str, shards: int) -> None:
        self._table = Table(client, table)
        self._shards = shards

    def add(self, item: Item, content: Content) -> Item | None:
        """Write a new item; None when it was written, else the item with its id. One call.

        `ConflictError` where that item was deleted, and for a foreign entry.
        """
        values = {
            **msgspec.to_builtins(replace(item, data=None)),
            "pk": f"{PK_PREFIX}{item.item_id}",
            "data": None if item.body_key else content.text,
            "ttl": _ttl(item.expires_at),
            "ownerShard": f"{item.owner}#{shard_of(item.item_id, self._shards)}",
            "listKey": item.list_key,
        }
        is_new = "attribute_not_exists(pk)"
        has_expired = "(attribute_exists(version) AND expiresAt <= :now)"
        is_past_grave = f"(attribute_exists({TOMBSTONE_AT}) AND #ttl <= :seconds)"
        outcome = self._table.write(
            "put_item",
            Item=to_item(values),
            ConditionExpression=f"{is_new} OR {has_expired} OR {is_past_grave}",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues=to_item(
                {":now": item.created_at, ":seconds": _ttl(item.created_at)}
            ),
        )
        if outcome.made:
            return None
        if TOMBSTONE_AT in outcome.item:
            raise ConflictError("the item of this idempotency key was deleted")
        other = _to_item(outcome.item)
        if other is None:
            raise ConflictError("a foreign entry of the table has this id")
        return other

    def get(self, item_id: str) -> Item | None:
        """The item, read consistently; one call."""
        found = self._table.get(_key(item_id))
        return _to_item(found) if found else None

    def get_many(self, item_ids: Sequence[str]) -> dict[str, Item]:
        """The items that exist, by id; one call for a hundred, more if they are large."""
        found = map(_to_item, self._table.get_many([_key(item_id) for item_id in item_ids]))
        return {item.item_id: item for item in found if item}

    def put(self, item_id: str, content: Content, body_key: str | None, guard: Guard) -> Item:
        """Replace an item's content, one version up; one call.

        Raises `NotFoundError` or `PreconditionFailedError` when `guard` does not allow it.
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
        present = to_item(changes)
        assignments = ["#version = #version + :one", *(f"#{name} = :{name}" for name in present)]
        # Never empty: either `data` or `bodyKey` is absent.
        removed = [f"#{name}" for name in changes if name not in present]
        condition, names, values = _condition(guard)
        outcome = self._table.write(
            "update_item",
            Key=_key(item_id),
            UpdateExpression=f"SET {', '.join(assignments)} REMOVE {', '.join(removed)}",
            ConditionExpression=condition,
            ExpressionAttributeNames={**names, **{f"#{name}": name for name in changes}},
            ExpressionAttributeValues={
                **values,
                ":one": {"N": "1"},
                **{f":{name}": value for name, value in present.items()},
            },
            ReturnValues="ALL_NEW",
        )
        current = _to_item(outcome.item)
        if current is None or not (outcome.made or _is_own_work(current, content, guard)):
            raise guard.refusal(current)
        return replace(current, data=content.data)

    def delete(self, item_id: str, guard: Guard) -> None:
        """Delete an item, and leave its tombstone; raises as `put` does. One call.

        The SDK repeats a call without an answer. A repeat finds the tombstone of the first try.
        """
        condition, names, values = _condition(guard)
        until = clock.from_text(guard.now) + TOMBSTONE
        kept = ("owner", "firstSha256")
        removed = sorted((_NOT_DATA | {"data"}) - {*kept, "pk", "ttl", "itemId", TOMBSTONE_AT})
        outcome = self._table.write(
            "update_item",
            Key=_key(item_id),
            UpdateExpression=f"SET {TOMBSTONE_AT} = :now, #ttl = :ttl"
            f" REMOVE {', '.join(f'#{name}' for name in removed)}",
            ConditionExpression=condition,
            ExpressionAttributeNames={
                **names,
                "#ttl": "ttl",
                **{f"#{name}": name for name in removed},
            },
            ExpressionAttributeValues={**values, ":ttl": {"N": str(int(until.timestamp()))}},
        )
        is_own = outcome.item.get(TOMBSTONE_AT) == {"S": guard.now}
        if not (outcome.made or (outcome.is_repeat and is_own)):
            raise guard.refusal(_to_item(outcome.item))


def newest_ids(
    index: ShardedIndex, name: str, limit: int, below: str | None
) -> tuple[list[str], str | None]:
    """(ids, the list key to go on below) of one page of the items table's index; one call a shard.
    `name` is an owner's, or one that `subscriptions` gives."""
    partitions = Partitions("by-owner", "ownerShard", name)
    return index.newest(
        partitions, limit, below, lambda entry: str(entry["listKey"]).rpartition("#")[2]
    )


def read_image(image: Mapping[str, Any]) -> Snapshot:
    """An item in an image of a stream record; `PermanentError` if it cannot be read."""
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
    has_not_expired = "(attribute_not_exists(#expiresAt) OR #expiresAt > :now)"
    clauses = [is_item, has_not_expired]
    names = {"#version": "version", "#expiresAt": "expiresAt"}
    values: dict[str, Any] = {":now": guard.now}
    if guard.owner is not None:
        clauses.append("#owner = :owner")
        names["#owner"] = "owner"
        values[":owner"] = guard.owner
    if guard.revisions is not None:
        # No item has version 0: without a revision of ours, nothing matches.
        wanted = [
            (revision.version, revision.created_at, revision.hash_start)
            for revision in guard.revisions
        ]
        at_revision = []
        names |= {"#dataSha256": "dataSha256", "#createdAt": "createdAt"}
        for number, (version, created_at, hash_start) in enumerate(wanted or [(0, "none", "none")]):
            at_revision.append(
                f"#version = :version{number} AND #createdAt = :created{number}"
                f" AND begins_with(#dataSha256, :hash{number})"
            )
            values |= {
                f":version{number}": version,
                f":created{number}": created_at,
                f":hash{number}": hash_start,
            }
        clauses.append(f"({' OR '.join(at_revision)})")
    return " AND ".join(clauses), names, to_item(values)


def _is_own_work(item: Item, content: Content, guard: Guard) -> bool:
    """Whether a refused change made the item that refuses it: the SDK repeats a call without an
    answer."""
    is_next = item.version - 1 in [revision.version for revision in guard.revisions or ()]
    is_same = (item.updated_at, item.data_sha256) == (guard.now, content.data_sha256)
    return is_next and is_same and guard.sees(item)


def _key(item_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"{PK_PREFIX}{item_id}"}}


def _ttl(expires_at: str | None) -> int | None:
    return None if expires_at is None else int(clock.from_text(expires_at).timestamp())


def _to_item(attributes: Mapping[str, Any]) -> Item | None:
    """The item; None without all of our attributes."""
    try:
        values = _plain_item(attributes)
        return msgspec.convert({**values, "data": _data(values)}, Item)
    except (ValueError, InvalidJsonError):
        return None


def _data(values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    data = values.get("data")
    if isinstance(data, str):
        data = parse_json(data.encode())
    if data is not None and not isinstance(data, Mapping):
        raise ValueError("the data are not a JSON object")
    return data


def _plain_item(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(attribute) for name, attribute in attributes.items()}


def _plain(attribute: Mapping[str, Any]) -> Any:  # noqa: PLR0911 - a return for each kind
    """An attribute value of any kind as JSON; binary values are only named. Raises ValueError."""
    ((kind, value),) = attribute.items()
    match kind:
        case "S" | "BOOL":
            return value
        case "N":
            number = Decimal(value)
            return int(number) if number == number.to_integral_value() else float(number)
        case "NULL":
            return None
        case "M":
            return _plain_item(value)
        case "L":
            return [_plain(element) for element in value]
        case "SS":
            return sorted(value)
        case "NS":
            return sorted(_plain({"N": element}) for element in value)
        case "B" | "BS":
            return "(binary)"
    raise ValueError("an attribute value of an unknown kind")
