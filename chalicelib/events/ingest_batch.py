"""Keeping the items of a batch: bronze, then the ledger, then the queue.

Whatever AWS refuses concerns the items it was asked for; the others go on.

Ingest of many events in one request: each gets a verdict of its own, in order.

One bad item never refuses the others, and a batch can be sent again whole. What is accepted travels
on in units (ADR 0013):

    known repeats are looked up -> bronze, a file for a hundred -> ledger (RECEIVED) -> queue

As with single events, wherever it stops an event is either not acknowledged, or where `reconcile`
finds it; if the queue does not answer, events are kept as RECEIVED and acknowledged.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NoReturn, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from chalicelib.aws.sqs import Queue
from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock
from chalicelib.core.errors import FieldError, InvalidRequestError, UnavailableError, is_aws_fault
from chalicelib.core.ids import keyed_event_id, new_event_id, sha256
from chalicelib.core.log import log
from chalicelib.core.metrics import add, note
from chalicelib.core.tracing import span
from chalicelib.events.batch import Form, Item, Verdict, as_kept, read_item, split
from chalicelib.events.ingest import (
    Submission,
    check_draft,
    keep_rejected,
    note_rejected,
    rejected_event,
)
from chalicelib.events.keys import fits, rejected_unit_key
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventStore
from chalicelib.events.message import UnitMessage, message_for
from chalicelib.events.model import JSON, Draft, Event, Record, Status, Step
from chalicelib.events.unit import Checked, Unit, make_events, pack, plan, to_metadata


class BatchProgress(Struct):
    """How far the keeping of a batch has come."""

    owner: str
    form: Form
    request_id: str
    received_at: str
    until: datetime
    faults: list[Exception] = field(default_factory=list)
    to_send: dict[str, tuple[Event, bytes]] = field(default_factory=dict)
    """Events that the ledger has as RECEIVED, and their payloads, by id."""

    def new_unit(self, deps: "BatchDeps") -> Unit:
        unit_id = new_event_id(clock.from_text(self.received_at), deps.random(10))
        return Unit(unit_id, self.owner, self.received_at, self.form)

    def check_time(self, deps: "BatchDeps") -> None:
        """Raise `UnavailableError` when there is no time for another call."""
        if deps.now() > self.until:
            raise UnavailableError("AWS took too long to keep all of the batch")

    def note(self, error: Exception, items: Sequence[Item]) -> None:
        """Note that items were not kept; anything but a fault of AWS is raised."""
        if not (is_aws_fault(error) or isinstance(error, UnavailableError)):
            raise error
        log.warning("items not kept", extra={"count": len(items)}, exc_info=error)
        self.faults.append(error)
        for item in items:
            item.fail()


def answer_known(item: Item, record: Record, keeping: BatchProgress) -> None:
    """Answer an item whose identity the ledger knows; one that was refused by a schema that came
    later is the repeat that it is, too."""
    before, draft = record.event, item.draft
    same = (
        draft is not None
        and before.payload_sha256 == sha256(item.payload)
        and before.event_type == draft.event_type
        and before.cloud_event == draft.cloud_event
    )
    if same:
        item.accept(before.event_id, before=True)
        if record.status is Status.RECEIVED:
            # A first request may have died before it sent; if not, the worker drops the repeat.
            keeping.to_send[before.event_id] = before, item.payload
    elif item.refusal is None:
        item.reject_conflict()


def reject_as(item: Item, error: InvalidRequestError, event_id: str | None) -> None:
    """The verdict for an item that was refused with `error`."""
    item.reject(error.errors or [FieldError("", error.detail)], event_id)


def keep_new(items: Sequence[Item], keeping: BatchProgress, deps: "BatchDeps") -> None:
    """Keep items as events, in units, and give each its verdict."""
    by_draft = {id(item.draft): item for item in items}
    drafts = [Checked(item.draft, item.schema_version) for item in items if item.draft]
    for checked in plan(drafts):
        members = [by_draft[id(one.draft)] for one in checked]
        unit = keeping.new_unit(deps)
        events = make_events(unit, checked)
        lines, _ = pack([item.payload for item in members])
        try:
            keeping.check_time(deps)
            # The id is new: a file that is there was written by a repetition of this call.
            with span("bronze"):
                deps.lake.put_unit(unit.key, lines, to_metadata(unit, checked))
        except Exception as error:  # noqa: BLE001 - `note` raises what is no fault of AWS
            keeping.note(error, members)
            continue
        pairs = list(zip(members, events, strict=True))
        with span("ledger"):
            _note_new([pair for pair in pairs if pair[0].event_id is None], keeping, deps)
            _note_keyed([pair for pair in pairs if pair[0].event_id is not None], keeping, deps)


def _note_new(
    pairs: Sequence[tuple[Item, Event]], keeping: BatchProgress, deps: "BatchDeps"
) -> None:
    """Enter events with new ids in the ledger; one call for `NEW_AT_ONCE`."""
    for some in _chunks(pairs, deps.ledger.NEW_AT_ONCE):
        try:
            keeping.check_time(deps)
            left = deps.ledger.add_new([event for _, event in some])
        except Exception as error:  # noqa: BLE001 - `note` raises what is no fault of AWS
            keeping.note(error, [item for item, _ in some])
            continue
        missed = [item for item, event in some if event.event_id in left]
        if missed:
            keeping.note(UnavailableError("the ledger is being throttled"), missed)
        for item, event in some:
            if event.event_id not in left:
                item.accept(event.event_id)
                keeping.to_send[event.event_id] = event, item.payload


def _note_keyed(
    pairs: Sequence[tuple[Item, Event]], keeping: BatchProgress, deps: "BatchDeps"
) -> None:
    """Take the ids that identities stand for; one call each."""

    def claim(pair: tuple[Item, Event]) -> Record | Exception | None:
        _, event = pair
        try:
            keeping.check_time(deps)
            return deps.ledger.add(event, [Step(Status.RECEIVED, event.received_at)])
        except Exception as error:  # noqa: BLE001 - `note` raises what is no fault of AWS
            return error

    for (item, event), before in zip(pairs, deps.each(claim, pairs), strict=True):
        if isinstance(before, Exception):
            keeping.note(before, [item])
        elif before is None or before.event == event:
            # The latter was written by a repetition of this call.
            item.accept(event.event_id)
            keeping.to_send[event.event_id] = event, item.payload
        else:
            answer_known(item, before, keeping)


def keep_refused(
    pairs: Sequence[tuple[Item, Event]], keeping: BatchProgress, deps: "BatchDeps"
) -> None:
    """Keep refused items as REJECTED events, together in one file, and give each its verdict."""
    if not pairs:
        return
    first = {event.event_id: (item, event) for item, event in reversed(pairs)}
    unit = keeping.new_unit(deps)
    key = rejected_unit_key(unit.received_at, unit.unit_id)
    lines, ranges = pack([item.payload for item, _ in first.values()])
    kept = {
        event.event_id: (item, replace(event, s3_key=key, s3_range=within))
        for (item, event), within in zip(first.values(), ranges, strict=True)
    }
    try:
        keeping.check_time(deps)
        with span("bronze"):
            deps.lake.put_unit(key, lines, {**to_metadata(unit, []), "rejected": "true"})
    except Exception as error:  # noqa: BLE001 - `note` raises what is no fault of AWS
        keeping.note(error, [item for item, _ in pairs])
        return

    def note(pair: tuple[Item, Event]) -> Exception | None:
        item, event = pair
        try:
            keeping.check_time(deps)
            if item.refusal is not None:
                note_rejected(event, item.refusal, keeping.received_at, deps.ledger)
        except Exception as error:  # noqa: BLE001 - `note` raises what is no fault of AWS
            return error
        return None

    with span("ledger"):
        errors = dict(zip(kept, deps.each(note, kept.values()), strict=True))
    for item, event in pairs:
        fault = errors[event.event_id]
        if fault is not None:
            keeping.note(fault, [item])
        elif item.refusal is not None:
            reject_as(item, item.refusal, event.event_id)


def send_kept(keeping: BatchProgress, deps: "BatchDeps") -> None:
    """Send what the ledger has as RECEIVED, a message for each unit; one call, more where messages
    are many or long. What the queue does not take is for `reconcile`."""
    groups: dict[str, list[tuple[Event, bytes]]] = {}
    for event, payload in keeping.to_send.values():
        groups.setdefault(event.s3_key, []).append((event, payload))
    bodies = [_message(group, keeping.request_id) for group in groups.values()]
    try:
        with span("queue"):
            if len(bodies) == 1:
                deps.queue.send(bodies[0])
                return
            codes = deps.queue.send_many(bodies)
    except Exception as error:
        if not is_aws_fault(error):
            raise
        log.warning("events kept but not sent", exc_info=True)
        return
    failed = [code for code in codes if code is not None]
    if failed:
        log.warning("events kept but not sent", extra={"count": len(failed), "code": failed[0]})


def _message(group: Sequence[tuple[Event, bytes]], request_id: str) -> str:
    event, payload = group[0]
    if event.s3_range is None:
        return message_for(event, payload, request_id)
    events, payloads = zip(*group, strict=True)
    return UnitMessage(events, payloads, request_id).encode()


def _chunks(
    pairs: Sequence[tuple[Item, Event]], size: int
) -> Iterator[Sequence[tuple[Item, Event]]]:
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]


PATIENCE = timedelta(seconds=10)
"""After that no further call is begun, so that an answer comes before the gateway's time is up."""
_CONTENT_TYPES = {Form.PLAIN: JSON, Form.CLOUD_EVENTS: "application/cloudevents+json"}


