"""Checks of what the emulator has kept, against a fake of its answers."""

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.console import FailedError
from local.kept import (
    check_resources,
    forget_api,
    forget_stream_positions,
    is_deployed,
    move_queues,
)

ENVIRON = {
    "STAGE": "local",
    "EVENTS_TABLE": "the-table",
    "BRONZE_BUCKET": "the-bucket",
    "EVENTS_QUEUE_ARN": "arn:aws:sqs:us-east-1:000000000000:the-queue",
}
RESOURCES = [
    {"resource_type": "iam_role", "role_name": "the-role"},
    {"resource_type": "lambda_function", "lambda_arn": "the-function"},
    {"resource_type": "sqs_event", "event_uuid": "the-mapping"},
    {"resource_type": "cloudwatch_event", "rule_name": "the-rule"},
    {"resource_type": "rest_api", "rest_api_id": "the-api"},
]


class FakeAws:
    """Every client at once: an operation fails when it names something that is gone."""

    def __init__(self, gone: str = "") -> None:
        self.gone = gone
        self.calls: list[tuple[str, Any]] = []

    def client(self, _service: str) -> "FakeAws":
        return self

    def __getattr__(self, operation: str) -> Any:
        def call(**arguments: str) -> None:
            self.calls.append((operation, arguments))
            if self.gone in arguments.values():
                raise ClientError({"Error": {"Code": "NotFound"}}, operation)

        return call


@pytest.fixture(name="record")
def write_record(tmp_path: Path) -> Path:
    path = tmp_path / "local.json"
    path.write_text(json.dumps({"resources": RESOURCES, "schema_version": "2.0"}))
    return path


def test_complete_resources_pass() -> None:
    aws = FakeAws()
    check_resources(ENVIRON, aws.client)
    assert len(aws.calls) == 3


@pytest.mark.parametrize("gone", ["the-table", "the-bucket", "the-queue"])
def test_missing_resource_is_named(gone: str) -> None:
    with pytest.raises(FailedError, match=f"{gone} is not there"):
        check_resources(ENVIRON, FakeAws(gone).client)


def test_complete_deployment_is_recognised(record: Path) -> None:
    assert is_deployed(record, FakeAws().client)


@pytest.mark.parametrize("gone", ["the-role", "the-function", "the-mapping", "the-rule", "the-api"])
def test_deployment_lacking_anything_is_not_one(record: Path, gone: str) -> None:
    assert not is_deployed(record, FakeAws(gone).client)


@pytest.mark.parametrize("text", ["", "{", "{}", "[]"])
def test_unusable_record_is_no_deployment(record: Path, text: str) -> None:
    record.write_text(text)
    assert not is_deployed(record, FakeAws().client)
    record.unlink()
    assert not is_deployed(record, FakeAws().client)


def test_forgotten_api_is_deleted_and_struck_from_the_record(record: Path) -> None:
    aws = FakeAws()
    forget_api(record, aws.client)
    assert aws.calls == [("delete_rest_api", {"restApiId": "the-api"})]
    left = json.loads(record.read_text())
    assert left == {"resources": RESOURCES[:-1], "schema_version": "2.0"}


def test_kept_queues_move_to_the_port_of_this_start(tmp_path: Path) -> None:
    kept = tmp_path / "sqs.json"
    kept.write_text('{"url": "http://localhost:4566/000000000000/eventline-local-events"}')
    move_queues(tmp_path, 4576)
    assert kept.read_text() == (
        '{"url": "http://localhost:4576/000000000000/eventline-local-events"}'
    )


def test_readers_of_streams_begin_anew(tmp_path: Path) -> None:
    kept = tmp_path / "lambda.json"
    kept.write_text('{"payload": {"functions": {}, "dynamodb_stream_positions": {"a": 32}}}')
    forget_stream_positions(tmp_path)
    assert json.loads(kept.read_text()) == {"payload": {"functions": {}}}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"payload": {}}'])
def test_a_state_without_stream_positions_stays_as_it_is(tmp_path: Path, text: str) -> None:
    kept = tmp_path / "lambda.json"
    kept.write_text(text)
    forget_stream_positions(tmp_path)
    assert kept.read_text() == text
