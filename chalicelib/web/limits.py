"""What any request may be: how long its body, its headers and its parameters.

The limits are those of the way in, so that the platform on a laptop refuses what the deployed one
cannot take. Source: Amazon API Gateway Developer Guide, "Quotas for configuring and running a REST
API": 10,240 bytes of request line and headers; AWS Lambda Developer Guide, "Lambda quotas": 6 MB an
invocation, in which the body is base64.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.core.errors import (
    FieldError,
    HeadersTooLargeError,
    InvalidRequestError,
    PayloadTooLargeError,
    UnsupportedCodingError,
)

MAX_BODY_BYTES = 4_500_000
SMALL_BODY_BYTES = 64 * 1024
"""Enough for every request that is an order, not a payload."""
MAX_HEADER_BYTES = 10_240
MAX_PARAMETER_CHARACTERS = 1024
MAX_PARAMETERS = 50
MAX_GZIP_MEMBERS = 100
"""To begin each takes a copy of the rest of the body: together some 50 ms of the largest."""
_SHOWN = 64
CODING = "gzip"
_GZIP_MAGIC = b"\x1f\x8b"
_WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS


def check_body(body: bytes, limit: int) -> None:
    """Raise `PayloadTooLargeError` for a body beyond `limit` bytes."""
    if len(body) > limit:
        raise PayloadTooLargeError(f"the body has {len(body)} bytes; at most {limit} are accepted")


def decode_body(body: bytes, coding: str | None, limit: int) -> bytes:
    """The body without its content coding (RFC 9110, section 8.4); at most `limit` bytes.

    API Gateway may have decompressed it before and left the header: a body that does not start as
    gzip does is taken as it is. Raises `UnsupportedCodingError` for another coding than gzip,
    `InvalidRequestError` for broken gzip or more than `MAX_GZIP_MEMBERS`, `PayloadTooLargeError`
    without unpacking more than the limit.
    """
    named = (coding or "identity").strip(" \t").lower()
    if named == "identity" or not body:
        return body
    if named not in (CODING, f"x-{CODING}"):
        raise UnsupportedCodingError(f"a body is sent plain or with Content-Encoding: {CODING}")
    if not body.startswith(_GZIP_MAGIC):
        return body
    parts: list[bytes] = []
    size = 0
    while body:
        # A file of gzip may have several members (RFC 1952, section 2.2).
        if len(parts) == MAX_GZIP_MEMBERS:
            raise InvalidRequestError.at(
                "", f"has more than {MAX_GZIP_MEMBERS} members of {CODING}"
            )
        unpack = zlib.decompressobj(_WITH_GZIP_HEADER)
        try:
            part = unpack.decompress(body, limit + 1 - size)
        except zlib.error as error:
            raise InvalidRequestError.at(
                "", f"is not the {CODING} that it is said to be"
            ) from error
        parts.append(part)
        size += len(part)
        if size > limit:
            raise PayloadTooLargeError(f"the body unpacks to more than {limit} bytes")
        if not unpack.eof:
            raise InvalidRequestError.at("", f"ends before its {CODING} does")
        body = unpack.unused_data
    return b"".join(parts)


def check_headers(headers: Mapping[str, Any]) -> None:
    """Raise `HeadersTooLargeError` when names and values together are beyond the limit."""
    size = header_bytes(headers.items())
    if size > MAX_HEADER_BYTES:
        raise HeadersTooLargeError(
            f"the headers have {size} bytes; at most {MAX_HEADER_BYTES} are accepted"
        )


def header_bytes(headers: Any) -> int:
    """The bytes of (name, value) pairs."""
    return sum(len(f"{name}{value}".encode("utf-8", "surrogatepass")) for name, value in headers)


def check_parameters(path: Mapping[str, str], query: Mapping[str, Sequence[str]]) -> None:
    """Raise `InvalidRequestError` naming every parameter that is too long."""
    if sum(len(values) for values in query.values()) > MAX_PARAMETERS:
        raise InvalidRequestError(f"the query has more than {MAX_PARAMETERS} parameters")
    fault = f"is longer than {MAX_PARAMETER_CHARACTERS} characters"
    faults = [FieldError(f"/path/{name}", fault) for name, value in path.items() if _long(value)]
    faults += [
        FieldError(f"/query/{name[:_SHOWN]}", fault)
        for name, values in query.items()
        if _long(name) or any(_long(value) for value in values)
    ]
    if faults:
        raise InvalidRequestError("the request has a parameter that is too long", faults)


def _long(text: str) -> bool:
    return len(text) > MAX_PARAMETER_CHARACTERS
