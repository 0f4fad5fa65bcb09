"""Recording uploads: from an S3 notification to one record for each created object.

S3 invokes the function asynchronously, and Lambda drops an invocation after three failures. So a
record that cannot be stored goes to the dead-letter queue, as S3 sent it and with the reason, and
the others are stored all the same. To try one again, invoke the function with
`{"Records": [<the message's body>]}`: the result is the same however often and in whatever order.
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
    """The collaborators of `record_uploads`; records expire after `ttl_seconds`."""

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

    One call a record, one more for each dead letter; none for S3's test message and for events
    other than creations. If the queue fails too, its error is raised after all other records are
    stored, so that Lambda tries the notification again.
    """
    tally = Tally()
    failures: list[tuple[object, ProcessingError]] = []
    records = notification.get("Records")
    if not isinstance(records, list):
        records = []
        if notification.get("Event") == "s3:TestEvent":
            tally.ignored += 1
        else:
            error = PermanentError("the notification has no list of records", code=MALFORMED)
            failures.append((notification, error))
    for record in records:
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