class SchemaChecks(Protocol):
    """Checks data against the schemas of their types; `SchemaCheck` is one."""

    def load_many(self, event_types: Iterable[str], /) -> None:
        """Read what is not known of these types."""

    def check(self, event_type: str, data: object, is_json: bool, /) -> int | None:
        """As `CheckSchema` in `ingest_events`."""


class Batch(Struct, frozen=True):
    """What a sender asks to be kept."""

    body: bytes
    form: Form
    owner: str
    request_id: str

    def submission(self, payload: bytes) -> Submission:
        """A part of it by itself, as what is refused is kept."""
        return Submission(
            payload, _CONTENT_TYPES[self.form], self.owner, self.request_id, _never_read
        )


class BatchDeps(Struct, frozen=True):
    """The collaborators of `ingest_batch`; `each` does many calls at a time."""

    ledger: EventStore
    lake: Lake
    queue: Queue
    schemas: SchemaChecks
    max_event_bytes: int
    now: Callable[[], datetime] = clock.utc_now
    random: Callable[[int], bytes] = os.urandom
    each: Each = in_threads


def ingest_batch(batch: Batch, deps: BatchDeps) -> list[Verdict]:
    """Keep the events of a batch; a verdict for each, in order.

    AWS calls for a hundred events without keys: one to bronze, four to the ledger, one to the
    queue. An event with a key costs a call to the ledger of its own; a hundred that are repeats,
    one together. Raises `InvalidRequestError`, the body being kept as REJECTED, when it cannot be
    taken apart; an AWS error passes through when nothing at all was kept.
    """
    items = _take_apart(batch, deps)
    _read(items, batch.owner, deps)
    _identify(items, batch.owner)
    now = deps.now()
    keeping = BatchProgress(
        batch.owner, batch.form, batch.request_id, clock.to_text(now), now + PATIENCE
    )
    refused = [
        (item, _as_rejected(item, item.refusal, batch, keeping.received_at))
        for item in items
        if item.refusal is not None
    ]
    _answer_known(items, refused, keeping, deps)
    _tell_twins(items)
    keep_new([item for item in items if item.is_new], keeping, deps)
    keep_refused([pair for pair in refused if pair[0].verdict is None], keeping, deps)
    send_kept(keeping, deps)
    return _verdicts(items, keeping)


