"""What is asked of the machine and the account before and after a deployment."""

from typing import Any

import pytest
import yaml

from infra import account, project
from infra.account import RuntimeRefusedError


class FakeLambda:
    """Answers as "GetAccountSettings" (AWS Lambda API Reference) does."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed

    def get_account_settings(self) -> dict[str, Any]:
        return {"AccountLimit": {"ConcurrentExecutions": self.allowed}, "AccountUsage": {}}


@pytest.mark.parametrize("version", [(3, 10), (3, 15), (2, 7), (4, 0)])
def test_a_python_that_functions_cannot_run_on_is_refused(version: tuple[int, int]) -> None:
    with pytest.raises(RuntimeRefusedError, match=r"cannot deploy.*3\.11 to 3\.14"):
        account.check_runtime(version)


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
def test_the_others_are_told(minor: int, capsys: pytest.CaptureFixture[str]) -> None:
    account.check_runtime((3, minor))
    first, *more = capsys.readouterr().out.splitlines()
    assert first == f"functions run on python3.{minor}"
    assert bool(more) is (minor == 11)


def test_the_workflow_deploys_on_the_recommended_python() -> None:
    path = project.ROOT / ".github" / "workflows" / "deploy-stage.yml"
    steps = yaml.safe_load(path.read_text())["jobs"]["deploy"]["steps"]
    (version,) = (
        step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", "")
    )
    assert version == ".".join(map(str, account.RECOMMENDED))


@pytest.mark.parametrize(("allowed", "told"), [(10, True), (11, False), (1000, False)])
def test_the_quota_of_a_new_account_is_warned_of(
    allowed: int, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert account.warn_of_quota(FakeLambda(allowed)) == allowed
    assert ("warning: this account allows 10 runs" in capsys.readouterr().out) is told
