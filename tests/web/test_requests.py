"""Limits of any request, to the byte."""

import pytest

from chalicelib.core.errors import HeadersTooLargeError, InvalidRequestError, PayloadTooLargeError
from chalicelib.web import limits

LONGEST = "x" * limits.MAX_PARAMETER_CHARACTERS


def test_a_body_may_fill_its_limit() -> None:
    limits.check_body(b"12345", 5)
    with pytest.raises(PayloadTooLargeError, match="6 bytes; at most 5"):
        limits.check_body(b"123456", 5)


def test_a_body_within_the_limit_arrives_through_lambda() -> None:
    # 6 MB an invocation; besides the body in base64 there are headers, twice, and the context.
    assert limits.MAX_BODY_BYTES * 4 / 3 + 20 * limits.MAX_HEADER_BYTES < 6 * 1024 * 1024


@pytest.mark.parametrize("letter", ["x", "ü"])
def test_headers_are_counted_in_bytes_names_included(letter: str) -> None:
    count = (limits.MAX_HEADER_BYTES - 4) // len(letter.encode())
    limits.check_headers({"name": letter * count})
    with pytest.raises(HeadersTooLargeError):
        limits.check_headers({"name": letter * count, "a": ""})


def test_many_small_headers_are_too_many_too() -> None:
    with pytest.raises(HeadersTooLargeError):
        limits.check_headers({f"x-{number:05}": "1" for number in range(2000)})


def test_parameters_may_fill_their_limits() -> None:
    limits.check_parameters({"event_id": LONGEST}, {LONGEST: [LONGEST], "b": ["x"] * 49})


def test_every_parameter_that_is_too_long_is_named_in_short() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        limits.check_parameters(
            {"event_id": LONGEST + "x", "b": "y"},
            {"type": ["x", LONGEST + "x"], "z" * 2000: ["1"], "fine": ["2"]},
        )
    pointers = [fault.pointer for fault in caught.value.errors]
    assert pointers == ["/path/event_id", "/query/type", "/query/" + "z" * 64]


def test_parameters_may_not_be_endless() -> None:
    with pytest.raises(InvalidRequestError, match="more than 50"):
        limits.check_parameters({}, {"a": ["x"] * 25, "b": ["x"] * 26})
