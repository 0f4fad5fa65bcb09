"""A queue: sending, and for its worker, deleting and putting off in batches.

Source: Amazon SQS API Reference, batch actions: an answer of 200 may hold `Failed` entries.
"""

from collections.abc import Sequence
from typing import Any

from chalicelib.observability import log

_BATCH_LIMIT = 10
_BATCH_BYTES = 256 * 1024
"""The longest that the messages of one call may be together."""


class Queue:
    """One SQS queue."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def send(
        self, body: str, attributes: dict[str, str] | None = None, *, delay: int | None = None
    ) -> None:
        """Send one message; `attributes` become string message attributes, `delay` (seconds, up to
        900) hides it at first. One call."""
        extra: dict[str, Any] = {} if delay is None else {"DelaySeconds": delay}
        if attributes:
            extra["MessageAttributes"] = {
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            }
        self._client.send_message(QueueUrl=self._url, MessageBody=body, **extra)

    def send_many(self, bodies: Sequence[str], delays: Sequence[int] = ()) -> list[str | None]:
        """Send messages, each hidden at first for its delay (seconds, up to 900), if `delays` are
        given; one call for ten, or for 256 KB.

        Returns, for each in order, None when it was taken, else SQS's error code. An error ends
        it: of what comes after, nothing was sent.
        """
        codes: list[str | None] = [None] * len(bodies)
        entries: list[dict[str, Any]] = [{"MessageBody": body} for body in bodies]
        for entry, delay in zip(entries, delays, strict=False):
            entry["DelaySeconds"] = delay
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

    def _in_batches(
        self, operation: Any, entries: list[dict[str, Any]]
    ) -> list[tuple[int, dict[str, Any]]]:
        """Carry out a batch action; what failed, as (position, SQS's entry)."""
        failures: list[tuple[int, dict[str, Any]]] = []
        for start in range(0, len(entries), _BATCH_LIMIT):
            batch = entries[start : start + _BATCH_LIMIT]
            answer = operation(
                QueueUrl=self._url,
                Entries=[{"Id": str(number), **entry} for number, entry in enumerate(batch)],
            )
            for failed in answer.get("Failed", []):
                log.warning("queue batch entry failed", extra={"code": failed.get("Code")})
                failures.append((start + int(failed["Id"]), failed))
        return failures


def parcels(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """(start, end) of each call that sends bodies of these `sizes`."""
    found: list[tuple[int, int]] = []
    start, total = 0, 0
    for number, size in enumerate(sizes):
        if number > start and (number - start == _BATCH_LIMIT or total + size > _BATCH_BYTES):
            found.append((start, number))
            start, total = number, 0
        total += size
    return [*found, (start, len(sizes))] if sizes else []
