"""What becomes of an alert that was not delivered: it waits, or is set aside where people look."""

import math

from chalicelib.adapters.slack import Outcome, Verdict
from chalicelib.domain.alert_groups import later
from chalicelib.domain.alerts import shorten
from chalicelib.domain.deliveries import back_off
from chalicelib.errors import aws_code
from chalicelib.observability import log
from chalicelib.services.post_alerts import BUSY, LEASE_SECONDS, NO_TIME, Failed, Sending

RETRY_BASE_SECONDS = 5
_LINE_LIMIT = 300


def settle(failed: Failed, using: Sending) -> int | None:
    """The seconds that a message has to wait; None when it was given up and set aside.

    AWS calls: one to note it in the group; two more to give it up.
    """
    delivery, outcome = failed.delivery, failed.outcome
    was_tried = outcome.code not in (NO_TIME, BUSY)
    is_last = was_tried and delivery.attempt >= using.max_attempts
    final = outcome.verdict is Verdict.GONE or is_last
    log.warning(
        "alert given up" if final else "alert put off",
        extra={"code": outcome.code, "reason": outcome.reason, "attempt": delivery.attempt},
    )
    wait = _wait(delivery.attempt, outcome, using)
    try:
        if final:
            _give_up(failed, using)
            return None
        if failed.group is not None:
            lease_until = later(using.now_text(), wait + LEASE_SECONDS)
            using.groups.mark_retrying(failed.group, lease_until)
    except Exception as fault:  # noqa: BLE001 - SQS delivers it again
        log.error("alert's failure not noted", extra={"code": aws_code(fault)})
    return wait


def _give_up(failed: Failed, using: Sending) -> None:
    """Set a message aside with the reason, and say so on the alarm topic, once for a group."""
    delivery, outcome, group = failed.delivery, failed.outcome, failed.group
    if group is not None:
        using.groups.mark_undelivered(group, outcome.reason)
    attributes = {
        "reason": outcome.reason,
        "code": outcome.code,
        "messageId": delivery.message_id,
        "attempts": str(delivery.attempt),
    }
    using.dead_letters.send(delivery.body, attributes)
    if group is not None and group.reason is not None:
        return
    what = f"{group.alert.severity}: {group.alert.title}" if group else "unread"
    try:
        using.alarm_topic.publish(shorten(f"{what} ({outcome.reason})", _LINE_LIMIT))
    except Exception as fault:  # noqa: BLE001 - the alarm on the dead-letter queue tells it too
        log.error("alarm topic not told", extra={"code": aws_code(fault)})


def _wait(attempt: int, outcome: Outcome, using: Sending) -> int:
    """What Slack asked for and a little more, or else a doubling wait; never all at one time."""
    if outcome.retry_after is not None:
        return math.ceil(outcome.retry_after * (1 + using.jitter() / 4))
    longest = round(using.retry_max * (1 - using.jitter() / 4))
    return back_off(attempt, RETRY_BASE_SECONDS, max(longest, 1), using.jitter())
