"""Items as a client sees them, against DynamoDB and S3 in process."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec import structs

from chalicelib.aws.dynamodb import ShardedIndex
from chalicelib.core import clock
from chalicelib.core.errors import (
    ConflictError,
    EventlineError,
    ForbiddenError,
    IdempotencyConflictError,
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    PreconditionFailedError,
    PreconditionRequiredError,
    UnavailableError,
    UnsupportedMediaTypeError,
)
from chalicelib.items import api, manage
from chalicelib.items.manage import (
    Created,
    ItemDeps,
    create_item,
    delete_item,
    list_items,
    read_item,
    replace_item,
)
from chalicelib.items.model import MAX_ITEM_BYTES, Item, make_content, revisions_to_change
from chalicelib.items.store import ItemBodies, ItemStore
from chalicelib.web.callers import Caller
from chalicelib.web.request import PageQuery, Request
from tests.support.factories import make_id, no_schema
from tests.support.moto_aws import client

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
TABLE, BUCKET, SHARDS = "items", "bronze", 4
ALICE = Caller("alice", frozenset({"items:write", "items:read"}), "t1")
BOB = Caller("bob", frozenset({"items:write", "items:read"}), "t2")
ADMIN = Caller("root", frozenset({"admin"}), "t3")
NO_DEPS: Any = None
LARGE = {"text": "x" * 100_000}


class Clock:
    """A clock that moves a millisecond at every look."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        self.now += clock.MILLISECOND
        return self.now


class Aws:
    """Clients in process. `calls` lists the API calls; `once` does something before the next call
    of an operation."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._before: dict[str, Any] = {}
        self.dynamodb = client("dynamodb")
        self.s3 = client("s3")

    @contextmanager
    def watched(self) -> Iterator[None]:
        """See the clients' calls."""
        emitters = [client(service).meta.events for service in ("dynamodb", "s3")]
        for events in emitters:
            events.register("before-call", self._begin)
        yield
        for events in emitters:
            events.unregister("before-call", self._begin)

    def once(self, operation: str, act: Any) -> None:
        self._before[operation] = act

    def _begin(self, model: Any, **_: Any) -> None:
        self.calls.append(model.name)
        if act := self._before.pop(model.name, None):
            act()


