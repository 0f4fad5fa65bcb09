"""Tokens: stored once, read back, removed, paged."""

import pytest
from msgspec.structs import replace

from chalicelib.core.errors import ConflictError, TransientError
from chalicelib.tokens.model import Token
from tests.support.factories import make_token, unique
from tests.support.store_backends import Backend


@pytest.mark.parametrize("expires_at", [None, "2030-01-01T00:00:00.000Z"])
def test_a_token_is_read_back_as_it_was(aws_backends: Backend, expires_at: str | None) -> None:
    token = make_token(owner=unique("owner"), expires_at=expires_at)
    aws_backends.tokens.put(token)
    assert aws_backends.tokens.get(token.token_id) == token
    assert aws_backends.calls == ["PutItem", "GetItem"]


def test_an_id_that_is_taken_conflicts_unless_it_is_to_be_replaced(aws_backends: Backend) -> None:
    # Given a token
    token = make_token(owner="first")
    aws_backends.tokens.put(token)
    other = Token(token.token_id, token.secret_sha256, "second", ("admin",), token.created_at)
    # When another of its id is stored
    with pytest.raises(ConflictError):
        aws_backends.tokens.put(other)
    # Then the first stays, until replacing is meant
    assert aws_backends.tokens.get(token.token_id) == token
    aws_backends.tokens.put(other, replace=True)
    assert aws_backends.tokens.get(token.token_id) == other


def test_a_removed_token_is_gone(aws_backends: Backend) -> None:
    token = make_token()
    aws_backends.tokens.put(token)
    assert aws_backends.tokens.delete(token.token_id)
    assert aws_backends.tokens.get(token.token_id) is None
    assert not aws_backends.tokens.delete(token.token_id)


def test_pages_show_every_token_once(aws_backends: Backend) -> None:
    made = [make_token() for _ in range(7)]
    for token in made:
        aws_backends.tokens.put(token)
    seen: list[str] = []
    after: str | None = None
    for _ in range(100):
        page, after = aws_backends.tokens.page(2, after)
        assert len(page) <= 2
        seen += [token.token_id for token in page]
        if after is None:
            break
    assert after is None
    assert len(seen) == len(set(seen))
    assert {token.token_id for token in made} <= set(seen)


def test_the_use_of_a_token_is_noted_and_nothing_else_of_it_changes(aws_backends: Backend) -> None:
    token = make_token()
    aws_backends.tokens.put(token)
    hour = "2026-03-14T12:00:00.000Z"
    aws_backends.tokens.note_use(token.token_id, hour)
    noted = aws_backends.tokens.get(token.token_id)
    assert noted == replace(token, last_used_at=hour)


def test_to_note_the_use_of_a_revoked_token_does_not_bring_it_back(aws_backends: Backend) -> None:
    token = make_token()
    with pytest.raises(TransientError):
        aws_backends.tokens.note_use(token.token_id, "2026-03-14T12:00:00.000Z")
    assert aws_backends.tokens.get(token.token_id) is None
