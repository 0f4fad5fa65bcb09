"""A dead-letter queue: looking into it, and taking messages out of it.

SQS has no way to look without receiving. A peek receives with a visibility time-out of a few
seconds and gives back at once, so messages are hidden for a moment only; what it changes is
the count of receipts, which means nothing here, since nothing is behind these queues. Source:
Amazon SQS API Reference, "ReceiveMessage", "ChangeMessageVisibilityBatch".
"""

from collections.abc import Sequence
from typing import Any

from chalicelib.domain import clock
from chalicelib.domain.dead_letters import DeadMessage

PEEK_SECONDS = 5
"""How long a peek that dies in the middle hides what it saw."""
TAKE_SECONDS = 60
"""How long what was taken stays hidden, if it is neither deleted nor given back."""
_BATCH = 10


class DeadLetterQueue:
    """One dead-letter queue."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def waiting(self) -> int:
        """About how many messages it has; one call."""
        name = "ApproximateNumberOfMessages"
        answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=[name])
        return int(answer["Attributes"][name])

    def peek(self) -> list[DeadMessage]:
        """Up to ten messages, which stay; two calls."""
        seen = self._receive(_BATCH, PEEK_SECONDS)
        self.give_back([message.handle for message in seen])
        return seen

    def take(self, limit: int) -> list[DeadMessage]:
        """Up to `limit` messages, hidden from others for `TAKE_SECONDS`; one call for ten."""
        found: dict[str, DeadMessage] = {}
        while len(found) < limit:
            some = self._receive(min(_BATCH, limit - len(found)), TAKE_SECONDS)
            new = {one.message_id: one for one in some if one.message_id not in found}
            if not new:
                break
            found |= new
        return list(found.values())

    def give_back(self, handles: Sequence[str]) -> None:
        """Make messages visible again; one call for ten. If that fails, they come by themselves."""
        for some in _in_tens(handles):
            entries = [
                {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for number, handle in enumerate(some)
            ]
            self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)

    def delete(self, handles: Sequence[str]) -> None:
        """Delete messages; one call for ten. One that stays can be redriven again, harmlessly."""
        for some in _in_tens(handles):
            entries = [
                {"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(some)
            ]
            self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)

    def _receive(self, limit: int, seconds: int) -> list[DeadMessage]:
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=limit,
            VisibilityTimeout=seconds,
            # Zero asks a few of SQS's servers only, and may miss what there is.
            WaitTimeSeconds=1,
            AttributeNames=["SentTimestamp"],
            MessageAttributeNames=["All"],
        )
        return [_read(message) for message in answer.get("Messages", [])]


def _read(message: dict[str, Any]) -> DeadMessage:
    return DeadMessage(
        message_id=message["MessageId"],
        body=message["Body"],
        sent_at=clock.to_text(clock.from_millis(int(message["Attributes"]["SentTimestamp"]))),
        handle=message["ReceiptHandle"],
        attributes={
            name: value["StringValue"]
            for name, value in message.get("MessageAttributes", {}).items()
            if "StringValue" in value
        },
    )


def _in_tens(handles: Sequence[str]) -> list[Sequence[str]]:
    return [handles[start : start + _BATCH] for start in range(0, len(handles), _BATCH)]
