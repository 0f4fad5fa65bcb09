"""Making a lost silver document again, from bronze.

The event was PROCESSED and published to the bus: neither is done again, and no attempt is counted.
The document says when it was processed the first time, so it equals the lost one byte for byte if
its processor still makes the same of the same payload.

A document that was an object of its own comes back under its own key. So does one that was a line
in the file of its unit: that file is never written again, since it decides which events are in it
and other events may have lines there. The ledger then points to the new object (ADR 0013).
"""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from chalicelib.aws.dynamodb import Table, to_item
from chalicelib.core import clock
from chalicelib.core.errors import NotFoundError, aws_code, is_aws_fault
from chalicelib.core.log import log, log_context, where
from chalicelib.events.finish import check_payload
from chalicelib.events.keys import silver_key
from chalicelib.events.lake import Lake
from chalicelib.events.model import Event, Record, Status, Step

LONGEST_SECONDS = 10.0
"""The most that a processor gets, so that one that hangs does not use up a run."""
REMADE = "silver document made again by reconcile"
"""The detail of the step that `point_at` adds."""


class MakeDocument(Protocol):
    """Runs an event's processor for at most `seconds`; returns its silver document, or raises the
    processor's error."""

    def __call__(
        self, event: Event, payload: bytes, attempt: int, seconds: float, processed_at: str, /
    ) -> str: ...


class RemakeDeps(Struct, frozen=True):
    """The collaborators of `remake`; `point_at` is the function below, given its table."""

    lake: Lake
    point_at: Callable[[Record, str, str], bool]
    make_document: MakeDocument
    now: Callable[[], datetime] = clock.utc_now


def remake(record: Record, deps: RemakeDeps) -> bool:
    """Make the silver document of a PROCESSED event again; three calls.

    False, with a reason in the log, when its payload is gone or changed, or its processor fails. An
    AWS error passes through.
    """
    event = record.event
    with log_context(eventId=event.event_id, owner=event.owner):
        try:
            payload = check_payload(event, deps.lake.get_bronze(event.s3_key, event.s3_range))
            document = deps.make_document(
                event, payload, max(record.attempts, 1), LONGEST_SECONDS, _processed_at(record)
            )
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
        # False if another run was faster: then the document is there, which is all that counts.
        deps.lake.put_silver(key, document)
        deps.point_at(record, key, clock.to_text(deps.now()))
        log.warning("silver document made again")
        return True


def point_at(ledger: Table, record: Record, key: str, at: str) -> bool:
    """Make the ledger say that an event's document is the silver object `key`, all of it; False if
    the event has changed since `record` was read. One call."""
    values = {
        ":key": key,
        ":at": at,
        ":steps": [Step(Status.PROCESSED, at, REMADE).to_dict()],
        ":processed": Status.PROCESSED,
        ":before": record.silver_key or "",
        ":seen": record.updated_at,
    }
    is_unchanged = "#status = :processed AND silverKey = :before AND updatedAt = :seen"
    outcome = ledger.write(
        "update_item",
        Key={"pk": {"S": f"EVENT#{record.event.event_id}"}},
        UpdateExpression="SET silverKey = :key, updatedAt = :at,"
        " #timeline = list_append(#timeline, :steps) REMOVE silverRange",
        ConditionExpression=is_unchanged,
        ExpressionAttributeNames={"#status": "status", "#timeline": "timeline"},
        ExpressionAttributeValues=to_item(values),
    )
    return outcome.made


def _processed_at(record: Record) -> str:
    """When it was processed, as its document said."""
    for step in record.timeline:
        if step["status"] == Status.PROCESSED:
            return step["at"]
    return record.updated_at
