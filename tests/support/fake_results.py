"""What the ledger says of silver documents, in memory."""

from msgspec.structs import replace

from chalicelib.events.model import Record, Status, Step
from chalicelib.recovery.remake import ResultStore
from tests.support.fake_stores import FakeAws


class FakeResultStore(ResultStore):
    """Corrects the ledger's entries."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws

    def point_at(self, record: Record, silver_key: str, at: str, detail: str) -> bool:
        def effect() -> bool:
            old = self._aws.records.get(record.event.event_id)
            seen = (Status.PROCESSED, record.silver_key, record.updated_at)
            if old is None or (old.status, old.silver_key, old.updated_at) != seen:
                return False
            step = Step(Status.PROCESSED, at, detail)
            self._aws.records[record.event.event_id] = replace(
                old,
                silver_key=silver_key,
                silver_range=None,
                updated_at=at,
                timeline=(*old.timeline, step.to_dict()),
            )
            return True

        return self._aws.call("UpdateItem", effect)
