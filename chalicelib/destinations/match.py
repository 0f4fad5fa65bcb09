"""Which events a destination gets: its event types, and a filter.

An event type is exact, a prefix with a star at its end (`order.*`), or `*`. A filter is an
EventBridge pattern over the envelope and the data, of which this subset is understood:

| | matches |
|---|---|
| `["a", 1, true, null]` | any of these values |
| `[{"prefix": "a"}]`, `[{"suffix": "a"}]` | text that begins or ends so |
| `[{"equals-ignore-case": "a"}]` | the text in any case |
| `[{"anything-but": ["a", 1]}]` | a value that is there, and is none of these |
| `[{"anything-but": {"prefix": "a"}}]` | a value that is there, and does not match |
| `[{"numeric": [">=", 1, "<", 5]}]` | numbers within the bounds |
| `[{"exists": true}]`, `[{"exists": false}]` | a member that is there, or is not |

All members of a pattern must match, and one entry of each list. A list in the event matches if one
of its elements does, also a list of objects. What that may take is bounded (`Comparisons`). Source:
Amazon EventBridge User Guide, "Comparison operators for use in event patterns" and "Creating Amazon
EventBridge event patterns".
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chalicelib.core.errors import FieldError

ENVELOPE = ("eventId", "eventType", "source", "subject", "time", "receivedAt", "data")
MAX_DEPTH, MAX_ENTRIES, MAX_BYTES = 8, 100, 4096
MAX_COMPARISONS = 500_000
"""Of a filter with an event: up to half a second."""
_COMPARISONS = {
    "=": lambda value, bound: value == bound,
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
}
_TEXT_OPERATORS = ("prefix", "suffix", "equals-ignore-case")
_OPERATORS = (*_TEXT_OPERATORS, "anything-but", "numeric", "exists")
_ABSENT: Any = object()


class TooManyComparisonsError(Exception):
    """An event cannot be held against a filter with the comparisons that are left."""


class Comparisons:
    """How many comparisons filters may still make."""

    def __init__(self, left: int) -> None:
        self._left = left

    def spend(self, number: int) -> None:
        """Raises `TooManyComparisonsError` when they are spent."""
        self._left -= number
        if self._left < 0:
            raise TooManyComparisonsError


def type_matches(patterns: Sequence[str], event_type: str) -> bool:
    """Whether one of the event types of a destination is that of an event."""
    return any(
        event_type.startswith(one[:-1]) if one.endswith("*") else event_type == one
        for one in patterns
    )


def filter_faults(pattern: Any) -> list[FieldError]:
    """What is wrong with a filter, at pointers that begin with `/filter`."""
    if not isinstance(pattern, Mapping) or not pattern:
        return [FieldError("/filter", "must be an object with at least one member")]
    if len(json.dumps(pattern).encode()) > MAX_BYTES:
        return [FieldError("/filter", f"must be at most {MAX_BYTES} bytes of JSON")]
    faults = [
        FieldError(f"/filter/{_escape(name)}", f"must be one of {', '.join(ENVELOPE)}")
        for name in pattern
        if name not in ENVELOPE
    ]
    faults += _faults(pattern, "/filter", 1)
    if not faults and sum(1 for _ in _entries(pattern)) > MAX_ENTRIES:
        faults = [FieldError("/filter", f"must have at most {MAX_ENTRIES} entries in its lists")]
    return faults


def filter_matches(
    pattern: Mapping[str, Any], event: Mapping[str, Any], comparisons: Comparisons
) -> bool:
    """Whether an event, its envelope with its `data`, matches a filter without faults. Raises
    `TooManyComparisonsError` if that cannot be said with the comparisons that are left."""
    return all(
        _member_matches(rule, event.get(name, _ABSENT), comparisons)
        for name, rule in pattern.items()
    )


def needs_data(pattern: Mapping[str, Any] | None) -> bool:
    """Whether a filter looks into the data."""
    return pattern is not None and "data" in pattern


def _member_matches(rule: Any, value: Any, comparisons: Comparisons) -> bool:
    if isinstance(rule, Mapping):
        if isinstance(value, list):
            return any(_member_matches(rule, element, comparisons) for element in value)
        inner = value if isinstance(value, Mapping) else {}
        comparisons.spend(len(rule))
        return all(
            _member_matches(one, inner.get(name, _ABSENT), comparisons)
            for name, one in rule.items()
        )
    return any(_entry_matches(entry, value, comparisons) for entry in rule)


def _entry_matches(entry: Any, value: Any, comparisons: Comparisons) -> bool:
    comparisons.spend(_values_of(entry) * (len(value) + 1 if isinstance(value, list) else 1))
    if isinstance(entry, Mapping) and "exists" in entry:
        # As in EventBridge, which looks at leaves: an object is not there, a value is.
        is_there = value is not _ABSENT and not isinstance(value, Mapping)
        return is_there is entry["exists"]
    if value is _ABSENT:
        return False
    if isinstance(value, list):
        elements = [one for one in value if not isinstance(one, (list, Mapping))]
        if isinstance(entry, Mapping) and "anything-but" in entry:
            return bool(elements) and all(_leaf_matches(entry, one) for one in elements)
        return any(_leaf_matches(entry, one) for one in elements)
    return not isinstance(value, Mapping) and _leaf_matches(entry, value)


def _leaf_matches(entry: Any, value: Any) -> bool:
    if not isinstance(entry, Mapping):
        return _equal(entry, value)
    ((operator, wanted),) = entry.items()
    match operator:
        case "prefix":
            return isinstance(value, str) and value.startswith(wanted)
        case "suffix":
            return isinstance(value, str) and value.endswith(wanted)
        case "equals-ignore-case":
            return isinstance(value, str) and _is_same_in_any_case(wanted, value)
        case "anything-but":
            return not _is_one_of(wanted, value)
        case _:
            return _is_number(value) and all(
                _COMPARISONS[sign](value, bound) for sign, bound in _bounds(wanted)
            )


def _values_of(entry: Any) -> int:
    """With how many values an entry compares."""
    values = entry.get("anything-but") if isinstance(entry, Mapping) else None
    return len(values) if isinstance(values, list) else 1


def _is_same_in_any_case(wanted: str, value: str) -> bool:
    folded = wanted.casefold()
    # Folding makes no text shorter, so a long one is not folded in vain.
    return len(value) <= len(folded) and value.casefold() == folded


def _is_one_of(unwanted: Any, value: Any) -> bool:
    if isinstance(unwanted, Mapping):
        return _leaf_matches(unwanted, value)
    values = unwanted if isinstance(unwanted, list) else [unwanted]
    return any(_equal(one, value) for one in values)


def _equal(wanted: Any, value: Any) -> bool:
    """Equality of JSON: true is not 1, and 1.0 is."""
    if _is_number(wanted) and _is_number(value):
        return bool(wanted == value)
    return type(wanted) is type(value) and wanted == value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _bounds(wanted: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(wanted[::2], wanted[1::2], strict=True)


def _faults(pattern: Mapping[str, Any], pointer: str, depth: int) -> list[FieldError]:
    if depth > MAX_DEPTH:
        return [FieldError(pointer, f"must be at most {MAX_DEPTH} levels deep")]
    faults: list[FieldError] = []
    for name, rule in pattern.items():
        at = f"{pointer}/{_escape(name)}"
        if isinstance(rule, Mapping):
            if not rule:
                faults.append(FieldError(at, "must have at least one member"))
            faults += _faults(rule, at, depth + 1)
        elif not isinstance(rule, list) or not rule:
            faults.append(FieldError(at, "must be a list with at least one entry, or an object"))
        else:
            found = ((number, _entry_fault(entry)) for number, entry in enumerate(rule))
            faults += [FieldError(f"{at}/{number}", words) for number, words in found if words]
    return faults


def _entry_fault(entry: Any) -> str | None:
    if isinstance(entry, list) or (isinstance(entry, Mapping) and len(entry) != 1):
        return "must be a value, or an object with one operator"
    if not isinstance(entry, Mapping):
        return None
    ((operator, wanted),) = entry.items()
    fault: str | None = f"must have one of the operators {', '.join(_OPERATORS)}"
    match operator:
        case "prefix" | "suffix" | "equals-ignore-case":
            fault = None if isinstance(wanted, str) and wanted else f"{operator} must be text"
        case "exists":
            fault = None if isinstance(wanted, bool) else "exists must be true or false"
        case "anything-but":
            fault = _anything_but_fault(wanted)
        case "numeric":
            fault = _numeric_fault(wanted)
    return fault


def _anything_but_fault(wanted: Any) -> str | None:
    words = "anything-but must be text, numbers, or an object with prefix or suffix"
    if isinstance(wanted, Mapping):
        is_good = len(wanted) == 1 and set(wanted) <= set(_TEXT_OPERATORS)
        return words if not is_good else _entry_fault(wanted)
    values = wanted if isinstance(wanted, list) else [wanted]
    if values and all(isinstance(one, str) or _is_number(one) for one in values):
        return None
    return words


def _numeric_fault(wanted: Any) -> str | None:
    words = 'numeric must be one or two comparisons, such as [">=", 1, "<", 5]'
    if not isinstance(wanted, list) or len(wanted) not in (2, 4):
        return words
    is_good = all(
        isinstance(sign, str) and sign in _COMPARISONS and _is_number(bound)
        for sign, bound in _bounds(wanted)
    )
    return None if is_good else words


def _entries(rule: Any) -> Iterator[Any]:
    if isinstance(rule, Mapping):
        for one in rule.values():
            yield from _entries(one)
    else:
        yield from rule


def _escape(name: str) -> str:
    return name[:64].replace("~", "~0").replace("/", "~1")
