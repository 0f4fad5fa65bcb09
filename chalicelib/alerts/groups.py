"""Alert groups: equal alerts within a window are one group, and one message is posted for it.

A window opens with the first alert of its group and lasts `window` seconds. A group's id is made of
the group key and the slot (time in units of the window) of its first alert, so that two workers
find the same group on their own. An alert belongs to the group of its own slot, or to that of the
slot before while its window is open. The time of an alert is when its message was sent, which no
redelivery changes.
"""

import uuid
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

from msgspec import Struct, field, to_builtins
from msgspec.structs import replace

from chalicelib.alerts.model import Alert
from chalicelib.core import clock

_NAMESPACE = uuid.UUID("8ab1c8f5-6f0d-4f53-9d0e-2f1f6a7f0a11")
_LEADERS = 20
_SHOWN = (
    *("groupId", "kind", "severity", "title", "repository", "branch", "link", "owner"),
    *("first", "last", "count", "state", "deliveredAt", "reportedCount", "summaryAt", "reason"),
)


class GroupState(StrEnum):
    """What became of a group's message."""

    SENDING = "sending"
    RETRYING = "retrying"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"


class AlertGroup(Struct, frozen=True, rename="camel"):
    """One group. `leaders` are the ids of the queue messages that had to post it, newest last;
    until `lease_until` only the last may. `reported` counts the repeats that Slack got a message
    about; `summary_due` says that a message that reports more is on the queue. `reason` says why
    the message of the last leader was given up."""

    group_id: str
    alert: Alert
    first: str
    last: str
    count: int
    state: GroupState
    leaders: tuple[str, ...]
    lease_until: str = ""
    delivered_at: str | None = None
    reported: int = field(default=0, name="reportedCount")
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
        values = {**to_builtins(self.alert), **to_builtins(self)}
        return {name: values[name] for name in _SHOWN}


def candidate_ids(group_key: str, sent_at: str, window: int) -> tuple[str, str]:
    """The groups that an alert sent at `sent_at` may belong to: of its own slot, of that before."""
    slot = int(clock.from_text(sent_at).timestamp()) // window
    own, before = (
        str(uuid.uuid5(_NAMESPACE, f"{group_key}/{number}")) for number in (slot, slot - 1)
    )
    return own, before


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
    return before if first is not None and sent_at < later(first, window) else own


def later(moment: str, seconds: float) -> str:
    """`moment` and some seconds."""
    return clock.to_text(clock.from_text(moment) + timedelta(seconds=seconds))
