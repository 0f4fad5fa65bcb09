"""Taking a batch apart: every item as it was sent, whatever its neighbours are."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.errors import InvalidJsonError, InvalidRequestError
from chalicelib.events.batch import MAX_ITEMS, Form, as_stored, one_line, read_item, split
from chalicelib.events.model import Identity

WORST_SECONDS = 3.0
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
spaces = st.text(st.sampled_from(" \t\r\n"), max_size=3)


@given(st.lists(st.tuples(spaces, json_values, spaces), min_size=1), st.booleans())
def test_items_come_out_byte_for_byte(
    items: list[tuple[str, object, str]], as_cloud_events: bool
) -> None:
    texts = [json.dumps(value, ensure_ascii=False) for _, value, _ in items]
    texts = [text.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for text in texts]
    listed = ",".join(
        before + text + after for (before, _, after), text in zip(items, texts, strict=True)
    )
    body = f"[{listed}]" if as_cloud_events else f' {{ "events"\n: [{listed}] }} '
    form = Form.CLOUD_EVENTS if as_cloud_events else Form.PLAIN
    assert split(body.encode(), form) == [text.encode() for text in texts]


def test_numbers_order_and_spaces_stay_as_they_were() -> None:
    item = b'{"b" : 1.00,  "a":1e5,"eventType":"demo"}'
    assert split(b'{"events":[' + item + b"]}", Form.PLAIN) == [item]


def test_a_name_may_be_written_with_escapes() -> None:
    assert split(b'{"\\u0065vents":[1]}', Form.PLAIN) == [b"1"]


@pytest.mark.parametrize(
    "bad",
    [
        b'{"a":1,"a":2}',
        b"NaN",
        b"-Infinity",
        b'"\\ud800"',
        b'"\xff"',
        b'"a\nb"',
        b"9" * 400,
        b"[" * 150 + b"]" * 150,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'["]",' * 3_000 + b'"\\"["' + b"]" * 3_000,
    ],
    ids=lambda item: item[:20],
)
def test_what_nobody_could_read_alike_is_refused_alone(bad: bytes) -> None:
    # Given an item between two good ones
    good = b'{"eventType":"demo"}'
    # When the body is taken apart
    items = split(b'{"events":[' + good + b"," + bad + b"," + good + b"]}", Form.PLAIN)
    # Then it is by itself, exactly as it was sent
    assert items == [good, bad, good]
    with pytest.raises(InvalidJsonError) as caught:
        read_item(bad, Form.PLAIN)
    assert as_stored(bad, caught.value) == bad


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"", ""),
        (b"hello", ""),
        (b"[]", ""),
        (b"7", ""),
        (b'{"events":[1]', ""),
        (b'{"events":[1]}}', ""),
        (b'{"events":[1,]}', ""),
        (b'{"events":[,1]}', ""),
        (b'{"events":[1 2]}', ""),
        (b"\xff", ""),
        (b"{}", "/events"),
        (b'{"events":null}', "/events"),
        (b'{"events":{}}', "/events"),
        (b'{"events":[]}', "/events"),
        (b'{"events":[1],"events":[2]}', ""),
        (b'{"events":[1],"more":2}', "/more"),
        (b'{"a/b~c":2,"events":[1]}', "/a~1b~0c"),
        (b'{"events":[' + b"1," * MAX_ITEMS + b"1]}", "/events"),
        (b'{"more":1,"events":[' + b"1," * MAX_ITEMS + b"1]}", "/more"),
    ],
    ids=lambda value: value[:30],
)
def test_what_is_no_batch_is_refused_whole(body: bytes, pointer: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        split(body, Form.PLAIN)
    assert [error.pointer for error in caught.value.errors] == [pointer]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"events":[1]}', b"[1", b"[1]]", b"1"])
def test_cloud_events_come_in_an_array(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        split(body, Form.CLOUD_EVENTS)


def test_the_longest_batch_is_taken() -> None:
    body = b"[" + b",".join([b"1"] * MAX_ITEMS) + b"]"
    assert len(split(body, Form.CLOUD_EVENTS)) == MAX_ITEMS


@pytest.mark.parametrize(
    "body",
    [
        b'{"events":[' + b"[" * 5_000_000,
        b'{"events":[' + b'[{"a":' * 800_000,
        b'{"events":[' + b'[{"a":' * 400_000 + b"1" + b"}]" * 400_000 + b"]}",
        b'{"events":[' + b"{}," * 100_000 + b"{}]}",
        b'{"events":["' + b'\\"' * 2_500_000 + b'"]}',
        b'{"events":["' + b'\\"' * 2_500_000,
        b'{"events":[' + b"1" * 5_000_000 + b"]}",
        b'{"events":[' + b" " * 5_000_000,
        b'{"' + b"a" * 5_000_000,
        b'{"' + b"\\" * 5_000_000,
        b" " * 5_000_000,
    ],
    ids=lambda body: f"{body[:20]}{len(body)}",
)
def test_a_hostile_body_is_not_slow(body: bytes) -> None:
    began = time.process_time()
    try:
        for item in split(body, Form.PLAIN)[:1]:
            read_item(item, Form.PLAIN)
    except InvalidRequestError:
        pass
    assert time.process_time() - began < WORST_SECONDS


def test_an_item_becomes_one_line_of_the_same_length() -> None:
    item = b'{\r\n  "eventType": "demo",\n  "text": "a\\nb"\n}'
    draft = read_item(item, Form.PLAIN)
    assert draft.payload == one_line(item)
    assert len(draft.payload) == len(item)
    assert b"\n" not in draft.payload
    assert json.loads(draft.payload) == json.loads(item)


def test_an_items_key_is_its_identity() -> None:
    draft = read_item(b'{"eventType":"demo","idempotencyKey":"k"}', Form.PLAIN)
    assert draft.identity == Identity("idempotency", "k")
    assert draft.data["idempotencyKey"] == "k"


@pytest.mark.parametrize("key", [None, 7, "", "x" * 256, "ü", "a\nb", ["k"]])
def test_a_key_that_is_none_is_refused(key: object) -> None:
    item = json.dumps({"eventType": "demo", "idempotencyKey": key}).encode()
    with pytest.raises(InvalidRequestError) as caught:
        read_item(item, Form.PLAIN)
    assert caught.value.errors[0].pointer == "/idempotencyKey"


def test_a_cloud_events_identity_is_its_source_and_id() -> None:
    item = b'{"specversion":"1.0","id":"7","source":"/shop","type":"demo",\n"data":{"a":1}}'
    draft = read_item(item, Form.CLOUD_EVENTS)
    assert draft.identity == Identity("cloudevents", "/shop\x007")
    assert (draft.content_type, draft.payload) == ("application/cloudevents+json", one_line(item))
    assert draft.data == {"a": 1}
