"""Bulk replays in the ledger's table: an item each, `pk` = `REPLAY#<id>`, and a register of the
running ones, `pk` = `REPLAYS`, with an attribute for each and a count of the additions.

A replay stands in the ledger's two indexes as well, in partitions that no owner and no status can
be named like, so lists of events never show it: `#replays#<owner>#0` of by-owner, `#replays#0` of
by-status. A replay is written whole, and only over the version that was read; the index entries do
not change with it.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import convert, to_builtins
from msgspec.structs import replace

from chalicelib.aws.dynamodb import (
    Outcome,
    Partitions,
    ShardedIndex,
    Table,
    from_item,
    to_attribute,
    to_item,
)
from chalicelib.core.errors import UnavailableError
from chalicelib.replays.model import Replay

_REGISTER = {"pk": {"S": "REPLAYS"}}
_PREFIX = "replay-"
_LISTED = "#replays"
_ROUNDS = 20


class ReplayStore:
    """Reads and writes bulk replays."""

    def __init__(self, client: Any, table: str) -> None:
        self._table = Table(client, table)
        self._index = ShardedIndex(client, table, shards=1)

    def add(self, replay: Replay) -> Replay | None:
        """Write a new replay; None if it was written, else the one that exists. One call."""
        outcome = self._put(replay, ConditionExpression="attribute_not_exists(pk)")
        return None if outcome.made else _to_replay(outcome.item)

    def get(self, replay_id: str) -> Replay | None:
        """A replay, read consistently; one call."""
        item = self._table.get({"pk": {"S": _pk(replay_id)}})
        return None if item is None else _to_replay(item)

    def save(self, replay: Replay) -> Replay | None:
        """Write a changed replay as its next version; None, and nothing changes, if it was written
        since it was read. One call."""
        written = replace(replay, version=replay.version + 1)
        outcome = self._put(
            written,
            ConditionExpression="version = :seen",
            ExpressionAttributeValues={":seen": to_attribute(replay.version)},
        )
        return written if outcome.made else None

    def register(self, replay_id: str, owner: str, at: str, limit: int) -> bool:
        """Add a replay to the register; False, and nothing changes, when `limit` others of the
        owner are in it.

        The register is written only as it was read, so requests at the same time cannot pass the
        limit together. Two calls; two more whenever another replay was added in between.
        `UnavailableError` when that keeps happening.
        """
        for _ in range(_ROUNDS):
            register = from_item(self._table.get(_REGISTER) or {})
            running = _entries(register)
            owned = {id_ for id_, entry in running.items() if entry["owner"] == owner}
            if len(owned - {replay_id}) >= limit:
                return False
            additions = register.get("additions")
            outcome = self._update(
                replay_id,
                "SET #replay = :entry ADD additions :one",
                ConditionExpression="attribute_not_exists(additions)"
                if additions is None
                else "additions = :seen",
                ExpressionAttributeValues=to_item(
                    {":entry": {"owner": owner, "at": at}, ":one": 1, ":seen": additions}
                ),
            )
            if outcome.made:
                return True
        raise UnavailableError("many replays are started at once")

    def unregister(self, replay_id: str) -> None:
        """Remove a replay from the register; one call."""
        self._update(replay_id, "REMOVE #replay")

    def running(self) -> dict[str, Mapping[str, str]]:
        """The register: {"owner", "at"} by replay id; one call."""
        return _entries(from_item(self._table.get(_REGISTER) or {}))

    def page(
        self, owner: str | None, limit: int, below: str | None
    ) -> tuple[list[Replay], str | None]:
        """(up to `limit` replays of an owner, None: of all, newest first, those below the list key
        `below`; the list key to go on below or None). Two calls; the index trails by a moment."""
        partitions = Partitions("by-status", "statusShard", _LISTED)
        if owner is not None:
            partitions = Partitions("by-owner", "ownerShard", f"{_LISTED}#{owner}")
        ids, resume = self._index.newest(
            partitions, limit, below, lambda entry: str(entry["listKey"]).rpartition("#")[2]
        )
        items = self._table.get_many([{"pk": {"S": _pk(replay_id)}} for replay_id in ids])
        found = {replay.replay_id: replay for replay in map(_to_replay, items)}
        return [found[replay_id] for replay_id in ids if replay_id in found], resume

    def _put(self, replay: Replay, **condition: Any) -> Outcome:
        values = {
            "version": replay.version,
            "replay": to_builtins(replay),
            "ownerShard": f"{_LISTED}#{replay.owner}#0",
            "statusShard": f"{_LISTED}#0",
            "listKey": f"{replay.started_at}#{replay.replay_id}",
        }
        item = to_item({"pk": _pk(replay.replay_id), **values})
        return self._table.write("put_item", Item=item, **condition)

    def _update(self, replay_id: str, expression: str, **values: Any) -> Outcome:
        return self._table.write(
            "update_item",
            Key=_REGISTER,
            UpdateExpression=expression,
            ExpressionAttributeNames={"#replay": _PREFIX + replay_id},
            **values,
        )


def _entries(register: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
    return {
        name.removeprefix(_PREFIX): entry
        for name, entry in register.items()
        if name.startswith(_PREFIX)
    }


def _pk(replay_id: str) -> str:
    return f"REPLAY#{replay_id}"


def _to_replay(item: Mapping[str, Any]) -> Replay:
    return convert(from_item(item)["replay"], Replay)
