"""CloudEvents in the JSON format: what is read, what is refused, what is given back."""

import json
from typing import Any

import pytest
from cloudevents.core.bindings.http import (
    HTTPMessage,
    from_structured_event,
)
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.errors import InvalidJsonError, InvalidRequestError
from chalicelib.core.media_types import CLOUD_EVENT
from chalicelib.core.strict_json import MAX_DEPTH, dump_json
from chalicelib.events.cloudevents import (
    read_data,
    read_structured,
    read_structured_value,
    to_cloud_event,
)
from chalicelib.events.model import Draft, Identity
from tests.support.cloudevents import TYPE, encoded, faults_of, give_back, make_envelope, read
from tests.support.factories import make_event


def test_the_smallest_event_is_read() -> None:
    # Given a body with the four required attributes
    body = b'{ "specversion":"1.0","id":"A-1","source":"/shop","type":"com.example.order.placed"}'
    # When it is read
    draft = read_structured(body)
    # Then it is kept as sent, and source and id are its identity
    assert draft == Draft(
        payload=body,
        content_type="application/cloudevents+json",
        event_type=TYPE,
        source="/shop",
        subject=None,
        data=None,
        identity=Identity("cloudevents", "/shop\0A-1"),
        cloud_event={"id": "A-1"},
        data_pointer="/data",
    )


def test_a_full_event_is_read() -> None:
    draft = read(
        subject="order 7",
        time="2026-03-14T13:00:00.5+01:00",
        datacontenttype="application/vnd.order+json; charset=utf-8",
        dataschema="https://example.com/order.json#/v2",
        traceparent="00-ab",
        sampled=False,
        sequence=-(2**31),
        data={"total": 1.5},
    )
    assert (draft.subject, draft.data, draft.data_is_base64) == ("order 7", {"total": 1.5}, False)
    assert draft.cloud_event == {
        "id": "A-1",
        "time": "2026-03-14T13:00:00.5+01:00",
        "datacontenttype": "application/vnd.order+json; charset=utf-8",
        "dataschema": "https://example.com/order.json#/v2",
        "extensions": {"traceparent": "00-ab", "sampled": False, "sequence": -(2**31)},
    }


def test_a_key_that_was_given_is_the_identity() -> None:
    key = Identity("key", "mine")
    assert read_structured(json.dumps(make_envelope()).encode(), key).identity == key


def test_null_is_an_attribute_that_is_not_set() -> None:
    body = json.dumps({**make_envelope(), "subject": None, "time": None, "ext": None}).encode()
    draft = read_structured(body)
    assert (draft.subject, draft.cloud_event) == (None, {"id": "A-1"})
    assert faults_of({**make_envelope(), "id": None}) == {"/id": "is required"}


def test_an_element_of_a_batch_keeps_the_payload_it_is_given() -> None:
    draft = read_structured_value(make_envelope(data=[1]), b"its own bytes")
    assert (draft.payload, draft.data) == (b"its own bytes", [1])


@pytest.mark.parametrize("value", [None, [], "text", 3, True, [{"specversion": "1.0"}]])
def test_only_an_object_can_be_an_event(value: object) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_structured_value(value, b"")
    assert caught.value.errors[0].pointer == ""
    with pytest.raises(InvalidRequestError):
        read_structured(json.dumps(value).encode())


def test_every_fault_is_told_at_once() -> None:
    told = faults_of(
        make_envelope(
            specversion="0.3",
            id="",
            source=None,
            type=7,
            subject=" ",
            time="yesterday",
            datacontenttype="json",
            dataschema="/relative",
            badName="x",
            ratio=0.5,
            data=1,
            data_base64="!",
        )
    )
    assert set(told) == {
        "/specversion",
        "/id",
        "/source",
        "/type",
        "/subject",
        "/time",
        "/datacontenttype",
        "/dataschema",
        "/badName",
        "/ratio",
        "/data_base64",
    }
    assert '"0.3"' in told["/specversion"]
    assert told["/source"] == "is required"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"specversion":"1.0","specversion":"1.0"}',
        json.dumps(make_envelope()).encode()[:-1] + b',"data":NaN}',
        json.dumps(make_envelope()).encode()[:-1] + b',"ext":"\\ud800"}',
        json.dumps(make_envelope()).encode()[:-1] + b',"data":{"a":1,"a":2}}',
        json.dumps(make_envelope()).encode()[:-1]
        + b',"data":'
        + b"[" * MAX_DEPTH
        + b"1"
        + b"]" * MAX_DEPTH
        + b"}",
        b'{"a":' * 100_000,
        json.dumps(make_envelope(subject="\xe9"), ensure_ascii=False).encode("latin-1"),
    ],
    ids=lambda body: repr(body[-20:]),
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidJsonError):
        read_structured(body)


