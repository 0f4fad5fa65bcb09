"""The permissions boundary: on every role that is made, and on those that are there."""

from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from infra import boundary, project

ARN = "arn:aws:iam::123456789012:policy/eventline-github-dev-functions"
OTHER = "arn:aws:iam::123456789012:policy/another"


class FakeIam:
    """Roles with their boundaries."""

    def __init__(self, roles: dict[str, str | None]) -> None:
        self.roles = roles
        self.writes: list[str] = []

    def get_role(self, *, RoleName: str) -> dict[str, Any]:  # noqa: N803
        if RoleName not in self.roles:
            error = {"Error": {"Code": "NoSuchEntity", "Message": RoleName}}
            raise ClientError(error, "GetRole")
        arn = self.roles[RoleName]
        bound = {"PermissionsBoundary": {"PermissionsBoundaryArn": arn}} if arn else {}
        return {"Role": {"RoleName": RoleName, **bound}}

    def put_role_permissions_boundary(self, *, RoleName: str, PermissionsBoundary: str) -> None:  # noqa: N803
        self.roles[RoleName] = PermissionsBoundary
        self.writes.append(RoleName)


def roles() -> FakeIam:
    return FakeIam(
        {
            "eventline-dev-api_handler": None,
            "eventline-dev-authorize": ARN,
            "eventline-dev-reconcile": OTHER,
            "eventline-prod-api_handler": None,
        }
    )


FUNCTIONS = ["api_handler", "authorize", "reconcile", "not_yet_there"]


def test_roles_that_are_there_are_bound_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(boundary.VARIABLE, ARN)
    iam = roles()
    assert boundary.apply(iam, "dev", FUNCTIONS) == 2
    assert boundary.apply(iam, "dev", FUNCTIONS) == 0
    assert iam.writes == ["eventline-dev-api_handler", "eventline-dev-reconcile"]
    assert iam.roles["eventline-prod-api_handler"] is None


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_nothing_is_bound(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv(boundary.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(boundary.VARIABLE, value)
    iam = roles()
    assert boundary.apply(iam, "dev", FUNCTIONS) == 0
    assert iam.writes == []


@pytest.mark.parametrize("given", [ARN, ""])
def test_a_role_that_chalice_makes_has_the_boundary(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    # Given
    monkeypatch.setenv(boundary.VARIABLE, given)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    session = boundary.Factory(str(project.ROOT), environ={}).create_botocore_session()
    client = session.create_client("iam")
    wanted = {"RoleName": "eventline-dev-authorize", "AssumeRolePolicyDocument": "{}"}
    answer = {
        "Role": {
            "Path": "/",
            "RoleName": "eventline-dev-authorize",
            "RoleId": "A" * 20,
            "Arn": f"arn:aws:iam::123456789012:role/{'x' * 20}",
            "CreateDate": "2026-01-01T00:00:00Z",
        }
    }

    # When, Then: the stub refuses a request that is not exactly this
    with Stubber(client) as stub:
        stub.add_response(
            "create_role", answer, wanted | ({"PermissionsBoundary": given} if given else {})
        )
        client.create_role(**wanted)
        stub.assert_no_pending_responses()
