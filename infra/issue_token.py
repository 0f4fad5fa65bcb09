"""Issues an API token by writing to the stage's table: how the first one comes to be.

    python -m infra.issue_token --stage dev --owner me --scopes admin

Prints the token, once. With `--id` the token of that id is replaced, so that only the newest works.
"""

import argparse
import sys

from chalicelib.core import clock
from chalicelib.core.names import is_owner
from chalicelib.tokens.manage import issue_token
from chalicelib.tokens.model import is_token_id
from chalicelib.tokens.store import TokenStore
from chalicelib.web.callers import SCOPES
from infra import project

ALL_SCOPES = "all"


def issue(given: argparse.Namespace) -> str:
    """Issue the token that was asked for and return its text; `InfraError` for bad arguments."""
    scopes = list(SCOPES) if given.scopes == ALL_SCOPES else given.scopes.split(",")
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown:
        raise project.InfraError(f"no such scope: {', '.join(unknown)}")
    if not is_owner(given.owner):
        raise project.InfraError("an owner is 1 to 64 letters, digits and ._@-")
    if given.id is not None and not is_token_id(given.id):
        raise project.InfraError("an id is 1 to 32 lower-case letters and digits")
    part = project.stage_config(project.read_config(given.project_dir), given.stage)
    table = project.setting(part, "TOKENS_TABLE")
    store = TokenStore(project.client(project.session(), "dynamodb"), table)
    now = clock.to_text(clock.utc_now())
    return issue_token(store, given.owner, scopes, now, token_id=given.id)[1]


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = project.arguments("Issue an API token.")
    parser.add_argument("--owner", required=True, help="whose data the token gives access to")
    parser.add_argument("--scopes", required=True, help=f"comma-separated, or {ALL_SCOPES}")
    parser.add_argument("--id", help="the token's id; one of that id is replaced")
    given = parser.parse_args(argv)
    return project.run(lambda: sys.stdout.write(issue(given) + "\n"))


if __name__ == "__main__":
    sys.exit(main())