def _take_apart(batch: Batch, deps: BatchDeps) -> list[Item]:
    try:
        payloads = split(batch.body, batch.form)
    except InvalidRequestError as error:
        whole, now = batch.submission(batch.body), clock.to_text(deps.now())
        error.event_id = keep_rejected(whole, None, error, now, deps.lake, deps.ledger)
        raise
    return [Item(index, batch.form, payload) for index, payload in enumerate(payloads)]


def _read(items: Sequence[Item], owner: str, deps: BatchDeps) -> None:
    """Read each item and check it against the schema of its type."""
    for item in items:
        size = len(item.payload)
        if size > deps.max_event_bytes:
            limit = f"has {size} bytes; at most {deps.max_event_bytes} are accepted"
            item.reject([FieldError("", limit)])
            continue
        try:
            item.draft = read_item(item.payload, item.form)
        except InvalidRequestError as error:
            item.refusal = error
            item.payload = as_kept(item.payload, error)
        else:
            item.payload = item.draft.payload
    deps.schemas.load_many({item.draft.event_type for item in items if item.draft})
    for item in items:
        if item.draft is not None:
            try:
                item.schema_version = _check(item.draft, owner, deps)
            except InvalidRequestError as error:
                item.refusal = error


def _check(draft: Draft, owner: str, deps: BatchDeps) -> int | None:
    facts = replace(draft, payload=b"")
    if not fits(facts.to_event("", owner, clock.to_text(deps.now()), "")):
        raise InvalidRequestError.at("", "the event's attributes are too long to be kept together")
    return check_draft(draft, deps.schemas.check)


