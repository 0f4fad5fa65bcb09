"""Offering uploads and listing them: real forms, and DynamoDB as moto has it."""

import base64
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import boto3
import msgspec
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.errors import InvalidJsonError, InvalidRequestError
from chalicelib.core.ids import is_event_id
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.uploads.api import UploadDeps, list_uploads, offer_upload, post_upload
from chalicelib.uploads.model import ObjectRecord, UploadOrder, object_id, owner_of, upload_key
from chalicelib.uploads.store import UploadBucket, UploadStore
from chalicelib.web.callers import Caller
from chalicelib.web.request import PageQuery, Request
from tests.support.moto_aws import client

TABLE = "eventline-test-S3ObjectEvents"
BUCKET = "eventline-test-uploads"
NOON = datetime(2026, 3, 14, 12, 0, 0, 700_000, tzinfo=UTC)
SHARDS = 4
MOST = 1000
KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
ADMIN = Caller("root", frozenset({"admin"}), "t0")
ALICE = Caller("alice", frozenset({"uploads:read"}), "t1")
NO_STORE = UploadStore(None, TABLE, SHARDS)
UPLOAD = "019cebd1-8f15-7c3a-9a51-6c0b8f1d2e3f"


def make_call(body: object = None, **query: str) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request(ALICE, "request-1", {}, {name: [value] for name, value in query.items()}, raw)


def make_record(owner: str | None, number: int, ttl: int = 2**40) -> ObjectRecord:
    key = f"file-{number}" if owner is None else upload_key(owner, UPLOAD, f"file-{number}")
    at = (NOON + timedelta(milliseconds=number)).isoformat(timespec="milliseconds")
    return ObjectRecord(
        object_id=object_id(BUCKET, key, None, f"{number:018X}"),
        bucket=BUCKET,
        object_key=key,
        size=number,
        etag="e",
        version_id=None,
        sequencer=f"{number:018X}",
        owner=owner_of(key),
        event_name="ObjectCreated:Put",
        event_time=at.replace("+00:00", "Z"),
        timestamp=int(NOON.timestamp()),
        ttl=ttl,
    )


@cache
def s3(region: str = "us-east-1") -> Any:
    """A client as the platform makes it."""
    config = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    return boto3.client("s3", region_name=region, config=config, **KEYS)


