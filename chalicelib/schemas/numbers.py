"""Numbers in a schema and in data: computed exactly, and what that costs.

The validator computes with fractions of integers of any length, so what a keyword costs depends on
how long its numbers are when written out: 1e-300 has 300 digits, and the greatest common divisor of
two such takes 0.4 ms. So each number has a weight, in the units of `bounds`.
"""

import math
from decimal import Decimal
from typing import Any

from chalicelib.core.strict_json import LongNumber

INTEGER_LIMIT = 1 << 63
"""Below it an integer is one machine word, and costs next to nothing."""
_FRACTION_UNITS = 80
_DIGITS_A_UNIT = 2
"""The cost grows with the square of the digits; so many of them squared are a unit."""
_PLAIN_LEAST, _PLAIN_LIMIT, _PLAIN_WEIGHT = 1e-5, 1e17, 70
"""Doubles of everyday size, which have 22 digits at most."""
_DOUBLE_DIGITS = 17
_TWIN_UNITS = 14


def weight(number: float | Decimal) -> float:
    """The units that one comparison with `number` may take."""
    if isinstance(number, float) and (not number or _PLAIN_LEAST <= abs(number) < _PLAIN_LIMIT):
        return _PLAIN_WEIGHT
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
    """The units for comparing elements of arrays that differ, but that the validator takes for the
    same at first.

    `uniqueItems` finds elements by a hash, in which numbers are doubles, and an array is what its
    parts are one after the other, so that [[], [[]]] and [[[]], []] are twins. Elements with the
    same hash are compared one by one, until two are equal. Here the order is left out, too: it may
    only count more.
    """
    return _Twins().count(data)


class _Twins:
    """Counts on its way down, which is at most as long as data is deep."""

    def __init__(self) -> None:
        self._units = 0.0
        self._known: dict[object, int] = {}

    def count(self, data: Any) -> float:
        self._sign(data)
        return self._units

    def _sign(self, value: Any) -> tuple[int, int, float]:
        """(a sum that twins share, the number of this very value, the units of a comparison)"""
        if isinstance(value, list):
            signs = [self._sign(below) for below in value]
            self._compare(signs)
            sign, units = sum(sign for sign, _, _ in signs), sum(size for _, _, size in signs)
            very: object = tuple(number for _, number, _ in signs)
        elif isinstance(value, dict):
            members = {name: self._sign(below) for name, below in value.items()}
            sign = hash(sum(hash((name, one)) for name, (one, _, _) in members.items()))
            units = sum(size for _, _, size in members.values())
            very = frozenset((name, number) for name, (_, number, _) in members.items())
        elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            # The text, as the hash of a number can be chosen by who sends it.
            sign, units, very = hash((0, float(value))), weight(value), f"n{value}"
        else:
            sign, units, very = hash((1, value)), 0.0, f"v{value}"
        return sign, self._known.setdefault(very, len(self._known)), units + _TWIN_UNITS

    def _compare(self, signs: list[tuple[int, int, float]]) -> None:
        if len({sign for sign, _, _ in signs}) == len(signs):
            return
        sizes: dict[int, dict[int, float]] = {}
        for sign, number, units in signs:
            sizes.setdefault(sign, {})[number] = units
        self._units += sum(
            len(group) * sum(group.values()) for group in sizes.values() if len(group) > 1
        )
