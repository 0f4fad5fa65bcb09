"""The versions of an event type's schema in DynamoDB: one partition a type, `pk` =
`SCHEMA#<eventType>`.

`sk` = `head` is the newest version, so the schema of a type is one get and those of several are one
batch get; `sk` = `version#<ten digits>` is each version, never changed: one query lists them. Both
are written in one transaction, on the condition that the head is still the one that was read: two
writers never take the same number, and neither is lost. A type whose schema was ended keeps its
head, which counts on, but leaves the sparse index `by-type` (`listed`, `eventType`), which lists
the types without reading any schema.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from botocore.exceptions import ClientError
from msgspec import Struct, convert, to_builtins

from chalicelib.aws.dynamodb import Table, from_item, to_item
from chalicelib.core.strict_json import parse_json
from chalicelib.schemas.numbers import exact

_LISTED = "schemas"
_HEAD = "head"
_LATEST = 9_999_999_999
_RACES = frozenset({"ConditionalCheckFailed", "TransactionConflict"})


class Schema(Struct, frozen=True):
    """One version of the schema of an event type. `text` is the JSON as it was sent;
    `asserts_format` whether `format` is checked, or an annotation."""

    event_type: str
    version: int
    text: str
    created_at: str
    created_by: str
    asserts_format: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The schema as the API shows it."""
        option = {"assertFormat": True} if self.asserts_format else {}
        return {
            "eventType": self.event_type,
            "version": self.version,
            "schema": json.loads(self.text),
            **option,
            "createdAt": self.created_at,
        }

    def is_same(self, schema: Any, asserts_format: bool = False) -> bool:
        """Whether `schema`, as `parse_json` gives it with `exact`, says the same, whatever its
        blanks and the order of its members."""
        if asserts_format != self.asserts_format:
            return False
        return _canonical(parse_json(self.text.encode(), exact=True)) == _canonical(schema)


def _canonical(value: Any) -> str:
    return json.dumps(exact(value), sort_keys=True, separators=(",", ":"), default=str)


class Head(NamedTuple):
    """The newest version of a type, and whether it is enforced."""

    schema: Schema
    active: bool


class Listed(Struct, frozen=True, rename="camel"):
    """A version of a type's schema as it is listed: without the schema itself."""

    event_type: str
    version: int
    created_at: str

    def to_dict(self) -> dict[str, Any]:
        """The version as the API lists it."""
        return dict(to_builtins(self))


