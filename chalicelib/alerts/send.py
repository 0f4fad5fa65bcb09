"""Send alerts to Slack: one message for a group of equal alerts, and none is lost.

The first alert of a group leads it: its message posts to Slack, and stays on the queue until Slack
has it or it is set aside. Equal ones are counted and deleted. With the first of them a delayed
message goes on the queue, which posts "repeated N times" when the group's window closes. It may
come twice, too early, or before the group's first message is delivered; then it is sent again for
later.

A leader that fails for now is put off; if it never comes back, any equal alert leads once its lease
has run out. After a crash between Slack's answer and the note of it, Slack gets one message more. A
message that Slack will never take, or that was tried too often, is set aside on the dead-letter
queue and reported on the alarm topic.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from chalicelib.alerts.groups import AlertGroup, GroupState, candidate_ids, choose_group, later
from chalicelib.alerts.model import Alert, SummaryDue, read_message, shorten, summary
from chalicelib.alerts.slack import Outcome, Slack, Verdict, first_message, repeat_message
from chalicelib.alerts.store import AlertStore
from chalicelib.aws.faults import aws_code, is_aws_fault
from chalicelib.aws.sns import AlarmTopic
from chalicelib.aws.sqs import Delivery, Queue, back_off
from chalicelib.core import clock, metrics
from chalicelib.core.errors import BatchIncompleteError, UnavailableError
from chalicelib.core.log import log, log_context, where
from chalicelib.core.tracing import span

LEASE_SECONDS = 60
"""The longest that a post takes, with the reading of its URL and the note of it."""
POST_SECONDS = 10.0
"""Time that must be left to begin a post: 7 s for Slack and some for the notes around it. Less than
any time-out of the function, or nothing would ever be posted."""
RETRY_BASE_SECONDS = 5
LONGEST_DELAY_SECONDS = 900
"""The longest that SQS delays a message (Amazon SQS Developer Guide, "Message timers")."""
PAUSE_SECONDS = 60
"""How long a summary waits before it looks again."""
PATIENCE_SECONDS = 6 * 3600
"""How long a summary waits for the group's first message: longer than that one is tried."""
_LINE_LIMIT = 300
_RACE_ROUNDS = 3
NO_TIME, BUSY = "no-time", "busy"
"""Codes of failures that are not the alert's fault: it is never given up for them."""
_NO_TIME = Outcome(Verdict.RETRY, NO_TIME, "the run had no time left for it", retry_after=0)


class SendDeps(Struct, frozen=True):
    """The collaborators of `send_alerts`; `remaining` gives the seconds left to this run.

    `window` is the time in which equal alerts are one group, `retry_max` the longest wait before an
    alert is tried again (Slack may ask for more), both in seconds."""

    groups: AlertStore
    slack: Slack
    queue: Queue
    dead_letters: Queue
    alarm_topic: AlarmTopic
    window: int
    max_attempts: int
    retry_max: int
    remaining: Callable[[], float]
    now: Callable[[], datetime] = clock.utc_now
    jitter: Callable[[], float] = random.random
    ticks: Callable[[], float] = time.monotonic

    def now_text(self) -> str:
        """The time now, as groups write it."""
        return clock.to_text(self.now())


class _Failed(Struct, frozen=True):
    """A message to try again or give up. `group` is the one that it leads or reports."""

    delivery: Delivery
    outcome: Outcome
    group: AlertGroup | None = None


class _Batch(Struct):
    """The groups known at its start, and the failure after which no more is posted: Slack, or the
    way there, needs a rest."""

    known: Mapping[str, AlertGroup] = field(default_factory=dict)
    stopped: Outcome | None = None


class _Unit(Struct, frozen=True):
    """What a batch has for one group: equal alerts, or (`alert` None) the call for a summary."""

    group_id: str
    alert: Alert | None
    deliveries: list[Delivery]


