"""`make up`: the whole platform on this machine, until Ctrl-C or SIGTERM."""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from local.console import FailedError, elapsed, say
from local.follow import FileTail, FunctionLogs, Pace, condense, without_refusals
from local.layout import STAGE, Layout
from local.platform import Platform
from local.ports import is_free

_OLDEST_PYTHON = (3, 11)
_FOLLOW_SECONDS = 0.5
_MAX_PORT = 65535


class StopRequested(BaseException):
    """Raised in the main thread by the first SIGINT or SIGTERM."""


def main() -> int:
    """Run until told to stop. Returns 0 after a stop that was asked for, 1 after a failure."""
    started = time.monotonic()
    try:
        _check_python(sys.version_info[:2])
        layout = read_layout(os.environ, Path.cwd())
        with _only_one(layout):
            check_ports(layout)
            return _run(Platform(layout), started)
    except FailedError as error:
        say(f"make up: {error}")
        return 1


def read_layout(environ: Mapping[str, str], project: Path) -> Layout:
    """The layout that the environment asks for; raises `FailedError` for an unusable port."""
    ports = {}
    for name, default in (("API_PORT", "8000"), ("AWS_PORT", "4566")):
        text = environ.get(name) or default
        if not text.isdecimal() or not 0 < int(text) <= _MAX_PORT:
            raise FailedError(f"{name} must be a port number from 1 to {_MAX_PORT}, not {text!r}")
        ports[name] = int(text)
    if ports["API_PORT"] == ports["AWS_PORT"]:
        raise FailedError(f"API_PORT and AWS_PORT must differ; both are {ports['API_PORT']}")
    return Layout(project, ports["API_PORT"], ports["AWS_PORT"])


def check_ports(layout: Layout, is_free: Callable[[int], bool] = is_free) -> None:
    """Raise `FailedError` naming each port that is taken and the variable that sets another."""
    wanted = {"API_PORT": layout.api_port, "AWS_PORT": layout.aws_port}
    taken = {name: port for name, port in wanted.items() if not is_free(port)}
    if taken:
        ports = " and ".join(f"port {port} ({name})" for name, port in taken.items())
        others = " ".join(f"{name}={port + 10}" for name, port in taken.items())
        verb = "is" if len(taken) == 1 else "are"
        raise FailedError(f"{ports} {verb} taken by another program. Choose: make up {others}")


def _check_python(version: tuple[int, ...]) -> None:
    if version < _OLDEST_PYTHON:
        raise FailedError(f"Python 3.11 or newer is needed; this is {version[0]}.{version[1]}")


@contextmanager
def _only_one(layout: Layout) -> Iterator[None]:
    """Hold the checkout's lock, which the system lets go of even after a crash."""
    layout.home.mkdir(exist_ok=True)
    with (layout.home / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise FailedError(
                f"already running in this checkout (process {holder}). Stop that one first, or "
                "use another checkout with other ports"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _run(platform: Platform, started: float) -> int:
    _on_signal(_request_stop)
    code = 0
    try:
        say(f"Eventline, stage {STAGE}; logs in {platform.layout.logs}")
        platform.start()
        _print_ready(platform, time.monotonic() - started)
        _follow(platform)
    except StopRequested:
        say("\nStopping.")
    except FailedError as error:
        say(f"\nmake up: {error}")
        code = 1
    finally:
        _on_signal(_already_stopping)
        platform.stop()
    return code


def _on_signal(handler: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)  # type: ignore[arg-type]


def _request_stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise StopRequested


def _already_stopping(_number: int, _frame: FrameType | None) -> None:
    say("Stopping already: the emulator is saving its state.")


def _print_ready(platform: Platform, took: float) -> None:
    say(f"""
Ready after {elapsed(took)}.

  console        {platform.layout.api_url}/console#token={platform.token}

  API            {platform.layout.api_url}
  deployed API   {platform.deployed_url}
  AWS emulator   {platform.layout.aws_url}
  token          {platform.token}
  for scripts    source .local/env

Send an event:

  curl -sS -X POST {platform.layout.api_url}/events \\
    -H 'Authorization: Bearer {platform.token}' \\
    -H 'Content-Type: application/json' \\
    -d '{{"eventType":"demo","message":"hello"}}'

Logs follow; Ctrl-C stops everything and keeps the data.
""")


def _follow(platform: Platform) -> NoReturn:
    """Print the logs and restart `chalice local` when the code changes, until interrupted."""
    access = FileTail(platform.log_file("api"))
    functions = FunctionLogs(platform.client("logs"), f"/aws/lambda/eventline-{STAGE}")
    pace = Pace()
    code = platform.layout.code_version()
    while True:
        platform.check()
        for line in access.lines():
            _print_log("chalice local", line)
            pace.heard()
        if pace.is_due():
            pace.looked()
            _print_functions(functions, pace)
        if code != (code := platform.layout.code_version()):
            say("The code has changed. The deployed functions keep the old one until `make up`.")
            _restart(platform)
        time.sleep(_FOLLOW_SECONDS)


def _print_functions(functions: FunctionLogs, pace: Pace) -> None:
    try:
        for name, line in without_refusals(functions.lines()):
            _print_log(name, line)
            pace.heard()
    except (BotoCoreError, ClientError) as error:
        # The emulator's end is noticed by `Platform.check`; a single refused call is not the end.
        say(f"the functions' logs cannot be read now: {error}")


def _restart(platform: Platform) -> None:
    try:
        platform.serve()
    except FailedError as error:
        # Half-written code is no reason to take the emulator down: the next change tries again.
        say(f"{error}")
        platform.forget("chalice local")


def _print_log(source: str, line: str) -> None:
    text = condense(source, line)
    if text is not None:
        say(f"{time.strftime('%H:%M:%S')} {text}")


if __name__ == "__main__":
    sys.exit(main())
