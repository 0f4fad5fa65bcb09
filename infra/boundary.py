"""The permissions boundary of the functions' roles, where the account has one for the stage.

Who may make roles may give them any rights, unless it can only make roles with a boundary. The role
that deploys from GitHub (`infra/github-oidc.yaml`) can do no other, so FUNCTION_BOUNDARY_ARN names
the boundary there. Without that variable nothing here does anything. Source: IAM User Guide,
"Permissions boundaries for IAM entities".
"""

import os
from collections.abc import Iterable
from typing import Any

from botocore.exceptions import ClientError
from chalice.cli.factory import CLIFactory

from infra import project
from infra.project import say

VARIABLE = "FUNCTION_BOUNDARY_ARN"


class Factory(CLIFactory):
    """Chalice's factory, whose sessions make every role with the boundary; Chalice cannot."""

    def create_botocore_session(self, **options: Any) -> Any:  # type: ignore[override]
        """Return Chalice's session, bound when there is a boundary."""
        session = super().create_botocore_session(**options)
        boundary = wanted()
        if boundary is not None:
            session.register("provide-client-params.iam.CreateRole", _with(boundary))
        return session


def wanted() -> str | None:
    """Return the ARN of the boundary, or None when roles are made without one."""
    return os.environ.get(VARIABLE) or None


def apply(iam: Any, stage: str, functions: Iterable[str]) -> int:
    """Bind the roles that are there already; returns how many were not bound so far.

    `iam` is a boto3 client. Roles from a deployment without a boundary could otherwise not be given
    their policies. Safe to repeat.
    """
    boundary = wanted()
    if boundary is None:
        return 0
    changed = 0
    for function in functions:
        role = project.role_name(stage, function)
        try:
            there = iam.get_role(RoleName=role)["Role"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchEntity":
                raise
            continue
        if there.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn") == boundary:
            continue
        iam.put_role_permissions_boundary(RoleName=role, PermissionsBoundary=boundary)
        say(f"{role}: bound by {boundary.rsplit('/', 1)[-1]}")
        changed += 1
    return changed


def _with(boundary: str) -> Any:
    def add(params: dict[str, Any], **_more: Any) -> None:
        params["PermissionsBoundary"] = boundary

    return add
