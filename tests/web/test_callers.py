"""Whom the gateway vouches for, in each mode; and nobody else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.config import AuthMode
from chalicelib.core.errors import ForbiddenError, UnauthenticatedError
from chalicelib.core.names import is_owner
from chalicelib.web.callers import SCOPES, AuthConfig, Caller, caller_of
from chalicelib.web.direct import as_request, direct_caller, is_direct

ACCOUNT = "123456789012"
SUB = "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"
ADMINS = frozenset({"alice", "deployer"})


def door(mode: AuthMode) -> AuthConfig:
    return AuthConfig(mode, "direct", ADMINS)


def by_iam(arn: Any, account: str = ACCOUNT, **identity: Any) -> Caller:
    context = {"accountId": account, "identity": {"userArn": arn, **identity}}
    return caller_of(context, door(AuthMode.IAM))


def by_claims(**claims: Any) -> Caller:
    named = {name.replace("__", ":"): value for name, value in claims.items()}
    return caller_of({"authorizer": {"claims": {"sub": SUB, **named}}}, door(AuthMode.COGNITO))


@pytest.mark.parametrize(
    ("arn", "owner"),
    [
        (f"arn:aws:iam::{ACCOUNT}:user/bob", "bob"),
        (f"arn:aws:iam::{ACCOUNT}:user/team/one/bob", "bob"),
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/i-0abc", "worker"),
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/bob@example.com", "worker"),
        (f"arn:aws-cn:iam::{ACCOUNT}:user/bob", "bob"),
    ],
)
def test_a_user_or_role_owns_by_its_name(arn: str, owner: str) -> None:
    assert by_iam(arn) == Caller(owner, frozenset(SCOPES) - {"admin"}, "")


@pytest.mark.parametrize("kind", ["user/alice", "assumed-role/deployer/session"])
def test_admins_are_those_that_the_setting_names(kind: str) -> None:
    assert by_iam(f"arn:aws:iam::{ACCOUNT}:{kind}").is_admin


@pytest.mark.parametrize(
    "kind",
    [
        "user/Alice",
        "user/alice2",
        "user/alice/bob",
        "assumed-role/other/alice",
        "assumed-role/other/deployer",
    ],
)
def test_nobody_is_admin_by_the_name_of_a_session_or_a_path(kind: str) -> None:
    assert not by_iam(f"arn:aws:sts::{ACCOUNT}:{kind}").is_admin


@pytest.mark.parametrize(
    "arn",
    [
        f"arn:aws:iam::{ACCOUNT}:root",
        f"arn:aws:sts::{ACCOUNT}:federated-user/alice",
        f"arn:aws:iam::{ACCOUNT}:user/a+b",
        f"arn:aws:iam::{ACCOUNT}:user/_a",
        f"arn:aws:iam::{ACCOUNT}:user/",
        f"arn:aws:iam::{ACCOUNT}:user/alice\n",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/alice",
        f"arn:aws:iam::{ACCOUNT}:group/alice",
        f"x arn:aws:iam::{ACCOUNT}:user/alice",
        "alice",
        7,
        ["arn"],
    ],
)
def test_what_can_not_own_anything_is_refused(arn: Any) -> None:
    with pytest.raises(ForbiddenError):
        by_iam(arn)


def test_a_name_of_another_account_is_another_s() -> None:
    for account in ("210987654321", "", None):
        with pytest.raises(ForbiddenError):
            by_iam(f"arn:aws:iam::{ACCOUNT}:user/alice", account=account)  # type: ignore[arg-type]


@pytest.mark.parametrize("identity", [{}, {"userArn": None}, {"userArn": ""}, None, "x"])
def test_an_unsigned_request_is_nobody_s(identity: Any) -> None:
    context = {"accountId": ACCOUNT, "identity": identity, "authorizer": {"owner": "alice"}}
    with pytest.raises(UnauthenticatedError):
        caller_of(context, door(AuthMode.IAM))


@pytest.mark.parametrize(
    "groups",
    [
        "events:read,items:write",
        "[events:read, items:write]",
        "[events:read items:write]",
        "events:read items:write",
        "other,events:read,,items:write,Admin,administrators",
        ["events:read", "items:write", 7],
    ],
)
def test_groups_of_a_pool_are_scopes(groups: Any) -> None:
    assert by_claims(cognito__groups=groups) == Caller(
        SUB, frozenset({"events:read", "items:write"}), ""
    )


def test_a_group_admin_is_admin() -> None:
    assert by_claims(cognito__groups="admin").is_admin


def test_scopes_of_an_access_token_count_with_their_prefix_only() -> None:
    scope = "openid admin events:write eventline/events:read other/admin x/eventline/admin"
    assert by_claims(token_use="access", scope=scope).scopes == {"events:read"}
    assert by_claims(token_use="id", scope=scope).scopes == frozenset()
    assert by_claims(scope=scope).scopes == frozenset()


def test_what_a_user_can_write_gives_nothing() -> None:
    caller = by_claims(
        custom__groups="admin",
        custom__scope="eventline/admin",
        custom__owner="alice",
        email="admin",
        name="admin",
        preferred_username="alice",
        groups="admin",
        scopes="admin",
        owner="alice",
        cognito__username="alice",
    )
    assert caller == Caller(SUB, frozenset(), "")


@pytest.mark.parametrize("claims", [None, {}, {"sub": ""}, {"cognito:groups": "admin"}, "x"])
def test_without_claims_nobody_calls(claims: Any) -> None:
    context = {"authorizer": {"claims": claims, "owner": "alice", "scopes": "admin"}}
    with pytest.raises(UnauthenticatedError):
        caller_of(context, door(AuthMode.COGNITO))


def test_a_subject_that_can_not_own_is_refused() -> None:
    for sub in ("a b", "a#b", "x" * 65, 7):
        with pytest.raises(ForbiddenError):
            by_claims(sub=sub)


def test_a_token_s_owner_comes_from_the_authorizer_alone() -> None:
    context = {
        "authorizer": {"owner": "bob", "scopes": "events:read", "tokenId": "t1"},
        "identity": {"userArn": f"arn:aws:iam::{ACCOUNT}:user/alice"},
        "accountId": ACCOUNT,
    }
    assert caller_of(context, door(AuthMode.TOKEN)) == Caller(
        "bob", frozenset({"events:read"}), "t1"
    )
    del context["authorizer"]
    with pytest.raises(UnauthenticatedError):
        caller_of(context, door(AuthMode.TOKEN))


def test_an_open_stage_lets_everybody_do_everything() -> None:
    assert caller_of({}, door(AuthMode.NONE)) == Caller("direct", frozenset(SCOPES), "")


@given(
    st.sampled_from([AuthMode.TOKEN, AuthMode.IAM, AuthMode.COGNITO]),
    st.recursive(
        st.none() | st.text(max_size=20) | st.integers() | st.booleans(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["authorizer", "identity", "claims", "userArn", "sub", "accountId", "scope"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
)
def test_whatever_the_context_holds_there_is_an_owner_or_a_refusal(
    mode: AuthMode, value: Any
) -> None:
    context = value if isinstance(value, dict) else {"authorizer": value}
    try:
        caller = caller_of(context, door(mode))
    except (UnauthenticatedError, ForbiddenError):
        return
    assert mode is AuthMode.TOKEN or is_owner(caller.owner)
    assert not caller.is_admin


def test_a_direct_invocation_is_its_own_caller_and_none_can_be_forged() -> None:
    request = as_request({"body": "{}", "headers": {"a": "b", "n": 1}}, "ops")
    assert direct_caller(request["requestContext"]) == Caller(
        "ops", frozenset({"events:write"}), "direct"
    )
    assert request["headers"] == {"a": "b"}
    forged = {"eventlineCaller": {"owner": "alice", "scopes": ["admin"]}}
    assert direct_caller(forged) is None
    assert not is_direct({"requestContext": forged})
    others: list[Any] = ["x", None, [], {}, {"body": "{}"}, {"requestContext": None}]
    assert all(is_direct(event) for event in others)
