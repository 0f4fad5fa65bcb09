"""Bronze and silver: written once, never over one another."""

import pytest

from chalicelib.core.errors import NotFoundError
from chalicelib.events.unit import blank, pack, read_unit
from tests.support.factories import make_event, unique
from tests.support.store_backends import Backend

PAYLOAD = '{"eventType":"demo","text":"grüße"}'.encode()


def test_a_payload_is_stored_byte_for_byte(aws_backends: Backend) -> None:
    event = make_event(payload=PAYLOAD)
    assert aws_backends.lake.put_bronze(event, PAYLOAD)
    assert aws_backends.lake.get_bronze(event.s3_key) == PAYLOAD
    assert aws_backends.calls == ["PutObject", "GetObject"]


def test_a_second_payload_never_replaces_the_first(aws_backends: Backend) -> None:
    event = make_event(payload=PAYLOAD)
    aws_backends.lake.put_bronze(event, PAYLOAD)
    assert not aws_backends.lake.put_bronze(event, b"{}")
    assert aws_backends.lake.get_bronze(event.s3_key) == PAYLOAD


@pytest.mark.parametrize(
    ("event_type", "source", "subject"),
    [
        ("demo", "/events", None),
        ("größe/../..", "urn:shop:größe", "Bestellung Nr. 7: 日本"),
        ("..", "https://example.com/a?b=c&d=%2F", " leading and trailing "),
        ("a%2Fb", "%41", "percent % sign"),
        ("ž" * 64, "日" * 85, "語" * 85),
    ],
)
def test_bronze_alone_gives_the_event_back(
    aws_backends: Backend, event_type: str, source: str, subject: str | None
) -> None:
    event = make_event(
        event_type=event_type, source=source, subject=subject, payload=PAYLOAD, owner="a@b.c"
    )
    aws_backends.lake.put_bronze(event, PAYLOAD)
    aws_backends.calls.clear()
    assert aws_backends.lake.bronze_event(event.s3_key) == event
    assert aws_backends.calls == ["HeadObject"]


def test_an_object_put_by_hand_is_not_an_event(aws_backends: Backend) -> None:
    key = make_event().s3_key
    aws_backends.put_by_hand(key, b"{}")
    assert aws_backends.lake.bronze_event(key) is None


def test_a_foreign_key_is_not_an_event(aws_backends: Backend) -> None:
    aws_backends.put_by_hand("bronze/notes.txt", b"{}")
    aws_backends.calls.clear()
    assert aws_backends.lake.bronze_event("bronze/notes.txt") is None
    assert aws_backends.calls == []


def test_an_object_that_is_gone_is_not_an_event(aws_backends: Backend) -> None:
    assert aws_backends.lake.bronze_event(make_event().s3_key) is None


def test_what_is_not_there_is_not_found(aws_backends: Backend) -> None:
    with pytest.raises(NotFoundError):
        aws_backends.lake.get_bronze(make_event().s3_key)
    with pytest.raises(NotFoundError):
        aws_backends.lake.get_silver("silver/demo/none.json")


def test_silver_is_written_once(aws_backends: Backend) -> None:
    key = f"silver/{unique('type')}/dt=2026-03-14/x.json"
    assert aws_backends.lake.put_silver(key, b'{"first":true}')
    assert not aws_backends.lake.put_silver(key, b'{"first":false}')
    assert aws_backends.lake.get_silver(key) == b'{"first":true}'


def test_types_and_keys_are_listed_in_order(aws_backends: Backend) -> None:
    # Given events of two types
    types = [unique("a"), unique("b")]
    events = [make_event(event_type=name, payload=PAYLOAD) for name in types for _ in range(3)]
    for event in events:
        aws_backends.lake.put_bronze(event, PAYLOAD)
    # When types and keys are listed
    prefixes = [f"bronze/{name}/" for name in types]
    found = list(aws_backends.lake.bronze_types())
    first = sorted(event.s3_key for event in events if event.event_type == types[0])
    listed = [key for page in aws_backends.lake.bronze_keys(prefixes[0]) for key, _ in page]
    rest = [
        key
        for page in aws_backends.lake.bronze_keys(prefixes[0], after=first[0])
        for key, _ in page
    ]
    # Then they come in order, from where the last listing stopped
    assert [prefix for prefix in found if prefix in prefixes] == prefixes
    assert found == sorted(set(found))
    assert listed == first
    assert rest == first[1:]


def test_a_unit_is_stored_with_its_metadata(aws_backends: Backend) -> None:
    # Given a file of two lines
    key = f"bronze/units/2026/03/14/{unique('unit')}.ndjson"
    lines, metadata = b'{"a":1}\n{"b":2}\n', {"owner": "a%20b", "form": "plain"}
    # When it is written, and again with something else
    assert aws_backends.lake.put_unit(key, lines, metadata)
    assert not aws_backends.lake.put_unit(key, b"other", {})
    # Then the first is read, whole or in part
    assert aws_backends.lake.get_unit(key) == (metadata, lines)
    assert aws_backends.lake.get_bronze(key, "bytes=8-14") == b'{"b":2}'
    assert aws_backends.calls == ["PutObject", "PutObject", "GetObject", "GetObject"]


def test_a_unit_that_is_gone_is_none(aws_backends: Backend) -> None:
    assert aws_backends.lake.get_unit(f"bronze/units/2026/03/14/{unique('unit')}.ndjson") is None


