"""The worker and reconcile over the same stores, with the comparison of the stores."""

import json
from datetime import timedelta
from typing import Any

from chalicelib.aws.sqs import Delivery
from chalicelib.aws.threads import in_turn
from chalicelib.core.errors import BatchIncompleteError
from chalicelib.events.bus import document_head
from chalicelib.events.finish import run_processor
from chalicelib.events.model import Event
from chalicelib.events.process_unit import finish_open_units
from chalicelib.recovery.compare import CompareDeps
from chalicelib.recovery.reconcile import ReconcileDeps, Report, reconcile
from tests.support.factories import make_body, make_event, make_message
from tests.support.fake_results import fake_point_at
from tests.support.fake_stores import FakeCheckpointStore, FakeEventIndex
from tests.support.worker_on_fakes import Worker

STUCK_AFTER = 900


class Stores(Worker):
    """The worker on fakes, and reconcile beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds_of_reconcile = [60.0]
        self.full_scan_every: timedelta | None = timedelta(hours=1)

    def reconcile(self) -> Report:
        """Run once; `seconds_of_reconcile` is what is left at each look at the clock."""

        def remaining() -> float:
            seconds = self.seconds_of_reconcile
            return seconds.pop(0) if len(seconds) > 1 else seconds[0]

        index, checkpoints = FakeEventIndex(self.aws), FakeCheckpointStore(self.aws)
        deps = ReconcileDeps(
            ledger=self.ledger,
            index=index,
            lake=self.lake,
            queue=self.queue,
            checkpoints=checkpoints,
            alerts=self.alerts,
            stuck_after=STUCK_AFTER,
            max_requeues=3,
            backlog_limit=1000,
            full_scan_every=self.full_scan_every,
            run_id="run",
            remaining=remaining,
            comparing=CompareDeps(
                self.ledger,
                index,
                self.lake,
                checkpoints,
                fake_point_at(self.aws),
                self._make_document,
                "test",
                remaining,
                self.clock,
                in_turn,
            ),
            finish_units=lambda: finish_open_units(self.worker()),
            now=self.clock,
            each=in_turn,
        )
        return reconcile(deps)

    def compare(self) -> dict[str, Any]:
        """Let everything settle, and compare in one run; the report."""
        self.clock.advance(4000)
        report = self.reconcile().comparison
        assert report is not None
        return report

    def processed(self, event_type: str = "demo", **fields: Any) -> Event:
        """An event that has gone all the way."""
        payload = make_body(event_type, **fields)
        event = make_event(event_type=event_type, payload=payload, at=self.clock())
        self.lake.put_bronze(event, payload)
        self.queue.send(make_message(event, payload))
        self.work()
        return event

    def processed_unit(self, *bodies: bytes) -> list[Event]:
        """A unit of events that has gone all the way."""
        events, delivery = self.unit(*bodies)
        self.queue.send(delivery.body)
        self.work()
        return events

    def work(self) -> None:
        """Let the worker take what is on the queue, until there is no more to take at this time."""
        for _ in range(10):
            records = self.queue.receive()
            if not records:
                return
            try:
                self.run(*map(Delivery.from_record, records))
            except BatchIncompleteError:
                self.clock.advance(60)
            else:
                self.queue.acknowledge(records)

    def lose(self, bucket: str, key: str | None) -> bytes:
        """Delete an object by hand; what was in it."""
        assert key is not None
        return self.aws.objects.pop((bucket, key)).body

    def reports(self) -> list[dict[str, Any]]:
        """The reports that are kept, the oldest first."""
        keys = sorted(
            key for bucket, key in self.aws.objects if bucket == "bronze" and "reports/" in key
        )
        return [json.loads(self.aws.objects["bronze", key].body) for key in keys]

    def _make_document(
        self, event: Event, payload: bytes, attempt: int, seconds: float, processed_at: str
    ) -> str:
        result = run_processor(event, payload, attempt, seconds, self.worker())
        return result.document(document_head(event, processed_at, "bronze"))
