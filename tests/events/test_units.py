"""Units: where things lie in their files, and that the bronze file alone gives the events back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chalicelib.core import clock
from chalicelib.core.errors import ForeignMessageError
from chalicelib.core.ids import is_event_id, keyed_event_id, unit_event_id
from chalicelib.events.batch import Form, read_item
from chalicelib.events.keys import (
    is_rejected_unit,
    parse_bronze_key,
    parse_unit_key,
    rejected_unit_key,
)
from chalicelib.events.message import MAX_MESSAGE_BYTES, UnitMessage
from chalicelib.events.message import decode_message as decode
from chalicelib.events.model import Status
from chalicelib.events.unit import (
    MAX_EVENTS,
    Checked,
    Unit,
    make_events,
    may_go_alone,
    pack,
    part,
    plan,
    read_unit,
    silver_file_key,
    to_metadata,
    unpack,
)
from tests.support.factories import NOON, make_event, make_id, make_record

UNIT = Unit(make_id(), "a@b-c", clock.to_text(NOON), Form.PLAIN)
lines_of_text = st.lists(st.binary().map(lambda line: line.replace(b"\n", b"")))


def checked(
    *items: bytes, form: Form = Form.PLAIN, versions: tuple[int | None, ...] = ()
) -> list[Checked]:
    """Items that were read."""
    padded = [*versions, *[None] * len(items)]
    return [
        Checked(read_item(item, form), version)
        for item, version in zip(items, padded, strict=False)
    ]


@given(lines_of_text)
def test_a_file_gives_its_lines_back(lines: list[bytes]) -> None:
    body, ranges = pack(lines)
    assert unpack(body) == list(zip(lines, ranges, strict=True))
    whole = [(line, within) for line, within in zip(lines, ranges, strict=True) if line]
    assert [part(body, within) for _, within in whole] == [line for line, _ in whole]


def test_the_bronze_file_alone_gives_the_events_back() -> None:
    # Given a unit of events with and without keys and schemas
    items = checked(
        b'{"eventType":"a","idempotencyKey":"k 1"}',
        '{"eventType":"größe/..","subject":"ü","source":"urn:x"}'.encode(),
        b'{"eventType":"a","n":1.00}',
        versions=(None, 12, 3),
    )
    events = make_events(UNIT, items)
    body, _ = pack([item.draft.payload for item in items])
    # When only the file and its metadata are left
    metadata = to_metadata(UNIT, items)
    again = read_unit(UNIT.key, metadata, body)
    # Then the events are the same
    assert again == events
    assert all(value.isascii() for value in metadata.values())
    assert events[0].event_id == keyed_event_id("a@b-c", "k 1")
    assert events[1].event_id == unit_event_id(UNIT.unit_id, 1)
    assert [event.schema_version for event in events] == [None, 12, 3]
    for event, item in zip(events, items, strict=True):
        assert part(body, str(event.s3_range)) == item.draft.payload
        assert is_event_id(event.event_id)


def test_cloud_events_come_back_with_their_attributes() -> None:
    unit = replace(UNIT, form=Form.CLOUD_EVENTS)
    item = b'{"specversion":"1.0","id":"7","source":"/s","type":"t","traceid":"x","data":1}'
    items = checked(item, form=Form.CLOUD_EVENTS)
    again = read_unit(unit.key, to_metadata(unit, items), pack([item])[0])
    assert again == make_events(unit, items)
    assert again is not None
    assert again[0].cloud_event == {"id": "7", "extensions": {"traceid": "x"}}


@pytest.mark.parametrize(
    ("change", "body"),
    [
        ({"owner": None}, None),
        ({"received-at": None}, None),
        ({"received-at": "2020-01-01T00:00:00.000Z"}, None),
        ({"form": "xml"}, None),
        ({"schema-versions": "1,2"}, None),
        ({"schema-versions": "x"}, None),
        ({}, b""),
        ({}, b"hello\n"),
        ({}, b'{"n":1}\n'),
    ],
)
def test_a_file_that_ingest_did_not_write_is_no_unit(
    change: dict[str, str | None], body: bytes | None
) -> None:
    items = checked(b'{"eventType":"a"}')
    metadata = {**to_metadata(UNIT, items), **change}
    present = {name: value for name, value in metadata.items() if value is not None}
    good = pack([item.draft.payload for item in items])[0]
    assert read_unit(UNIT.key, present, good if body is None else body) is None


def test_keys_of_units_are_told_from_all_others() -> None:
    rejected = rejected_unit_key(UNIT.received_at, UNIT.unit_id)
    assert parse_unit_key(UNIT.key) == UNIT.unit_id
    assert (parse_unit_key(rejected), is_rejected_unit(rejected)) == (None, True)
    assert not is_rejected_unit(UNIT.key)
    assert parse_bronze_key(UNIT.key) is None
    assert parse_bronze_key(rejected) is None
    of_that_type = make_event(event_type="units").s3_key
    assert parse_unit_key(of_that_type) is None
    assert not is_rejected_unit(of_that_type)
    assert parse_unit_key("bronze/units/2026/03/14/notes.ndjson") is None


def test_the_silver_file_has_the_day_of_the_unit() -> None:
    # Given a replay, on a later day, of an event of a unit
    (event,) = make_events(UNIT, checked(b'{"eventType":"a/b"}'))
    later = replace(event, event_id=make_id(), received_at="2027-01-01T00:00:00.000Z")
    # Then both mean the same file
    expected = f"silver/a%2Fb/dt=2026-03-14/{UNIT.unit_id}.ndjson"
    assert silver_file_key(event) == silver_file_key(later) == expected


def test_items_are_put_in_units_in_their_order() -> None:
    items = [
        item for number in range(250) for item in checked(b'{"eventType":"a","n":%d}' % number)
    ]
    units = plan(items)
    assert [len(unit) for unit in units] == [MAX_EVENTS, MAX_EVENTS, 50]
    assert [item for unit in units for item in unit] == items
    assert plan([]) == []


def test_the_longest_facts_fit_a_message() -> None:
    # Given events whose every attribute is as long as it may be, and takes most room in JSON
    text = "\U0001f600" * 64
    attributes = {
        "specversion": "1.0",
        "id": "x" * 256,
        "source": "/" + "%20" * 85,
        "type": "\U0001f600" * 32,
        "subject": text,
        "ext": "\U0001f600" * 50,
    }
    item = json.dumps({**attributes, "data": "x"}).encode()
    items = checked(*[item] * 500, form=Form.CLOUD_EVENTS)
    # When they are put in units
    for unit_items in plan(items):
        events = make_events(replace(UNIT, form=Form.CLOUD_EVENTS), unit_items)
        distinct = [replace(event, event_id=make_id()) for event in events]
        body = UnitMessage(tuple(distinct), None, "r" * 64).encode()
        # Then SQS takes each message
        assert len(body.encode()) <= 256 * 1024


@pytest.mark.parametrize("size", [10, 5_000])
def test_a_message_of_a_unit_comes_back_as_it_was(size: int) -> None:
    item = b'{"eventType":"a","text":"%s"}' % (b"x" * size)
    items = checked(*[item] * 20, versions=(1, None))
    events = make_events(UNIT, items)
    message = UnitMessage(tuple(events), tuple(one.draft.payload for one in items), "r")
    body = message.encode()
    assert len(body) <= MAX_MESSAGE_BYTES
    fits = size == 10
    assert decode(body) == (message if fits else replace(message, payloads=None))


def test_only_events_of_one_unit_are_a_message() -> None:
    events = make_events(UNIT, checked(b'{"eventType":"a"}', b'{"eventType":"b"}'))
    other = make_events(replace(UNIT, unit_id=make_id()), checked(b'{"eventType":"a"}'))
    refused = rejected_unit_key(UNIT.received_at, UNIT.unit_id)
    for wrong in (
        [events[0], other[0]],
        [events[0], events[0]],
        [replace(events[0], s3_range=None)],
        [replace(events[0], s3_key=refused)],
        [replace(events[0], s3_key=make_event().s3_key)],
    ):
        with pytest.raises(ForeignMessageError):
            decode(UnitMessage(tuple(wrong), None, "r").encode())
    changed = UnitMessage((events[0],), (b'{"eventType":"x"}',), "r")
    with pytest.raises(ForeignMessageError):
        decode(changed.encode())


def test_an_event_of_a_unit_goes_alone_only_once_it_has_left() -> None:
    (event,) = make_events(UNIT, checked(b'{"eventType":"a"}'))
    record = make_record(event, Status.RECEIVED)
    assert not may_go_alone(record)
    assert not may_go_alone(replace(record, status=Status.ENQUEUED, requeues=2))
    assert may_go_alone(replace(record, attempts=1, last_error={"code": "busy"}))
    assert may_go_alone(replace(record, replay_of=make_id()))
    assert may_go_alone(make_record())
