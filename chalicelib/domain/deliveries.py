"""A message as SQS delivers it to a worker, and how long a failed one waits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.domain import clock


@dataclass(frozen=True)
class Delivery:
    """One message as it was delivered; `attempt` counts its deliveries from 1."""

    body: str
    receipt_handle: str
    message_id: str
    attempt: int
    sent_at: str

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
        )


def back_off(attempt: int, base: int, longest: int, jitter: float) -> int:
    """Seconds to wait after `attempt` failed: `base`, doubling, at most `longest`, and up to half
    as much again by `jitter` (0 to 1), so that what failed together does not come back together."""
    wait = base * 2.0 ** min(attempt - 1, 20) * (1 + jitter / 2)
    return min(round(wait), longest)
