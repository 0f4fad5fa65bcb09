"""What the ledger says of silver documents, in memory."""

from collections.abc import Callable

from msgspec.structs import replace

from chalicelib.events.model import Record, Status, Step
from chalicelib.recovery.compare import REMADE
from tests.support.fake_stores import FakeAws


def fake_point_at(aws: FakeAws) -> Callable[[Record, str, str], bool]:
    """`point_at` on the records in memory."""

    def point_at(record: Record, key: str, at: str) -> bool:
        def effect() -> bool:
            old = aws.records.get(record.event.event_id)
            seen = (Status.PROCESSED, record.silver_key, record.updated_at)
            if old is None or (old.status, old.silver_key, old.updated_at) != seen:
                return False
            step = Step(Status.PROCESSED, at, REMADE)
            aws.records[record.event.event_id] = replace(
                old,
                silver_key=key,
                silver_range=None,
                updated_at=at,
                timeline=(*old.timeline, step.to_dict()),
            )
            return True

        return aws.call("UpdateItem", effect)

    return point_at