class Counting:
    """DynamoDB, with the queries counted and the items they read."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.read: list[int] = []

    def put_item(self, **arguments: Any) -> Any:
        return self._client.put_item(**arguments)

    def query(self, **arguments: Any) -> Any:
        answer = self._client.query(**arguments)
        self.read.append(answer["ScannedCount"])
        return answer


class Platform:
    """The table with its two indexes."""

    def __init__(self) -> None:
        dynamodb = client("dynamodb")
        hashes = {"by-owner": "ownerShard", "by-time": "allShard"}
        names = ["objectId", "listKey", *hashes.values()]
        dynamodb.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
            KeySchema=[{"AttributeName": "objectId", "KeyType": "HASH"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": index,
                    "KeySchema": [
                        {"AttributeName": key, "KeyType": "HASH"},
                        {"AttributeName": "listKey", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "ALL"},
                }
                for index, key in hashes.items()
            ],
        )
        self.counting = Counting(dynamodb)
        self.store = UploadStore(self.counting, TABLE, SHARDS)
        self.deps = uploading(self.store)

    def page(
        self, caller: Caller, limit: int, below: str | None = None
    ) -> tuple[list[ObjectRecord], str | None]:
        return self.store.newest(caller.sees_only, limit, below, NOON)

    def all_pages(self, caller: Caller, limit: int) -> list[ObjectRecord]:
        """Every record, page after page, each cursor going through its text."""
        records, resume = self.page(caller, limit)
        while resume is not None:
            before = resume
            more, resume = self.page(caller, limit, decode_cursor(encode_cursor(resume)))
            assert resume is None or resume < before, "a cursor that leads nowhere"
            records += more
        return records


def uploading(records: UploadStore, region: str = "us-east-1") -> UploadDeps:
    return UploadDeps(
        bucket=UploadBucket(s3(region), BUCKET),
        records=records,
        url_seconds=900,
        max_bytes=MOST,
        now=lambda: NOON,
    )


def offered(body: object) -> Any:
    """What `POST /uploads` answers to that body."""
    return json.loads(post_upload(make_call(body), uploading(NO_STORE)).body)


@pytest.fixture
def platform(moto: None) -> Platform:
    return Platform()


@pytest.fixture
def offering() -> UploadDeps:
    """Signing makes no call, so there is nothing behind it."""
    return uploading(NO_STORE)


def policy_of(fields: dict[str, str]) -> dict[str, Any]:
    policy: dict[str, Any] = json.loads(base64.b64decode(fields["policy"]))
    return policy


def test_an_offer_is_a_form_for_one_key_type_and_size(offering: UploadDeps) -> None:
    offer = offer_upload(UploadOrder("Q1 ☕ + 50%.pdf", "application/pdf", 77), "alice", offering)

    shown = msgspec.to_builtins(offer)
    key = f"uploads/alice/{shown['uploadId']}/Q1 ☕ + 50%.pdf"
    assert is_event_id(shown["uploadId"])
    assert shown == {
        "uploadId": shown["uploadId"],
        "bucket": BUCKET,
        "objectKey": key,
        "method": "POST",
        "url": f"https://{BUCKET}.s3.amazonaws.com/",
        "fields": shown["fields"],
        "contentType": "application/pdf",
        "maxBytes": 77,
        "expiresAt": "2026-03-14T12:15:00.000Z",
    }
    assert shown["fields"].keys() == {"key", "Content-Type", "policy"} | {
        f"x-amz-{name}" for name in ("algorithm", "credential", "date", "signature")
    }
    assert (shown["fields"]["key"], shown["fields"]["Content-Type"]) == (key, "application/pdf")
    conditions = policy_of(shown["fields"])["conditions"]
    for condition in (
        {"bucket": BUCKET},
        {"key": key},
        {"Content-Type": "application/pdf"},
        ["content-length-range", 1, 77],
    ):
        assert condition in conditions
    assert not any("starts-with" in condition for condition in conditions)


def test_a_form_ends_no_sooner_than_the_offer_says(offering: UploadDeps) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    offer = offer_upload(UploadOrder("a", "text/plain", 1), "alice", offering)

    ends = datetime.fromisoformat(policy_of(dict(offer.fields))["expiration"])
    assert ends - before >= timedelta(seconds=900)
    assert ends - datetime.now(UTC) <= timedelta(seconds=900)


def test_no_two_offers_share_a_key(offering: UploadDeps) -> None:
    order = UploadOrder("same.txt", "text/plain", 1)

    offers = [offer_upload(order, "alice", offering) for _ in range(50)]

    assert len({offer.object_key for offer in offers}) == 50


def test_a_form_is_sent_to_the_buckets_own_region() -> None:
    deps = uploading(NO_STORE, "eu-west-1")

    offer = offer_upload(UploadOrder("a", "text/plain", 1), "alice", deps)

    assert offer.url == f"https://{BUCKET}.s3.eu-west-1.amazonaws.com/"


def test_an_owner_lists_its_own_newest_first(platform: Platform) -> None:
    mine = [make_record("alice", number) for number in range(25)]
    others = [make_record("bob", number) for number in range(25)]
    nobodys = [make_record(None, number) for number in range(5)]
    for record in mine + others + nobodys:
        platform.store.add(record)

    for limit in (1, 7, 25, 100):
        assert platform.all_pages(ALICE, limit) == mine[::-1]


def test_an_admin_lists_everybodys_and_what_has_no_owner(platform: Platform) -> None:
    records = [make_record((None, "alice", "bob")[number % 3], number) for number in range(30)]
    for record in records:
        platform.store.add(record)

    assert platform.all_pages(ADMIN, 7) == records[::-1]
    assert [record.owner for record in platform.page(ADMIN, 3)[0]] == ["bob", "alice", None]


def test_an_owner_whose_name_begins_like_anothers_sees_nothing_of_it(platform: Platform) -> None:
    platform.store.add(make_record("alice", 1))

    assert platform.page(Caller("ali", ALICE.scopes, "t2"), 10) == ([], None)
    assert platform.page(Caller("all", ALICE.scopes, "t2"), 10) == ([], None)


@pytest.mark.parametrize("caller", [ALICE, ADMIN])
def test_a_page_costs_the_same_however_many_records_there_are(
    platform: Platform, caller: Caller
) -> None:
    for number in range(120):
        platform.store.add(make_record("alice", number))

    _, resume = platform.page(caller, 5)
    platform.page(caller, 5, resume)

    assert len(platform.counting.read) == 2 * SHARDS
    assert max(platform.counting.read) <= 5


def test_an_expired_record_is_not_shown_though_it_is_still_there(platform: Platform) -> None:
    now = int(NOON.timestamp())
    for number, ttl in enumerate((now - 1, now, now + 1)):
        platform.store.add(make_record("alice", number, ttl))

    assert [record.size for record in platform.page(ALICE, 10)[0]] == [2]


def test_an_order_needs_only_a_file_name() -> None:
    offer = offered({"filename": "日本.txt"})

    assert (offer["contentType"], offer["maxBytes"]) == ("application/octet-stream", MOST)
    assert offer["objectKey"].endswith("/日本.txt")


def test_an_order_may_set_type_and_size() -> None:
    body = {"filename": "a", "contentType": "image/png", "maxBytes": 1}

    offer = offered(body)
    assert (offer["contentType"], offer["maxBytes"]) == ("image/png", 1)


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ([], [""]),
        ("a", [""]),
        ({}, ["/filename"]),
        ({"filename": None}, ["/filename"]),
        ({"filename": "a\u0000"}, ["/filename"]),
        ({"filename": "a", "contentType": "nonsense"}, ["/contentType"]),
        ({"filename": "a", "contentType": None}, ["/contentType"]),
        ({"filename": "a", "maxBytes": 0}, ["/maxBytes"]),
        ({"filename": "a", "maxBytes": -1}, ["/maxBytes"]),
        ({"filename": "a", "maxBytes": MOST + 1}, ["/maxBytes"]),
        ({"filename": "a", "maxBytes": True}, ["/maxBytes"]),
        ({"filename": "a", "maxBytes": 1.5}, ["/maxBytes"]),
        ({"filename": "a", "maxBytes": "7"}, ["/maxBytes"]),
        ({"filename": "a", "key": "uploads/bob/x"}, ["/key"]),
        ({"maxBytes": 0, "contentType": 7}, ["/filename", "/contentType", "/maxBytes"]),
    ],
)
def test_each_fault_of_an_order_is_named(body: object, pointers: list[str]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        offered(body)
    assert [fault.pointer for fault in caught.value.errors] == pointers


def test_an_order_that_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidJsonError):
        offered(b"filename=a")


def test_a_page_is_asked_for_by_limit_and_cursor() -> None:
    list_key = make_record("alice", 1).list_key

    assert make_call().page() == PageQuery(50, None, {})
    call = make_call(limit="7", cursor=encode_cursor(list_key))
    assert call.page() == PageQuery(7, list_key, {})


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"limit": "0"}, "/query/limit"),
        ({"limit": "101"}, "/query/limit"),
        ({"cursor": "x"}, "/query/cursor"),
        ({"owner": "bob"}, "/query/owner"),
    ],
)
def test_a_query_that_can_not_be_is_refused(query: dict[str, str], pointer: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        list_uploads(make_call(**query), uploading(NO_STORE))
    assert [fault.pointer for fault in caught.value.errors] == [pointer]


@given(st.text(min_size=1, max_size=60))
def test_whatever_name_is_accepted_the_forms_key_is_under_the_owners_prefix(name: str) -> None:
    try:
        offered({"filename": name})
    except InvalidRequestError:
        return
    deps = uploading(NO_STORE)

    offer = offer_upload(UploadOrder(name, "text/plain", 1), "alice", deps)

    assert {"key": offer.object_key} in policy_of(dict(offer.fields))["conditions"]
    assert offer.object_key.startswith(f"uploads/alice/{offer.upload_id}/")
    assert "${" not in offer.object_key
    assert len(offer.object_key.encode()) <= 1024
