"""What comes out of processing: the silver document, and the envelope that tells of it."""

from typing import Any

from chalicelib.domain.events import Event
from chalicelib.domain.payloads import dump_json
from chalicelib.errors import PermanentError

SCHEMA_VERSION = 1


def silver_document(event: Event, data: Any, processed_at: str, bronze_bucket: str) -> str:
    """The silver document as JSON; `PermanentError` when `data` is nothing JSON can hold."""
    try:
        return dump_json({**_head(event, processed_at, bronze_bucket), "data": data})
    except (TypeError, ValueError, RecursionError) as error:
        raise PermanentError("the processor's result is no JSON", code="result") from error


def envelope(
    event: Event, processed_at: str, bronze_bucket: str, silver_bucket: str, silver_key: str
) -> str:
    """The `detail` of the EventBridge entry as JSON: the document without its data, and where the
    document lies. `eventId` is what a consumer tells repeats by."""
    silver = {"bucket": silver_bucket, "key": silver_key}
    return dump_json({**_head(event, processed_at, bronze_bucket), "silver": silver})


def _head(event: Event, processed_at: str, bronze_bucket: str) -> dict[str, Any]:
    return {
        "eventId": event.event_id,
        "eventType": event.event_type,
        "source": event.source,
        "subject": event.subject,
        "owner": event.owner,
        "time": event.received_at,
        "receivedAt": event.received_at,
        "processedAt": processed_at,
        "schemaVersion": SCHEMA_VERSION,
        "bronze": {
            "bucket": bronze_bucket,
            "key": event.s3_key,
            "sha256": event.payload_sha256,
        },
    }
