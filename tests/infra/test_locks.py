"""The three locks: each holds the one before it, and each is enough for what it is for."""

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from infra import project

_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+) \\$")
_HASH = re.compile(r"^    --hash=(?P<hash>\S+)")
_OWN = {"app", "chalicelib", "infra", "local"}


def pins(lock: str) -> dict[str, list[str]]:
    """The packages of a lock, each with its version and its hashes."""
    found: dict[str, list[str]] = {}
    for line in (project.ROOT / lock).read_text(encoding="utf-8").splitlines():
        if pinned := _PINNED.match(line):
            found[pinned["name"]] = [pinned["version"]]
        elif hashed := _HASH.match(line):
            found[list(found)[-1]].append(hashed["hash"])
    return found


def imported(*patterns: str) -> set[str]:
    """The names of packages, not our own and not Python's, that files import at any place."""
    found: set[str] = set()
    for pattern in patterns:
        for path in project.ROOT.glob(pattern):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {name.name.partition(".")[0] for name in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.partition(".")[0])
    return found - _OWN - set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        ("requirements.lock", "requirements-up.lock"),
        ("requirements-up.lock", "requirements-dev.lock"),
    ],
)
def test_a_lock_holds_the_same_versions_as_the_smaller_one(smaller: str, larger: str) -> None:
    small, large = pins(smaller), pins(larger)
    assert small
    assert small.items() <= large.items()


def test_every_requirement_is_locked() -> None:
    for listed, lock in (
        ("requirements.txt", "requirements.lock"),
        ("requirements-up.txt", "requirements-up.lock"),
        ("requirements-dev.txt", "requirements-dev.lock"),
    ):
        text = (project.ROOT / listed).read_text(encoding="utf-8")
        names = re.findall(r"^([a-z0-9-]+)(?:\[.*\])?(?:==(\S+))?$", text, re.MULTILINE)
        assert names
        for name, version in names:
            assert name in pins(lock)
            assert version in ("", pins(lock)[name][0])


def test_the_platform_and_the_deployments_need_nothing_but_the_small_lock() -> None:
    distributions = packages_distributions()
    needed = imported("app.py", "chalicelib/**/*.py", "infra/**/*.py", "local/**/*.py")
    packages = {distributions[name][0].lower().replace("_", "-") for name in needed}
    assert {"boto3", "botocore", "chalice", "pyyaml", "requests"} <= packages
    assert packages <= pins("requirements-up.lock").keys()
    # Run as a program, and so imported by nobody.
    assert "ministack" in pins("requirements-up.lock")


def test_make_asks_for_the_small_lock_where_it_is_enough() -> None:
    makefile = (project.ROOT / "Makefile").read_text(encoding="utf-8")
    small = set(re.findall(r"^([a-z-]+): \$\(UP\)", makefile, re.MULTILINE))
    assert small == {
        *("venv-up", "up", "smoke", "token"),
        *("provision", "verify", "destroy", "terraform"),
    }
    assert "deploy: provision" in makefile


def test_what_lambda_ships_has_no_sdk() -> None:
    assert not pins("requirements.lock").keys() & {"boto3", "botocore", "chalice"}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A checkout whose `.venv` has what the small lock says."""
    (tmp_path / "local").mkdir()
    for name in ("requirements-up.lock", "local/venv.sh"):
        shutil.copyfile(project.ROOT / name, tmp_path / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    shutil.copyfile(tmp_path / "requirements-up.lock", tmp_path / ".venv" / "requirements-up.lock")
    return tmp_path


def install(checkout: Path, python: str) -> subprocess.CompletedProcess[str]:
    """Bring `.venv` to the small lock, with an interpreter for a new one."""
    return subprocess.run(
        ["bash", "local/venv.sh", "requirements-up.lock", python],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_installed_is_left_alone_though_its_lock_was_touched(installed: Path) -> None:
    lock, stamp = installed / "requirements-up.lock", installed / ".venv" / "requirements-up.lock"
    os.utime(stamp, (0, 0))

    done = install(installed, "no-such-python")

    assert (done.returncode, done.stderr) == (0, "")
    # So make sees that it is up to date.
    assert stamp.stat().st_mtime >= lock.stat().st_mtime


def test_without_a_python_that_can_be_used_it_says_what_to_do(installed: Path) -> None:
    (installed / "requirements-up.lock").write_text("another==1.0", encoding="utf-8")

    done = install(installed, "no-such-python")

    assert done.returncode == 1
    assert "Eventline needs Python 3.11 or newer" in done.stderr
    assert "make PYTHON=/path/to/python3.11 up" in done.stderr
