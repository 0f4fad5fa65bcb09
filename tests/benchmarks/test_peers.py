"""The peers do what the yardstick says that they do, with the calls that it says."""

import importlib
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from benchmarks import sides
from benchmarks.driver import api_event
from tests.conftest import ACCOUNT, REGION
from tests.support.moto_aws import client

BUS = "peer"
PEERS = "benchmarks.peers"
ENVIRON = {
    "BRONZE_BUCKET": "bronze",
    "SILVER_BUCKET": "silver",
    "EVENTS_TABLE": "events",
    "IDEMPOTENCY_TABLE": "idempotency",
    "EVENTS_QUEUE_URL": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/events",
    "EVENT_BUS": BUS,
    "AWS_LAMBDA_FUNCTION_NAME": "peer",
}


class World:
    """A peer's resources in moto, and the calls that its functions make."""

    def __init__(self) -> None:
        self.s3, self.sqs, self.dynamodb = map(client, ("s3", "sqs", "dynamodb"))
        for name in ("bronze", "silver"):
            self.s3.create_bucket(Bucket=name)
        for table, key in (("events", "eventId"), ("idempotency", "id")):
            self.dynamodb.create_table(
                TableName=table,
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
                KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
                BillingMode="PAY_PER_REQUEST",
            )
        self.queue = self.sqs.create_queue(QueueName="events")["QueueUrl"]
        client("events").create_event_bus(Name=BUS)

    def messages(self) -> list[dict[str, Any]]:
        """What is in the queue, as records of a Lambda SQS event."""
        found = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10)
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": {},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
            }
            for message in found.get("Messages", [])
        ]

    def status(self, event_id: str) -> str:
        key = {"eventId": {"S": event_id}}
        status: str = self.dynamodb.get_item(TableName="events", Key=key)["Item"]["status"]["S"]
        return status

    def keys(self, bucket: str) -> list[str]:
        found = self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])
        return [entry["Key"] for entry in found]


CONTEXT = SimpleNamespace(
    function_name="peer",
    function_version="1",
    invoked_function_arn="arn:aws:lambda:us-east-1:000000000000:function:peer",
    aws_request_id="1",
    get_remaining_time_in_millis=lambda: 10_000,
)


@dataclass(frozen=True)
class Peers:
    """Both peers as a cold start loads them, and the calls that their clients make."""

    plain: ModuleType
    powertools: ModuleType
    calls: Counter[str]


@pytest.fixture(scope="module")
def peers(moto_on: None) -> Iterator[Peers]:
    with pytest.MonkeyPatch.context() as environ:
        for name, value in ENVIRON.items():
            environ.setenv(name, value)
        plain, powertools = map(importlib.import_module, (f"{PEERS}.plain", f"{PEERS}.powertools"))
        calls: Counter[str] = Counter()
        stores = (powertools.requests.client, powertools.events.client)
        for made in (plain.s3, plain.sqs, plain.dynamodb, plain.bus, *stores):
            made.meta.events.register(
                "before-send", lambda event_name, **_: calls.update([event_name.split(".")[-1]])
            )
        yield Peers(plain, powertools, calls)


@pytest.fixture
def world(moto: None, peers: Peers) -> World:
    peers.calls.clear()
    made = World()
    assert made.queue == ENVIRON["EVENTS_QUEUE_URL"]
    return made


def send(peer: ModuleType, number: int = 1, key: str | None = None) -> str:
    headers = {} if key is None else {"idempotency-key": key}
    body = json.dumps({"eventType": "order", "number": number})
    answer = peer.ingest(api_event("POST", "/events", body=body, headers=headers), CONTEXT)
    assert answer["statusCode"] == 202
    event_id: str = json.loads(answer["body"])["eventId"]
    return event_id


def test_plain_keeps_notes_and_queues_with_three_calls(
    world: World, peers: Peers, capsys: pytest.CaptureFixture[str]
) -> None:
    event_id = send(peers.plain)

    assert peers.calls == {"PutObject": 1, "PutItem": 1, "SendMessage": 1}
    (key,) = world.keys("bronze")
    assert key.startswith("bronze/order/")
    assert key.endswith(f"/{event_id}.json")
    stored = world.s3.get_object(Bucket="bronze", Key=key)["Body"].read()
    assert json.loads(stored) == {"eventType": "order", "number": 1}
    assert world.status(event_id) == "ENQUEUED"
    (record,) = world.messages()
    assert json.loads(record["body"])["eventId"] == event_id
    assert capsys.readouterr().out.count("\n") == 1