def _identify(items: Sequence[Item], owner: str) -> None:
    """Find the ids that identities stand for."""
    for item in items:
        identity = item.draft.identity if item.draft else None
        if identity is not None:
            item.event_id = keyed_event_id(owner, identity.key, identity.kind)


def _tell_twins(items: Sequence[Item]) -> None:
    """Find who has the same identity in this batch; of those that are new, the first counts."""
    leaders: dict[str, Item] = {}
    for item in items:
        if item.event_id is None or not item.is_new:
            continue
        leader = leaders.setdefault(item.event_id, item)
        if leader.payload != item.payload:
            item.reject_conflict()
        elif leader is not item:
            item.leader = leader


def _as_rejected(item: Item, error: InvalidRequestError, batch: Batch, now: str) -> Event:
    return rejected_event(batch.submission(item.payload), item.draft, error, now)


def _answer_known(
    items: Sequence[Item],
    refused: Sequence[tuple[Item, Event]],
    keeping: BatchProgress,
    deps: BatchDeps,
) -> None:
    """Answer what the ledger has already, without a write; one call for a hundred ids."""
    ids = {item.event_id for item in items if item.event_id is not None}
    known = deps.ledger.get_many(sorted(ids | {event.event_id for _, event in refused}))
    for item in items:
        record = known.get(item.event_id or "")
        if record is not None:
            answer_known(item, record, keeping)
    for item, event in refused:
        if event.event_id in known and item.verdict is None and item.refusal is not None:
            reject_as(item, item.refusal, event.event_id)


def _verdicts(items: Sequence[Item], keeping: BatchProgress) -> list[Verdict]:
    for item in items:
        if item.leader is not None and item.leader.verdict is not None:
            item.follow(item.leader.verdict)
    verdicts = [item.verdict for item in items if item.verdict is not None]
    counts = Counter(str(verdict.outcome) for verdict in verdicts)
    note(items=len(items), **counts)
    kept = Counter(verdict.outcome for verdict in verdicts if verdict.event_id is not None)
    for outcome, number in kept.items():
        add(outcome.capitalize(), number)
    if keeping.faults and all(verdict.event_id is None for verdict in verdicts):
        raise keeping.faults[0]
    return verdicts


def _never_read() -> NoReturn:
    raise AssertionError("a part of a batch is read with its batch")