@pytest.fixture(name="aws")
def start_aws(moto: None) -> Iterator[Aws]:
    aws = Aws()
    with aws.watched():
        aws.s3.create_bucket(Bucket=BUCKET)
        names = ("pk", "ownerShard", "listKey")
        aws.dynamodb.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "by-owner",
                    "KeySchema": [
                        {"AttributeName": "ownerShard", "KeyType": "HASH"},
                        {"AttributeName": "listKey", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        )
        aws.calls.clear()
        yield aws


@pytest.fixture(name="deps")
def make_using(aws: Aws) -> ItemDeps:
    return ItemDeps(
        items=ItemStore(aws.dynamodb, TABLE, SHARDS),
        bodies=ItemBodies(aws.s3, BUCKET),
        index=ShardedIndex(aws.dynamodb, TABLE, SHARDS),
        check_schema=no_schema,
        now=Clock(),
    )


def create(
    deps: ItemDeps, data: dict[str, Any], owner: str = "alice", key: str | None = None
) -> Created:
    return create_item(owner, make_content(data), key, deps)


def change(deps: ItemDeps, item: Item, data: dict[str, Any], caller: Caller = ALICE) -> Item:
    revisions = revisions_to_change(item.etag)
    return replace_item(item.item_id, make_content(data), revisions, caller, deps)


def make_call(
    body: Any = b"",
    caller: Caller = ALICE,
    query: dict[str, list[str]] | None = None,
    headers: dict[str, str] | None = None,
) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request(caller, "r1", headers or {}, query or {}, raw)


def stored(aws: Aws, item: Item) -> dict[str, Any]:
    answer = aws.dynamodb.get_item(TableName=TABLE, Key={"pk": {"S": f"ITEM#{item.item_id}"}})
    raw: dict[str, Any] = answer["Item"]
    return raw


def test_an_item_is_made_in_one_call_and_read_back(aws: Aws, deps: ItemDeps) -> None:
    data = {"name": "lamp", "price": 1.5, "nothing": None, "nested": {"list": [1, [2]]}}
    made = create(deps, data)
    assert aws.calls == ["PutItem"]
    assert not made.replayed
    assert made.item.version == 1
    assert made.item.created_at == made.item.updated_at == "2026-03-14T12:00:00.001Z"
    assert read_item(made.item.item_id, ALICE, deps) == made.item
    assert made.item.to_dict()["data"] == data


def test_a_change_is_one_conditional_call_and_one_version_up(aws: Aws, deps: ItemDeps) -> None:
    item = create(deps, {"n": 1}).item
    aws.calls.clear()
    changed = change(deps, item, {"n": 2})
    assert aws.calls == ["UpdateItem"]
    assert (changed.version, changed.data) == (2, {"n": 2})
    assert changed.created_at == item.created_at < changed.updated_at
    assert read_item(item.item_id, ALICE, deps) == changed


def test_a_stale_etag_changes_and_removes_nothing(deps: ItemDeps) -> None:
    item = create(deps, {"n": 1}).item
    changed = change(deps, item, {"n": 2})
    with pytest.raises(PreconditionFailedError):
        change(deps, item, {"n": 3})
    with pytest.raises(PreconditionFailedError):
        delete_item(item.item_id, revisions_to_change(item.etag), ALICE, deps)
    with pytest.raises(PreconditionFailedError):
        delete_item(item.item_id, revisions_to_change('"foreign"'), ALICE, deps)
    assert read_item(item.item_id, ALICE, deps) == changed


def test_a_star_changes_whatever_there_is(deps: ItemDeps) -> None:
    item = create(deps, {"n": 1}).item
    any_state = revisions_to_change("*")
    for number in (2, 3):
        content = make_content({"n": number})
        replace_item(item.item_id, content, any_state, ALICE, deps)
    assert read_item(item.item_id, ALICE, deps).version == 3
    delete_item(item.item_id, any_state, ALICE, deps)
    with pytest.raises(NotFoundError):
        replace_item(item.item_id, make_content({}), any_state, ALICE, deps)


@pytest.mark.parametrize("if_match", ["*", "{now}"])
@pytest.mark.parametrize("if_none_match", ["*", "{now}", 'W/{now}, "foreign"'])
def test_a_change_is_refused_in_a_state_that_if_none_match_names(
    deps: ItemDeps, if_match: str, if_none_match: str
) -> None:
    # Given a request that wants an item to be there, and not to be there or not in its state
    item = create(deps, {"n": 1}).item
    conditions = {"if-match": if_match, "if-none-match": if_none_match}
    headers = {name: value.format(now=item.etag) for name, value in conditions.items()}
    # When it is to change or remove the item, then it does not
    with pytest.raises(PreconditionFailedError):
        api.put_item(make_call({"n": 2}, headers=headers), item.item_id, deps)
    with pytest.raises(PreconditionFailedError):
        api.delete_item(make_call(headers=headers), item.item_id, deps)
    assert read_item(item.item_id, ALICE, deps) == item


@pytest.mark.parametrize("if_match", ["*", "{now}"])
def test_a_change_is_made_in_a_state_that_if_none_match_does_not_name(
    aws: Aws, deps: ItemDeps, if_match: str
) -> None:
    # Given an item in its second state, and a request that is not for the first
    first = create(deps, {"n": 1}).item
    item = change(deps, first, {"n": 2})
    headers = {"if-match": if_match.format(now=item.etag), "if-none-match": first.etag}
    # When it changes the item, then it does
    api.put_item(make_call({"n": 3}, headers=headers), item.item_id, deps)
    assert read_item(item.item_id, ALICE, deps).data == {"n": 3}
    # And not if the item changes after it was looked at
    headers["if-match"] = "*"
    latest = read_item(item.item_id, ALICE, deps)
    aws.once("UpdateItem", lambda: change(deps, latest, {"n": 4}))
    with pytest.raises(PreconditionFailedError):
        api.put_item(make_call({"n": 5}, headers=headers), item.item_id, deps)
    assert read_item(item.item_id, ALICE, deps).data == {"n": 4}


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"if-match": "*", "if-none-match": "*"}, NotFoundError),
        ({"if-match": "*", "if-none-match": "no tag"}, InvalidRequestError),
        ({"if-none-match": "*"}, PreconditionRequiredError),
    ],
)
def test_if_none_match_hides_no_other_fault(
    deps: ItemDeps, headers: dict[str, str], error: type[EventlineError]
) -> None:
    item = create(deps, {"n": 1}).item
    item_id = make_id() if error is NotFoundError else item.item_id
    with pytest.raises(error):
        api.put_item(make_call({"n": 2}, headers=headers), item_id, deps)
    assert read_item(item.item_id, ALICE, deps) == item


