"""The files of a unit: its payloads in bronze, and in silver one file for each type.

Leaving a unit: how an event goes on that is not in its unit's silver file.

Sent first, then noted. The note, a failed attempt in the ledger, says to all others that the event
may be sent alone from now on.

Processing a unit: up to a hundred events of one message, one silver file for each type.

The rule that effects once rests on (ADR 0013): the silver file of a unit and type decides, by who
writes it first, which events are in it for ever. **An event of a unit is processed alone only after
that file exists and does not hold it**; then it has left its unit. So an empty file says that all
have left.

    run every event -> write each type's file -> bus -> ledger; what failed leaves

An event that fails leaves: for good as FAILED, else in a message of its own, sent before it is
noted. Whatever AWS refuses keeps the unit's message, and the next delivery looks up what was
done. From the third delivery on a unit is broken up, since one of its events may be what kills the
worker.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from chalicelib.aws.sqs import Delivery
from chalicelib.core import clock
from chalicelib.core.errors import (
    NotFoundError,
    PermanentError,
    TransientError,
    UnavailableError,
    aws_code,
)
from chalicelib.core.log import log, log_context, where
from chalicelib.core.tracing import span
from chalicelib.events.finish import (
    BUSY_SECONDS,
    Result,
    WorkerDeps,
    Written,
    check_payload,
    classify,
    end_written,
    missing_payload,
    read_alert,
    record_failure,
    run_processor,
    wait_after,
)
from chalicelib.events.lake import Lake
from chalicelib.events.message import EventMessage, UnitMessage
from chalicelib.events.model import Dispatch, Event, Record, Status
from chalicelib.events.unit import Member, may_go_alone, pack, part, read_members, silver_file_key


class Payloads:
    """The payloads of a message's events; read from bronze, one call, unless it brought them."""

    def __init__(self, message: UnitMessage, lake: Lake) -> None:
        self._lake = lake
        self._key = message.events[0].s3_key
        self._sent = {
            event.event_id: payload
            for event, payload in zip(message.events, message.payloads or (), strict=False)
        }
        self._file: bytes | None = None
        self._is_missing = False

    def load(self) -> None:
        """Read the file if it is needed; an AWS error passes, and concerns them all."""
        if self._sent or self._file is not None or self._is_missing:
            return
        try:
            self._file = self._lake.get_bronze(self._key)
        except NotFoundError:
            self._is_missing = True

    def of(self, event: Event) -> bytes:
        """An event's payload, once they are loaded; `PermanentError` when it is gone or another."""
        if event.event_id in self._sent:
            return self._sent[event.event_id]
        if self._file is None or event.s3_range is None:
            raise missing_payload()
        return check_payload(event, part(self._file, event.s3_range))

    def at_hand(self, event: Event) -> bytes | None:
        """An event's payload if no call is needed for it."""
        if event.event_id not in self._sent and self._file is None:
            return None
        try:
            return self.of(event)
        except PermanentError:
            return None


class SilverFile(Struct, frozen=True):
    """A silver file and who is in it, by event id. `is_ours`: this delivery wrote it."""

    key: str
    members: Mapping[str, Member]
    is_ours: bool


class Claim(Struct, frozen=True):
    """What a delivery would have in a silver file: (event id, document) in order."""

    key: str
    documents: tuple[tuple[str, str], ...]
    processed_at: str


def claim_file(claim: Claim, lake: Lake) -> SilverFile:
    """Write a silver file, one call; if there is one already, read that, one more."""
    body, ranges = pack([document.encode() for _, document in claim.documents])
    if lake.put_silver_unit(claim.key, body):
        ids = [event_id for event_id, _ in claim.documents]
        places = zip(ids, ranges, strict=True)
        members = {id_: Member(claim.processed_at, within) for id_, within in places}
        return SilverFile(claim.key, members, is_ours=True)
    return SilverFile(claim.key, read_members(lake.get_silver(claim.key)), is_ours=False)


def read_file(key: str, lake: Lake) -> SilverFile | None:
    """The silver file at `key`; None if there is none. One call."""
    try:
        return SilverFile(key, read_members(lake.get_silver(key)), is_ours=False)
    except NotFoundError:
        return None


class Detached(Struct, frozen=True):
    """An event that leaves: why, and how many attempts were made at it. `has_run` says that it
    failed just now, so that it waits before it is tried again."""

    event: Event
    payload: bytes | None
    error: BaseException
    attempts: int
    has_run: bool


def leave(
    leaving: Sequence[Detached], dispatch: Dispatch, request_id: str, deps: WorkerDeps
) -> list[BaseException]:
    """Let events go on alone, or end them as FAILED where there is no use in that; what stood
    against it. AWS calls: one for ten to the queue, one for each to the ledger, an alert for each
    that ends."""
    ended = [one for one in leaving if _is_last(one, deps)]
    alone = [one for one in leaving if not _is_last(one, deps)]

    def end(one: Detached) -> BaseException | None:
        with log_context(eventId=one.event.event_id):
            wait = record_failure(one.event, dispatch, one.attempts, one.error, deps)
        return None if wait is None else UnavailableError("a failure was not recorded")

    errors = deps.each(end, ended) + _send(alone, dispatch, request_id, deps)
    return [error for error in errors if error is not None]


