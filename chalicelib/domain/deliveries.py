"""A message as SQS delivers it to a worker, and how long a failed one waits."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib.domain import clock

_IDS = ("requestId", "eventId")
_ID = r"[A-Za-z0-9-]{1,64}"


@dataclass(frozen=True)
class Delivery:
    """One message as it was delivered; `attempt` counts its deliveries from 1."""

    body: str
    receipt_handle: str
    message_id: str
    attempt: int
    sent_at: str
    about: Mapping[str, str] = field(default_factory=dict, compare=False)
    """The `requestId` and `eventId` that it was sent with, for the log; message attributes."""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Delivery":
        """Read a record of a Lambda SQS event."""
        attributes = record["attributes"]
        return cls(
            body=record["body"],
            receipt_handle=record["receiptHandle"],
            message_id=record["messageId"],
            attempt=int(attributes["ApproximateReceiveCount"]),
            sent_at=clock.to_text(clock.from_millis(int(attributes["SentTimestamp"]))),
            about=_ids(record.get("messageAttributes")),
        )


def _ids(attributes: Any) -> dict[str, str]:
    """The ids among message attributes. Anybody may have sent them, so only what can be an id."""
    given = attributes if isinstance(attributes, Mapping) else {}
    found = {name: given[name] for name in _IDS if isinstance(given.get(name), Mapping)}
    texts = {name: value.get("stringValue") for name, value in found.items()}
    return {
        name: text
        for name, text in texts.items()
        if isinstance(text, str) and re.fullmatch(_ID, text)
    }


def back_off(attempt: int, base: int, longest: int, jitter: float) -> int:
    """Seconds to wait after `attempt` failed: `base`, doubling, at most `longest`, and up to half
    as much again by `jitter` (0 to 1), so that what failed together does not come back together."""
    wait = base * 2.0 ** min(attempt - 1, 20) * (1 + jitter / 2)
    return min(round(wait), longest)
