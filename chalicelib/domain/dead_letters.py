"""Dead letters: events that are FAILED, and messages that lie in the dead-letter queues."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chalicelib.domain import clock
from chalicelib.domain.events import Record

ERROR_CLASSES = ("permanent", "transient", "unknown", "stuck")
"""The classes of `lastError`: those of failed attempts, and that of what reconcile gave up."""
QUEUES = ("events-dlq", "ci-events-dlq", "uploads-dlq", "notifications-dlq")
EVENTS_QUEUE, ALERTS_QUEUE = QUEUES[:2]
UPLOADS_QUEUE, NOTIFICATIONS_QUEUE = QUEUES[2:]
WHY_NOT: Mapping[str, str] = {
    UPLOADS_QUEUE: "no queue feeds record_upload: invoke it with the message, see the runbook",
    NOTIFICATIONS_QUEUE: "a stream takes no record back: see the runbook",
}
"""Why nothing of a queue can be redriven."""
FOREIGN = "it is no message of this platform, so no worker could read it"
_REASONS = 10
_TEXT = 300


@dataclass(frozen=True)
class DeadMessage:
    """A message in a dead-letter queue. `attributes` are the reasons that whoever set it aside
    gave; SQS itself gives none. `handle` is that of its last receipt."""

    message_id: str
    body: str
    sent_at: str
    handle: str
    attributes: Mapping[str, str] = field(default_factory=dict)


def describe_event(record: Record, now: datetime) -> dict[str, Any]:
    """A FAILED event as a dead letter."""
    return {
        "kind": "event",
        "eventId": record.event.event_id,
        "eventType": record.event.event_type,
        "owner": record.event.owner,
        "reason": record.last_error,
        "failedAt": record.updated_at,
        "ageSeconds": _age(record.updated_at, now),
        "attempts": record.attempts,
        "redrivable": True,
        "whyNot": None,
    }


def describe_message(
    message: DeadMessage, queue: str, waiting: int, why_not: str | None, now: datetime
) -> dict[str, Any]:
    """A message as a dead letter, without its body; `waiting` is about how many its queue has."""
    reasons = list(message.attributes.items())[:_REASONS]
    return {
        "kind": "message",
        "queue": queue,
        "messageId": message.message_id,
        "reason": {name[:_TEXT]: value[:_TEXT] for name, value in reasons},
        "sentAt": message.sent_at,
        "ageSeconds": _age(message.sent_at, now),
        "approximateCount": waiting,
        "redrivable": why_not is None,
        "whyNot": why_not,
    }


def _age(since: str, now: datetime) -> int:
    return max(round((now - clock.from_text(since)).total_seconds()), 0)
