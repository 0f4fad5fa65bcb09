"""The context attributes of a CloudEvent: what each may be, and what is refused."""

import time

import pytest

from chalicelib.core.errors import InvalidRequestError
from chalicelib.core.strict_json import dump_json
from chalicelib.events.cloudevents import (
    MAX_CONTEXT_BYTES,
    MAX_FAULTS,
    read_structured_value,
)
from tests.support.cloudevents import faults_of, make_envelope, read


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
@pytest.mark.parametrize("value", ["", 1, 1.0, True, [], {}, ["1.0"]])
def test_a_required_attribute_is_a_string_that_is_not_empty(name: str, value: object) -> None:
    assert list(faults_of({**make_envelope(), name: value})) == [f"/{name}"]


@pytest.mark.parametrize("version", ["0.3", "1", "1.0 ", "1.1", "2.0", "x" * 5000])
def test_another_version_is_refused_by_its_name(version: str) -> None:
    told = faults_of(make_envelope(specversion=version))["/specversion"]
    assert version[:20] in told
    assert len(told) < 100


@pytest.mark.parametrize(
    ("name", "longest"), [("id", 256), ("source", 256), ("type", 128), ("subject", 256)]
)
def test_names_have_a_limit_in_bytes(name: str, longest: int) -> None:
    draft = read(**{name: "x" * longest})
    assert "x" * longest in (
        draft.source,
        draft.event_type,
        draft.subject,
        dict(draft.cloud_event or {})["id"],
    )
    assert list(faults_of(make_envelope(**{name: "x" * (longest + 1)}))) == [f"/{name}"]
    assert list(faults_of(make_envelope(**{name: "x" * 1_000_000}))) == [f"/{name}"]


@pytest.mark.parametrize("name", ["id", "source", "type", "subject", "ext", "dataschema", "time"])
@pytest.mark.parametrize("bad", ["a\r\nb", "a\x00", "\x7fa", "a\x9f", "\ufffe", "\U0001ffff\ufdd0"])
def test_what_no_attribute_may_hold_is_refused(name: str, bad: str) -> None:
    assert list(faults_of({**make_envelope(), name: bad})) == [f"/{name}"]


@pytest.mark.parametrize(
    "source",
    [
        "/",
        "#part",
        "?q=1",
        "a/b:c",
        "./a:b",
        "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
        "mailto:cncf-wg-serverless@lists.cncf.io",
        "https://user:pw@github.com:443/cloudevents/spec/pull?x=/?#frag/?",
        "http://[2001:db8::7]/c=GB?objectClass?one",
        "//host",
        "file:///etc/hosts",
        "/caf%C3%A9",
        "1-555-123-4567",
    ],
)
def test_a_source_is_a_uri_reference(source: str) -> None:
    assert read(source=source).source == source


@pytest.mark.parametrize(
    "source",
    [
        "/my shop",
        "/caf\xe9",
        "<x>",
        '"x"',
        "a\\b",
        "/%zz",
        "/%",
        "1a:b",
        "/a[0]",
        "#a#b",
        "http://host:port/",
        "^",
        "{id}",
    ],
)
def test_what_is_no_uri_reference_is_refused(source: str) -> None:
    assert list(faults_of(make_envelope(source=source))) == ["/source"]


@pytest.mark.parametrize("schema", ["/a.json", "schema", "", "http:// x", 7, "//host/a", "1:a"])
def test_a_schema_is_an_absolute_uri(schema: object) -> None:
    assert list(faults_of(make_envelope(dataschema=schema))) == ["/dataschema"]


@pytest.mark.parametrize(
    "moment",
    [
        "2026-03-14T12:00:00Z",
        "2026-03-14t12:00:00z",
        "2026-03-14T12:00:00.123456789012Z",
        "2026-03-14T12:00:00+23:59",
        "2026-03-14T12:00:00-00:00",
        "2024-02-29T00:00:00Z",
        "2000-02-29T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "1990-12-31T23:59:60Z",
        "1990-12-31T15:59:60.5-08:00",
        "2017-01-01T05:29:60+05:30",
    ],
)
def test_a_time_is_kept_as_it_was_sent(moment: str) -> None:
    draft = read(time=moment)
    assert draft.cloud_event == {"id": "A-1", "time": moment}


