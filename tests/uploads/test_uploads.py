"""What may be uploaded under which key, and what a notification tells of."""

import copy
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.errors import PermanentError
from chalicelib.core.ids import is_event_id
from chalicelib.core.names import is_owner
from chalicelib.uploads import api
from chalicelib.uploads.model import (
    MALFORMED,
    ObjectRecord,
    comparable_sequencer,
    filename_fault,
    object_id,
    owner_of,
    read_notification,
    upload_key,
)
from chalicelib.web.body import faults_of

EVENTS = Path(__file__).parents[1] / "samples"
NOW = datetime(2026, 3, 14, 12, 0, 0, 999_000, tzinfo=UTC)
DAY = 86400
UPLOAD = "019cebd1-8f15-7c3a-9a51-6c0b8f1d2e3f"
BUCKET = "eventline-dev-123456789012-uploads"
SEQUENCERS = st.text("0123456789abcdefABCDEF", min_size=1, max_size=24)
OWNERS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", fullmatch=True)


def sample(name: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads((EVENTS / f"{name}.json").read_text())["Records"]
    return records


def created(**changes: Any) -> dict[str, Any]:
    """A record of an object without versions; `changes` are to its object."""
    record = copy.deepcopy(sample("s3_two_objects_created")[1])
    record["s3"]["object"] |= changes
    return record


def read(record: object) -> ObjectRecord:
    found = read_notification(record, NOW, DAY)
    assert found is not None
    return found


def test_every_fact_of_a_record_is_read() -> None:
    record = read(sample("s3_two_objects_created")[0])

    assert record.to_dict() == {
        "objectId": record.object_id,
        "bucket": BUCKET,
        "objectKey": f"uploads/alice/{UPLOAD}/Q1 report + 50%.pdf",
        "size": 51234,
        "etag": "d41d8cd98f00b204e9800998ecf8427e",
        "versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko",
        "sequencer": "0055AED6DCD90281E5",
        "owner": "alice",
        "eventName": "ObjectCreated:Post",
        "eventTime": "2026-03-14T09:26:53.589Z",
        "timestamp": 1773489600,
        "ttl": 1773489600 + DAY,
    }
    assert is_event_id(record.object_id)
    assert msgspec.convert(record.to_dict(), ObjectRecord) == record


def test_an_object_put_elsewhere_has_a_decoded_key_and_no_owner() -> None:
    record = read(sample("s3_two_objects_created")[1])

    assert record.object_key == "incoming/café ☕/日本.csv"
    assert (record.owner, record.version_id) == (None, None)


def test_a_removal_is_not_a_creation() -> None:
    assert read_notification(sample("s3_object_removed")[0], NOW, DAY) is None


def test_a_redelivery_has_the_same_id_whatever_the_time() -> None:
    first = read_notification(created(), NOW, DAY)
    again = read_notification(created(), datetime(2027, 1, 1, tzinfo=UTC), DAY)

    assert first is not None
    assert again is not None
    assert (first.object_id, first.list_key) == (again.object_id, again.list_key)


@pytest.mark.parametrize(
    "other",
    [
        {"key": "incoming/other"},
        {"sequencer": "0055AED6DCD90281E7"},
        {"versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko"},
    ],
)
def test_another_object_or_version_has_another_id(other: dict[str, str]) -> None:
    assert read(created()).object_id != read(created(**other)).object_id


def test_versions_have_ids_of_their_own_whatever_their_sequencer() -> None:
    version = read(created(versionId="v1", sequencer="01"))

    assert version.object_id == read(created(versionId="v1", sequencer="02")).object_id
    assert version.object_id != read(created(versionId="v2", sequencer="01")).object_id
    # The id is kept by clients and in the table: it must not change from release to release.
    assert object_id("bucket", "key", "v1", None) == "0ec7b2c2-4aae-51b3-a82d-8fceeb559a28"


@pytest.mark.parametrize("none", ["null", "", None])
def test_without_versions_the_sequencer_tells_objects_apart(none: str | None) -> None:
    first = read(created(versionId=none, sequencer="01"))

    assert first.version_id is None
    assert first.object_id != read(created(versionId=none, sequencer="02")).object_id


@given(SEQUENCERS, SEQUENCERS)
def test_sequencers_compare_as_if_padded_on_the_right(one: str, other: str) -> None:
    width = max(len(one), len(other))
    padded = [text.upper().ljust(width, "0") for text in (one, other)]
    ours = [comparable_sequencer(text) for text in (one, other)]

    assert (ours[0] < ours[1]) == (padded[0] < padded[1])
    assert (ours[0] == ours[1]) == (padded[0] == padded[1])


def without(*path: str) -> dict[str, Any]:
    record = created()
    parent = record
    for name in path[:-1]:
        parent = parent[name]
    del parent[path[-1]]
    return record


def changed(value: object, *path: str) -> dict[str, Any]:
    record = created()
    parent = record
    for name in path[:-1]:
        parent = parent[name]
    parent[path[-1]] = value
    return record


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (None, "Expected `object`"),
        ("text", "Expected `object`"),
        ([], "Expected `object`"),
        ({}, "required field `eventName`"),
        (without("eventName"), "required field `eventName`"),
        (changed(7, "eventName"), "got `int` - at `$.eventName`"),
        (without("eventTime"), "required field `eventTime`"),
        (changed("yesterday", "eventTime"), "an invalid time or text"),
        (changed("0001-01-01T00:00:00+14:00", "eventTime"), "an invalid time or text"),
        (without("s3"), "required field `s3`"),
        (changed([], "s3"), "got `array` - at `$.s3`"),
        (without("s3", "bucket"), "required field `bucket`"),
        (without("s3", "bucket", "name"), "required field `name`"),
        (without("s3", "object"), "required field `object`"),
        (without("s3", "object", "key"), "required field `key`"),
        (changed("bad%ff.txt", "s3", "object", "key"), "an invalid time or text"),
        (changed("\ud800", "s3", "object", "key"), "an invalid time or text"),
        (changed("\ud800", "s3", "object", "eTag"), "an invalid time or text"),
        (changed("51234", "s3", "object", "size"), "got `str` - at `$.s3.object.size`"),
        (created(size=True), "got `bool` - at `$.s3.object.size`"),
        (without("s3", "object", "sequencer"), "neither a version nor a sequencer"),
        (changed("0x1G", "s3", "object", "sequencer"), "at `$.s3.object.sequencer`"),
    ],
)
def test_a_malformed_record_is_a_permanent_error_that_says_what_is_wrong(
    record: object, said: str
) -> None:
    with pytest.raises(PermanentError, match=re.escape(said)) as caught:
        read_notification(record, NOW, DAY)
    assert caught.value.code == MALFORMED


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
PLACES = [
    ("eventName",),
    ("eventTime",),
    ("s3",),
    ("s3", "bucket"),
    ("s3", "bucket", "name"),
    ("s3", "object"),
    ("s3", "object", "key"),
    ("s3", "object", "size"),
    ("s3", "object", "eTag"),
    ("s3", "object", "versionId"),
    ("s3", "object", "sequencer"),
]


