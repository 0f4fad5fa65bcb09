"""One checkout and one stage of it: configuration file, names, AWS session, endpoint.

Every name that Chalice or `resources.yaml` gives to something is spelled here and nowhere else
in `infra`.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.core.config import TABLE
from chalicelib.core.errors import ConfigurationError

if TYPE_CHECKING:
    import boto3

APP = "eventline"
API_HANDLER = "api_handler"
ROOT = Path(__file__).resolve().parent.parent

Json = dict[str, Any]


class InfraError(Exception):
    """Raised when a command cannot go on; the message tells the person at the terminal why."""


class UnknownStageError(InfraError):
    """Raised for a stage that `.chalice/config.json` does not have; carries the known ones."""

    def __init__(self, stage: str, known: list[str]) -> None:
        super().__init__(f"no stage {stage!r} in .chalice/config.json; it has {', '.join(known)}")


def read_config(project_dir: Path) -> Json:
    """Return `.chalice/config.json` of `project_dir` as it stands."""
    config: Json = json.loads(config_path(project_dir).read_text(encoding="utf-8"))
    return config


def write_config(project_dir: Path, config: Json) -> None:
    """Replace `.chalice/config.json` in one step, so that no reader sees half a file."""
    path = config_path(project_dir)
    beside = path.with_name(path.name + ".new")
    beside.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)


def config_path(project_dir: Path) -> Path:
    """Return the path of the Chalice configuration of `project_dir`."""
    return project_dir / ".chalice" / "config.json"


def stage_config(config: Json, stage: str) -> Json:
    """Return the part of `config` that belongs to `stage`; raises `UnknownStageError`."""
    stages: dict[str, Json] = config["stages"]
    if stage not in stages:
        raise UnknownStageError(stage, sorted(stages))
    return stages[stage]


def setting(stage_part: Json, name: str) -> str:
    """Return the environment variable `name` as the stage's functions will see it.

    The value is that of the stage, else the default in `chalicelib.core.config.TABLE`.
    """
    value = stage_part.get("environment_variables", {}).get(name)
    if value is not None:
        return str(value)
    default = next((entry.default for entry in TABLE if entry.name == name), None)
    if default is None:
        raise InfraError(f"{name} is not set in the stage and has no default")
    return default


def stack_name(stage: str) -> str:
    """Return the name of the CloudFormation stack that holds the stage's state."""
    return f"{APP}-{stage}-resources"


def alarms_stack_name(stage: str) -> str:
    """Return the name of the CloudFormation stack with the stage's alarms and dashboard."""
    return f"{APP}-{stage}-alarms"


def lambda_name(stage: str, function: str) -> str:
    """Return the Lambda name of `function`: Chalice gives the REST handler no suffix."""
    return f"{APP}-{stage}" if function == API_HANDLER else f"{APP}-{stage}-{function}"


def role_name(stage: str, function: str) -> str:
    """Return the name of the role that Chalice makes for `function`."""
    return f"{APP}-{stage}-{function}"


def session() -> "boto3.Session":
    """Return a session with a region; raises `InfraError` when none is configured."""
    # Who runs Chalice's own commands may have no more than Chalice.
    import boto3

    made = boto3.Session()
    if made.region_name is None:
        raise InfraError("no AWS region: set AWS_DEFAULT_REGION or configure a profile")
    return made


def client(made: "boto3.Session", service: str) -> Any:
    """Return a client that rides out throttling, which control planes do readily."""
    return made.client(service, config=Config(retries={"mode": "standard", "max_attempts": 8}))


def emulator_endpoint() -> str | None:
    """Return the endpoint in AWS_ENDPOINT_URL, without its last slash, unless it is AWS's own."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "").rstrip("/")
    host = urlsplit(endpoint).hostname or ""
    if not endpoint or host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws")):
        return None
    return endpoint


def say(line: str) -> None:
    """Print one line of progress at once, also when the output is a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all commands share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--stage", required=True, help="local, dev or prod")
    parser.add_argument(
        "--project-dir", type=Path, default=ROOT, help="the checkout (default: this one)"
    )
    return parser


def run(command: Callable[[], object]) -> int:
    """Run a command for the terminal; returns the exit status, and prints what AWS refused."""
    try:
        command()
    except (InfraError, ConfigurationError, ClientError, BotoCoreError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0
