"""What the lake asks of S3, beyond what the contract tests can see."""

from typing import Any
from urllib.parse import unquote

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.errors import UnavailableError
from chalicelib.core.names import MAX_NAME_BYTES, name_fault
from chalicelib.events.lake import Lake
from tests.support.factories import make_event
from tests.support.faults import refusal

MOST_METADATA_BYTES = 2048
"""Amazon S3 User Guide, "Working with object metadata"."""
names = st.text(min_size=1).filter(lambda text: name_fault(text, MAX_NAME_BYTES) is None)


class RecordingS3:
    """Takes every object and remembers how it was put; fails with the `failures` first."""

    def __init__(self, *failures: ClientError) -> None:
        self.puts: list[dict[str, Any]] = []
        self._failures = list(failures)

    def put_object(self, **arguments: Any) -> None:
        self.puts.append(arguments)
        if self._failures:
            raise self._failures.pop(0)


@given(names, names)
def test_metadata_survives_being_an_http_header(source: str, subject: str) -> None:
    # Given an event with any name a sender may choose
    s3 = RecordingS3()
    event = make_event(source=source, subject=subject)
    # When it is kept
    Lake(s3, "bronze", "silver").put_bronze(event, b"{}")
    # Then no server may change the values: they are ASCII, without blanks at their ends
    metadata = s3.puts[0]["Metadata"]
    for value in metadata.values():
        assert value.isascii()
        assert value.isprintable()
        assert value == value.strip()
    assert (unquote(metadata["source"]), unquote(metadata["subject"])) == (source, subject)


@pytest.mark.parametrize("letter", ["a", "%", "ü", "日", "\U0001f600"])
def test_the_longest_names_fit_into_metadata(letter: str) -> None:
    s3 = RecordingS3()
    name = letter * (MAX_NAME_BYTES // len(letter.encode()))
    event = make_event(source=name, subject=name, owner="o" * 64)
    Lake(s3, "bronze", "silver").put_bronze(event, b"{}")
    metadata = s3.puts[0]["Metadata"]
    assert sum(len(key) + len(value) for key, value in metadata.items()) <= MOST_METADATA_BYTES


def test_every_write_is_conditional() -> None:
    s3 = RecordingS3()
    lake = Lake(s3, "bronze", "silver")
    lake.put_bronze(make_event(), b"{}")
    lake.put_silver("silver/demo/x.json", b"{}")
    lake.put_unit("bronze/units/x.ndjson", b"{}\n", {})
    assert [put["IfNoneMatch"] for put in s3.puts] == ["*"] * 3


def test_a_line_is_withdrawn_by_the_one_write_that_is_not() -> None:
    s3 = RecordingS3()
    Lake(s3, "bronze", "silver").withdraw("silver/demo/x.ndjson", b"{}\n")
    assert s3.puts == [
        {
            "Bucket": "silver",
            "Key": "silver/demo/x.ndjson",
            "Body": b"{}\n",
            "ContentType": "application/x-ndjson",
        }
    ]


@pytest.mark.parametrize(
    ("key", "content_type"), [("x.json", "application/json"), ("x.ndjson", "application/x-ndjson")]
)
def test_a_silver_object_says_what_it_is(key: str, content_type: str) -> None:
    s3 = RecordingS3()
    Lake(s3, "bronze", "silver").put_silver(key, b"{}")
    assert s3.puts[0]["ContentType"] == content_type


def test_a_write_that_meets_another_is_tried_again() -> None:
    s3 = RecordingS3(refusal("PutObject", "ConditionalRequestConflict"))
    assert Lake(s3, "bronze", "silver").put_silver("k", b"{}")
    assert len(s3.puts) == 2


def test_a_write_that_keeps_meeting_others_is_given_up() -> None:
    conflict = refusal("PutObject", "ConditionalRequestConflict")
    with pytest.raises(UnavailableError):
        Lake(RecordingS3(*[conflict] * 9), "bronze", "silver").put_silver("k", b"{}")


def test_another_refusal_passes_through() -> None:
    with pytest.raises(ClientError):
        Lake(RecordingS3(refusal("PutObject", "SlowDown")), "b", "s").put_silver("k", b"{}")