@given(st.sampled_from(PLACES), JSON_VALUES)
def test_whatever_stands_in_a_record_it_is_read_ignored_or_malformed(
    place: tuple[str, ...], value: object
) -> None:
    try:
        record = read_notification(changed(value, *place), NOW, DAY)
    except PermanentError:
        return
    assert record is None or is_event_id(record.object_id)


@pytest.mark.parametrize(
    "name",
    ["a.txt", " leading", "x" * 255, "é" * 127, "日本 ☕.csv", "+ %20 &?#.txt", "..", "👩‍💻.png"],
)
def test_a_usual_file_name_is_accepted(name: str) -> None:
    assert filename_fault(name) is None


def content_type_faults(text: object) -> list[str]:
    order = {"filename": "a", "contentType": text}
    return [fault.pointer for fault in faults_of(order, api._ORDER.value)]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (None, "a string"),
        (7, "a string"),
        ("", "empty"),
        ("  ", "empty"),
        ("a\nb", "control"),
        ("a\x00b", "control"),
        ("a\x7fb", "control"),
        ("a\u2028b", "control"),
        ("\ud800", "control"),
        ("invoice\u202efdp.exe", "direction"),
        ("a\uffff", "noncharacters"),
        ("x" * 256, "255 bytes"),
        ("é" * 128, "255 bytes"),
    ],
)
def test_a_file_name_that_can_not_be_is_refused(name: object, said: str) -> None:
    assert said in (filename_fault(name) or "")


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("report.pdf", "report.pdf"),
        ("../../bob/x", ".._.._bob_x"),
        ("C:\\temp\\x", "C:_temp_x"),
        (".", "_"),
        ("..", "__"),
        ("..../", "...._"),
        ("${filename}", "_{filename}"),
    ],
)
def test_a_file_name_can_not_leave_its_upload(name: str, last: str) -> None:
    assert upload_key("alice", UPLOAD, name) == f"uploads/alice/{UPLOAD}/{last}"


@given(OWNERS, st.text(min_size=1))
def test_the_owner_of_an_upload_is_read_back_from_its_key(owner: str, name: str) -> None:
    key = upload_key(owner, UPLOAD, name)

    assert is_owner(owner)
    assert owner_of(key) == owner
    assert key.count("/") == 3
    assert "$" not in key


@pytest.mark.parametrize(
    "key",
    [
        "a.txt",
        "uploads",
        "uploads/",
        "uploads/alice",
        "uploads/alice/",
        "uploads//x",
        "Uploads/alice/x",
        "other/uploads/alice/x",
        "/uploads/alice/x",
        "uploads/a b/x",
        f"uploads/{'a' * 65}/x",
    ],
)
def test_an_object_outside_every_owners_prefix_has_no_owner(key: str) -> None:
    assert owner_of(key) is None


@pytest.mark.parametrize(
    "text",
    [
        "text/plain",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "image/svg+xml",
        "text/plain; charset=utf-8",
        'multipart/mixed;boundary="a b"; x=y',
    ],
)
def test_a_media_type_is_accepted(text: str) -> None:
    assert content_type_faults(text) == []


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        "text",
        "text/",
        "/plain",
        "text/plain,text/html",
        "text/plain\r\nX-A: b",
        "text/plain;",
        "text/plain; a=${filename}",
        'text/plain; a="${filename}"',
        "text/plain; a=" + "b" * 242,
    ],
)
def test_what_is_no_media_type_is_refused(text: object) -> None:
    assert content_type_faults(text) == ["/contentType"]
