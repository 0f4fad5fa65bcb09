"""Process a unit: the events that one run of the worker takes together (ADR 0019).

    run the processors -> journal -> bronze -> silver -> ledger -> bus -> close the journal

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

from chalicelib.core import clock
from chalicelib.core.errors import NotFoundError, TransientError, aws_code, is_aws_fault
from chalicelib.core.ids import new_event_id
from chalicelib.core.log import correlation, log, log_context
from chalicelib.core.media_types import CLOUD_EVENT, JSON
from chalicelib.core.tracing import span
from chalicelib.events.alerts import alert_of
from chalicelib.events.bus import bus_entry, document_head
from chalicelib.events.finish import (
    BUSY_SECONDS,
    Result,
    WorkerDeps,
    check_payload,
    log_processed,
    run_processor,
    wait_after,
)
from chalicelib.events.journal import OpenUnit
from chalicelib.events.keys import silver_key, unit_bronze_key, unit_silver_key
from chalicelib.events.ledger import Done
from chalicelib.events.message import Parcel
from chalicelib.events.model import Dispatch, Event
from chalicelib.events.unit import blank, gather, gathered_metadata, pack, part, read_documents


class Task(Struct, frozen=True):
    """An event to process. `attempt` counts from 1."""

    parcel: Parcel
    attempt: int
    dispatch: Dispatch
    request_id: str

    @property
    def event(self) -> Event:
        return self.parcel.event


End = BaseException | int | None
"""How an event ended: None when there is nothing left to do, the error that its attempt failed
with, or the seconds after which its message is to come again."""


class _Line(Struct, frozen=True):
    """An event's document, and where it is. `head` is the document without its data. `event` and
    `alert` are not known of a unit that somebody else began."""

    head: Mapping[str, Any]
    key: str
    byte_range: str | None
    attempt: int
    dispatch: Dispatch
    request_id: str = ""
    event: Event | None = None
    alert: str | None = None

    @property
    def event_id(self) -> str:
        return str(self.head["eventId"])


class _Made(Struct, frozen=True):
    """A task whose processor ran; the event says where its payload is, or is going to be."""

    task: Task
    event: Event
    result: Result


def process_unit(tasks: Sequence[Task], seconds: float, deps: WorkerDeps) -> dict[str, End]:
    """Process events together within `seconds`; how each ended, by id.

    AWS calls for a unit: one to begin and one to end it (journal), one for all payloads that are
    not in bronze, one for each type (silver), one for each event (ledger), one for ten (bus).
    Payloads that are not JSON in one line take a call each. Payloads that are in bronze and not in
    the message are read, one call for each file.
    """
    now = clock.to_text(deps.now())
    made, ends = _run(tasks, seconds, deps)
    if not made:
        return ends
    unit_id = new_event_id(deps.now(), deps.random(10))
    placed, put_bronze = _place(made, unit_id, now, deps)
    files = _documents(placed, unit_id, now, deps)
    over = clock.to_text(deps.now() + deps.lease())
    unit = OpenUnit(
        unit_id, frozenset(one.event.event_id for one in placed), tuple(files), now, over
    )
    try:
        deps.journal.put(unit)
        with span("bronze"):
            deps.each(lambda put: put(), put_bronze)
    except Exception as error:  # noqa: BLE001 - nothing can be in silver yet
        _end(unit, [error], deps)
        return ends | dict.fromkeys(unit.event_ids, error)
    lines, unwritten = _write(files, deps)
    ends |= unwritten | _settle(lines, deps, is_ours=True)
    if not _end(unit, [ends[event_id] for event_id in unit.event_ids], deps):
        for event_id in unit.event_ids:
            ends[event_id] = ends[event_id] or BUSY_SECONDS
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
        except NotFoundError:
            continue
        lines += [_found(document, key, place, deps) for document, place in documents]
    ends = _settle(lines, deps, is_ours=False)
    log.warning("unit finished", extra={"unit": unit.unit_id, "number": len(lines)})
    return _end(unit, list(ends.values()), deps)


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
    begun, files = deps.seconds_left(), dict[str, bytes]()
    made: list[_Made] = []
    ends: dict[str, End] = {}
    with span("processor", namespace=None):
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
                    result = run_processor(event, payload, task.attempt, share, deps)
                    made.append(_Made(task, event, result))
                except (Exception, SystemExit) as error:  # noqa: BLE001 - it fails this event only
                    ends[event.event_id] = error
    return made, ends


def _payload(parcel: Parcel, files: dict[str, bytes], deps: WorkerDeps) -> bytes:
    """An event's payload; one call if it is not in the message, none for the next of one file."""
    event, payload = parcel.event, parcel.payload
    if payload is None:
        if event.s3_key not in files:
            try:
                with span("bronze"):
                    files[event.s3_key] = deps.lake.get_bronze(event.s3_key)
            except NotFoundError:
                files[event.s3_key] = b""
        body = files[event.s3_key]
        payload = part(body, event.s3_range) if event.s3_range else body
    return check_payload(event, payload or None)


def _place(
    made: Sequence[_Made], unit_id: str, now: str, deps: WorkerDeps
) -> tuple[list[_Made], list[Any]]:
    """(the events with the place of their payloads, the calls that put those into bronze)."""
    new = [one for one in made if not one.task.parcel.in_bronze]
    gathered = [one for one in new if _is_line(one.task)]
    if len(gathered) < 2:  # noqa: PLR2004 - one event is not a file of many
        gathered = []
    key = unit_bronze_key(now, unit_id)
    payloads = [one.task.parcel.payload or b"" for one in gathered]
    body, ranges = gather([one.event for one in gathered], payloads)
    places = dict(zip((one.event.event_id for one in gathered), ranges, strict=True))
    calls: list[Any] = []
    if gathered:
        calls.append(lambda: deps.lake.put_unit(key, body, gathered_metadata()))
    for one in new:
        if one.event.event_id not in places:
            payload = one.task.parcel.payload or b""
            calls.append(
                lambda event=one.event, payload=payload: deps.lake.put_bronze(event, payload)
            )
    placed = [
        replace(one, event=replace(one.event, s3_key=key, s3_range=places[one.event.event_id]))
        if one.event.event_id in places
        else one
        for one in made
    ]
    return placed, calls


