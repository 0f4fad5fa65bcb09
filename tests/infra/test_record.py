"""What is kept of a deployment between machines, and going back to an earlier release."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra import deploy, project, provision, record, rollback

GOOD = "a" * 40
NEWER = "b" * 40
RECORD = {
    "schema_version": "2.0",
    "backend": "api",
    "resources": [
        {"name": "rest_api", "resource_type": "rest_api", "rest_api_url": "https://x/api/"},
        *(
            {
                "name": f"function_{number}",
                "resource_type": "lambda_function",
                "lambda_arn": f"arn:aws:lambda:eu-west-1:123456789012:function:eventline-{number}",
            }
            for number in range(20)
        ),
    ],
}


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "Operation")


class FakeAws:
    """A session, and the clients for SSM and Lambda, which keep what they are given."""

    def __init__(self) -> None:
        self.parameters: dict[str, dict[str, Any]] = {}
        self.functions: set[str] = set()
        self.region_name = "eu-west-1"

    def client(self, _service: str, **_options: Any) -> "FakeAws":
        return self

    def get_parameter(self, *, Name: str) -> dict[str, Any]:  # noqa: N803
        if Name not in self.parameters:
            raise refusal("ParameterNotFound")
        return {"Parameter": self.parameters[Name]}

    def put_parameter(self, *, Name: str, **given: Any) -> None:  # noqa: N803
        if Name in self.parameters and not given["Overwrite"]:
            raise refusal("ParameterAlreadyExists")
        if len(given["Value"]) > 4096 and given.get("Tier") != "Advanced":
            raise refusal("ValidationException")
        self.parameters[Name] = given

    def get_function_configuration(self, *, FunctionName: str) -> dict[str, Any]:  # noqa: N803
        if FunctionName not in self.functions:
            raise refusal("ResourceNotFoundException")
        return {"FunctionName": FunctionName}


@pytest.fixture
def aws() -> FakeAws:
    return FakeAws()


def deployed(checkout: Path, content: Any = RECORD) -> Path:
    """The file that Chalice leaves behind."""
    path = checkout / ".chalice" / "deployed" / "dev.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_another_machine_gets_what_was_kept(aws: FakeAws, tmp_path: Path) -> None:
    # Given
    deployed(tmp_path / "one")
    record.keep(aws, "dev", tmp_path / "one", GOOD)

    # When
    release = record.fetch(aws, "dev", tmp_path / "two")

    # Then
    assert release == GOOD
    assert deploy.deployed_resources("dev", tmp_path / "two") == RECORD["resources"]
    assert deploy.deployed_resources("prod", tmp_path / "two") == []
    assert len(aws.parameters["/eventline/dev/deployment"]["Value"]) < 4096


def test_a_record_that_is_here_gives_way_to_the_kept_one(aws: FakeAws, tmp_path: Path) -> None:
    deployed(tmp_path / "one")
    record.keep(aws, "dev", tmp_path / "one", GOOD)
    path = deployed(tmp_path / "two", {"resources": []})
    record.fetch(aws, "dev", tmp_path / "two")
    assert json.loads(path.read_text()) == RECORD


def test_half_a_deployment_is_kept_and_the_last_good_release_stays(
    aws: FakeAws, tmp_path: Path
) -> None:
    deployed(tmp_path)
    record.keep(aws, "dev", tmp_path, GOOD)
    deployed(tmp_path, {"resources": []})
    record.keep(aws, "dev", tmp_path)
    assert record.fetch(aws, "dev", tmp_path) == GOOD
    assert deploy.deployed_resources("dev", tmp_path) == []


def test_the_first_deployment_finds_nothing(aws: FakeAws, tmp_path: Path) -> None:
    assert record.fetch(aws, "dev", tmp_path) is None
    assert not (tmp_path / ".chalice").exists()
    deployed(tmp_path)
    record.keep(aws, "dev", tmp_path)
    assert record.fetch(aws, "dev", tmp_path) is None


def test_a_stage_that_nobody_has_the_record_of_is_not_deployed_twice(
    aws: FakeAws, tmp_path: Path
) -> None:
    aws.functions.add("eventline-dev")
    with pytest.raises(record.UnknownDeploymentError, match="record to itself"):
        record.fetch(aws, "dev", tmp_path)
    deployed(tmp_path)
    assert record.fetch(aws, "dev", tmp_path) is None


def test_a_record_too_large_for_a_standard_parameter_is_kept_all_the_same(
    aws: FakeAws, tmp_path: Path
) -> None:
    import random

    noise = random.Random(1).randbytes(4000).hex()
    deployed(tmp_path, {"resources": [{"name": noise}]})
    record.keep(aws, "dev", tmp_path)
    record.fetch(aws, "dev", tmp_path)
    assert deploy.deployed_resources("dev", tmp_path) == [{"name": noise}]


def test_there_must_be_something_to_keep(aws: FakeAws, tmp_path: Path) -> None:
    with pytest.raises(record.NoRecordError):
        record.keep(aws, "dev", tmp_path)


@pytest.mark.parametrize("release", ["main", GOOD[:12], GOOD.upper(), f"{GOOD}\n", "--force", ""])
def test_a_release_is_a_whole_commit_id(aws: FakeAws, tmp_path: Path, release: str) -> None:
    deployed(tmp_path)
    with pytest.raises(record.NotACommitError):
        record.keep(aws, "dev", tmp_path, release)
    with pytest.raises(record.NotACommitError):
        rollback.roll_back("dev", release, tmp_path)
    assert aws.parameters == {}


def test_what_aws_refuses_is_not_taken_for_nothing(aws: FakeAws, tmp_path: Path) -> None:
    class Refusing(FakeAws):
        def get_parameter(self, *, Name: str) -> dict[str, Any]:  # noqa: N803
            raise refusal("AccessDeniedException")

    with pytest.raises(ClientError):
        record.fetch(Refusing(), "dev", tmp_path)


# ---------------------------------------------------------------------------- roll back


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> tuple[Path, str]:
    """A clone with two releases, at the second; and the first's commit."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "--quiet")
    commits = []
    for name in ("first", "second"):
        (folder / "app.py").write_text(name)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", name)
        commits.append(git(folder, "rev-parse", "HEAD"))
    return folder, commits[0]


