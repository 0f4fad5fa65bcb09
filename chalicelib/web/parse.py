"""From requests to the values that services take; each fault is told by the field it is in."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chalicelib.core import clock
from chalicelib.core.errors import FieldError, InvalidRequestError
from chalicelib.core.names import key_fault
from chalicelib.core.paging import decode_cursor

DEFAULT_LIMIT, MAX_LIMIT = 50, 100
_UTF_8 = r'\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?'
JSON_TYPE = re.compile(rf"application/json{_UTF_8}", re.IGNORECASE)


def check_idempotency_key(key: str) -> None:
    """Raise `InvalidRequestError` unless the header `Idempotency-Key` holds a key."""
    fault = key_fault(key)
    if fault:
        raise InvalidRequestError.at("/header/Idempotency-Key", fault)


def single_values(query: Mapping[str, list[str]], known: tuple[str, ...]) -> dict[str, str]:
    faults = [
        FieldError(f"/query/{name}", "is not known here" if name not in known else "comes twice")
        for name, values in query.items()
        if name not in known or len(values) != 1
    ]
    if faults:
        raise InvalidRequestError("the query can not be understood", faults)
    return {name: values[0] for name, values in query.items()}


def read_limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", str(DEFAULT_LIMIT))
    in_range = len(text) <= len(str(MAX_LIMIT)) and text.isascii() and text.isdecimal()
    if not in_range or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidRequestError.at("/query/limit", f"must be a whole number, 1 to {MAX_LIMIT}")
    return int(text)


def moment_of(query: Mapping[str, str], name: str) -> datetime | None:
    if name not in query:
        return None
    # A `+` that was not percent-encoded arrives as a space.
    moment = read_moment(query[name].replace(" ", "+"))
    if moment is None:
        raise InvalidRequestError.at(f"/query/{name}", "must be an ISO 8601 date or time")
    return moment


def read_moment(text: Any) -> datetime | None:
    """The moment that a text names in ISO 8601; None when it names none."""
    try:
        return clock.from_text(text)
    except (ValueError, TypeError, OverflowError):
        return None


def read_cursor(query: Mapping[str, str]) -> str | None:
    if "cursor" not in query:
        return None
    list_key = decode_cursor(query["cursor"])
    if list_key is None:
        raise InvalidRequestError.at("/query/cursor", "is not a cursor that was handed out")
    return list_key
