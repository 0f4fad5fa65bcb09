"""Dead letters: what failed for good, and taking it up again.

A FAILED event is redriven as itself: its message is sent, then it is noted as ENQUEUED, with all
its chances again. Sent first: an event that reads ENQUEUED was sent. The message is delayed by
`SETTLE_SECONDS`, so that the worker finds the note. Should the note fail, the event is processed
all the same: FAILED may turn PROCESSED. A message of a dead-letter queue goes back to the queue
that it came from, and is deleted then; a repeat between the two is harmless.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from chalicelib.aws.sqs import DeadLetterQueue, DeadMessage, Queue
from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock
from chalicelib.core.errors import ForeignMessageError, NotFoundError
from chalicelib.core.ids import is_event_id
from chalicelib.core.log import log
from chalicelib.core.paging import encode_cursor, just_below
from chalicelib.events.ledger import EventIndex, EventStore
from chalicelib.events.message import EventMessage, UnitMessage, decode_message
from chalicelib.events.model import Listing, Record, Status
from chalicelib.events.unit import may_go_alone
from chalicelib.recovery.model import (
    EVENTS_QUEUE,
    FOREIGN,
    WHY_NOT,
)
from chalicelib.web.callers import Caller

SETTLE_SECONDS = 5
MAX_AT_ONCE = 100
_REASONS = 10
_TEXT = 300
_PAGES = 10
"""Pages of FAILED events that a redrive by error class looks through."""


class DeadLetterDeps(Struct, frozen=True):
    """The collaborators of the functions below. `dead` are the dead-letter queues by their short
    names, `sources` the queues that theirs came from, where one is."""

    ledger: EventStore
    index: EventIndex
    queue: Queue
    dead: Mapping[str, DeadLetterQueue]
    sources: Mapping[str, Queue]
    now: Callable[[], datetime] = clock.utc_now
    each: Each = in_threads


class Choice(Struct, frozen=True):
    """Which FAILED events: those of `listing`, with errors of a class if one is named."""

    listing: Listing
    error_class: str | None = None

    def has(self, record: Record) -> bool:
        """Whether an event that the index lists is one of them still."""
        kind = (record.last_error or {}).get("class")
        return record.status is Status.FAILED and self.error_class in (None, kind)


class RedriveOrder(Struct, frozen=True):
    """What is to be taken up again: an event, messages of a queue, or else a choice of events below
    the list key `resume_below`."""

    choice: Choice
    event_id: str | None = None
    queue: str | None = None
    message_id: str | None = None
    resume_below: str | None = None


class Redriven(Struct):
    """What a redrive did. `resume_below` is where events that it has not looked at begin."""

    redriven: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    more: bool = False
    resume_below: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The answer to a redrive."""
        cursor = None if self.resume_below is None else encode_cursor(self.resume_below)
        return {
            "redriven": self.redriven,
            "skipped": self.skipped,
            "more": self.more,
            "cursor": cursor,
        }


def list_dead_letters(
    choice: Choice, resume_below: str | None, caller: Caller, deps: DeadLetterDeps
) -> tuple[list[dict[str, Any]], str | None]:
    """(dead letters, where to go on below) of one page: events, newest first. For an admin what
    lies in the queues, ten messages of each at most, comes before those of the first page, beyond
    its limit: SQS has no order to go on in. It is left out when something is asked for by type or
    class, which messages do not have.

    Calls: those of one page of the index, one for its records, and for an admin three a queue.
    """
    listing = choice.listing
    messages: list[dict[str, Any]] = []
    is_plain = listing.event_type is None and choice.error_class is None
    if caller.is_admin and is_plain and resume_below is None:
        messages = _messages(deps)
    records, resume = _page(_below(listing, resume_below), listing.limit, deps)
    events = [describe_event(one, deps.now()) for one in records if choice.has(one)]
    return [*messages, *events], resume


def redrive(order: RedriveOrder, caller: Caller, deps: DeadLetterDeps) -> Redriven:
    """Take up again what is ordered, as the functions below say; what cannot be says why."""
    if order.event_id is not None:
        return redrive_event(order.event_id, caller, deps)
    if order.queue is not None:
        caller.require("admin")
        return redrive_messages(order.queue, order.message_id, deps)
    return redrive_events(order.choice, order.resume_below, deps)


def redrive_event(event_id: str, caller: Caller, deps: DeadLetterDeps) -> Redriven:
    """Redrive one event; three calls. Raises `NotFoundError` unless it exists and is the
    caller's."""
    record = deps.ledger.get(event_id) if is_event_id(event_id) else None
    if record is None:
        raise NotFoundError("no such event")
    caller.check_owner(record.event.owner, "event")
    if record.status is Status.FAILED:
        return _redrive([record], deps)
    what = "replay it" if record.status is Status.REJECTED else "there is nothing to take up"
    reason = f"the event is {record.status}: {what}"
    return Redriven(skipped=[{"eventId": event_id, "reason": reason}])


def redrive_events(choice: Choice, resume_below: str | None, deps: DeadLetterDeps) -> Redriven:
    """Redrive up to `MAX_AT_ONCE` events, the newest first.

    Calls: up to ten pages of the index, each with its records; one for ten events to the queue and
    one for each to the ledger.
    """
    found: list[Record] = []
    resume = resume_below
    for _ in range(_PAGES):
        room = MAX_AT_ONCE - len(found)
        records, resume = _page(_below(choice.listing, resume), room, deps)
        found += [record for record in records if choice.has(record)]
        if resume is None or len(found) == MAX_AT_ONCE:
            break
    done = _redrive(found, deps)
    done.more, done.resume_below = resume is not None, resume
    return done


