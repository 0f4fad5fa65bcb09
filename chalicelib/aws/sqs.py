"""SQS: a queue's batches, its messages as Lambda delivers them, and dead-letter queues.

Source: Amazon SQS API Reference, batch actions (an answer of 200 may hold `Failed` entries),
"ReceiveMessage", "ChangeMessageVisibilityBatch".
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from chalicelib.core import clock
from chalicelib.core.log import log

PEEK_SECONDS = 5
"""How long a peek that dies in the middle hides what it saw."""
TAKE_SECONDS = 60
"""How long what was taken stays hidden, if it is neither deleted nor given back."""
_BATCH = 10
_BATCH_BYTES = 256 * 1024
"""The longest that the messages of one call may be together."""
_IDS = ("requestId", "eventId")
_ID = r"[A-Za-z0-9-]{1,64}"


class Delivery(Struct, frozen=True):
    """One message as it was delivered; `attempt` counts its deliveries from 1."""

    body: str
    receipt_handle: str
    message_id: str
    attempt: int
    sent_at: str
    about: Mapping[str, str] = field(default_factory=dict)
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


def read_deliveries(records: Iterable[Mapping[str, Any]]) -> list[Delivery]:
    """The messages of a Lambda SQS event."""
    return [Delivery.from_record(record) for record in records]


def back_off(attempt: int, base: int, longest: int, jitter: float) -> int:
    """Seconds to wait after `attempt` failed: `base`, doubling, at most `longest`, and up to half
    as much again by `jitter` (0 to 1), so that what failed together does not come back together."""
    wait = base * 2.0 ** min(attempt - 1, 20) * (1 + jitter / 2)
    return min(round(wait), longest)


class Depth(Struct, frozen=True, rename="camel"):
    """About how many messages a queue holds: to be received, received but not deleted, delayed."""

    waiting: int
    in_flight: int
    delayed: int


class Queue:
    """One SQS queue."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def send(
        self,
        body: str,
        attributes: dict[str, str] | None = None,
        *,
        delay: int | None = None,
        group: str | None = None,
    ) -> None:
        """Send one message; `attributes` become string message attributes, `delay` (seconds, up to
        900) hides it at first, `group` is as in `send_many`. One call."""
        extra: dict[str, Any] = {} if delay is None else {"DelaySeconds": delay}
        if group is not None:
            extra["MessageGroupId"] = group
        if attributes:
            extra["MessageAttributes"] = {
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            }
        self._client.send_message(QueueUrl=self._url, MessageBody=body, **extra)

    def send_many(
        self, bodies: Sequence[str], delays: Sequence[int] = (), groups: Sequence[str] = ()
    ) -> list[str | None]:
        """Send messages, each hidden at first for its delay (seconds, up to 900), if `delays` are
        given; one call for ten, or for 256 KB. `groups` say whose each is: SQS lets the messages of
        a quiet group pass those of a busy one (Amazon SQS Developer Guide, "Amazon SQS fair
        queues").

        Returns, for each in order, None when it was taken, else SQS's error code. An error ends
        it: of what comes after, nothing was sent.
        """
        codes: list[str | None] = [None] * len(bodies)
        entries: list[dict[str, Any]] = [{"MessageBody": body} for body in bodies]
        for entry, delay in zip(entries, delays, strict=False):
            entry["DelaySeconds"] = delay
        for entry, group in zip(entries, groups, strict=False):
            entry["MessageGroupId"] = group
        for start, end in parcels([len(body.encode()) for body in bodies]):
            sent = self._in_batches(self._client.send_message_batch, entries[start:end])
            for position, failed in sent:
                codes[start + position] = failed.get("Code") or "Unknown"
        return codes

    def delete(self, receipt_handles: Sequence[str]) -> None:
        """Delete messages; one call for ten. One that stays will be delivered again, harmlessly."""
        self._in_batches(
            self._client.delete_message_batch,
            [{"ReceiptHandle": handle} for handle in receipt_handles],
        )

    def put_off(self, waits: Sequence[tuple[str, int]]) -> None:
        """Hide messages, given as (receipt handle, seconds); one call for ten.

        One that could not be put off comes back after the queue's visibility time-out.
        """
        self._in_batches(
            self._client.change_message_visibility_batch,
            [{"ReceiptHandle": handle, "VisibilityTimeout": wait} for handle, wait in waits],
        )

    def visible(self) -> int:
        """About how many messages wait to be received; one call."""
        name = "ApproximateNumberOfMessages"
        answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=[name])
        return int(answer["Attributes"][name])

    def depth(self) -> Depth:
        """How many messages there are; one call."""
        prefix = "ApproximateNumberOfMessages"
        names = (prefix, f"{prefix}NotVisible", f"{prefix}Delayed")
        answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=list(names))
        return Depth(*(int(answer["Attributes"][name]) for name in names))

    def _in_batches(
        self, operation: Any, entries: list[dict[str, Any]]
    ) -> list[tuple[int, dict[str, Any]]]:
        """Carry out a batch action; what failed, as (position, SQS's entry)."""
        failures: list[tuple[int, dict[str, Any]]] = []
        for start in range(0, len(entries), _BATCH):
            batch = entries[start : start + _BATCH]
            answer = operation(
                QueueUrl=self._url,
                Entries=[{"Id": str(number), **entry} for number, entry in enumerate(batch)],
            )
            for failed in answer.get("Failed", []):
                log.warning("queue batch entry failed", extra={"code": failed.get("Code")})
                failures.append((start + int(failed["Id"]), failed))
        return failures


class DeadMessage(Struct, frozen=True):
    """A message in a dead-letter queue. `attributes` are the reasons that whoever set it aside
    gave; SQS itself gives none. `handle` is that of its last receipt."""

    message_id: str
    body: str
    sent_at: str
    handle: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> "DeadMessage":
        """Read a message as SQS hands it out."""
        return cls(
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


class DeadLetterQueue(Queue):
    """A dead-letter queue: looking into it, and taking messages out of it.

    SQS has no way to look without receiving. A peek receives with a short visibility time-out and
    gives back at once, so messages are hidden for a moment only. It raises the count of receipts,
    which means nothing here: no dead-letter queue has one of its own.
    """

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
        self.put_off([(handle, 0) for handle in handles])

    def _receive(self, limit: int, seconds: int) -> list[DeadMessage]:
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=limit,
            VisibilityTimeout=seconds,
            # Zero asks a few of SQS's servers only, and may miss messages.
            WaitTimeSeconds=1,
            AttributeNames=["SentTimestamp"],
            MessageAttributeNames=["All"],
        )
        return [DeadMessage.of(message) for message in answer.get("Messages", [])]


def parcels(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """(start, end) of each call that sends bodies of these `sizes`."""
    found: list[tuple[int, int]] = []
    start, total = 0, 0
    for number, size in enumerate(sizes):
        if number > start and (number - start == _BATCH or total + size > _BATCH_BYTES):
            found.append((start, number))
            start, total = number, 0
        total += size
    return [*found, (start, len(sizes))] if sizes else []


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
