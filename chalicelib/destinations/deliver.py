"""Deliver: the function that makes attempts.

A message ends in one of three ways: it is done (delivered, given up, or waiting elsewhere for its
next attempt), it comes again because AWS failed, or it is set aside as foreign. What an endpoint
does never fails a batch, so no endpoint holds up another's messages:

- All messages of a batch go out at the same time, at most `AT_ONCE` to one destination. After one
  that finds the endpoint down, the others of the run are put off without an attempt.
- A new destination gets one call, and the others when that has succeeded.
- A destination that was slow within the last minute gets at most `SLOTS` calls in all. One whose
  server failed gets one at a time until it succeeds, and one a minute if it hangs: so it holds one
  run for 15 s a minute, not each run that has a message for it. What gets no slot is put off.
- One with a `rate` gives each call a turn, for which its message waits on the queue.
- At one that is `ordered`, of the events of a subject the first is sent alone (`line`).
- Waits of up to 15 minutes are a new, delayed message. Longer ones are a note in the table that the
  schedule takes up (`due`), so that nothing waits in flight.

The next message is sent before the note is written. A death between the two makes an attempt too
many, in the other order the delivery would end there.
"""

import json
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from chalicelib.aws.faults import aws_code
from chalicelib.aws.sqs import Delivery as Received
from chalicelib.aws.sqs import Queue, back_off
from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock, metrics
from chalicelib.core.errors import BatchIncompleteError, ForeignMessageError, NotFoundError
from chalicelib.core.log import log, log_context, where
from chalicelib.destinations.delivery_store import DeliveryStore
from chalicelib.destinations.health import Destinations, Health
from chalicelib.destinations.line import PAUSE, SILENCE, First, LineStore, line_of
from chalicelib.destinations.match import (
    MAX_COMPARISONS,
    Comparisons,
    TooManyComparisonsError,
    filter_matches,
)
from chalicelib.destinations.message import DeliveryMessage, Sweep, decode
from chalicelib.destinations.model import (
    Attempt,
    Delivery,
    Destination,
    Outcome,
    wait_after,
    with_next,
)
from chalicelib.destinations.render import render
from chalicelib.destinations.sign import signature_headers
from chalicelib.destinations.store import PROBE, SLOTS, TURNS_AHEAD
from chalicelib.events.lake import Lake
from chalicelib.outbound.send import Answer, Limits, Sender

LIMITS = Limits(connect=5.0, read=15.0, total=20.0)
"""Of an attempt, in seconds."""
HANG_MILLIS = 1_000
"""A failure that took longer held up a run."""
AT_ONCE = 4
"""Calls in flight to one destination in a run."""
LONGEST_DELAY = 900
"""The longest that SQS delays a message (Amazon SQS Developer Guide, "Message timers")."""
CALL_SECONDS = 30.0
"""Time that must be left to begin a call: 20 s for it, and the notes around it."""
_NO_SLOT_NEEDED = -1
_RETRY_BASE, _LONGEST_RETRY = 5, 900


class DeliverDeps(Struct, frozen=True):
    """The collaborators of `deliver_batch`. `make_sender` makes the connections of a run, `sweep`
    takes a step of a sweep."""

    health: Health
    deliveries: DeliveryStore
    lines: LineStore
    lake: Lake
    queue: Queue
    dead_letters: Queue
    make_sender: Callable[[], Sender]
    sweep: Callable[[Sweep], None]
    seconds_left: Callable[[], float]
    now: Callable[[], datetime] = clock.utc_now
    jitter: Callable[[], float] = random.random
    each: Each = in_threads

    @property
    def destinations(self) -> Destinations:
        """What is known of them."""
        return self.health.destinations


class _Run(Struct):
    """What a run has learned: the destinations that are down, and how many calls each may have. The
    messages of one delivery take turns, so that the next sees what became of the one before."""

    sender: Sender
    down: set[str] = field(default_factory=set)
    gates: dict[str, threading.Semaphore] = field(default_factory=dict)
    turns: dict[tuple[str, str], threading.Lock] = field(default_factory=dict)


class _Known(Struct, frozen=True):
    """What an attempt works with: the delivery as the message has it, as it was read (None: it was
    not, being new), its destination and document."""

    delivery: Delivery
    record: Delivery | None
    destination: Destination
    document: Mapping[str, Any]


