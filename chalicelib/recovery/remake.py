"""Which silver document is an event's: what the ledger says of it, changed after the fact.

The worker writes it once, when the event turns PROCESSED (`event_store`); here it is corrected when
a document was lost and made again.

Making a lost silver document again, from bronze.

The event was PROCESSED, and the bus was told: neither is done again, and no attempt is counted. The
document says when it was processed the first time, so it is the lost one, byte for byte, if its
processor still makes the same of the same payload.

A document that was an object of its own comes back under its own key. One that was a line in the
file of its unit does too: that file decides for ever who is in it, and others may have lines there,
so it is never written again; the ledger then points to the new object (ADR 0013).
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from botocore.exceptions import ClientError
from msgspec import Struct

from chalicelib.aws.dynamodb import to_attribute
from chalicelib.core import clock
from chalicelib.core.errors import NotFoundError, aws_code, is_aws_fault
from chalicelib.core.log import log, log_context, where
from chalicelib.events.finish import check_payload
from chalicelib.events.keys import silver_key
from chalicelib.events.lake import Lake
from chalicelib.events.model import Event, Record, Status, Step


class ResultStore:
    """Corrects the ledger's entries of PROCESSED events."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def point_at(self, record: Record, silver_key: str, at: str, detail: str) -> bool:
        """Let the ledger say that an event's document is the object `silver_key`, all of it, with a
        step that says why; False if the event has moved on since `record` was read. One call."""
        step = Step(Status.PROCESSED, at, detail)
        is_same = "#status = :processed AND silverKey = :before AND updatedAt = :seen"
        try:
            self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": f"EVENT#{record.event.event_id}"}},
                UpdateExpression=(
                    "SET silverKey = :key, updatedAt = :at,"
                    " #timeline = list_append(#timeline, :steps) REMOVE silverRange"
                ),
                ConditionExpression=is_same,
                ExpressionAttributeNames={"#status": "status", "#timeline": "timeline"},
                ExpressionAttributeValues={
                    ":key": {"S": silver_key},
                    ":at": {"S": at},
                    ":steps": to_attribute([step.to_dict()]),
                    ":processed": {"S": str(Status.PROCESSED)},
                    ":before": {"S": record.silver_key or ""},
                    ":seen": {"S": record.updated_at},
                },
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return False
        return True


LONGEST_SECONDS = 10.0
"""What a processor gets at most, so that one that hangs does not use up a run."""
_DETAIL = "silver document made again by reconcile"


class MakeDocument(Protocol):
    """Runs an event's processor; gives its silver document, or raises what that raises."""

    def __call__(
        self, event: Event, payload: bytes, attempt: int, seconds: float, processed_at: str, /
    ) -> str:
        """The document, in at most `seconds`."""


class RemakeDeps(Struct, frozen=True):
    """The collaborators of `remake`."""

    lake: Lake
    results: ResultStore
    make_document: MakeDocument
    now: Callable[[], datetime] = clock.utc_now


def remake(record: Record, deps: RemakeDeps) -> bool:
    """Make the silver document of a PROCESSED event again; three calls.

    False when that cannot be: its payload is gone or another, or its processor fails; the reason
    is logged. An AWS error passes through.
    """
    event = record.event
    with log_context(eventId=event.event_id, owner=event.owner):
        try:
            payload = check_payload(event, deps.lake.get_bronze(event.s3_key, event.s3_range))
            attempt, processed_at = max(record.attempts, 1), _processed_at(record)
            document = deps.make_document(event, payload, attempt, LONGEST_SECONDS, processed_at)
        except NotFoundError:
            log.error("silver document not made again", extra={"code": "payload-missing"})
            return False
        except (Exception, SystemExit) as error:
            if is_aws_fault(error):
                raise
            extra = {"code": getattr(error, "code", aws_code(error)), "where": where(error)}
            log.error("silver document not made again", extra=extra)
            return False
        key = silver_key(event)
        # False, if somebody was faster: then the document is there, which is all that is wanted.
        deps.lake.put_silver(key, document)
        deps.results.point_at(record, key, clock.to_text(deps.now()), _DETAIL)
        log.warning("silver document made again")
        return True


def _processed_at(record: Record) -> str:
    """When it was processed, as its document said."""
    for step in record.timeline:
        if step["status"] == Status.PROCESSED:
            return step["at"]
    return record.updated_at
