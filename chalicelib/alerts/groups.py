"""Alert groups: equal alerts within a window are one group, of which one message is posted.

A window opens with the first alert of its group and lasts `window` seconds. So that two workers
find the same group without asking each other, a group's id is made of the group key and the slot
(time in units of the window) of its first alert; an alert belongs to the group of its own slot, or
to that of the slot before if its window is still open. An alert's time is when its message was
sent, which no redelivery changes.

Alert groups in DynamoDB: one item each, `pk` = `ALERT#<groupId>`, gone by TTL after a month.

Every write is one conditional call, so two workers never both believe that they may post. An item
has `allShard` for the index `by-time`; see `sharded_index`, which lists it. Counting does not touch
that index: it projects keys only.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any

from botocore.exceptions import ClientError
from msgspec import Struct
from msgspec.structs import replace

from chalicelib.alerts.model import Alert
from chalicelib.aws.dynamodb import from_item, to_attribute, to_item
from chalicelib.core import clock
from chalicelib.core.errors import UnavailableError
from chalicelib.core.paging import shard_of

_NAMESPACE = uuid.UUID("8ab1c8f5-6f0d-4f53-9d0e-2f1f6a7f0a11")
_LEADERS = 20


class GroupState(StrEnum):
    """What became of a group's message."""

    SENDING = "sending"
    RETRYING = "retrying"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"


class AlertGroup(Struct, frozen=True):
    """One group. `leaders` are the ids of the queue messages that were to post it, newest last;
    until `lease_until` nobody else may. `reported` is how many repeats people were told of, and
    `summary_due` whether a message that will tell more of them is on its way. `reason` says why the
    last leader was given up."""

    group_id: str
    alert: Alert
    first: str
    last: str
    count: int
    state: GroupState
    leaders: tuple[str, ...]
    lease_until: str = ""
    delivered_at: str | None = None
    reported: int = 0
    summary_at: str | None = None
    summary_due: bool = False
    summary_lease: str = ""
    reason: str | None = None

    @property
    def repeats(self) -> int:
        """Alerts after the first."""
        return self.count - 1

    def may_post(self, message_id: str, now: str) -> bool:
        """Whether the queue message `message_id` may post the group's message now."""
        if self.state is GroupState.UNDELIVERED:
            return True
        if self.state is GroupState.DELIVERED:
            return False
        is_back = self.state is GroupState.RETRYING and self.leaders[-1] == message_id
        return is_back or self.lease_until <= now

    def led_by(
        self, message_id: str, lease_until: str, *, added: int, last: str, summary_due: bool
    ) -> "AlertGroup":
        """The group when `message_id` takes the lead, and `added` more alerts are counted."""
        others = [leader for leader in self.leaders if leader != message_id]
        return replace(
            self,
            state=GroupState.SENDING,
            leaders=(*others, message_id)[-_LEADERS:],
            lease_until=lease_until,
            count=self.count + added,
            last=max(self.last, last),
            summary_due=self.summary_due or summary_due,
        )

    def to_dict(self) -> dict[str, Any]:
        """The group as `GET /alerts` shows it."""
        return {
            "groupId": self.group_id,
            "kind": self.alert.kind,
            "severity": str(self.alert.severity),
            "title": self.alert.title,
            "repository": self.alert.repository,
            "branch": self.alert.branch,
            "link": self.alert.link,
            "owner": self.alert.owner,
            "first": self.first,
            "last": self.last,
            "count": self.count,
            "state": str(self.state),
            "deliveredAt": self.delivered_at,
            "reportedCount": self.reported,
            "summaryAt": self.summary_at,
            "reason": self.reason,
        }


def candidate_ids(group_key: str, sent_at: str, window: int) -> tuple[str, str]:
    """The groups that an alert sent at `sent_at` may belong to: of its own slot, of that before."""
    slot = int(clock.from_text(sent_at).timestamp()) // window
    return _group_id(group_key, slot), _group_id(group_key, slot - 1)


def choose_group(
    candidates: tuple[str, str],
    message_id: str,
    sent_at: str,
    window: int,
    known: Mapping[str, AlertGroup],
    opened: Mapping[str, str],
) -> str:
    """The id of the group that an alert belongs to.

    `known` are the groups that exist, `opened` the first times of those about to be opened.
    """
    own, before = candidates
    if own in known and message_id in known[own].leaders:
        return own
    first = known[before].first if before in known else opened.get(before)
    return before if first is not None and sent_at < window_end(first, window) else own


def window_end(first: str, window: int) -> str:
    """When the window that opened at `first` is over."""
    return later(first, window)


def later(moment: str, seconds: float) -> str:
    """`moment` and some seconds."""
    return clock.to_text(clock.from_text(moment) + timedelta(seconds=seconds))


def _group_id(group_key: str, slot: int) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{group_key}/{slot}"))


EVERYONE = "all"
"""The name of the partitions of `by-time`."""
RETENTION_DAYS = 30
_BATCH_GET_LIMIT = 100
_BATCH_GET_ROUNDS = 5
_NAME = re.compile(r"#(\w+)")
Written = tuple[bool, AlertGroup | None]
"""(whether the write was made, the group as it is now; None if there is none)."""