def _is_last(one: Detached, deps: WorkerDeps) -> bool:
    return classify(one.error).kind == "permanent" or one.attempts >= deps.max_attempts


def _send(
    leaving: Sequence[Detached], dispatch: Dispatch, request_id: str, deps: WorkerDeps
) -> list[BaseException | None]:
    if not leaving:
        return []
    bodies = [
        EventMessage(
            one.event,
            one.payload,
            recorded=False,
            request_id=request_id,
            attempts=one.attempts,
        ).encode()
        for one in leaving
    ]
    delays = [wait_after(one.attempts, deps) if one.has_run else 0 for one in leaving]
    codes = deps.queue.send_many(bodies, delays)

    def note(pair: tuple[Detached, str | None]) -> BaseException | None:
        one, code = pair
        if code is not None:
            return UnavailableError(f"SQS did not take a message: {code}")
        failure = classify(one.error)
        extra = {
            "attempt": one.attempts,
            "class": failure.kind,
            "code": failure.code,
            "where": where(one.error),
        }
        with log_context(eventId=one.event.event_id):
            log.warning("event left its unit", extra=extra)
            at = clock.to_text(deps.now())
            try:
                deps.ledger.mark_attempt_failed(
                    one.event, at, failure, final=False, dispatch=dispatch
                )
            except Exception as error:  # noqa: BLE001 - the unit's message comes again
                return error
        return None

    return deps.each(note, zip(leaving, codes, strict=True))


BREAK_UP_AT = 3
"""The delivery at which a unit is broken up."""


class _Work(Struct):
    """One delivery of a unit, and how far it has come."""

    message: UnitMessage
    delivery: Delivery
    deps: WorkerDeps
    now: str
    payloads: Payloads
    records: Mapping[str, Record] = field(default_factory=dict)
    """What the ledger says of the events, once it was asked."""
    results: dict[str, Result] = field(default_factory=dict)
    failures: dict[str, BaseException] = field(default_factory=dict)
    waits: list[int] = field(default_factory=list)
    """The seconds to wait, for each reason to deliver the message again."""

    @property
    def attempt(self) -> int:
        return self.delivery.attempt

    @property
    def breaks_up(self) -> bool:
        """Whether no processor is to run in this process any more."""
        is_last = 1 < self.attempt >= self.deps.max_attempts
        return self.attempt >= BREAK_UP_AT or is_last

    def put_off(self, error: BaseException) -> None:
        """Have the message again, since AWS refused something."""
        log.warning("unit not finished", extra={"code": aws_code(error), "where": where(error)})
        self.waits.append(wait_after(self.attempt, self.deps))

    def look_up(self) -> None:
        """Ask the ledger what has become of the events; one call."""
        ids = [event.event_id for event in self.message.events]
        self.records = self.deps.ledger.get_many(ids)

    def is_open(self, event: Event) -> bool:
        """Whether the ledger, as far as it was asked, has the event as not processed."""
        record = self.records.get(event.event_id)
        return record is None or record.status is not Status.PROCESSED

    def has_left(self, event: Event) -> bool:
        """Whether an event that is not in its silver file has gone on without its unit."""
        record = self.records.get(event.event_id)
        return record is not None and (record.status is Status.FAILED or may_go_alone(record))


def process_unit(
    message: UnitMessage, delivery: Delivery, seconds: float, deps: WorkerDeps
) -> int | None:
    """Process one delivery of a unit; None when its message is done with, else the seconds to wait.

    AWS calls of a first delivery: one for each type (silver), one for ten events (bus), one for
    each event (ledger), one more if the payloads are in bronze only; what fails costs one call for
    ten (queue) and one each (ledger). A later delivery asks the ledger first, one call, and reads
    the silver files.
    """
    work = _Work(message, delivery, deps, clock.to_text(deps.now()), Payloads(message, deps.lake))
    first = message.events[0]
    with log_context(unit=first.s3_key, owner=first.owner, requestId=message.request_id):
        try:
            _process(work, seconds)
        except Exception as error:  # noqa: BLE001 - SQS delivers it again
            work.put_off(error)
    return max(work.waits, default=None)


