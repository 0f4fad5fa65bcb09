"""Items: what a body makes of one, its ETags, its id under a key, when it may be changed."""

import json

import pytest
from msgspec import structs

from chalicelib.core.errors import InvalidRequestError
from chalicelib.items.model import (
    MAX_ENTITY_TAGS,
    MAX_INLINE_BYTES,
    Guard,
    Item,
    Revision,
    body_key,
    is_known,
    keyed_item_id,
    make_content,
    new_item,
    revisions_to_change,
)

NOW = "2026-03-14T12:00:00.000Z"
ITEM_ID = "0195d2f0-6c00-7a11-8b22-4c33d455e666"


def make_item(**changes: object) -> Item:
    item = new_item(ITEM_ID, "alice", NOW, make_content({"n": 1}), keyed=False)
    return structs.replace(item, **changes)


def test_order_and_number_of_members_decide_what_is_the_same() -> None:
    one = make_content({"a": 1, "b": {"c": 2, "d": [1, 2]}})
    same = make_content({"b": {"d": [1, 2], "c": 2}, "a": 1})
    other = make_content({"a": 1, "b": {"c": 2, "d": [2, 1]}})
    assert one.data_sha256 == same.data_sha256
    assert one.data_sha256 != other.data_sha256


def test_data_are_kept_as_they_came() -> None:
    content = make_content({"z": 1.0, "a": None, "text": "ü"})
    assert json.loads(content.text) == {"z": 1.0, "a": None, "text": "ü"}
    assert list(json.loads(content.text)) == ["z", "a", "text"]
    assert content.text.isascii()


@pytest.mark.parametrize("document", [[], "text", 3, None])
def test_only_an_object_can_be_an_item(document: object) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        make_content(document)
    assert caught.value.errors[0].pointer == ""


def test_expiry_is_read_in_any_offset_and_kept_in_utc() -> None:
    assert make_content({"expiresAt": "2026-03-15T01:00:00+01:00"}).expires_at == (
        "2026-03-15T00:00:00.000Z"
    )
    assert make_content({"expiresAt": None}).expires_at is None
    assert make_content({"n": 1}).expires_at is None


@pytest.mark.parametrize("value", ["soon", 17, "", {}, "2026-13-01", True])
def test_expiry_that_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        make_content({"expiresAt": value})
    assert caught.value.errors[0].pointer == "/expiresAt"


def test_data_go_to_s3_just_above_the_limit() -> None:
    frame = len('{"t":""}')
    fits = make_content({"t": "x" * (MAX_INLINE_BYTES - frame)})
    large = make_content({"t": "x" * (MAX_INLINE_BYTES - frame + 1)})
    assert body_key("alice", ITEM_ID, fits) is None
    assert body_key("alice", ITEM_ID, large) == (f"items/alice/{ITEM_ID}/{large.data_sha256}.json")


def test_etag_changes_with_version_and_with_data() -> None:
    item = make_item()
    assert item.etag != make_item(version=2).etag
    assert item.etag != make_item(data_sha256="0" * 64).etag
    assert item.etag != make_item(created_at="2026-03-14T12:00:00.999Z").etag


def test_if_match_finds_what_an_etag_says() -> None:
    item = make_item(version=7)
    revisions = revisions_to_change(item.etag)
    assert revisions == (Revision(7, item.created_at, item.data_sha256[:16]),)
    assert Guard("alice", revisions, NOW).allows(item)
    assert not Guard("alice", revisions, NOW).allows(make_item(version=8))
    for other in ({"data_sha256": "0" * 64}, {"created_at": "2026-03-14T12:00:00.999Z"}):
        assert not Guard("alice", revisions, NOW).allows(make_item(version=7, **other))


def test_if_match_takes_a_list_and_a_star() -> None:
    item = make_item()
    assert revisions_to_change(" * ") is None
    listed = revisions_to_change(f'"foreign,comma", W/{item.etag} ,{item.etag}')
    assert listed == (Revision(1, item.created_at, item.data_sha256[:16]),)


def test_a_weak_or_foreign_tag_allows_nothing() -> None:
    item = make_item()
    for header in (f"W/{item.etag}", '"foreign"', '""', '"0-0000000000000000"', '"1-"'):
        revisions = revisions_to_change(header)
        assert revisions == ()
        assert not Guard("alice", revisions, NOW).allows(item)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "1",
        '"open',
        '"a" "b"',
        '*, "a"',
        "w/" + '"a"',
        ",",
        ", ".join(['"a"'] * (MAX_ENTITY_TAGS + 1)),
    ],
)
def test_if_match_that_is_no_list_of_etags_is_refused(header: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        revisions_to_change(header)
    assert caught.value.errors[0].pointer == "/header/If-Match"


def test_as_many_etags_as_allowed_are_read() -> None:
    item = make_item()
    header = ", ".join(['"a"'] * (MAX_ENTITY_TAGS - 1) + [item.etag])
    assert revisions_to_change(header) == (Revision(1, item.created_at, item.data_sha256[:16]),)


def test_if_none_match_compares_weakly() -> None:
    item = make_item()
    assert is_known(item.etag, item)
    assert is_known(f'"other", W/{item.etag}', item)
    assert is_known("*", item)
    assert not is_known(make_item(version=2).etag, item)


def test_guard_sees_only_what_is_there_and_ones_own() -> None:
    item = make_item(expires_at="2026-03-14T12:00:00.001Z")
    assert Guard("alice", None, NOW).sees(item)
    assert Guard(None, None, NOW).sees(item)
    assert not Guard("bob", None, NOW).sees(item)
    assert not Guard("alice", None, "2026-03-14T12:00:00.001Z").sees(item)
    assert not Guard("alice", None, NOW).sees(None)


def test_a_key_stands_for_one_item_of_one_owner() -> None:
    assert keyed_item_id("alice", "k") == keyed_item_id("alice", "k")
    ids = {keyed_item_id(owner, key) for owner in ("alice", "bob") for key in ("k", "l")}
    assert len(ids) == 4


def test_the_api_shows_the_contracts_fields() -> None:
    assert make_item().to_dict() == {
        "itemId": ITEM_ID,
        "owner": "alice",
        "version": 1,
        "createdAt": NOW,
        "updatedAt": NOW,
        "expiresAt": None,
        "dataBytes": 7,
        "data": {"n": 1},
    }
