"""Process queue messages: one silver document an event, whatever comes how often.

What comes for the first time is processed together, as one unit, whichever messages brought it.
What comes again may have killed a run, so it comes last and by itself: first the units that dead
runs left are finished, then what is still open is processed.

A message ends in one of three ways: done, to be retried, or set aside on the dead-letter queue (a
foreign message). If all are done the batch returns and SQS deletes it. Otherwise the worker deletes
those that are done, puts the others off with back-off, and raises: right whether or not the event
source reports partial batches (ADR 0003).
"""

from collections.abc import Sequence
from contextlib import suppress

from msgspec import Struct, field
from msgspec.structs import replace

from chalicelib.aws.faults import aws_code, aws_faults
from chalicelib.aws.sqs import Delivery
from chalicelib.core import clock, metrics
from chalicelib.core.errors import (
    BatchIncompleteError,
    ForeignMessageError,
    TransientError,
    UnavailableError,
)
from chalicelib.core.log import log, log_context, where
from chalicelib.events.finish import (
    BUSY_SECONDS,
    WorkerDeps,
    classify,
    is_final,
    log_failure,
    record_failure,
    wait_after,
)
from chalicelib.events.message import (
    EventsMessage,
    Message,
    ReplayMessage,
    decode_message,
    encode_message,
)
from chalicelib.events.model import Dispatch, Event, Status
from chalicelib.events.process_unit import End, Task, finish_unit, process_unit
from chalicelib.events.stats import Count, count

MARGIN_SECONDS = 4.0
"""Time left at the end of an invocation for deleting and putting off messages."""
BREAK_UP_AT = 3
"""The delivery at which the events of a message go on in messages of their own, since one of them
may kill the worker."""

_Pair = tuple[Delivery, EventsMessage]


class _Batch(Struct):
    """How far a batch has come; `done` and `retries` hold receipt handles."""

    done: list[str] = field(default_factory=list)
    retries: list[tuple[str, int]] = field(default_factory=list)

    def settle(self, delivery: Delivery, wait: int | None) -> None:
        """A message is done (None), or waits so many seconds."""
        if wait is None:
            self.done.append(delivery.receipt_handle)
        else:
            self.retries.append((delivery.receipt_handle, wait))

    def delete_done(self, deps: WorkerDeps) -> None:
        """Delete what is done, so that nothing that comes later brings it back."""
        deps.queue.delete(self.done)
        self.done.clear()


def process_batch(deliveries: Sequence[Delivery], deps: WorkerDeps) -> None:
    """Process a batch. AWS calls: those of `process_unit`, and none to finish when all went well,
    else one to delete and one to put off.

    Messages that were delivered before come last, one by one, after the others have been deleted:
    should one of them kill the process, it kills no neighbour. Steps of replays come after all
    events. Raises `BatchIncompleteError` when some are to be retried.
    """
    metrics.sample("BatchSize", len(deliveries))
    batch = _Batch()
    pairs: list[_Pair] = []
    steps: list[tuple[Delivery, ReplayMessage]] = []
    for delivery in sorted(deliveries, key=lambda one: one.attempt):
        message = _read(delivery)
        if isinstance(message, EventsMessage):
            pairs.append((delivery, message))
        elif isinstance(message, ReplayMessage):
            steps.append((delivery, message))
        else:
            batch.settle(delivery, _set_aside(delivery, message, deps))
    new = [pair for pair in pairs if pair[0].attempt == 1]
    again = [pair for pair in pairs if pair[0].attempt > 1]
    left = sum(len(message.parcels) for _, message in pairs)
    for number, group in enumerate([new, *([pair] for pair in again)]):
        if number:
            batch.delete_done(deps)
        # A fair share of the time left, so that one event that hangs leaves some to the others.
        size = sum(len(message.parcels) for _, message in group)
        share = (deps.seconds_left() - MARGIN_SECONDS) * size / max(left, 1)
        left -= size
        _process(group, share, batch, deps)
    for number, (delivery, step) in enumerate(steps):
        batch.delete_done(deps)
        share = (deps.seconds_left() - MARGIN_SECONDS) / (len(steps) - number)
        batch.settle(delivery, 0 if share <= 0 else deps.step_replay(step, delivery, share))
    if batch.retries:
        batch.delete_done(deps)
        deps.queue.put_off(batch.retries)
        raise BatchIncompleteError(f"{len(batch.retries)} of {len(deliveries)} messages to retry")


