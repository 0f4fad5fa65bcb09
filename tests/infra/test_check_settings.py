"""Wrong settings stop provisioning and deployment before anything is made."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra import check_settings, deploy, policies, project, provision
from infra.check_settings import SettingsError
from tests.conftest import STAGE_VARIABLES

CONFIG = project.read_config(project.ROOT)
WRONG = [
    ("LOG_LEVEL", "LOUD", "LOG_LEVEL must be one of"),
    ("BATCHING_WINDOW_SECONDS", "soon", "BATCHING_WINDOW_SECONDS must be a whole number"),
    ("LEDGER_SHARDS", "0", "LEDGER_SHARDS must be a whole number, 1 to 256"),
    ("AUTH_MODE", "cognito", "COGNITO_USER_POOL_ARN must be the ARN of a user pool"),
    ("EVENTS_QUEUE_ARN", "eventline-dev-events", "not a queue ARN"),
    ("UPLOADS_DLQ_ARN", "arn:aws:sns:us-east-1:123456789012:t", "not a queue ARN"),
    ("SILVER_BUCKET", " ", "SILVER_BUCKET is not set"),
    ("MAX_ATTEMPTS", 5, "MAX_ATTEMPTS must be text"),
    ("AWS_REGION", "eu-west-1", "AWS_REGION is set by Lambda"),
    ("EVENTS_CONCURRENCY", "1", "EVENTS_CONCURRENCY must be 0, or a whole number, 2 to 1000"),
    ("ALERTS_CONCURRENCY", "1001", "ALERTS_CONCURRENCY must be 0, or a whole number, 2 to 1000"),
    ("STAGE", "local", "STAGE must be"),
]
each_wrong_value = pytest.mark.parametrize(("name", "value", "reason"), WRONG)


class NothingIsMadeError(AssertionError):
    """Raised when AWS is asked for anything."""


@pytest.fixture(autouse=True)
def no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for a session is about to make something."""

    def refuse() -> Any:
        raise NothingIsMadeError

    monkeypatch.setattr(project, "session", refuse)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / ".chalice").mkdir()
    shutil.copy(project.config_path(project.ROOT), project.config_path(tmp_path))
    return tmp_path


def set_value(checkout: Path, stage: str, name: str, value: object) -> None:
    config = project.read_config(checkout)
    config["stages"][stage]["environment_variables"][name] = value
    project.write_config(checkout, config)


def make_provisioned(checkout: Path, stage: str) -> None:
    """As after `make provision`: the names are there, and the policies rendered."""
    config = project.read_config(checkout)
    part = config["stages"][stage]
    written = {name: STAGE_VARIABLES[name] for name in provision.ENVIRONMENT}
    part["environment_variables"].update(written)
    project.write_config(checkout, config)
    shutil.copytree(
        policies.templates_dir(project.ROOT),
        policies.templates_dir(checkout),
        ignore=shutil.ignore_patterns(*CONFIG["stages"]),
    )
    place = policies.Place("aws", "us-east-1", "123456789012", stage)
    policies.write_policies(checkout, part, place)


@pytest.mark.parametrize("stage", CONFIG["stages"])
def test_the_stages_as_they_are_pass_before_their_names_are_known(stage: str) -> None:
    check_settings.check(stage, CONFIG["stages"][stage], written_later=provision.ENVIRONMENT)


@pytest.mark.parametrize("stage", CONFIG["stages"])
@each_wrong_value
def test_nothing_is_provisioned_with_a_wrong_value(
    checkout: Path, stage: str, name: str, value: object, reason: str
) -> None:
    set_value(checkout, stage, name, "prod" if (name, stage) == ("STAGE", "local") else value)
    with pytest.raises(SettingsError, match=f"^stage {stage} in .*{reason}"):
        provision.provision(stage, checkout)


def test_nothing_is_provisioned_that_anybody_could_use_in_prod(checkout: Path) -> None:
    set_value(checkout, "prod", "AUTH_MODE", "none")
    with pytest.raises(SettingsError, match="AUTH_MODE none is refused in prod"):
        provision.provision("prod", checkout)


@pytest.mark.parametrize("stage", ["dev", "prod"])
@each_wrong_value
def test_nothing_is_deployed_with_a_wrong_value(
    checkout: Path, stage: str, name: str, value: object, reason: str
) -> None:
    make_provisioned(checkout, stage)
    set_value(checkout, stage, name, value)
    with pytest.raises(SettingsError, match=f"^stage {stage} in .*{reason}"):
        deploy.deploy(stage, checkout)


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_a_stage_with_good_values_gets_as_far_as_aws(checkout: Path, stage: str) -> None:
    make_provisioned(checkout, stage)
    with pytest.raises(NothingIsMadeError):
        provision.provision(stage, checkout)
    with pytest.raises(NothingIsMadeError):
        deploy.deploy(stage, checkout)


def test_a_name_that_is_no_setting_is_told(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_value(checkout, "dev", "MAX_ATEMPTS", "7")
    with pytest.raises(NothingIsMadeError):
        provision.provision("dev", checkout)
    assert capsys.readouterr().out == "dev: MAX_ATEMPTS is no setting of Eventline\n"


def test_the_command_tells_the_person_at_the_terminal(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_value(checkout, "dev", "MAX_EVENT_BYTES", "5MB")
    status = provision.main(["--stage", "dev", "--project-dir", str(checkout)])
    assert status == 1
    told = capsys.readouterr().err
    assert told == (
        "error: stage dev in .chalice/config.json: "
        "MAX_EVENT_BYTES must be a whole number, 1 to 4194304\n"
    )


def test_what_the_shell_says_is_not_deployed(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTH_MODE", "none")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with deploy.chalice_process(checkout):
        assert "AUTH_MODE" not in os.environ
        assert os.environ["AWS_REGION"] == "eu-west-1"
    assert os.environ["AUTH_MODE"] == "none"


@pytest.mark.parametrize("function", ["process_events", "alert_ci_event", "deliver"])
def test_a_function_that_sqs_calls_takes_no_reserved_concurrency(function: str) -> None:
    # AWS Lambda Developer Guide, "Configuring scaling behavior for SQS event source mappings":
    # MaximumConcurrency of the event source does not throttle.
    part = {
        "environment_variables": {"STAGE": "dev"},
        "lambda_functions": {function: {"reserved_concurrency": 50}},
    }
    with pytest.raises(SettingsError, match="_CONCURRENCY in place of reserved_concurrency"):
        check_settings.check("dev", part)


def test_the_limits_are_those_of_the_event_sources() -> None:
    script = (
        "import app\n"
        "print([(one.name, one.maximum_concurrency) for one in app.app.event_sources"
        " if hasattr(one, 'maximum_concurrency')])"
    )
    for given, limit in (("0", None), ("7", 7)):
        variables = {
            **os.environ,
            **STAGE_VARIABLES,
            "EVENTS_CONCURRENCY": given,
            "ALERTS_CONCURRENCY": given,
            "DELIVERIES_CONCURRENCY": given,
        }
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=project.ROOT,
            env=variables,
            capture_output=True,
            text=True,
            check=True,
        )
        found = dict(ast.literal_eval(done.stdout))
        assert found == {"process_events": limit, "alert_ci_event": limit, "deliver": limit}
