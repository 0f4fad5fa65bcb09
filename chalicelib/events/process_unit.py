"""Process a unit: up to a hundred events of one message, with one silver file for each type.

Effects happen once by one rule (ADR 0013): whoever is first to write the silver file of a unit and
type decides for ever which events are in it. **An event of a unit is processed alone only after
that file exists and does not hold it**; the event is then detached from its unit. So an empty file
means that all events are detached.

    run every processor -> write each type's file -> publish -> record; what failed is detached

A detached event ends as FAILED, or goes on in a message of its own. That is sent first; then the
ledger records the failed attempt, which tells everyone else that the event may be sent alone.

When AWS refuses a call, SQS delivers the unit's message again, and the next delivery looks up what
was done. The third delivery breaks the unit up, since one of its events may kill the worker.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

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
from chalicelib.events.alerts import alert_of
from chalicelib.events.bus import Written
from chalicelib.events.finish import (
    BUSY_SECONDS,
    Result,
    WorkerDeps,
    check_payload,
    classify,
    is_final,
    log_failure,
    publish,
    record_failure,
    run_processor,
    wait_after,
)
from chalicelib.events.lake import Lake
from chalicelib.events.message import EventMessage, UnitMessage
from chalicelib.events.model import Dispatch, Event, Record, Status
from chalicelib.events.processors import read_data
from chalicelib.events.unit import Member, may_go_alone, pack, part, read_members, silver_file_key

BREAK_UP_AT = 3
"""The delivery at which a unit is broken up."""


class _SilverFile(Struct, frozen=True):
    """A silver file and its events, by id. `is_ours`: this delivery wrote it."""

    key: str
    members: Mapping[str, Member]
    is_ours: bool


class _Detached(Struct, frozen=True):
    """An event to detach, and why. `has_run`: its processor failed just now, so that it waits
    before its next attempt."""

    event: Event
    error: BaseException
    attempts: int
    has_run: bool


class _Work(Struct):
    """One delivery of a unit, and how far it has come. Mappings are by event id."""

    message: UnitMessage
    delivery: Delivery
    deps: WorkerDeps
    now: str
    sent: Mapping[str, bytes]
    """The payloads that the message brought."""
    file: bytes | None = None
    """The unit's file in bronze; None until it is read, empty if it is gone."""
    records: Mapping[str, Record] = field(default_factory=dict)
    """What the ledger has of the events, once it was asked."""
    results: dict[str, Result] = field(default_factory=dict)
    failures: dict[str, BaseException] = field(default_factory=dict)
    waits: list[int] = field(default_factory=list)
    """Seconds to wait, one for each reason to have the message delivered again."""

    @property
    def attempt(self) -> int:
        return self.delivery.attempt

    @property
    def dispatch(self) -> Dispatch:
        return Dispatch(self.delivery.sent_at, noted=False)

    @property
    def breaks_up(self) -> bool:
        """Whether to run no more processors."""
        is_last = 1 < self.attempt >= self.deps.max_attempts
        return self.attempt >= BREAK_UP_AT or is_last

    def put_off(self, *errors: BaseException | None) -> None:
        """Have the message delivered again, for each error from AWS."""
        for error in filter(None, errors):
            log.warning("unit not finished", extra={"code": aws_code(error), "where": where(error)})
            self.waits.append(wait_after(self.attempt, self.deps))

    def look_up(self) -> None:
        """Read the events' records; one call."""
        ids = [event.event_id for event in self.message.events]
        self.records = self.deps.ledger.get_many(ids)

    def is_open(self, event: Event) -> bool:
        """Whether the event is not PROCESSED, as far as the ledger was asked."""
        record = self.records.get(event.event_id)
        return record is None or record.status is not Status.PROCESSED

    def is_detached(self, event: Event) -> bool:
        """Whether an event that is not in its silver file has been detached before."""
        record = self.records.get(event.event_id)
        return record is not None and (record.status is Status.FAILED or may_go_alone(record))

    def load_payloads(self) -> None:
        """Read the unit's file unless the message brought the payloads; one call at most. An AWS
        error passes through: it concerns all events."""
        if not self.sent and self.file is None:
            self.file = b""
            with suppress(NotFoundError):
                self.file = self.deps.lake.get_bronze(self.message.events[0].s3_key)

    def payload(self, event: Event) -> bytes:
        """An event's payload, without a call; `PermanentError` if it is gone or was changed."""
        payload = self.sent.get(event.event_id)
        if payload is None and self.file and event.s3_range:
            payload = part(self.file, event.s3_range)
        return check_payload(event, payload)

    def known_payload(self, event: Event) -> bytes | None:
        """`payload`, or None if that raises."""
        try:
            return self.payload(event)
        except PermanentError:
            return None


