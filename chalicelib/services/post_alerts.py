"""Posting to Slack, once, and what every step of sending alerts works with."""

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chalicelib import metrics
from chalicelib.adapters.alarm_topic import AlarmTopic
from chalicelib.adapters.alert_store import AlertStore
from chalicelib.adapters.queue import Queue
from chalicelib.adapters.slack import Outcome, Slack, Verdict
from chalicelib.domain import clock
from chalicelib.domain.alert_groups import AlertGroup
from chalicelib.domain.deliveries import Delivery
from chalicelib.domain.failures import where
from chalicelib.errors import aws_code
from chalicelib.observability import log
from chalicelib.tracing import span

LEASE_SECONDS = 60
"""How long a post may take, the reading of its URL and the note of it included."""
POST_SECONDS = 10.0
"""Time that must be left to begin a post: 7 s for Slack and some for the notes around it. Less than
any time-out of the function, or nothing would ever be posted."""
NO_TIME, BUSY = "no-time", "busy"
"""Codes of failures that are not the alert's: it is never given up for them."""
_NO_TIME = Outcome(Verdict.RETRY, NO_TIME, "the run had no time left for it", retry_after=0)
_LONGEST_PAUSE_SECONDS = 900


@dataclass(frozen=True)
class Sending:
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


@dataclass(frozen=True)
class Failed:
    """A message that is not done with. `group` is the one that it leads or tells of."""

    delivery: Delivery
    outcome: Outcome
    group: AlertGroup | None = None


@dataclass
class Batch:
    """The groups known at its start, and the failure after which no more is posted: Slack, or the
    way there, needs a rest."""

    known: Mapping[str, AlertGroup] = field(default_factory=dict)
    stopped: Outcome | None = None


def post(message: Mapping[str, Any], batch: Batch, using: Sending) -> Outcome:
    """Post a message; after a failure that will pass, nothing more of this batch is posted."""
    if batch.stopped is None and using.remaining() < POST_SECONDS:
        batch.stopped = _NO_TIME
    if batch.stopped is not None:
        return batch.stopped
    begun = using.ticks()
    try:
        with span("slack", namespace="remote"):
            outcome = using.slack.post(message)
    except Exception as fault:  # noqa: BLE001 - the message is tried again
        outcome = outcome_of(fault)
    metrics.sample("SlackLatency", round((using.ticks() - begun) * 1000))
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
