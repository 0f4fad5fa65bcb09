"""Request bodies as `chalice local` reads them off a connection."""

import io

import pytest

from local.wire import BodyError, DisconnectedError, body_length, read_body


def test_no_header_means_no_body() -> None:
    assert body_length([], []) == 0


@pytest.mark.parametrize("headers", [["12"], ["12", "12"], ["12, 12"], [" 12 "]])
def test_a_length_may_be_repeated_but_not_contradicted(headers: list[str]) -> None:
    assert body_length(headers, []) == 12


@pytest.mark.parametrize(
    "headers", [["abc"], ["-1"], ["+1"], ["1_0"], ["1", "2"], ["1,2"], [""], ["٣"], ["9" * 40]]
)
def test_an_unusable_length_is_a_bad_request(headers: list[str]) -> None:
    with pytest.raises(BodyError) as caught:
        body_length(headers, [])
    assert caught.value.status == 400


def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(BodyError) as caught:
        body_length(["11"], [], limit=10)
    assert caught.value.status == 413


def test_chunked_has_no_length() -> None:
    assert body_length([], ["Chunked"]) is None


@pytest.mark.parametrize(
    ("lengths", "encodings"),
    [(["5"], ["chunked"]), ([], ["gzip"]), ([], ["gzip, chunked"]), ([], ["chunked", "chunked"])],
)
def test_what_a_proxy_might_read_differently_is_refused(
    lengths: list[str], encodings: list[str]
) -> None:
    with pytest.raises(BodyError) as caught:
        body_length(lengths, encodings)
    assert caught.value.status == 400


def test_a_body_is_read_to_its_length_and_no_further() -> None:
    stream = io.BytesIO(b"hello, next")
    assert read_body(stream, 5) == b"hello"
    assert stream.read() == b", next"


def test_chunks_are_joined_and_trailers_dropped() -> None:
    stream = io.BytesIO(b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nTrailer: a\r\n\r\nnext")
    assert read_body(stream, None) == b"hello!"
    assert stream.read() == b"next"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"zz\r\nhello\r\n0\r\n\r\n", 400),
        (b"-5\r\nhello\r\n0\r\n\r\n", 400),
        (b"3\r\nhello\r\n0\r\n\r\n", 400),
        (b"1" * 5000 + b"\r\n", 400),
        (b"0\r\n" + b"a: b\r\n" * 100, 400),
        (b"9\r\n123456789\r\n9\r\n123456789\r\n0\r\n\r\n", 413),
        (b"ffffffffffff\r\n", 413),
    ],
)
def test_bad_chunks_are_refused(sent: bytes, status: int) -> None:
    with pytest.raises(BodyError) as caught:
        read_body(io.BytesIO(sent), None, limit=10)
    assert caught.value.status == status


@pytest.mark.parametrize(("sent", "length"), [(b"abc", 5), (b"5\r\nab", None), (b"", None)])
def test_a_client_that_leaves_is_told_apart_from_a_bad_one(sent: bytes, length: int | None) -> None:
    with pytest.raises(DisconnectedError):
        read_body(io.BytesIO(sent), length)
