"""The ledger: one DynamoDB item an event, `pk` = `EVENT#<eventId>`.

Every write is one conditional call, so the check and the effect cannot be torn apart. Listing goes
through `event_index`. An item has a `statusShard` and an `ownerShard` for its two indexes; see ADR
0006 for what they do at 10,000 events a second.

Listing events, newest first, at a cost that does not grow with the table.

The two indexes are split into shards so that no partition takes all writes. A page asks every shard
once, merges by time, and reads the records of just that page. Where a filter leaves few matches,
each shard looks through at most `_SCAN_LIMIT` entries: the page may then hold fewer than asked for,
and its cursor goes on from there.

Going through one partition of the ledger's indexes, oldest first, a page at a time.
"""

import heapq
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws.dynamodb import from_item, to_attribute, to_item
from chalicelib.aws.threads import in_threads
from chalicelib.core.errors import UnavailableError
from chalicelib.core.paging import Entry, Page, merge_newest, shard_of
from chalicelib.events.model import (
    REDRIVEN,
    Dispatch,
    Event,
    Failure,
    Listing,
    Partition,
    Record,
    Status,
    Step,
    may_become,
)

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
        dispatch: Dispatch,
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
        return self._advance(event, Step(Status.PROCESSED, at, detail), dispatch, set_values=values)

    def mark_attempt_failed(
        self, event: Event, at: str, failure: Failure, final: bool, dispatch: Dispatch
    ) -> bool:
        """Record a failed attempt; `final` makes the event FAILED. One call, rarely two.

        False, and nothing changes, if the event has come to its end before.
        """
        status = Status.FAILED if final else Status.ENQUEUED
        step = Step(status, at, f"attempt failed: {failure.kind} {failure.code}")
        return self._advance(event, step, dispatch, set_values={"lastError": failure.to_dict()})

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
        self, event: Event, step: Step, dispatch: Dispatch, set_values: dict[str, Any]
    ) -> bool:
        enqueued = Step(Status.ENQUEUED, dispatch.sent_at)
        noted = dispatch.noted
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


_SCAN_LIMIT = 2000
_SCAN_PAGE = 500