@pytest.mark.parametrize("header", ['"foreign"', '"0-0000000000000000"', 'W/"1-0"'])
def test_an_etag_that_is_not_ours_matches_nothing(deps: ItemDeps, header: str) -> None:
    item = create(deps, {"n": 1}).item
    revisions = revisions_to_change(header)
    with pytest.raises(PreconditionFailedError):
        replace_item(item.item_id, make_content({}), revisions, ALICE, deps)
    with pytest.raises(PreconditionFailedError):
        delete_item(item.item_id, revisions, ALICE, deps)
    assert read_item(item.item_id, ALICE, deps) == item


def test_any_etag_of_a_list_will_do(deps: ItemDeps) -> None:
    item = create(deps, {"n": 1}).item
    changed = change(deps, item, {"n": 2})
    either = revisions_to_change(f'{item.etag}, "foreign", {changed.etag}')
    content = make_content({"n": 3})
    assert replace_item(item.item_id, content, either, ALICE, deps).version == 3
    with pytest.raises(PreconditionFailedError):
        replace_item(item.item_id, content, either, ALICE, deps)


def test_of_concurrent_changes_one_wins(deps: ItemDeps) -> None:
    item = create(deps, {"n": 0}).item
    start = threading.Barrier(8)

    def attempt(number: int) -> bool:
        start.wait()
        try:
            change(deps, item, {"n": number})
        except PreconditionFailedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        wins = list(pool.map(attempt, range(1, 9)))
    assert wins.count(True) == 1
    kept = read_item(item.item_id, ALICE, deps)
    assert (kept.version, kept.data) == (2, {"n": wins.index(True) + 1})


def test_an_item_is_removed_and_then_gone(aws: Aws, deps: ItemDeps) -> None:
    item = create(deps, {"n": 1}).item
    aws.calls.clear()
    delete_item(item.item_id, revisions_to_change(item.etag), ALICE, deps)
    assert aws.calls == ["UpdateItem"]
    for again in (
        lambda: read_item(item.item_id, ALICE, deps),
        lambda: change(deps, item, {"n": 2}),
        lambda: delete_item(item.item_id, None, ALICE, deps),
    ):
        with pytest.raises(NotFoundError):
            again()


@pytest.mark.parametrize("data", [{"n": 1}, LARGE], ids=["small", "large"])
def test_anothers_item_looks_as_if_it_were_not_there(deps: ItemDeps, data: dict[str, Any]) -> None:
    item = create(deps, data).item
    revisions = revisions_to_change(item.etag)
    with pytest.raises(NotFoundError):
        read_item(item.item_id, BOB, deps)
    for wanted in (revisions, None, revisions_to_change('"1-0000000000000000"')):
        with pytest.raises(NotFoundError):
            replace_item(item.item_id, make_content(data), wanted, BOB, deps)
        with pytest.raises(NotFoundError):
            delete_item(item.item_id, wanted, BOB, deps)
    assert read_item(item.item_id, ADMIN, deps) == item
    assert change(deps, item, {**data, "by": "admin"}, ADMIN).owner == "alice"


@pytest.mark.parametrize("item_id", ["x", "../a", "", "0195D2F0-6C00-7A11-8B22-4C33D455E666"])
def test_what_is_no_id_is_not_found_without_a_call(aws: Aws, deps: ItemDeps, item_id: str) -> None:
    with pytest.raises(NotFoundError):
        read_item(item_id, ALICE, deps)
    with pytest.raises(NotFoundError):
        delete_item(item_id, None, ALICE, deps)
    assert aws.calls == []


