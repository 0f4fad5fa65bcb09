"""Effects that happen once however often they are delivered, and checkpoints of long jobs.

Both are small items in the ledger's table. They have no index attributes, so no list shows them.

An effect (`pk` = `EFFECT#<id>`, gone by TTL after 14 days) is claimed, made, and finished. A
process that dies in between leaves a claim whose lease runs out. Whether the effect was made is
then unknown, so it is made again.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from chalicelib.aws.dynamodb import Table, from_item, to_attribute
from chalicelib.core.errors import UnavailableError

KEPT = timedelta(days=14)
"""Longer than any source delivers again: a stream a day, a queue at most 14 days."""
_BATCH_LIMIT = 25
_ROUNDS = 5


class Claim(StrEnum):
    """What became of a claim: it is the caller's, the effect was made, or another is at it."""

    CLAIMED = "claimed"
    DONE = "done"
    BUSY = "busy"


class EffectStore:
    """Reads and writes effects."""

    def __init__(
        self, client: Any, table: str, random_hex: Callable[[int], str] = secrets.token_hex
    ) -> None:
        self._client = client
        self._table = Table(client, table)
        self._random_hex = random_hex

    def claim(self, effect_id: str, now: datetime, lease_seconds: int) -> Claim:
        """Take an effect on for `lease_seconds`; one conditional write."""
        holder = self._random_hex(8)
        lease_until = _millis(now + timedelta(seconds=lease_seconds))
        item = {
            **_effect_key(effect_id),
            "state": {"S": "claimed"},
            "holder": {"S": holder},
            "leaseUntil": {"N": str(lease_until)},
            "ttl": _ttl(now),
        }
        is_new = "attribute_not_exists(pk)"
        has_lapsed = "(#state = :claimed AND leaseUntil <= :now)"
        written = self._table.write(
            "put_item",
            Item=item,
            ConditionExpression=f"{is_new} OR {has_lapsed}",
            ExpressionAttributeNames={"#state": "state"},
            ExpressionAttributeValues={
                ":claimed": {"S": "claimed"},
                ":now": {"N": str(_millis(now))},
            },
        )
        before = written.item
        if before.get("state", {}).get("S") == "done":
            return Claim.DONE
        # The SDK sends again what was not answered: the claim that stands may be this one.
        is_own = written.made or before.get("holder", {}).get("S") == holder
        return Claim.CLAIMED if is_own else Claim.BUSY

    def finish(self, effect_ids: Sequence[str], now: datetime) -> None:
        """Note that effects were made; one call for 25. `UnavailableError` if that cannot be."""
        self._write(
            {
                "PutRequest": {
                    "Item": {**_effect_key(effect_id), "state": {"S": "done"}, "ttl": _ttl(now)}
                }
            }
            for effect_id in effect_ids
        )

    def release(self, effect_ids: Sequence[str]) -> None:
        """Give back claims of effects that were not made, so that the next delivery need not wait
        for the lease; one call for 25. `UnavailableError` if that cannot be."""
        self._write({"DeleteRequest": {"Key": _effect_key(effect_id)}} for effect_id in effect_ids)

    def _write(self, requests: Iterable[dict[str, Any]]) -> None:
        waiting = list(requests)
        rounds = _ROUNDS + len(waiting) // _BATCH_LIMIT
        for _ in range(rounds):
            if not waiting:
                return
            batch, waiting = waiting[:_BATCH_LIMIT], waiting[_BATCH_LIMIT:]
            answer = self._client.batch_write_item(RequestItems={self._table.name: batch})
            waiting += answer.get("UnprocessedItems", {}).get(self._table.name, [])
        if waiting:
            raise UnavailableError("the table of effects is being throttled")


def _effect_key(effect_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"EFFECT#{effect_id}"}}


def _ttl(now: datetime) -> dict[str, str]:
    return {"N": str(int((now + KEPT).timestamp()))}


def _millis(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


class CheckpointStore:
    """Reads and writes checkpoints: named texts, none at first."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = Table(client, table)

    def get(self, job: str) -> dict[str, str]:
        """Where the job stopped; one call."""
        saved: dict[str, str] = from_item(self._table.get(_checkpoint_key(job)) or {}).get(
            "state", {}
        )
        return saved

    def put(self, job: str, state: Mapping[str, str]) -> None:
        """Remember where the job stopped; one call."""
        item = {**_checkpoint_key(job), "state": to_attribute(state)}
        self._client.put_item(TableName=self._table.name, Item=item)


def _checkpoint_key(job: str) -> dict[str, Any]:
    return {"pk": {"S": f"CHECKPOINT#{job}"}}
