"""Brings the local platform up step by step, and takes it down."""

import contextlib
import http.client
import json
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local.children import Child, run
from local.console import FailedError, say, step
from local.kept import (
    check_resources,
    forget_api,
    forget_stream_positions,
    is_deployed,
    move_queues,
)
from local.layout import REGION, STAGE, Layout, render_env, write_private
from local.mirror import refresh

_START_SECONDS = 60.0
_STOP_SECONDS = {"emulator": 90.0, "chalice local": 5.0}
_POLL_SECONDS = 0.1
_BOOTSTRAP = ("--owner", "local", "--scopes", "all", "--id", "bootstrap")


class Platform:
    """The programs of one `make up`, and what they were found to answer."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.deployed_url = ""
        self.token = ""
        self._children: list[Child] = []

    def start(self) -> None:
        """Start everything and write `.local/env`; raises `FailedError` saying what went wrong."""
        self._prepare()
        self._start_emulator()
        try:
            self._make_resources()
        except FailedError as error:
            if not self.layout.deployed_file.exists():
                raise
            say(str(error))
            self._start_afresh()
        self._deploy()
        self.serve()
        with step("issuing the bootstrap token"):
            self.token = self._tool("issue_token", *_BOOTSTRAP).split()[-1]
        self._write_env()

    def serve(self) -> None:
        """Start `chalice local`, or start it afresh."""
        with step(f"chalice local on port {self.layout.api_port}"):
            self._stop("chalice local")
            refresh(self.layout)
            command = [
                *(sys.executable, "-m", "local.serve"),
                *("--port", str(self.layout.api_port)),
                *("--project-dir", str(self.layout.app)),
            ]
            child = self._launch("chalice local", command, "api", self.layout.tool_environ())
            self._await(child, lambda: _answers(f"{self.layout.api_url}/health"))

    def check(self) -> None:
        """Raise `FailedError` when a program has ended by itself."""
        for child in self._children:
            child.check()

    def stop(self) -> None:
        """Stop what was started, in reverse; the emulator saves its state as it goes."""
        self.layout.env_file.unlink(missing_ok=True)
        for child in list(reversed(self._children)):
            name = child.name
            with step(f"stopping {name}"):
                clean = self._stop(name)
            if not clean:
                say(f"         {name} had to be killed; what it had not saved is gone")

    def forget(self, name: str) -> None:
        """Stop a program and no longer miss it."""
        self._stop(name)

    def client(self, service: str) -> Any:
        """An AWS client for the emulator."""
        # Short time-outs: a hung emulator must show as an error, not as silence.
        config = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 2})
        environ = self.layout.aws_environ()
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.layout.aws_url,
            aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
            config=config,
        )

    def log_file(self, name: str) -> Path:
        """Where a program's output of this start goes."""
        return self.layout.logs / f"{name}.log"

    def _prepare(self) -> None:
        layout = self.layout
        shutil.rmtree(layout.scratch, ignore_errors=True)
        for folder in (layout.home, layout.logs, layout.scratch, layout.state):
            folder.mkdir(parents=True, exist_ok=True)
        layout.home.chmod(0o700)
        layout.env_file.unlink(missing_ok=True)
        for log in layout.logs.glob("*.log"):
            log.replace(log.with_suffix(".log.1"))
        refresh(layout)

    def _start_emulator(self) -> None:
        layout = self.layout
        if not (layout.state / "services").exists():
            # Chalice's record describes what went with the emulator's state.
            layout.deployed_file.unlink(missing_ok=True)
            layout.fingerprint_file.unlink(missing_ok=True)
        move_queues(layout.state / "services", layout.aws_port)
        forget_stream_positions(layout.state / "services")
        kept = "with the kept data" if layout.deployed_file.exists() else "empty"
        with step(f"AWS emulator on port {layout.aws_port}, {kept}"):
            command = [sys.executable, "-m", "ministack"]
            child = self._launch("emulator", command, "emulator", layout.emulator_environ())
            self._await(child, lambda: _answers(f"{layout.aws_url}/_ministack/health"))

    def _make_resources(self) -> None:
        with step("tables, buckets and queues"):
            self._tool("provision")
            config = json.loads((self.layout.app / ".chalice" / "config.json").read_text())
            check_resources(config["stages"][STAGE]["environment_variables"], self.client)

    def _deploy(self) -> None:
        fingerprint = self.layout.fingerprint()
        if self._is_deployed(fingerprint):
            say("  ok     functions and API are deployed and unchanged")
            return
        with step("chalice deploy --stage local"):
            self.layout.fingerprint_file.unlink(missing_ok=True)
            try:
                told = self._tool("deploy")
            except FailedError as error:
                if "destroy the stage first" not in str(error):
                    raise
                # Some changes of an API the emulator cannot make. It holds no data: a new one
                # takes its place, under another id.
                forget_api(self.layout.deployed_file, self.client)
                told = self._tool("deploy")
            self.deployed_url = told.split()[-1]
        with step("the deployed API answers"):
            deadline = time.monotonic() + _START_SECONDS
            while not _answers(f"{self.deployed_url}/health"):
                self.check()
                if time.monotonic() > deadline:
                    raise FailedError(f"{self.deployed_url}/health does not answer")
                time.sleep(_POLL_SECONDS)
        write_private(self.layout.fingerprint_file, fingerprint)

    def _is_deployed(self, fingerprint: str) -> bool:
        """Whether the deployment in the kept state was made from this very tree, and answers."""
        record = self.layout.fingerprint_file
        if not record.exists() or record.read_text() != fingerprint:
            return False
        if not is_deployed(self.layout.deployed_file, self.client):
            return False
        self.deployed_url = self._deployed_url()
        return _answers(f"{self.deployed_url}/health")

    def _deployed_url(self) -> str:
        code = (
            "import pathlib, sys, infra.deploy as d;"
            "print(d.deployed_api_url(sys.argv[1], pathlib.Path(sys.argv[2])))"
        )
        return self._run("deploy", "-c", code, STAGE, str(self.layout.app)).split()[-1]

    def _start_afresh(self) -> None:
        """Go on without kept data that cannot be used; should that fail too, put it back.

        Nothing is deleted: the fault may as well be in a template that was just edited.
        """
        layout = self.layout
        aside = layout.home / f"state-{time.strftime('%Y%m%d-%H%M%S')}"
        with step(f"the kept data cannot be used: moved to .local/{aside.name}, starting empty"):
            self._stop("emulator")
            layout.state.replace(aside)
            layout.state.mkdir()
            layout.deployed_file.replace(aside / layout.deployed_file.name)
        self._start_emulator()
        try:
            self._make_resources()
        except FailedError:
            self._stop("emulator")
            shutil.rmtree(layout.state)
            (aside / layout.deployed_file.name).replace(layout.deployed_file)
            aside.replace(layout.state)
            say(f"  the kept data is back in .local/{layout.state.name}")
            raise

    def _tool(self, module: str, *options: str) -> str:
        place = ("--stage", STAGE, "--project-dir", str(self.layout.app))
        return self._run(module, "-m", f"infra.{module}", *place, *options)

    def _run(self, log: str, *arguments: str) -> str:
        command = [sys.executable, *arguments]
        log_file = self.log_file(log)
        return run(
            " ".join(["python", *arguments]),
            command,
            log_file,
            self.layout.tool_environ(),
            self.layout.project,
        )

    def _launch(self, name: str, command: list[str], log: str, environ: dict[str, str]) -> Child:
        child = Child(name, command, self.log_file(log), environ, self.layout.project)
        self._children.append(child)
        return child

    def _stop(self, name: str) -> bool:
        clean = True
        for child in [child for child in self._children if child.name == name]:
            clean = child.stop(_STOP_SECONDS[name]) and clean
            self._children.remove(child)
        return clean

    def _await(self, child: Child, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            child.check()
            if time.monotonic() > deadline:
                raise FailedError(f"{child.name} is not ready after {_START_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)

    def _write_env(self) -> None:
        values = {
            "API_URL": self.layout.api_url,
            "DEPLOYED_API_URL": self.deployed_url,
            "API_TOKEN": self.token,
            **self.layout.aws_environ(),
            "STAGE": STAGE,
        }
        write_private(self.layout.env_file, render_env(values))


def _answers(url: str) -> bool:
    """Whether a GET of `url` on this machine gets a 200."""
    with contextlib.suppress(OSError, urllib.error.URLError, http.client.HTTPException):
        # No proxy of the shell's may stand between loopback and us.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=10) as reply:
            return bool(reply.status == http.client.OK)
    return False
