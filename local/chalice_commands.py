"""What Chalice's own commands need in a checkout: `app.py` asks for it when one of them imports it.

A command that cannot work ends with one line that says what to type. None of this is shipped.
"""

import argparse
import atexit
import os
import re
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import click
from chalice.cli.filewatch.stat import StatFileWatcher

from local.layout import Layout, parse_env
from local.ports import is_free

_SAM = (
    "chalice package: SAM, its default format, has no way to let a function hear of the uploads of "
    "a bucket in another stack. Type: chalice package --pkg-format terraform OUT, or for all of a "
    "stage: make terraform STAGE={stage}"
)
_NOT_PROVISIONED = (
    "The stage {stage} is not provisioned here. Type: make provision STAGE={stage} "
    "(with AWS credentials)"
)
_INSTEAD = {
    "local": ", or to run it on this machine: make up",
    "deploy": ", or for everything at once: make deploy STAGE={stage}",
    "package": ", or for a Terraform module without it: make terraform STAGE={stage}",
}
_NOT_UP = (
    "The stage local runs on what `make up` starts. Type: make up, and in another terminal: "
    "chalice local --stage local --port {port}"
)
_PORT_TAKEN = "Port {port} is taken. Type: chalice local --stage {stage} --port {other}"


def prepare() -> None:
    """Get ready for the command of Chalice's that imports `app`, or end it.

    Afterwards importing `app` works, `chalice local --stage local` finds the local platform, and
    what is deployed or packaged holds its bytecode. In any other program this does nothing.
    """
    context = click.get_current_context(silent=True)
    # `chalice local` imports the app in a thread of a process of its own.
    command = "local" if "CHALICE_WORKER" in os.environ else context and context.info_name
    if not command:
        return
    _require_packages()
    stage = _argument("--stage", "dev")
    if command == "package" and _argument("--pkg-format", "cloudformation") == "cloudformation":
        _end(_SAM.format(stage=stage))
    _require_stage(command, stage)
    from infra import gateway

    if command == "local":
        _point_at_platform(stage)
        _reload_for_code_only()
    elif command in {"deploy", "package"}:
        # Chalice has put the variables of the stage into the environment.
        gateway.extend_swagger(os.environ.get("AUTH_MODE", ""), os.environ.get("CORS_ORIGIN", ""))
        _compile()


def _require_packages() -> None:
    """End unless what is shipped with the app is installed here too."""
    for line in Path("requirements.txt").read_text(encoding="utf-8").splitlines():
        if name := re.match(r"[A-Za-z0-9._-]+", line):
            try:
                distribution(name[0])
            except PackageNotFoundError:
                _end(f"{name[0]} is not installed. Type: pip install -r requirements.txt")


def _require_stage(command: str, stage: str) -> None:
    """End unless `app` can be imported with the variables of the stage, and has its policies."""
    from chalicelib.core.config import load
    from chalicelib.core.errors import ConfigurationError
    from infra import check_settings, policies, project, provision

    folder = Path.cwd()
    try:
        part = project.stage_config(project.read_config(folder), stage)
        missing = provision.ENVIRONMENT.keys() - part["environment_variables"].keys()
        # Chalice has put the variables of the stage into the environment.
        load(dict.fromkeys(missing, check_settings.STAND_IN) | os.environ)
    except project.InfraError as error:
        _end(str(error))
    except ConfigurationError as error:
        _end(str(check_settings.SettingsError(stage, error.detail)))
    if command == "generate-models":
        # A model of the routes holds no name of a resource.
        os.environ.update(dict.fromkeys(missing, check_settings.STAND_IN))
    elif missing or (command != "local" and policies.missing_policies(folder, part)):
        _end((_NOT_PROVISIONED + _INSTEAD.get(command, "")).format(stage=stage))


def _point_at_platform(stage: str) -> None:
    """For the stage `local`, talk to the emulator of `make up`; end when the port is taken."""
    port = int(_argument("--port", "8000"))
    if stage == "local" and "AWS_ENDPOINT_URL" not in os.environ:
        layout = Layout(Path.cwd(), port, 0)
        if not layout.env_file.is_file():
            _end(_NOT_UP.format(port=port + 1))
        told = parse_env(layout.env_file.read_text())
        aws_port = urlsplit(told["AWS_ENDPOINT_URL"]).port or 0
        if is_free(aws_port):
            _end(_NOT_UP.format(port=port + 1))
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ.update(Layout(Path.cwd(), port, aws_port).tool_environ())
    if not is_free(port):
        other = next((more for more in range(port + 1, port + 100) if is_free(more)), 0)
        _end(_PORT_TAKEN.format(port=port, stage=stage, other=other))


def _reload_for_code_only() -> None:
    """Have Chalice's reloader look at what `app` is made of. It looks at every file below the
    project, and would start anew with each that the platform writes."""
    layout = Layout(Path.cwd(), 0, 0)
    seen: list[int] = []

    def look(_watcher: object, _folder: str, start_anew: Callable[[], None]) -> None:
        seen.append(layout.code_version())
        if len(seen) > 1 and seen.pop(0) != seen[0]:
            start_anew()

    StatFileWatcher._single_pass_poll = look  # type: ignore[assignment, method-assign]  # noqa: SLF001


def _compile() -> None:
    from infra import archive

    # Chalice packages after it has imported the app, and tells nobody when it is done.
    stack = ExitStack()
    stack.enter_context(archive.ready(Path.cwd(), {}))
    atexit.register(stack.close)


def _argument(name: str, default: str) -> str:
    """Return an option of the command, whose context Chalice's threads do not have."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(name, dest="found", default=default)
    found: str = parser.parse_known_args()[0].found
    return found


def _end(line: str) -> NoReturn:
    """Print a line and end the process with status 1."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
    if threading.current_thread() is threading.main_thread():
        raise SystemExit(1)
    # Only the thread would end, and its process wait for ever.
    os._exit(1)