def _process(work: _Work, seconds: float) -> None:
    deps, events = work.deps, work.message.events
    known: dict[str, SilverFile] = {}
    if work.attempt > 1:
        work.look_up()
        events = tuple(event for event in events if work.is_open(event))
        known = _existing(events, work)
    missing = [event for event in events if silver_file_key(event) not in known]
    if not work.breaks_up:
        with span("processor", namespace=None):
            _run(missing, seconds, work)
    with span("silver"):
        files = known | _claim(missing, work)
    if work.attempt == 1 and not all(one.is_ours for one in files.values()):
        files, events = _leave_to_the_other(files, events, work)
    inside: list[Event] = []
    outside: list[Event] = []
    for event in events:
        file = files.get(silver_file_key(event))
        if file is not None:
            (inside if event.event_id in file.members else outside).append(event)
    _end(inside, files, work)
    leaving = [_leaving(event, work) for event in outside if not work.has_left(event)]
    for error in leave(leaving, _dispatch(work), work.message.request_id, deps):
        work.put_off(error)


def _existing(events: Sequence[Event], work: _Work) -> dict[str, SilverFile]:
    """The silver files that are there, by key; one call for each type."""
    keys = sorted({silver_file_key(event) for event in events})
    files = work.deps.each(lambda key: read_file(key, work.deps.lake), keys)
    return {file.key: file for file in files if file is not None}


def _run(events: Sequence[Event], seconds: float, work: _Work) -> None:
    """Run each event's processor, in its fair share of the time."""
    if not events:
        return
    deps = work.deps
    begun = deps.remaining()
    work.payloads.load()
    for number, event in enumerate(events):
        left = seconds - (begun - deps.remaining())
        with log_context(eventId=event.event_id):
            try:
                payload = work.payloads.of(event)
                if left <= 0:
                    raise TransientError("no time was left for it", code="time-out")
                share = left / (len(events) - number)
                work.results[event.event_id] = run_processor(
                    event, payload, work.attempt, share, work.now, deps
                )
            except (Exception, SystemExit) as error:  # noqa: BLE001 - its own failure: it leaves
                work.failures[event.event_id] = error


def _claim(events: Sequence[Event], work: _Work) -> dict[str, SilverFile]:
    """Write the silver file of each type with what came out, or see who was faster; by key."""
    documents: dict[str, list[tuple[str, str]]] = {}
    for event in events:
        lines = documents.setdefault(silver_file_key(event), [])
        if event.event_id in work.results:
            lines.append((event.event_id, work.results[event.event_id].document))
    claims = [Claim(key, tuple(lines), work.now) for key, lines in documents.items()]

    def put(claim: Claim) -> SilverFile | Exception:
        try:
            return claim_file(claim, work.deps.lake)
        except Exception as error:  # noqa: BLE001 - the other types go on
            return error

    files: dict[str, SilverFile] = {}
    for claim, done in zip(claims, work.deps.each(put, claims), strict=True):
        if isinstance(done, SilverFile):
            files[claim.key] = done
        else:
            work.put_off(done)
    return files


def _leave_to_the_other(
    files: Mapping[str, SilverFile], events: Sequence[Event], work: _Work
) -> tuple[dict[str, SilverFile], tuple[Event, ...]]:
    """At a first delivery, files of others mean that a delivery is at work on the same unit, or
    died at it. What it has not finished waits; if this one comes again, it goes on from there."""
    work.look_up()
    ours = {key: file for key, file in files.items() if file.is_ours}
    for event in events:
        file = files.get(silver_file_key(event))
        if file is None or file.is_ours or not work.is_open(event):
            continue
        if event.event_id in file.members or not work.has_left(event):
            work.waits.append(BUSY_SECONDS)
            break
    return ours, tuple(event for event in events if work.is_open(event))


def _end(events: Sequence[Event], files: Mapping[str, SilverFile], work: _Work) -> None:
    """Tell of what is in its file, and note it."""
    written = []
    for event in events:
        file = files[silver_file_key(event)]
        member = file.members[event.event_id]
        written.append(
            Written(
                event=event,
                attempt=work.attempt,
                dispatch=_dispatch(work),
                request_id=work.message.request_id,
                processed_at=member.processed_at,
                at=work.now,
                silver_key=file.key,
                silver_range=member.within,
                alert=_alert(event, work),
            )
        )
    for error in end_written(written, work.deps):
        if error is not None:
            work.put_off(error)


def _alert(event: Event, work: _Work) -> str | None:
    if event.event_id in work.results:
        return work.results[event.event_id].alert
    if event.owner != work.deps.webhook_owner:
        return None
    work.payloads.load()
    payload = work.payloads.at_hand(event)
    return None if payload is None else read_alert(event, payload, work.deps)


def _leaving(event: Event, work: _Work) -> Detached:
    """What an event leaves its unit with. Of the deliveries that did not get it done, one counts as
    an attempt at it: they failed at others, or at AWS, unless they died of it."""
    payload = work.payloads.at_hand(event)
    failure = work.failures.get(event.event_id)
    if failure is not None:
        return Detached(event, payload, failure, work.attempt, has_run=True)
    apart = TransientError("it goes on without its unit", code="left-unit")
    attempts = min(1, work.deps.max_attempts - 1)
    return Detached(event, payload, apart, attempts, has_run=False)


def _dispatch(work: _Work) -> Dispatch:
    return Dispatch(work.delivery.sent_at, noted=False)
