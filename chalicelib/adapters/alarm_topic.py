"""The topic of alarms, for what Eventline itself has to say there.

`relay_alarm` listens on the same topic, so what we publish carries a mark that makes it look away.
"""

from collections.abc import Mapping
from typing import Any

_MARK = "eventline"
_OPENING = "Eventline could not deliver an alert: "
_SUBJECT_LIMIT = 100


class AlarmTopic:
    """One SNS topic."""

    def __init__(self, client: Any, arn: str) -> None:
        self._client = client
        self._arn = arn

    def publish(self, text: str) -> None:
        """Tell whoever subscribes that an alert was not delivered; one call."""
        self._client.publish(
            TopicArn=self._arn,
            Subject=f"{_OPENING.rstrip(': ')}"[:_SUBJECT_LIMIT],
            Message=_OPENING + text,
            MessageAttributes={_MARK: {"DataType": "String", "StringValue": "undelivered"}},
        )


def is_own(notification: Mapping[str, Any]) -> bool:
    """Whether `publish` wrote this notification, as Lambda gets it (`Records[].Sns`)."""
    marked = _MARK in (notification.get("MessageAttributes") or {})
    return marked or str(notification.get("Message", "")).startswith(_OPENING)
