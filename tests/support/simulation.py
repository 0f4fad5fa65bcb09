"""The platform in memory: senders, Lambda's poller, workers, reconcile and a clock.

What the platform promises is checked by `check_always` after every AWS call, and by `check_end`
when all has come to rest.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TypeVar

from msgspec.structs import replace

from chalicelib.aws.faults import is_aws_fault
from chalicelib.aws.sqs import Delivery
from chalicelib.aws.threads import in_turn
from chalicelib.core.errors import BatchIncompleteError, IdempotencyConflictError
from chalicelib.destinations.handover import HandOverDeps, Routes, hand_over
from chalicelib.destinations.line import LineStore
from chalicelib.destinations.model import Route
from chalicelib.events.batch import Form
from chalicelib.events.finish import Handed, WorkerDeps
from chalicelib.events.ingest import IngestDeps, Receipt, ingest
from chalicelib.events.ingest_batch import Batch, Outcome, ingest_batch
from chalicelib.events.keys import parse_bronze_key
from chalicelib.events.message import ReplayMessage, decode_message
from chalicelib.events.model import OPEN, Record, Status
from chalicelib.events.process_unit import finish_open_units
from chalicelib.events.processors import PROCESSORS
from chalicelib.events.unit import read_unit, unpack
from chalicelib.events.worker import process_batch
from chalicelib.recovery.reconcile import ReconcileDeps, reconcile
from tests.support.factories import Clock, make_id, make_submission, no_schema
from tests.support.fake_bus import FakeBus
from tests.support.fake_lake import FakeLake
from tests.support.fake_queue import FakeQueue
from tests.support.fake_stores import (
    FakeAws,
    FakeCheckpointStore,
    FakeEventIndex,
    FakeEventStore,
    FakeJournal,
)
from tests.support.faults import Fault, ProcessKilledError
from tests.support.simulated_actors import Actor, Stage
from tests.support.simulated_operator import AbortReplays, Operator, Redrive, ReplayMany

STUCK_AFTER = 900
VISIBILITY = 360
MAX_ATTEMPTS = 5
OTHER_BODY = b'{"eventType":"demo","n":2}'
"""Goes to bronze at once, as a large payload does."""
_ROUNDS_TO_REST = 40
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Send:
    """A sender posts `body`."""

    body: bytes
    owner: str = "alice"
    key: str | None = None


@dataclass(frozen=True)
class SendBatch:
    """A sender posts many bodies at once."""

    bodies: tuple[bytes, ...]
    owner: str = "alice"

    def sends(self) -> list[Send]:
        """Its items, as if each were sent alone."""
        return [Send(body, self.owner, _key(body)) for body in self.bodies]


@dataclass(frozen=True)
class Work:
    """Lambda delivers a batch to a worker; `again`: one that another worker has just now."""

    limit: int = 10
    again: bool = False
    newest_first: bool = False


@dataclass(frozen=True)
class Reconcile:
    """The schedule runs."""


Job = Send | SendBatch | Work | Reconcile | ReplayMany | AbortReplays | Redrive


@dataclass(frozen=True)
class Together:
    """Jobs at the same time. `order` says who makes the next call; `faults` are (job, call,
    what happens)."""

    jobs: Sequence[Job]
    order: Sequence[int] = ()
    faults: Sequence[tuple[int, int, Fault]] = ()


@dataclass(frozen=True)
class Wait:
    """Time passes."""

    seconds: int


class ToOne(Routes):
    """Everybody has one destination, for all events."""

    def __init__(self) -> None:
        """It reads nothing."""

    def of(self, owner: str) -> list[Route]:
        return [Route(make_id(), ("*",))]


@dataclass
class World:
    """The platform and what was seen of it."""

    start: datetime
    trace: list[str] = field(default_factory=list)
    receipts: list[tuple[Send, Receipt]] = field(default_factory=list)
    rejected: list[tuple[Send, str]] = field(default_factory=list)
    """What was refused for its content, and the event that it is kept as."""
    refused: list[Send] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = Clock(self.start)
        self.aws = FakeAws(self.clock)
        self.dead_letters = FakeQueue(self.aws)
        self.alerts = FakeQueue(self.aws)
        self.bus = FakeBus(self.aws)
        self.deliveries = FakeQueue(self.aws)
        self.queue = FakeQueue(
            self.aws,
            visibility=VISIBILITY,
            max_deliveries=MAX_ATTEMPTS,
            dead_letters=self.dead_letters,
        )
        self.ledger = FakeEventStore(self.aws)
        self.lake = FakeLake(self.aws)
        self.operator = Operator(self.aws, self.queue, self.note)
        self._randoms = iter(range(1, 10**6))
        self._turns = 0
        self._written: dict[tuple[str, str], bytes] = {}
        self._lives: dict[str, Record] = {}
        self._stage = Stage(self.aws, self._tick, self.note)

    def note(self, text: str) -> None:
        """Remember what happened, for whoever reads a failure."""
        self.trace.append(f"{self.clock.text} {text}")
        self.check_always()

    def play(self, part: Together | Wait) -> None:
        """Let `part` happen, whole."""
        if isinstance(part, Wait):
            self.clock.advance(part.seconds)
            self.note(f"waited {part.seconds} s")
            return
        actors = [self._actor(number, part) for number in range(len(part.jobs))]
        self._stage.play(actors, iter(part.order))
        for actor in actors:
            if actor.error is not None:
                self._check_error(actor)
        self.check_always()

    def come_to_rest(self) -> None:
        """Go on without faults until nothing is open any more."""
        for _ in range(_ROUNDS_TO_REST):
            self.play(Together([Reconcile()]))
            while any(message.visible_at <= self.clock() for message in self.queue.messages):
                self.play(Together([Work()]))
            at_work = self.aws.running or self.aws.units
            if not self.queue.messages and not self._unfinished() and not at_work:
                return
            self.play(Wait(STUCK_AFTER + 1))
        raise AssertionError(f"never comes to rest: {self._unfinished()}")

    def check_always(self) -> None:
        """What holds after every single call."""
        for place, kept in self.aws.objects.items():
            before = self._written.setdefault(place, kept.body)
            if kept.body != before:
                assert place[0] == "silver", f"{place} was overwritten"
                assert set(unpack(kept.body)) < set(unpack(before)), f"{place} was changed"
        sent = frozenset[str]().union(*map(_sent_ids, self.queue.sent))
        for event_id, record in self.aws.records.items():
            if record.status is Status.ENQUEUED:
                assert event_id in sent, f"{event_id} reads ENQUEUED but was never sent"
            before_record = self._lives.get(event_id)
            if before_record is not None and before_record is not record:
                length = len(before_record.timeline)
                assert record.timeline[:length] == before_record.timeline, "history was changed"
                facts = [
                    replace(one.event, s3_key="", s3_range=None) for one in (record, before_record)
                ]
                assert facts[0] == facts[1], "the facts were changed"
            self._lives[event_id] = record
        for owner, key in {(send.owner, send.key) for send, _ in self.receipts if send.key}:
            kept_as = {
                (receipt.event_id, send.body)
                for send, receipt in self.receipts
                if (send.owner, send.key) == (owner, key)
            }
            assert len(kept_as) == 1, f"key {key} of {owner} stands for {kept_as}"

    def _actor(self, number: int, part: Together) -> Actor:
        job = part.jobs[number]
        faults = {call: fault for whose, call, fault in part.faults if whose == number}
        act = self._act(job)

        def run() -> None:
            self._stage.enter(actor)
            act()

        actor = Actor(f"{number} {type(job).__name__}", run, faults)
        return actor

    def _act(self, job: Job) -> Callable[[], None]:
        match job:
            case Send():
                return lambda: self._send(job)
            case SendBatch():
                return lambda: self._send_batch(job)
            case Work():
                return lambda: self._work(job)
            case Reconcile():
                return self._reconcile
            case ReplayMany() | AbortReplays() | Redrive():
                return lambda: self.operator.do(job)

    def _send(self, send: Send) -> None:
        deps = IngestDeps(
            ledger=self.ledger,
            lake=self.lake,
            queue=self.queue,
            check_schema=no_schema,
            max_event_bytes=10_000,
            inline_bytes=0 if send.body == OTHER_BODY else 4096,
            now=self.clock,
            random=self._random,
            each=self._in_some_order,
        )
        self.sends.append(send)
        submission = make_submission(send.body, owner=send.owner, key=send.key)
        try:
            receipt = ingest(submission, deps)
        except IdempotencyConflictError:
            self.refused.append(send)
            self.note(f"refused {send}")
            return
        self.receipts.append((send, receipt))
        self.note(f"acknowledged {receipt.event_id} for {send}")

    def _send_batch(self, job: SendBatch) -> None:
        deps = IngestDeps(
            ledger=self.ledger,
            lake=self.lake,
            queue=self.queue,
            check_schema=no_schema,
            max_event_bytes=10_000,
            now=self.clock,
            random=self._random,
            each=in_turn,
        )
        body = b'{"events":[' + b",".join(job.bodies) + b"]}"
        sends = job.sends()
        self.sends += sends
        verdicts = ingest_batch(Batch(body, Form.PLAIN, job.owner, "request"), deps)
        assert [verdict.index for verdict in verdicts] == list(range(len(sends)))
        for send, verdict in zip(sends, verdicts, strict=True):
            if verdict.outcome in (Outcome.ACCEPTED, Outcome.DUPLICATE):
                assert verdict.event_id
                replayed = verdict.outcome is Outcome.DUPLICATE
                self.receipts.append((send, Receipt(verdict.event_id, replayed)))
            elif verdict.outcome is Outcome.REJECTED and verdict.event_id:
                self.rejected.append((send, verdict.event_id))
            elif verdict.outcome is Outcome.REJECTED:
                self.refused.append(send)
            self.note(f"{verdict.outcome} {verdict.event_id} for {send}")

    def _work(self, work: Work) -> None:
        receive = self.queue.deliver_again if work.again else self.queue.receive
        records = receive(work.limit)
        if work.newest_first:
            records.reverse()
        if not records:
            return
        self.note(f"delivered {[record['receiptHandle'] for record in records]}")
        process_batch([Delivery.from_record(record) for record in records], self._worker())
        self.queue.acknowledge(records)

    def _worker(self) -> WorkerDeps:
        return WorkerDeps(
            ledger=self.ledger,
            journal=FakeJournal(self.aws),
            lake=self.lake,
            bus=self.bus,
            queue=self.queue,
            alerts=self.alerts,
            dead_letters=self.dead_letters,
            processors=PROCESSORS,
            max_attempts=MAX_ATTEMPTS,
            retry_base=5,
            seconds_left=lambda: 60.0,
            now=self.clock,
            jitter=lambda: 0.0,
            webhook_owner="webhooks",
            random=self._random,
            each=in_turn,
            step_replay=self.operator.step,
            hand_over=self._hand_over,
        )

    def _hand_over(self, documents: Sequence[Handed]) -> list[str | None]:
        """One destination of everybody's gets everything."""
        return hand_over(
            documents,
            HandOverDeps(
                ToOne(), self.deliveries, LineStore(None, "none"), lambda: 60.0, each=in_turn
            ),
        )

    def _reconcile(self) -> None:
        deps = ReconcileDeps(
            ledger=self.ledger,
            index=FakeEventIndex(self.aws),
            lake=self.lake,
            queue=self.queue,
            checkpoints=FakeCheckpointStore(self.aws),
            alerts=self.alerts,
            stuck_after=STUCK_AFTER,
            max_requeues=3,
            backlog_limit=1000,
            full_scan_every=timedelta(hours=1),
            run_id="reconcile",
            remaining=lambda: 60.0,
            finish_units=lambda: finish_open_units(self._worker()),
            now=self.clock,
            each=in_turn,
        )
        reconcile(deps)
        self.operator.restart(STUCK_AFTER)

    def _random(self, count: int) -> bytes:
        return next(self._randoms).to_bytes(count, "big")

    def _in_some_order(self, work: Callable[[A], B], values: Iterable[A]) -> list[B]:
        """Work at the same time: each other time the last is first."""
        order = list(values)
        self._turns += 1
        return in_turn(work, order if self._turns % 2 else order[::-1])

    def _tick(self) -> None:
        self.clock.advance(0.001)

    def _check_error(self, actor: Actor) -> None:
        """Only what AWS and the operating system did may show, and a batch to be retried."""
        error = actor.error
        expected = isinstance(error, (ProcessKilledError, BatchIncompleteError))
        if error is not None and not expected and not is_aws_fault(error):
            raise AssertionError(f"{actor.name} raised {error!r}") from error

    def _unfinished(self) -> list[str]:
        open_ones = [id_ for id_, record in self.aws.records.items() if record.status in OPEN]
        kept = [place for place in self.aws.objects if place[0] == "bronze"]
        named = [parsed[1] for _, key in kept if (parsed := parse_bronze_key(key))]
        for place in kept:
            file = self.aws.objects[place]
            events = read_unit(place[1], file.metadata, file.body) or ()
            named += [event.event_id for event in events]
        return open_ones + [id_ for id_ in named if id_ not in self.aws.records]


def _key(body: bytes) -> str | None:
    """The idempotency key that an item has."""
    try:
        key: str | None = json.loads(body).get("idempotencyKey")
    except ValueError:
        return None
    return key


@lru_cache(maxsize=1000)
def _sent_ids(body: str) -> frozenset[str]:
    message = decode_message(body)
    if isinstance(message, ReplayMessage):
        return frozenset()
    return frozenset(parcel.event.event_id for parcel in message.parcels)
