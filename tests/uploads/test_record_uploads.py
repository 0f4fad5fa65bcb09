"""From S3's notifications to records, on DynamoDB and SQS as moto has them."""

import copy
import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from msgspec.structs import replace

from chalicelib.aws.dynamodb import from_item
from chalicelib.aws.sqs import Queue
from chalicelib.uploads.model import ObjectRecord
from chalicelib.uploads.record import RecordDeps, record_uploads
from chalicelib.uploads.store import UploadStore
from tests.support.moto_aws import client

EVENTS = Path(__file__).parents[1] / "samples"
TABLE = "eventline-test-S3ObjectEvents"
NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
DAY = 86400
SHARDS = 4


def sample(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return event


def notification(*objects: dict[str, Any]) -> dict[str, Any]:
    """A notification with one record for each of `objects`."""
    model = sample("s3_two_objects_created")["Records"][1]
    records = []
    for changes in objects:
        record = copy.deepcopy(model)
        record["s3"]["object"] |= changes
        records.append(record)
    return {"Records": records}


class Platform:
    """The table, the dead-letter queue, and what the function works with."""

    def __init__(self) -> None:
        self.dynamodb = client("dynamodb")
        self.dynamodb.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "objectId", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "objectId", "KeyType": "HASH"}],
        )
        self._sqs = client("sqs")
        self._url = self._sqs.create_queue(QueueName="uploads-dlq")["QueueUrl"]
        self.deps = RecordDeps(
            store=UploadStore(self.dynamodb, TABLE, SHARDS),
            dead_letters=Queue(self._sqs, self._url),
            ttl_seconds=DAY,
            now=lambda: NOON,
        )

    def items(self) -> list[dict[str, Any]]:
        """The items of the table, by key."""
        items = self.dynamodb.scan(TableName=TABLE, ConsistentRead=True)["Items"]
        return sorted(map(from_item, items), key=lambda item: str(item["objectKey"]))

    def dead(self) -> list[tuple[Any, dict[str, str]]]:
        """The (body, attributes) of all dead letters; takes them."""
        answer = self._sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        return [
            (
                json.loads(message["Body"]),
                {
                    name: value["StringValue"]
                    for name, value in message["MessageAttributes"].items()
                },
            )
            for message in answer.get("Messages", [])
        ]


class Refusing:
    """DynamoDB that raises `error` for objects of a key that has "refused" in it."""

    def __init__(self, client: Any, error: Exception) -> None:
        self._client = client
        self._error = error

    def put_item(self, **arguments: Any) -> Any:
        if "refused" in arguments["Item"]["objectKey"]["S"]:
            raise self._error
        return self._client.put_item(**arguments)


class Unreachable:
    """SQS that cannot be reached."""

    def send_message(self, **_arguments: Any) -> Any:
        raise EndpointConnectionError(endpoint_url="https://sqs.us-east-1.amazonaws.com")


@pytest.fixture
def platform(moto: None) -> Platform:
    return Platform()


def throttled() -> ClientError:
    error = {"Code": "ProvisionedThroughputExceededException", "Message": "slow down"}
    return ClientError({"Error": error}, "PutItem")


def test_every_object_of_a_notification_is_recorded(platform: Platform) -> None:
    tally = record_uploads(sample("s3_two_objects_created"), platform.deps)

    assert tally.to_dict() == {"recorded": 2, "known": 0, "ignored": 0, "dead": 0}
    elsewhere, uploaded = platform.items()
    assert elsewhere["objectKey"] == "incoming/café ☕/日本.csv"
    assert elsewhere.keys().isdisjoint({"owner", "ownerShard", "versionId"})
    assert elsewhere["size"] == 7340032
    object_id, shard = uploaded["objectId"], uploaded["allShard"].removeprefix("all#")
    assert uploaded == {
        "objectId": object_id,
        "bucket": "eventline-dev-123456789012-uploads",
        "objectKey": "uploads/alice/019cebd1-8f15-7c3a-9a51-6c0b8f1d2e3f/Q1 report + 50%.pdf",
        "size": 51234,
        "etag": "d41d8cd98f00b204e9800998ecf8427e",
        "versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko",
        "sequencer": "0055AED6DCD90281E5",
        "sequence": "0055AED6DCD90281E5",
        "owner": "alice",
        "eventName": "ObjectCreated:Post",
        "eventTime": "2026-03-14T09:26:53.589Z",
        "timestamp": int(NOON.timestamp()),
        "ttl": int(NOON.timestamp()) + DAY,
        "listKey": f"2026-03-14T09:26:53.589Z#{object_id}",
        "ownerShard": f"alice#{shard}",
        "allShard": f"all#{shard}",
    }
    assert int(shard) in range(SHARDS)


def test_a_redelivery_changes_nothing(platform: Platform) -> None:
    record_uploads(sample("s3_two_objects_created"), platform.deps)
    before = platform.items()

    later = replace(platform.deps, now=lambda: NOON + timedelta(hours=1))
    tally = record_uploads(sample("s3_two_objects_created"), later)

    assert (tally.recorded, tally.known) == (0, 2)
    assert platform.items() == before
    assert platform.dead() == []


def test_one_notification_may_name_an_object_twice(platform: Platform) -> None:
    tally = record_uploads(notification({"key": "a"}, {"key": "a"}), platform.deps)

    assert (tally.recorded, tally.known) == (1, 1)
    assert len(platform.items()) == 1


