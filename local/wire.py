"""Reading a request body off a connection, within API Gateway's limits.

Source: RFC 9112 sections 6 and 7.1; the 10 MB limit is API Gateway's quota "Payload size".
"""

import re
from collections.abc import Iterable
from typing import BinaryIO

MAX_BODY_BYTES = 10 * 1024 * 1024
# A chunk-size line or a trailer line longer than this is nobody's honest request.
_MAX_LINE_BYTES = 4096
_MAX_TRAILER_LINES = 64
_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?\r?\n")


class BodyError(Exception):
    """Raised when a body cannot be taken: `status` 400 (malformed) or 413 (over the limit).

    What is left on the connection has no known end, so it must be closed after the answer.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class DisconnectedError(Exception):
    """Raised when the client goes away before its body is complete: there is nobody to answer."""


def body_length(
    lengths: Iterable[str], encodings: Iterable[str], limit: int = MAX_BODY_BYTES
) -> int | None:
    """How many bytes of body follow, from every Content-Length and Transfer-Encoding header.

    Returns None for a chunked body. Raises `BodyError` when the headers contradict each other,
    which is how requests are smuggled, or name more than `limit` bytes.
    """
    found = {part.strip() for value in lengths for part in value.split(",")}
    codings = [part.strip().lower() for value in encodings for part in value.split(",")]
    if codings:
        if found:
            raise BodyError(400, "Content-Length and Transfer-Encoding exclude each other")
        if codings != ["chunked"]:
            raise BodyError(400, "the only Transfer-Encoding understood is chunked")
        return None
    if not found:
        return 0
    text = found.pop()
    if found or not _DIGITS.fullmatch(text):
        raise BodyError(400, "Content-Length is not a single whole number")
    if int(text) > limit:
        raise BodyError(413, f"the body is larger than {limit} bytes")
    return int(text)


def read_body(stream: BinaryIO, length: int | None, limit: int = MAX_BODY_BYTES) -> bytes:
    """Read a body of `length` bytes, or a chunked one when `length` is None.

    Raises `BodyError` when chunks are malformed or exceed `limit` together, and
    `DisconnectedError` when the stream ends early.
    """
    return _read_chunks(stream, limit) if length is None else _read_exactly(stream, length)


def _read_exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length) if length else b""
    if len(data) < length:
        raise DisconnectedError
    return data


def _read_chunks(stream: BinaryIO, limit: int) -> bytes:
    body = bytearray()
    while True:
        match = _CHUNK_SIZE.fullmatch(_read_line(stream))
        if not match:
            raise BodyError(400, "a chunk's size line is malformed")
        size = int(match[1], 16)
        if size == 0:
            break
        if len(body) + size > limit:
            raise BodyError(413, f"the body is larger than {limit} bytes")
        body += _read_exactly(stream, size)
        if _read_line(stream) not in (b"\r\n", b"\n"):
            raise BodyError(400, "a chunk is longer than its size line says")
    for _ in range(_MAX_TRAILER_LINES):
        if _read_line(stream) in (b"\r\n", b"\n"):
            return bytes(body)
    raise BodyError(400, "too many trailer lines")


def _read_line(stream: BinaryIO) -> bytes:
    line = stream.readline(_MAX_LINE_BYTES)
    if not line:
        raise DisconnectedError
    if not line.endswith(b"\n"):
        raise BodyError(400, "a chunk's line is too long")
    return line