@pytest.mark.parametrize(
    ("members", "data", "is_base64"),
    [
        ({"data": {"a": [1]}}, {"a": [1]}, False),
        ({"data": "text"}, "text", False),
        ({"data": '{"a":1}', "datacontenttype": "application/json"}, '{"a":1}', False),
        ({"data": False, "datacontenttype": "text/json"}, False, False),
        ({"data": 0, "datacontenttype": "application/x+JSON; a=b"}, 0, False),
        ({"data": "<a/>", "datacontenttype": "application/xml"}, "<a/>", False),
        ({"data": "{}", "datacontenttype": "text/plain"}, "{}", False),
        ({"data_base64": encoded(b"\xff\x00")}, encoded(b"\xff\x00"), True),
        ({"data_base64": encoded(b"{}")}, encoded(b"{}"), True),
        ({"data_base64": encoded(b'{"a":1}'), "datacontenttype": "a/json"}, {"a": 1}, False),
        ({"data_base64": encoded(b"caf\xc3\xa9"), "datacontenttype": "text/x"}, "caf\xe9", False),
        ({"data_base64": encoded(b"\xe9"), "datacontenttype": "text/x"}, encoded(b"\xe9"), True),
        (
            {"data_base64": encoded(b"a"), "datacontenttype": "text/x; CharSet=ISO-8859-1"},
            encoded(b"a"),
            True,
        ),
        ({"data_base64": encoded(b"a"), "datacontenttype": 'text/x; charset="UTF-8"'}, "a", False),
        ({"data_base64": encoded(b"<a/>"), "datacontenttype": "a/xml"}, encoded(b"<a/>"), True),
        ({"data_base64": "", "datacontenttype": "a/json"}, None, False),
        ({"data_base64": ""}, "", True),
        ({"data_base64": "", "datacontenttype": "image/png"}, "", True),
        ({"data_base64": "", "datacontenttype": "text/plain"}, "", False),
        ({}, None, False),
    ],
)
def test_data_are_read_by_their_type(
    members: dict[str, Any], data: object, is_base64: bool
) -> None:
    draft = read(**members)
    assert (draft.data, draft.data_is_base64) == (data, is_base64)
    assert read_data(draft.content_type, draft.payload) == (data, is_base64)


def test_explicit_nulls_are_no_data() -> None:
    for extra in ({"data": None}, {"data_base64": None}, {"data": None, "data_base64": None}):
        body = json.dumps({**make_envelope(datacontenttype="text/plain"), **extra}).encode()
        assert read_structured(body).data is None


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"data": 1, "data_base64": "AA=="}, "/data_base64"),
        ({"data_base64": "A"}, "/data_base64"),
        ({"data_base64": "AA"}, "/data_base64"),
        ({"data_base64": "AA="}, "/data_base64"),
        ({"data_base64": "AA==="}, "/data_base64"),
        ({"data_base64": "AB=="}, "/data_base64"),
        ({"data_base64": "AAAA="}, "/data_base64"),
        ({"data_base64": "AA==AA=="}, "/data_base64"),
        ({"data_base64": "AA\nAA"}, "/data_base64"),
        ({"data_base64": "-_-_"}, "/data_base64"),
        ({"data_base64": "\xe9AAA"}, "/data_base64"),
        ({"data_base64": 7}, "/data_base64"),
        ({"data_base64": ["AA=="]}, "/data_base64"),
        ({"data_base64": encoded(b"{"), "datacontenttype": "a/json"}, "/data_base64"),
        ({"data_base64": encoded(b'"\xff"'), "datacontenttype": "a/json"}, "/data_base64"),
        ({"data": {"a": 1}, "datacontenttype": "text/plain"}, "/data"),
        ({"data": 5, "datacontenttype": "application/xml"}, "/data"),
    ],
)
def test_data_that_contradict_themselves_are_refused(members: dict[str, Any], pointer: str) -> None:
    assert list(faults_of(make_envelope(**members))) == [pointer]


def test_data_beside_encoded_data_are_refused_even_as_null() -> None:
    assert list(faults_of({**make_envelope(data_base64="AA=="), "data": None})) == ["/data_base64"]