def _read(delivery: Delivery) -> Message | ForeignMessageError:
    try:
        return decode_message(delivery.body)
    except ForeignMessageError as error:
        return error


def _process(pairs: Sequence[_Pair], seconds: float, batch: _Batch, deps: WorkerDeps) -> None:
    """Take messages to their end, together."""
    tasks: dict[str, Task] = {}
    for delivery, message in pairs:
        attempt = message.attempts + delivery.attempt
        # The first attempt notes that the event was sent.
        dispatch = Dispatch(delivery.sent_at, noted=message.attempts > 0)
        for parcel in message.parcels:
            known = delivery.attempt > 1
            task = Task(parcel, attempt, dispatch, message.request_id, is_known_open=known)
            tasks.setdefault(parcel.event.event_id, task)
            if attempt == 1:
                _count_accepted(parcel.event)
    ends: dict[str, End] = {}
    try:
        if pairs and seconds <= 0:
            ends = dict.fromkeys(tasks, 0)
        elif pairs and pairs[0][0].attempt > 1:
            ends = _look_up(tasks, deps)
        open_tasks = [task for event_id, task in tasks.items() if event_id not in ends]
        if open_tasks and _breaks_up(*pairs[0], deps):
            apart = TransientError("it goes on in a message of its own", code="left-message")
            ends |= {task.event.event_id: apart for task in open_tasks}
        elif open_tasks:
            ends |= process_unit(open_tasks, seconds, deps)
    except Exception as error:  # noqa: BLE001 - SQS delivers it again
        extra = {"code": aws_code(error), "where": where(error)}
        log.warning("messages not finished", extra=extra)
        ends |= {one: wait_after(tasks[one].attempt, deps) for one in tasks if one not in ends}
    for delivery, message in pairs:
        batch.settle(delivery, _wait(delivery, message, tasks, ends, deps))
        # A failed attempt is noted once; other messages of the event wait as AWS's refusals do.
        failed = [one for one in ends if isinstance(ends[one], BaseException)]
        mine = {parcel.event.event_id for parcel in message.parcels}
        ends |= {one: wait_after(tasks[one].attempt, deps) for one in failed if one in mine}


def _look_up(tasks: dict[str, Task], deps: WorkerDeps) -> dict[str, End]:
    """How those events ended that earlier deliveries have brought to an end, or are still at; the
    tasks of the others learn whether the ledger knows that they were sent.

    AWS calls: one for a hundred events, those to look for open units, and those to finish them.
    """
    ids, now = set(tasks), deps.now()
    ends: dict[str, End] = {}
    for unit in deps.journal.open_units():
        if not unit.event_ids & ids or (unit.is_over(now) and finish_unit(unit, deps)):
            continue
        ends |= dict.fromkeys(unit.event_ids & ids, BUSY_SECONDS)
    for event_id, record in deps.ledger.get_many(sorted(ids - set(ends))).items():
        if record.status is Status.PROCESSED:
            with log_context(eventId=event_id, owner=record.event.owner):
                log.info("event was processed before", extra={"attempt": tasks[event_id].attempt})
            ends[event_id] = None
        else:
            sent = replace(tasks[event_id].dispatch, noted=record.status is not Status.RECEIVED)
            tasks[event_id] = replace(tasks[event_id], dispatch=sent)
    return ends


def _count_accepted(event: Event) -> None:
    with suppress(ValueError):  # A time that cannot be read fails no event.
        count(event.owner, Count.ACCEPTED, clock.from_text(event.received_at))


def _breaks_up(delivery: Delivery, message: EventsMessage, deps: WorkerDeps) -> bool:
    """Whether to run no more processors for a message of many events."""
    attempt = delivery.attempt
    is_last = 1 < attempt >= deps.max_attempts
    return len(message.parcels) > 1 and (attempt >= BREAK_UP_AT or is_last)


