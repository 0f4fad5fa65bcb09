"""Ingest of many events in one request: each item gets a verdict, in order.

One bad item never refuses the others, and a batch can be sent again whole. What is accepted travels
on together (ADR 0024):

    look up known identities -> check -> bronze, a file for a hundred -> ledger (RECEIVED) -> queue

A fault of AWS fails the items of that call; the others go on. As with single events, wherever it
stops an event is either not acknowledged, or where `reconcile` finds it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from itertools import islice

from msgspec import Struct, field
from msgspec.structs import replace

from chalicelib.aws.faults import aws_faults
from chalicelib.core import clock
from chalicelib.core.errors import FieldError, InvalidRequestError, UnavailableError
from chalicelib.core.ids import keyed_event_id, new_event_id
from chalicelib.core.log import log
from chalicelib.core.media_types import CLOUD_EVENT, JSON
from chalicelib.core.metrics import add, note
from chalicelib.core.tracing import span
from chalicelib.events.batch import Form, as_stored, item_pointer, read_item, split
from chalicelib.events.ingest import (
    IngestDeps,
    check_draft,
    check_facts,
    has_content,
    record_rejected,
    rejected_event,
    store_rejected,
)
from chalicelib.events.keys import rejected_unit_key
from chalicelib.events.message import Parcel, encode_messages
from chalicelib.events.model import Draft, Event, Record, Status, Step
from chalicelib.events.unit import Checked, Unit, make_events, pack, plan, to_metadata

PATIENCE = timedelta(seconds=10)
"""After that no further call is begun, so that an answer comes before the gateway's time is up."""
CHECK_TIME = timedelta(seconds=3)
"""After that no further item is checked against its schema. One check takes up to some 2 s."""
_SLOW_AWS = "AWS did not answer"
_SLOW_CHECKS = "to check those before it took too long"
_CONTENT_TYPES = {Form.PLAIN: JSON, Form.CLOUD_EVENTS: CLOUD_EVENT}


class Batch(Struct, frozen=True):
    """What a sender submits."""

    body: bytes
    form: Form
    owner: str
    request_id: str


class Outcome(StrEnum):
    """What became of an item."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    """An earlier request stored it, by its key or its CloudEvent's source and id."""
    REJECTED = "rejected"
    """Refused for its content. With an event id it is stored as a REJECTED event."""
    FAILED = "failed"
    """AWS did not store it, or there was no time to check it; send it again."""


class Verdict(Struct, frozen=True, rename={"outcome": "status", "event_id": "eventId"}):
    """The answer for one item, in JSON as the API shows it. Pointers lead from the body."""

    index: int
    outcome: Outcome
    event_id: str | None = None
    errors: Sequence[FieldError] = field(default_factory=list)


class Refusal(Struct, frozen=True):
    """Why an item is refused, and the event as which it is stored."""

    error: InvalidRequestError
    event: Event


