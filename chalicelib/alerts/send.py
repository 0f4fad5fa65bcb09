"""Posting to Slack, once, and what every step of sending alerts works with.

What becomes of an alert that was not delivered: it waits, or is set aside where people look.

Telling of repeats: "repeated N times", once, when the window of a group is over.

The message that asks for it is sent with a delay when the first repeat is counted. It may come
twice, or before its time, or while the group's first message is still to be delivered; then it is
sent again for later.

Sending alerts to Slack: each group of equal alerts once, and nothing deleted undelivered.

The first alert of a group leads it: its message posts to Slack, and stays on the queue until Slack
has it or it is set aside. Equal ones are counted and done with; at the first of them a message is
put on the queue that will tell of the repeats when the window is over (`tell_repeats`). A leader
that fails for now is put off; should it never come back, any equal alert leads once its lease has
run out. A crash between Slack's answer and the note of it makes one message more, after the lease.
What Slack will never take, or was tried too often, is given up (`give_up_alerts`).
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from chalicelib.alerts.groups import (
    AlertGroup,
    AlertStore,
    GroupState,
    candidate_ids,
    choose_group,
    later,
    window_end,
)
from chalicelib.alerts.model import Alert, SummaryDue, read_message, shorten, summary
from chalicelib.alerts.slack import Outcome, Slack, Verdict, first_message, repeat_message
from chalicelib.aws.sns import AlarmTopic
from chalicelib.aws.sqs import Delivery, Queue, back_off
from chalicelib.core import clock, metrics
from chalicelib.core.errors import BatchIncompleteError, UnavailableError, aws_code, is_aws_fault
from chalicelib.core.log import log, log_context, where
from chalicelib.core.tracing import span

LEASE_SECONDS = 60
"""How long a post may take, the reading of its URL and the note of it included."""
POST_SECONDS = 10.0
"""Time that must be left to begin a post: 7 s for Slack and some for the notes around it. Less than
any time-out of the function, or nothing would ever be posted."""
NO_TIME, BUSY = "no-time", "busy"
"""Codes of failures that are not the alert's: it is never given up for them."""
_NO_TIME = Outcome(Verdict.RETRY, NO_TIME, "the run had no time left for it", retry_after=0)
_LONGEST_PAUSE_SECONDS = 900


class SendDeps(Struct, frozen=True):
    """The collaborators of `process_batch`; `remaining` gives the seconds left to this run.

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


class Failed(Struct, frozen=True):
    """A message that is not done with. `group` is the one that it leads or tells of."""

    delivery: Delivery
    outcome: Outcome
    group: AlertGroup | None = None


class Batch(Struct):
    """The groups known at its start, and the failure after which no more is posted: Slack, or the
    way there, needs a rest."""

    known: Mapping[str, AlertGroup] = field(default_factory=dict)
    stopped: Outcome | None = None


def post(message: Mapping[str, Any], batch: Batch, deps: SendDeps) -> Outcome:
    """Post a message; after a failure that will pass, nothing more of this batch is posted."""
    if batch.stopped is None and deps.remaining() < POST_SECONDS:
        batch.stopped = _NO_TIME
    if batch.stopped is not None:
        return batch.stopped
    begun = deps.ticks()
    try:
        with span("slack", namespace="remote"):
            outcome = deps.slack.post(message)
    except Exception as fault:  # noqa: BLE001 - the message is tried again
        outcome = outcome_of(fault)
    metrics.sample("SlackLatency", round((deps.ticks() - begun) * 1000))
    if outcome.verdict is Verdict.RETRY:
        batch.stopped = outcome
    return outcome


def busy_until(lease_until: str, now: str) -> Outcome:
    """What to do with a message that another delivery is at work on: wait for its lease to end."""
    left = clock.from_text(lease_until) - clock.from_text(now)
    seconds = min(max(math.ceil(left.total_seconds()), 1), _LONGEST_PAUSE_SECONDS)
    return Outcome(Verdict.RETRY, BUSY, "another delivery is at work on it", seconds)


def outcome_of(fault: Exception) -> Outcome:
    """What a fault of ours or of AWS means for a message: unknown counts as transient."""
    log.error("alert not handled", extra={"code": aws_code(fault), "where": where(fault)})
    return Outcome(Verdict.RETRY, aws_code(fault), "AWS or Eventline did not do what was asked")


RETRY_BASE_SECONDS = 5
_LINE_LIMIT = 300


def settle(failed: Failed, deps: SendDeps) -> int | None:
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


def _give_up(failed: Failed, deps: SendDeps) -> None:
    """Set a message aside with the reason, and say so on the alarm topic, once for a group."""
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
    except Exception as fault:  # noqa: BLE001 - the alarm on the dead-letter queue tells it too
        log.error("alarm topic not told", extra={"code": aws_code(fault)})


def _wait(attempt: int, outcome: Outcome, deps: SendDeps) -> int:
    """What Slack asked for and a little more, or else a doubling wait; never all at one time."""
    if outcome.retry_after is not None:
        return math.ceil(outcome.retry_after * (1 + deps.jitter() / 4))
    longest = round(deps.retry_max * (1 - deps.jitter() / 4))
    return back_off(attempt, RETRY_BASE_SECONDS, max(longest, 1), deps.jitter())


LONGEST_DELAY_SECONDS = 900
"""The longest that SQS delays a message (Amazon SQS Developer Guide, "Message timers")."""
PAUSE_SECONDS = 60
"""How long it waits before it looks again."""
PATIENCE_SECONDS = 6 * 3600
"""How long it waits for the group's first message: longer than that one is tried."""