@pytest.mark.parametrize(
    ("content_type", "payload", "data"),
    [
        ("application/json", b'{"eventType":"demo"}', ({"eventType": "demo"}, False)),
        ("application/json; charset=utf-8", b"[]", ([], False)),
        ("text/csv", b"a,b", ("a,b", False)),
        ("image/png", b"\x89PNG", (encoded(b"\x89PNG"), True)),
        ("no media type", b"a", (encoded(b"a"), True)),
        ("Application/CloudEvents+JSON; charset=utf-8", b'{"data":1}', (1, False)),
        ("application/json", b"", (None, False)),
    ],
)
def test_a_stored_payload_is_read_by_its_content_type(
    content_type: str, payload: bytes, data: object
) -> None:
    assert read_data(content_type, payload) == data


@pytest.mark.parametrize(
    ("content_type", "payload"),
    [
        ("application/json", b"{"),
        (CLOUD_EVENT, b"{"),
        (CLOUD_EVENT, b"[]"),
        (CLOUD_EVENT, b"null"),
        (CLOUD_EVENT, b'{"data_base64":"!"}'),
        (CLOUD_EVENT, b""),
    ],
)
def test_a_stored_payload_that_is_broken_is_told(content_type: str, payload: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        read_data(content_type, payload)


def test_a_structured_event_is_given_back_byte_for_byte() -> None:
    body = b' {"type":"demo", "id":"1" ,"specversion":"1.0","source":"/s","data":1.00}\n'
    draft = read_structured(body)
    event = make_event(content_type=draft.content_type, payload=body)
    assert to_cloud_event(event, draft.cloud_event, body) == body


@pytest.mark.parametrize("data", [1, None, {"price": 1.5}])
def test_encoded_data_that_are_null_are_not_given_back(data: object) -> None:
    # Given an event with both members for data, of which one is null and so not set
    envelope = make_envelope(subject="ü")
    body = json.dumps({**envelope, "ext": None, "data": data, "data_base64": None}).encode()
    draft = read_structured(body)
    assert (draft.data, draft.payload) == (data, body)
    # When it is given back, then it has one of them, as the format demands
    assert json.loads(give_back(draft)) == {**envelope, "ext": None, "data": data}


def test_numbers_are_given_back_as_they_were_sent_beside_encoded_data_that_are_null() -> None:
    number = b"12345678901234567.89"
    head = dump_json(make_envelope())[:-1].encode()
    draft = read_structured(head + b',"data_base64":null,"data":' + number + b"}")
    assert give_back(draft) == head + b',"data":' + number + b"}"


def test_a_plain_event_is_given_as_a_cloud_event() -> None:
    # Given a plain event whose source is any name, and numbers a parser would write otherwise
    payload = b'{"eventType":"demo","price":1.50,"big":1e2}'
    event = make_event(payload=payload, source="my shop \xe9 100%", subject="order 7")
    # When it is written as a CloudEvent
    written = to_cloud_event(event, None, payload)
    # Then the SDK reads it, and its data are the payload's own bytes
    read_back = from_structured_event(HTTPMessage({"content-type": CLOUD_EVENT}, written))
    assert read_back.get_id() == event.event_id
    assert read_back.get_type() == "demo"
    assert read_back.get_source() == "my%20shop%20%C3%A9%20100%25"
    assert read_back.get_subject() == "order 7"
    assert read_back.get_datacontenttype() == "application/json"
    assert read_back.get_data() == {"eventType": "demo", "price": 1.5, "big": 100.0}
    assert written.endswith(b',"data":' + payload + b"}")
    moment = read_back.get_time()
    assert moment is not None
    assert moment.isoformat() == "2026-03-14T12:00:00+00:00"
    assert read_structured(written).subject == "order 7"


@pytest.mark.parametrize("payload", [b"{", b"\xff", b'{"a":NaN}', b'{"a":1,"a":2}', b'1,"id":"2"'])
def test_a_payload_that_was_refused_is_given_as_bytes(payload: bytes) -> None:
    written = to_cloud_event(make_event(payload=payload), None, payload)
    event = from_structured_event(HTTPMessage({"content-type": CLOUD_EVENT}, written))
    assert event.get_data() == payload
    assert json.loads(written)["data_base64"] == encoded(payload)


def test_a_draft_has_the_attributes_that_an_event_has_no_field_for() -> None:
    context = read(ext="x", dataschema="urn:a", subject="s").cloud_event
    assert context == {"id": "A-1", "dataschema": "urn:a", "extensions": {"ext": "x"}}


members = st.sampled_from(
    [*make_envelope(), "subject", "time", "datacontenttype", "data", "ext", ""]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.dictionaries(members, json_values), st.booleans())
def test_any_object_is_read_or_refused(value: dict[str, Any], start_valid: bool) -> None:
    value = {**make_envelope(), **value} if start_valid else value
    try:
        draft = read_structured_value(value, b"")
    except InvalidRequestError:
        return
    dump_json(draft.cloud_event).encode()
    assert value["specversion"] == "1.0"
