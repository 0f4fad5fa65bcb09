"""CloudEvents in the binary mode: headers as they come from real clients and hostile ones."""

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.errors import InvalidJsonError, InvalidRequestError
from chalicelib.core.media_types import CLOUD_EVENT
from chalicelib.core.strict_json import dump_json
from chalicelib.events.cloudevents import MAX_CONTEXT_BYTES, read_data
from chalicelib.events.cloudevents_http import is_binary, read_binary
from chalicelib.events.model import Draft, Identity
from tests.support.cloudevents import TYPE, encoded, give_back, make_headers


def faults_of(headers: dict[str, str], body: bytes = b"{}") -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        read_binary(headers, body)
    assert caught.value.status == 400
    return {fault.pointer: fault.detail for fault in caught.value.errors}


def test_headers_and_body_are_an_event() -> None:
    # Given the attributes as headers, among others that are none
    headers = make_headers(
        ce_subject="Euro%20%E2%82%AC%20%f0%9f%98%80",
        ce_time="2026-03-14T12:00:00Z",
        ce_dataschema="urn:order",
        ce_traceparent="00-ab",
        content_type="application/json; charset=utf-8",
        authorization="Bearer x",
        x_forwarded_for="10.0.0.1",
    )
    # When they are read
    draft = read_binary(headers, b'{"total": 1.50}')
    # Then the body is the payload, as it was sent
    assert draft == Draft(
        payload=b'{"total": 1.50}',
        content_type="application/json; charset=utf-8",
        event_type=TYPE,
        source="/shop",
        subject="Euro \u20ac \U0001f600",
        data={"total": 1.5},
        identity=Identity("cloudevents", "/shop\0A-1"),
        cloud_event={
            "id": "A-1",
            "time": "2026-03-14T12:00:00Z",
            "datacontenttype": "application/json; charset=utf-8",
            "dataschema": "urn:order",
            "extensions": {"traceparent": "00-ab"},
        },
    )


def test_a_key_that_was_given_is_the_identity() -> None:
    assert read_binary(make_headers(), b"", Identity("key", "k")).identity == Identity("key", "k")


@pytest.mark.parametrize("required", ["ce-specversion", "ce-id", "ce-source", "Ce-Type"])
def test_one_required_attribute_makes_it_binary(required: str) -> None:
    assert is_binary({required: "x"})
    assert is_binary({required: "", "content-type": "application/json"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"ce-time": "x"},
        {"x-ce-id": "x"},
        {"ce-ids": "x"},
        {"ceid": "x"},
        make_headers(content_type="application/cloudevents+json"),
        make_headers(content_type=" Application/CloudEvents-Batch+json; charset=utf-8"),
        make_headers(content_type="application/cloudevents+avro"),
    ],
)
def test_other_requests_are_not_binary(headers: dict[str, str]) -> None:
    assert not is_binary(headers)


def test_an_event_format_is_refused_in_binary_mode() -> None:
    told = faults_of(make_headers(content_type=CLOUD_EVENT))
    assert list(told) == ["/header/content-type"]


def test_names_of_headers_are_read_in_any_case() -> None:
    upper = {name.upper(): value for name, value in make_headers(ce_ext="x").items()}
    assert read_binary(upper, b"{}") == read_binary(make_headers(ce_ext="x"), b"{}")
    assert is_binary(upper)
    assert faults_of({**make_headers(), "Ce-Id": "other"}) == {"/header/ce-id": "comes twice"}


def test_every_fault_is_told_at_once() -> None:
    told = faults_of(
        {
            **make_headers(
                ce_specversion="0.3",
                ce_id="%",
                ce_source=None,
                ce_type="",
                ce_time="noon",
                ce_subject='"open',
                ce_dataschema="x",
                ce_ext="\xe9",
                ce_data="x",
                ce_datacontenttype="text/plain",
                content_type="json",
            ),
            "ce-data_base64": "AA==",
            "ce-my-ext": "x",
            "ce-": "x",
            "ce-a~b": "x",
            "ce-c~d": "%",
        }
    )
    assert set(told) == {
        "/header/ce-specversion",
        "/header/ce-id",
        "/header/ce-source",
        "/header/ce-type",
        "/header/ce-time",
        "/header/ce-subject",
        "/header/ce-dataschema",
        "/header/ce-ext",
        "/header/ce-data",
        "/header/ce-data_base64",
        "/header/ce-datacontenttype",
        "/header/content-type",
        "/header/ce-my-ext",
        "/header/ce-",
        "/header/ce-a~0b",
        "/header/ce-c~0d",
    }
    assert '"0.3"' in told["/header/ce-specversion"]
    assert "percent" in told["/header/ce-id"]
    assert told["/header/ce-source"] == "is required"