def send_alerts(deliveries: Sequence[Delivery], deps: SendDeps) -> None:
    """Send a batch; messages that were delivered before come last.

    AWS calls: those of each unit, two when some are to be tried again, three for one that is given
    up. Raises `BatchIncompleteError` when some are to be tried again.
    """
    waits: dict[str, int] = {}
    for failed in _work_off(deliveries, deps):
        group_id = failed.group.group_id if failed.group else None
        with log_context(alertGroup=group_id, **failed.delivery.about):
            wait = _settle(failed, deps)
        if wait is not None:
            waits[failed.delivery.receipt_handle] = wait
    if waits:
        handles = [delivery.receipt_handle for delivery in deliveries]
        deps.queue.delete([handle for handle in handles if handle not in waits])
        deps.queue.put_off(list(waits.items()))
        raise BatchIncompleteError(f"{len(waits)} of {len(deliveries)} messages to retry")


def _work_off(deliveries: Sequence[Delivery], deps: SendDeps) -> Iterator[_Failed]:
    """Work off a batch, and yield the messages that failed."""
    batch = _Batch()
    broken: Outcome | None = None
    try:
        units = _plan(deliveries, batch, deps)
    except Exception as fault:  # noqa: BLE001 - all are tried again
        broken, units = _outcome_of(fault), [_Unit("", None, list(deliveries))]
    for unit in units:
        with log_context(alertGroup=unit.group_id):
            if broken is None:
                try:
                    yield from _handle(unit, batch, deps)
                    continue
                except Exception as fault:  # noqa: BLE001 - the unit is tried again
                    outcome = _outcome_of(fault)
                    # Where AWS does not answer, asking for every unit would take all the time.
                    broken = outcome if is_aws_fault(fault) else None
            else:
                outcome = broken
        yield from (_Failed(delivery, outcome) for delivery in unit.deliveries)


def _plan(deliveries: Sequence[Delivery], batch: _Batch, deps: SendDeps) -> list[_Unit]:
    """Sort a batch into units, those with the fewest attempts first."""
    alerts: list[tuple[Alert, tuple[str, str], Delivery]] = []
    units: list[_Unit] = []
    for delivery in sorted(deliveries, key=lambda one: one.sent_at):
        message = read_message(delivery.body)
        if isinstance(message, SummaryDue):
            units.append(_Unit(message.group_id, None, [delivery]))
        else:
            candidates = candidate_ids(message.group_key, delivery.sent_at, deps.window)
            alerts.append((message, candidates, delivery))
    wanted = sorted({group_id for _, candidates, _ in alerts for group_id in candidates})
    batch.known = deps.groups.get_many(wanted)
    groups: dict[str, _Unit] = {}
    for alert, candidates, delivery in alerts:
        opened = {group_id: unit.deliveries[0].sent_at for group_id, unit in groups.items()}
        group_id = choose_group(
            candidates, delivery.message_id, delivery.sent_at, deps.window, batch.known, opened
        )
        groups.setdefault(group_id, _Unit(group_id, alert, [])).deliveries.append(delivery)
    units += groups.values()
    return sorted(units, key=lambda unit: min(one.attempt for one in unit.deliveries))


def _handle(unit: _Unit, batch: _Batch, deps: SendDeps) -> list[_Failed]:
    if unit.alert is None:
        return _report_repeats(unit.group_id, unit.deliveries[0], batch, deps)
    return _send_alert(unit, unit.alert, batch, deps)


# The alerts of a group


def _send_alert(unit: _Unit, alert: Alert, batch: _Batch, deps: SendDeps) -> list[_Failed]:
    group = batch.known.get(unit.group_id)
    due = False
    for _ in range(_RACE_ROUNDS):
        now = deps.now_text()
        known = group.leaders if group else ()
        fresh = [one for one in unit.deliveries if one.message_id not in known]
        # The message that leads the group already, if the batch has it; else the oldest.
        leading = [one for one in unit.deliveries if one.message_id in known[-1:]]
        leader = (leading or unit.deliveries)[0]
        if not due and fresh and _has_unreported(group, len(fresh)):
            # Sent before they are counted, so that no crash leaves repeats that nobody reports.
            first = group.first if group else leader.sent_at
            _send_summary(unit.group_id, later(first, deps.window), now, deps)
            due = True
        last = unit.deliveries[-1].sent_at
        lease_until = later(now, LEASE_SECONDS)
        if group is None:
            opened = AlertGroup(
                group_id=unit.group_id,
                alert=alert,
                first=leader.sent_at,
                last=last,
                count=len(fresh),
                state=GroupState.SENDING,
                leaders=(leader.message_id,),
                lease_until=lease_until,
                summary_due=due,
            )
            made, group = deps.groups.open(opened)
        elif group.may_post(leader.message_id, now):
            taken = group.led_by(
                leader.message_id, lease_until, added=len(fresh), last=last, summary_due=due
            )
            made, group = deps.groups.take_over(group, taken)
        else:
            made = True
            if fresh:
                made, group = deps.groups.count(group, len(fresh), last, due)
            if made:
                _log_counted(fresh)
                return _busy(unit, group, now)
        if made and group is not None:
            _log_counted([one for one in fresh if one is not leader])
            with log_context(**leader.about):
                return _post_first(group, leader, batch, deps)
    raise UnavailableError("the alert group keeps changing")


