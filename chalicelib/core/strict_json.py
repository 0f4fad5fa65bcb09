"""JSON as Eventline accepts it: what every consumer reads alike, and nothing that harms one.

RFC 8259 with the limits of I-JSON (RFC 7493): UTF-8, no duplicate names, no NaN or Infinity, no
number beyond a double, no lone surrogate; no deeper than `MAX_DEPTH` levels of objects and arrays,
and no more than `MAX_VALUES` members and elements in all. A byte order mark at the start is skipped
(RFC 8259, section 8.1).
"""

import json
import math
import sys
from typing import Any, NoReturn

from chalicelib.core.errors import InvalidJsonError

MAX_DEPTH = 100
MAX_VALUES = 100_000
"""In memory each is worth up to a hundred times the two bytes that it may have been sent as."""
BOM = b"\xef\xbb\xbf"
"""The byte order mark in UTF-8, which PowerShell writes before JSON."""
_MAX_DIGITS = sys.float_info.max_10_exp


def parse_json(payload: bytes) -> Any:
    """Parse `payload`. Raises `InvalidJsonError` saying where or why it is no good."""
    try:
        value = _decoder.decode(payload.removeprefix(BOM).decode("utf-8", "strict"))
    except UnicodeDecodeError as error:
        raise InvalidJsonError.at("", f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise InvalidJsonError.at("", f"{error.msg} at {place}") from error
    except RecursionError as error:
        raise InvalidJsonError.at("", _TOO_DEEP) from error
    except ValueError as error:
        raise InvalidJsonError.at("", str(error)) from error
    _check(value)
    return value


def dump_json(value: Any) -> str:
    """`value` as compact JSON; raises ValueError or TypeError for what JSON cannot hold."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"duplicate name {json.dumps(name[:100])}")
            seen.add(name)
    return members


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large for a double")
    return number


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError("a number is too large for a double")
    return int(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_float=_finite,
    parse_int=_integer,
    parse_constant=_refuse_constant,
)


def _check(value: Any) -> None:
    """Refuse depth and size beyond the limits and strings that are not Unicode text, without
    recursion."""
    level, depth, count = [value], 0, 0
    while level:
        below: list[Any] = []
        nested = False
        for item in level:
            if isinstance(item, str):
                _check_text(item)
            elif isinstance(item, dict):
                nested = True
                for name in item:
                    _check_text(name)
                below.extend(item.values())
            elif isinstance(item, list):
                nested = True
                below.extend(item)
        depth += nested
        if depth > MAX_DEPTH:
            raise InvalidJsonError.at("", _TOO_DEEP)
        count += len(below)
        if count > MAX_VALUES:
            raise InvalidJsonError.at("", f"more than {MAX_VALUES} members and elements")
        level = below


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidJsonError.at("", "a string holds a lone surrogate") from error
