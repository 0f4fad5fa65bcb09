"""What an owner is told: which changes are felt, and how they are put in words."""

from typing import Any

import pytest

from chalicelib.items.changes import (
    MAX_LINES,
    MAX_SUBJECT,
    MAX_TEXT_BYTES,
    Change,
    Kind,
    Snapshot,
    changes_of,
    compare,
)

AT = "2026-03-14T12:05:00.000Z"


def snapshot(
    data: dict[str, Any] | None = None,
    owner: str = "alice",
    sha256: str = "5a",
    version: int | None = 2,
) -> Snapshot:
    return Snapshot(owner, version, data, sha256, 70_000 if data is None else 20)


def update(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    return changes_of("i1", Kind.UPDATED, AT, snapshot(old), snapshot(new))


def words(old: Any, new: Any) -> list[str]:
    return [change.in_words() for change in compare(old, new)]


def test_an_update_says_field_by_field_what_changed() -> None:
    (change,) = update(
        {"name": "lamp", "price": 10, "size": "L", "address": {"city": "Graz", "zip": 8010}},
        {"name": "lamp", "price": 12.5, "colour": "röt", "address": {"city": "Wien", "zip": 8010}},
    )
    assert change.owner == "alice"
    assert change.subject == "Item i1 was updated: address.city, colour, price and 1 more"
    assert change.text.splitlines() == [
        "Your item i1 was updated (version 2), 2026-03-14 12:05:00 UTC.",
        "",
        "What changed:",
        '  address.city: "Graz" -> "Wien"',
        '+ colour: "röt"',
        "  price: 10 -> 12.5",
        '- size (was "L")',
    ]


def test_list_elements_are_told_by_their_place() -> None:
    assert words({"lines": [{"n": 1}, {"n": 2}]}, {"lines": [{"n": 1}, {"n": 3}, "x"]}) == [
        "  lines[1].n: 2 -> 3",
        '+ lines[2]: "x"',
    ]
    assert words({"a": [1, 2]}, {"a": [1]}) == ["- a[1] (was 2)"]


def test_names_that_are_no_plain_words_are_quoted() -> None:
    assert words({"post code": {"a.b": 1}}, {"post code": {"a.b": 2}}) == [
        '  ["post code"]["a.b"]: 1 -> 2'
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (1, True),
        (0, False),
        (None, False),
        ("1", 1),
        ({}, []),
        ([], None),
        ({"a": None}, {}),
        ([[]], [{}]),
    ],
)
def test_values_of_different_kinds_differ(old: Any, new: Any) -> None:
    assert len(words({"f": old}, {"f": new})) == 1


def test_equal_numbers_are_no_change_however_they_are_written() -> None:
    assert words({"f": 1}, {"f": 1.0}) == []


def test_same_data_are_no_news() -> None:
    assert update({"a": {"b": [1, None]}}, {"a": {"b": [1, None]}}) == []
    large = snapshot(sha256="5a")
    assert changes_of("i1", Kind.UPDATED, AT, large, large) == []


def test_large_data_are_told_of_without_being_shown() -> None:
    (change,) = changes_of("i1", Kind.UPDATED, AT, snapshot(sha256="5a"), snapshot(sha256="5b"))
    assert change.subject == "Item i1 was updated"
    assert "The content changed; it is too large to show here (70,000 bytes)." in change.text
    (grown,) = changes_of("i1", Kind.UPDATED, AT, snapshot({"secret": 1}), snapshot())
    assert "The content changed" in grown.text
    assert "secret" not in grown.text
    (made,) = changes_of("i1", Kind.CREATED, AT, None, snapshot())
    assert "Its content is too large to show here" in made.text


def test_creation_and_removal_show_what_it_holds_and_held() -> None:
    (made,) = changes_of("i1", Kind.CREATED, AT, None, snapshot({"a": 1}, version=1))
    assert made.text.splitlines()[2:] == ["It holds:", "+ a: 1"]
    assert made.subject == "Item i1 was created"
    (gone,) = changes_of("i1", Kind.DELETED, AT, snapshot({"a": 1}), None)
    assert gone.text.splitlines()[2:] == ["It held:", "- a (was 1)"]
    (empty,) = changes_of("i1", Kind.CREATED, AT, None, snapshot({}))
    assert "It holds nothing yet." in empty.text


def test_expiry_is_told_apart_from_deletion() -> None:
    (gone,) = changes_of("i1", Kind.EXPIRED, AT, snapshot({"a": 1}), None)
    assert gone.subject == "Item i1 expired"
    assert "expired and was removed" in gone.text


def test_an_item_put_by_hand_has_no_version_to_tell() -> None:
    (change,) = changes_of("i1", Kind.CREATED, AT, None, snapshot({"a": 1}, version=None))
    assert change.text.startswith("Your item i1 was created, 2026-03-14")


def test_an_item_that_changes_hands_shows_neither_the_others_data() -> None:
    gone, come = changes_of(
        "i1", Kind.UPDATED, AT, snapshot({"a": "his"}), snapshot({"a": "hers"}, owner="bob")
    )
    assert (gone.owner, gone.kind) == ("alice", Kind.DELETED)
    assert (come.owner, come.kind) == ("bob", Kind.CREATED)
    assert gone.text.splitlines()[2:] == ["It held:", '- a (was "his")']
    assert come.text.splitlines()[2:] == ["It holds:", '+ a: "hers"']


def test_values_and_paths_are_shortened() -> None:
    ((line),) = words({"n" * 500: "a"}, {"n" * 500: "b" * 5000})
    assert len(line) < 400
    assert line.endswith("...")


def test_a_message_stays_within_what_sns_takes() -> None:
    many = {f"näme {number:03d} " + "x" * 200: "ü" * 500 for number in range(300)}
    (change,) = update({}, many)
    assert len(change.text.encode()) <= MAX_TEXT_BYTES + 1
    assert change.text.count("\n+ ") <= MAX_LINES
    assert len(change.subject) <= MAX_SUBJECT
    assert change.subject.isascii()


def test_a_long_list_of_changes_says_that_there_are_more() -> None:
    (change,) = update({}, {f"f{number:03d}": 1 for number in range(MAX_LINES + 1)})
    assert change.text.endswith("\n  ... and more\n")
    assert change.subject == "Item i1 was updated: f000, f001, f002 and more"
    (whole,) = update({}, {f"f{number:03d}": 1 for number in range(MAX_LINES)})
    assert "... and more" not in whole.text
    assert whole.subject.endswith(f"and {MAX_LINES - 3} more")


def test_a_subject_is_one_line_of_ascii() -> None:
    changes = changes_of("i\r\n1é", Kind.CREATED, AT, None, snapshot({"a": 1}))
    assert changes[0].subject == "Item i??1? was created"
