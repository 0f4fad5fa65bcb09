"""Tokens: their text, their validity, what a caller may do; issuing and checking them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.errors import (
    ForbiddenError,
    NotFoundError,
    TransientError,
    UnauthenticatedError,
)
from chalicelib.core.names import is_owner
from chalicelib.tokens.manage import authenticate, issue_token
from chalicelib.tokens.model import format_token, hash_secret, is_token_id, is_valid, parse_token
from chalicelib.web.callers import SCOPES, Caller
from tests.support.factories import make_token
from tests.support.fake_stores import FakeAws, FakeTokenStore

NOW = "2026-03-14T12:00:00.000Z"
SECRET = "5" * 64


@pytest.fixture
def store() -> FakeTokenStore:
    return FakeTokenStore(FakeAws())


def test_a_token_text_gives_its_parts_back() -> None:
    assert parse_token(format_token("abc123", SECRET)) == ("abc123", SECRET)


@given(st.text())
def test_any_text_is_a_token_or_none(text: str) -> None:
    parsed = parse_token(text)
    assert parsed is None or format_token(*parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "evl__" + SECRET,
        "evl_abc_" + SECRET[1:],
        "evl_abc_" + SECRET + "5",
        "evl_abc_" + "G" * 64,
        "evl_ABC_" + SECRET,
        "evl_" + "a" * 33 + "_" + SECRET,
        "evl_abc_" + SECRET + "\n",
        " evl_abc_" + SECRET,
        "xevl_abc_" + SECRET,
    ],
)
def test_other_texts_are_not_tokens(text: str) -> None:
    assert parse_token(text) is None


def test_only_the_right_secret_is_valid() -> None:
    token = make_token(secret=SECRET)
    assert is_valid(token, SECRET, NOW)
    assert not is_valid(token, "6" + SECRET[1:], NOW)
    assert not is_valid(token, "", NOW)
    assert not is_valid(token, token.secret_sha256, NOW)


@pytest.mark.parametrize(
    ("expires_at", "valid"),
    [
        (None, True),
        ("2026-03-14T12:00:00.001Z", True),
        (NOW, False),
        ("2026-03-14T11:59:59.999Z", False),
    ],
)
def test_a_token_is_valid_until_it_expires(expires_at: str | None, *, valid: bool) -> None:
    assert is_valid(make_token(expires_at=expires_at), SECRET, NOW) is valid


def test_what_is_shown_of_a_token_holds_no_hash() -> None:
    token = make_token()
    assert token.secret_sha256 not in str(token.to_dict())


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_allows_itself_and_admin_allows_all(scope: str) -> None:
    Caller("alice", frozenset({scope}), "t").require(scope)
    Caller("alice", frozenset({"admin"}), "t").require(scope)
    others = frozenset(SCOPES) - {scope, "admin"}
    with pytest.raises(ForbiddenError):
        Caller("alice", others, "t").require(scope)
    with pytest.raises(ForbiddenError):
        Caller("alice", frozenset(), "t").require(scope)


def test_another_owners_data_looks_as_if_it_did_not_exist() -> None:
    alice = Caller("alice", frozenset({"events:read"}), "t")
    alice.check_owner("alice", "event")
    with pytest.raises(NotFoundError, match="no such event"):
        alice.check_owner("bob", "event")
    assert alice.sees_only == "alice"


def test_an_admin_sees_every_owners_data() -> None:
    admin = Caller("alice", frozenset({"admin"}), "t")
    admin.check_owner("bob", "event")
    assert admin.sees_only is None


@pytest.mark.parametrize("name", ["a", "alice@example.com", "team.7_x-y", "A" * 64])
def test_an_owner_is_a_plain_name(name: str) -> None:
    assert is_owner(name)


@pytest.mark.parametrize("name", [None, 7, "", "#", "a#b", "a b", ".a", "a" * 65, "ü", "a\n"])
def test_other_names_are_not_owners(name: object) -> None:
    assert not is_owner(name)


@pytest.mark.parametrize("text", ["", "A", "a" * 33, "a#b", "../x", "a\n"])
def test_other_texts_are_not_token_ids(text: str) -> None:
    assert not is_token_id(text)


def test_a_token_that_was_issued_says_who_its_bearer_is(store: FakeTokenStore) -> None:
    # Given a token with a scope named twice
    token, text = issue_token(store, "alice", ["events:read", "events:read"], NOW)
    # When it comes with a request
    caller = authenticate(store, f"Bearer {text}", NOW)
    # Then the caller is its owner
    assert caller == Caller("alice", frozenset({"events:read"}), token.token_id)
    assert token.scopes == ("events:read",)


def test_only_a_hash_is_stored(store: FakeTokenStore) -> None:
    token, text = issue_token(store, "alice", ["admin"], NOW)
    secret = text.rpartition("_")[2]
    stored = store.get(token.token_id)
    assert stored is not None
    assert stored.secret_sha256 == hash_secret(secret)
    assert secret not in repr(stored)


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER  {}", "Bearer {} "])
def test_the_scheme_is_read_as_http_wants_it(store: FakeTokenStore, form: str) -> None:
    _, text = issue_token(store, "alice", ["admin"], NOW)
    assert authenticate(store, form.format(text), NOW).owner == "alice"


@pytest.mark.parametrize("form", ["{}", "Basic {}", "Bearer{}", "Bearer", "", "Bearer x{}"])
def test_other_headers_cost_no_call(form: str) -> None:
    aws = FakeAws()
    store = FakeTokenStore(aws)
    _, text = issue_token(store, "alice", ["admin"], NOW)
    aws.calls.clear()
    with pytest.raises(UnauthenticatedError):
        authenticate(store, form.format(text), NOW)
    assert aws.calls == []


def test_a_wrong_secret_an_expired_and_a_revoked_token_are_refused(store: FakeTokenStore) -> None:
    # Given a valid token and an expired one
    token, text = issue_token(store, "alice", ["admin"], NOW)
    _, expired = issue_token(store, "alice", ["admin"], NOW, expires_at=NOW)
    wrong = format_token(token.token_id, "0" * 64)
    # When one is revoked
    authenticate(store, f"Bearer {text}", NOW)
    store.delete(token.token_id)
    # Then none of them is honoured
    for refused in (text, expired, wrong):
        with pytest.raises(UnauthenticatedError):
            authenticate(store, f"Bearer {refused}", NOW)


def test_a_token_can_be_issued_again_under_its_id(store: FakeTokenStore) -> None:
    _, old = issue_token(store, "alice", ["admin"], NOW, token_id="bootstrap")
    _, new = issue_token(store, "alice", ["admin"], NOW, token_id="bootstrap")
    assert authenticate(store, f"Bearer {new}", NOW).token_id == "bootstrap"
    with pytest.raises(UnauthenticatedError):
        authenticate(store, f"Bearer {old}", NOW)


def test_the_use_of_a_token_is_noted_once_an_hour() -> None:
    # Given a token that nobody used
    aws = FakeAws()
    store = FakeTokenStore(aws)
    token, text = issue_token(store, "alice", ["admin"], NOW)
    assert token.to_dict()["lastUsedAt"] is None
    aws.calls.clear()
    # When it is used twice in an hour, and once in the next
    for moment in (NOW, "2026-03-14T12:59:59.999Z", "2026-03-14T13:00:00.000Z"):
        authenticate(store, f"Bearer {text}", moment)
    # Then each hour was noted once
    assert aws.calls == ["GetItem", "UpdateItem", "GetItem", "GetItem", "UpdateItem"]
    used = store.get(token.token_id)
    assert used is not None
    assert used.to_dict()["lastUsedAt"] == "2026-03-14T13:00:00.000Z"
    assert (used.owner, used.scopes) == (token.owner, token.scopes)


def test_a_caller_is_let_in_though_the_use_cannot_be_noted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Given a table that takes no writes
    class ReadOnly(FakeTokenStore):
        def note_use(self, token_id: str, hour: str) -> None:
            raise TransientError("the use was not noted", code="ThrottlingException")

    store = ReadOnly(FakeAws())
    _, text = issue_token(store, "alice", ["admin"], NOW)
    # When
    caller = authenticate(store, f"Bearer {text}", NOW)
    # Then
    assert caller.owner == "alice"
    assert "use not noted" in caplog.text