def test_plain_works_with_four_calls_an_event(
    world: World, peers: Peers, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = peers.plain
    ids = [send(peer, number) for number in range(3)]
    records = world.messages()
    peers.calls.clear()
    capsys.readouterr()

    peer.work({"Records": records}, CONTEXT)

    assert peers.calls == {"GetObject": 3, "PutObject": 3, "PutEvents": 3, "UpdateItem": 3}
    assert [world.status(one) for one in ids] == ["PROCESSED"] * 3
    silver = [
        json.loads(world.s3.get_object(Bucket="silver", Key=key)["Body"].read())
        for key in world.keys("silver")
    ]
    assert {one["eventId"]: one["data"]["number"] for one in silver} == dict(
        zip(ids, range(3), strict=True)
    )
    assert capsys.readouterr().out.count("\n") == 1


def test_plain_takes_a_repeat_for_a_new_event(world: World, peers: Peers) -> None:
    peer = peers.plain

    assert send(peer, key="one") != send(peer, key="one")


def test_powertools_answers_a_repeat_as_before(world: World, peers: Peers) -> None:
    peer = peers.powertools

    first = send(peer, key="one")
    assert peers.calls == {"PutItem": 2, "PutObject": 1, "SendMessage": 1, "UpdateItem": 1}
    peers.calls.clear()

    assert send(peer, key="one") == first
    assert peers.calls.keys().isdisjoint({"PutObject", "SendMessage"})
    assert len(world.messages()) == 1


def test_powertools_refuses_another_body_under_a_known_key(world: World, peers: Peers) -> None:
    from aws_lambda_powertools.utilities.idempotency.exceptions import (
        IdempotencyValidationError,
    )

    peer = peers.powertools
    send(peer, 1, key="one")

    with pytest.raises(IdempotencyValidationError):
        send(peer, 2, key="one")


def test_powertools_without_a_key_makes_the_calls_of_plain(world: World, peers: Peers) -> None:
    peer = peers.powertools

    with pytest.warns(UserWarning, match="No idempotency key value found"):
        send(peer)

    assert peers.calls == {"PutObject": 1, "PutItem": 1, "SendMessage": 1}


def test_powertools_works_with_six_calls_an_event_and_does_nothing_twice(
    world: World, peers: Peers
) -> None:
    peer = peers.powertools
    event_id = send(peer, key="one")
    records = world.messages()
    peers.calls.clear()

    assert peer.work({"Records": records}, CONTEXT) == {"batchItemFailures": []}
    assert peers.calls == {
        "PutItem": 1, "GetObject": 1, "PutObject": 1, "PutEvents": 1, "UpdateItem": 2,
    }  # fmt: skip
    assert world.status(event_id) == "PROCESSED"
    peers.calls.clear()

    assert peer.work({"Records": records}, CONTEXT) == {"batchItemFailures": []}
    assert peers.calls.keys().isdisjoint({"PutObject", "PutEvents"})


def test_powertools_hands_back_only_what_failed(world: World, peers: Peers) -> None:
    peer = peers.powertools
    lost, kept = send(peer, 1, key="one"), send(peer, 2, key="two")
    records = world.messages()
    (key,) = (key for key in world.keys("bronze") if lost in key)
    world.s3.delete_object(Bucket="bronze", Key=key)

    answer = peer.work({"Records": records}, CONTEXT)

    (failed,) = (one["messageId"] for one in records if lost in one["body"])
    assert answer == {"batchItemFailures": [{"itemIdentifier": failed}]}
    assert world.status(kept) == "PROCESSED"
    assert world.status(lost) == "ENQUEUED"


def test_the_package_of_the_peers_has_them_and_powertools() -> None:
    with zipfile.ZipFile(BytesIO(sides.package())) as packed:
        names = set(packed.namelist())

    assert {"benchmarks/__init__.py", "benchmarks/peers/plain.py"} < names
    assert "benchmarks/peers/powertools.py" in names
    assert "aws_lambda_powertools/utilities/idempotency/__init__.py" in names
