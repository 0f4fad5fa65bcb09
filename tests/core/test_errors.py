"""Errors: one base, a status and a code each, and which of them may be retried."""

import re

import pytest

from chalicelib.core import errors
from chalicelib.core.errors import (
    EventlineError,
    InvalidRequestError,
    PermanentError,
    TransientError,
)


def _all_errors() -> list[type[EventlineError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, EventlineError)
    ]


@pytest.mark.parametrize("error", _all_errors(), ids=lambda error: error.__name__)
def test_every_error_says_when_it_is_raised_and_has_a_code(error: type[EventlineError]) -> None:
    assert error.__doc__
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", error.code)
    assert 400 <= error.status < 600
    assert error.title
    assert error.__name__.endswith("Error")


def test_a_single_field_at_fault_is_named_twice() -> None:
    error = InvalidRequestError.at("/eventType", "is required")
    assert error.detail == "/eventType: is required"
    assert [(fault.pointer, fault.detail) for fault in error.errors] == [
        ("/eventType", "is required")
    ]
    assert InvalidRequestError.at("", "must be a JSON object").detail.startswith("body: ")


def test_a_processors_own_code_is_kept() -> None:
    assert PermanentError("no").code == "permanent"
    assert PermanentError("no", code="schema").code == "schema"
    assert TransientError("later", code="busy").code == "busy"
    assert TransientError.retryable
    assert not PermanentError.retryable
