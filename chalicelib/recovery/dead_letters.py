"""Dead letters: FAILED events and messages in dead-letter queues; list them, redrive them.

A FAILED event is redriven as itself: its message is sent, then the event is noted as ENQUEUED with
all its attempts again. Sent first, since an ENQUEUED event must have been sent. The message is
delayed by `SETTLE_SECONDS`, so that the worker finds the note. If the note fails, the event is
processed all the same: FAILED may turn PROCESSED. A message of a dead-letter queue is sent to the
queue it came from, then deleted; a repeat between the two is harmless.
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
from chalicelib.core.log import log
from chalicelib.core.paging import NEWEST, encode_cursor, just_below
from chalicelib.events.message import Parcel, decode_message, encode_messages
from chalicelib.events.model import Listing, Record, Status
from chalicelib.events.read import ReadDeps, read_event
from chalicelib.recovery.model import EVENTS_QUEUE, FOREIGN, WHY_NOT
from chalicelib.web.callers import Caller

SETTLE_SECONDS = 5
MAX_AT_ONCE = 100
_MAX_PAGES = 10
"""Pages of FAILED events that a redrive by error class looks through."""
_MAX_REASONS, _MAX_TEXT = 10, 300


class DeadLetterDeps(Struct, frozen=True):
    """The collaborators of the functions below. `dead` are the dead-letter queues by their short
    names, `sources` the queues that feed them, where a queue does."""

    reading: ReadDeps
    queue: Queue
    dead: Mapping[str, DeadLetterQueue]
    sources: Mapping[str, Queue]
    now: Callable[[], datetime] = clock.utc_now
    each: Each = in_threads


class FailedEvents(Struct, frozen=True):
    """The FAILED events of `listing`; with `error_class`, only those with errors of that class."""

    listing: Listing
    error_class: str | None = None

    def has(self, record: Record) -> bool:
        """Whether an event is one of them, by its record: the index trails it."""
        kind = (record.last_error or {}).get("class")
        return record.status is Status.FAILED and self.error_class in (None, kind)

    def below(self, list_key: str) -> "FailedEvents":
        """Those below a list key."""
        return replace(self, listing=replace(self.listing, end=just_below(list_key)))


class Redriven(Struct):
    """What a redrive did; `cursor` is where events begin that it has not looked at."""

    redriven: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    more: bool = False
    cursor: str | None = None


def list_dead_letters(
    wanted: FailedEvents, caller: Caller, deps: DeadLetterDeps
) -> tuple[list[dict[str, Any]], str | None]:
    """(dead letters, the list key to go on below or None) of one page: events, newest first.

    For an admin the first page begins with messages, up to ten of each queue, beyond its limit: SQS
    has no order to go on in. Not when a type or class is asked for, which messages do not have.

    Calls: those of one page of the index, one for its records, and for an admin three a queue.
    """
    listing = wanted.listing
    is_plain = listing.event_type is None and wanted.error_class is None
    is_first = listing.end == NEWEST
    messages = _messages(deps) if caller.is_admin and is_plain and is_first else []
    records, resume = _page(wanted, listing.limit, deps)
    return [*messages, *(_show_event(one, deps.now()) for one in records)], resume


def redrive_event(event_id: str, caller: Caller, deps: DeadLetterDeps) -> Redriven:
    """Redrive one event; three calls. Raises `NotFoundError` unless it is the caller's."""
    record = read_event(event_id, caller, deps.reading)
    if record.status is Status.FAILED:
        return _redrive([record], deps)
    what = "replay it" if record.status is Status.REJECTED else "there is nothing to redrive"
    skipped = {"eventId": event_id, "reason": f"the event is {record.status}: {what}"}
    return Redriven(skipped=[skipped])


def redrive_events(wanted: FailedEvents, deps: DeadLetterDeps) -> Redriven:
    """Redrive up to `MAX_AT_ONCE` events, the newest first.

    Calls: up to ten pages of the index, each with its records; one for ten events to the queue and
    one for each to the ledger.
    """
    found: list[Record] = []
    for _ in range(_MAX_PAGES):
        records, resume = _page(wanted, MAX_AT_ONCE - len(found), deps)
        found += records
        if resume is None or len(found) == MAX_AT_ONCE:
            break
        wanted = wanted.below(resume)
    done = _redrive(found, deps)
    if resume is not None:
        done.more, done.cursor = True, encode_cursor(resume)
    return done