@pytest.mark.parametrize(
    "moment",
    [
        "",
        "2026-03-14",
        "2026-03-14T12:00:00",
        "2026-03-14T12:00Z",
        "2026-03-14 12:00:00Z",
        "2026-03-14T24:00:00Z",
        "2026-03-14T12:60:00Z",
        "2026-03-14T12:00:61Z",
        "2026-03-14T12:00:60Z",
        "1990-12-31T23:59:61Z",
        "2026-12-31T22:59:60Z",
        "1990-12-31T23:59:60-08:00",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-03-14T12:00:00+24:00",
        "2026-03-14T12:00:00+01:60",
        "2026-03-14T12:00:00+0100",
        "2026-03-14T12:00:00.Z",
        "2026-03-14T12:00:00,5Z",
        "2026-03-14T12:00:00Zulu",
        "2026-03-14T12:00:00Z\n",
        " 2026-03-14T12:00:00Z",
        "+2026-03-14T12:00:00Z",
        "26-03-14T12:00:00Z",
        "\u0662026-03-14T12:00:00Z",
        1773489600,
        True,
    ],
)
def test_what_is_no_timestamp_is_refused(moment: object) -> None:
    assert list(faults_of(make_envelope(time=moment))) == ["/time"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "TEXT/Plain;charset=UTF-8",
        'multipart/x; boundary="a; \\"b"',
        "application/vnd.a+xml ; a=b;c=d",
        "text/plain;",
    ],
)
def test_a_media_type_is_read(content_type: str) -> None:
    context = read(datacontenttype=content_type, data="x").cloud_event
    assert context is not None
    assert context["datacontenttype"] == content_type


@pytest.mark.parametrize(
    "content_type",
    ["", "json", "a/", "/b", "a/b/c", "a b/c", "a/b; c", "a/b; c=", "a/b\r\nx: y", 'a/b;c="', 5],
)
def test_what_is_no_media_type_is_refused(content_type: object) -> None:
    assert list(faults_of(make_envelope(datacontenttype=content_type))) == ["/datacontenttype"]


def test_no_media_type_takes_long_to_refuse() -> None:
    for tail in (";  " * 16 + "x y", " " * 200 + "x", ";a=" * 80, ';a="' + '\\"' * 100):
        start = time.process_time()
        assert "/datacontenttype" in faults_of(make_envelope(datacontenttype="a/b" + tail))
        assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("name", "pointer"),
    [
        ("Name", "/Name"),
        ("my_ext", "/my_ext"),
        ("my-ext", "/my-ext"),
        ("", "/"),
        ("a/b~c", "/a~1b~0c"),
        ("\xe9", "/\xe9"),
        ("\u0661", "/\u0661"),
        ("ext\n", "/ext\n"),
        ("x" * 65, "/" + "x" * 64),
        ("x" * 100_000, "/" + "x" * 64),
    ],
)
def test_an_attribute_has_a_plain_name(name: str, pointer: str) -> None:
    assert list(faults_of({**make_envelope(), name: "x"})) == [pointer]


def test_a_name_may_be_longer_than_advised() -> None:
    context = read(**{"x" * 64: 1, "2nd": "y"}).cloud_event
    assert context is not None
    assert context["extensions"] == {"x" * 64: 1, "2nd": "y"}


@pytest.mark.parametrize("value", [{}, [], ["a"], {"a": 1}, 1.0, 1e3, 2**31, -(2**31) - 1, 10**300])
def test_an_extension_has_a_type_of_the_specification(value: object) -> None:
    assert list(faults_of(make_envelope(ext=value))) == ["/ext"]


def test_faults_do_not_grow_with_the_event() -> None:
    many = {f"BAD{number}": "x" for number in range(5000)}
    assert len(faults_of({**make_envelope(), **many})) == MAX_FAULTS


def test_the_context_has_a_limit() -> None:
    # Given the longest extension that fits beside the id
    frame = len(dump_json({"id": "A-1", "extensions": {"ext": ""}}))
    fits = "x" * (MAX_CONTEXT_BYTES - frame)
    assert len(dump_json(read(ext=fits).cloud_event)) == MAX_CONTEXT_BYTES
    # Then one byte more is refused, and characters count as they are written in ASCII
    assert str(MAX_CONTEXT_BYTES) in faults_of(make_envelope(ext=fits + "x"))[""]
    assert list(faults_of(make_envelope(ext="\u20ac" * 200))) == [""]


def test_a_surrogate_in_a_parsed_value_is_refused() -> None:
    for name in ("id", "source", "type", "subject", "ext"):
        with pytest.raises(InvalidRequestError) as caught:
            read_structured_value({**make_envelope(), name: "\ud800"}, b"")
        assert caught.value.errors[0].pointer == f"/{name}"
