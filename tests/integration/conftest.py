"""One emulator for all integration tests, with the stages `local` and `dev` deployed on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulator import Emulator, copy_checkout, deploy_stage, running_emulator
from tests.integration.stage import Stage

STAGES = ("local", "dev")
# The stages as they are, except that nobody waits five seconds for a second attempt.
IMPATIENT = {"RETRY_BASE_SECONDS": "0"}


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
