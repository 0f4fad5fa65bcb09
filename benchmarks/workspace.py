"""Where the measurements run: a copy of the application, and an emulator with a stage in it."""

import http.client
import os
import shutil
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from infra import project
from infra.provision import provision
from local.children import Child
from local.layout import STAGE, Layout

_APPLICATION = ("app.py", "requirements.txt", "chalicelib/**/*.py", "infra/*.yaml")
_CONFIGURATION = (".chalice/config.json", ".chalice/policies/*.json")
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


@contextmanager
def workspace() -> Iterator[Layout]:
    """A copy of what is deployed, in a folder of its own that is gone afterwards.

    The checkout stays as it is, and so does a platform that runs from it.
    """
    with tempfile.TemporaryDirectory(prefix="eventline-bench-") as folder:
        copy = Path(folder).resolve()
        for pattern in (*_APPLICATION, *_CONFIGURATION):
            for source in project.ROOT.glob(pattern):
                target = copy / source.relative_to(project.ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        aws_port = _free_port()
        layout = Layout(copy, api_port=0, aws_port=aws_port)
        for directory in (layout.home, layout.logs, layout.scratch, layout.state):
            directory.mkdir(parents=True, exist_ok=True)
        yield layout


@contextmanager
def emulator(layout: Layout) -> Iterator[None]:
    """The emulator on the layout's port, and the stage `local` provisioned in it.

    While it lasts, this process has the environment of a function of that stage, and nothing of
    a real AWS account.
    """
    child = Child(
        "emulator",
        [sys.executable, "-m", "ministack"],
        layout.logs / "emulator.log",
        layout.emulator_environ(),
        layout.project,
    )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(f"{layout.aws_url}/_ministack/health"):
            child.check()
            if time.monotonic() > deadline:
                raise TimeoutError("the emulator does not answer")
            time.sleep(0.1)
        with _environment(layout.tool_environ()):
            provision(STAGE, layout.project)
            # A line for each event would be measured, and would hide the tables.
            # Looks for a schema or a destination are not counted, however slow the machine is.
            os.environ.update(
                stage_variables(layout),
                LOG_LEVEL="ERROR",
                SCHEMA_CACHE_SECONDS="3600",
                DESTINATION_CACHE_SECONDS="300",
            )
            # The stage `local` sweeps all of its window in each run; on AWS that is once a day.
            os.environ.pop("FULL_SWEEP_MINUTES", None)
            yield
    finally:
        child.stop(_STOP_SECONDS)


def stage_variables(layout: Layout) -> dict[str, str]:
    """The environment variables that the stage's functions get."""
    part = project.stage_config(project.read_config(layout.project), STAGE)
    variables: dict[str, str] = part["environment_variables"]
    return variables


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    # No proxy of the shell's may stand between loopback and us.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as reply:
            return bool(reply.status == http.client.OK)
    except (OSError, urllib.error.URLError, http.client.HTTPException):
        return False