def test_deliveries_at_once_make_one_record(platform: Platform) -> None:
    with ThreadPoolExecutor(8) as pool:
        tallies = list(
            pool.map(
                lambda _: record_uploads(sample("s3_two_objects_created"), platform.deps),
                range(8),
            )
        )

    assert sum(tally.recorded for tally in tallies) == 2
    assert len(platform.items()) == 2


def test_each_new_version_is_a_record_of_its_own(platform: Platform) -> None:
    record_uploads(notification({"key": "a", "versionId": "v1"}), platform.deps)
    record_uploads(notification({"key": "a", "versionId": "v2"}), platform.deps)
    record_uploads(notification({"key": "a", "sequencer": "0055AED6DCD90281F0"}), platform.deps)
    record_uploads(notification({"key": "a", "sequencer": "0055AED6DCD90281F1"}), platform.deps)

    assert len(platform.items()) == 4


@pytest.mark.parametrize("seed", range(6))
def test_the_latest_notification_of_a_version_stays_in_whatever_order_they_come(
    platform: Platform, seed: int
) -> None:
    # "00A" is "00A0" and so on when padded: later than "009F", before "00A01".
    sequencers = ["009F", "00A", "00a01", "00A1", "00B"]
    changes = [
        {"key": "a", "versionId": "v1", "sequencer": sequencer, "size": size}
        for size, sequencer in enumerate(sequencers)
    ]
    random.Random(seed).shuffle(changes)

    for change in changes:
        record_uploads(notification(change), platform.deps)

    (item,) = platform.items()
    assert (item["sequencer"], item["size"]) == ("00B", 4)


def test_an_equal_sequencer_written_longer_is_no_later_one(platform: Platform) -> None:
    record_uploads(notification({"versionId": "v1", "sequencer": "00A", "size": 1}), platform.deps)
    tally = record_uploads(
        notification({"versionId": "v1", "sequencer": "00a00", "size": 2}), platform.deps
    )

    assert tally.known == 1
    assert platform.items()[0]["size"] == 1


@pytest.mark.parametrize("name", ["s3_test_event", "s3_object_removed"])
def test_what_tells_of_no_creation_is_ignored(platform: Platform, name: str) -> None:
    tally = record_uploads(sample(name), platform.deps)

    assert tally.to_dict() == {"recorded": 0, "known": 0, "ignored": 1, "dead": 0}
    assert platform.items() == []
    assert platform.dead() == []


def test_a_malformed_record_is_set_aside_and_its_neighbours_are_recorded(
    platform: Platform,
) -> None:
    event = notification({"key": "first"}, {"key": "poison%ff"}, {"key": "last"})

    tally = record_uploads(event, platform.deps)

    assert (tally.recorded, tally.dead) == (2, 1)
    assert [item["objectKey"] for item in platform.items()] == ["first", "last"]
    ((body, attributes),) = platform.dead()
    assert body == event["Records"][1]
    assert attributes == {
        "reason": "the record is malformed: it holds an invalid time or text",
        "code": "malformed-record",
    }


@pytest.mark.parametrize("event", [{}, {"Records": None}, {"Records": {}}, {"detail": {"a": "ü"}}])
def test_a_notification_without_records_is_set_aside_whole(
    platform: Platform, event: dict[str, Any]
) -> None:
    assert record_uploads(event, platform.deps).dead == 1

    ((body, attributes),) = platform.dead()
    assert body == event
    assert attributes["code"] == "malformed-record"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (throttled, "ProvisionedThroughputExceededException"),
        (lambda: EndpointConnectionError(endpoint_url="https://db"), "EndpointConnectionError"),
    ],
)
def test_what_can_not_be_written_is_set_aside_with_the_code_of_aws(
    platform: Platform, error: Callable[[], Exception], code: str
) -> None:
    event = notification({"key": "first"}, {"key": "refused"}, {"key": "last"})
    store = UploadStore(Refusing(platform.dynamodb, error()), TABLE, SHARDS)

    tally = record_uploads(event, replace(platform.deps, store=store))

    assert (tally.recorded, tally.dead) == (2, 1)
    ((body, attributes),) = platform.dead()
    assert body == event["Records"][1]
    assert attributes == {"reason": "the record was not written", "code": code}


def test_a_dead_letter_can_be_tried_again(platform: Platform) -> None:
    event = notification({"key": "refused"})
    store = UploadStore(Refusing(platform.dynamodb, throttled()), TABLE, SHARDS)
    record_uploads(event, replace(platform.deps, store=store))
    ((body, _),) = platform.dead()

    tally = record_uploads({"Records": [body]}, platform.deps)

    assert tally.recorded == 1
    assert platform.items()[0]["objectKey"] == "refused"


def test_without_a_dead_letter_queue_the_neighbours_are_recorded_and_lambda_tries_again(
    platform: Platform,
) -> None:
    event = notification({"key": "first"}, {"key": "poison%ff"}, {"key": "last"})
    cut_off = replace(platform.deps, dead_letters=Queue(Unreachable(), "url"))

    with pytest.raises(EndpointConnectionError):
        record_uploads(event, cut_off)
    assert [item["objectKey"] for item in platform.items()] == ["first", "last"]

    tally = record_uploads(event, platform.deps)
    assert (tally.known, tally.dead) == (2, 1)


def test_every_item_can_be_read_as_the_record_it_was(platform: Platform) -> None:
    record_uploads(sample("s3_two_objects_created"), platform.deps)

    for item in platform.items():
        record = msgspec.convert(item, ObjectRecord)
        shown = {name: value for name, value in record.to_dict().items() if value is not None}
        assert shown.items() <= item.items()
        assert record.list_key == item["listKey"]
