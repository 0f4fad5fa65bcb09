"""What pip puts into the archive: of the functions' architecture, from the lock, or nothing."""

import hashlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import pytest
from chalice.deploy.deployer import BuildStage, DeploymentPackager
from chalice.deploy.models import DeploymentPackage, Placeholder
from chalice.deploy.packager import (
    DependencyBuilder,
    LambdaDeploymentPackager,
    PipRunner,
    SubprocessPip,
)
from chalice.utils import UI, OSUtils

from infra import project, wheels
from infra.wheels import ARM64, X86_64, WheelError

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_PLATFORMS = {X86_64: "manylinux_2_17_x86_64", ARM64: "manylinux_2_17_aarch64"}
_MACHINES = {X86_64: b"\x3e\x00", ARM64: b"\xb7\x00"}


def make_wheel(folder: Path, architecture: str) -> str:
    """A wheel of a package with machine code, as far as its header goes; its hash."""
    path = folder / f"Tiny_Code-1.0-cp310-abi3-{_PLATFORMS[architecture]}.whl"
    header = b"\x7fELF".ljust(18, b"\x00") + _MACHINES[architecture]
    about = "Tiny_Code-1.0.dist-info"
    with ZipFile(path, "w") as wheel:
        wheel.writestr("tiny_code/__init__.py", "")
        wheel.writestr("tiny_code/_core.abi3.so", header)
        wheel.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-code\nVersion: 1.0\n"
        )
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\n")
        wheel.writestr(f"{about}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Checkout:
    """An application with one package, and an index with wheels of it."""

    def __init__(self, folder: Path) -> None:
        self.index, self.project = folder / "index", folder / "project"
        self.index.mkdir()
        (self.project / ".chalice").mkdir(parents=True)
        (self.project / "app.py").write_text("")
        (self.project / "requirements.txt").write_text("# Shipped:\ntiny-code==1.0\n")

    def offer(self, *architectures: str) -> list[str]:
        return [make_wheel(self.index, architecture) for architecture in architectures]

    def lock(self, *hashes: str) -> None:
        lines = "".join(f" \\\n    --hash=sha256:{digest}" for digest in hashes)
        (self.project / "requirements.lock").write_text(f"tiny-code==1.0{lines}\n")

    def build(self, architecture: str) -> Path:
        """The archive as Chalice makes it."""
        osutils, ui = OSUtils(), UI()
        pip = PipRunner(SubprocessPip(osutils), osutils)
        packager = LambdaDeploymentPackager(
            osutils, DependencyBuilder(osutils, pip, architecture), ui, architecture
        )
        build = wheels.CheckedBuild(BuildStage([DeploymentPackager(packager)]))
        config: Any = SimpleNamespace(
            project_dir=str(self.project),
            lambda_python_version=PYTHON,
            lambda_architecture=architecture,
        )
        package = DeploymentPackage(Placeholder.BUILD_STAGE)
        with wheels.locked(self.project):
            build.execute(config, [package])
        return Path(str(package.filename))

    def archives(self) -> list[Path]:
        return list((self.project / ".chalice" / "deployments").glob("*.zip"))


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    made = Checkout(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.index))
    return made


@pytest.mark.parametrize("architecture", [X86_64, ARM64])
def test_the_archive_has_the_wheel_of_the_functions_whatever_machine_deploys(
    checkout: Checkout, architecture: str
) -> None:
    # Given wheels of both, in the lock
    checkout.lock(*checkout.offer(X86_64, ARM64))
    # When it is packaged
    archive = checkout.build(architecture)
    # Then the machine code is of the architecture that was asked for
    with ZipFile(archive) as packed:
        code = packed.read("tiny_code/_core.abi3.so")
    assert code[18:20] == _MACHINES[architecture]
    # And nothing of it stays behind
    assert "PIP_CONSTRAINT" not in os.environ


@pytest.mark.parametrize("architecture", [X86_64, ARM64])
def test_a_wheel_that_is_not_in_the_lock_is_refused(checkout: Checkout, architecture: str) -> None:
    # Given the very versions, but other files
    checkout.offer(X86_64, ARM64)
    checkout.lock("0" * 64)
    with pytest.raises(WheelError, match="HASHES"):
        checkout.build(architecture)
    assert checkout.archives() == []


def test_a_foreign_wheel_that_is_not_in_the_lock_is_refused(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given that only the wheel for this machine is in the lock
    other = {"x86_64": ARM64}.get(os.uname().machine, X86_64)
    own = X86_64 if other == ARM64 else ARM64
    checkout.lock(*checkout.offer(own))
    checkout.offer(other)
    # When it is packaged for the other, then it is refused, and not kept
    with pytest.raises(WheelError, match=r"no wheel of tiny-code 1\.0"):
        checkout.build(other)
    assert checkout.archives() == []


def test_a_package_without_a_wheel_for_the_architecture_is_not_deployed(checkout: Checkout) -> None:
    other = {"x86_64": ARM64}.get(os.uname().machine, X86_64)
    checkout.lock(*checkout.offer(X86_64 if other == ARM64 else ARM64))
    with pytest.raises(WheelError, match=f"functions on {other} could not start"):
        checkout.build(other)


def test_machine_code_of_another_architecture_is_not_deployed(checkout: Checkout) -> None:
    # Given an archive that was made for the other architecture
    checkout.offer(X86_64, ARM64)
    archive = checkout.build(X86_64)
    wheels.check(archive, checkout.project, X86_64)
    with pytest.raises(WheelError, match=r"_core\.abi3\.so is of another architecture"):
        wheels.check(archive, checkout.project, ARM64)
    assert not archive.exists()


def test_the_stages_on_aws_are_arm64_and_the_emulator_is_what_this_machine_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stages = project.read_config(project.ROOT)["stages"]
    assert {name: wheels.of(part) for name, part in stages.items()} == {
        "local": X86_64,
        "dev": ARM64,
        "prod": ARM64,
    }
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert wheels.here() == {}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    for machine, architecture in (
        ("x86_64", X86_64), ("AMD64", X86_64), ("aarch64", ARM64), ("arm64", ARM64),
    ):  # fmt: skip
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        assert wheels.here() == {"lambda_architecture": architecture}
