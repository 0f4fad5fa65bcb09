"""Times as text: they sort as they pass."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.clock import from_millis, from_text, to_text
from tests.support.factories import NOON

moments = st.integers(0, 4 * 10**12)


@given(moments)
def test_a_time_comes_back_to_the_millisecond(millis: int) -> None:
    moment = from_millis(millis)
    assert from_text(to_text(moment)) == moment


@given(moments, moments)
def test_texts_sort_as_times_do(one: int, other: int) -> None:
    assert (to_text(from_millis(one)) < to_text(from_millis(other))) == (one < other)


def test_times_are_written_in_utc_with_milliseconds() -> None:
    elsewhere = timezone(timedelta(hours=5, minutes=30))
    assert to_text(NOON) == "2026-03-14T12:00:00.000Z"
    assert to_text(NOON.astimezone(elsewhere)) == "2026-03-14T12:00:00.000Z"
    assert to_text(NOON + timedelta(microseconds=1999)) == "2026-03-14T12:00:00.001Z"


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-14",
        "2026-03-14T00:00",
        "2026-03-14T00:00:00Z",
        "2026-03-14T05:30:00+05:30",
        "20260314T000000Z",
    ],
)
def test_iso_8601_is_read_and_means_utc_without_an_offset(text: str) -> None:
    assert from_text(text) == datetime(2026, 3, 14, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "now", "14.03.2026", "2026-13-01", "2026-03-14T25:00"])
def test_other_texts_are_no_times(text: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|hour must|month must"):
        from_text(text)