def process_unit(
    message: UnitMessage, delivery: Delivery, seconds: float, deps: WorkerDeps
) -> int | None:
    """Process one delivery of a unit; None when its message is done, else the seconds to wait.

    AWS calls of a first delivery: one for each type (silver), one for ten events (bus), one for
    each event (ledger), one more if the payloads are in bronze only; what fails costs one call for
    ten (queue) and one each (ledger). A later delivery reads the ledger first, one call, and the
    silver files.
    """
    ids = [event.event_id for event in message.events]
    sent = dict(zip(ids, message.payloads or (), strict=False))
    work = _Work(message, delivery, deps, clock.to_text(deps.now()), sent)
    first = message.events[0]
    with log_context(unit=first.s3_key, owner=first.owner, requestId=message.request_id):
        try:
            _process(work, seconds)
        except Exception as error:  # noqa: BLE001 - SQS delivers it again
            work.put_off(error)
    return max(work.waits, default=None)


def _process(work: _Work, seconds: float) -> None:
    events: Sequence[Event] = work.message.events
    known: dict[str, _SilverFile] = {}
    if work.attempt > 1:
        work.look_up()
        events = [event for event in events if work.is_open(event)]
        known = _read_files(events, work)
    missing = [event for event in events if silver_file_key(event) not in known]
    if not work.breaks_up:
        with span("processor", namespace=None):
            _run(missing, seconds, work)
    with span("silver"):
        files = known | _write_files(missing, work)
    if work.attempt == 1 and not all(one.is_ours for one in files.values()):
        files, events = _yield_to_other(files, events, work)
    inside: list[tuple[Event, _SilverFile]] = []
    outside: list[Event] = []
    for event in events:
        file = files.get(silver_file_key(event))
        if file is not None and event.event_id in file.members:
            inside.append((event, file))
        elif file is not None and not work.is_detached(event):
            outside.append(event)
    work.put_off(*publish([_written(event, file, work) for event, file in inside], work.deps))
    work.put_off(*_detach([_detached(event, work) for event in outside], work))


def _run(events: Sequence[Event], seconds: float, work: _Work) -> None:
    """Run each event's processor, in its fair share of the time."""
    if not events:
        return
    deps = work.deps
    begun = deps.seconds_left()
    work.load_payloads()
    for number, event in enumerate(events):
        left = seconds - (begun - deps.seconds_left())
        with log_context(eventId=event.event_id):
            try:
                payload = work.payload(event)
                if left <= 0:
                    raise TransientError("no time was left for it", code="time-out")
                share = left / (len(events) - number)
                work.results[event.event_id] = run_processor(
                    event, payload, work.attempt, share, work.now, deps
                )
            except (Exception, SystemExit) as error:  # noqa: BLE001 - detaches this event only
                work.failures[event.event_id] = error


def _read_files(events: Sequence[Event], work: _Work) -> dict[str, _SilverFile]:
    """The silver files that exist, by key; one call for each type."""

    def read(key: str) -> _SilverFile | None:
        try:
            return _read_file(key, work.deps.lake)
        except NotFoundError:
            return None

    keys = sorted({silver_file_key(event) for event in events})
    return {file.key: file for file in work.deps.each(read, keys) if file is not None}


def _write_files(events: Sequence[Event], work: _Work) -> dict[str, _SilverFile]:
    """Write each type's silver file with the results, by key; one call for each. Where another
    delivery was faster, read its file, one call more."""
    documents: dict[str, dict[str, str]] = {}
    for event in events:
        lines = documents.setdefault(silver_file_key(event), {})
        if event.event_id in work.results:
            lines[event.event_id] = work.results[event.event_id].document

    def write(key: str) -> _SilverFile | Exception:
        try:
            body, ranges = pack([document.encode() for document in documents[key].values()])
            if not work.deps.lake.put_silver_unit(key, body):
                return _read_file(key, work.deps.lake)
            places = zip(documents[key], ranges, strict=True)
            members = {event_id: Member(work.now, place) for event_id, place in places}
            return _SilverFile(key, members, is_ours=True)
        except Exception as error:  # noqa: BLE001 - the other types go on
            return error

    files: dict[str, _SilverFile] = {}
    for file in work.deps.each(write, documents):
        if isinstance(file, Exception):
            work.put_off(file)
        else:
            files[file.key] = file
    return files