def deliver_batch(received: Sequence[Received], deps: DeliverDeps) -> None:
    """Deliver a batch. AWS calls for a new message that is answered at once: one, the note. Two
    more for one that may be a repeat or waited (the note is read, the next message sent); one to
    silver for a large document; three for a slot of a destination that is new or in trouble; one or
    two for a turn of one with a rate, and one to wait for it; six for the first of a line, one
    more to try it again, and one to call the next; one to find another first, three more if that
    was not heard of for an hour; one for each destination and `DESTINATION_CACHE_SECONDS`.

    Raises `BatchIncompleteError` when AWS failed for some, which SQS then delivers again.
    """
    metrics.sample("BatchSize", len(received))
    with deps.make_sender() as sender:
        run = _Run(sender)
        waits = deps.each(lambda one: _handle(one, run, deps), received)
    done = [one.receipt_handle for one, wait in zip(received, waits, strict=True) if wait is None]
    again = [
        (one.receipt_handle, wait)
        for one, wait in zip(received, waits, strict=True)
        if wait is not None
    ]
    if again:
        deps.queue.delete(done)
        deps.queue.put_off(again)
        raise BatchIncompleteError(f"{len(again)} of {len(received)} messages to retry")


def _handle(received: Received, run: _Run, deps: DeliverDeps) -> int | None:
    """Take a message to its end: None, or the seconds after which it comes again."""
    try:
        message = decode(received.body)
    except ForeignMessageError as error:
        log.warning("foreign message", extra={"messageId": received.message_id})
        reason = {"reason": error.detail, "code": error.code, "messageId": received.message_id}
        return _settle(received, lambda: deps.dead_letters.send(received.body, reason), deps)
    if isinstance(message, Sweep):
        return _settle(received, lambda: deps.sweep(message), deps)
    event_id, destination_id = message.delivery.event_id, message.destination_id
    turn = run.turns.setdefault((destination_id, event_id), threading.Lock())
    fields = {"eventId": event_id, "destinationId": destination_id}
    if message.request_id:
        fields["requestId"] = message.request_id
    with turn, log_context(**fields):
        is_repeat = received.attempt > 1
        return _settle(received, lambda: _deliver(message, run, deps, is_repeat=is_repeat), deps)


def _settle(received: Received, work: Callable[[], None], deps: DeliverDeps) -> int | None:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - SQS delivers it again
        extra = {"code": aws_code(error), "where": where(error), "attempt": received.attempt}
        log.warning("delivery not handled", extra=extra)
        return back_off(received.attempt, _RETRY_BASE, _LONGEST_RETRY, deps.jitter())
    return None


def _deliver(message: DeliveryMessage, run: _Run, deps: DeliverDeps, *, is_repeat: bool) -> None:
    delivery = message.delivery
    record = None
    if is_repeat or message.again or delivery.tries > 0:
        record = deps.deliveries.noted(delivery)
        if record is not None and _is_superseded(record, delivery):
            log.info("delivery was made before")
            if record.outcome is not Outcome.WAITING:
                _leave_again(delivery if delivery.line else record, deps)
            return
    destination = deps.destinations.get(delivery.destination_id)
    if destination is None or destination.is_off:
        _give_up(delivery, destination, deps)
        return
    document = _document(message, deps)
    if document is None:
        deps.deliveries.give_up(delivery, "document-missing", deps.now())
        log.error("delivery given up", extra={"code": "document-missing"})
        _leave(delivery, deps)
    elif message.match and not _wants(destination, document):
        if record is not None:  # It matched once, and would wait for ever.
            deps.deliveries.give_up(delivery, "filtered", deps.now())
        _leave(delivery, deps)
    else:
        message = _in_line(message, destination, document, deps)
        _send(_Known(message.delivery, record, destination, document), message, run, deps)


def _in_line(
    message: DeliveryMessage,
    destination: Destination,
    document: Mapping[str, Any],
    deps: DeliverDeps,
) -> DeliveryMessage:
    """The message, in its line: one that is sent again for its owner joins here; one call then."""
    line = line_of(destination, document)
    if message.delivery.line is not None or line is None:
        return message
    joined = replace(message, delivery=replace(message.delivery, line=line))
    deps.lines.join(joined, deps.now())
    return joined


def _give_up(delivery: Delivery, destination: Destination | None, deps: DeliverDeps) -> None:
    """End a delivery whose destination is gone or off; one call, four for one in a line."""
    code = "deleted" if destination is None else str(destination.state)
    deps.deliveries.give_up(delivery, code, deps.now())
    log.info("delivery given up", extra={"code": code})
    _leave(delivery, deps)


def _leave(delivery: Delivery, deps: DeliverDeps) -> None:
    """Leave the line of a delivery that came to its end, if it has one: call the next, and free the
    lease."""
    if delivery.line is not None:
        deps.lines.leave(delivery)
        _call_next(delivery, deps)


def _leave_again(delivery: Delivery, deps: DeliverDeps) -> None:
    """The same for one that came to its end before, if whoever ended it died before it had left."""
    if delivery.line is not None and (deps.lines.leave(delivery) or deps.lines.has(delivery)):
        _call_next(delivery, deps)