def _wait(
    delivery: Delivery,
    message: EventsMessage,
    tasks: dict[str, Task],
    ends: dict[str, End],
    deps: WorkerDeps,
) -> int | None:
    """What becomes of a message: done (None), or the seconds to wait."""
    mine = [tasks[parcel.event.event_id] for parcel in message.parcels]
    waits: list[int] = []
    failed: list[tuple[Task, BaseException]] = []
    for task in mine:
        end = ends[task.event.event_id]
        if isinstance(end, int):
            waits.append(end)
        elif end is not None and len(mine) > 1 and _is_ours(end):
            waits.append(wait_after(delivery.attempt, deps))
        elif end is not None:
            failed.append((task, end))
    if len(mine) == 1:
        waits += [wait for task, end in failed if (wait := _fail(task, end, deps)) is not None]
    else:
        waits += _detach(failed, deps)
    return max(waits, default=None)


def _is_ours(error: BaseException) -> bool:
    """Whether not the event failed but AWS, which concerns its whole message."""
    return isinstance(error, aws_faults(UnavailableError))


def _fail(task: Task, error: BaseException, deps: WorkerDeps) -> int | None:
    event = task.event
    fields = {"eventId": event.event_id, "owner": event.owner, "requestId": task.request_id}
    with log_context(**fields):
        return record_failure(task.parcel, task.dispatch, task.attempt, error, deps)


def _detach(failed: Sequence[tuple[Task, BaseException]], deps: WorkerDeps) -> list[int]:
    """Send events on in messages of their own, or end those as FAILED that another attempt cannot
    help; the seconds to wait where that could not be done. AWS calls: one for ten to the queue, one
    for each to the ledger, an alert for each that ends."""
    ended = [(task, error) for task, error in failed if is_final(error, task.attempt, deps)]
    alone = [(task, error) for task, error in failed if not is_final(error, task.attempt, deps)]
    waits = deps.each(lambda pair: _fail(*pair, deps), ended)
    if alone:
        delays = [
            0 if classify(error).code == "left-message" else wait_after(task.attempt, deps)
            for task, error in alone
        ]
        bodies = [
            encode_message(task.parcel, task.request_id, _attempts(task, error, deps))
            for task, error in alone
        ]
        try:
            codes = deps.queue.send_many(bodies, delays)
        except aws_faults() as fault:
            codes = [aws_code(fault)] * len(bodies)
        waits += deps.each(lambda one: _note_apart(*one, deps), zip(alone, codes, strict=True))
    return [wait for wait in waits if wait is not None]


def _attempts(task: Task, error: BaseException, deps: WorkerDeps) -> int:
    """Of the deliveries that did not finish an event one counts as an attempt at it, unless its own
    processor failed: they failed at others, or died."""
    if classify(error).code == "left-message":
        return min(1, deps.max_attempts - 1)
    return task.attempt


def _note_apart(
    failed: tuple[Task, BaseException], code: str | None, deps: WorkerDeps
) -> int | None:
    task, error = failed
    event, failure = task.event, classify(error)
    if code is not None:
        return wait_after(task.attempt, deps)
    with log_context(eventId=event.event_id, owner=event.owner, requestId=task.request_id):
        log_failure("event left its message", failure, task.attempt, error)
        at = clock.to_text(deps.now())
        payload = None if task.parcel.in_bronze else task.parcel.payload
        try:
            deps.ledger.mark_attempt_failed(
                event, at, failure, final=False, dispatch=task.dispatch, payload=payload
            )
        except Exception as fault:  # noqa: BLE001 - the message comes again
            log.error(
                "failure not recorded", extra={"code": aws_code(fault), "where": where(fault)}
            )
            return wait_after(task.attempt, deps)
    return None


def _set_aside(delivery: Delivery, error: ForeignMessageError, deps: WorkerDeps) -> int | None:
    """Put a foreign message on the dead-letter queue, with the reason."""
    log.warning("foreign message", extra={"messageId": delivery.message_id})
    reason = {"reason": error.detail, "code": error.code, "messageId": delivery.message_id}
    try:
        deps.dead_letters.send(delivery.body, reason)
    except Exception as fault:  # noqa: BLE001 - SQS delivers it again
        log.error("foreign message not set aside", extra={"code": aws_code(fault)})
        return wait_after(delivery.attempt, deps)
    return None
