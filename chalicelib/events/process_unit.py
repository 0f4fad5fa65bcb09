"""Process a unit: the events that one run of the worker takes together (ADR 0024).

    run the processors -> bronze -> journal -> silver -> ledger -> destinations -> bus
        -> close the journal

**The ledger decides.** An event that two units hold is of the one whose write made it PROCESSED;
the other takes its line out of its silver file again. Only who won publishes to the bus. So an
event that comes twice, or at two workers at once, has one document and one entry on the bus.

**The journal finds what a dead run left.** A redelivery or `reconcile` finishes the unit from its
silver files: what is in them becomes PROCESSED and is published. What is not in them was not begun.
A run that dies between the bus and the end of its entry has its events published again: that gap is
the one that docs/guarantees.md names.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.faults import aws_code, aws_faults
from chalicelib.core import clock
from chalicelib.core.errors import NotFoundError, TransientError
from chalicelib.core.ids import new_event_id
from chalicelib.core.log import correlation, log, log_context
from chalicelib.core.media_types import CLOUD_EVENT, JSON
from chalicelib.core.strict_json import dump_json
from chalicelib.core.tracing import span
from chalicelib.events.alerts import alert_of
from chalicelib.events.bus import bus_entry, document_head
from chalicelib.events.finish import (
    BUSY_SECONDS,
    Handed,
    Result,
    WorkerDeps,
    check_payload,
    log_processed,
    run_processor,
    wait_after,
)
from chalicelib.events.journal import OpenUnit
from chalicelib.events.keys import silver_key, unit_bronze_key, unit_silver_key
from chalicelib.events.ledger import Done, Standing
from chalicelib.events.message import Parcel
from chalicelib.events.model import Dispatch, Event, Status
from chalicelib.events.unit import blank, gather, gathered_metadata, pack, part, read_documents


class Task(Struct, frozen=True):
    """An event to process. `attempt` counts from 1. `is_known_open`: an earlier delivery of its
    message has ended, and it was looked up that nobody is at work on the event."""

    parcel: Parcel
    attempt: int
    dispatch: Dispatch
    request_id: str
    is_known_open: bool = False

    @property
    def event(self) -> Event:
        return self.parcel.event


End = BaseException | int | None
"""How an event ended: None when there is nothing left to do, the error that its attempt failed
with, or the seconds after which its message is to come again."""


class _Line(Struct, frozen=True):
    """An event's document, and where it is. `head` is the document without its data, `text` all of
    it in JSON, `at` the time in the ledger. The event is not known of a unit that another run
    began."""

    head: Mapping[str, Any]
    at: str
    key: str
    byte_range: str | None
    attempt: int
    dispatch: Dispatch
    request_id: str = ""
    is_known_open: bool = False
    event: Event | None = None
    alert: str | None = None
    text: str = ""

    @property
    def event_id(self) -> str:
        return str(self.head["eventId"])


class _Made(Struct, frozen=True):
    """A task whose processor ran; the event says where its payload is, or is going to be."""

    task: Task
    event: Event
    result: Result

    @property
    def payload(self) -> bytes:
        """The payload that the message brought."""
        return self.task.parcel.payload or b""


def process_unit(tasks: Sequence[Task], seconds: float, deps: WorkerDeps) -> dict[str, End]:
    """Process events together within `seconds`; how each ended, by id.

    AWS calls for a unit: one to begin and one to end it (journal), one for all payloads that are
    not in bronze, one for each type (silver), one for each event (ledger), one for ten (bus), and
    those of the hand-over.
    Payloads that are not JSON in one line take a call each. Payloads that are in bronze and not in
    the message are read, one call for each file.
    """
    now = clock.to_text(deps.now())
    made, ends = _run(tasks, seconds, deps)
    if not made:
        return ends
    unit_id = new_event_id(deps.now(), deps.random(10))
    try:
        placed = _store(made, unit_id, now, deps)
        files = _documents(placed, unit_id, now, deps)
        over = clock.to_text(deps.now() + deps.lease())
        ids = frozenset(one.event.event_id for one in placed)
        unit = OpenUnit(unit_id, ids, tuple(files), now, over)
        deps.journal.put(unit)
    except Exception as error:  # noqa: BLE001 - nothing is in silver yet
        return ends | {one.event.event_id: error for one in made}
    lines, unwritten = _write(files, deps)
    # A document that another run wrote is not this unit's to finish.
    own = tuple(
        key for key in files if key not in unwritten or isinstance(unwritten[key], BaseException)
    )
    for key, end in unwritten.items():
        ends |= {line.event_id: end for line in files[key][1]}
    ends |= _settle(lines, unit_id, deps)
    mine = {line.event_id: ends[line.event_id] for key in own for line in files[key][1]}
    _end(replace(unit, silver_keys=own), mine, deps)
    return ends


def finish_unit(unit: OpenUnit, deps: WorkerDeps) -> bool:
    """Finish a unit whose run is over; whether nothing is left to do.

    AWS calls: one to take it on, one for each silver file, one for each event, one for ten events,
    one to end it.
    """
    if not deps.journal.take(unit, clock.to_text(deps.now() + deps.lease())):
        return False
    lines: list[_Line] = []
    for key in unit.silver_keys:
        try:
            documents = read_documents(deps.lake.get_silver(key))
            lines += [
                _found(document, key, place, unit, deps)
                for document, place in documents
                if document["eventId"] in unit.event_ids
            ]
        except NotFoundError:
            continue
        except (ValueError, KeyError, TypeError):
            log.error("silver file not readable", extra={"unit": unit.unit_id})
    ends = _settle(lines, unit.unit_id, deps)
    log.warning("unit finished", extra={"unit": unit.unit_id, "number": len(lines)})
    return _end(unit, ends, deps)


def finish_open_units(deps: WorkerDeps) -> int:
    """Finish all units whose run is over; how many. Calls: those to look for them, and those of
    `finish_unit`."""
    over = [unit for unit in deps.journal.open_units() if unit.is_over(deps.now())]
    return sum(finish_unit(unit, deps) for unit in over)


def _run(
    tasks: Sequence[Task], seconds: float, deps: WorkerDeps
) -> tuple[list[_Made], dict[str, End]]:
    """Run each event's processor, in its fair share of the time: (what they made, how the others
    ended)."""
    begun, files = deps.seconds_left(), dict[str, bytes | None]()
    made: list[_Made] = []
    ends: dict[str, End] = {}
    for number, task in enumerate(tasks):
        event = task.event
        left = seconds - (begun - deps.seconds_left())
        fields = {"eventId": event.event_id, "owner": event.owner, "requestId": task.request_id}
        with log_context(**fields):
            try:
                if left <= 0:
                    raise TransientError("no time was left for it", code="time-out")
                payload = _payload(task.parcel, files, deps)
                share = left / (len(tasks) - number)
                with span("processor", namespace=None):
                    result = run_processor(event, payload, task.attempt, share, deps)
                made.append(_Made(task, event, result))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - it fails this event only
                ends[event.event_id] = error
    return made, ends


def _payload(parcel: Parcel, files: dict[str, bytes | None], deps: WorkerDeps) -> bytes:
    """An event's payload; one call if it is not in the message, none for the next of one file."""
    event, payload = parcel.event, parcel.payload
    if payload is None:
        if event.s3_key not in files:
            try:
                with span("bronze"):
                    files[event.s3_key] = deps.lake.get_bronze(event.s3_key)
            except NotFoundError:
                files[event.s3_key] = None
        body = files[event.s3_key]
        payload = part(body, event.s3_range) if body is not None and event.s3_range else body
    return check_payload(event, payload)


