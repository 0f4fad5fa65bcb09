"""Reconcile on fakes."""

from datetime import timedelta

from chalicelib.aws.threads import in_turn
from chalicelib.events.model import Event, Record, Status, Step
from chalicelib.recovery.reconcile import ReconcileDeps, Report, reconcile
from tests.support.factories import Clock, decode_events, make_body, make_event
from tests.support.fake_lake import FakeLake
from tests.support.fake_queue import FakeQueue
from tests.support.fake_stores import FakeAws, FakeCheckpointStore, FakeEventIndex, FakeEventStore

STUCK_AFTER = 900
MAX_REQUEUES = 3


class Platform:
    """Reconcile on fakes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.aws = FakeAws(self.clock)
        self.queue = FakeQueue(self.aws)
        self.alerts = FakeQueue(self.aws)
        self.ledger = FakeEventStore(self.aws)
        self.lake = FakeLake(self.aws)
        self.checkpoints = FakeCheckpointStore(self.aws)
        self.backlog_limit = 1000
        self.units_finished = 0
        self.stuck_after = STUCK_AFTER
        self.seconds = [60.0]
        self.full_scan_every: timedelta | None = timedelta(hours=1)

    def run(self) -> Report:
        """Run once; `seconds` holds what is left at each look at the clock."""
        deps = ReconcileDeps(
            ledger=self.ledger,
            index=FakeEventIndex(self.aws),
            lake=self.lake,
            queue=self.queue,
            checkpoints=self.checkpoints,
            alerts=self.alerts,
            stuck_after=self.stuck_after,
            max_requeues=MAX_REQUEUES,
            backlog_limit=self.backlog_limit,
            full_scan_every=self.full_scan_every,
            run_id="run",
            finish_units=lambda: self.units_finished,
            remaining=lambda: self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0],
            now=self.clock,
            each=in_turn,
        )
        return reconcile(deps)

    def watch_lookups(self) -> list[list[str]]:
        """From now on, the ids that are looked up, a list a call."""
        asked: list[list[str]] = []

        class Watch(FakeEventStore):
            def get_many(self, event_ids: list[str]) -> dict[str, Record]:
                if event_ids:
                    asked.append(event_ids)
                return super().get_many(event_ids)

        self.ledger = Watch(self.aws)
        return asked

    def stuck(self, status: Status = Status.RECEIVED, event_type: str = "demo") -> Event:
        """An event in bronze and the ledger that nothing happens to."""
        event = self.orphan(event_type)
        steps = [Step(Status.RECEIVED, event.received_at)]
        if status is Status.ENQUEUED:
            steps.append(Step(Status.ENQUEUED, event.received_at))
        self.ledger.add(event, steps)
        return event

    def orphan(self, event_type: str = "demo") -> Event:
        """An event in bronze that the ledger has not heard of."""
        payload = make_body(event_type)
        event = make_event(event_type=event_type, payload=payload, at=self.clock())
        self.lake.put_bronze(event, payload)
        return event

    def sent(self) -> list[str]:
        """The ids of the events that were sent."""
        messages = [decode_events(body) for body in self.queue.sent]
        return [parcel.event.event_id for message in messages for parcel in message.parcels]