def test_faults_of_headers_and_body_come_together() -> None:
    told = faults_of(make_headers(ce_id=None), b"{")
    assert set(told) == {"/header/ce-id", ""}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (" \ta\t ", "a"),
        ("a b", "a b"),
        ("%61%2520", "a%20"),
        ("caf%c3%A9", "caf\xe9"),
        ('"a b"', "a b"),
        ('"a \\"b\\" \\\\ c"', 'a "b" \\ c'),
        ('"a%20b"', "a b"),
        ('a "b c" d', "a b c d"),
        ("a\\b", "a\\b"),
        ('""x', "x"),
        ("a+b", "a+b"),
        ("%22", '"'),
        ("(no comment)", "(no comment)"),
    ],
)
def test_a_value_is_unquoted_and_decoded_once(value: str, text: str) -> None:
    assert read_binary(make_headers(ce_subject=value), b"").subject == text


@pytest.mark.parametrize(
    "value",
    [
        "%",
        "%4",
        "%zz",
        "100%",
        "%%41",
        "%C0%A0",
        "%ED%A0%80",
        "%FF",
        "%E2%82",
        "caf\xe9",
        "\u20ac",
        '"open',
        'open"',
        '"a\\"',
        "a\r\nce-type: other",
        "a\nb",
        "a%0D%0Ace-type:%20other",
        "a%00b",
        '"a\\\rb"',
        "a\tb",
        "%7F",
        "%C2%85",
    ],
)
@pytest.mark.parametrize("name", ["id", "source", "type", "subject", "time", "ext"])
def test_a_value_that_is_no_header_is_refused_by_its_name(name: str, value: str) -> None:
    told = faults_of({**make_headers(), f"ce-{name}": value})
    assert list(told) == [f"/header/ce-{name}"]


@pytest.mark.parametrize("header", ["ce-subject", "ce-id", "ce-mine", "content-type"])
def test_a_header_that_comes_twice_is_refused(header: str) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/a", "ce-type": "t"}
    headers |= {"ce-subject": "s", "ce-mine": "m", "content-type": "application/json"}
    assert read_binary(headers, b"{}").subject == "s"
    with pytest.raises(InvalidRequestError) as caught:
        read_binary(headers, b"{}", None, {header})
    (fault,) = caught.value.errors
    assert (fault.pointer, fault.detail) == (f"/header/{header}", "comes twice")


def test_an_empty_value_is_only_good_for_an_extension() -> None:
    assert read_binary(make_headers(ce_ext=""), b"").cloud_event == {
        "id": "A-1",
        "datacontenttype": "application/json",
        "extensions": {"ext": ""},
    }
    for name in ("id", "source", "type", "subject", "time", "dataschema", "specversion"):
        assert list(faults_of({**make_headers(), f"ce-{name}": " "})) == [f"/header/ce-{name}"]