def tell_repeats(group_id: str, delivery: Delivery, batch: Batch, deps: SendDeps) -> list[Failed]:
    """Tell of the repeats that people were not told of yet; `delivery`, if it is not done with.

    AWS calls: one to read the group, and one to send for later, or two around the post.
    """
    group = deps.groups.get_many([group_id]).get(group_id)
    if group is None or group.repeats <= group.reported:
        return []
    now, end = deps.now_text(), window_end(group.first, deps.window)
    if now < end:
        send_for_summary(group_id, end, now, deps)
        return []
    if group.state is not GroupState.DELIVERED:
        if now < later(end, PATIENCE_SECONDS):
            due = max(group.lease_until, later(now, PAUSE_SECONDS))
            send_for_summary(group_id, due, now, deps)
        else:
            log.error("repeats not told: the first was not delivered")
        return []
    return _tell(group, delivery, now, batch, deps)


def _tell(
    group: AlertGroup, delivery: Delivery, now: str, batch: Batch, deps: SendDeps
) -> list[Failed]:
    if group.summary_lease > now:
        return [Failed(delivery, busy_until(group.summary_lease, now))]
    lease_until = later(now, LEASE_SECONDS)
    if not deps.groups.lease_summary(group, lease_until):
        return [Failed(delivery, busy_until(lease_until, now))]
    outcome = post(repeat_message(group, group.repeats - group.reported), batch, deps)
    if outcome.verdict is not Verdict.DELIVERED:
        return [Failed(delivery, outcome, group)]
    newer = deps.groups.mark_reported(group, group.repeats, deps.now_text())
    log.info("repeats told", extra={"count": group.count})
    if newer is not None and newer.repeats > newer.reported:
        send_for_summary(group.group_id, later(now, PAUSE_SECONDS), now, deps)
    return []


def send_for_summary(group_id: str, due: str, now: str, deps: SendDeps) -> None:
    """Put the message on the queue that will tell of the repeats; SQS cannot delay it further."""
    wait = clock.from_text(due) - clock.from_text(now)
    delay = min(max(math.ceil(wait.total_seconds()), 0), LONGEST_DELAY_SECONDS)
    deps.queue.send(summary(group_id), delay=delay)


_RACE_ROUNDS = 3


class _Unit(Struct, frozen=True):
    """What a batch has for one group: equal alerts, or (`alert` None) the call for a summary."""

    group_id: str
    alert: Alert | None
    deliveries: list[Delivery]


def send_alerts(deliveries: Sequence[Delivery], deps: SendDeps) -> None:
    """Send a batch; those of `work_off` and two AWS calls when some are to be tried again, two more
    for one that is given up. Messages that were delivered before come last.

    Raises `BatchIncompleteError` when some are to be tried again.
    """
    waits: dict[str, int] = {}
    for failed in _work_off(deliveries, deps):
        group_id = failed.group.group_id if failed.group else None
        with log_context(alertGroup=group_id, **failed.delivery.about):
            wait = settle(failed, deps)
        if wait is not None:
            waits[failed.delivery.receipt_handle] = wait
    if waits:
        handles = [delivery.receipt_handle for delivery in deliveries]
        deps.queue.delete([handle for handle in handles if handle not in waits])
        deps.queue.put_off(list(waits.items()))
        raise BatchIncompleteError(f"{len(waits)} of {len(deliveries)} messages to retry")