def redrive_messages(queue: str, message_id: str | None, deps: DeadLetterDeps) -> Redriven:
    """Send messages of a dead-letter queue back to where they came from, up to `MAX_AT_ONCE`, or
    the one named; one call for ten to receive, to send, to delete and to give back.

    Raises `NotFoundError` for one that is not among the first `MAX_AT_ONCE`.
    """
    if queue in WHY_NOT:
        named = {"queue": queue} if message_id is None else {"messageId": message_id}
        return Redriven(skipped=[{**named, "reason": WHY_NOT[queue]}])
    dead = deps.dead[queue]
    taken = dead.take(MAX_AT_ONCE)
    done, kept = Redriven(), [message.handle for message in taken]
    try:
        wanted = [one for one in taken if message_id in (None, one.message_id)]
        if message_id is not None and not wanted:
            raise NotFoundError("no such message, or not one of those at hand: try again")
        sent = _send_back(wanted, queue, done, deps)
        dead.delete(sent)
        kept = [handle for handle in kept if handle not in set(sent)]
    finally:
        dead.give_back(kept)
    done.more = message_id is None and len(taken) == MAX_AT_ONCE
    log.info("messages redriven", extra={"queue": queue, "number": done.redriven})
    return done


def _send_back(
    messages: Sequence[DeadMessage], queue: str, done: Redriven, deps: DeadLetterDeps
) -> list[str]:
    """Send what can be read to where it came from; the handles of what was sent."""
    able: list[DeadMessage] = []
    for message in messages:
        why_not = _why_not(message, queue)
        if why_not is None:
            able.append(message)
        else:
            done.skipped.append({"messageId": message.message_id, "reason": why_not})
    codes = deps.sources[queue].send_many([message.body for message in able])
    sent: list[str] = []
    for message, code in zip(able, codes, strict=True):
        if code is None:
            sent.append(message.handle)
        else:
            reason = f"SQS did not take it: {code}"
            done.skipped.append({"messageId": message.message_id, "reason": reason})
    done.redriven = len(sent)
    return sent


def _messages(deps: DeadLetterDeps) -> list[dict[str, Any]]:
    """What lies in the dead-letter queues, a few of each."""

    def look(queue: str) -> list[dict[str, Any]]:
        waiting = deps.dead[queue].visible()
        if not waiting:
            return []
        seen = deps.dead[queue].peek()
        now = deps.now()
        return [describe_message(one, queue, waiting, _why_not(one, queue), now) for one in seen]

    return [item for items in deps.each(look, deps.dead) for item in items]


def _why_not(message: DeadMessage, queue: str) -> str | None:
    if queue in WHY_NOT:
        return WHY_NOT[queue]
    if queue == EVENTS_QUEUE:
        try:
            decode_message(message.body)
        except ForeignMessageError:
            return FOREIGN
    return None


def _below(listing: Listing, resume_below: str | None) -> Listing:
    if resume_below is None:
        return listing
    return replace(listing, end=min(listing.end, just_below(resume_below)))


def _page(listing: Listing, limit: int, deps: DeadLetterDeps) -> tuple[list[Record], str | None]:
    page = deps.index.newest(replace(listing, limit=limit))
    records = deps.ledger.get_many([entry.event_id for entry in page.entries])
    shown = [record for entry in page.entries if (record := records.get(entry.event_id))]
    return shown, page.resume_below


def _redrive(records: Sequence[Record], deps: DeadLetterDeps) -> Redriven:
    bodies = [_message(record) for record in records]
    codes = deps.queue.send_many(bodies, [SETTLE_SECONDS] * len(bodies))
    at = clock.to_text(deps.now())

    def note(pair: tuple[Record, str | None]) -> str | None:
        record, code = pair
        if code is not None:
            return f"SQS did not take it: {code}"
        return None if deps.ledger.mark_redriven(record, at) else "it has changed meanwhile"

    done = Redriven()
    for record, why_not in zip(
        records, deps.each(note, zip(records, codes, strict=True)), strict=True
    ):
        event_id = record.event.event_id
        if why_not is None:
            done.redriven += 1
            log.info("event redriven", extra={"eventId": event_id})
        else:
            done.skipped.append({"eventId": event_id, "reason": why_not})
    return done


def _message(record: Record) -> str:
    """What sends an event again: alone, or as one of its unit if it never left that (ADR 0013)."""
    if may_go_alone(record):
        return EventMessage(record.event, None, recorded=True, request_id="redrive").encode()
    return UnitMessage((record.event,), None, "redrive").encode()


def describe_event(record: Record, now: datetime) -> dict[str, Any]:
    """A FAILED event as a dead letter."""
    return {
        "kind": "event",
        "eventId": record.event.event_id,
        "eventType": record.event.event_type,
        "owner": record.event.owner,
        "reason": record.last_error,
        "failedAt": record.updated_at,
        "ageSeconds": _age(record.updated_at, now),
        "attempts": record.attempts,
        "redrivable": True,
        "whyNot": None,
    }


def describe_message(
    message: DeadMessage, queue: str, waiting: int, why_not: str | None, now: datetime
) -> dict[str, Any]:
    """A message as a dead letter, without its body; `waiting` is about how many its queue has."""
    reasons = list(message.attributes.items())[:_REASONS]
    return {
        "kind": "message",
        "queue": queue,
        "messageId": message.message_id,
        "reason": {name[:_TEXT]: value[:_TEXT] for name, value in reasons},
        "sentAt": message.sent_at,
        "ageSeconds": _age(message.sent_at, now),
        "approximateCount": waiting,
        "redrivable": why_not is None,
        "whyNot": why_not,
    }


def _age(since: str, now: datetime) -> int:
    return max(round((now - clock.from_text(since)).total_seconds()), 0)