def _is_line(task: Task) -> bool:
    """Whether a payload can be a value in a line of JSON."""
    payload = task.parcel.payload or b""
    is_json = task.event.content_type in (JSON, CLOUD_EVENT)
    return is_json and payload[:1].isascii() and not any(end in payload for end in (b"\n", b"\r"))


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
                key=name,
                byte_range=place,
                attempt=one.task.attempt,
                dispatch=one.task.dispatch,
                request_id=one.task.request_id,
                event=one.event,
                alert=one.result.alert,
            )
            for one, head, place in zip(members, heads, ranges, strict=True)
        ]
        files[name] = (body, lines)
    return files


def _write(
    files: Mapping[str, tuple[bytes, list[_Line]]], deps: WorkerDeps
) -> tuple[list[_Line], dict[str, End]]:
    """Write the silver files: (the lines that are there, how the other events ended)."""

    def write(key: str) -> list[_Line] | BaseException:
        body, lines = files[key]
        try:
            # The name of a file of many is new: one that is there was written by a repetition of
            # this call.
            is_there = deps.lake.put_silver(key, body) or len(lines) > 1
            return lines if is_there else _take_over(lines[0], deps)
        except Exception as error:  # noqa: BLE001 - the other files go on
            return error

    with span("silver"):
        answers = dict(zip(files, deps.each(write, files), strict=True))
    written: list[_Line] = []
    ends: dict[str, End] = {}
    for key, answer in answers.items():
        if isinstance(answer, BaseException):
            ends |= {line.event_id: answer for line in files[key][1]}
        else:
            written += answer
            ends |= {line.event_id: BUSY_SECONDS for line in files[key][1] if not answer}
    return written, ends


def _take_over(line: _Line, deps: WorkerDeps) -> list[_Line]:
    """Go on with the document that an earlier delivery wrote. None at a first attempt, since that
    delivery may be at work, and where it was withdrawn, since another unit has the event."""
    if line.attempt == 1:
        return []
    documents = read_documents(deps.lake.get_silver(line.key))
    return [replace(line, head=_without_data(document)) for document, _ in documents]


def _settle(lines: Sequence[_Line], deps: WorkerDeps, *, is_ours: bool) -> dict[str, End]:
    """Make events PROCESSED whose documents are written, and publish them; how each ended.
    `is_ours`: this run wrote the documents; else it finishes a unit of a run that is over, which
    may have noted events and not published them."""

    def note(line: _Line) -> str | BaseException | None:
        place = line.head["bronze"]
        done = Done(
            line.event_id,
            str(line.head["processedAt"]),
            line.key,
            line.byte_range,
            place["key"],
            place.get("range"),
        )
        try:
            return deps.ledger.mark_processed(done, line.dispatch, line.event)
        except Exception as error:  # noqa: BLE001 - the event's message comes again
            return error

    with span("ledger"):
        noted = dict(zip((one.event_id for one in lines), deps.each(note, lines), strict=True))
    ends: dict[str, End] = {
        event_id: answer for event_id, answer in noted.items() if isinstance(answer, BaseException)
    }
    won = [one for one in lines if noted[one.event_id] is None]
    for line in won:
        log_processed(line.head, line.attempt, line.request_id, deps)
    if not is_ours:
        won += [one for one in lines if noted[one.event_id] == one.key]
    lost = [
        one for one in lines if isinstance(found := noted[one.event_id], str) and found != one.key
    ]
    ends |= _withdraw(lost, deps)
    return dict.fromkeys(noted) | ends | _publish(won, deps)


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
    """Publish events to the bus, and send their alerts; the seconds to wait for what AWS refused,
    by id."""
    with span("bus"):
        entries = [
            bus_entry(one.head, deps.lake.silver_bucket, one.key, one.byte_range) for one in lines
        ]
        codes = deps.bus.put(entries)
    ends: dict[str, End] = {}
    for line, code in zip(lines, codes, strict=True):
        refused = code or _send_alert(line, deps)
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
    except Exception as error:
        if not is_aws_fault(error):
            raise
        return aws_code(error)
    return None


def _end(unit: OpenUnit, ends: Sequence[End], deps: WorkerDeps) -> bool:
    """Close a unit, or give it up for others to finish; whether it is closed."""
    is_done = all(end is None for end in ends)
    try:
        if is_done:
            deps.journal.close(unit.unit_id)
        else:
            deps.journal.put(replace(unit, until=unit.begun))
    except Exception as error:
        if not is_aws_fault(error):
            raise
        # It is over when its time is.
        log.warning("unit not ended", extra={"unit": unit.unit_id, "code": aws_code(error)})
        return False
    return is_done


def _found(document: dict[str, Any], key: str, place: str, deps: WorkerDeps) -> _Line:
    """The line of a document that an earlier run wrote."""
    alert = None
    if document["owner"] == deps.webhook_owner:
        alert = alert_of(document["eventType"], document.get("data"))
    return _Line(
        head=_without_data(document),
        key=key,
        byte_range=place if key.endswith(".ndjson") else None,
        attempt=1,
        dispatch=Dispatch(document["receivedAt"], noted=True),
        alert=alert,
    )


def _without_data(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in ("data", "dataEncoding")}
