"""Units: events of one batch that travel together (ADR 0013).

A unit is one file in bronze, one message, and one file in silver for each event type; only the
ledger is written for every event. Files are NDJSON; a place in one is an HTTP range (RFC 9110,
section 14.1.2), without the line break. The bronze file and its metadata are enough to make every
event of the unit again.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote, unquote

from msgspec import Struct

from chalicelib.core.errors import InvalidRequestError
from chalicelib.core.ids import keyed_event_id, unit_event_id
from chalicelib.core.strict_json import dump_json
from chalicelib.events.batch import Form, read_item
from chalicelib.events.keys import parse_unit, parse_unit_key, unit_bronze_key, unit_silver_key
from chalicelib.events.model import Draft, Event, Record

MAX_EVENTS = 100
MAX_FACTS_BYTES = 224 * 1024
"""Room for the facts of a unit's events in its message, which SQS takes up to 256 KB."""
_FIXED_FACTS_BYTES = 512
"""More than an event's other facts take, which have a fixed length."""
_OWNER, _RECEIVED, _FORM, _VERSIONS = "owner", "received-at", "form", "schema-versions"


class Unit(Struct, frozen=True):
    """What the events of a unit share; `key` is that of its bronze file."""

    unit_id: str
    owner: str
    received_at: str
    form: Form

    @property
    def key(self) -> str:
        return unit_bronze_key(self.received_at, self.unit_id)


class Checked(Struct, frozen=True):
    """A draft, and the version of its type's schema that it was checked against."""

    draft: Draft
    schema_version: int | None = None


class Member(Struct, frozen=True):
    """An event's line in the silver file of a unit: when it was processed, and its range."""

    processed_at: str
    within: str


def pack(lines: Sequence[bytes]) -> tuple[bytes, list[str]]:
    """(a file of these lines, the range of each)."""
    ranges, position = [], 0
    for line in lines:
        ranges.append(f"bytes={position}-{position + len(line) - 1}")
        position += len(line) + 1
    return b"".join(line + b"\n" for line in lines), ranges


def unpack(body: bytes) -> list[tuple[bytes, str]]:
    """The lines of a file, each with its range."""
    lines = body.split(b"\n")[:-1]
    return list(zip(lines, pack(lines)[1], strict=True))


def part(body: bytes, byte_range: str) -> bytes:
    """The bytes of a range (`bytes=0-41`)."""
    first, last = byte_range.removeprefix("bytes=").split("-")
    return body[int(first) : int(last) + 1]


def plan(items: Iterable[Checked]) -> list[list[Checked]]:
    """Items in units: in their order, up to `MAX_EVENTS` in one, and no more than fit a message."""
    units: list[list[Checked]] = []
    room = 0
    for item in items:
        draft = item.draft
        facts = [draft.event_type, draft.source, draft.subject, draft.cloud_event]
        size = _FIXED_FACTS_BYTES + len(dump_json(facts))
        if not units or len(units[-1]) == MAX_EVENTS or size > room:
            units.append([])
            room = MAX_FACTS_BYTES
        units[-1].append(item)
        room -= size
    return units


def make_events(unit: Unit, items: Sequence[Checked]) -> list[Event]:
    """The events of a unit, a line each."""
    _, ranges = pack([item.draft.payload for item in items])
    return [
        item.draft.to_event(
            _event_id(unit, line, item.draft),
            unit.owner,
            unit.received_at,
            unit.key,
            s3_range=byte_range,
            schema_version=item.schema_version,
        )
        for line, (item, byte_range) in enumerate(zip(items, ranges, strict=True))
    ]


def to_metadata(unit: Unit, items: Sequence[Checked]) -> dict[str, str]:
    """The metadata of the bronze file: what its events have beside their payloads."""
    owner = quote(unit.owner, safe="/:")
    metadata = {_OWNER: owner, _RECEIVED: unit.received_at, _FORM: str(unit.form)}
    versions = [item.schema_version for item in items]
    if any(versions):
        metadata[_VERSIONS] = ",".join(str(version or "") for version in versions)
    return metadata


def read_unit(key: str, metadata: Mapping[str, str], body: bytes) -> list[Event] | None:
    """The events of a bronze file; None when ingest did not write it."""
    unit_id = parse_unit_key(key) or ""
    lines = [line for line, _ in unpack(body)]
    try:
        owner, form = unquote(metadata[_OWNER]), Form(metadata[_FORM])
        unit = Unit(unit_id, owner, metadata[_RECEIVED], form)
        texts = metadata[_VERSIONS].split(",") if _VERSIONS in metadata else [""] * len(lines)
        items = [
            Checked(read_item(line, unit.form), int(text) if text else None)
            for line, text in zip(lines, texts, strict=True)
        ]
    except (KeyError, ValueError, InvalidRequestError):
        return None
    return make_events(unit, items) if items and unit.key == key else None


def silver_file_key(event: Event) -> str:
    """The silver file of the event's unit and type. Its day is that of the unit's bronze file."""
    unit_id, day = parse_unit(event.s3_key)
    return unit_silver_key(event.event_type, day, unit_id)


def read_members(body: bytes) -> dict[str, Member]:
    """The members of a silver file, by event id."""
    lines = [(json.loads(line), byte_range) for line, byte_range in unpack(body)]
    return {line["eventId"]: Member(line["processedAt"], place) for line, place in lines}


def may_go_alone(record: Record) -> bool:
    """Whether an event may be sent in a message of its own: it never was in a unit, it is a replay
    (whose id is in no unit), or it was detached from its unit: an attempt at it has failed, which
    the ledger gets only once the unit's silver file cannot hold it any more."""
    is_detached = record.attempts > 0 and record.last_error is not None
    return record.event.s3_range is None or record.replay_of is not None or is_detached


def _event_id(unit: Unit, line: int, draft: Draft) -> str:
    identity = draft.identity
    if identity is None:
        return unit_event_id(unit.unit_id, line)
    return keyed_event_id(unit.owner, identity.key, identity.kind)
