"""Sending alerts to Slack: each group of equal alerts once, and nothing deleted undelivered.

The first alert of a group leads it: its message posts to Slack, and stays on the queue until Slack
has it or it is set aside. Equal ones are counted and done with; at the first of them a message is
put on the queue that will tell of the repeats when the window is over (`tell_repeats`). A leader
that fails for now is put off; should it never come back, any equal alert leads once its lease has
run out. A crash between Slack's answer and the note of it makes one message more, after the lease.
What Slack will never take, or was tried too often, is given up (`give_up_alerts`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chalicelib.adapters.slack import Outcome, Verdict
from chalicelib.domain.alert_groups import (
    AlertGroup,
    GroupState,
    candidate_ids,
    choose_group,
    later,
    window_end,
)
from chalicelib.domain.alerts import Alert, SummaryDue, read_message
from chalicelib.domain.deliveries import Delivery
from chalicelib.domain.slack_message import first_message
from chalicelib.errors import BatchIncompleteError, UnavailableError, is_aws_fault
from chalicelib.observability import log, log_context
from chalicelib.services.give_up_alerts import settle
from chalicelib.services.post_alerts import (
    LEASE_SECONDS,
    Batch,
    Failed,
    Sending,
    busy_until,
    outcome_of,
    post,
)
from chalicelib.services.tell_repeats import send_for_summary, tell_repeats

_RACE_ROUNDS = 3


@dataclass(frozen=True)
class _Unit:
    """What a batch has for one group: equal alerts, or (`alert` None) the call for a summary."""

    group_id: str
    alert: Alert | None
    deliveries: list[Delivery]


def process_batch(deliveries: Sequence[Delivery], using: Sending) -> None:
    """Send a batch; those of `work_off` and two AWS calls when some are to be tried again, two more
    for one that is given up. Messages that were delivered before come last.

    Raises `BatchIncompleteError` when some are to be tried again.
    """
    waits: dict[str, int] = {}
    for failed in _work_off(deliveries, using):
        group_id = failed.group.group_id if failed.group else None
        with log_context(alertGroup=group_id, **failed.delivery.about):
            wait = settle(failed, using)
        if wait is not None:
            waits[failed.delivery.receipt_handle] = wait
    if waits:
        handles = [delivery.receipt_handle for delivery in deliveries]
        using.queue.delete([handle for handle in handles if handle not in waits])
        using.queue.put_off(list(waits.items()))
        raise BatchIncompleteError(f"{len(waits)} of {len(deliveries)} messages to retry")


def _work_off(deliveries: Sequence[Delivery], using: Sending) -> Iterator[Failed]:
    """Work off a batch, and give the messages that are not done with."""
    batch = Batch()
    broken: Outcome | None = None
    try:
        units = _plan(deliveries, batch, using)
    except Exception as fault:  # noqa: BLE001 - all are tried again
        broken, units = outcome_of(fault), [_Unit("", None, list(deliveries))]
    for unit in units:
        with log_context(alertGroup=unit.group_id):
            if broken is None:
                try:
                    yield from _handle(unit, batch, using)
                    continue
                except Exception as fault:  # noqa: BLE001 - the unit is tried again
                    outcome = outcome_of(fault)
                    # Where AWS does not answer, asking for every unit would take all the time.
                    broken = outcome if is_aws_fault(fault) else None
            else:
                outcome = broken
        yield from (Failed(delivery, outcome) for delivery in unit.deliveries)


def _plan(deliveries: Sequence[Delivery], batch: Batch, using: Sending) -> list[_Unit]:
    """Sort a batch into units, those with the fewest attempts first."""
    alerts: list[tuple[Alert, tuple[str, str], Delivery]] = []
    units: list[_Unit] = []
    for delivery in sorted(deliveries, key=lambda one: one.sent_at):
        message = read_message(delivery.body)
        if isinstance(message, SummaryDue):
            units.append(_Unit(message.group_id, None, [delivery]))
        else:
            candidates = candidate_ids(message.group_key, delivery.sent_at, using.window)
            alerts.append((message, candidates, delivery))
    wanted = sorted({group_id for _, candidates, _ in alerts for group_id in candidates})
    batch.known = using.groups.get_many(wanted)
    groups: dict[str, _Unit] = {}
    for alert, candidates, delivery in alerts:
        opened = {group_id: unit.deliveries[0].sent_at for group_id, unit in groups.items()}
        group_id = choose_group(
            candidates, delivery.message_id, delivery.sent_at, using.window, batch.known, opened
        )
        groups.setdefault(group_id, _Unit(group_id, alert, [])).deliveries.append(delivery)
    units += groups.values()
    return sorted(units, key=lambda unit: min(one.attempt for one in unit.deliveries))


def _handle(unit: _Unit, batch: Batch, using: Sending) -> list[Failed]:
    if unit.alert is None:
        return tell_repeats(unit.group_id, unit.deliveries[0], batch, using)
    return _send_alert(unit, unit.alert, batch, using)


def _send_alert(unit: _Unit, alert: Alert, batch: Batch, using: Sending) -> list[Failed]:
    group = batch.known.get(unit.group_id)
    due = False
    for _ in range(_RACE_ROUNDS):
        now = using.now_text()
        fresh = [
            one for one in unit.deliveries if group is None or one.message_id not in group.leaders
        ]
        leader = _leader(unit, group)
        if not due and fresh and _has_untold(group, len(fresh)):
            # Sent before they are counted, so that no crash leaves repeats that nobody tells of.
            first = group.first if group else leader.sent_at
            send_for_summary(unit.group_id, window_end(first, using.window), now, using)
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
            made, group = using.groups.open(opened)
        elif group.may_post(leader.message_id, now):
            taken = group.led_by(
                leader.message_id, lease_until, added=len(fresh), last=last, summary_due=due
            )
            made, group = using.groups.take_over(group, taken)
        else:
            made = True
            if fresh:
                made, group = using.groups.count(group, len(fresh), last, due)
            if made:
                _tell_counted(fresh)
                return _busy(unit, group, now)
        if made and group is not None:
            _tell_counted([one for one in fresh if one is not leader])
            with log_context(**leader.about):
                return _lead(group, leader, batch, using)
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


def _lead(group: AlertGroup, leader: Delivery, batch: Batch, using: Sending) -> list[Failed]:
    """Post the group's message, and note it."""
    outcome = post(first_message(group.alert, leader.sent_at), batch, using)
    if outcome.verdict is not Verdict.DELIVERED:
        return [Failed(leader, outcome, group)]
    try:
        using.groups.mark_delivered(group, using.now_text())
    except Exception as fault:  # noqa: BLE001 - without the note, nobody knows of it
        return [Failed(leader, outcome_of(fault))]
    log.info("alert delivered", extra={"kind": group.alert.kind, "count": group.count})
    return []
