"""Pages and cursors: nothing is lost or doubled while somebody pages."""

import base64
import itertools
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.clock import to_text
from chalicelib.core.ids import keyed_event_id, new_event_id
from chalicelib.core.paging import (
    NEWEST,
    OLDEST,
    Entry,
    decode_cursor,
    encode_cursor,
    just_below,
    merge_newest,
    merge_oldest,
    shard_of,
)
from tests.support.factories import NOON, make_id

Shard = tuple[list[Entry], str | None]

entries = st.builds(
    lambda millis, random: _entry(millis, new_event_id(NOON, random)),
    st.integers(0, 5),
    st.binary(min_size=10, max_size=10),
)
ledgers = st.lists(entries, max_size=40, unique_by=lambda entry: entry.event_id)


def _entry(millis: int, event_id: str) -> Entry:
    at = to_text(NOON + timedelta(milliseconds=millis))
    return Entry(f"{at}#{event_id}", event_id)


def query(shard: Sequence[Entry], end: str, limit: int, scanned: int) -> Shard:
    """What an index shard answers: up to `limit` entries, having looked at up to `scanned`."""
    below = sorted(
        (entry for entry in shard if entry.list_key <= end), key=lambda e: e.list_key, reverse=True
    )
    seen = below[: min(limit, scanned)]
    more = len(below) > len(seen)
    return seen, seen[-1].list_key if more else None


@given(
    ledger=ledgers,
    shards=st.integers(1, 5),
    limit=st.integers(1, 7),
    scanned=st.integers(1, 9),
)
def test_pages_over_shards_are_the_sorted_whole(
    ledger: list[Entry], shards: int, limit: int, scanned: int
) -> None:
    # Given a ledger split into shards
    parts = [
        [entry for entry in ledger if shard_of(entry.event_id, shards) == number]
        for number in range(shards)
    ]
    # When somebody pages to its end
    end, pages = NEWEST, []
    for _ in range(len(ledger) + 2):
        page = merge_newest([query(part, end, limit, scanned) for part in parts], limit)
        pages.append(page.entries)
        if page.resume_below is None:
            break
        end = just_below(page.resume_below)
    # Then the pages are the sorted whole
    assert page.resume_below is None, "the listing does not end"
    assert max(map(len, pages)) <= limit
    whole = sorted(ledger, key=lambda entry: entry.list_key, reverse=True)
    assert list(itertools.chain.from_iterable(pages)) == whole


@given(
    ledger=ledgers,
    shards=st.integers(1, 5),
    limit=st.integers(1, 7),
    scanned=st.integers(1, 9),
)
def test_pages_from_the_oldest_on_are_the_sorted_whole(
    ledger: list[Entry], shards: int, limit: int, scanned: int
) -> None:
    # Given shards that answer from their oldest entry on, and may stop early
    parts: list[list[Entry]] = [[] for _ in range(shards)]
    for entry in sorted(ledger, key=lambda entry: entry.list_key):
        parts[shard_of(entry.event_id, shards)].append(entry)

    def above(part: list[Entry], key: str) -> Shard:
        left = [entry for entry in part if entry.list_key > key]
        seen = left[: min(limit, scanned)]
        return seen, seen[-1].list_key if len(left) > len(seen) else None

    # When somebody pages to the newest
    key, pages = "", []
    for _ in range(len(ledger) + 2):
        page = merge_oldest([above(part, key) for part in parts], limit)
        pages.append(page.entries)
        if page.resume_below is None:
            break
        key = page.resume_below
    # Then the pages are the sorted whole
    assert page.resume_below is None, "the listing does not end"
    assert max(map(len, pages)) <= limit
    whole = sorted(ledger, key=lambda entry: entry.list_key)
    assert list(itertools.chain.from_iterable(pages)) == whole


def test_an_event_that_changes_its_shard_while_we_look_is_shown_once() -> None:
    entry = _entry(1, make_id())
    page = merge_newest([([entry], None), ([entry], None)], 5)
    assert page.entries == (entry,)


def test_entries_below_where_a_shard_stopped_wait_for_the_next_page() -> None:
    # Given a shard that stopped early, and another that saw everything
    new, middle, old = (_entry(millis, make_id()) for millis in (3, 2, 1))
    # When they are merged
    page = merge_newest([([new, middle], middle.list_key), ([old], None)], 5)
    # Then what may have something above it is held back
    assert page.entries == (new, middle)
    assert page.resume_below == middle.list_key


def test_no_shards_make_an_empty_page() -> None:
    page = merge_newest([], 5)
    assert page.entries == ()
    assert page.resume_below is None


@given(ledgers.filter(bool))
def test_just_below_sorts_between_neighbours(ledger: list[Entry]) -> None:
    keys = sorted(entry.list_key for entry in ledger)
    for lower, upper in itertools.pairwise(keys):
        assert lower < just_below(upper) < upper
    assert just_below(keys[0]) > OLDEST
    assert keys[-1] < NEWEST


@given(entries)
def test_a_cursor_gives_its_list_key_back(entry: Entry) -> None:
    cursor = encode_cursor(entry.list_key)
    assert decode_cursor(cursor) == entry.list_key
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.text())
def test_any_text_is_a_cursor_of_ours_or_none(text: str) -> None:
    list_key = decode_cursor(text)
    assert list_key is None or encode_cursor(list_key) == text


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "====",
        "é",
        _encoded("~"),
        _encoded(f"2026-03-14T12:00:00.000Z#{'0' * 36}"),
        _encoded(f"2026-03-14T12:00:00.000Z#{make_id()}x"),
        _encoded(f"2026-03-14T12:00:00.000Z#{make_id()}\n"),
        _encoded(f"2026-03-14#{make_id()}"),
        _encoded(f"\N{ARABIC-INDIC DIGIT TWO}026-03-14T12:00:00.000Z#{make_id()}"),
        encode_cursor(_entry(1, make_id()).list_key) + "=",
        encode_cursor(_entry(1, make_id()).list_key)[:-1],
        " " + encode_cursor(_entry(1, make_id()).list_key),
    ],
)
def test_a_cursor_that_was_not_handed_out_is_none(cursor: str) -> None:
    assert decode_cursor(cursor) is None


@pytest.mark.parametrize("shards", [1, 2, 8, 256])
def test_ids_of_every_kind_spread_over_all_shards(shards: int) -> None:
    new = [new_event_id(NOON, bytes(6) + n.to_bytes(4, "big")) for n in range(shards)]
    assert {shard_of(event_id, shards) for event_id in new} == set(range(shards))
    keyed = [keyed_event_id("alice", str(number)) for number in range(shards * 20)]
    assert {shard_of(event_id, shards) for event_id in keyed} == set(range(shards))
