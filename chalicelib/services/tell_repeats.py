"""Telling of repeats: "repeated N times", once, when the window of a group is over.

The message that asks for it is sent with a delay when the first repeat is counted. It may come
twice, or before its time, or while the group's first message is still to be delivered; then it is
sent again for later.
"""

import math

from chalicelib.adapters.slack import Verdict
from chalicelib.domain import clock
from chalicelib.domain.alert_groups import AlertGroup, GroupState, later, window_end
from chalicelib.domain.alerts import summary
from chalicelib.domain.deliveries import Delivery
from chalicelib.domain.slack_message import repeat_message
from chalicelib.observability import log
from chalicelib.services.post_alerts import LEASE_SECONDS, Batch, Failed, Sending, busy_until, post

LONGEST_DELAY_SECONDS = 900
"""The longest that SQS delays a message (Amazon SQS Developer Guide, "Message timers")."""
PAUSE_SECONDS = 60
"""How long it waits before it looks again."""
PATIENCE_SECONDS = 6 * 3600
"""How long it waits for the group's first message: longer than that one is tried."""


def tell_repeats(group_id: str, delivery: Delivery, batch: Batch, using: Sending) -> list[Failed]:
    """Tell of the repeats that people were not told of yet; `delivery`, if it is not done with.

    AWS calls: one to read the group, and one to send for later, or two around the post.
    """
    group = using.groups.get_many([group_id]).get(group_id)
    if group is None or group.repeats <= group.reported:
        return []
    now, end = using.now_text(), window_end(group.first, using.window)
    if now < end:
        send_for_summary(group_id, end, now, using)
        return []
    if group.state is not GroupState.DELIVERED:
        if now < later(end, PATIENCE_SECONDS):
            due = max(group.lease_until, later(now, PAUSE_SECONDS))
            send_for_summary(group_id, due, now, using)
        else:
            log.error("repeats not told: the first was not delivered")
        return []
    return _tell(group, delivery, now, batch, using)


def _tell(
    group: AlertGroup, delivery: Delivery, now: str, batch: Batch, using: Sending
) -> list[Failed]:
    if group.summary_lease > now:
        return [Failed(delivery, busy_until(group.summary_lease, now))]
    lease_until = later(now, LEASE_SECONDS)
    if not using.groups.lease_summary(group, lease_until):
        return [Failed(delivery, busy_until(lease_until, now))]
    outcome = post(repeat_message(group, group.repeats - group.reported), batch, using)
    if outcome.verdict is not Verdict.DELIVERED:
        return [Failed(delivery, outcome, group)]
    newer = using.groups.mark_reported(group, group.repeats, using.now_text())
    log.info("repeats told", extra={"count": group.count})
    if newer is not None and newer.repeats > newer.reported:
        send_for_summary(group.group_id, later(now, PAUSE_SECONDS), now, using)
    return []


def send_for_summary(group_id: str, due: str, now: str, using: Sending) -> None:
    """Put the message on the queue that will tell of the repeats; SQS can not delay it further."""
    wait = clock.from_text(due) - clock.from_text(now)
    delay = min(max(math.ceil(wait.total_seconds()), 0), LONGEST_DELAY_SECONDS)
    using.queue.send(summary(group_id), delay=delay)