def test_huge_values_are_refused_shortly() -> None:
    for name in ("id", "source", "type", "subject", "ext", "dataschema", "specversion"):
        with pytest.raises(InvalidRequestError) as caught:
            read_binary({**make_headers(), f"ce-{name}": "x:" + "y" * 1_000_000}, b"")
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("content_type", "body", "data", "is_base64"),
    [
        ("application/json", b' {"a":[1]}', {"a": [1]}, False),
        ("application/json", b"null", None, False),
        ("application/json", b"", None, False),
        ("application/json", b'"{}"', "{}", False),
        ("Text/JSON;a=b", b"1", 1, False),
        ("application/problem+json", b"{}", {}, False),
        ("text/plain", b"caf\xc3\xa9", "caf\xe9", False),
        ("text/plain", b"{}", "{}", False),
        ("text/plain", b"", None, False),
        ("text/plain", b"caf\xe9", encoded(b"caf\xe9"), True),
        ("text/plain; charset=iso-8859-1", b"caf\xe9", encoded(b"caf\xe9"), True),
        ("text/plain; charset=utf-16", b"ab", encoded(b"ab"), True),
        ("application/xml", b"<a/>", encoded(b"<a/>"), True),
        ("application/jsonx", b"{}", encoded(b"{}"), True),
        (None, b'{"a":1}', {"a": 1}, False),
        ("", b'{"a":1}', {"a": 1}, False),
        (None, b"not json", encoded(b"not json"), True),
        (None, b"", None, False),
    ],
)
def test_a_body_is_read_by_its_type(
    content_type: str | None, body: bytes, data: object, is_base64: bool
) -> None:
    draft = read_binary(make_headers(content_type=content_type), body)
    assert (draft.data, draft.data_is_base64, draft.payload) == (data, is_base64, body)
    # What the worker reads of the stored event is the same
    assert read_data(draft.content_type, draft.payload) == (data, is_base64)


def test_no_content_type_is_no_datacontenttype() -> None:
    for body, kept_as in ((b"{}", "application/json"), (b"\xff", "application/octet-stream")):
        draft = read_binary(make_headers(content_type=None), body)
        assert (draft.content_type, draft.cloud_event) == (kept_as, {"id": "A-1"})
        assert "datacontenttype" not in json.loads(give_back(draft))


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"a":NaN}',
        b'{"a":1,"a":2}',
        b'"\\ud800"',
        b"[" * 100_000,
        b'{"a":"\xe9"}',
        b"\x00",
        b" ",
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "a/b+json; charset=utf-8"])
def test_a_body_that_is_no_json_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(InvalidJsonError) as caught:
        read_binary(make_headers(content_type=content_type), body)
    assert [fault.pointer for fault in caught.value.errors] == [""]


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"])), st.integers(0, 3))
def test_any_encoding_of_a_text_stands_for_it(text: str, style: int) -> None:
    if len(dump_json(text)) > MAX_CONTEXT_BYTES // 2:
        return
    escaped = quote(text, safe="").replace("%5C", "\\\\")
    value = [
        quote(text, safe=""),
        quote(text, safe="!#$&'()*+,/:;<=>?@[\\]^`{|}~"),
        "".join(f"%{byte:02x}" for byte in text.encode()),
        f'"{escaped}"',
    ][style]
    draft = read_binary(make_headers(ce_ext=value), b"")
    assert draft.cloud_event is not None
    assert draft.cloud_event["extensions"] == {"ext": text}


header_texts = st.text(st.characters(max_codepoint=255), max_size=20) | st.text(max_size=5)


@given(st.dictionaries(st.sampled_from([*make_headers(), "ce-x", "ce-time"]), header_texts))
def test_any_headers_are_read_or_refused(changes: dict[str, str]) -> None:
    try:
        draft = read_binary({**make_headers(), **changes}, b"{}")
    except InvalidRequestError:
        return
    assert json.loads(give_back(draft))["id"] == draft.cloud_event["id"]  # type: ignore[index]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "image/png", None])
def test_no_data_are_given_back_as_none(content_type: str | None) -> None:
    written = json.loads(give_back(read_binary(make_headers(content_type=content_type), b"")))
    assert not {"data", "data_base64"} & set(written)


def test_the_content_type_is_no_attribute_of_its_own() -> None:
    for content_type in (None, "text/plain"):
        headers = make_headers(content_type=content_type, ce_datacontenttype="text/plain")
        assert "Content-Type" in faults_of(headers)["/header/ce-datacontenttype"]


def test_json_is_given_back_as_it_was_written() -> None:
    body = b' {"price": 1.50, "big": 1e2} '
    written = give_back(read_binary(make_headers(ce_ext="5"), body))
    assert body in written
    assert json.loads(written) == {
        "specversion": "1.0",
        "id": "A-1",
        "source": "/shop",
        "type": TYPE,
        "datacontenttype": "application/json",
        "ext": "5",
        "data": {"price": 1.5, "big": 100.0},
    }