class Item(Struct):
    """One item on its way to a verdict. `sent` is the item as it came, `payload` what is stored of
    it."""

    index: int
    form: Form
    sent: bytes
    payload: bytes
    draft: Draft | None = None
    schema_version: int | None = None
    refusal: Refusal | None = None
    event_id: str | None = None
    """The id that its identity stands for; None without one."""
    leader: "Item | None" = None
    """The first item with the same identity and payload; this one shares what becomes of it."""
    to_send: Parcel | None = None
    """The event to send to the worker, which the ledger has as RECEIVED."""
    verdict: Verdict | None = None

    @property
    def is_new(self) -> bool:
        """Whether to store it as an event."""
        return self.verdict is None and self.refusal is None and self.leader is None

    def accept(self, event: Event, *, in_bronze: bool = True) -> None:
        """It is stored as `event`, and to be sent."""
        self.verdict = Verdict(self.index, Outcome.ACCEPTED, event.event_id)
        self.to_send = Parcel(event, self.payload, in_bronze)

    def repeat(self, record: Record) -> None:
        """An earlier request stored it."""
        if record.status is Status.RECEIVED:
            # That request may have died before it sent; if not, the worker drops the repeat.
            self.accept(record.event, in_bronze=record.payload is None)
        self.verdict = Verdict(self.index, Outcome.DUPLICATE, record.event.event_id)

    def reject(self, errors: Sequence[FieldError], event_id: str | None = None) -> None:
        """It is refused; `errors` point into the item."""
        self._answer(Outcome.REJECTED, errors, event_id)

    def reject_as(self, refusal: Refusal) -> None:
        """It is refused, and stored as the event of `refusal`."""
        error = refusal.error
        self.reject(error.errors or [FieldError("", error.detail)], refusal.event.event_id)

    def reject_conflict(self) -> None:
        """Its identity stands for other content."""
        identity = "key" if self.form is Form.PLAIN else "source and id"
        self.reject([FieldError("", f"this {identity} came before with other content")])

    def fail(self, why: str = _SLOW_AWS) -> None:
        """It was not stored, or its message was not taken."""
        self._answer(Outcome.FAILED, [FieldError("", f"was not kept, since {why}; send it again")])

    def follow(self, leader: Verdict) -> None:
        """The verdict of an item whose leader got that one."""
        if leader.event_id is not None:
            self.verdict = Verdict(self.index, Outcome.DUPLICATE, leader.event_id)
        elif leader.outcome is Outcome.REJECTED:
            self.reject_conflict()
        else:
            self.fail()

    def _answer(
        self, outcome: Outcome, errors: Sequence[FieldError], event_id: str | None = None
    ) -> None:
        place = item_pointer(self.form, self.index)
        at_body = [FieldError(place + error.pointer, error.detail) for error in errors]
        self.verdict = Verdict(self.index, outcome, event_id, at_body)


def ingest_batch(batch: Batch, deps: IngestDeps) -> list[Verdict]:
    """Store the events of a batch; a verdict for each item, in order.

    AWS calls for a hundred events without keys: one to bronze, four to the ledger, one to the
    queue. An event with a key costs a call to the ledger of its own; a hundred that are repeats,
    one together, and so a hundred that were refused before. Raises `InvalidRequestError`, the body
    being stored as REJECTED, when it cannot be split; an AWS error passes through when nothing at
    all was stored.
    """
    work = _BatchIngest(batch, deps)
    work.read()
    work.answer_known()
    work.check()
    work.answer_checked()
    work.find_leaders()
    work.store_new()
    work.store_refused()
    work.send()
    return work.verdicts()


