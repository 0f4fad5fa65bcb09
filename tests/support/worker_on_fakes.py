"""The worker on fakes, with processors that fail in every way."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.aws.sqs import Delivery
from chalicelib.aws.threads import in_turn
from chalicelib.core.errors import PermanentError, TransientError
from chalicelib.events.batch import Form, read_item
from chalicelib.events.finish import WorkerDeps
from chalicelib.events.keys import silver_key
from chalicelib.events.message import EventsMessage, Parcel, encode_messages
from chalicelib.events.model import Event, Status, Step
from chalicelib.events.processors import Incoming, Processor
from chalicelib.events.unit import Checked, Unit, make_events, pack, to_metadata
from chalicelib.events.worker import process_batch
from tests.support.factories import (
    Clock,
    decode_events,
    make_body,
    make_delivery,
    make_event,
    make_id,
    make_message,
    unique,
)
from tests.support.fake_bus import FakeBus
from tests.support.fake_lake import FakeLake
from tests.support.fake_queue import FakeQueue
from tests.support.fake_stores import FakeAws, FakeEventStore, FakeJournal
from tests.support.faults import Fault, suffer

MAX_ATTEMPTS = 5
WEBHOOK_OWNER = "webhooks"


def permanent(_incoming: Incoming) -> Any:
    raise PermanentError("no such customer", code="customer")


def transient(_incoming: Incoming) -> Any:
    raise TransientError("try later", code="busy")


def crash(incoming: Incoming) -> Any:
    raise RuntimeError(f"secret {incoming.data['secret']}")


def leave(_incoming: Incoming) -> Any:
    raise SystemExit(1)


def hang(_incoming: Incoming) -> Any:
    time.sleep(30)


def no_json(_incoming: Incoming) -> Any:
    return {"when": {1, 2}}


def with_attempt(incoming: Incoming) -> Any:
    return {"attempt": incoming.attempt, "type": incoming.event.event_type}


PROCESSORS: Mapping[str, Processor] = {
    "permanent": permanent,
    "transient": transient,
    "crash": crash,
    "leave": leave,
    "hang": hang,
    "no-json": no_json,
    "with-attempt": with_attempt,
}


class Worker:
    """The worker on fakes, and a queue that delivers to it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.aws = FakeAws(self.clock)
        self.dead_letters = FakeQueue(self.aws)
        self.queue = FakeQueue(self.aws)
        self.alerts = FakeQueue(self.aws)
        self.bus = FakeBus(self.aws)
        self.ledger = FakeEventStore(self.aws)
        self.journal = FakeJournal(self.aws)
        self.lake = FakeLake(self.aws)
        self.seconds = 60.0
        self.owner = "alice"
        """Who owns the units."""
        self.processors = dict(PROCESSORS)

    def run(self, *deliveries: Delivery) -> None:
        """Process a batch."""
        self.aws.calls.clear()
        process_batch(deliveries, self.worker())

    def worker(self) -> WorkerDeps:
        """What the worker works with."""
        return WorkerDeps(
            ledger=self.ledger,
            journal=self.journal,
            lake=self.lake,
            bus=self.bus,
            queue=self.queue,
            alerts=self.alerts,
            dead_letters=self.dead_letters,
            processors=self.processors,
            max_attempts=MAX_ATTEMPTS,
            retry_base=5,
            seconds_left=lambda: self.seconds,
            now=self.clock,
            jitter=lambda: 1.0,
            webhook_owner=WEBHOOK_OWNER,
            each=in_turn,
        )

    def event(self, event_type: str = "demo", **fields: Any) -> tuple[Event, Delivery]:
        """An event on the queue that the ledger has not heard of, and its first delivery."""
        payload = make_body(event_type, **fields)
        event = make_event(event_type=event_type, payload=payload)
        return event, make_delivery(make_message(event, payload, in_bronze=False))

    def unit(self, *bodies: bytes, sent_along: bool = True) -> tuple[list[Event], Delivery]:
        """A unit of events that is in bronze and the ledger, and its first delivery."""
        unit = Unit(make_id(), self.owner, self.clock.text, Form.PLAIN)
        items = [Checked(read_item(body, unit.form)) for body in bodies]
        events = make_events(unit, items)
        self.lake.put_unit(unit.key, pack(bodies)[0], to_metadata(unit, items))
        for event in events:
            self.ledger.add(event, [Step(Status.RECEIVED, event.received_at)])
        payloads = bodies if sent_along else (None,) * len(bodies)
        parcels = map(Parcel, events, payloads)
        ((body, _),) = encode_messages(parcels, unique("request"))
        return events, make_delivery(body)

    def line(self, event: Event) -> Any:
        """The event's silver document, as the ledger says where it is."""
        record = self.aws.records[event.event_id]
        assert record.silver_key
        return json.loads(self.lake.get_silver(record.silver_key, record.silver_range))

    def detached(self) -> list[EventsMessage]:
        """The messages of detached events."""
        return [decode_events(body) for body in self.queue.sent]

    def status(self, event: Event) -> Status:
        return self.aws.records[event.event_id].status

    def silver(self, event: Event) -> Any:
        return json.loads(self.lake.get_silver(silver_key(event)))


def again(delivery: Delivery, attempt: int) -> Delivery:
    """The same message, delivered for the `attempt`th time."""
    return make_delivery(delivery.body, attempt)


def refusing(operation: str) -> Callable[[str, Callable[[], Any]], Any]:
    """A gate that AWS refuses one operation at."""

    def gate(name: str, effect: Callable[[], Any]) -> Any:
        return suffer(Fault.REFUSED if name == operation else None, name, effect)

    return gate
