"""The stage's EventBridge bus, where others learn that an event was processed.

Source: Amazon EventBridge API Reference, "PutEvents": an answer of 200 may hold failed entries.

What comes out of processing: the silver document, and the envelope that tells of it.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from chalicelib.core.errors import PermanentError
from chalicelib.core.strict_json import dump_json
from chalicelib.events.model import Event

SOURCE = "eventline"
_BATCH_LIMIT = 10


class Entry(Struct, frozen=True):
    """What is told: `detail` is JSON text, `detail_type` at most 128 characters."""

    detail_type: str
    detail: str


class Bus:
    """One event bus."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = name

    def put(self, entries: Sequence[Entry]) -> list[str | None]:
        """Put entries on the bus; one call for ten.

        Returns, for each in order, None when it was taken, else EventBridge's error code.
        """
        codes: list[str | None] = []
        for start in range(0, len(entries), _BATCH_LIMIT):
            answer = self._client.put_events(
                Entries=[
                    {
                        "EventBusName": self.name,
                        "Source": SOURCE,
                        "DetailType": entry.detail_type,
                        "Detail": entry.detail,
                    }
                    for entry in entries[start : start + _BATCH_LIMIT]
                ]
            )
            codes += [result.get("ErrorCode") for result in answer["Entries"]]
        return codes


NO_SCHEMA_VERSION = 1
"""What `schemaVersion` says of an event whose type has no schema."""


def silver_document(
    event: Event, data: Any, processed_at: str, bronze_bucket: str, *, is_base64: bool = False
) -> str:
    """The silver document as JSON; `PermanentError` when `data` is nothing JSON can hold.

    `is_base64` says that `data` is base64 text of a payload that is neither JSON nor text.
    """
    encoding = {"dataEncoding": "base64"} if is_base64 else {}
    try:
        head = _head(event, processed_at, bronze_bucket)
        return dump_json({**head, **encoding, "data": data})
    except (TypeError, ValueError, RecursionError) as error:
        raise PermanentError("the processor's result is no JSON", code="result") from error


def envelope(
    event: Event,
    processed_at: str,
    bronze_bucket: str,
    silver_bucket: str,
    silver_key: str,
    *,
    silver_range: str | None = None,
) -> str:
    """The `detail` of the EventBridge entry as JSON: the document without its data, and where the
    document lies (`range`: in the file of its unit). `eventId` is what a consumer tells repeats
    by."""
    within = {} if silver_range is None else {"range": silver_range}
    silver = {"bucket": silver_bucket, "key": silver_key, **within}
    return dump_json({**_head(event, processed_at, bronze_bucket), "silver": silver})


def _head(event: Event, processed_at: str, bronze_bucket: str) -> dict[str, Any]:
    context = event.cloud_event or {}
    return {
        "eventId": event.event_id,
        "eventType": event.event_type,
        "source": event.source,
        "subject": event.subject,
        "owner": event.owner,
        "time": context.get("time", event.received_at),
        "receivedAt": event.received_at,
        "processedAt": processed_at,
        "schemaVersion": event.schema_version or NO_SCHEMA_VERSION,
        **({} if event.cloud_event is None else {"cloudEvent": event.cloud_event}),
        "bronze": {
            "bucket": bronze_bucket,
            "key": event.s3_key,
            **({} if event.s3_range is None else {"range": event.s3_range}),
            "sha256": event.payload_sha256,
        },
    }
