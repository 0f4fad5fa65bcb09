"""Alert groups in DynamoDB: one item each, `pk` = `ALERT#<groupId>`, removed by TTL after 30 days.

Every write is one conditional call, so that two workers never both believe that they may post.
Items are listed by `allShard` in the index `by-time`, which projects keys only: counting does not
write to it.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from chalicelib.alerts.groups import AlertGroup, GroupState
from chalicelib.aws.dynamodb import Partitions, ShardedIndex, Table, from_item, to_item
from chalicelib.core import clock
from chalicelib.core.paging import shard_of

RETENTION = timedelta(days=30)
_ALL = Partitions(index="by-time", key="allShard", name="all")
_NAME = r"#(\w+)"
Written = tuple[bool, AlertGroup | None]
"""(whether the write was made, the group as it is now; None if there is none)."""


class AlertStore:
    """Reads and writes alert groups. `shards` is the number of partitions of the index."""

    def __init__(self, client: Any, table: str, shards: int) -> None:
        self._table = Table(client, table)
        self._index = ShardedIndex(client, table, shards)
        self._shards = shards

    def get_many(self, group_ids: Sequence[str]) -> dict[str, AlertGroup]:
        """The groups that exist, by id, read consistently; one call for a hundred."""
        items = self._table.get_many([to_item(_key(group_id)) for group_id in group_ids])
        return {group.group_id: group for group in map(_to_group, items)}

    def newest(self, limit: int, below: str | None) -> tuple[list[AlertGroup], str | None]:
        """(groups, the list key to go on below) of one page, by the time of their first alert. One
        call for each shard, and one to read the groups."""
        group_ids, resume = self._index.newest(_ALL, limit, below, _group_id)
        groups = self.get_many(group_ids)
        return [groups[group_id] for group_id in group_ids if group_id in groups], resume

    def open(self, group: AlertGroup) -> Written:
        """Write a new group, unless there is one of that id; one call."""
        alert = msgspec.to_builtins(group.alert)
        del alert["same"]
        item = {
            **msgspec.to_builtins(group),
            **_key(group.group_id),
            "alert": alert,
            "summaryLease": None,
            "allShard": f"{_ALL.name}#{shard_of(group.group_id, self._shards)}",
            "listKey": f"{group.first}#{group.group_id}",
            "ttl": int((clock.from_text(group.first) + RETENTION).timestamp()),
        }
        is_new = "attribute_not_exists(pk)"
        made, standing = self._write("put_item", Item=to_item(item), ConditionExpression=is_new)
        return (True, group) if made else (False, standing)

    def take_over(self, seen: AlertGroup, taken: AlertGroup) -> Written:
        """Let another message post for the group: `taken`'s state, leaders and lease replace those
        of `seen`, if nobody else has changed them. One call; only the difference of the counts is
        added, so that no repeat counted meanwhile is lost."""
        return self._update(
            seen,
            {
                "state": taken.state,
                "leaders": taken.leaders,
                "leaseUntil": taken.lease_until,
                "last": taken.last,
                **({"summaryDue": True} if taken.summary_due else {}),
            },
            "#state = :seenState AND #leaseUntil = :seenLease",
            {":seenState": seen.state, ":seenLease": seen.lease_until},
            added=taken.count - seen.count,
        )

    def count(self, seen: AlertGroup, repeats: int, last: str, summary_due: bool) -> Written:
        """Add repeats, unless the group was given up meanwhile; one call. `summary_due` says that
        a message that will report them is on the queue."""
        return self._update(
            seen,
            {"last": max(last, seen.last), **({"summaryDue": True} if summary_due else {})},
            "#state <> :undelivered",
            {":undelivered": GroupState.UNDELIVERED},
            added=repeats,
        )

    def mark_retrying(self, group: AlertGroup, lease_until: str) -> bool:
        """Note that the group's last leader tries again until `lease_until`; one call. False when
        the group is no longer that leader's."""
        return self._end_lease(group, {"state": GroupState.RETRYING, "leaseUntil": lease_until})

    def mark_delivered(self, group: AlertGroup, at: str) -> None:
        """Note that the message was posted; one call."""
        state = {"state": GroupState.DELIVERED, "leaseUntil": "", "deliveredAt": at, "reason": ""}
        self._update(group, state)

    def mark_undelivered(self, group: AlertGroup, reason: str) -> bool:
        """Note that the message was given up; one call. False when the group is no longer that
        leader's: another has posted it, or is about to."""
        state = {"state": GroupState.UNDELIVERED, "leaseUntil": "", "reason": reason}
        return self._end_lease(group, state)

    def lease_summary(self, seen: AlertGroup, lease_until: str) -> bool:
        """Reserve the report of the repeats; one call. False when somebody else has meanwhile."""
        written, _ = self._update(
            seen,
            {"summaryLease": lease_until},
            "#reportedCount = :reported AND "
            "(attribute_not_exists(#summaryLease) OR #summaryLease = :seenLease)",
            {":reported": seen.reported, ":seenLease": seen.summary_lease},
        )
        return written

    def mark_reported(self, group: AlertGroup, reported: int, at: str) -> AlertGroup | None:
        """Note that `reported` repeats in all were reported; one call. Returns the group as it is
        now: more may have come."""
        report = {"reportedCount": reported, "summaryAt": at}
        return self._update(group, {**report, "summaryLease": "", "summaryDue": False})[1]

    def _end_lease(self, group: AlertGroup, changes: dict[str, Any]) -> bool:
        """Change a group that its last leader is still sending."""
        written, _ = self._update(
            group,
            changes,
            "#state = :sending AND #leaseUntil = :lease",
            {":sending": GroupState.SENDING, ":lease": group.lease_until},
        )
        return written

    def _update(
        self,
        group: AlertGroup,
        changes: Mapping[str, Any],
        condition: str = "attribute_exists(pk)",
        values: Mapping[str, Any] | None = None,
        added: int = 0,
    ) -> Written:
        names = (*changes, "count", *re.findall(_NAME, condition))
        new = {f":{name}": value for name, value in changes.items()}
        assignments = ", ".join(f"#{name} = :{name}" for name in changes)
        return self._write(
            "update_item",
            Key=to_item(_key(group.group_id)),
            UpdateExpression=f"SET {assignments} ADD #count :added",
            ConditionExpression=f"attribute_exists(pk) AND ({condition})",
            ExpressionAttributeNames={f"#{name}": name for name in names},
            ExpressionAttributeValues=to_item({**(values or {}), **new, ":added": added}),
            ReturnValues="ALL_NEW",
        )

    def _write(self, operation: str, **arguments: Any) -> Written:
        outcome = self._table.write(operation, **arguments)
        return outcome.made, _to_group(outcome.item) if outcome.item else None


def _key(group_id: str) -> dict[str, str]:
    return {"pk": f"ALERT#{group_id}"}


def _group_id(values: Mapping[str, Any]) -> str:
    return str(values["listKey"]).rpartition("#")[2]


def _to_group(item: Mapping[str, Any]) -> AlertGroup:
    values = from_item(item)
    return msgspec.convert({**values, "reason": values.get("reason") or None}, AlertGroup)
