"""One emulator for all integration tests, with the stages `local` and `dev` deployed on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployed_stage import Stage
from tests.support.emulator import Emulator, copy_checkout, deploy_stage, running_emulator
from tests.support.slack_receiver import SlackReceiver

STAGES = ("local", "dev")
# The stages as they are, except that nobody waits five seconds for a second attempt, or minutes for
# what an alert's group comes to.
IMPATIENT = {
    "RETRY_BASE_SECONDS": "0",
    "ALERT_WINDOW_SECONDS": "5",
    "ALERT_RETRY_MAX_SECONDS": "2",
}


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A running emulator."""
    with running_emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout, which the deployment may change."""
    copy = tmp_path_factory.mktemp("project") / "eventline"
    copy_checkout(copy)
    return copy


@pytest.fixture(scope="session")
def stages(emulator: Emulator, project: Path) -> dict[str, Stage]:
    """Both stages, deployed side by side in one account."""
    made = {}
    for name in STAGES:
        made[name] = Stage(
            name, emulator, project, deploy_stage(emulator, project, name, IMPATIENT)
        )
        # With versions kept, an object that is written twice shows.
        for bucket in (made[name].settings.bronze_bucket, made[name].settings.silver_bucket):
            made[name].s3.put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
            )
    return made


@pytest.fixture(scope="session", params=STAGES)
def stage(request: pytest.FixtureRequest, stages: dict[str, Stage]) -> Stage:
    """Each of the stages."""
    return stages[request.param]


@pytest.fixture(scope="session")
def local(stages: dict[str, Stage]) -> Stage:
    """The stage `local`."""
    return stages["local"]


@pytest.fixture(scope="session")
def dev(stages: dict[str, Stage]) -> Stage:
    """The stage `dev`."""
    return stages["dev"]


@pytest.fixture(scope="session")
def slack(local: Stage) -> Iterator[SlackReceiver]:
    """What the stage `local` takes for Slack; another stage would refuse its plain HTTP."""
    receiver = SlackReceiver()
    receiver.start()
    local.emulator.client("ssm").put_parameter(
        Name=local.settings.slack_parameter,
        Value=receiver.url,
        Type="SecureString",
        Overwrite=True,
    )
    yield receiver
    receiver.stop()