def _read_file(key: str, lake: Lake) -> _SilverFile:
    return _SilverFile(key, read_members(lake.get_silver(key)), is_ours=False)


def _yield_to_other(
    files: Mapping[str, _SilverFile], events: Sequence[Event], work: _Work
) -> tuple[dict[str, _SilverFile], list[Event]]:
    """What is left to a first delivery that finds another delivery's files: (its own files, open
    events). The other is at work on the unit, or died; if it has not finished, this message waits,
    and its next delivery goes on from there."""
    work.look_up()
    left = [event for event in events if work.is_open(event)]
    for event in left:
        file = files.get(silver_file_key(event))
        if file is None or file.is_ours:
            continue
        if event.event_id in file.members or not work.is_detached(event):
            work.waits.append(BUSY_SECONDS)
            break
    return {key: file for key, file in files.items() if file.is_ours}, left


def _written(event: Event, file: _SilverFile, work: _Work) -> Written:
    member = file.members[event.event_id]
    return Written(
        event=event,
        attempt=work.attempt,
        dispatch=work.dispatch,
        request_id=work.message.request_id,
        processed_at=member.processed_at,
        at=work.now,
        silver_key=file.key,
        silver_range=member.within,
        alert=_alert(event, work),
    )


def _alert(event: Event, work: _Work) -> str | None:
    if event.event_id in work.results:
        return work.results[event.event_id].alert
    if event.owner != work.deps.webhook_owner:
        return None
    work.load_payloads()
    payload = work.known_payload(event)
    return None if payload is None else alert_of(event.event_type, read_data(event, payload)[0])


def _detached(event: Event, work: _Work) -> _Detached:
    """Of the deliveries that did not finish an event, one counts as an attempt at it: they failed
    at others, or at AWS, unless they died of it."""
    failure = work.failures.get(event.event_id)
    if failure is not None:
        return _Detached(event, failure, work.attempt, has_run=True)
    apart = TransientError("it goes on without its unit", code="left-unit")
    return _Detached(event, apart, min(1, work.deps.max_attempts - 1), has_run=False)


def _detach(events: Sequence[_Detached], work: _Work) -> list[BaseException | None]:
    """Send events on alone, or end those as FAILED that another attempt cannot help; the errors
    that prevented it. AWS calls: one for ten to the queue, one for each to the ledger, an alert for
    each that ends."""
    deps = work.deps
    ended = [one for one in events if is_final(one.error, one.attempts, deps)]
    alone = [one for one in events if not is_final(one.error, one.attempts, deps)]

    def end(one: _Detached) -> BaseException | None:
        with log_context(eventId=one.event.event_id):
            wait = record_failure(one.event, work.dispatch, one.attempts, one.error, deps)
        return None if wait is None else UnavailableError("a failure was not recorded")

    return deps.each(end, ended) + (_send(alone, work) if alone else [])


def _send(events: Sequence[_Detached], work: _Work) -> list[BaseException | None]:
    deps = work.deps
    bodies = [
        EventMessage(
            one.event,
            work.known_payload(one.event),
            recorded=False,
            request_id=work.message.request_id,
            attempts=one.attempts,
        ).encode()
        for one in events
    ]
    delays = [wait_after(one.attempts, deps) if one.has_run else 0 for one in events]
    codes = deps.queue.send_many(bodies, delays)

    def record(pair: tuple[_Detached, str | None]) -> BaseException | None:
        one, code = pair
        if code is not None:
            return UnavailableError(f"SQS did not take a message: {code}")
        failure = classify(one.error)
        with log_context(eventId=one.event.event_id):
            log_failure("event left its unit", failure, one.attempts, one.error)
            at = clock.to_text(deps.now())
            try:
                deps.ledger.mark_attempt_failed(
                    one.event, at, failure, final=False, dispatch=work.dispatch
                )
            except Exception as error:  # noqa: BLE001 - the unit's message comes again
                return error
        return None

    return deps.each(record, zip(events, codes, strict=True))
