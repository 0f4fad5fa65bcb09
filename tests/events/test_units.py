"""Units: where things lie in their files, and that a bronze file alone gives its events back."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chalicelib.core import clock
from chalicelib.core.ids import is_event_id, keyed_event_id, sha256, unit_event_id
from chalicelib.events.batch import Form, read_item
from chalicelib.events.keys import (
    bronze_beside,
    is_rejected_unit,
    parse_bronze_key,
    parse_silver_key,
    parse_unit_key,
    rejected_unit_key,
    unit_bronze_key,
    unit_silver_key,
)
from chalicelib.events.message import MAX_EVENTS, Parcel, encode_messages
from chalicelib.events.unit import (
    Checked,
    Unit,
    blank,
    gather,
    gathered_metadata,
    make_events,
    pack,
    part,
    plan,
    read_documents,
    read_unit,
    to_metadata,
    unpack,
)
from tests.support.factories import NOON, make_event, make_id

UNIT = Unit(make_id(), "a@b-c", clock.to_text(NOON), Form.PLAIN)
letters = st.binary().map(lambda line: line.replace(b"\n", b""))
lines_of_text = st.lists(letters)
json_lines = st.lists(
    st.dictionaries(st.text(max_size=5), st.text() | st.integers() | st.none(), max_size=3).map(
        lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    ),
    min_size=1,
    max_size=5,
)


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
    whole = [(line, within) for line, within in zip(lines, ranges, strict=True) if line]
    assert [part(body, within) for _, within in whole] == [line for line, _ in whole]
    if not any(line.startswith(b" ") for line in lines):
        assert unpack(body) == whole


@given(st.lists(st.tuples(letters.filter(lambda line: line[:1].strip()), st.booleans())))
def test_a_line_that_is_taken_out_moves_no_other(lines: list[tuple[bytes, bool]]) -> None:
    # Given a file of which some lines are to go
    body, ranges = pack([line for line, _ in lines])
    places = list(zip(lines, ranges, strict=True))
    # When they are taken out, at once or one by one
    left = blank(body, [within for (_, is_out), within in places if is_out])
    slowly = body
    for (_, is_out), within in places:
        slowly = blank(slowly, [within] if is_out else [])
    # Then nothing is left of them, and the others are where they were
    kept = [(line, within) for (line, is_out), within in places if not is_out]
    assert unpack(left) == unpack(slowly) == kept
    assert [part(left, within) for _, within in kept] == [line for line, _ in kept]
    assert left.strip() or not kept


def test_what_is_taken_out_can_be_taken_out_again() -> None:
    body, ranges = pack([b'{"n":1}', b'{"n":2}', b'{"n":3}'])
    left = blank(body, ranges[1:2])
    assert left == b'{"n":1}\n' + b" " * 8 + b'{"n":3}\n'
    assert blank(left, ranges[1:2]) == left
    assert read_documents(left) == [({"n": 1}, ranges[0]), ({"n": 3}, ranges[2])]
    # What nobody reads at the end of a file takes no room
    assert blank(left, ranges[2:]) == b'{"n":1}\n'
    assert blank(left, ranges) == b""
    assert blank(blank(left, ranges), ranges) == b""


def test_one_document_is_taken_out_whole() -> None:
    body = b'{"n":1}'
    assert blank(body, [f"bytes=0-{len(body)}"]) == b""


def test_documents_have_their_places() -> None:
    texts = [b'{"eventId":"1"}', '{"eventId":"ü"}'.encode(), b'{"eventId":"3"}']
    body, ranges = pack(texts)
    documents = read_documents(body)
    assert [within for _, within in documents] == ranges
    assert [json.loads(part(body, within)) for within in ranges] == [one for one, _ in documents]
    with pytest.raises(ValueError, match="Expecting"):
        read_documents(body + b"spoilt\n")


@given(json_lines)
def test_a_gathered_file_gives_its_payloads_and_events_back(payloads: list[bytes]) -> None:
    # Given single events that the worker puts into one file
    key = unit_bronze_key(UNIT.received_at, make_id())
    events = [
        make_event(
            payload=payload,
            owner=f"owner {number}",
            subject="ü" if number else None,
            source="urn:x",
            event_type='a"\\/b',
        )
        for number, payload in enumerate(payloads)
    ]
    # When only the file is left
    body, ranges = gather(events, payloads)
    again = read_unit(key, gathered_metadata(), body)
    # Then each range is the payload letter by letter, and the events are the same
    assert [part(body, within) for within in ranges] == payloads
    places = zip(events, ranges, strict=True)
    assert again == [replace(event, s3_key=key, s3_range=within) for event, within in places]
    assert body.count(b"\n") == len(payloads)
    assert all(json.loads(line)["payload"] is not None for line in body.splitlines())


@pytest.mark.parametrize(
    "payload",
    [
        b'{"eventType":"demo","n":1.00,"n2":1e2}',
        b'{ "eventType" : "demo" , "payload":"}" }',
        b'{"eventType":"demo","big":12345678901234567890123}',
        '{"eventType":"demo","text":"ü\\u00fc \N{GRINNING FACE}"}'.encode(),
        b'  {"eventType":"demo"}  ',
    ],
)
def test_a_gathered_payload_is_as_it_was_sent(payload: bytes) -> None:
    event = replace(make_event(payload=payload), schema_version=7)
    cloud_event = {"id": "1", "time": "2026-01-01T00:00:00Z", "extensions": {"a": "ü"}}
    events = [event, replace(make_event(payload=payload), cloud_event=cloud_event)]
    body, ranges = gather(events, [payload, payload])
    assert [sha256(part(body, within)) for within in ranges] == [event.payload_sha256] * 2
    again = read_unit(UNIT.key, gathered_metadata(), body)
    assert again is not None
    assert [one.schema_version for one in again] == [7, None]
    assert [one.cloud_event for one in again] == [None, cloud_event]
    for one in again:
        assert part(body, str(one.s3_range)) == payload


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n\n",
        b"hello\n",
        b"[]\n",
        b"null\n",
        b"7\n",
        b'{"n":1}\n',
        b'{"eventId":7,"payload":{}}\n',
    ],
)
def test_a_spoilt_gathered_file_has_no_events(body: bytes) -> None:
    assert read_unit(UNIT.key, gathered_metadata(), body) is None


def test_a_gathered_file_with_one_spoilt_line_has_no_events() -> None:
    payload = b'{"eventType":"demo"}'
    good, _ = gather([make_event(payload=payload)], [payload])
    assert read_unit(UNIT.key, gathered_metadata(), good) is not None
    assert read_unit(UNIT.key, gathered_metadata(), good + b"{}\n") is None


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
        ({"form": "gathered"}, None),
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


def test_the_silver_file_of_a_unit_has_its_type_and_day() -> None:
    key = unit_silver_key("a/b", UNIT.received_at, UNIT.unit_id)
    assert key == f"silver/a%2Fb/dt=2026-03-14/{UNIT.unit_id}.ndjson"
    assert parse_silver_key(key) == (UNIT.unit_id, True)


def test_the_bronze_file_of_a_unit_follows_from_its_silver_file() -> None:
    # Given an event of the day before the run that processes it
    silver = unit_silver_key("a/b", "2026-03-13T23:59:59.999Z", UNIT.unit_id)
    # Then the day of its payload's file is that of the unit
    assert bronze_beside(silver) == unit_bronze_key(UNIT.received_at, UNIT.unit_id)
    assert bronze_beside("silver/demo/dt=2026-03-14/notes.ndjson") is None
    assert bronze_beside(f"silver/demo/dt=2026-03-14/{UNIT.unit_id}.json") is None


def test_items_are_put_in_units_in_their_order() -> None:
    items = [
        item for number in range(250) for item in checked(b'{"eventType":"a","n":%d}' % number)
    ]
    units = plan(items)
    assert [len(unit) for unit in units] == [MAX_EVENTS, MAX_EVENTS, 50]
    assert [item for unit in units for item in unit] == items
    assert plan([]) == []


def test_the_longest_facts_of_a_unit_fit_a_message() -> None:
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
        distinct = [Parcel(replace(event, event_id=make_id())) for event in events]
        messages = encode_messages(distinct, "r" * 64)
        # Then each unit is one message, which SQS takes
        assert _sizes(messages) == [len(distinct)]
        assert len(messages[0][0].encode()) <= 256 * 1024


def _sizes(messages: Sequence[tuple[str, Sequence[Parcel]]]) -> list[int]:
    return [len(group) for _, group in messages]
