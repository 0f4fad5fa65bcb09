"""Testing the platform and verifying the data flow by hand, with the AWS CLI.

A direct invocation with an API-Gateway-style payload, then what is in each place it went through.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chalicelib.core.ids import is_event_id
from chalicelib.events.model import Status
from tests.support.deployed_stage import Stage, wait_for

pytestmark = [pytest.mark.emulator, pytest.mark.one_stage]

PAYLOAD = '{"body":"{\\"eventType\\":\\"demo\\",\\"message\\":\\"hello\\"}"}'
SENT = b'{"eventType":"demo","message":"hello"}'

Aws = Callable[..., str]


def find_cli() -> tuple[str, bool]:
    """(program, whether it is version 2): a version 2 if there is one, else that of this venv."""
    candidates = [shutil.which("aws"), "/usr/local/bin/aws", "/usr/bin/aws"]
    for program in candidates:
        if program is None or not Path(program).exists():
            continue
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        if told.returncode == 0 and told.stdout.startswith("aws-cli/2"):
            return program, True
    return str(Path(sys.executable).parent / "aws"), False


CLI, IS_VERSION_2 = find_cli()
# Version 1 takes payloads as they are and does not know the option that asks for it.
RAW = ("--cli-binary-format", "raw-in-base64-out") if IS_VERSION_2 else ()


@pytest.fixture
def aws(stage: Stage, tmp_path: Path) -> Aws:
    """Runs `aws` in `tmp_path` and returns what it printed."""

    def run(*arguments: str) -> str:
        done = subprocess.run(
            # Versions before 2.13 do not know AWS_ENDPOINT_URL.
            [CLI, *arguments, "--endpoint-url", stage.emulator.url],
            cwd=tmp_path,
            env={**stage.emulator.environ(), "AWS_PAGER": ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def invoke(aws: Aws, stage: Stage, folder: Path) -> dict[str, Any]:
    """`aws lambda invoke` into a file, and what is in it."""
    name = f"eventline-{stage.name}"
    aws("lambda", "invoke", "--function-name", name, *RAW, "--payload", PAYLOAD, "response.json")
    answer: dict[str, Any] = json.loads((folder / "response.json").read_text())
    return answer


def test_an_invocation_is_answered_like_a_request(aws: Aws, stage: Stage, tmp_path: Path) -> None:
    # When
    answer = invoke(aws, stage, tmp_path)

    # Then
    assert answer["statusCode"] == 202
    assert answer["headers"]["content-type"] == "application/json"
    body = json.loads(answer["body"])
    assert list(body) == ["status", "eventId"]
    assert body["status"] == "accepted"
    assert is_event_id(body["eventId"])


def test_the_data_flow_can_be_verified_while_the_message_waits(
    aws: Aws, stage: Stage, tmp_path: Path
) -> None:
    with stage.paused_worker():
        # Given
        event_id = json.loads(invoke(aws, stage, tmp_path)["body"])["eventId"]

        # When
        item = json.loads(
            aws(
                *("dynamodb", "get-item", "--table-name", f"eventline-{stage.name}-events"),
                *("--key", json.dumps({"pk": {"S": f"EVENT#{event_id}"}})),
                *("--output", "json"),
            )
        )["Item"]
        queue_url = aws(
            *("sqs", "get-queue-url", "--queue-name", f"eventline-{stage.name}-events"),
            *("--query", "QueueUrl", "--output", "text"),
        ).strip()
        queue = json.loads(
            aws(
                *("sqs", "get-queue-attributes", "--queue-url", queue_url, "--attribute-names"),
                *("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"),
                *("--output", "json"),
            )
        )["Attributes"]
    # When the worker has taken it
    record = stage.follow(event_id)
    bucket, key = f"eventline-{stage.name}-000000000000-bronze", record.event.s3_key
    types = aws("s3", "ls", f"s3://{bucket}/bronze/demo/")
    objects = aws("s3", "ls", f"s3://{bucket}/bronze/demo/", "--recursive")
    aws("s3", "cp", f"s3://{bucket}/{key}", "payload.json")

    # Then
    assert item["eventType"] == {"S": "demo"}
    assert item["status"] == {"S": "RECEIVED"}
    assert "payload" in item
    assert queue == {
        "ApproximateNumberOfMessages": "1",
        "ApproximateNumberOfMessagesNotVisible": "0",
    }
    assert "PRE" in types
    assert key in objects
    assert (tmp_path / "payload.json").read_bytes() == SENT


def test_the_worker_ends_what_the_invocation_began(aws: Aws, stage: Stage, tmp_path: Path) -> None:
    # Given
    event_id = json.loads(invoke(aws, stage, tmp_path)["body"])["eventId"]

    # When
    record = stage.follow(event_id)

    # Then
    assert record.status is Status.PROCESSED
    assert stage.silver(record.event)["data"] == json.loads(SENT)
    wait_for("the message to be gone", lambda: not any(stage.waiting().values()))