def _has_unreported(group: AlertGroup | None, added: int) -> bool:
    """Whether there are repeats that no message on the queue will report."""
    if group is None:
        return added > 1
    return not group.summary_due and group.repeats + added > group.reported


def _log_counted(repeats: Sequence[Delivery]) -> None:
    """Log the alerts about events that are counted with others, and not posted by themselves."""
    for repeat in repeats:
        if repeat.about:
            log.info("alert counted", extra=dict(repeat.about))


def _busy(unit: _Unit, group: AlertGroup | None, now: str) -> list[_Failed]:
    """The group's leader, if it came again while another delivery of it is being posted."""
    if group is None or group.state is GroupState.DELIVERED:
        return []
    busy = _wait_for_lease(group.lease_until, now)
    leading = [one for one in unit.deliveries if one.message_id == group.leaders[-1]]
    return [_Failed(delivery, busy) for delivery in leading]


def _post_first(
    group: AlertGroup, leader: Delivery, batch: _Batch, deps: SendDeps
) -> list[_Failed]:
    """Post the group's message, and note it."""
    outcome = _post(first_message(group.alert, leader.sent_at), batch, deps)
    if outcome.verdict is not Verdict.DELIVERED:
        return [_Failed(leader, outcome, group)]
    try:
        deps.groups.mark_delivered(group, deps.now_text())
    except Exception as fault:  # noqa: BLE001 - tried again, for nothing says that it was posted
        return [_Failed(leader, _outcome_of(fault))]
    log.info("alert delivered", extra={"kind": group.alert.kind, "count": group.count})
    return []


# The summary of a group's repeats


def _report_repeats(
    group_id: str, delivery: Delivery, batch: _Batch, deps: SendDeps
) -> list[_Failed]:
    """Post one "repeated N times" message when a group's window has closed.

    AWS calls: one to read the group, and one to send for later, or two around the post.
    """
    group = deps.groups.get_many([group_id]).get(group_id)
    if group is None or group.repeats <= group.reported:
        return []
    now, end = deps.now_text(), later(group.first, deps.window)
    if now < end:
        _send_summary(group_id, end, now, deps)
        return []
    if group.state is not GroupState.DELIVERED:
        if now < later(end, PATIENCE_SECONDS):
            due = max(group.lease_until, later(now, PAUSE_SECONDS))
            _send_summary(group_id, due, now, deps)
        else:
            log.error("repeats not reported: the first was not delivered")
        return []
    lease_until = later(now, LEASE_SECONDS)
    held_until = group.summary_lease if group.summary_lease > now else ""
    if held_until or not deps.groups.lease_summary(group, lease_until):
        return [_Failed(delivery, _wait_for_lease(held_until or lease_until, now))]
    outcome = _post(repeat_message(group, group.repeats - group.reported), batch, deps)
    if outcome.verdict is not Verdict.DELIVERED:
        return [_Failed(delivery, outcome, group)]
    newer = deps.groups.mark_reported(group, group.repeats, deps.now_text())
    log.info("repeats reported", extra={"count": group.count})
    if newer is not None and newer.repeats > newer.reported:
        _send_summary(group_id, later(now, PAUSE_SECONDS), now, deps)
    return []


def _send_summary(group_id: str, due: str, now: str, deps: SendDeps) -> None:
    """Send the message that reports the repeats, delayed until `due` as far as SQS allows."""
    deps.queue.send(summary(group_id), delay=_seconds(now, due, LONGEST_DELAY_SECONDS))