class EventIndex:
    """Queries the ledger's indexes `by-owner` and `by-status`, each split into `shards`."""

    def __init__(self, client: Any, table: str, shards: int) -> None:
        self._client = client
        self._table = table
        self._shards = shards

    def newest(self, listing: Listing) -> Page:
        """The ids of one page; as many calls as the chosen index has shards.

        One owner's events: `shards` calls. Every owner's, of no status: `shards` for each status.
        """
        index, key, partitions = self._partitions(listing)
        filters = self._filters(listing, index)

        def query(partition: str) -> tuple[list[Entry], str | None]:
            return self._query(index, f"{key} = :partition", partition, filters, listing)

        return merge_newest(in_threads(query, partitions), listing.limit)

    def oldest(self, status: Status, before: str, limit: int) -> Iterable[list[str]]:
        """The ids of events of `status` received before `before`, oldest first, a page at a time
        of at most `limit`, shard by shard; one call a page."""
        for shard in range(self._shards):
            start: dict[str, Any] = {}
            while True:
                answer = self._client.query(
                    TableName=self._table,
                    IndexName="by-status",
                    KeyConditionExpression="statusShard = :shard AND listKey < :before",
                    ExpressionAttributeValues={
                        ":shard": {"S": f"{status}#{shard}"},
                        ":before": {"S": before},
                    },
                    Limit=limit,
                    **start,
                )
                yield [_entry(item).event_id for item in answer["Items"]]
                if "LastEvaluatedKey" not in answer:
                    break
                start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def between(self, after: str, before: str, size: int) -> Iterator[list[Entry]]:
        """All events whose list keys lie between the two, oldest first, in lists of `size`.

        An event that changes its status meanwhile may come twice, or not. As many calls as there
        are shards of all statuses, and one for each further `_SCAN_PAGE` entries.
        """
        streams = [
            self._stream(f"{status}#{shard}", after, before)
            for status in Status
            for shard in range(self._shards)
        ]
        entries = heapq.merge(*streams, key=lambda entry: entry.list_key)
        while page := list(itertools.islice(entries, size)):
            yield page

    def _stream(self, partition: str, after: str, before: str) -> Iterator[Entry]:
        start: dict[str, Any] = {}
        in_between = "statusShard = :shard AND listKey BETWEEN :after AND :before"
        while True:
            answer = self._client.query(
                TableName=self._table,
                IndexName="by-status",
                KeyConditionExpression=in_between,
                ExpressionAttributeValues={
                    ":shard": {"S": partition},
                    ":after": {"S": after},
                    ":before": {"S": before},
                },
                Limit=_SCAN_PAGE,
                **start,
            )
            # BETWEEN takes both ends; keys are unique, and texts of times alone are no keys.
            yield from (one for one in map(_entry, answer["Items"]) if one.list_key != after)
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _partitions(self, listing: Listing) -> tuple[str, str, list[str]]:
        """(index, its key, its partitions): the index that leaves least to filter out.

        Nearly every event is PROCESSED, so that status is better looked for in the owner's own
        index; the others are few.
        """
        shards = range(self._shards)
        rare = listing.status not in (None, Status.PROCESSED)
        if listing.owner is not None and not rare:
            return "by-owner", "ownerShard", [f"{listing.owner}#{shard}" for shard in shards]
        statuses = [listing.status] if listing.status else list(Status)
        partitions = [f"{status}#{shard}" for status in statuses for shard in shards]
        return "by-status", "statusShard", partitions

    def _filters(self, listing: Listing, index: str) -> dict[str, str]:
        filters = {}
        if listing.event_type is not None:
            filters["eventType"] = listing.event_type
        if listing.owner is not None and index == "by-status":
            filters["owner"] = listing.owner
        return filters

    def _query(
        self,
        index: str,
        in_partition: str,
        partition: str,
        filters: dict[str, str],
        listing: Listing,
    ) -> tuple[list[Entry], str | None]:
        arguments: dict[str, Any] = {}
        values = {":partition": partition, ":from": listing.start, ":to": listing.end}
        if filters:
            arguments["FilterExpression"] = " AND ".join(f"#{name} = :{name}" for name in filters)
            arguments["ExpressionAttributeNames"] = {f"#{name}": name for name in filters}
            values |= {f":{name}": value for name, value in filters.items()}
        answer = self._client.query(
            TableName=self._table,
            IndexName=index,
            KeyConditionExpression=f"{in_partition} AND listKey BETWEEN :from AND :to",
            ExpressionAttributeValues={name: {"S": value} for name, value in values.items()},
            ScanIndexForward=False,
            Limit=_SCAN_LIMIT if filters else listing.limit,
            **arguments,
        )
        last = answer.get("LastEvaluatedKey")
        return [_entry(item) for item in answer["Items"]], last["listKey"]["S"] if last else None


def _entry(item: dict[str, Any]) -> Entry:
    list_key = item["listKey"]["S"]
    return Entry(list_key, list_key.rpartition("#")[2])


_KEYS = {"by-owner": "ownerShard", "by-status": "statusShard"}


class EventWindow:
    """Queries the ledger's indexes `by-owner` and `by-status`."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def read(
        self,
        partition: Partition,
        bounds: tuple[str, str],
        filters: Mapping[str, str],
        limit: int,
    ) -> tuple[list[Entry], str | None]:
        """(entries that match, the list key that was looked at last or None at the end).

        It looks at no more than `limit` entries with list keys within `bounds`; `filters` are
        attributes of entries. One call.
        """
        values = {":partition": partition.value, ":from": bounds[0], ":to": bounds[1]}
        arguments: dict[str, Any] = {}
        if filters:
            arguments["FilterExpression"] = " AND ".join(f"#{name} = :{name}" for name in filters)
            arguments["ExpressionAttributeNames"] = {f"#{name}": name for name in filters}
            values |= {f":{name}": value for name, value in filters.items()}
        condition = f"{_KEYS[partition.index]} = :partition AND listKey BETWEEN :from AND :to"
        answer = self._client.query(
            TableName=self._table,
            IndexName=partition.index,
            KeyConditionExpression=condition,
            ExpressionAttributeValues={name: {"S": value} for name, value in values.items()},
            Limit=limit,
            **arguments,
        )
        keys = [item["listKey"]["S"] for item in answer["Items"]]
        last = answer.get("LastEvaluatedKey")
        entries = [Entry(key, key.rpartition("#")[2]) for key in keys]
        return entries, last["listKey"]["S"] if last else None
