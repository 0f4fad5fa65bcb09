"""The AWS emulator for tests, and stages of this checkout deployed on it.

It runs as `make up` runs it (same program, same environment, IAM enforced), but on a free port and
with everything it keeps below a directory of the test's. Nothing outlives the `with` blocks, and
on Linux nothing outlives the test process either, however that ends.
"""

import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local.children import Child
from local.console import FailedError
from local.layout import REGION, Layout

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "000000000000"
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_ROUNDS = 3
# What git ignores, and what no program of the checkout reads.
_LEFT_OUT = {
    ".git", ".venv", ".local", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache",
    ".import_linter_cache", "__pycache__", "node_modules", "screenshots",
}  # fmt: skip
_LEFT_OUT_OF_CHALICE = {"deployed", "deployments", "venv"}


class CommandFailedError(AssertionError):
    """Raised when a command of the checkout fails; carries all that it printed."""


@dataclass(frozen=True)
class Emulator:
    """A running emulator; `layout` says where it listens and keeps its things."""

    layout: Layout

    @property
    def url(self) -> str:
        """The endpoint of every service."""
        return self.layout.aws_url

    def environ(self) -> dict[str, str]:
        """The environment for a program that works on the emulator with every right."""
        return self.layout.tool_environ()

    def client(self, service: str, credentials: Mapping[str, str] | None = None) -> Any:
        """A client of boto3; with every right unless `credentials` are given."""
        root = self.layout.aws_environ()
        keys = credentials or {
            "aws_access_key_id": root["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": root["AWS_SECRET_ACCESS_KEY"],
        }
        config = Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"total_max_attempts": 1},
            max_pool_connections=32,
        )
        return boto3.client(
            service, region_name=REGION, endpoint_url=self.url, config=config, **keys
        )


@contextmanager
def running_emulator(home: Path) -> Iterator[Emulator]:
    """An emulator on a free port that keeps its state and its logs below `home`."""
    for left in reversed(range(_ROUNDS)):
        layout = Layout(home, api_port=0, aws_port=free_port())
        for folder in (layout.logs, layout.scratch, layout.state):
            folder.mkdir(parents=True, exist_ok=True)
        child = Child(
            "emulator",
            [sys.executable, "-m", "ministack"],
            layout.logs / "emulator.log",
            layout.emulator_environ(),
            home,
        )
        try:
            _await_health(child, layout.aws_url)
        except FailedError:
            # Between finding a port and using it, another program may have taken it.
            child.stop(_STOP_SECONDS)
            if not left:
                raise
            continue
        try:
            yield Emulator(layout)
        finally:
            child.stop(_STOP_SECONDS)
        return


def deploy_stage(
    emulator: Emulator, project: Path, stage: str, settings: Mapping[str, str]
) -> dict[str, Any]:
    """Provision and deploy `stage` from the copy in `project`, with `settings` added to those of
    the stage; returns the environment variables that its functions got."""
    config_file = project / ".chalice" / "config.json"
    config = json.loads(config_file.read_text())
    config["stages"][stage]["environment_variables"] |= settings
    config_file.write_text(json.dumps(config, indent=2) + "\n")
    for command in ("provision", "deploy"):
        run_python(emulator, project, "-m", f"infra.{command}", "--stage", stage)
    config = json.loads(config_file.read_text())
    variables: dict[str, Any] = config["stages"][stage]["environment_variables"]
    return variables


def run_python(emulator: Emulator, project: Path, *arguments: str) -> str:
    """Run this Python in `project` against the emulator and return what it printed.

    Raises `CommandFailedError` when it fails.
    """
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=emulator.environ(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise CommandFailedError(f"{arguments}: {done.stdout}\n{done.stderr}")
    return done.stdout


def copy_checkout(target: Path) -> None:
    """Copy this checkout to `target` as a fresh clone would have it: without what git ignores."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        path = Path(folder)
        if path == ROOT / ".chalice":
            return _LEFT_OUT_OF_CHALICE & set(names)
        if path == ROOT / ".chalice" / "policies":
            return {name for name in names if (path / name).is_dir()}
        return _LEFT_OUT & set(names)

    shutil.copytree(ROOT, target, ignore=left_out)


def free_port() -> int:
    """A port on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def answers(url: str) -> bool:
    """Whether a GET of `url` gets a 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with (
        suppress(OSError, urllib.error.URLError, http.client.HTTPException),
        opener.open(url, timeout=10) as reply,
    ):
        return bool(reply.status == HTTPStatus.OK)
    return False


def _await_health(child: Child, url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not answers(f"{url}/_ministack/health"):
        child.check()
        if time.monotonic() > deadline:
            raise FailedError(f"the emulator on {url} is not ready after {_START_SECONDS:.0f} s")
        time.sleep(0.05)