class AlertStore:
    """Reads and writes alert groups. `shards` is the number of partitions of the index."""

    def __init__(self, client: Any, table: str, shards: int) -> None:
        self._client = client
        self._table = table
        self._shards = shards

    def get_many(self, group_ids: Sequence[str]) -> dict[str, AlertGroup]:
        """The groups that exist, by id, read consistently; one call for a hundred."""
        found: dict[str, AlertGroup] = {}
        for start in range(0, len(group_ids), _BATCH_GET_LIMIT):
            keys = [_key(group_id) for group_id in group_ids[start : start + _BATCH_GET_LIMIT]]
            request: Mapping[str, Any] = {self._table: {"Keys": keys, "ConsistentRead": True}}
            for _ in range(_BATCH_GET_ROUNDS):
                answer = self._client.batch_get_item(RequestItems=request)
                for item in answer["Responses"].get(self._table, []):
                    group = _to_group(item)
                    found[group.group_id] = group
                request = answer.get("UnprocessedKeys") or {}
                if not request:
                    break
            else:
                raise UnavailableError("the alert groups are being throttled")
        return found

    def open(self, group: AlertGroup) -> Written:
        """Write a new group, unless there is one of that id; one call."""
        expires = clock.from_text(group.first) + timedelta(days=RETENTION_DAYS)
        item = {
            "pk": _pk(group.group_id),
            "groupId": group.group_id,
            "alert": group.alert.to_dict(),
            "first": group.first,
            "last": group.last,
            "count": group.count,
            "state": group.state,
            "leaders": group.leaders,
            "leaseUntil": group.lease_until,
            "reportedCount": group.reported,
            "summaryDue": group.summary_due,
            "allShard": f"{EVERYONE}#{shard_of(group.group_id, self._shards)}",
            "listKey": f"{group.first}#{group.group_id}",
            "ttl": int(expires.timestamp()),
        }
        made, standing = self._write(
            "put_item", Item=to_item(item), ConditionExpression="attribute_not_exists(pk)"
        )
        return (True, group) if made else (False, standing)

    def take_over(self, seen: AlertGroup, taken: AlertGroup) -> Written:
        """Let another message post for the group: `taken`'s state, leaders and lease replace those
        of `seen`, if nobody else has changed them. One call; only the difference of the counts is
        added, so that no repeat counted meanwhile is lost."""
        return self._update(
            seen.group_id,
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
        a message is on its way that will tell of them."""
        changes: dict[str, Any] = {"last": max(last, seen.last)}
        if summary_due:
            changes["summaryDue"] = True
        return self._update(
            seen.group_id,
            changes,
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
        self._update(
            group.group_id,
            {"state": GroupState.DELIVERED, "leaseUntil": "", "deliveredAt": at, "reason": ""},
            "attribute_exists(pk)",
            {},
        )

    def mark_undelivered(self, group: AlertGroup, reason: str) -> bool:
        """Note that the message was given up; one call. False when the group is no longer that
        leader's: another has posted it, or is about to."""
        return self._end_lease(
            group, {"state": GroupState.UNDELIVERED, "leaseUntil": "", "reason": reason}
        )

    def lease_summary(self, seen: AlertGroup, lease_until: str) -> bool:
        """Reserve telling of the repeats; one call. False when somebody else has meanwhile."""
        written, _ = self._update(
            seen.group_id,
            {"summaryLease": lease_until},
            "#reportedCount = :reported AND "
            "(attribute_not_exists(#summaryLease) OR #summaryLease = :seenLease)",
            {":reported": seen.reported, ":seenLease": seen.summary_lease},
        )
        return written

    def mark_reported(self, group: AlertGroup, reported: int, at: str) -> AlertGroup | None:
        """Note that people were told of `reported` repeats in all; one call. Returns the group as
        it is now: more may have come."""
        _, now = self._update(
            group.group_id,
            {
                "reportedCount": reported,
                "summaryAt": at,
                "summaryLease": "",
                "summaryDue": False,
            },
            "attribute_exists(pk)",
            {},
        )
        return now

    def _end_lease(self, group: AlertGroup, changes: dict[str, Any]) -> bool:
        """Change a group that is still being sent by its last leader."""
        written, _ = self._update(
            group.group_id,
            changes,
            "#state = :sending AND #leaseUntil = :lease",
            {":sending": GroupState.SENDING, ":lease": group.lease_until},
        )
        return written

    def _update(
        self,
        group_id: str,
        changes: dict[str, Any],
        condition: str,
        values: dict[str, Any],
        added: int = 0,
    ) -> Written:
        names = {f"#{name}": name for name in (*changes, "count", *_NAME.findall(condition))}
        values = {**values, ":added": added, **{f":{name}": changes[name] for name in changes}}
        assignments = ", ".join(f"#{name} = :{name}" for name in changes)
        return self._write(
            "update_item",
            Key=_key(group_id),
            UpdateExpression=f"SET {assignments} ADD #count :added",
            ConditionExpression=f"attribute_exists(pk) AND ({condition})",
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={name: to_attribute(value) for name, value in values.items()},
            ReturnValues="ALL_NEW",
        )

    def _write(self, operation: str, **arguments: Any) -> Written:
        try:
            answer = getattr(self._client, operation)(
                TableName=self._table, ReturnValuesOnConditionCheckFailure="ALL_OLD", **arguments
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            standing = error.response.get("Item")
            return False, _to_group(standing) if standing else None
        item = answer.get("Attributes")
        return True, _to_group(item) if item else None


def _pk(group_id: str) -> str:
    return f"ALERT#{group_id}"


def _key(group_id: str) -> dict[str, Any]:
    return {"pk": {"S": _pk(group_id)}}


def _to_group(item: Mapping[str, Any]) -> AlertGroup:
    values = from_item(item)
    return AlertGroup(
        group_id=values["groupId"],
        alert=Alert.from_dict(values["alert"]),
        first=values["first"],
        last=values["last"],
        count=values["count"],
        state=GroupState(values["state"]),
        leaders=tuple(values["leaders"]),
        lease_until=values["leaseUntil"],
        delivered_at=values.get("deliveredAt"),
        reported=values["reportedCount"],
        summary_at=values.get("summaryAt"),
        summary_due=values["summaryDue"],
        summary_lease=values.get("summaryLease", ""),
        reason=values.get("reason") or None,
    )