class SchemaStore:
    """Reads and writes schemas."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = Table(client, table)

    def head(self, event_type: str) -> Head | None:
        """The newest version, ended or not, read consistently. One call."""
        item = self._table.get(_key(event_type, _HEAD))
        return None if item is None else _to_head(item)

    def version(self, event_type: str, version: int) -> Schema | None:
        """One version, ended or not. One call."""
        item = self._table.get(_key(event_type, _version_key(version)))
        return None if item is None else _to_schema(item)

    def active(self, event_types: Iterable[str]) -> dict[str, Schema]:
        """The schemas that are enforced, by type; read consistently. One call for each hundred
        types, more while DynamoDB leaves some out. `UnavailableError` if it keeps doing so."""
        keys = [_key(event_type, _HEAD) for event_type in dict.fromkeys(event_types)]
        heads = map(_to_head, self._table.get_many(keys))
        return {head.schema.event_type: head.schema for head in heads if head.active}

    def add(self, schema: Schema, before: Head | None) -> bool:
        """Write a new version after the head that was read; False if another came first, and
        nothing was written. One call."""
        values = {
            "eventType": schema.event_type,
            "version": schema.version,
            "schema": schema.text,
            "createdAt": schema.created_at,
            "createdBy": schema.created_by,
            "assertsFormat": schema.asserts_format,
        }
        head = {**_head_names(schema.event_type), **values, "listed": _LISTED, "active": True}
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if before is not None:
            is_as_read = "#version = :version AND active = :active"
            seen = {":version": before.schema.version, ":active": before.active}
            condition = {
                "ConditionExpression": is_as_read,
                "ExpressionAttributeNames": {"#version": "version"},
                "ExpressionAttributeValues": to_item(seen),
            }
        kept = {"pk": _pk(schema.event_type), "sk": _version_key(schema.version), **values}
        writes = [
            {"Put": {"TableName": self._table.name, "Item": to_item(head), **condition}},
            {
                "Put": {
                    "TableName": self._table.name,
                    "Item": to_item(kept),
                    "ConditionExpression": "attribute_not_exists(pk)",
                }
            },
        ]
        try:
            self._client.transact_write_items(TransactItems=writes)
        except ClientError as error:
            if _lost_race(error):
                return False
            raise
        return True

    def end(self, event_type: str) -> bool:
        """End the enforcement of a type's schema; False if there was none. One call."""
        written = self._table.write(
            "update_item",
            Key=_key(event_type, _HEAD),
            UpdateExpression="SET active = :ended REMOVE listed",
            ConditionExpression="active = :active",
            ExpressionAttributeValues=to_item({":ended": False, ":active": True}),
        )
        return written.made

    def page(self, limit: int, after: str | None) -> tuple[list[Listed], str | None]:
        """(up to `limit` types that have a schema, by name, after the type `after`; the type to go
        on after). One call; the index may trail a change by a moment."""
        condition, values = "listed = :listed", {":listed": _LISTED}
        if after is not None:
            condition, values = f"{condition} AND eventType > :after", {**values, ":after": after}
        items, last = self._table.query(
            "by-type", condition, ExpressionAttributeValues=to_item(values), Limit=limit
        )
        return [_to_listed(item) for item in items], last["eventType"]["S"] if last else None

    def versions(
        self, event_type: str, limit: int, below: int | None
    ) -> tuple[list[Listed], int | None]:
        """(up to `limit` versions of a type, the newest first, those below the version `below`; the
        version to go on below). Ended or not; read consistently. One call, which reads at most 1 MB
        and so may find fewer."""
        # Versions have ten digits each, so that they sort as numbers; `below` itself is left out.
        bounds = {":first": _version_key(0), ":last": _version_key((below or _LATEST + 1) - 1)}
        answer = self._client.query(
            TableName=self._table.name,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues=to_item({":pk": _pk(event_type), **bounds}),
            ExpressionAttributeNames={"#version": "version"},
            ProjectionExpression="eventType, #version, createdAt",
            ScanIndexForward=False,
            ConsistentRead=True,
            Limit=limit,
        )
        found = [_to_listed(item) for item in answer["Items"]]
        return found, found[-1].version if found and answer.get("LastEvaluatedKey") else None


def _lost_race(error: ClientError) -> bool:
    if error.response["Error"]["Code"] != "TransactionCanceledException":
        return False
    reasons = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
    return bool(reasons & _RACES) and not reasons - _RACES - {"None", None}


def _pk(event_type: str) -> str:
    return f"SCHEMA#{event_type}"


def _head_names(event_type: str) -> dict[str, str]:
    return {"pk": _pk(event_type), "sk": _HEAD}


def _version_key(version: int) -> str:
    return f"version#{version:010}"


def _key(event_type: str, sk: str) -> dict[str, Any]:
    return to_item({"pk": _pk(event_type), "sk": sk})


def _to_head(item: Mapping[str, Any]) -> Head:
    return Head(_to_schema(item), bool(from_item(item)["active"]))


def _to_listed(item: Mapping[str, Any]) -> Listed:
    return convert(from_item(item), Listed)


def _to_schema(item: Mapping[str, Any]) -> Schema:
    values = from_item(item)
    return Schema(
        event_type=values["eventType"],
        version=values["version"],
        text=values["schema"],
        created_at=values["createdAt"],
        created_by=values["createdBy"],
        asserts_format=values.get("assertsFormat", False),
    )
