"""The scripts of the workflows, run with programs that stand for the AWS CLI, Python and make."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from chalicelib.alerts.model import Alert, Severity, read_message
from infra import project

FOLDER = project.ROOT / ".github"


def fake(folder: Path, name: str, script: str) -> None:
    """A program of that name that a script will find first."""
    path = folder / name
    path.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def run(
    folder: Path, script: str, *arguments: str, **more: str
) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    return subprocess.run(
        ["bash", str(FOLDER / script), *arguments],
        cwd=folder,
        env={**kept, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **more},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


HOSTILE = """It "failed"; $(touch pwned) `touch pwned` \\ '} grüße"""


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A directory whose `aws` notes its arguments, one a line, and answers with a queue's URL."""
    note = 'printf "%s\\n" "$@" "--" >> calls; case "$*" in *get-queue-url*) echo https://q;; esac'
    fake(tmp_path, "aws", note)
    return tmp_path


def test_a_failure_is_put_on_the_stages_queue_as_an_alert_that_can_be_read(recorded: Path) -> None:
    # When
    told = run(
        recorded,
        "tell-failure.sh",
        "dev",
        HOSTILE,
        GITHUB_REPOSITORY="example/eventline",
        GITHUB_WORKFLOW="Deploy",
        GITHUB_SHA="0123456789abcdef",
        GITHUB_RUN_ID="7",
        GITHUB_SERVER_URL="https://github.com",
    )

    # Then
    assert told.returncode == 0, told.stderr
    calls = (recorded / "calls").read_text().splitlines()
    assert calls[:4] == ["sqs", "get-queue-url", "--queue-name", "eventline-dev-ci-events-queue"]
    body = calls[calls.index("--message-body") + 1]
    alert = read_message(body)
    assert isinstance(alert, Alert)
    assert alert.title == HOSTILE
    assert alert.severity is Severity.ERROR
    assert alert.repository == "example/eventline"
    assert alert.link == "https://github.com/example/eventline/actions/runs/7"
    assert not (recorded / "pwned").exists()


def test_a_failure_that_nobody_can_be_told_of_is_no_success(tmp_path: Path) -> None:
    fake(tmp_path, "aws", "exit 254")
    told = run(tmp_path, "tell-failure.sh", "dev", "It failed")
    assert told.returncode == 1
    assert "::error::" in told.stderr
    assert "It failed" in told.stderr


@pytest.mark.parametrize(("status", "passed"), [("0", True), ("2", False)])
def test_the_token_of_the_smoke_test_is_hidden_and_gone_afterwards(
    recorded: Path, status: str, passed: bool
) -> None:
    # Given
    (recorded / ".venv" / "bin").mkdir(parents=True)
    answer = 'case "$*" in *issue_token*) echo evl_deployment_x;; *) echo https://api/api;; esac'
    fake(recorded / ".venv" / "bin", "python", answer)
    fake(recorded, "make", f'echo "$1 $API_URL $TOKEN" > made; exit {status}')

    # When
    done = run(recorded, "smoke.sh", "dev", GITHUB_ACTIONS="true")

    # Then
    assert (done.returncode == 0) is passed
    assert (recorded / "made").read_text() == "smoke https://api/api evl_deployment_x\n"
    assert "::add-mask::evl_deployment_x" in done.stdout
    calls = (recorded / "calls").read_text().splitlines()
    assert calls[:4] == ["dynamodb", "delete-item", "--table-name", "eventline-dev-tokens"]
    assert json.loads(calls[5]) == {"pk": {"S": "TOKEN#deployment"}}