# One post, and what becomes of a message whose post failed


def _post(message: Mapping[str, Any], batch: _Batch, deps: SendDeps) -> Outcome:
    """Post a message; after a transient failure, nothing more of this batch is posted."""
    if batch.stopped is None and deps.remaining() < POST_SECONDS:
        batch.stopped = _NO_TIME
    if batch.stopped is not None:
        return batch.stopped
    begun = deps.ticks()
    try:
        with span("slack", namespace="remote"):
            outcome = deps.slack.post(message)
    except Exception as fault:  # noqa: BLE001 - the message is tried again
        outcome = _outcome_of(fault)
    metrics.sample("SlackLatency", round((deps.ticks() - begun) * 1000))
    if outcome.verdict is Verdict.RETRY:
        batch.stopped = outcome
    return outcome


def _settle(failed: _Failed, deps: SendDeps) -> int | None:
    """The seconds that a message has to wait; None when it was given up and set aside.

    AWS calls: one to note it in the group; two more to give it up.
    """
    delivery, outcome = failed.delivery, failed.outcome
    was_tried = outcome.code not in (NO_TIME, BUSY)
    is_last = was_tried and delivery.attempt >= deps.max_attempts
    final = outcome.verdict is Verdict.GONE or is_last
    log.warning(
        "alert given up" if final else "alert put off",
        extra={"code": outcome.code, "reason": outcome.reason, "attempt": delivery.attempt},
    )
    wait = _wait(delivery.attempt, outcome, deps)
    try:
        if final:
            _give_up(failed, deps)
            return None
        if failed.group is not None:
            lease_until = later(deps.now_text(), wait + LEASE_SECONDS)
            deps.groups.mark_retrying(failed.group, lease_until)
    except Exception as fault:  # noqa: BLE001 - SQS delivers it again
        log.error("alert's failure not noted", extra={"code": aws_code(fault)})
    return wait


def _give_up(failed: _Failed, deps: SendDeps) -> None:
    """Set a message aside with the reason, and report it on the alarm topic, once for a group."""
    delivery, outcome, group = failed.delivery, failed.outcome, failed.group
    if group is not None:
        deps.groups.mark_undelivered(group, outcome.reason)
    attributes = {
        "reason": outcome.reason,
        "code": outcome.code,
        "messageId": delivery.message_id,
        "attempts": str(delivery.attempt),
    }
    deps.dead_letters.send(delivery.body, attributes)
    if group is not None and group.reason is not None:
        return
    what = f"{group.alert.severity}: {group.alert.title}" if group else "unread"
    try:
        deps.alarm_topic.publish(shorten(f"{what} ({outcome.reason})", _LINE_LIMIT))
    except Exception as fault:  # noqa: BLE001 - the dead-letter queue has an alarm of its own
        log.error("alarm topic not reached", extra={"code": aws_code(fault)})


def _wait(attempt: int, outcome: Outcome, deps: SendDeps) -> int:
    """What Slack asked for and a little more, or else a doubling wait; both with jitter."""
    if outcome.retry_after is not None:
        return math.ceil(outcome.retry_after * (1 + deps.jitter() / 4))
    longest = round(deps.retry_max * (1 - deps.jitter() / 4))
    return back_off(attempt, RETRY_BASE_SECONDS, max(longest, 1), deps.jitter())


def _wait_for_lease(lease_until: str, now: str) -> Outcome:
    """The outcome for a message of which another delivery is being handled."""
    seconds = max(_seconds(now, lease_until, LONGEST_DELAY_SECONDS), 1)
    return Outcome(Verdict.RETRY, BUSY, "another delivery is at work on it", seconds)


def _outcome_of(fault: Exception) -> Outcome:
    """The outcome of a fault of AWS or of this code: unknown ones count as transient."""
    log.error("alert not handled", extra={"code": aws_code(fault), "where": where(fault)})
    return Outcome(Verdict.RETRY, aws_code(fault), "AWS or Eventline did not do what was asked")


def _seconds(start: str, end: str, most: int) -> int:
    """The whole seconds from `start` to `end`, 0 to `most`."""
    seconds = (clock.from_text(end) - clock.from_text(start)).total_seconds()
    return min(max(math.ceil(seconds), 0), most)