def _store(made: Sequence[_Made], unit_id: str, now: str, deps: WorkerDeps) -> list[_Made]:
    """Put payloads into bronze that are not there; the events with the places of their payloads."""
    new = [one for one in made if not one.task.parcel.in_bronze]
    gathered = [one for one in new if _is_line(one.task)]
    if len(gathered) < 2:  # noqa: PLR2004 - one payload is an object by itself
        gathered = []
    places: dict[str, Event] = {}
    if gathered:
        key = unit_bronze_key(now, unit_id)
        events = [one.event for one in gathered]
        body, ranges = gather(events, [one.payload for one in gathered])
        for event, place in zip(events, ranges, strict=True):
            places[event.event_id] = replace(event, s3_key=key, s3_range=place)
        with span("bronze"):
            deps.lake.put_unit(key, body, gathered_metadata())
    single = [one for one in new if one.event.event_id not in places]
    with span("bronze"):
        stored = deps.each(lambda one: deps.lake.store(one.event, one.payload), single)
    places |= {event.event_id: event for event in stored}
    return [replace(one, event=places.get(one.event.event_id, one.event)) for one in made]


def _is_line(task: Task) -> bool:
    """Whether a payload can be a value in a line of JSON, which an empty one is not."""
    payload = task.parcel.payload
    if not payload or task.event.content_type not in (JSON, CLOUD_EVENT):
        return False
    return payload[:1].isascii() and not any(end in payload for end in (b"\n", b"\r"))