def redrive_messages(queue: str, message_id: str | None, deps: DeadLetterDeps) -> Redriven:
    """Send messages of a dead-letter queue back to the queue they came from: up to `MAX_AT_ONCE`,
    or the one named. One call for ten to receive, to send, to delete and to give back.

    Raises `NotFoundError` for a message that is not among the first `MAX_AT_ONCE`.
    """
    if queue in WHY_NOT:
        named = {"queue": queue} if message_id is None else {"messageId": message_id}
        return Redriven(skipped=[{**named, "reason": WHY_NOT[queue]}])
    dead = deps.dead[queue]
    taken = dead.take(MAX_AT_ONCE)
    done, left = Redriven(), [message.handle for message in taken]
    try:
        wanted = [one for one in taken if message_id in (None, one.message_id)]
        if message_id is not None and not wanted:
            raise NotFoundError("no such message, or it was not received just now: try again")
        sent = _send_back(wanted, queue, done, deps)
        dead.delete(sent)
        left = [handle for handle in left if handle not in set(sent)]
    finally:
        dead.give_back(left)
    done.more = message_id is None and len(taken) == MAX_AT_ONCE
    log.info("messages redriven", extra={"queue": queue, "number": done.redriven})
    return done


def _send_back(
    messages: Sequence[DeadMessage], queue: str, done: Redriven, deps: DeadLetterDeps
) -> list[str]:
    """Send the messages that a worker can read; the handles of those that SQS took."""
    reasons = {one.message_id: _why_not(one, queue) for one in messages}
    able = [one for one in messages if reasons[one.message_id] is None]
    codes = deps.sources[queue].send_many([message.body for message in able])
    for one, code in zip(able, codes, strict=True):
        reasons[one.message_id] = None if code is None else f"SQS did not take it: {code}"
    done.skipped += [
        {"messageId": message_id, "reason": why} for message_id, why in reasons.items() if why
    ]
    sent = [one.handle for one in able if reasons[one.message_id] is None]
    done.redriven = len(sent)
    return sent


def _messages(deps: DeadLetterDeps) -> list[dict[str, Any]]:
    """Up to ten messages of each dead-letter queue."""

    def look(queue: str) -> list[dict[str, Any]]:
        waiting = deps.dead[queue].visible()
        seen = deps.dead[queue].peek() if waiting else []
        return [_show_message(one, queue, waiting, deps.now()) for one in seen]

    return [item for items in deps.each(look, deps.dead) for item in items]


def _why_not(message: DeadMessage, queue: str) -> str | None:
    """Why a message cannot be redriven; None if it can."""
    if queue == EVENTS_QUEUE:
        try:
            decode_message(message.body)
        except ForeignMessageError:
            return FOREIGN
    return WHY_NOT.get(queue)


def _page(
    wanted: FailedEvents, limit: int, deps: DeadLetterDeps
) -> tuple[list[Record], str | None]:
    """(records, the list key to go on below or None) of one page of the index."""
    page = deps.reading.index.newest(replace(wanted.listing, limit=limit))
    records = deps.reading.ledger.get_many([entry.event_id for entry in page.entries])
    found = [records[one.event_id] for one in page.entries if one.event_id in records]
    return [record for record in found if wanted.has(record)], page.resume_below


def _redrive(records: Sequence[Record], deps: DeadLetterDeps) -> Redriven:
    parcels = [Parcel(one.event, one.payload, in_bronze=one.payload is None) for one in records]
    messages = encode_messages(parcels, "redrive")
    answers = deps.queue.send_many([body for body, _ in messages], [SETTLE_SECONDS] * len(messages))
    codes = [code for code, (_, group) in zip(answers, messages, strict=True) for _ in group]
    at = clock.to_text(deps.now())

    def note(pair: tuple[Record, str | None]) -> str | None:
        record, code = pair
        if code is not None:
            return f"SQS did not take it: {code}"
        is_noted = deps.reading.ledger.mark_redriven(record, at)
        return None if is_noted else "the event has changed meanwhile"

    done = Redriven()
    reasons = deps.each(note, zip(records, codes, strict=True))
    for record, reason in zip(records, reasons, strict=True):
        event_id = record.event.event_id
        if reason is None:
            done.redriven += 1
            log.info("event redriven", extra={"eventId": event_id})
        else:
            done.skipped.append({"eventId": event_id, "reason": reason})
    return done


def _show_event(record: Record, now: datetime) -> dict[str, Any]:
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


def _show_message(message: DeadMessage, queue: str, waiting: int, now: datetime) -> dict[str, Any]:
    """A message as a dead letter, without its body; `waiting` is about how many its queue has."""
    reasons = list(message.attributes.items())[:_MAX_REASONS]
    why_not = _why_not(message, queue)
    return {
        "kind": "message",
        "queue": queue,
        "messageId": message.message_id,
        "reason": {name[:_MAX_TEXT]: value[:_MAX_TEXT] for name, value in reasons},
        "sentAt": message.sent_at,
        "ageSeconds": _age(message.sent_at, now),
        "approximateCount": waiting,
        "redrivable": why_not is None,
        "whyNot": why_not,
    }


def _age(since: str, now: datetime) -> int:
    """Seconds since then."""
    return max(round((now - clock.from_text(since)).total_seconds()), 0)