class Commands:
    """Stands for provisioning and deploying; notes in which order and where."""

    def __init__(self, aws: FakeAws, fails: bool = False) -> None:
        self.aws = aws
        self.fails = fails
        self.seen: list[tuple[str, str]] = []

    def provision(self, _stage: str, folder: Path) -> None:
        self.seen.append(("provision", (folder / "app.py").read_text()))

    def deploy(self, stage: str, folder: Path) -> str:
        # The ids of what is there are known before anything is deployed.
        assert deploy.deployed_resources(stage, folder) == RECORD["resources"]
        self.seen.append(("deploy", (folder / "app.py").read_text()))
        deployed(folder, {"resources": [{"name": "half"}]} if self.fails else RECORD)
        if self.fails:
            raise deploy.DeployError("it does not come up")
        return "https://x/api"


def prepared(monkeypatch: pytest.MonkeyPatch, commands: Commands, folder: Path) -> None:
    monkeypatch.setattr(provision, "provision", commands.provision)
    monkeypatch.setattr(deploy, "deploy", commands.deploy)
    monkeypatch.setattr(project, "session", lambda: commands.aws)
    deployed(folder)
    record.keep(commands.aws, "dev", folder, GOOD)


def test_the_application_of_the_earlier_commit_is_deployed(
    monkeypatch: pytest.MonkeyPatch, aws: FakeAws, clone: tuple[Path, str]
) -> None:
    folder, first = clone
    commands = Commands(aws)
    prepared(monkeypatch, commands, folder)

    assert rollback.roll_back("dev", first, folder) == "https://x/api"

    assert commands.seen == [("provision", "first"), ("deploy", "first")]
    assert record.fetch(aws, "dev", folder) == first
    assert (folder / "app.py").read_text() == "second"
    assert len(git(folder, "worktree", "list").splitlines()) == 1


def test_a_roll_back_that_fails_keeps_what_it_made_and_the_good_release(
    monkeypatch: pytest.MonkeyPatch, aws: FakeAws, clone: tuple[Path, str]
) -> None:
    folder, first = clone
    prepared(monkeypatch, Commands(aws, fails=True), folder)
    with pytest.raises(deploy.DeployError):
        rollback.roll_back("dev", first, folder)
    assert record.fetch(aws, "dev", folder) == GOOD
    assert deploy.deployed_resources("dev", folder) == [{"name": "half"}]
    assert len(git(folder, "worktree", "list").splitlines()) == 1


def test_a_commit_that_the_clone_does_not_have_is_told(
    monkeypatch: pytest.MonkeyPatch, aws: FakeAws, clone: tuple[Path, str]
) -> None:
    folder, _ = clone
    commands = Commands(aws)
    prepared(monkeypatch, commands, folder)
    with pytest.raises(rollback.UnknownReleaseError, match=NEWER):
        rollback.roll_back("dev", NEWER, folder)
    assert commands.seen == []