def _call_next(delivery: Delivery, deps: DeliverDeps) -> None:
    following = deps.lines.first(delivery)
    if following is not None:
        deps.queue.send(following.message, group=delivery.destination_id)
    deps.lines.free(delivery, deps.now())


def _is_superseded(record: Delivery, delivery: Delivery) -> bool:
    """Whether another message has gone further with it."""
    return record.outcome is not Outcome.WAITING or record.tries > delivery.tries


def _document(message: DeliveryMessage, deps: DeliverDeps) -> Mapping[str, Any] | None:
    """The document; one call unless the message brought it. None if silver has it no more."""
    if message.document is not None:
        text: str | bytes = message.document
    else:
        try:
            text = deps.lake.get_silver(message.delivery.silver_key, message.delivery.silver_range)
        except NotFoundError:
            return None
    try:
        document: Mapping[str, Any] = json.loads(text)
    except ValueError:
        return None
    return document


def _wants(destination: Destination, document: Mapping[str, Any]) -> bool:
    """Whether an event matches the destination's filter; one too large to say is sent."""
    if destination.filter is None:
        return True
    try:
        return filter_matches(destination.filter, document, Comparisons(MAX_COMPARISONS))
    except TooManyComparisonsError:
        log.warning("event not held against its filter, which takes too many comparisons")
        return True


def _send(known: _Known, message: DeliveryMessage, run: _Run, deps: DeliverDeps) -> None:
    """Make an attempt, if it is the destination's turn; else put it off."""
    destination_id = known.destination.destination_id
    at_once = 1 if known.destination.proven_at is None else AT_ONCE
    with run.gates.setdefault(destination_id, threading.Semaphore(at_once)):
        if deps.seconds_left() < CALL_SECONDS:
            _wait(known.delivery, message, 0, deps)
            return
        # What others of this run have learned meanwhile; and whether a slot is needed still.
        destination = deps.destinations.get(destination_id)
        if destination is not None and destination.needs_slot(deps.now()):
            destination = deps.destinations.look(destination_id)
        if destination is None or destination.is_off:
            _give_up(known.delivery, destination, deps)
            return
        known = replace(known, destination=destination)
        if known.delivery.line is None:
            _call(known, message, run, deps)
        else:
            _call_in_line(known, message, run, deps)


def _call_in_line(known: _Known, message: DeliveryMessage, run: _Run, deps: DeliverDeps) -> None:
    """Call if nothing is before this delivery in its line. Else its message ends: whoever is before
    it calls it, and is seen to here."""
    delivery = known.delivery
    if delivery.tries > 0:  # Who calls it shall know of its attempts.
        deps.lines.join(message, deps.now())
    first = deps.lines.first(delivery)
    if first is None or first.event_id != delivery.event_id:
        log.info("delivery waits in line")
        if first is not None:
            _see_to(first, delivery, deps)
        return
    if not deps.lines.take(delivery, deps.now()):
        _wait(delivery, message, PAUSE, deps)
        return
    is_over = False
    try:
        # A second message of it may have had the lease just before.
        record = deps.deliveries.noted(delivery)
        if record is None or not _is_superseded(record, delivery):
            is_over = _call(replace(known, record=record), message, run, deps)
        else:
            log.info("delivery was made before")
            is_over = record.outcome is not Outcome.WAITING
    finally:
        if not is_over:
            deps.lines.free(delivery, deps.now())
    if is_over:
        _leave(delivery, deps)


def _see_to(first: First, behind: Delivery, deps: DeliverDeps) -> None:
    """Send the message of the first of a line again, if nobody has heard of that for `SILENCE`, and
    it does not wait for its next attempt: else all behind it would wait for ever. No call before,
    then three once in that time."""
    now = deps.now()
    if first.heard_at > clock.to_text(now - SILENCE):
        return
    message = decode(first.message)
    if isinstance(message, Sweep) or not deps.lines.hear(message.delivery, now):
        return
    record = deps.deliveries.noted(message.delivery)
    if record is not None and record.outcome is Outcome.WAITING:
        if record.next_at is not None and record.next_at > clock.to_text(now):
            return
        message = replace(message, delivery=replace(message.delivery, tries=record.tries))
    deps.queue.send(message.encode(), group=behind.destination_id)
    log.warning("line called again", extra={"firstEventId": first.event_id})


