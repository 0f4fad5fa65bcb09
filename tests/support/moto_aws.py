"""moto in place of AWS: an empty account for each test, clients that last for the process, and the
resources of the stores at once; to make one by a call takes longer than most tests."""

import copy
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

import botocore.session
import pytest
from moto import mock_aws
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.responses import DynamoHandler
from moto.events.models import events_backends
from moto.moto_api._internal.models import moto_api_backend
from moto.s3.models import s3_backends
from moto.sqs.models import sqs_backends

from tests.conftest import ACCOUNT, REGION
from tests.support.resources import Names, make_tables


@pytest.fixture(scope="module")
def moto_on() -> Iterator[None]:
    """moto, for a file of tests."""
    with mock_aws():
        yield


@pytest.fixture
def moto(moto_on: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account with nothing in it, for one test."""
    monkeypatch.setattr(DynamoHandler, "call_action", _call_alone)
    moto_api_backend.reset()


_call_action = DynamoHandler.call_action
_alone = threading.RLock()


def _call_alone(handler: Any) -> Any:
    """A call of DynamoDB, which checks and writes at once; in moto another thread may come between
    the two."""
    with _alone:
        return _call_action(handler)


@cache
def client(service: str) -> Any:
    """The tests' own client of a service."""
    return _session().create_client(service, region_name=REGION)


@cache
def _session() -> Any:
    return botocore.session.Session()


def make_at_once(names: Names) -> None:
    """What `make_resources` makes, put where moto has it."""
    dynamodb_backends[ACCOUNT][REGION].tables = copy.deepcopy(_tables(names))
    for bucket in names.buckets:
        s3_backends[ACCOUNT]["aws"].create_bucket(bucket, REGION)
    for queue in names.queues:
        sqs_backends[ACCOUNT][REGION].create_queue(queue)
    events_backends[ACCOUNT][REGION].create_event_bus(names.bus)


@cache
def _tables(names: Names) -> dict[str, Any]:
    """Empty tables; made in an account that has none."""
    make_tables(client, names)
    made: dict[str, Any] = copy.deepcopy(dynamodb_backends[ACCOUNT][REGION].tables)
    return made


def queue_url(queue: str) -> str:
    """Where a queue is."""
    return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{queue}"
