"""Programs that `make up` starts, watches and stops."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from local.console import FailedError

_PR_SET_PDEATHSIG = 1
_TAIL_LINES = 15


class Child:
    """A running program with its output in a log file.

    It has a session of its own, so a Ctrl-C in the terminal reaches only `make up`, which then
    stops its children in order. On Linux it gets SIGTERM even when `make up` is killed outright.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environ: Mapping[str, str], cwd: Path
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environ),
                cwd=cwd,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
            )

    def check(self) -> None:
        """Raise `FailedError` with the end of its log when it has ended by itself."""
        code = self._process.poll()
        if code is not None:
            raise FailedError(f"{self.name} ended by itself ({_ending(code)})\n{tail(self.log)}")

    def wait(self) -> None:
        """Wait for it to end; raise `FailedError` with the end of its log unless it ended well."""
        code = self._process.wait()
        if code:
            raise FailedError(f"{self.name} failed ({_ending(code)})\n{tail(self.log)}")

    def stop(self, patience: float) -> bool:
        """Ask it to end, wait `patience` seconds, then kill it and all that it started.

        Returns whether it ended by itself in time.
        """
        clean = True
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                clean = False
        # Its session holds only what it started, such as the emulator's function processes.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        return clean


def run(name: str, command: Sequence[str], log: Path, environ: Mapping[str, str], cwd: Path) -> str:
    """Run a program to its end and return what it printed, which also goes to `log`.

    Raises `FailedError` with the end of its output when it fails.
    """
    before = log.stat().st_size if log.exists() else 0
    child = Child(name, command, log, environ, cwd)
    try:
        child.wait()
    finally:
        child.stop(patience=5)
    with log.open("rb") as output:
        output.seek(before)
        return output.read().decode(errors="replace")


def tail(log: Path, lines: int = _TAIL_LINES) -> str:
    """The last lines of a log, indented, under its name."""
    text = log.read_text(errors="replace") if log.exists() else ""
    last = [f"    | {line}" for line in text.splitlines()[-lines:]]
    return "\n".join([f"    the end of {log}:", *last])


def _ending(code: int) -> str:
    return f"exit status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