def _documents(
    made: Sequence[_Made], unit_id: str, now: str, deps: WorkerDeps
) -> dict[str, tuple[bytes, list[_Line]]]:
    """The silver files, by key: (content, lines). One document of a type and day has a file by
    itself."""
    folders: dict[str, list[_Made]] = {}
    for one in made:
        folder = unit_silver_key(one.event.event_type, one.event.received_at, unit_id)
        folders.setdefault(folder, []).append(one)
    files = {}
    for key, members in folders.items():
        heads = [document_head(one.event, now, deps.lake.bronze_bucket) for one in members]
        texts = [one.result.document(head) for one, head in zip(members, heads, strict=True)]
        name, body, ranges = key, b"", list[str | None]()
        if len(members) == 1:
            name, body, ranges = silver_key(members[0].event), texts[0].encode(), [None]
        else:
            body, places = pack([text.encode() for text in texts])
            ranges = list(places)
        lines = [
            _Line(
                head=head,
                at=now,
                key=name,
                byte_range=place,
                attempt=one.task.attempt,
                dispatch=one.task.dispatch,
                request_id=one.task.request_id,
                is_known_open=one.task.is_known_open,
                event=one.event,
                alert=one.result.alert,
                text=text,
            )
            for one, head, place, text in zip(members, heads, ranges, texts, strict=True)
        ]
        files[name] = (body, lines)
    return files


def _write(
    files: Mapping[str, tuple[bytes, list[_Line]]], deps: WorkerDeps
) -> tuple[list[_Line], dict[str, End]]:
    """Write the silver files: (the lines that are there, how it ended for other files, by key)."""

    def write(key: str) -> list[_Line] | End:
        body, lines = files[key]
        try:
            # The name of a file of many is new: one that is there was written by a repetition of
            # this call.
            is_there = deps.lake.put_silver(key, body) or len(lines) > 1
            if is_there:
                return lines
            return _take_over(lines[0], deps) or _wait_for_other(lines[0], deps)
        except Exception as error:  # noqa: BLE001 - the other files go on
            return error

    with span("silver"):
        answers = dict(zip(files, deps.each(write, files), strict=True))
    written: list[_Line] = []
    ends: dict[str, End] = {}
    for key, answer in answers.items():
        if isinstance(answer, list):
            written += answer
        else:
            ends[key] = answer
    return written, ends


def _wait_for_other(line: _Line, deps: WorkerDeps) -> int | None:
    """How long a message waits whose document another run wrote: not at all once that run has made
    the event PROCESSED. One call."""
    record = deps.ledger.get(line.event_id)
    return None if record is not None and record.status is Status.PROCESSED else BUSY_SECONDS


def _take_over(line: _Line, deps: WorkerDeps) -> list[_Line]:
    """Go on with the document that an earlier delivery wrote. Not at the first, since another may
    be at work; and not where it was withdrawn, since another unit has the event."""
    if not line.is_known_open:
        return []
    documents = read_documents(deps.lake.get_silver(line.key))
    return [
        replace(line, head=_without_data(document), text=dump_json(document))
        for document, _ in documents
    ]


def _settle(lines: Sequence[_Line], unit_id: str, deps: WorkerDeps) -> dict[str, End]:
    """Make events PROCESSED whose documents are written, and publish them; how each ended. The file
    of a document by itself may be named by two units: only the one that the ledger names publishes
    it."""

    def note(line: _Line) -> Standing | BaseException | None:
        place = line.head["bronze"]
        done = Done(
            line.event_id,
            line.at,
            line.key,
            line.byte_range,
            place["key"],
            place.get("range"),
            unit_id if line.byte_range is None else "",
        )
        fields = {"eventId": line.event_id, "requestId": line.request_id}
        try:
            with log_context(**fields), span("ledger"):
                return deps.ledger.mark_processed(done, line.dispatch, line.event)
        except Exception as error:  # noqa: BLE001 - the event's message comes again
            return error

    noted = dict(zip((one.event_id for one in lines), deps.each(note, lines), strict=True))
    ends: dict[str, End] = {
        event_id: answer for event_id, answer in noted.items() if isinstance(answer, BaseException)
    }
    won = [one for one in lines if noted[one.event_id] is None]
    for line in won:
        log_processed(line.head, line.attempt, line.request_id, deps)
    # What a dead run noted and did not live to publish is published now.
    won += [one for one in lines if one.event is None and _is_own(noted[one.event_id])]
    lost = [one for one in lines if _is_lost(one, noted[one.event_id])]
    ends |= _withdraw(lost, deps)
    return dict.fromkeys(noted) | ends | _publish(won, deps)


