"""Relaying: from the alarm topic to the queue of alerts, whose retries make what was said durable.

CloudWatch says on the topic that an alarm turned ALARM, OK or INSUFFICIENT_DATA; the last is left
out, since nothing follows from it. What others say there is relayed as text. Our own lines, about
alerts that could not be delivered, are not: they would come back as alerts.

Source: Amazon CloudWatch User Guide, "Notifying users on alarm changes".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.alerts.model import alarm, shorten
from chalicelib.aws.sns import is_own
from chalicelib.aws.sqs import Queue
from chalicelib.core import clock
from chalicelib.core.errors import InvalidJsonError, UnavailableError
from chalicelib.core.log import log
from chalicelib.core.strict_json import dump_json, parse_json

RELAYED_STATES = ("ALARM", "OK")
_TEXT_LIMIT = 4000
"""Characters relayed of a text. Ten of them, as JSON, stay below what one batch may hold."""


def relay_alarms(records: Sequence[Mapping[str, Any]], queue: Queue) -> int:
    """Put the notifications of one Lambda SNS event on the queue; one call for ten.

    Returns how many. Raises `UnavailableError` when SQS did not take all: Lambda then runs the
    event again, and equal alerts are one.
    """
    messages = [message for record in records if (message := _message(record["Sns"])) is not None]
    codes = [code for code in queue.send_many(messages) if code is not None]
    log.info("alarms relayed", extra={"relayed": len(messages) - len(codes)})
    if codes:
        raise UnavailableError(f"{len(codes)} of {len(messages)} alarms not relayed: {codes[0]}")
    return len(messages)


def _message(notification: Mapping[str, Any]) -> str | None:
    """What goes on the queue for a notification; None for nothing."""
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
    if not subject:
        return shorten(text, _TEXT_LIMIT) if text.strip() else None
    return dump_json({"title": str(subject), "message": shorten(text, _TEXT_LIMIT)})


def _alarm(value: Mapping[str, Any]) -> str | None:
    name, state = str(value["AlarmName"]), str(value["NewStateValue"])
    if state not in RELAYED_STATES:
        log.info("alarm state left out", extra={"alarm": name, "state": state})
        return None
    details = {
        "reason": shorten(str(value.get("NewStateReason") or ""), _TEXT_LIMIT),
        "description": shorten(str(value.get("AlarmDescription") or ""), _TEXT_LIMIT // 4),
        "region": _region(value),
        "account": str(value.get("AWSAccountId") or ""),
        "metric": _metric(value.get("Trigger")),
    }
    told = {field: text for field, text in details.items() if text}
    return alarm(name, state, _moment(value.get("StateChangeTime")), **told)


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


def _moment(text: Any) -> str | None:
    try:
        return clock.to_text(clock.from_text(str(text)))
    except (ValueError, OverflowError):
        return None
