"""What Chalice knows of a stage, kept with the stage so that any machine can deploy it.

    python -m infra.record fetch --stage dev
    python -m infra.record keep --stage dev [--release COMMIT]

Chalice writes the ids of what it made into `.chalice/deployed/<stage>.json` and needs them at the
next deployment: without them it makes a second API. A runner of GitHub Actions is new every time,
so `fetch` puts the file in place before a deployment and `keep` stores it after. It lies in the SSM
parameter `/eventline/<stage>/deployment`, packed, with the commit that passed its smoke test last:
the release to go back to. `fetch` prints that commit, or nothing.
"""

import base64
import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infra import project
from infra.project import InfraError, Json

_COMMIT = re.compile(r"[0-9a-f]{40}")
# What a standard parameter holds (AWS Systems Manager User Guide, "Managing parameter tiers").
_STANDARD_CHARACTERS = 4096


class UnknownDeploymentError(InfraError):
    """Raised when a stage is deployed and nothing here or there says what it consists of."""

    def __init__(self, stage: str) -> None:
        super().__init__(
            f"{stage} is deployed, but from a machine that kept the record to itself: run "
            f"`python -m infra.record keep --stage {stage}` there, or destroy the application"
        )


class NoRecordError(InfraError):
    """Raised when there is nothing to keep, since nothing was deployed from here."""

    def __init__(self, stage: str) -> None:
        super().__init__(f"{stage} is not deployed from here: no .chalice/deployed/{stage}.json")


class NotACommitError(InfraError):
    """Raised when a release is no full commit id."""

    def __init__(self, release: str) -> None:
        super().__init__(f"a release is a commit id of 40 hexadecimal digits, not {release!r}")


def parameter(stage: str) -> str:
    """Return the name of the parameter that holds the record of `stage`."""
    return f"/{project.APP}/{stage}/deployment"


def fetch(session: Any, stage: str, project_dir: Path) -> str | None:
    """Put Chalice's record of `stage` in place; return the last good release, None for the first.

    A record that is here already gives way to the one that is kept. Raises
    `UnknownDeploymentError` where a deployment would make everything a second time.
    """
    kept = _read(project.client(session, "ssm"), stage)
    target = _file(project_dir, stage)
    if kept is None:
        if not target.is_file() and _is_deployed(project.client(session, "lambda"), stage):
            raise UnknownDeploymentError(stage)
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(kept["deployed"], indent=2) + "\n", encoding="utf-8")
    release: str | None = kept["release"]
    return release


def keep(session: Any, stage: str, project_dir: Path, release: str | None = None) -> None:
    """Store Chalice's record of `stage`. `release` is the commit it is of, once it is known to be
    good; without it the last good one stays. Raises `NoRecordError` or `NotACommitError`."""
    source = _file(project_dir, stage)
    if not source.is_file():
        raise NoRecordError(stage)
    ssm = project.client(session, "ssm")
    if release is None:
        release = (_read(ssm, stage) or {}).get("release")
    else:
        check_commit(release)
    value = pack({"release": release, "deployed": json.loads(source.read_text(encoding="utf-8"))})
    tier = {} if len(value) <= _STANDARD_CHARACTERS else {"Tier": "Advanced"}
    ssm.put_parameter(Name=parameter(stage), Type="String", Value=value, Overwrite=True, **tier)


def check_commit(release: str) -> str:
    """Return `release` when it is a full commit id; raises `NotACommitError`."""
    if not _COMMIT.fullmatch(release):
        raise NotACommitError(release)
    return release


def pack(record: Json) -> str:
    """Return `record` as short text; equal records give equal text."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def unpack(value: str) -> Json:
    """The inverse of `pack`."""
    record: Json = json.loads(gzip.decompress(base64.b64decode(value)))
    return record


def _read(ssm: Any, stage: str) -> Json | None:
    try:
        found = ssm.get_parameter(Name=parameter(stage))
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        return None
    return unpack(found["Parameter"]["Value"])


def _is_deployed(lambdas: Any, stage: str) -> bool:
    try:
        lambdas.get_function_configuration(
            FunctionName=project.lambda_name(stage, project.API_HANDLER)
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        return False
    return True


def _file(project_dir: Path, stage: str) -> Path:
    return project_dir / ".chalice" / "deployed" / f"{stage}.json"


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = project.arguments("Fetch or keep what Chalice knows of a stage's deployment.")
    parser.add_argument("verb", choices=["fetch", "keep"])
    parser.add_argument("--release", help="with keep: the commit, now that it is known to be good")
    given = parser.parse_args(argv)
    root = given.project_dir.resolve()

    def command() -> None:
        project.stage_config(project.read_config(root), given.stage)
        session = project.session()
        if given.verb == "keep":
            keep(session, given.stage, root, given.release)
            return
        release = fetch(session, given.stage, root)
        if release is not None:
            project.say(release)

    return project.run(command)


if __name__ == "__main__":
    sys.exit(main())
