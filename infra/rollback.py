"""Puts the application of an earlier release back in place of the one that is deployed.

    python -m infra.rollback --stage dev --release COMMIT

The state stays as it is: tables, buckets and queues of the later release are not taken away, for
what was written to them meanwhile would go too. So a release may add state at any time, but takes
away only what the release before it does not use. The tools are those of this checkout, the
application, its configuration and its policies those of the earlier commit.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from infra import deploy, project, provision, record
from infra.project import InfraError, say


class UnknownReleaseError(InfraError):
    """Raised when the commit is not in this clone; carries what git said."""

    def __init__(self, release: str, reason: str) -> None:
        super().__init__(f"{release} cannot be checked out: {reason.strip()}")


def roll_back(stage: str, release: str, root: Path = project.ROOT) -> str:
    """Deploy the application of the commit `release` and return the URL of the API.

    Raises `UnknownReleaseError`, and what provisioning and deploying raise.
    """
    record.check_commit(release)
    session = project.session()
    with worktree(root, release) as earlier:
        record.fetch(session, stage, earlier)
        # With the template of this checkout: names and policies for the earlier application, and
        # the visibility of its queues, but no resource less.
        provision.provision(stage, earlier)
        try:
            url = deploy.deploy(stage, earlier)
        finally:
            if deploy.deployed_resources(stage, earlier):
                record.keep(session, stage, earlier)
        record.keep(session, stage, earlier, release)
    say(f"{stage}: back at {release}")
    return url


@contextmanager
def worktree(root: Path, release: str) -> Iterator[Path]:
    """A directory with the files of a commit, beside the checkout `root`; gone after the block."""
    with TemporaryDirectory(prefix="eventline-") as folder:
        earlier = Path(folder).resolve() / "earlier"
        made = _git(root, "worktree", "add", "--detach", str(earlier), release)
        if made.returncode:
            raise UnknownReleaseError(release, made.stderr)
        try:
            yield earlier
        finally:
            _git(root, "worktree", "remove", "--force", str(earlier))


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", "-C", str(root), *arguments],  # noqa: S607  # git is where the person has it
        capture_output=True,
        text=True,
        check=False,
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = project.arguments("Deploy the application of an earlier release.")
    parser.add_argument("--release", required=True, help="the commit, in full")
    given = parser.parse_args(argv)
    return project.run(
        lambda: say(f"API: {roll_back(given.stage, given.release, given.project_dir.resolve())}")
    )


if __name__ == "__main__":
    sys.exit(main())