def test_large_data_live_in_s3_and_come_back_whole(aws: Aws, deps: ItemDeps) -> None:
    item = create(deps, LARGE).item
    assert aws.calls == ["PutObject", "PutItem"]
    assert "data" not in stored(aws, item)
    assert item.body_key == f"items/alice/{item.item_id}/{item.data_sha256}.json"
    assert read_item(item.item_id, ALICE, deps) == item
    aws.calls.clear()
    larger = change(deps, item, {**LARGE, "n": 1})
    assert aws.calls == ["GetItem", "PutObject", "UpdateItem"]
    assert read_item(item.item_id, ALICE, deps).data == {**LARGE, "n": 1}
    small = change(deps, larger, {"n": 2})
    assert "bodyKey" not in stored(aws, small)
    assert read_item(item.item_id, ALICE, deps).data == {"n": 2}


def test_large_data_that_can_not_be_written_make_no_item(aws: Aws, deps: ItemDeps) -> None:
    def refuse() -> None:
        raise ClientError({"Error": {"Code": "SlowDown"}}, "PutObject")

    aws.once("PutObject", refuse)
    with pytest.raises(ClientError):
        create(deps, LARGE)
    assert "PutItem" not in aws.calls


def test_a_stale_change_with_large_data_writes_no_object(aws: Aws, deps: ItemDeps) -> None:
    item = create(deps, {"n": 1}).item
    change(deps, item, {"n": 2})
    aws.calls.clear()
    with pytest.raises(PreconditionFailedError):
        change(deps, item, LARGE)
    assert aws.calls == ["GetItem"]


def test_data_that_are_gone_from_s3_are_told_as_unavailable(aws: Aws, deps: ItemDeps) -> None:
    item = create(deps, LARGE).item
    aws.s3.delete_object(Bucket=BUCKET, Key=item.body_key)
    with pytest.raises(UnavailableError):
        read_item(item.item_id, ALICE, deps)


def test_a_key_gives_the_first_answer_again(deps: ItemDeps) -> None:
    first = create(deps, {"n": 1, "m": 2}, key="k")
    change(deps, first.item, {"n": 5})
    again = create(deps, {"m": 2, "n": 1}, key="k")
    assert again.replayed
    assert again.item == first.item
    assert read_item(first.item.item_id, ALICE, deps).data == {"n": 5}


def test_a_key_with_other_data_is_refused(deps: ItemDeps) -> None:
    first = create(deps, {"n": 1}, key="k")
    with pytest.raises(IdempotencyConflictError):
        create(deps, {"n": 2}, key="k")
    with pytest.raises(IdempotencyConflictError):
        create(deps, LARGE, key="k")
    assert read_item(first.item.item_id, ALICE, deps) == first.item


def test_a_key_is_its_owners(deps: ItemDeps) -> None:
    ids = {create(deps, {"n": 1}, owner=owner, key="k").item.item_id for owner in ("alice", "bob")}
    assert len(ids) == 2


def test_a_key_sent_at_once_makes_one_item(deps: ItemDeps) -> None:
    start = threading.Barrier(8)

    def attempt(_: int) -> Created:
        start.wait()
        return create(deps, {"n": 1}, key="k")

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(attempt, range(8)))
    assert [one.replayed for one in made].count(False) == 1
    assert all(one.item == made[0].item for one in made)


def test_an_expired_item_is_gone_for_its_key_too(aws: Aws, deps: ItemDeps) -> None:
    # Given an expired item that DynamoDB has not removed
    data = {"expiresAt": "2026-03-14T12:00:00.500Z"}
    first = create(deps, data, key="k").item
    late = structs.replace(deps, now=lambda: NOON + timedelta(seconds=1))
    # When its key comes with the same data, which are over by now, or with others
    for key in ("k", "other", None):
        with pytest.raises(InvalidRequestError):
            create(late, data, key=key)
    made = create(late, {"n": 1}, key="k")
    # Then it makes a new item, which no ETag of the old one changes
    assert (made.replayed, made.item.item_id) == (False, first.item_id)
    assert read_item(first.item_id, ALICE, late) == made.item
    assert "ttl" not in stored(aws, made.item)
    with pytest.raises(PreconditionFailedError):
        change(late, first, {"n": 2})
    assert create(late, {"n": 1}, key="k") == Created(made.item, replayed=True)


