"""Files of many events: the payloads of a unit in bronze, its documents in silver.

A file is NDJSON; a place in one is an HTTP range (RFC 9110, section 14.1.2), without the line
break. A bronze file comes in one of two forms. That of a batch is written at ingest: its lines are
the items, and its metadata are enough to make every event again. That of the worker gathers single
events: a line is the event's facts with the payload in it, letter by letter, and the range is that
of the payload.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.core.errors import InvalidRequestError
from chalicelib.core.ids import keyed_event_id, unit_event_id
from chalicelib.core.strict_json import dump_json
from chalicelib.events.batch import Form, read_item
from chalicelib.events.keys import parse_unit_key, unit_bronze_key
from chalicelib.events.message import MAX_EVENTS, MAX_FACTS_BYTES
from chalicelib.events.model import Draft, Event

_FIXED_FACTS_BYTES = 512
"""More than an event's other facts take, which have a fixed length."""
_OWNER, _RECEIVED, _FORM, _VERSIONS = "owner", "received-at", "form", "schema-versions"
_GATHERED = "gathered"
"""The form of the worker's files."""
_PAYLOAD = ',"payload":'


class Unit(Struct, frozen=True):
    """What the events of a batch share; `key` is that of its bronze file."""

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


def pack(lines: Sequence[bytes]) -> tuple[bytes, list[str]]:
    """(a file of these lines, the range of each)."""
    ranges, position = [], 0
    for line in lines:
        ranges.append(_range(position, len(line)))
        position += len(line) + 1
    return b"".join(line + b"\n" for line in lines), ranges


def unpack(body: bytes) -> list[tuple[bytes, str]]:
    """The lines of a file, each with its range; without the spaces of lines that were withdrawn."""
    found, position = [], 0
    for line in body.split(b"\n"):
        text = line.lstrip(b" ")
        if text:
            found.append((text, _range(position + len(line) - len(text), len(text))))
        position += len(line) + 1
    return found


def bounds(byte_range: str) -> tuple[int, int]:
    """(the first byte, the last byte) of a range (`bytes=0-41`); the last is the one before the
    first where there are no bytes, which no HTTP request can ask for."""
    first, last = byte_range.removeprefix("bytes=").split("-", 1)
    return int(first), int(last)


def is_empty(byte_range: str) -> bool:
    """Whether a range has no bytes."""
    first, last = bounds(byte_range)
    return last < first


def part(body: bytes, byte_range: str) -> bytes:
    """The bytes of a range."""
    first, last = bounds(byte_range)
    return body[first : last + 1]


def blank(body: bytes, ranges: Iterable[str]) -> bytes:
    """The file without the lines of `ranges`; all others keep their place."""
    left = bytearray(body)
    for byte_range in ranges:
        first, last = bounds(byte_range)
        end = min(last + 2, len(left))
        left[first:end] = b" " * (end - first)
    return bytes(left.rstrip(b" "))


def gather(events: Sequence[Event], payloads: Sequence[bytes]) -> tuple[bytes, list[str]]:
    """(the worker's bronze file, the range of each payload). Payloads are JSON in a line."""
    lines, ranges, position = [], [], 0
    for event, payload in zip(events, payloads, strict=True):
        facts = event.to_dict()
        del facts["s3Key"]
        head = dump_json(facts)[:-1].encode() + _PAYLOAD.encode()
        ranges.append(_range(position + len(head), len(payload)))
        lines.append(head + payload + b"}\n")
        position += len(lines[-1])
    return b"".join(lines), ranges


def gathered_metadata() -> dict[str, str]:
    """The metadata of the worker's bronze file."""
    return {_FORM: _GATHERED}


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
    """The metadata of the bronze file of a batch: what its events have beside their payloads."""
    owner = quote(unit.owner, safe="/:")
    metadata = {_OWNER: owner, _RECEIVED: unit.received_at, _FORM: str(unit.form)}
    versions = [item.schema_version for item in items]
    if any(versions):
        metadata[_VERSIONS] = ",".join(str(version or "") for version in versions)
    return metadata


def read_unit(key: str, metadata: Mapping[str, str], body: bytes) -> list[Event] | None:
    """The events of a bronze file; None when neither ingest nor the worker wrote it."""
    if metadata.get(_FORM) == _GATHERED:
        return _read_gathered(key, body)
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


def read_documents(body: bytes) -> list[tuple[dict[str, Any], str]]:
    """The documents of a silver file, each with its range. `ValueError` for a spoilt file."""
    return [(json.loads(line), byte_range) for line, byte_range in unpack(body)]


def _read_gathered(key: str, body: bytes) -> list[Event] | None:
    try:
        events = []
        for line, byte_range in unpack(body):
            facts = {**json.loads(line), "s3Key": key}
            event = Event.from_dict(facts)
            first, _ = bounds(byte_range)
            place = _range(first + len(line) - 1 - event.payload_bytes, event.payload_bytes)
            events.append(replace(event, s3_range=place))
    except (ValueError, KeyError, TypeError):
        return None
    return events or None


def _event_id(unit: Unit, line: int, draft: Draft) -> str:
    identity = draft.identity
    if identity is None:
        return unit_event_id(unit.unit_id, line)
    return keyed_event_id(unit.owner, identity.key, identity.kind)


def _range(first: int, size: int) -> str:
    return f"bytes={first}-{first + size - 1}"