def _work_off(deliveries: Sequence[Delivery], deps: SendDeps) -> Iterator[Failed]:
    """Work off a batch, and give the messages that are not done with."""
    batch = Batch()
    broken: Outcome | None = None
    try:
        units = _plan(deliveries, batch, deps)
    except Exception as fault:  # noqa: BLE001 - all are tried again
        broken, units = outcome_of(fault), [_Unit("", None, list(deliveries))]
    for unit in units:
        with log_context(alertGroup=unit.group_id):
            if broken is None:
                try:
                    yield from _handle(unit, batch, deps)
                    continue
                except Exception as fault:  # noqa: BLE001 - the unit is tried again
                    outcome = outcome_of(fault)
                    # Where AWS does not answer, asking for every unit would take all the time.
                    broken = outcome if is_aws_fault(fault) else None
            else:
                outcome = broken
        yield from (Failed(delivery, outcome) for delivery in unit.deliveries)


def _plan(deliveries: Sequence[Delivery], batch: Batch, deps: SendDeps) -> list[_Unit]:
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


def _handle(unit: _Unit, batch: Batch, deps: SendDeps) -> list[Failed]:
    if unit.alert is None:
        return tell_repeats(unit.group_id, unit.deliveries[0], batch, deps)
    return _send_alert(unit, unit.alert, batch, deps)


def _send_alert(unit: _Unit, alert: Alert, batch: Batch, deps: SendDeps) -> list[Failed]:
    group = batch.known.get(unit.group_id)
    due = False
    for _ in range(_RACE_ROUNDS):
        now = deps.now_text()
        fresh = [
            one for one in unit.deliveries if group is None or one.message_id not in group.leaders
        ]
        leader = _leader(unit, group)
        if not due and fresh and _has_untold(group, len(fresh)):
            # Sent before they are counted, so that no crash leaves repeats that nobody tells of.
            first = group.first if group else leader.sent_at
            send_for_summary(unit.group_id, window_end(first, deps.window), now, deps)
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
                _tell_counted(fresh)
                return _busy(unit, group, now)
        if made and group is not None:
            _tell_counted([one for one in fresh if one is not leader])
            with log_context(**leader.about):
                return _lead(group, leader, batch, deps)
    raise UnavailableError("the alert group keeps changing")


def _tell_counted(repeats: Sequence[Delivery]) -> None:
    """Log where the alerts about events are: counted with others, and not posted by themselves."""
    for repeat in repeats:
        if repeat.about:
            log.info("alert counted", extra=dict(repeat.about))


def _leader(unit: _Unit, group: AlertGroup | None) -> Delivery:
    """The message that leads the group already, if the batch has it; else the oldest."""
    for delivery in unit.deliveries:
        if group is not None and delivery.message_id == group.leaders[-1]:
            return delivery
    return unit.deliveries[0]


def _has_untold(group: AlertGroup | None, added: int) -> bool:
    """Whether there are repeats that no message on its way will tell of."""
    if group is None:
        return added > 1
    return not group.summary_due and group.repeats + added > group.reported


def _busy(unit: _Unit, group: AlertGroup | None, now: str) -> list[Failed]:
    """The group's leader, if it came again while a first delivery of it is at work."""
    if group is None or group.state is GroupState.DELIVERED:
        return []
    busy = busy_until(group.lease_until, now)
    leading = [one for one in unit.deliveries if one.message_id == group.leaders[-1]]
    return [Failed(delivery, busy) for delivery in leading]


def _lead(group: AlertGroup, leader: Delivery, batch: Batch, deps: SendDeps) -> list[Failed]:
    """Post the group's message, and note it."""
    outcome = post(first_message(group.alert, leader.sent_at), batch, deps)
    if outcome.verdict is not Verdict.DELIVERED:
        return [Failed(leader, outcome, group)]
    try:
        deps.groups.mark_delivered(group, deps.now_text())
    except Exception as fault:  # noqa: BLE001 - without the note, nobody knows of it
        return [Failed(leader, outcome_of(fault))]
    log.info("alert delivered", extra={"kind": group.alert.kind, "count": group.count})
    return []