def test_the_expiry_that_a_change_set_ends_the_key(deps: ItemDeps) -> None:
    first = create(deps, {"n": 1}, key="k").item
    change(deps, first, {"n": 1, "expiresAt": "2026-03-14T12:00:00.500Z"})
    late = structs.replace(deps, now=lambda: NOON + timedelta(seconds=1))
    again = create(late, {"n": 1}, key="k")
    assert (again.replayed, again.item.etag == first.etag) == (False, False)


@pytest.mark.parametrize("data", [{"n": 1}, {"n": 2}])
def test_a_late_create_does_not_bring_a_deleted_item_back(
    aws: Aws, deps: ItemDeps, data: dict[str, Any]
) -> None:
    # Given an item that was made under a key, and deleted
    item = create(deps, {"n": 1}, key="k").item
    delete_item(item.item_id, None, ALICE, deps)
    # When the create comes again
    with pytest.raises(ConflictError):
        create(deps, data, key="k")
    # Then nothing is there
    with pytest.raises(NotFoundError):
        read_item(item.item_id, ALICE, deps)
    with pytest.raises(NotFoundError):
        change(deps, item, {"n": 3})
    assert list_items("alice", 10, None, deps) == ([], None)
    assert set(stored(aws, item)) == {
        *("pk", "itemId", "owner", "firstSha256", "tombstoneAt", "ttl"),
    }
    # And when the tombstone's time is over, the key makes another item, still there or not
    later = structs.replace(deps, now=lambda: NOON + timedelta(days=31))
    made = create(later, data, key="k").item
    assert read_item(item.item_id, ALICE, later) == made
    with pytest.raises(PreconditionFailedError):
        change(later, item, {"n": 3})


def test_an_item_past_its_time_is_gone_before_dynamodb_removes_it(aws: Aws, deps: ItemDeps) -> None:
    item = create(deps, {"expiresAt": "2026-03-14T12:00:10Z"}).item
    assert stored(aws, item)["ttl"] == {"N": str(int(NOON.timestamp()) + 10)}
    late = structs.replace(deps, now=lambda: NOON + timedelta(seconds=10))
    with pytest.raises(NotFoundError):
        read_item(item.item_id, ALICE, late)
    with pytest.raises(NotFoundError):
        change(late, item, {"n": 1})
    with pytest.raises(NotFoundError):
        delete_item(item.item_id, None, ALICE, late)
    assert list_items("alice", 10, None, late) == ([], None)
    assert "ttl" in stored(aws, item)


def test_a_change_sets_and_lifts_the_expiry(aws: Aws, deps: ItemDeps) -> None:
    item = create(deps, {"n": 1}).item
    timed = change(deps, item, {"expiresAt": "2027-01-01"})
    assert stored(aws, item)["ttl"] == {"N": "1798761600"}
    change(deps, timed, {"n": 1})
    assert stored(aws, item).keys().isdisjoint({"ttl", "expiresAt"})
    with pytest.raises(InvalidRequestError):
        change(deps, timed, {"expiresAt": "2026-03-14T11:00:00Z"})


def test_a_list_is_newest_first_page_by_page_and_ones_own(aws: Aws, deps: ItemDeps) -> None:
    made = [create(deps, {"n": number}).item for number in range(7)]
    create(deps, {"n": "foreign"}, owner="bob")
    seen: list[Item] = []
    below = None
    pages = 0
    while pages == 0 or below:
        aws.calls.clear()
        shown, below = list_items("alice", 3, below, deps)
        assert sorted(aws.calls) == ["BatchGetItem", *["Query"] * SHARDS]
        seen += shown
        pages += 1
    assert seen == made[::-1]
    assert pages == 3


def test_a_list_leaves_large_data_out(deps: ItemDeps) -> None:
    large = create(deps, LARGE).item
    (shown,), _ = list_items("alice", 10, None, deps)
    assert shown == structs.replace(large, data=None)


