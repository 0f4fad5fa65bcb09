"""An SQS standard queue in memory: at least once, in no order, with redrive to a dead-letter queue.

Source: Amazon SQS Developer Guide, "Amazon SQS visibility timeout", "Using dead-letter queues".
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from chalicelib.aws.sqs import Queue, parcels
from tests.support.fake_stores import FakeAws

_BATCH = 10


@dataclass
class QueuedMessage:
    """A message; `handle` is that of its last delivery."""

    message_id: str
    body: str
    attributes: dict[str, str]
    sent_at: datetime
    visible_at: datetime
    deliveries: int = 0
    handle: str = ""


class FakeQueue(Queue):
    """One queue. `receive` and `acknowledge` are Lambda's part, and no calls of ours."""

    def __init__(
        self,
        aws: FakeAws,
        *,
        visibility: float = 360,
        max_deliveries: int = 5,
        dead_letters: "FakeQueue | None" = None,
    ) -> None:
        self._aws = aws
        self._visibility = visibility
        self._max_deliveries = max_deliveries
        self._dead_letters = dead_letters
        self._numbers = itertools.count(1)
        self.messages: list[QueuedMessage] = []
        self.sent: list[str] = []
        self.refused: set[str] = set()
        """Bodies that are refused one by one when many are sent."""

    def send(
        self,
        body: str,
        attributes: dict[str, str] | None = None,
        *,
        delay: int | None = None,
        group: str | None = None,
    ) -> None:
        self._aws.call("SendMessage", partial(self._take, body, attributes or {}, delay or 0))

    def send_many(
        self, bodies: Sequence[str], delays: Sequence[int] = (), groups: Sequence[str] = ()
    ) -> list[str | None]:
        codes: list[str | None] = []

        def effect(some: Sequence[tuple[str, int]]) -> list[str | None]:
            taken = [body not in self.refused for body, _ in some]
            for (body, delay), is_taken in zip(some, taken, strict=True):
                if is_taken:
                    self._take(body, {}, delay)
            return [None if is_taken else "ThrottlingException" for is_taken in taken]

        waits = delays or [0] * len(bodies)
        messages = list(zip(bodies, waits, strict=True))
        for start, end in parcels([len(body.encode()) for body in bodies]):
            codes += self._aws.call("SendMessageBatch", partial(effect, messages[start:end]))
        return codes

    def delete(self, receipt_handles: Sequence[str]) -> None:
        def delete(handles: Sequence[str]) -> None:
            self.messages = [message for message in self.messages if message.handle not in handles]

        self._in_tens("DeleteMessageBatch", receipt_handles, delete)

    def put_off(self, waits: Sequence[tuple[str, int]]) -> None:
        def put_off(some: Sequence[tuple[str, int]]) -> None:
            for handle, wait in some:
                for message in self.messages:
                    if message.handle == handle:
                        message.visible_at = self._aws.clock() + timedelta(seconds=wait)

        self._in_tens("ChangeMessageVisibilityBatch", waits, put_off)

    def visible(self) -> int:
        return self._aws.call("GetQueueAttributes", lambda: len(self._due()))

    def receive(self, limit: int = _BATCH) -> list[dict[str, Any]]:
        """Up to `limit` due messages as records of a Lambda event; others move to the
        dead-letter queue when they were delivered too often."""
        records: list[dict[str, Any]] = []
        for message in self._due():
            if len(records) == limit:
                break
            if message.deliveries >= self._max_deliveries:
                self.messages.remove(message)
                if self._dead_letters:
                    self._dead_letters.messages.append(message)
                continue
            records.append(self._deliver(message))
        return records

    def deliver_again(self, limit: int = _BATCH) -> list[dict[str, Any]]:
        """Deliver what is being worked on right now: a standard queue may do that."""
        busy = [message for message in self.messages if message not in self._due()]
        return [self._deliver(message) for message in busy[:limit]]

    def acknowledge(self, records: Sequence[dict[str, Any]]) -> None:
        """Lambda deletes a batch whose function returned."""
        handles = {record["receiptHandle"] for record in records}
        self.messages = [message for message in self.messages if message.handle not in handles]

    def _take(self, body: str, attributes: dict[str, str], delay: int) -> None:
        now = self._aws.clock()
        visible_at = now + timedelta(seconds=delay)
        message_id = f"message-{next(self._numbers)}"
        self.messages.append(QueuedMessage(message_id, body, attributes, now, visible_at))
        self.sent.append(body)

    def _due(self) -> list[QueuedMessage]:
        now = self._aws.clock()
        return [message for message in self.messages if message.visible_at <= now]

    def _deliver(self, message: QueuedMessage) -> dict[str, Any]:
        message.deliveries += 1
        message.handle = f"{message.message_id}/{message.deliveries}"
        message.visible_at = self._aws.clock() + timedelta(seconds=self._visibility)
        millis = (message.sent_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
        return {
            "messageId": message.message_id,
            "receiptHandle": message.handle,
            "body": message.body,
            "attributes": {
                "ApproximateReceiveCount": str(message.deliveries),
                "SentTimestamp": str(millis),
            },
        }

    def _in_tens(
        self, operation: str, entries: Sequence[Any], effect: Callable[[Sequence[Any]], None]
    ) -> None:
        for start in range(0, len(entries), _BATCH):
            some = entries[start : start + _BATCH]
            self._aws.call(operation, partial(effect, some))
