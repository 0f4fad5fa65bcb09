"""Every store three times over: in memory, on moto, and on the emulator.

The emulator's run is marked `emulator`. Set EVENTLINE_TEST_ENDPOINT to use one that is running (or
AWS itself, by an endpoint of its own) instead of a fresh one.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import botocore.session
import pytest

from chalicelib.aws.effects import CheckpointStore
from chalicelib.aws.sqs import DeadLetterQueue, Queue
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventIndex, EventStore, EventWindow
from chalicelib.replays.store import ReplayStore
from chalicelib.schemas.store import SchemaStore
from chalicelib.tokens.store import TokenStore
from tests.conftest import REGION
from tests.support.emulator import running_emulator
from tests.support.fake_lake import FakeLake
from tests.support.fake_queue import FakeQueue
from tests.support.fake_recovery import FakeDeadLetterQueue, FakeEventWindow, FakeReplayStore
from tests.support.fake_schemas import FakeSchemaStore
from tests.support.fake_stores import (
    SHARDS,
    FakeAws,
    FakeCheckpointStore,
    FakeEventIndex,
    FakeEventStore,
    FakeTokenStore,
    StoredObject,
)
from tests.support.moto_aws import make_at_once, queue_url
from tests.support.resources import Clients, Names, make_resources

MESSAGES = 10


@dataclass(frozen=True)
class Backend:
    """The stores of one kind. `calls` lists the API calls made, by operation."""

    ledger: EventStore
    index: EventIndex
    lake: Lake
    queue: Queue
    tokens: TokenStore
    schemas: SchemaStore
    checkpoints: CheckpointStore
    replays: ReplayStore
    window: EventWindow
    dead: DeadLetterQueue
    """Another way to look at `queue`."""
    calls: list[str]
    receive: Callable[[], list[tuple[str, str]]]
    """Messages that can be received now, as (body, receipt handle)."""
    put_by_hand: Callable[[str, bytes], None]
    """Puts an object into bronze that our code did not write."""


def _fake_backend() -> Backend:
    aws = FakeAws()
    queue = FakeQueue(aws)

    def receive() -> list[tuple[str, str]]:
        return [(record["body"], record["receiptHandle"]) for record in queue.receive()]

    def put_by_hand(key: str, body: bytes) -> None:
        aws.objects["bronze", key] = StoredObject(body, None, aws.clock())

    return Backend(
        ledger=FakeEventStore(aws),
        index=FakeEventIndex(aws),
        lake=FakeLake(aws),
        queue=queue,
        tokens=FakeTokenStore(aws),
        schemas=FakeSchemaStore(aws),
        checkpoints=FakeCheckpointStore(aws),
        replays=FakeReplayStore(aws),
        window=FakeEventWindow(aws),
        dead=FakeDeadLetterQueue(aws, queue),
        calls=aws.calls,
        receive=receive,
        put_by_hand=put_by_hand,
    )


@cache
def _clients(endpoint: str | None) -> tuple[Clients, list[str]]:
    """Clients that last for the process, and a list of the calls that they have made."""
    calls: list[str] = []
    session = botocore.session.Session()

    def note(model: Any, **_: Any) -> None:
        calls.append(model.name)

    @cache
    def clients(service: str) -> Any:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        client = session.create_client(service, region_name=REGION, endpoint_url=endpoint, **keys)
        client.meta.events.register("before-call", note)
        return client

    return clients, calls


def _real_backend(clients: Clients, calls: list[str], names: Names, url: str) -> Backend:

    def receive() -> list[tuple[str, str]]:
        answer = clients("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=MESSAGES)
        return [(got["Body"], got["ReceiptHandle"]) for got in answer.get("Messages", [])]

    def put_by_hand(key: str, body: bytes) -> None:
        clients("s3").put_object(Bucket=names.bronze_bucket, Key=key, Body=body)

    dynamodb = clients("dynamodb")
    return Backend(
        ledger=EventStore(
            dynamodb, names.events_table, names.bronze_bucket, names.silver_bucket, SHARDS
        ),
        index=EventIndex(dynamodb, names.events_table, SHARDS),
        lake=Lake(clients("s3"), names.bronze_bucket, names.silver_bucket),
        queue=Queue(clients("sqs"), url),
        tokens=TokenStore(dynamodb, names.tokens_table),
        schemas=SchemaStore(dynamodb, names.schemas_table),
        checkpoints=CheckpointStore(dynamodb, names.events_table),
        replays=ReplayStore(dynamodb, names.events_table),
        window=EventWindow(dynamodb, names.events_table),
        dead=DeadLetterQueue(clients("sqs"), url),
        calls=calls,
        receive=receive,
        put_by_hand=put_by_hand,
    )


@pytest.fixture
def moto_backend(moto: None) -> Backend:
    clients, calls = _clients(None)
    names = Names.with_prefix("contract")
    make_at_once(names)
    return _real_backend(clients, calls, names, queue_url(names.queue))


def _emulator_backend(endpoint: str) -> Backend:
    clients, calls = _clients(endpoint)
    names = Names.with_prefix(f"contract-{uuid.uuid4().hex[:12]}")
    return _real_backend(clients, calls, names, make_resources(clients, names))


@pytest.fixture(scope="session")
def emulator_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    endpoint = os.environ.get("EVENTLINE_TEST_ENDPOINT")
    if endpoint:
        yield _emulator_backend(endpoint)
        return
    with running_emulator(tmp_path_factory.mktemp("contract")) as emulator:
        yield _emulator_backend(emulator.url)


@pytest.fixture(params=["fake", "moto", pytest.param("emulator", marks=pytest.mark.emulator)])
def aws_backends(request: pytest.FixtureRequest) -> Backend:
    """The stores, once for each kind."""
    if request.param == "fake":
        return _fake_backend()
    backend: Backend = request.getfixturevalue(f"{request.param}_backend")
    while waiting := backend.receive():
        backend.queue.delete([handle for _, handle in waiting])
    backend.calls.clear()
    return backend
