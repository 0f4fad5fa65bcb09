"""A fresh checkout in which the tests run `make`, and the programs that this leaves running."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.emulator import copy_checkout, free_port

_READY_SECONDS = 180.0
_STOP_SECONDS = 60.0
_VENV_PARTS = ("bin", "include", "lib", "lib64", "pyvenv.cfg", "share")


class Checkout:
    """A copy of this checkout, as a clone would be, with ports of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.api_port = free_port()
        self.aws_port = free_port()
        copy_checkout(path)
        self._lend_venv()
        if shutil.which("git"):
            self._git("init", "--quiet")
            self._git("add", "--all")
            self._git(
                *("-c", "user.name=test", "-c", "user.email=test@localhost"),
                *("commit", "--quiet", "--message", "As cloned"),
            )

    @property
    def env_file(self) -> Path:
        """What the platform writes when it is ready."""
        return self.path / ".local" / "env"

    def environ(self, **ports: int) -> dict[str, str]:
        """The environment of a shell in this checkout; nothing of the `make` that runs the tests,
        and nothing of a real AWS account."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "MAKE", "MFLAGS", "PYTEST_"))
        }
        chosen = {"API_PORT": self.api_port, "AWS_PORT": self.aws_port, **ports}
        return {**kept, **{name: str(port) for name, port in chosen.items()}}

    def make(self, target: str, **ports: int) -> subprocess.CompletedProcess[str]:
        """Run a target to its end; stdout and stderr come together in `stdout`."""
        return subprocess.run(
            ["make", target],
            cwd=self.path,
            env=self.environ(**ports),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )

    def sourced_env(self) -> dict[str, str]:
        """The variables that a script gets by sourcing `.local/env`."""
        script = "set -eu; source .local/env; env -0"
        told = subprocess.run(
            ["bash", "-c", script],
            cwd=self.path,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=True,
        )
        return dict(entry.split("=", 1) for entry in told.stdout.split("\0") if "=" in entry)

    def changes(self) -> str:
        """What `git status` has to tell, one line a file; nothing where there is no git."""
        if not shutil.which("git"):
            return ""
        return self._git("status", "--porcelain", "--untracked-files=all")

    def _lend_venv(self) -> None:
        """Give the checkout this Python's packages, with stamps of its own, so that `make` takes
        them for up to date. It is a directory of links: should `make` think otherwise after all, it
        clears the links and not what they lead to."""
        venv = self.path / ".venv"
        venv.mkdir()
        for name in _VENV_PARTS:
            if (Path(sys.prefix) / name).exists():
                (venv / name).symlink_to(Path(sys.prefix) / name)
        for lock in ("requirements-up.lock", "requirements-dev.lock"):
            shutil.copyfile(self.path / lock, venv / lock)

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, capture_output=True, text=True, check=True
        )
        return done.stdout


@dataclass
class Up:
    """A running `make up`, in a session of its own as in a terminal of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    started: set[int] = field(default_factory=set)
    """Every process that it was ever seen to consist of."""

    def notice(self) -> set[int]:
        """What it consists of now; to be asked while it runs, for orphans tell no parent."""
        found = descendants(self.process.pid)
        self.started |= found
        return found

    def output(self) -> str:
        """All it has printed so far."""
        return self.log.read_text(errors="replace")

    def curl(self) -> str:
        """The command that it tells the reader to paste."""
        found = re.search(r"^  (curl .*?)\n\n", self.output(), re.MULTILINE | re.DOTALL)
        assert found, self.output()
        return found[1]

    def interrupt(self) -> int:
        """Press Ctrl-C, which goes to the whole foreground group; returns the exit status."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(_STOP_SECONDS)

    def kill(self) -> None:
        """End it so that it can do nothing about it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_STOP_SECONDS)


@contextmanager
def platform_up(checkout: Checkout) -> Iterator[Up]:
    """Run `make up` until it is ready; nothing of it is left after the block."""
    log = checkout.path.parent / f"up-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["make", "up"],
            cwd=checkout.path,
            env=checkout.environ(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    up = Up(process, log)
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while not checkout.env_file.exists():
            assert process.poll() is None, up.output()
            assert time.monotonic() < deadline, up.output()
            time.sleep(0.05)
        up.notice()
        yield up
    finally:
        up.notice()
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
        up.kill()
        for pid in up.started:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> set[int]:
    """The processes that `pid` started, and those that they did; only where there is /proc."""
    children: dict[int, set[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # After the name, which is in parentheses and may hold anything: state, then parent.
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, set()).add(int(status.parent.name))
    found: set[int] = set()
    new = {pid}
    while new:
        new = {child for parent in new for child in children.get(parent, set())} - found
        found |= new
    return found


def is_running(pid: int) -> bool:
    """Whether a process is there and more than a zombie that nobody has asked about."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