class _BatchIngest:
    """The ingest of one batch: its items, and the faults of AWS so far."""

    def __init__(self, batch: Batch, deps: IngestDeps) -> None:
        self._batch = batch
        self._deps = deps
        now = deps.now()
        self._received_at = clock.to_text(now)
        self._until = now + PATIENCE
        self._faults: list[Exception] = []
        self._items: list[Item] = []
        self._known: dict[str, Record] = {}

    def read(self) -> None:
        """Split the body and read each item."""
        batch, limit = self._batch, self._deps.max_event_bytes
        try:
            payloads = split(batch.body, batch.form)
        except InvalidRequestError as error:
            store_rejected(self._rejected(batch.body, None, error), batch.body, error, self._deps)
            raise
        for index, payload in enumerate(payloads):
            item = Item(index, batch.form, sent=payload, payload=payload)
            self._items.append(item)
            if len(payload) > limit:
                detail = f"has {len(payload)} bytes; at most {limit} are accepted"
                item.reject([FieldError("", detail)])
                continue
            try:
                item.draft = read_item(payload, batch.form)
                item.payload = item.draft.payload
            except InvalidRequestError as error:
                self._refuse(item, error)
                continue
            identity = item.draft.identity
            if identity is not None:
                item.event_id = keyed_event_id(batch.owner, identity.key, identity.kind)

    def answer_known(self) -> None:
        """Answer what the ledger has already, without a check or a write; one call for a hundred
        identities. So a batch that comes again gets further each time."""
        ids = {item.event_id for item in self._items if item.event_id is not None}
        self._known = self._deps.ledger.get_many(sorted(ids))
        for item in self._items:
            record = self._known.get(item.event_id or "")
            if record and item.draft and has_content(record.event, item.draft, item.sent):
                item.repeat(record)

    def check(self) -> None:
        """Check each new item against the schema of its type, as long as there is time."""
        new = [(item, item.draft) for item in self._items if item.is_new and item.draft]
        self._deps.load_schemas({draft.event_type for _, draft in new})
        started = self._deps.now()
        for item, draft in new:
            if self._deps.now() - started > CHECK_TIME:
                item.fail(_SLOW_CHECKS)
                continue
            try:
                facts = replace(draft, payload=b"")
                check_facts(facts.to_event("", self._batch.owner, self._received_at, ""))
                item.schema_version = check_draft(draft, self._deps.check_schema)
            except InvalidRequestError as error:
                self._refuse(item, error)
        self._until += self._deps.now() - started

    def answer_checked(self) -> None:
        """Answer what has the identity of other content, and what was refused before, without a
        write; one call for a hundred that are refused."""
        for item in self._items:
            if item.is_new and item.event_id in self._known:
                item.reject_conflict()
        refused = [(item, item.refusal) for item in self._items if item.refusal]
        known = self._deps.ledger.get_many(sorted({one.event.event_id for _, one in refused}))
        for item, refusal in refused:
            if refusal.event.event_id in known:
                item.reject_as(refusal)

    def find_leaders(self) -> None:
        """Find the items of one identity; of those that are new, the first counts."""
        leaders: dict[str, Item] = {}
        for item in self._items:
            if item.event_id is None or not item.is_new:
                continue
            leader = leaders.setdefault(item.event_id, item)
            if leader.payload != item.payload:
                item.reject_conflict()
            elif leader is not item:
                item.leader = leader

    def store_new(self) -> None:
        """Store new items as events, in units."""
        new = [(item, item.draft) for item in self._items if item.is_new and item.draft]
        items = iter([item for item, _ in new])
        for checked in plan(Checked(draft, item.schema_version) for item, draft in new):
            members = list(islice(items, len(checked)))
            unit = self._new_unit()
            pairs = list(zip(members, make_events(unit, checked), strict=True))
            lines, _ = pack([item.payload for item in members])
            with self._attempt(members):
                self._check_time()
                # The id is new: a file that is there was written by a repetition of this call.
                with span("bronze"):
                    self._deps.lake.put_unit(unit.key, lines, to_metadata(unit, checked))
                with span("ledger"):
                    self._record_new([pair for pair in pairs if pair[0].event_id is None])
                    keyed = [pair for pair in pairs if pair[0].event_id is not None]
                    self._deps.each(self._record_keyed, keyed)

    def store_refused(self) -> None:
        """Store refused items as REJECTED events, together in one file."""
        groups: dict[str, tuple[Refusal, list[Item]]] = {}
        for item in self._items:
            if item.verdict is None and item.refusal:
                key = item.refusal.event.event_id
                groups.setdefault(key, (item.refusal, []))[1].append(item)
        if not groups:
            return
        unit = self._new_unit()
        key = rejected_unit_key(unit.received_at, unit.unit_id)
        lines, ranges = pack([items[0].payload for _, items in groups.values()])

        def record(entry: tuple[tuple[Refusal, list[Item]], str]) -> None:
            (refusal, items), byte_range = entry
            event = replace(refusal.event, s3_key=key, s3_range=byte_range)
            with self._attempt(items):
                self._check_time()
                record_rejected(event, refusal.error, self._deps.ledger)
                for item in items:
                    item.reject_as(refusal)

        with self._attempt([item for _, items in groups.values() for item in items]):
            self._check_time()
            with span("bronze"):
                metadata = {**to_metadata(unit, []), "rejected": "true"}
                self._deps.lake.put_unit(key, lines, metadata)
            with span("ledger"):
                self._deps.each(record, zip(groups.values(), ranges, strict=True))

    def send(self) -> None:
        """Send what the ledger has as RECEIVED, a hundred in a message; one call, more where
        messages are many or long. Items that the queue does not take fail."""
        to_send = {item.to_send.event.event_id: item for item in self._items if item.to_send}
        parcels = [item.to_send for item in to_send.values() if item.to_send]
        messages = encode_messages(parcels, self._batch.request_id)
        items = [[to_send[one.event.event_id] for one in group] for _, group in messages]
        bodies = [body for body, _ in messages]
        with self._attempt(list(to_send.values())), span("queue"):
            if len(bodies) == 1:
                self._deps.queue.send(bodies[0])
                return
            codes = self._deps.queue.send_many(bodies)
            for code, some in zip(codes, items, strict=True):
                if code is not None:
                    self._fail(some, UnavailableError(f"SQS did not take a message: {code}"))

    def verdicts(self) -> list[Verdict]:
        """The verdicts in order, counted. Raises the first fault when nothing is stored."""
        for item in self._items:
            if item.leader is not None and item.leader.verdict is not None:
                item.follow(item.leader.verdict)
        verdicts = [item.verdict for item in self._items if item.verdict is not None]
        note(items=len(self._items), **Counter(str(verdict.outcome) for verdict in verdicts))
        stored = [verdict.outcome for verdict in verdicts if verdict.event_id is not None]
        for outcome, number in Counter(stored).items():
            add(outcome.capitalize(), number)
        if self._faults and not stored:
            raise self._faults[0]
        return verdicts

    @contextmanager
    def _attempt(self, items: Sequence[Item]) -> Iterator[None]:
        """Make AWS calls for `items`: a fault of AWS fails them, and the block ends there."""
        try:
            yield
        except aws_faults(UnavailableError) as error:
            self._fail(items, error)

    def _check_time(self) -> None:
        """Raise `UnavailableError` when there is no time for another call."""
        if self._deps.now() > self._until:
            raise UnavailableError("AWS took too long to keep all of the batch")

    def _fail(self, items: Sequence[Item], error: Exception) -> None:
        log.warning("items not kept", extra={"count": len(items)}, exc_info=error)
        self._faults.append(error)
        for item in items:
            item.fail()

    def _rejected(self, payload: bytes, draft: Draft | None, error: InvalidRequestError) -> Event:
        batch, now = self._batch, self._received_at
        content_type = _CONTENT_TYPES[batch.form]
        return rejected_event(payload, content_type, batch.owner, draft, error, now)

    def _refuse(self, item: Item, error: InvalidRequestError) -> None:
        item.payload = as_stored(item.payload, error)
        item.refusal = Refusal(error, self._rejected(item.payload, item.draft, error))

    def _new_unit(self) -> Unit:
        unit_id = new_event_id(clock.from_text(self._received_at), self._deps.random(10))
        return Unit(unit_id, self._batch.owner, self._received_at, self._batch.form)

    def _record_new(self, pairs: Sequence[tuple[Item, Event]]) -> None:
        """Enter events with new ids in the ledger; one call for `NEW_AT_ONCE`."""
        size = self._deps.ledger.NEW_AT_ONCE
        for some in (pairs[start : start + size] for start in range(0, len(pairs), size)):
            with self._attempt([item for item, _ in some]):
                self._check_time()
                unwritten = self._deps.ledger.add_new([event for _, event in some])
                for item, event in some:
                    if event.event_id not in unwritten:
                        item.accept(event)
            missed = [item for item, _ in some if item.verdict is None]
            if missed:
                self._fail(missed, UnavailableError("the ledger is being throttled"))

    def _record_keyed(self, pair: tuple[Item, Event]) -> None:
        """Take the id that an identity stands for; one call."""
        item, event = pair
        with self._attempt([item]):
            self._check_time()
            before = self._deps.ledger.add(event, [Step(Status.RECEIVED, event.received_at)])
            if before is None or before.event == event:
                # The latter was written by a repetition of this call.
                item.accept(event)
            else:
                self._answer(item, before)

    def _answer(self, item: Item, record: Record) -> None:
        """Answer an item whose identity the ledger knows. A repeat is one even if a schema that
        came later refuses it."""
        if item.draft is not None and has_content(record.event, item.draft, item.sent):
            item.repeat(record)
        else:
            item.reject_conflict()
