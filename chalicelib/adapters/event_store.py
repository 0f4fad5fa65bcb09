"""The ledger: one DynamoDB item an event, `pk` = `EVENT#<eventId>`.

Every write is one conditional call, so the check and the effect can not be torn apart. Listing goes
through `event_index`. An item has a `statusShard` and an `ownerShard` for its two indexes; see ADR
0006 for what they do at 10,000 events a second.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.adapters.attributes import from_item, to_attribute, to_item
from chalicelib.domain.events import (
    REDRIVEN,
    Event,
    Failure,
    Handover,
    Record,
    Status,
    Step,
    may_become,
)
from chalicelib.domain.listing import shard_of
from chalicelib.errors import UnavailableError

_BATCH_GET_LIMIT = 100
_BATCH_GET_ROUNDS = 5
_BATCH_WRITE_PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds before what DynamoDB left over of a batch is written again."""
_RACE_ROUNDS = 3


class EventStore:
    """Reads and writes ledger records. `shards` is the number of index partitions an owner."""

    NEW_AT_ONCE = 25
    """The most that `add_new` takes (Amazon DynamoDB API Reference, "BatchWriteItem")."""

    def __init__(
        self,
        client: Any,
        table: str,
        bronze_bucket: str,
        shards: int,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._table = table
        self._bronze_bucket = bronze_bucket
        self._shards = shards
        self._pause = pause

    def add(self, event: Event, steps: Iterable[Step], **more: Any) -> Record | None:
        """Write a new event that has gone through `steps`; one call.

        Returns None when it was written, else the record that was there before. `more` holds
        further record fields by their contract names.
        """
        item = self._item(event, steps, more)
        is_new = "attribute_not_exists(pk)"
        old = self._write("put_item", Item=item, ConditionExpression=is_new)
        return None if old is None else _to_record(old)

    def add_new(self, events: Sequence[Event]) -> set[str]:
        """Write up to `NEW_AT_ONCE` events as RECEIVED whose ids are new, so that nobody else can
        have written them: there is no check. One call, up to five when DynamoDB is throttling.

        Returns the ids of those that it did not take.
        """
        items = [
            self._item(event, [Step(Status.RECEIVED, event.received_at)], {}) for event in events
        ]
        request: Any = {self._table: [{"PutRequest": {"Item": item}} for item in items]}
        for pause in (*_BATCH_WRITE_PAUSES, None):
            answer = self._client.batch_write_item(RequestItems=request)
            request = answer.get("UnprocessedItems") or {}
            if not request or pause is None:
                break
            self._pause(pause)
        left = request.get(self._table, [])
        return {entry["PutRequest"]["Item"]["eventId"]["S"] for entry in left}

    def get(self, event_id: str) -> Record | None:
        """The record, read consistently; one call."""
        answer = self._client.get_item(
            TableName=self._table, Key=_key(event_id), ConsistentRead=True
        )
        return _to_record(answer["Item"]) if "Item" in answer else None

    def get_many(self, event_ids: list[str]) -> dict[str, Record]:
        """The records that exist, by id; one call for each hundred ids."""
        found: dict[str, Record] = {}
        for start in range(0, len(event_ids), _BATCH_GET_LIMIT):
            keys = [_key(event_id) for event_id in event_ids[start : start + _BATCH_GET_LIMIT]]
            request: Mapping[str, Any] = {self._table: {"Keys": keys, "ConsistentRead": True}}
            for _ in range(_BATCH_GET_ROUNDS):
                answer = self._client.batch_get_item(RequestItems=request)
                for item in answer["Responses"].get(self._table, []):
                    record = _to_record(item)
                    found[record.event.event_id] = record
                request = answer.get("UnprocessedKeys") or {}
                if not request:
                    break
            else:
                raise UnavailableError("the ledger is being throttled")
        return found

    def mark_processed(
        self,
        event: Event,
        at: str,
        silver_bucket: str,
        silver_key: str,
        handover: Handover,
        *,
        detail: str | None = None,
        silver_range: str | None = None,
    ) -> bool:
        """Turn an event PROCESSED; one call, two if the ledger has not heard of it.

        False, and nothing changes, if the event was PROCESSED before.
        """
        values = {"silverBucket": silver_bucket, "silverKey": silver_key}
        if silver_range is not None:
            values["silverRange"] = silver_range
        return self._advance(event, Step(Status.PROCESSED, at, detail), handover, set_values=values)

    def mark_attempt_failed(
        self, event: Event, at: str, failure: Failure, final: bool, handover: Handover
    ) -> bool:
        """Record a failed attempt; `final` makes the event FAILED. One call, rarely two.

        False, and nothing changes, if the event has come to its end before.
        """
        status = Status.FAILED if final else Status.ENQUEUED
        step = Step(status, at, f"attempt failed: {failure.kind} {failure.code}")
        return self._advance(event, step, handover, set_values={"lastError": failure.to_dict()})

    def mark_requeued(self, record: Record, at: str, detail: str) -> bool:
        """Note that a stuck event was sent again; False if it has moved on meanwhile. One call."""
        return self._update_seen(record, Step(Status.ENQUEUED, at, detail), {}, "requeues")

    def mark_given_up(self, record: Record, at: str, failure: Failure) -> bool:
        """Turn a stuck event FAILED; False if it has moved on meanwhile. One call."""
        step = Step(Status.FAILED, at, f"gave up: {failure.code}")
        return self._update_seen(record, step, {"lastError": failure.to_dict()}, None)

    def mark_redriven(self, record: Record, at: str) -> bool:
        """Take a FAILED event up again, with all its chances to be sent again; False if it has
        moved on meanwhile. One call."""
        step = Step(Status.ENQUEUED, at, REDRIVEN)
        return self._update_seen(record, step, {"requeues": 0}, None)

    def _item(self, event: Event, steps: Iterable[Step], more: Mapping[str, Any]) -> dict[str, Any]:
        timeline = [step.to_dict() for step in steps]
        status = Status(timeline[-1]["status"])
        return to_item(
            {
                "pk": _pk(event.event_id),
                **event.to_dict(),
                "status": status,
                "updatedAt": timeline[-1]["at"],
                "s3Bucket": self._bronze_bucket,
                "attempts": 0,
                "timeline": timeline,
                "ownerShard": f"{event.owner}#{self._shard(event.event_id)}",
                "statusShard": f"{status}#{self._shard(event.event_id)}",
                "listKey": f"{event.received_at}#{event.event_id}",
                **more,
            }
        )

    def _advance(
        self, event: Event, step: Step, handover: Handover, set_values: dict[str, Any]
    ) -> bool:
        enqueued = Step(Status.ENQUEUED, handover.sent_at)
        noted = handover.noted
        for _ in range(_RACE_ROUNDS):
            steps = [step] if noted else [enqueued, step]
            allowed = may_become(step.status) if noted else (Status.RECEIVED,)
            old = self._update(event.event_id, steps, set_values, "attempts", allowed=allowed)
            if old is None:
                return True
            if old:
                if Status(old["status"]["S"]) not in may_become(step.status):
                    return False
                # The hand-over has been noted since, by `reconcile` or another delivery.
                noted = True
                continue
            # The ledger has not heard of it: the API died, or is slower than the worker.
            received = Step(Status.RECEIVED, event.received_at)
            if self.add(event, [received, enqueued, step], **set_values, attempts=1) is None:
                return True
        raise UnavailableError("the ledger keeps changing under the worker")

    def _update_seen(
        self, record: Record, step: Step, values: dict[str, Any], counter: str | None
    ) -> bool:
        """Update only if nobody else has since `record` was read."""
        unchanged = ("updatedAt = :seen", {":seen": record.updated_at})
        allowed = (record.status,)
        old = self._update(
            record.event.event_id, [step], values, counter, allowed=allowed, unchanged=unchanged
        )
        return old is None

    def _update(
        self,
        event_id: str,
        steps: list[Step],
        set_values: dict[str, Any],
        counter: str | None,
        *,
        allowed: tuple[Status, ...],
        unchanged: tuple[str, dict[str, str]] | None = None,
    ) -> Mapping[str, Any] | None:
        """None when the update was made; else the item that stood against it, {} for no item."""
        status = steps[-1].status
        changes = {
            "status": status,
            "updatedAt": steps[-1].at,
            "statusShard": f"{status}#{self._shard(event_id)}",
            **set_values,
        }
        names = {f"#{name}": name for name in ("timeline", *changes)}
        values = {f":{name}": value for name, value in changes.items()}
        values[":steps"] = [entry.to_dict() for entry in steps]
        assignments = [f"#{name} = :{name}" for name in changes]
        assignments.append("#timeline = list_append(#timeline, :steps)")
        if counter:
            names["#counter"], values[":one"], values[":zero"] = counter, 1, 0
            assignments.append("#counter = if_not_exists(#counter, :zero) + :one")
        is_legal = " OR ".join(f"#status = :from{number}" for number in range(len(allowed)))
        values |= {f":from{number}": before for number, before in enumerate(allowed)}
        condition = f"({is_legal})"
        if unchanged:
            is_unchanged, seen = unchanged
            condition += f" AND {is_unchanged}"
            values |= seen
        return self._write(
            "update_item",
            Key=_key(event_id),
            UpdateExpression="SET " + ", ".join(assignments),
            ConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={name: to_attribute(value) for name, value in values.items()},
        )

    def _write(self, operation: str, **arguments: Any) -> Mapping[str, Any] | None:
        """None when the write was made; else the item whose state forbade it, {} for no item."""
        try:
            getattr(self._client, operation)(
                TableName=self._table, ReturnValuesOnConditionCheckFailure="ALL_OLD", **arguments
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            item: Mapping[str, Any] = error.response.get("Item", {})
            return item
        return None

    def _shard(self, event_id: str) -> int:
        return shard_of(event_id, self._shards)


def _pk(event_id: str) -> str:
    return f"EVENT#{event_id}"


def _key(event_id: str) -> dict[str, Any]:
    return {"pk": {"S": _pk(event_id)}}


def _to_record(item: Mapping[str, Any]) -> Record:
    values = from_item(item)
    return Record(
        event=Event.from_dict(values),
        status=Status(values["status"]),
        updated_at=values["updatedAt"],
        s3_bucket=values["s3Bucket"],
        attempts=values.get("attempts", 0),
        requeues=values.get("requeues", 0),
        last_error=values.get("lastError"),
        silver_bucket=values.get("silverBucket"),
        silver_key=values.get("silverKey"),
        silver_range=values.get("silverRange"),
        replay_of=values.get("replayOf"),
        timeline=tuple(values.get("timeline", ())),
    )
