"""JSON as Eventline accepts it: what every consumer reads alike, and nothing that harms one.

RFC 8259 with the limits of I-JSON (RFC 7493): UTF-8, no duplicate names, no NaN or Infinity, no
number beyond the largest double, no lone surrogate; no deeper than `MAX_DEPTH` levels of objects
and arrays, and no more than `MAX_VALUES` members and elements in all. A byte order mark
at the start is skipped (RFC 8259, section 8.1).
"""

import json
import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn, Self

from chalicelib.core.errors import InvalidJsonError

MAX_DEPTH = 100
MAX_VALUES = 100_000
"""In memory each is worth up to a hundred times the two bytes that it may have been sent as."""
_MAX_DIGITS = 309
"""Those of the largest double."""
_SURE_DIGITS = 15
"""So many every double keeps, unless it is close to zero."""
_CLOSE_TO_ZERO = 1e-290
BOM = b"\xef\xbb\xbf"
"""The byte order mark in UTF-8, which PowerShell writes before JSON."""


class LongNumber(float):
    """A number that its double is not: one with a fraction or an exponent and more than about 16
    digits. It counts as its double, and as text it is what was written: `Decimal(str(number))` is
    exact for every number that `parse_json` gives."""

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str

    def __str__(self) -> str:
        return self.text

    def exactly(self) -> int | Decimal:
        """What was written; an integer if it is one. What is smaller than any `Decimal` is a very
        small one."""
        try:
            number = Decimal(self.text)
        except InvalidOperation:
            number = Decimal("1e-999999").copy_sign(Decimal(repr(float(self))))
        return int(number) if number == number.to_integral_value() else number


def parse_json(payload: bytes, *, exact: bool = False) -> Any:
    """Parse `payload`. Raises `InvalidJsonError` saying where or why it is no good.

    With `exact` a number that no double is comes as a `LongNumber`, else as the nearest double.
    """
    try:
        text = payload.removeprefix(BOM).decode("utf-8", "strict")
        value = (_exact_decoder if exact else _decoder).decode(text)
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


def dump_json(value: Any, *, exact: bool = False) -> str:
    """`value` as compact JSON; raises ValueError or TypeError for what JSON cannot hold.

    With `exact` a `LongNumber` is written as it was sent, and a finite `Decimal` as a number;
    without, the one as its double, and the other is refused.
    """
    if not exact:
        return _encoder.encode(value)
    # First as doubles: that is quick, enough for most, and finds what cannot be written.
    text = _exact_encoder.encode(value)
    return _write_exactly(value) if _holds_exact(value) else text


_TOO_LARGE = "a number is too large for a double"
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
        raise ValueError(_TOO_LARGE)
    return number


def _exact(text: str) -> float:
    number = _finite(text)
    if len(text) <= _SURE_DIGITS and abs(number) > _CLOSE_TO_ZERO:
        return number
    if repr(number) == text:
        return number
    try:
        is_double = Decimal(text) == Decimal(repr(number))
    except InvalidOperation:
        # The exponent is beyond a Decimal's, so this is zero or next to it.
        is_double = not text.lower().partition("e")[0].strip("-0.")
    return number if is_double else LongNumber(text)


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS + 1:
        raise ValueError(_TOO_LARGE)
    number = int(text)
    try:
        float(number)
    except OverflowError as error:
        raise ValueError(_TOO_LARGE) from error
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _make_decoder(parse_float: Callable[[str], float]) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_unique,
        parse_float=parse_float,
        parse_int=_integer,
        parse_constant=_refuse_constant,
    )


_decoder, _exact_decoder = _make_decoder(_finite), _make_decoder(_exact)


def _measured(value: object) -> int:
    """What stands for a `Decimal` where only its size counts; `TypeError` for anything else."""
    if isinstance(value, Decimal) and value.is_finite():
        return 0
    raise TypeError(f"{type(value).__name__} is not JSON")


_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_exact_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_measured)
_PLAIN = frozenset((str, int, float, bool, type(None)))


def _holds_exact(value: Any) -> bool:
    """Whether a value that can be written holds a `LongNumber` or a `Decimal`."""
    found = [value]
    for item in found:
        if type(item) in _PLAIN:
            continue
        if isinstance(item, dict):
            found.extend(item.values())
        elif isinstance(item, list | tuple):
            found.extend(item)
        elif isinstance(item, LongNumber | Decimal):
            return True
    return False


def _write_exactly(value: Any) -> str:
    if isinstance(value, LongNumber | Decimal):
        return str(value)
    if isinstance(value, dict):
        # The name as the encoder writes it, of whatever type: {"name":0}
        members = [_encoder.encode({name: 0})[1:-2] + _write_exactly(value[name]) for name in value]
        return "{" + ",".join(members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_write_exactly, value)) + "]"
    return _encoder.encode(value)


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