def test_a_page_of_bulky_items_ends_early_and_goes_on(
    deps: ItemDeps, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [create(deps, {"t": "x" * 1000, "n": number}).item for number in range(5)]
    monkeypatch.setattr(manage, "PAGE_BYTES", 2500)
    first, below = list_items("alice", 10, None, deps)
    second, below = list_items("alice", 10, below, deps)
    third, below = list_items("alice", 10, below, deps)
    assert [len(page) for page in (first, second, third)] == [2, 2, 1]
    assert [*first, *second, *third] == made[::-1]
    assert below is None


def test_an_unanswered_change_that_was_made_is_no_conflict(aws: Aws, deps: ItemDeps) -> None:
    item = create(deps, {"n": 1}).item
    fixed = structs.replace(deps, now=lambda: NOON + timedelta(seconds=1))
    # What the SDK does after a time-out: the first try took effect, the second meets it.
    first = change(fixed, item, {"n": 2})
    assert change(fixed, item, {"n": 2}) == first
    with pytest.raises(PreconditionFailedError):
        change(fixed, item, {"n": 3})


def test_what_was_put_by_hand_is_no_item_of_the_api(aws: Aws, deps: ItemDeps) -> None:
    item = create(deps, {"n": 1}).item
    aws.dynamodb.put_item(
        TableName=TABLE,
        Item={"pk": {"S": f"ITEM#{item.item_id}"}, "owner": {"S": "alice"}, "price": {"N": "1.5"}},
    )
    with pytest.raises(NotFoundError):
        read_item(item.item_id, ALICE, deps)
    with pytest.raises(NotFoundError):
        replace_item(item.item_id, make_content({}), None, ALICE, deps)
    assert list_items("alice", 10, None, deps) == ([], None)


def test_a_request_for_an_item_is_decoded() -> None:
    sent = make_call(
        {"n": 1},
        headers={"idempotency-key": "k", "content-type": "application/json; charset=utf-8"},
    )
    assert (api._read_content(sent).data, sent.idempotency_key) == ({"n": 1}, "k")
    change = make_call({"n": 2}, headers={"if-match": "*"})
    assert (api._read_content(change).data, api._read_if_match(change)) == ({"n": 2}, None)


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        (b"{", {}, InvalidRequestError),
        (b"[]", {}, InvalidRequestError),
        (b'{"a":1,"a":2}', {}, InvalidRequestError),
        (b"{}", {"content-type": "text/plain"}, UnsupportedMediaTypeError),
        (b"{}", {"idempotency-key": ""}, InvalidRequestError),
        (b"{}", {"idempotency-key": "k" * 256}, InvalidRequestError),
        (b"{}", {"idempotency-key": "k\x00"}, InvalidRequestError),
        (b'{"t":"' + b"x" * MAX_ITEM_BYTES + b'"}', {}, PayloadTooLargeError),
    ],
)
def test_a_bad_request_is_refused(
    body: bytes, headers: dict[str, str], error: type[EventlineError]
) -> None:
    with pytest.raises(error):
        api.post_item(make_call(body, headers=headers), NO_DEPS)


def test_the_largest_body_is_taken() -> None:
    body = b'{"t":"' + b"x" * (MAX_ITEM_BYTES - 8) + b'"}'
    assert len(body) == MAX_ITEM_BYTES
    assert api._read_content(make_call(body)).is_large


def test_a_change_without_if_match_is_refused() -> None:
    with pytest.raises(PreconditionRequiredError):
        api.put_item(make_call({"n": 1}), "an-id", NO_DEPS)
    with pytest.raises(PreconditionRequiredError):
        api.delete_item(make_call(), "an-id", NO_DEPS)


def test_only_an_admin_lists_what_another_has() -> None:
    assert make_call().owned_page() == ("alice", PageQuery(50, None, {}))
    wanted = {"owner": ["bob"], "limit": ["7"]}
    owner, page = make_call(caller=ADMIN, query=wanted).owned_page()
    assert (owner, page.limit, page.below) == ("bob", 7, None)
    with pytest.raises(ForbiddenError):
        make_call(query=wanted).owned_page()
    with pytest.raises(InvalidRequestError):
        make_call(caller=ADMIN, query={"owner": ["a b"]}).owned_page()