@pytest.mark.parametrize("lines", [b"", b'{"a":1}\n'])
def test_the_silver_file_of_a_unit_is_decided_once(aws_backends: Backend, lines: bytes) -> None:
    key = f"silver/{unique('type')}/dt=2026-03-14/unit.ndjson"
    assert aws_backends.lake.put_silver(key, lines)
    assert not aws_backends.lake.put_silver(key, b"other\n")
    assert aws_backends.lake.get_silver(key) == lines


def test_a_line_is_withdrawn_and_all_others_stay(aws_backends: Backend) -> None:
    # Given a silver file of many
    key = f"silver/{unique('type')}/dt=2026-03-14/unit.ndjson"
    body, ranges = pack([b'{"n":1}', b'{"n":2}', b'{"n":3}'])
    aws_backends.lake.put_silver(key, body)
    # When one of its lines is withdrawn
    aws_backends.lake.withdraw(key, blank(body, [ranges[1]]))
    # Then the others are where they were
    assert aws_backends.lake.get_silver(key, ranges[0]) == b'{"n":1}'
    assert aws_backends.lake.get_silver(key, ranges[2]) == b'{"n":3}'
    assert aws_backends.lake.get_silver(key, ranges[1]).strip() == b""
    # And nobody writes it again
    assert not aws_backends.lake.put_silver(key, body)


def test_a_payload_that_waited_in_the_ledger_is_an_object_by_itself(aws_backends: Backend) -> None:
    event = make_event(payload=PAYLOAD)
    assert aws_backends.lake.store(event, PAYLOAD) == event
    assert aws_backends.calls == ["PutObject"]
    assert aws_backends.lake.get_bronze(event.s3_key) == PAYLOAD
    # And stays when it is stored again
    assert aws_backends.lake.store(event, PAYLOAD) == event
    assert aws_backends.lake.bronze_event(event.s3_key) == event


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_payload_whose_key_holds_another_is_stored_in_a_file(
    aws_backends: Backend, is_ours: bool
) -> None:
    # Given an object at an event's key that is of another request, or put there by hand
    event = make_event(payload=PAYLOAD)
    other = b'{"eventType":"demo","n":2}'
    if is_ours:
        another = make_event(event_id=event.event_id, payload=other)
        aws_backends.lake.put_bronze(another, other)
    else:
        aws_backends.put_by_hand(event.s3_key, other)
    # When the event's payload is stored, and stored again
    stored = aws_backends.lake.store(event, PAYLOAD)
    assert aws_backends.lake.store(event, PAYLOAD) == stored
    # Then both are there, and the file gives the event back
    assert stored.s3_key != event.s3_key
    assert aws_backends.lake.get_bronze(event.s3_key) == other
    assert aws_backends.lake.get_bronze(stored.s3_key, stored.s3_range) == PAYLOAD
    found = aws_backends.lake.get_unit(stored.s3_key)
    assert found is not None
    assert read_unit(stored.s3_key, *found) == [stored]


def test_an_empty_payload_is_read_from_a_file_too(aws_backends: Backend) -> None:
    # Given an event without data, whose key holds the object of another request
    event = make_event(payload=b"")
    aws_backends.put_by_hand(event.s3_key, b"another")
    # When it is stored, so in a file
    stored = aws_backends.lake.store(event, b"")
    # Then it is read there, although HTTP has no range of no bytes
    assert stored.s3_range is not None
    assert aws_backends.lake.get_bronze(stored.s3_key, stored.s3_range) == b""
    # And it is missing when the file is
    with pytest.raises(NotFoundError):
        aws_backends.lake.get_bronze(make_event().s3_key, stored.s3_range)


def test_silver_is_listed_like_bronze(aws_backends: Backend) -> None:
    # Given documents of two types
    types = [unique("a"), unique("b")]
    keys = [f"silver/{name}/dt=2026-03-14/{number}.json" for name in types for number in range(3)]
    for key in keys:
        aws_backends.lake.put_silver(key, b"{}")
    # When types and keys are listed
    folders = [one for one in aws_backends.lake.silver_types() if one.split("/")[1] in types]
    listed = [key for page in aws_backends.lake.silver_keys(folders[0]) for key, _ in page]
    rest = [key for page in aws_backends.lake.silver_keys(folders[0], keys[0]) for key, _ in page]
    # Then they come in order, from where the last listing stopped
    assert folders == [f"silver/{name}/" for name in types]
    assert (listed, rest) == (keys[:3], keys[1:3])


def test_whether_an_object_exists_is_one_call(aws_backends: Backend) -> None:
    event, key = make_event(payload=PAYLOAD), f"silver/{unique('type')}/dt=2026-03-14/x.json"
    aws_backends.lake.put_bronze(event, PAYLOAD)
    aws_backends.lake.put_silver(key, b"{}")
    aws_backends.calls.clear()
    assert aws_backends.lake.has_bronze(event.s3_key)
    assert not aws_backends.lake.has_bronze(key)
    assert aws_backends.lake.has_silver(key)
    assert not aws_backends.lake.has_silver(event.s3_key)
    assert aws_backends.calls == ["HeadObject"] * 4


def test_a_report_is_stored_beside_the_payloads_and_is_not_listed_as_one(
    aws_backends: Backend,
) -> None:
    key = f"reports/reconcile/2026-03-14/{unique('report')}.json"
    assert aws_backends.lake.put_report(key, '{"clean":true}')
    assert not aws_backends.lake.put_report(key, "{}")
    assert aws_backends.lake.get_bronze(key) == b'{"clean":true}'
    assert not [one for one in aws_backends.lake.bronze_types() if "reports" in one]
