"""The ledger: one DynamoDB item an event, `pk` = `EVENT#<eventId>`.

Each write is one conditional call, so that check and effect cannot be torn apart. DynamoDB bills by
the kilobyte, so an item leaves out what follows from the rest (`_record`): the buckets, keys that
are made of the event or its unit, the usual content type, the time of the last step. A small
payload is in the item, compressed, until it is in bronze. An item has a `statusShard` and an
`ownerShard`, the keys of two indexes that are split into shards, so that no partition takes all
writes (ADR 0006). Their range key is `listKey`, `<receivedAt>#<eventId>`.
"""

import heapq
import itertools
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.dynamodb import Outcome, Table, from_item, to_attribute, to_item
from chalicelib.aws.threads import in_threads
from chalicelib.core.errors import UnavailableError
from chalicelib.core.media_types import JSON
from chalicelib.core.paging import OLDEST, Entry, Page, merge_newest, merge_oldest, shard_of
from chalicelib.events.keys import bronze_beside, bronze_key
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

_BATCH_WRITE_PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds before DynamoDB gets again what it left over of a batch."""
_RACE_ROUNDS = 3
_SCAN_LIMIT = 2000
"""Entries that one query with a filter looks at. The page may then hold fewer than asked for; its
cursor goes on from there."""
_SCAN_PAGE = 500
_KEYS = {"by-owner": "ownerShard", "by-status": "statusShard", "by-replay": "replayOf"}


class Done(Struct, frozen=True):
    """A processed event: where its payload and its document are. `s3_range` only where the worker
    put the payload into a file with others."""

    event_id: str
    at: str
    silver_key: str
    silver_range: str | None = None
    s3_key: str = ""
    s3_range: str | None = None
    unit_id: str = ""
    """Who processed it, where the name of the document does not say so."""


class Standing(Struct, frozen=True):
    """What stands in the ledger against making an event PROCESSED: the key of its document, "" for
    none, and whether the same unit has noted it."""

    silver_key: str
    is_own: bool = False


class EventStore:
    """Reads and writes ledger records. `shards` is the number of index partitions an owner."""

    NEW_AT_ONCE = 25
    """The most that `add_new` takes (Amazon DynamoDB API Reference, "BatchWriteItem")."""

    def __init__(
        self,
        client: Any,
        table: str,
        bronze_bucket: str,
        silver_bucket: str,
        shards: int,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._table = Table(client, table)
        self._buckets = {"s3Bucket": bronze_bucket}
        self._silver_bucket = silver_bucket
        self._shards = shards
        self._pause = pause

    def add(
        self, event: Event, steps: Sequence[Step], payload: bytes | None = None, **more: Any
    ) -> Record | None:
        """Write a new event that has gone through `steps`, with its payload if that is not in
        bronze; one call.

        Returns None when it was written, else the record that was there before. `more` holds
        further record fields by their contract names.
        """
        if payload is not None:
            more["payload"] = zlib.compress(payload, 1)
        item = self._item(event, steps, more)
        is_new = "attribute_not_exists(pk)"
        put = self._table.write("put_item", Item=item, ConditionExpression=is_new)
        return None if put.made else self._record(put.item)

    def add_new(self, events: Sequence[Event]) -> set[str]:
        """Write up to `NEW_AT_ONCE` events as RECEIVED, without a check: their ids are new, so that
        nobody else can have written them. One call, up to five while DynamoDB is throttling.

        Returns the ids of those that were not written.
        """
        items = [
            self._item(event, [Step(Status.RECEIVED, event.received_at)], {}) for event in events
        ]
        left: Any = [{"PutRequest": {"Item": item}} for item in items]
        for pause in (*_BATCH_WRITE_PAUSES, None):
            answer = self._client.batch_write_item(RequestItems={self._table.name: left})
            left = (answer.get("UnprocessedItems") or {}).get(self._table.name, [])
            if not left or pause is None:
                break
            self._pause(pause)
        return {entry["PutRequest"]["Item"]["eventId"]["S"] for entry in left}

    def get(self, event_id: str) -> Record | None:
        """The record, read consistently; one call."""
        item = self._table.get(_key(event_id))
        return None if item is None else self._record(item)

    def get_many(self, event_ids: list[str]) -> dict[str, Record]:
        """The records that exist, by id; one call for each hundred ids."""
        items = self._table.get_many([_key(event_id) for event_id in event_ids])
        return {one.event.event_id: one for one in map(self._record, items)}

    def mark_processed(
        self, done: Done, dispatch: Dispatch, event: Event | None
    ) -> Standing | None:
        """Turn an event PROCESSED and drop its payload, which is in bronze; one call. If the ledger
        does not have the event yet, another adds it, where it is known. None when this call did it.
        """
        values: dict[str, Any] = {"silverKey": done.silver_key}
        if done.unit_id:
            values["unit"] = UUID(done.unit_id).bytes
        if done.silver_range is not None:
            values["silverRange"] = done.silver_range
        if done.s3_range is not None:
            values["s3Range"] = done.s3_range
            if done.s3_key != bronze_beside(done.silver_key):
                values["s3Key"] = done.s3_key
        step = Step(Status.PROCESSED, done.at)
        update = self._advance(done.event_id, event, step, dispatch, values)
        if update.made:
            return None
        key: str = update.item.get("silverKey", {}).get("S", "")
        by = update.item.get("unit", {}).get("B", b"")
        is_own = key == done.silver_key and by == values.get("unit", b"")
        # What stands against a repetition by the SDK may be its own work.
        return None if update.is_repeat and is_own else Standing(key, is_own)

    def mark_attempt_failed(
        self,
        event: Event,
        at: str,
        failure: Failure,
        final: bool,
        dispatch: Dispatch,
        payload: bytes | None = None,
    ) -> bool:
        """Record a failed attempt; `final` makes the event FAILED, and drops its payload, which is
        in bronze. One call, rarely two; if the ledger does not have the event yet, it gets it with
        `payload`.

        False, and nothing changes, if the event was finished before.
        """
        status = Status.FAILED if final else Status.ENQUEUED
        step = Step(status, at, f"attempt failed: {failure.kind} {failure.code}")
        values: dict[str, Any] = {"lastError": failure.to_dict()}
        if final and event.s3_range is not None:
            values |= {"s3Key": event.s3_key, "s3Range": event.s3_range}
        return self._advance(event.event_id, event, step, dispatch, values, payload).made

    def mark_requeued(self, record: Record, at: str, detail: str) -> bool:
        """Record that a stuck event was sent again; False if it has changed since it was read. One
        call."""
        return self._update_seen(record, Step(Status.ENQUEUED, at, detail), {}, "requeues")

    def mark_given_up(self, record: Record, event: Event, at: str, failure: Failure) -> bool:
        """Turn a stuck event FAILED whose payload is in bronze, as `event` says; False if it has
        changed since it was read. One call."""
        step = Step(Status.FAILED, at, f"gave up: {failure.code}")
        values: dict[str, Any] = {"lastError": failure.to_dict()}
        if event.s3_range is not None:
            values |= {"s3Key": event.s3_key, "s3Range": event.s3_range}
        return self._update_seen(record, step, values)

    def mark_redriven(self, record: Record, at: str) -> bool:
        """Reopen a FAILED event, with a new count of requeues; False if it has changed since it was
        read. One call."""
        return self._update_seen(record, Step(Status.ENQUEUED, at, REDRIVEN), {"requeues": 0})

    def _item(self, event: Event, steps: Sequence[Step], more: Mapping[str, Any]) -> dict[str, Any]:
        shard = shard_of(event.event_id, self._shards)
        facts = event.to_dict()
        if event.s3_key == bronze_key(event.event_type, event.received_at, event.event_id):
            del facts["s3Key"]
        if event.content_type == JSON:
            del facts["contentType"]
        return to_item(
            {
                "pk": _pk(event.event_id),
                **facts,
                "status": steps[-1].status,
                "attempts": 0,
                "timeline": [step.to_dict() for step in steps],
                "ownerShard": f"{event.owner}#{shard}",
                "statusShard": f"{steps[-1].status}#{shard}",
                "listKey": f"{event.received_at}#{event.event_id}",
                **more,
            }
        )

    def _record(self, item: Mapping[str, Any]) -> Record:
        """The record of an item, with what the item leaves out."""
        fields = from_item(item)
        silver_key = fields.get("silverKey")
        if silver_key is not None:
            fields["silverBucket"] = self._silver_bucket
        key = bronze_beside(silver_key) if silver_key and "s3Range" in fields else None
        named = (fields["eventType"], fields["receivedAt"], fields["eventId"])
        left_out = {
            **self._buckets,
            "s3Key": key or bronze_key(*named),
            "contentType": JSON,
            "updatedAt": fields["timeline"][-1]["at"],
        }
        record = Record.from_dict({**left_out, **fields})
        if record.payload is None:
            return record
        return replace(record, payload=zlib.decompress(record.payload))

    def _advance(
        self,
        event_id: str,
        event: Event | None,
        step: Step,
        dispatch: Dispatch,
        values: dict[str, Any],
        payload: bytes | None = None,
    ) -> Outcome:
        """Record an attempt at an event; not made if it was finished before, or if neither the
        ledger nor the caller has it."""
        enqueued = Step(Status.ENQUEUED, dispatch.sent_at)
        noted = dispatch.noted
        for _ in range(_RACE_ROUNDS):
            steps = [step] if noted else [enqueued, step]
            allowed = may_become(step.status) if noted else (Status.RECEIVED,)
            update = self._update(event_id, steps, values, allowed, "attempts")
            if update.made:
                return update
            if update.item:
                if Status(update.item["status"]["S"]) not in may_become(step.status):
                    return update
                # `reconcile` or another delivery has recorded since that it was sent.
                noted = True
                continue
            if event is None:
                return update
            # The ledger does not have it: the API died, or is slower than the worker.
            received = Step(Status.RECEIVED, event.received_at)
            steps = [received, enqueued, step]
            if self.add(event, steps, payload, **values, attempts=1) is None:
                return Outcome(made=True, item={})
        raise UnavailableError("the ledger keeps changing under the worker")

    def _update_seen(
        self, seen: Record, step: Step, values: dict[str, Any], counter: str | None = None
    ) -> bool:
        """Add a step to a record; False if it is not as it was `seen`."""
        id_, steps = seen.event.event_id, len(seen.timeline)
        return self._update(id_, [step], values, (seen.status,), counter, seen_steps=steps).made

    def _update(
        self,
        event_id: str,
        steps: Sequence[Step],
        values: Mapping[str, Any],
        allowed: Sequence[Status],
        counter: str | None,
        *,
        seen_steps: int | None = None,
    ) -> Outcome:
        """Add steps, set values and count, if the status is one of those `allowed` and, where
        `seen_steps` is given, the record has not more steps than those."""
        status = steps[-1].status
        changes = {
            "status": status,
            "statusShard": f"{status}#{shard_of(event_id, self._shards)}",
            **values,
        }
        names = {f"#{name}": name for name in ("timeline", *changes)}
        bound: dict[str, Any] = {f":{name}": value for name, value in changes.items()}
        bound[":steps"] = [step.to_dict() for step in steps]
        assignments = [f"#{name} = :{name}" for name in changes]
        assignments.append("#timeline = list_append(#timeline, :steps)")
        if counter:
            names["#counter"], bound[":one"], bound[":zero"] = counter, 1, 0
            assignments.append("#counter = if_not_exists(#counter, :zero) + :one")
        is_legal = " OR ".join(f"#status = :from{number}" for number in range(len(allowed)))
        bound |= {f":from{number}": before for number, before in enumerate(allowed)}
        condition = f"({is_legal})"
        if seen_steps is not None:
            condition += " AND size(#timeline) = :seen"
            bound[":seen"] = seen_steps
        expression = "SET " + ", ".join(assignments) + " REMOVE updatedAt"
        if status in (Status.PROCESSED, Status.FAILED):
            expression += ", payload"
        return self._table.write(
            "update_item",
            Key=_key(event_id),
            UpdateExpression=expression,
            ConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=to_item(bound),
        )


class EventWindow:
    """Reads one partition of the ledger's indexes, oldest first, a page at a time."""

    def __init__(self, client: Any, table: str) -> None:
        self._table = Table(client, table)

    def read(
        self,
        partition: Partition,
        bounds: tuple[str, str],
        filters: Mapping[str, str],
        limit: int,
    ) -> tuple[list[Entry], str | None]:
        """(entries that match, the list key that was looked at last or None at the end).

        Looks at up to `limit` entries whose list keys lie in `bounds`, ends included; `filters` are
        attributes of entries. One call.
        """
        entries, last = _query(self._table, partition, bounds, filters, Limit=limit)
        return entries, last["listKey"]["S"] if last else None


