"""Ingest of many events in one request: each gets a verdict of its own, in order.

One bad item never refuses the others, and a batch can be sent again whole. What is accepted travels
on in units (ADR 0013):

    known repeats are looked up -> bronze, a file for a hundred -> ledger (RECEIVED) -> queue

As with single events, wherever it stops an event is either not acknowledged, or where `reconcile`
finds it; if the queue does not answer, events are kept as RECEIVED and acknowledged.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NoReturn, Protocol

from chalicelib.adapters.event_store import EventStore
from chalicelib.adapters.lake import Lake
from chalicelib.adapters.queue import Queue
from chalicelib.domain import bronze_metadata, clock
from chalicelib.domain.batches import Form, as_kept, read_item, split
from chalicelib.domain.drafts import JSON, Draft
from chalicelib.domain.event_ids import keyed_event_id
from chalicelib.domain.events import Event
from chalicelib.domain.verdicts import Item, Verdict
from chalicelib.errors import FieldError, InvalidRequestError
from chalicelib.metrics import add, note
from chalicelib.services.ingest_events import Submission, check_draft
from chalicelib.services.keep_units import (
    Keeping,
    answer_known,
    keep_new,
    keep_refused,
    reject_as,
    send_kept,
)
from chalicelib.services.reject_events import keep_rejected, rejected_event
from chalicelib.spread import Each, in_threads

PATIENCE = timedelta(seconds=10)
"""After that no further call is begun, so that an answer comes before the gateway's time is up."""
_CONTENT_TYPES = {Form.PLAIN: JSON, Form.CLOUD_EVENTS: "application/cloudevents+json"}


class SchemaChecks(Protocol):
    """Checks data against the schemas of their types; `SchemaCheck` is one."""

    def load_many(self, event_types: Iterable[str], /) -> None:
        """Read what is not known of these types."""

    def check(self, event_type: str, data: object, is_json: bool, /) -> int | None:
        """As `CheckSchema` in `ingest_events`."""


@dataclass(frozen=True)
class Batch:
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


@dataclass(frozen=True)
class Batching:
    """The collaborators of `ingest_batch`; `each` does many calls at a time."""

    ledger: EventStore
    lake: Lake
    queue: Queue
    schemas: SchemaChecks
    max_event_bytes: int
    now: Callable[[], datetime] = clock.utc_now
    random: Callable[[int], bytes] = os.urandom
    each: Each = in_threads


def ingest_batch(batch: Batch, using: Batching) -> list[Verdict]:
    """Keep the events of a batch; a verdict for each, in order.

    AWS calls for a hundred events without keys: one to bronze, four to the ledger, one to the
    queue. An event with a key costs a call to the ledger of its own; a hundred that are repeats,
    one together. Raises `InvalidRequestError`, the body being kept as REJECTED, when it can not be
    taken apart; an AWS error passes through when nothing at all was kept.
    """
    items = _take_apart(batch, using)
    _read(items, batch.owner, using)
    _identify(items, batch.owner)
    now = using.now()
    keeping = Keeping(batch.owner, batch.form, batch.request_id, clock.to_text(now), now + PATIENCE)
    refused = [
        (item, _as_rejected(item, item.refusal, batch, keeping.received_at))
        for item in items
        if item.refusal is not None
    ]
    _answer_known(items, refused, keeping, using)
    _tell_twins(items)
    keep_new([item for item in items if item.is_new], keeping, using)
    keep_refused([pair for pair in refused if pair[0].verdict is None], keeping, using)
    send_kept(keeping, using)
    return _verdicts(items, keeping)


def _take_apart(batch: Batch, using: Batching) -> list[Item]:
    try:
        payloads = split(batch.body, batch.form)
    except InvalidRequestError as error:
        whole, now = batch.submission(batch.body), clock.to_text(using.now())
        error.event_id = keep_rejected(whole, None, error, now, using.lake, using.ledger)
        raise
    return [Item(index, batch.form, payload) for index, payload in enumerate(payloads)]


def _read(items: Sequence[Item], owner: str, using: Batching) -> None:
    """Read each item and check it against the schema of its type."""
    for item in items:
        size = len(item.payload)
        if size > using.max_event_bytes:
            limit = f"has {size} bytes; at most {using.max_event_bytes} are accepted"
            item.reject([FieldError("", limit)])
            continue
        try:
            item.draft = read_item(item.payload, item.form)
        except InvalidRequestError as error:
            item.refusal = error
            item.payload = as_kept(item.payload, error)
        else:
            item.payload = item.draft.payload
    using.schemas.load_many({item.draft.event_type for item in items if item.draft})
    for item in items:
        if item.draft is not None:
            try:
                item.schema_version = _check(item.draft, owner, using)
            except InvalidRequestError as error:
                item.refusal = error


def _check(draft: Draft, owner: str, using: Batching) -> int | None:
    facts = replace(draft, payload=b"")
    if not bronze_metadata.fits(facts.to_event("", owner, clock.to_text(using.now()), "")):
        raise InvalidRequestError.at("", "the event's attributes are too long to be kept together")
    return check_draft(draft, using.schemas.check)


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
    keeping: Keeping,
    using: Batching,
) -> None:
    """Answer what the ledger has already, without a write; one call for a hundred ids."""
    ids = {item.event_id for item in items if item.event_id is not None}
    known = using.ledger.get_many(sorted(ids | {event.event_id for _, event in refused}))
    for item in items:
        record = known.get(item.event_id or "")
        if record is not None:
            answer_known(item, record, keeping)
    for item, event in refused:
        if event.event_id in known and item.verdict is None and item.refusal is not None:
            reject_as(item, item.refusal, event.event_id)


def _verdicts(items: Sequence[Item], keeping: Keeping) -> list[Verdict]:
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
