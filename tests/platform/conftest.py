"""One emulator for the integration tests of a process, and on it the stages `local` and `dev`, each
deployed when the first test asks for it."""

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
    "ALERT_WINDOW_SECONDS": "8",
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


def deployed(emulator: Emulator, project: Path, name: str) -> Stage:
    """A stage as it is once deployed, beside any others in the same account."""
    stage = Stage(name, emulator, project, deploy_stage(emulator, project, name, IMPATIENT))
    # With versions kept, an object that is written twice shows.
    for bucket in (stage.settings.bronze_bucket, stage.settings.silver_bucket):
        stage.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return stage


@pytest.fixture(scope="session")
def local(emulator: Emulator, project: Path) -> Stage:
    """The stage `local`."""
    return deployed(emulator, project, "local")


@pytest.fixture(scope="session")
def dev(emulator: Emulator, project: Path) -> Stage:
    """The stage `dev`."""
    return deployed(emulator, project, "dev")


@pytest.fixture(scope="session")
def stages(local: Stage, dev: Stage) -> dict[str, Stage]:
    """Both stages, by name."""
    return {"local": local, "dev": dev}


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest) -> Stage:
    """Each of the stages; `local` alone where a test or its file is marked `one_stage`."""
    name: str = request.param
    found: Stage = request.getfixturevalue(name)
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Say for which stages a test runs."""
    if "stage" in metafunc.fixturenames:
        one = metafunc.definition.get_closest_marker("one_stage")
        names = STAGES[:1] if one else STAGES
        metafunc.parametrize("stage", names, indirect=True, scope="session")


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
