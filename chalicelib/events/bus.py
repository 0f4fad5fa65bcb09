"""What processing an event gives: its silver document, and the entry on the stage's EventBridge bus
that announces the document.

Source: Amazon EventBridge API Reference, "PutEvents": an answer of 200 may hold failed entries.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from chalicelib.aws.faults import aws_code, aws_faults
from chalicelib.core.strict_json import dump_json
from chalicelib.events.model import Event

SOURCE = "eventline"
_BATCH_LIMIT = 10


class BusEntry(Struct, frozen=True):
    """An entry of the bus: `detail` is JSON text, `detail_type` at most 128 characters."""

    detail_type: str
    detail: str


class Bus:
    """One event bus."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = name

    def put(self, entries: Sequence[BusEntry]) -> list[str | None]:
        """Publish entries; one call for ten. For each in order: None if EventBridge took it, else
        the error code of the entry or of the call."""
        codes: list[str | None] = []
        for start in range(0, len(entries), _BATCH_LIMIT):
            some = entries[start : start + _BATCH_LIMIT]
            try:
                codes += self._put(some)
            except aws_faults() as error:
                codes += [aws_code(error)] * len(some)
        return codes

    def _put(self, entries: Sequence[BusEntry]) -> list[str | None]:
        answer = self._client.put_events(
            Entries=[
                {
                    "EventBusName": self.name,
                    "Source": SOURCE,
                    "DetailType": entry.detail_type,
                    "Detail": entry.detail,
                }
                for entry in entries
            ]
        )
        return [result.get("ErrorCode") for result in answer["Entries"]]


def document_head(event: Event, processed_at: str, bronze_bucket: str) -> dict[str, Any]:
    """The silver document without its data."""
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
        "schemaVersion": event.schema_version or 1,  # 1 also for a type that has no schema
        **({} if event.cloud_event is None else {"cloudEvent": event.cloud_event}),
        "bronze": {
            **_place(bronze_bucket, event.s3_key, event.s3_range),
            "sha256": event.payload_sha256,
        },
    }


def silver_document(head: Mapping[str, Any], data: str, *, is_base64: bool) -> str:
    """The silver document in JSON; `data` is JSON. `is_base64`: it is the base64 text of a payload
    that is neither JSON nor text."""
    encoding = ',"dataEncoding":"base64"' if is_base64 else ""
    return f'{dump_json(head)[:-1]}{encoding},"data":{data}}}'


def bus_entry(
    head: Mapping[str, Any], silver_bucket: str, key: str, byte_range: str | None
) -> BusEntry:
    """The entry that announces a document: its `detail` is the document without its data, and where
    the document is (`range`: in a file of many). Consumers find repeats by `eventId`."""
    silver = _place(silver_bucket, key, byte_range)
    return BusEntry(head["eventType"], dump_json({**head, "silver": silver}))


def _place(bucket: str, key: str, byte_range: str | None) -> dict[str, str]:
    place = {"bucket": bucket, "key": key}
    return place if byte_range is None else {**place, "range": byte_range}
