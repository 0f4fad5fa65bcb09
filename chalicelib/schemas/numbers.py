"""Numbers in a schema and in data: computed exactly, and what that costs.

The validator computes with fractions of integers of any length, so what a keyword costs depends on
how long its numbers are when written out: 1e-300 has 300 digits, and the greatest common divisor of
two such takes 0.4 ms. So each number has a weight, in the units of `bounds`.
"""

import math
from collections import Counter
from decimal import Decimal
from typing import Any

from chalicelib.core.strict_json import LongNumber

INTEGER_LIMIT = 1 << 63
"""Below it an integer is one machine word, and costs next to nothing."""
_FRACTION_UNITS = 80
_DIGITS_A_UNIT = 2
"""The cost grows with the square of the digits; so many of them squared are a unit."""
_PLAIN_LEAST, _PLAIN_LIMIT, _PLAIN_DIGITS = 1e-5, 1e17, 22
_DOUBLE_DIGITS = 17
PLAIN_WEIGHT = _FRACTION_UNITS + _PLAIN_DIGITS**2 / _DIGITS_A_UNIT
"""That of a double of everyday size."""
_TWIN_UNITS = 5


def weight(number: float | Decimal) -> float:
    """The units that one comparison with `number` may take."""
    if isinstance(number, float) and (not number or _PLAIN_LEAST <= abs(number) < _PLAIN_LIMIT):
        return PLAIN_WEIGHT
    if isinstance(number, int) and -INTEGER_LIMIT <= number < INTEGER_LIMIT:
        return 0
    return _FRACTION_UNITS + digits(number) ** 2 / _DIGITS_A_UNIT


def digits(number: float | Decimal) -> int:
    """About how many digits `number` has when it is written out without an exponent."""
    if not number:
        return 1
    if isinstance(number, int):
        return int(number.bit_length() * 0.302) + 1
    if isinstance(number, Decimal):
        power = number.as_tuple().exponent
        return max(number.adjusted(), 0) + 1 + max(-power if isinstance(power, int) else 0, 0)
    size = math.log10(abs(number))
    return 1 + int(size if size >= _DOUBLE_DIGITS else _DOUBLE_DIGITS + max(-size, 0))


def exact_divisor(number: float | Decimal) -> int | float | Decimal:
    """`multipleOf` such that the validator divides integers, not doubles: that is how it reads one
    with a decimal point."""
    return Decimal(f"{number}.0") if isinstance(number, int) else number


def exact(value: Any) -> Any:
    """`value` with every `LongNumber` as an integer or a `Decimal`, which the validator knows."""
    if isinstance(value, dict):
        return {name: exact(below) for name, below in value.items()}
    if isinstance(value, list):
        return [exact(below) for below in value]
    return value.exactly() if isinstance(value, LongNumber) else value


def count_twins(data: Any) -> float:
    """The units for comparing elements of arrays that the validator takes for the same at first.

    `uniqueItems` finds elements by a hash, in which numbers are doubles, and an array is what its
    parts are one after the other, so that [[], [[]]] and [[[]], []] are twins. Elements with the
    same hash are compared one by one. Here the order is left out, too: it may only count more.
    """
    return _Twins().count(data)


class _Twins:
    """Counts on its way down, which is at most as long as data is deep."""

    def __init__(self) -> None:
        self._units = 0.0

    def count(self, data: Any) -> float:
        self._sign(data)
        return self._units

    def _sign(self, value: Any) -> tuple[int, float]:
        """(a sum that twins share, the units of comparing it with one)"""
        if isinstance(value, list):
            signs = [self._sign(below) for below in value]
            counted = Counter(sign for sign, _ in signs)
            if len(counted) < len(signs):
                self._units += sum(counted[sign] * size for sign, size in signs)
            return sum(sign for sign, _ in signs), _TWIN_UNITS + sum(size for _, size in signs)
        if isinstance(value, dict):
            total, units = 1, float(_TWIN_UNITS)
            for name, below in value.items():
                sign, size = self._sign(below)
                total += hash((name, sign))
                units += size
            return hash(total), units
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            return hash((0, float(value))), _TWIN_UNITS + weight(value)
        return hash((1, value)), _TWIN_UNITS
