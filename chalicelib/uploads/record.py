"""Recording uploads: from an S3 notification to one record for each created object.

S3 invokes the function asynchronously: Lambda tries a failed one twice more and forgets it. So what
cannot be recorded goes to the dead-letter queue, as the record that S3 sent and with the reason,
and its neighbours are recorded all the same. To try one again, invoke the function with
`{"Records": [<the message's body>]}`: recording is the same however often and in whatever order.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from chalicelib.aws.sqs import Queue
from chalicelib.core import clock
from chalicelib.core.errors import PermanentError, ProcessingError
from chalicelib.core.log import log
from chalicelib.uploads.model import MALFORMED, read_notification
from chalicelib.uploads.store import UploadStore


class RecordDeps(Struct, frozen=True):
    """The collaborators of `record_uploads`; a record is kept for `ttl_seconds`."""

    store: UploadStore
    dead_letters: Queue
    ttl_seconds: int
    now: Callable[[], datetime] = clock.utc_now


class Tally(Struct):
    """What became of the records of a notification."""

    recorded: int = 0
    known: int = 0
    ignored: int = 0
    dead: int = 0

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


def record_uploads(notification: Mapping[str, Any], deps: RecordDeps) -> Tally:
    """Record every object that the notification says was created.

    One call a record, one more for each that goes to the dead-letter queue; S3's test message and
    other events than creations need none. Raises what the queue raised when it cannot be reached
    either, after all others were recorded, so that Lambda tries the notification again.
    """
    tally = Tally()
    failures: list[tuple[object, ProcessingError]] = []
    for record in _records(notification, failures, tally):
        try:
            _record(record, deps, tally)
        except ProcessingError as error:
            failures.append((record, error))
    for record, failure in failures:
        reason = {"reason": failure.detail, "code": failure.code}
        deps.dead_letters.send(json.dumps(record), reason)
        tally.dead += 1
        log.error("upload not recorded", extra=reason)
    return tally


def _records(
    notification: Mapping[str, Any], failures: list[tuple[object, ProcessingError]], tally: Tally
) -> list[object]:
    records = notification.get("Records")
    if isinstance(records, list):
        return records
    if notification.get("Event") == "s3:TestEvent":
        tally.ignored += 1
    else:
        error = PermanentError("the notification has no list of records", code=MALFORMED)
        failures.append((notification, error))
    return []


def _record(record: object, deps: RecordDeps, tally: Tally) -> None:
    created = read_notification(record, deps.now(), deps.ttl_seconds)
    if created is None:
        tally.ignored += 1
        return
    ids = {"objectId": created.object_id, "owner": created.owner}
    if deps.store.add(created):
        tally.recorded += 1
        log.info("upload recorded", extra={**ids, "size": created.size})
    else:
        tally.known += 1
        log.info("upload was recorded before", extra=ids)
