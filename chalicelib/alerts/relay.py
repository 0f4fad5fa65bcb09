"""Relay the alarm topic to the queue of alerts, whose retries make a notification durable.

CloudWatch publishes that an alarm turned ALARM, OK or INSUFFICIENT_DATA; nothing follows from the
last, so it is left out. Other messages are relayed as they are, except that none can speak for
Eventline: one that has the member `eventline`, which marks Eventline's own messages on the queue,
is relayed as text. Eventline's own on the topic, about alerts that could not be delivered, are not
relayed: they would come back as alerts.

Source: Amazon CloudWatch User Guide, "Notifying users on alarm changes".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.alerts.model import ALARM_STATES, MARK, alarm, read_time, shorten
from chalicelib.aws.sns import is_own
from chalicelib.aws.sqs import Queue
from chalicelib.core.errors import InvalidJsonError, UnavailableError
from chalicelib.core.log import log
from chalicelib.core.strict_json import dump_json, parse_json

_TEXT_LIMIT = 4000
"""Characters of a relayed text. Ten of them, as JSON, fit into one batch."""


def relay_alarms(records: Sequence[Mapping[str, Any]], queue: Queue) -> int:
    """Put the notifications of one Lambda SNS event on the queue; one call for ten.

    Returns how many. `UnavailableError` if SQS did not take all: Lambda then runs the event again,
    and equal alerts are one.
    """
    messages = [message for record in records if (message := _message(record["Sns"])) is not None]
    codes = [code for code in queue.send_many(messages) if code is not None]
    log.info("alarms relayed", extra={"relayed": len(messages) - len(codes)})
    if codes:
        raise UnavailableError(f"{len(codes)} of {len(messages)} alarms not relayed: {codes[0]}")
    return len(messages)


def _message(notification: Mapping[str, Any]) -> str | None:
    """The message for the queue; None if there is nothing to relay."""
    if is_own(notification):
        return None
    text = str(notification.get("Message") or "")
    try:
        value = parse_json(text.encode("utf-8", "surrogatepass"))
    except InvalidJsonError:
        value = None
    if isinstance(value, dict) and "AlarmName" in value and "NewStateValue" in value:
        return _alarm(value)
    subject = notification.get("Subject")
    if isinstance(value, dict) and MARK in value:
        title = str(subject or f"A message that names itself {MARK}")
        return dump_json({"title": title, "message": shorten(text, _TEXT_LIMIT)})
    if not subject:
        return shorten(text, _TEXT_LIMIT) if text.strip() else None
    return dump_json({"title": str(subject), "message": shorten(text, _TEXT_LIMIT)})


def _alarm(value: Mapping[str, Any]) -> str | None:
    name, state = str(value["AlarmName"]), str(value["NewStateValue"])
    if state not in ALARM_STATES:
        log.info("alarm state left out", extra={"alarm": name, "state": state})
        return None
    details = {
        "reason": shorten(str(value.get("NewStateReason") or ""), _TEXT_LIMIT),
        "description": shorten(str(value.get("AlarmDescription") or ""), _TEXT_LIMIT // 4),
        "region": _region(value),
        "account": str(value.get("AWSAccountId") or ""),
        "metric": _metric(value.get("Trigger")),
    }
    given = {field: text for field, text in details.items() if text}
    return alarm(name, state, read_time(str(value.get("StateChangeTime"))), **given)


def _region(value: Mapping[str, Any]) -> str:
    """The region's code, from the ARN; `Region` holds its name ("US East (N. Virginia)")."""
    parts = str(value.get("AlarmArn") or "").split(":")
    return parts[3] if len(parts) > 3 else str(value.get("Region") or "")  # noqa: PLR2004


def _metric(trigger: Any) -> str:
    """`AWS/SQS ApproximateAgeOfOldestMessage (QueueName=...)`; empty for composite alarms and those
    on expressions."""
    if not isinstance(trigger, Mapping) or not trigger.get("MetricName"):
        return ""
    dimensions = trigger.get("Dimensions")
    # CloudWatch writes `name` and `value` here, unlike anywhere else.
    pairs = [
        f"{one.get('name', one.get('Name'))}={one.get('value', one.get('Value'))}"
        for one in (dimensions if isinstance(dimensions, list) else [])
        if isinstance(one, Mapping)
    ]
    metric = f"{trigger.get('Namespace', '')} {trigger['MetricName']}".strip()
    return f"{metric} ({', '.join(pairs)})" if pairs else metric
