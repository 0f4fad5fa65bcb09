"""Ids, and the keys that nothing a sender writes can lead out of their prefix."""

import uuid
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.clock import from_millis
from chalicelib.core.ids import is_event_id, keyed_event_id, new_event_id
from chalicelib.core.names import MAX_TYPE_BYTES, name_fault
from chalicelib.events.keys import bronze_key, parse_bronze_key, silver_key
from tests.support.factories import NOON, make_event, make_id

RECEIVED_AT = "2026-03-14T12:00:00.000Z"
HOSTILE_TYPES = [
    "..",
    ".",
    "...",
    "../../etc/passwd",
    "a/../../b",
    "/",
    "//",
    "a//b",
    "%2F",
    "%2e%2e%2f",
    "..%2F..",
    "a\\b",
    "grüße/日本",
    "\N{FULLWIDTH SOLIDUS}",
    "demo.json",
    "dt=2026-03-14",
    "bronze/demo/2026/03/14/x.json",
    "a?b#c&d=e",
    "*",
    "a b",
    "'\"<script>",
]


@given(st.integers(0, 10**13), st.binary(min_size=10))
def test_a_new_id_is_a_uuid_of_version_7(millis: int, random: bytes) -> None:
    event_id = uuid.UUID(new_event_id(from_millis(millis), random))
    assert event_id.version == 7
    assert event_id.variant == uuid.RFC_4122
    assert event_id.int >> 80 == millis


@given(st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_new_ids_sort_by_time(early: bytes, late: bytes) -> None:
    assert new_event_id(NOON, early) < new_event_id(NOON + timedelta(milliseconds=1), late)


@given(st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_new_ids_carry_74_random_bits(one: bytes, other: bytes) -> None:
    def kept(random: bytes) -> int:
        return int.from_bytes(random, "big") & ~(0xF << 76) & ~(0x3 << 62)

    same = new_event_id(NOON, one) == new_event_id(NOON, other)
    assert same == (kept(one) == kept(other))


@given(st.text(), st.text())
def test_a_key_stands_for_one_id(owner: str, key: str) -> None:
    event_id = keyed_event_id(owner, key)
    assert event_id == keyed_event_id(owner, key)
    assert uuid.UUID(event_id).version == 8
    assert uuid.UUID(event_id).variant == uuid.RFC_4122


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("alice", "k"), ("bob", "k")),
        (("alice", "k1"), ("alice", "k2")),
        (("alice", "bk"), ("aliceb", "k")),
        (("alice", "K"), ("alice", "k")),
    ],
)
def test_another_owner_or_key_stands_for_another_id(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    assert keyed_event_id(*one) != keyed_event_id(*other)


def test_a_keyed_id_never_changes() -> None:
    # What was promised for ever: this value is in ledgers.
    assert keyed_event_id("alice", "order-1") == "8f98f5de-02c3-8e2c-9eaf-99f3552a60e2"


@pytest.mark.parametrize("event_type", HOSTILE_TYPES)
def test_a_hostile_type_stays_one_segment(event_type: str) -> None:
    event = make_event(event_type=event_type, at=NOON)
    check_keys(event_type, event.event_id, event.s3_key, silver_key(event))


@given(st.text(min_size=1).filter(lambda text: name_fault(text, MAX_TYPE_BYTES) is None))
def test_any_type_stays_one_segment(event_type: str) -> None:
    event = make_event(event_type=event_type, at=NOON)
    check_keys(event_type, event.event_id, event.s3_key, silver_key(event))


def check_keys(event_type: str, event_id: str, bronze: str, silver: str) -> None:
    """Both keys have the form of the contract, and bronze's gives the type back."""
    assert bronze.isascii()
    assert len(bronze.encode()) <= 1024
    root, segment, *rest = bronze.split("/")
    assert root == "bronze"
    assert segment not in ("", ".", "..")
    assert rest == ["2026", "03", "14", f"{event_id}.json"]
    assert silver.split("/") == ["silver", segment, "dt=2026-03-14", f"{event_id}.json"]
    assert parse_bronze_key(bronze) == (event_type, event_id)


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_two_types_never_share_a_prefix(one: str, other: str) -> None:
    def prefix(event_type: str) -> str:
        key = bronze_key(event_type, RECEIVED_AT, "id")
        return key.partition("/2026/")[0]

    try:
        assert (prefix(one) == prefix(other)) == (one == other)
    except UnicodeEncodeError:
        # A lone surrogate is no name, so it never gets this far.
        assert "must hold" in str(name_fault(one, 99) or name_fault(other, 99))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "bronze/demo/2026/03/14/not-a-uuid.json",
        "bronze/demo/2026/03/14/019cec37-b600-7000-8000-000000000001.txt",
        "bronze/demo/2026/03/019cec37-b600-7000-8000-000000000001.json",
        "silver/demo/2026/03/14/019cec37-b600-7000-8000-000000000001.json",
        "bronze/a/b/2026/03/14/019cec37-b600-7000-8000-000000000001.json",
        "bronze/demo/2026/03/14/019CEC37-B600-7000-8000-000000000001.json",
        "x/bronze/demo/2026/03/14/019cec37-b600-7000-8000-000000000001.json",
        "bronze/demo/2026/03/14/019cec37-b600-7000-8000-000000000001.json\n",
    ],
)
def test_other_keys_name_no_event(key: str) -> None:
    assert parse_bronze_key(key) is None


def test_our_ids_are_ids() -> None:
    assert is_event_id(make_id())
    assert is_event_id(keyed_event_id("alice", "k"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "..",
        "019CEC37-B600-7000-8000-000000000001",
        "019cec37b60070008000000000000001",
        "{019cec37-b600-7000-8000-000000000001}",
        "urn:uuid:019cec37-b600-7000-8000-000000000001",
        "019cec37-b600-7000-8000-000000000001\n",
        "EVENT#019cec37-b600-7000-8000-000000000001",
    ],
)
def test_other_spellings_are_no_ids(text: str) -> None:
    assert not is_event_id(text)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (None, "string"),
        (7, "string"),
        ({"a": 1}, "string"),
        ("", "empty"),
        ("   ", "empty"),
        ("a\x00b", "control"),
        ("a\nb", "control"),
        ("a\x7fb", "control"),
        ("a\x85b", "control"),
        ("a\ud800", "surrogates"),
        ("a\ufdd0", "noncharacters"),
        ("a\U0010ffff", "noncharacters"),
        ("a" * 129, "128 bytes"),
        ("ü" * 65, "128 bytes"),
    ],
)
def test_a_bad_name_is_told_what_is_wrong_with_it(name: object, fault: str) -> None:
    assert fault in str(name_fault(name, MAX_TYPE_BYTES))


@pytest.mark.parametrize(
    "name",
    [
        *("a", "a b", "größe", "日本", "ü" * 64, "x" * 128),
        # Names of macOS files, joiners, other blanks, marks of direction, private use, and what
        # this Python's Unicode may not know yet.
        *("10\u202fh", "a\u200cb", "👩\u200d💻", "a\u00a0b", "\u3000", "a\u202eb", "\ue000"),
        *("\U0001fadf", "\U000323af", "\U0010fffd"),
    ],
)
def test_a_good_name_has_no_fault(name: str) -> None:
    assert name_fault(name, MAX_TYPE_BYTES) is None
