"""Listing events, newest first, at a cost that does not grow with the table.

The two indexes are split into shards so that no partition takes all writes. A page asks every shard
once, merges by time, and reads the records of just that page. Where a filter leaves few matches,
each shard looks through at most `_SCAN_LIMIT` entries: the page may then hold fewer than asked for,
and its cursor goes on from there.
"""

import heapq
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from chalicelib.domain.events import Status
from chalicelib.domain.listing import Entry, Listing, Page, merge_newest
from chalicelib.spread import in_threads

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