def _call(known: _Known, message: DeliveryMessage, run: _Run, deps: DeliverDeps) -> bool:
    """Make the attempt, if the destination has a turn and a slot for it; whether the delivery came
    to its end."""
    destination, store = known.destination, deps.destinations.store
    destination_id = destination.destination_id
    slot = None if destination_id in run.down else _take_slot(destination, deps)
    if slot is None:
        pause = destination.pause_seconds(deps.now(), deps.jitter())
        _wait(known.delivery, replace(message, turn=False), pause, deps)
        log.info("delivery put off", extra={"seconds": pause})
        return False
    hung = False
    try:
        if destination.rate is not None and not message.turn:
            seconds = store.take_turn(destination_id, destination.rate, deps.now())
            if seconds != 0:
                _wait_for_turn(known.delivery, message, seconds, deps)
                return False
        answer = _attempt(known, run, deps)
        if answer.is_down:
            run.down.add(destination_id)
        hung = answer.is_down and answer.millis > HANG_MILLIS
        return _conclude(known, message, answer, deps)
    finally:
        if slot != _NO_SLOT_NEEDED and not hung:
            store.free_slot(destination_id, slot)


def _attempt(known: _Known, run: _Run, deps: DeliverDeps) -> Answer:
    destination, now = known.destination, deps.now()
    body, headers = render(destination.format, known.document)
    secrets = destination.signing_secrets(now)
    event_id = known.delivery.event_id
    signed = signature_headers(secrets, event_id, int(now.timestamp()), body)
    return run.sender.post(destination.url, body, {**destination.headers, **headers, **signed})


def _take_slot(destination: Destination, deps: DeliverDeps) -> int | None:
    """The slot for a call: the first for a destination that is new or down, one of two for a slow
    one; a call for each. None if they are taken, `_NO_SLOT_NEEDED` for one that is well."""
    if not destination.needs_slot(deps.now()):
        return _NO_SLOT_NEEDED
    first = int(deps.jitter() * SLOTS) % SLOTS
    is_probe = destination.is_down or destination.proven_at is None
    for number in (PROBE,) if is_probe else (first, (first + SLOTS // 2) % SLOTS):
        if deps.destinations.store.take_slot(destination.destination_id, number, deps.now()):
            return number
    return None


def _wait_for_turn(
    delivery: Delivery, message: DeliveryMessage, seconds: int | None, deps: DeliverDeps
) -> None:
    """Let a delivery wait for its turn, or without one (None) until there are some again."""
    log.info("delivery waits for its turn", extra={"seconds": seconds})
    if seconds is None:
        wait = round(TURNS_AHEAD * (1 + deps.jitter()) / 2)
        _wait(delivery, message, wait, deps)
    else:
        _wait(delivery, replace(message, turn=True), seconds, deps)


def _conclude(known: _Known, message: DeliveryMessage, answer: Answer, deps: DeliverDeps) -> bool:
    """Note an attempt and what follows from it; whether the delivery came to its end."""
    now = deps.now()
    at = clock.to_text(now - timedelta(milliseconds=answer.millis))
    attempt = Attempt(at, answer.millis, answer.status, answer.code, answer.text)
    delivery = replace(known.delivery, tries=known.delivery.tries + 1)
    extra = {"status": answer.status, "ms": answer.millis, "attempt": delivery.tries}
    metrics.sample("DestinationLatency", answer.millis)
    if answer.is_success:
        done = replace(delivery, outcome=Outcome.DELIVERED)
        deps.deliveries.note(done, attempt, known.record, now)
        metrics.add("Delivered")
        log.info("event delivered", extra=extra)
        deps.health.succeeded(known.destination, answer)
        return True
    metrics.add("AttemptFailed")
    log.warning("event not delivered", extra={**extra, "code": answer.code})
    wait = None if answer.is_gone else wait_after(delivery.tries, answer.retry_after, deps.jitter())
    if wait is None:
        deps.deliveries.note(replace(delivery, outcome=Outcome.FAILED), attempt, known.record, now)
    else:
        _note_retry(
            with_next(delivery, now + timedelta(seconds=wait)), wait, attempt, known, message, deps
        )
    deps.health.failed(known.destination, answer)
    return wait is None


def _note_retry(
    delivery: Delivery,
    wait: int,
    attempt: Attempt,
    known: _Known,
    message: DeliveryMessage,
    deps: DeliverDeps,
) -> None:
    is_long = wait > LONGEST_DELAY
    if not is_long:
        deps.queue.send(
            replace(message, delivery=delivery, again=True, turn=False).encode(),
            delay=wait,
            group=delivery.destination_id,
        )
    deps.deliveries.note(delivery, attempt, known.record, deps.now(), due=is_long)


def _wait(delivery: Delivery, message: DeliveryMessage, seconds: int, deps: DeliverDeps) -> None:
    """Let a delivery wait without an attempt: one call."""
    if seconds > LONGEST_DELAY:
        waiting = with_next(delivery, deps.now() + timedelta(seconds=seconds))
        deps.deliveries.put_off(waiting, deps.now())
        return
    body = replace(message, again=True).encode()
    deps.queue.send(body, delay=seconds, group=delivery.destination_id)
