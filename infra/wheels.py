"""The packages that the archive carries: of the functions' architecture, and those of the lock.

Chalice has pip download them for `lambda_architecture` of `.chalice/config.json`, whatever machine
deploys. It takes any build of a version, and only warns where it finds none for that architecture:
the functions would then fail to start. Here pip compares each file with the hashes of
`requirements.lock`, and the archive is looked at before anything is deployed.
Sources: pip's documentation, "Secure installs"; AWS Lambda Developer Guide, "Selecting and
configuring an instruction set architecture for your Lambda function".
"""

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from chalice.deploy.deployer import BuildStage
from chalice.deploy.models import DeploymentPackage
from chalice.deploy.packager import NoSuchPackageError, PackageDownloadError

from infra import project
from infra.project import InfraError, Json

X86_64, ARM64 = "x86_64", "arm64"
_LOCK = "requirements.lock"
# `e_machine` in the header of an ELF file, two bytes at 18 (System V ABI, "ELF Header").
_MACHINES = {X86_64: 62, ARM64: 183}
_AT = slice(18, 20)


class WheelError(InfraError):
    """Raised when the archive lacks a package, or has one of another architecture or content."""


def here() -> dict[str, str]:
    """Return what stands in for the stage's `lambda_architecture` in Chalice's configuration: on
    an emulator that of this machine, which runs the functions itself; nothing on AWS."""
    if project.emulator_endpoint() is None:
        return {}
    return {"lambda_architecture": ARM64 if platform.machine() in {ARM64, "aarch64"} else X86_64}


def of(part: Json) -> str:
    """Return the architecture of a stage's functions on AWS, from its part of the configuration."""
    return str(part.get("lambda_architecture", X86_64))


@contextmanager
def locked(project_dir: Path) -> Iterator[None]:
    """Within the block, have pip take only files whose hash is in the lock of `project_dir`. A
    copy of the application without a lock, as the emulator gets, is packaged without."""
    before = os.environ.get("PIP_CONSTRAINT")
    if (project_dir / _LOCK).is_file():
        os.environ["PIP_CONSTRAINT"] = str(project_dir.resolve() / _LOCK)
    try:
        yield
    finally:
        os.environ.pop("PIP_CONSTRAINT", None)
        if before is not None:
            os.environ["PIP_CONSTRAINT"] = before


class CheckedBuild(BuildStage):
    """Chalice's build stage, after which the archive is checked."""

    def __init__(self, build: BuildStage) -> None:
        super().__init__([])
        self._build = build

    def execute(self, config: Any, resources: list[Any]) -> None:
        """Build, and raise `WheelError` for an archive that the functions could not run."""
        try:
            self._build.execute(config, resources)
        except (NoSuchPackageError, PackageDownloadError) as error:
            raise WheelError(f"pip: {str(error).strip()}") from error
        for resource in resources:
            if isinstance(resource, DeploymentPackage):
                check(
                    Path(str(resource.filename)),
                    Path(config.project_dir),
                    config.lambda_architecture,
                )


def check(archive: Path, project_dir: Path, architecture: str) -> None:
    """Raise `WheelError` unless `archive` has each package of requirements.txt, and machine code of
    `architecture` alone. A faulty archive is removed, as Chalice would use it again."""
    text = (project_dir / "requirements.txt").read_text(encoding="utf-8")
    missing = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE))
    foreign = []
    with ZipFile(archive) as packed:
        for name in packed.namelist():
            if found := re.match(r"([^/]+)-([^/-]+)\.dist-info/", name):
                missing = {
                    package: version
                    for package, version in missing.items()
                    if (_normal(package), version) != (_normal(found[1]), found[2])
                }
            if re.search(r"\.so(\.|$)", name):
                with packed.open(name) as file:
                    machine = int.from_bytes(file.read(_AT.stop)[_AT], "little")
                if machine != _MACHINES[architecture]:
                    foreign.append(name)
    faults = [f"no wheel of {name} {version}" for name, version in missing.items()]
    faults += [f"{name} is of another architecture" for name in foreign]
    if faults:
        archive.unlink()
        raise WheelError(f"{', '.join(faults)}: functions on {architecture} could not start")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