def _is_own(answer: Standing | BaseException | None) -> bool:
    return isinstance(answer, Standing) and answer.is_own


def _is_lost(line: _Line, answer: Standing | BaseException | None) -> bool:
    """Whether another unit has the event, with another document, or nobody knows it. Its own
    document is left even then: the next delivery, which knows it, goes on with that."""
    if not isinstance(answer, Standing) or answer.silver_key == line.key:
        return False
    is_left = not answer.silver_key and line.event is None and line.byte_range is None
    return not is_left


def _withdraw(lines: Sequence[_Line], deps: WorkerDeps) -> dict[str, End]:
    """Take lines out of their files, since other units have the events; two calls for each file."""
    ends: dict[str, End] = {}
    for key in dict.fromkeys(line.key for line in lines):
        mine = [line for line in lines if line.key == key]
        try:
            body = deps.lake.get_silver(key)
            places = [line.byte_range or f"bytes=0-{len(body)}" for line in mine]
            deps.lake.withdraw(key, blank(body, places))
        except Exception as error:  # noqa: BLE001 - the unit stays open
            ends |= {line.event_id: error for line in mine}
        for line in mine:
            log.info("event was processed before", extra={"eventId": line.event_id})
    return ends


def _publish(lines: Sequence[_Line], deps: WorkerDeps) -> dict[str, End]:
    """Hand events over to destinations, publish them to the bus, and send their alerts; the seconds
    to wait for what AWS refused, by id.

    The bus comes after: a delivery that was made is known again, an entry on the bus is not.
    """
    handed = deps.hand_over(
        [
            Handed(one.head, one.text, one.key, one.byte_range, one.event is None, one.request_id)
            for one in lines
        ]
    )
    ready = [line for line, refused in zip(lines, handed, strict=True) if refused is None]
    with span("bus"):
        entries = [
            bus_entry(one.head, deps.lake.silver_bucket, one.key, one.byte_range) for one in ready
        ]
        codes = dict(zip((one.event_id for one in ready), deps.bus.put(entries), strict=True))
    ends: dict[str, End] = {}
    for line, refusal in zip(lines, handed, strict=True):
        refused = refusal or codes[line.event_id] or _send_alert(line, deps)
        if refused is not None:
            log.warning("event not published", extra={"eventId": line.event_id, "code": refused})
            ends[line.event_id] = wait_after(line.attempt, deps)
    return ends


def _send_alert(line: _Line, deps: WorkerDeps) -> str | None:
    """Send the alert of an event that is one; the code if AWS refused it."""
    if line.alert is None:
        return None
    fields = {"eventId": line.event_id, "owner": line.head["owner"], "requestId": line.request_id}
    try:
        with log_context(**fields):
            deps.alerts.send(line.alert, correlation())
    except aws_faults() as error:
        return aws_code(error)
    return None


def _end(unit: OpenUnit, ends: Mapping[str, End], deps: WorkerDeps) -> bool:
    """Close a unit, or give up what is left of it for others to finish; whether it is closed."""
    left = frozenset(event_id for event_id, end in ends.items() if end is not None)
    try:
        if left:
            deps.journal.put(replace(unit, event_ids=left, until=unit.begun))
        else:
            deps.journal.close(unit.unit_id, deps.now())
    except aws_faults() as error:
        # It is over when its time is.
        log.warning("unit not ended", extra={"unit": unit.unit_id, "code": aws_code(error)})
        return False
    return not left


def _found(
    document: dict[str, Any], key: str, place: str, unit: OpenUnit, deps: WorkerDeps
) -> _Line:
    """The line of a document that an earlier run wrote."""
    alert = None
    if document["owner"] == deps.webhook_owner:
        alert = alert_of(document["eventType"], document.get("data"))
    return _Line(
        head=_without_data(document),
        at=clock.to_text(deps.now()),
        key=key,
        byte_range=place if key.endswith(".ndjson") else None,
        attempt=1,
        dispatch=Dispatch(unit.begun, noted=False),
        alert=alert,
        text=dump_json(document),
    )


def _without_data(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in ("data", "dataEncoding")}
