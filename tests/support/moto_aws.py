"""moto in place of AWS, and clients of it that last for the process: to make one takes longer than
most tests."""

import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

import botocore.session
import pytest
from moto import mock_aws
from moto.dynamodb.responses import DynamoHandler

from tests.conftest import REGION


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account with nothing in it, for one test."""
    monkeypatch.setattr(DynamoHandler, "call_action", _call_alone)
    with mock_aws():
        yield


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
