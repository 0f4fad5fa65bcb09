"""Bulk replays: one item each in the ledger's table, `pk` = `REPLAY#<id>`, and a register of those
that run, `pk` = `REPLAYS`, with an attribute for each.

Neither has an attribute of an event, so no list of events ever sees them. A replay is written
whole, and only over the version that was read.
"""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError
from msgspec.structs import asdict, replace

from chalicelib.aws.dynamodb import from_item, to_attribute, to_item
from chalicelib.replays.model import Replay, ReplayStatus, Selection, Tally

_REGISTER = {"pk": {"S": "REPLAYS"}}
_PREFIX = "replay-"


class ReplayStore:
    """Reads and writes bulk replays."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def add(self, replay: Replay) -> Replay | None:
        """Write a new one; None when it was written, else the one that was there. One call."""
        old = self._put(replay, "attribute_not_exists(pk)")
        return None if old is None else _read(old)

    def get(self, replay_id: str) -> Replay | None:
        """One of them, read consistently; one call."""
        answer = self._client.get_item(
            TableName=self._table, Key=_key(replay_id), ConsistentRead=True
        )
        return _read(answer["Item"]) if "Item" in answer else None

    def save(self, replay: Replay) -> Replay | None:
        """Write what was read and changed, as its next version; None, and nothing changes, if
        somebody else was faster. One call."""
        written = replace(replay, version=replay.version + 1)
        unchanged = "version = :seen"
        old = self._put(written, unchanged, {":seen": to_attribute(replay.version)})
        return written if old is None else None

    def enter(self, replay_id: str, owner: str, at: str) -> None:
        """Note in the register that a replay runs; one call."""
        self._client.update_item(
            TableName=self._table,
            Key=_REGISTER,
            UpdateExpression="SET #replay = :entry",
            ExpressionAttributeNames={"#replay": _PREFIX + replay_id},
            ExpressionAttributeValues={":entry": to_attribute({"owner": owner, "at": at})},
        )

    def leave(self, replay_id: str) -> None:
        """Strike a replay from the register; one call."""
        self._client.update_item(
            TableName=self._table,
            Key=_REGISTER,
            UpdateExpression="REMOVE #replay",
            ExpressionAttributeNames={"#replay": _PREFIX + replay_id},
        )

    def running(self) -> dict[str, Mapping[str, str]]:
        """The register: {"owner", "at"} by the id of the replay; one call."""
        answer = self._client.get_item(TableName=self._table, Key=_REGISTER, ConsistentRead=True)
        values = from_item(answer.get("Item", {}))
        return {
            name.removeprefix(_PREFIX): entry
            for name, entry in values.items()
            if name.startswith(_PREFIX)
        }

    def _put(
        self, replay: Replay, condition: str, values: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any] | None:
        """None when it was written; else the item that stood against it, {} for no item."""
        written = {"version": replay.version, "replay": _written(replay)}
        item = to_item({"pk": _pk(replay.replay_id), **written})
        named: dict[str, Any] = {} if values is None else {"ExpressionAttributeValues": values}
        try:
            self._client.put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression=condition,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **named,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            old: Mapping[str, Any] = error.response.get("Item", {})
            return old
        return None


def _pk(replay_id: str) -> str:
    return f"REPLAY#{replay_id}"


def _key(replay_id: str) -> dict[str, Any]:
    return {"pk": {"S": _pk(replay_id)}}


def _written(replay: Replay) -> dict[str, Any]:
    return {
        **asdict(replay),
        "status": str(replay.status),
        "selection": replay.selection.to_dict(),
        "tally": asdict(replay.tally),
    }


def _read(item: Mapping[str, Any]) -> Replay:
    values = from_item(item)["replay"]
    values |= {
        "status": ReplayStatus(values["status"]),
        "selection": Selection.from_dict(values["selection"]),
        "tally": Tally(**values["tally"]),
    }
    return Replay(**values)
