"""JSON as Eventline accepts it: what every consumer reads alike, and nothing that harms one.

RFC 8259 with the limits of I-JSON (RFC 7493): UTF-8, no duplicate names, no NaN or Infinity, no
number beyond a double, no lone surrogate; and no deeper than `MAX_DEPTH`.
"""

import json
import math
import sys
from typing import Any, NoReturn

from chalicelib.errors import InvalidJsonError

MAX_DEPTH = 100
_MAX_DIGITS = sys.float_info.max_10_exp


def parse_json(payload: bytes) -> Any:
    """Parse `payload`. Raises `InvalidJsonError` saying where or why it is no good."""
    try:
        value = _decoder.decode(payload.decode("utf-8", "strict"))
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
    """`value` as compact JSON; raises ValueError or TypeError for what JSON can not hold."""
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
    """Refuse depth beyond the limit and strings that are not Unicode text, without recursion."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise InvalidJsonError.at("", _TOO_DEEP)
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _check_text(item)
            elif isinstance(item, dict):
                for name in item:
                    _check_text(name)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        level = below


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidJsonError.at("", "a string holds a lone surrogate") from error