class EventIndex:
    """Lists events by the ledger's indexes, at a cost that does not grow with the table."""

    def __init__(self, client: Any, table: str, shards: int) -> None:
        self._table = Table(client, table)
        self._shards = shards

    def newest(self, listing: Listing) -> Page:
        """One page of ids, newest first unless `oldest_first`: every shard is asked once, and the
        answers are merged. Then `resume_below` is the list key to go on above.

        One owner's events: `shards` calls. Every owner's, of no status: `shards` for each status.
        Events that repeat one: one call.
        """
        partitions, filters = self._plan(listing)
        limit = _SCAN_LIMIT if filters else listing.limit
        bounds, forward = (listing.start, listing.end), listing.oldest_first

        def query(partition: Partition) -> tuple[list[Entry], str | None]:
            entries, last = _query(
                self._table, partition, bounds, filters, Limit=limit, ScanIndexForward=forward
            )
            return entries, last["listKey"]["S"] if last else None

        merge = merge_oldest if forward else merge_newest
        return merge(in_threads(query, partitions), listing.limit)

    def oldest(self, status: Status, before: str, limit: int) -> Iterable[list[str]]:
        """The ids of events of `status` received before `before`, oldest first, a page at a time
        of at most `limit`, shard by shard; one call a page."""
        for partition in self._of_status(status):
            for page in self._pages(partition, (OLDEST, before), limit):
                yield [entry.event_id for entry in page]

    def between(self, after: str, before: str, size: int) -> Iterator[list[Entry]]:
        """All events whose list keys lie between the two, oldest first, in lists of `size`.

        An event that changes its status meanwhile may come twice, or not. As many calls as there
        are shards of all statuses, and one for each further `_SCAN_PAGE` entries.
        """
        streams = [
            itertools.chain.from_iterable(self._pages(partition, (after, before), _SCAN_PAGE))
            for status in Status
            for partition in self._of_status(status)
        ]
        merged = heapq.merge(*streams, key=lambda entry: entry.list_key)
        # BETWEEN includes both ends. `after` may be a list key; `before` is a time, never a key.
        entries = (entry for entry in merged if entry.list_key != after)
        while page := list(itertools.islice(entries, size)):
            yield page

    def _pages(
        self, partition: Partition, bounds: tuple[str, str], limit: int
    ) -> Iterator[list[Entry]]:
        start: dict[str, Any] = {}
        while True:
            entries, last = _query(self._table, partition, bounds, {}, Limit=limit, **start)
            yield entries
            if last is None:
                return
            start = {"ExclusiveStartKey": last}

    def _plan(self, listing: Listing) -> tuple[list[Partition], dict[str, str]]:
        """(partitions, filters) of the index that leaves least to filter out.

        Nearly every event is PROCESSED, so that an owner's own index is better for that status; the
        others are rare.
        """
        owner, status = listing.owner, listing.status
        filters = {} if listing.event_type is None else {"eventType": listing.event_type}
        if listing.replay_of is not None:
            filters |= {} if owner is None else {"owner": owner}
            return [Partition("by-replay", listing.replay_of, None)], filters
        if owner is not None and status in (None, Status.PROCESSED):
            shards = range(self._shards)
            return [Partition("by-owner", f"{owner}#{shard}", None) for shard in shards], filters
        if owner is not None:
            filters["owner"] = owner
        statuses = list(Status) if status is None else [status]
        return [one for each in statuses for one in self._of_status(each)], filters

    def _of_status(self, status: Status) -> list[Partition]:
        shards = range(self._shards)
        return [Partition("by-status", f"{status}#{shard}", status) for shard in shards]


def _query(
    table: Table,
    partition: Partition,
    bounds: tuple[str, str],
    filters: Mapping[str, str],
    **arguments: Any,
) -> tuple[list[Entry], Any]:
    """(entries whose list keys lie in `bounds`, the key that DynamoDB looked at last or None at the
    end); one call."""
    values = {"partition": partition.value, "from": bounds[0], "to": bounds[1], **filters}
    if filters:
        arguments["FilterExpression"] = " AND ".join(f"#{name} = :{name}" for name in filters)
        arguments["ExpressionAttributeNames"] = {f"#{name}": name for name in filters}
    items, last = table.query(
        partition.index,
        f"{_KEYS[partition.index]} = :partition AND listKey BETWEEN :from AND :to",
        ExpressionAttributeValues={f":{name}": to_attribute(text) for name, text in values.items()},
        **arguments,
    )
    keys = [item["listKey"]["S"] for item in items]
    return [Entry(key, key.rpartition("#")[2]) for key in keys], last


def _pk(event_id: str) -> str:
    return f"EVENT#{event_id}"


def _key(event_id: str) -> dict[str, Any]:
    return {"pk": {"S": _pk(event_id)}}
