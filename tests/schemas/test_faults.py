"""What it takes to tell what an event breaks: never much memory, whatever schema and event are."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.core.errors import InvalidRequestError
from chalicelib.schemas.compiler import check_schema, violations
from chalicelib.web.limits import MAX_BODY_BYTES

MOST_MEBIBYTES = 150
"""A function has 512, some 100 of them for its code, as much for a large body."""
MOST_SECONDS = 2.0


def _names(number: int) -> list[str]:
    return [f"n{n}" for n in range(number)]


def _members(number: int) -> dict[str, int]:
    return {f"{n:043}": 0 for n in range(number)}


SHAPES: dict[str, tuple[Any, Callable[[int], Any]]] = {
    "names": ({"propertyNames": {"pattern": "^z$"}}, _members),
    "names of alternatives": (
        {"propertyNames": {"anyOf": [{"maxLength": 1}, {"enum": ["a"]}]}},
        _members,
    ),
    "names of many": ({"items": {"propertyNames": {"maxLength": 1}}}, lambda n: [_members(50)] * n),
    "required": ({"required": _names(6_000)}, lambda n: {"zz": "x" * n}),
    "required of many": ({"items": {"required": _names(100)}}, lambda n: [{}] * n),
    "dependent": ({"dependentRequired": {"zz": _names(4_000)}}, lambda n: {"zz": "x" * n}),
    "types": ({"items": {"type": "string"}}, lambda n: [1] * n),
    "objects": ({"items": {"type": "string"}}, lambda n: [_members(40)] * n),
    "alternatives": ({"items": {"oneOf": [{"type": "string"}] * 20}}, lambda n: [1] * n),
    "constant": ({"items": {"const": "x" * 60_000}}, lambda n: [1] * n),
    "choice": ({"items": {"enum": [f"{k}{'x' * 6_000}" for k in range(10)]}}, lambda n: [1] * n),
    "not": ({"items": {"not": {"enum": ["x" * 60_000, 1]}}}, lambda n: [1] * n),
    "long name": ({"items": {"required": ["x" * 60_000]}}, lambda n: [{}] * n),
    "emoji": ({"items": {"type": "integer"}}, lambda n: ["\N{GRINNING FACE}" * 100] * n),
    "deep": ({"items": {"$ref": "#"}, "minItems": 2}, lambda n: json.loads("[" * 90 + "]" * 90)),
}
"""Schemas, and data of any size for which each of many parts breaks them."""


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_broken_is_told_in_little_memory_and_time(shape: str) -> None:
    # When events of all sizes break a schema, each checked in a process that has nothing else
    command = [sys.executable, "-m", __name__, shape]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    # Then all are told of it, in bounds
    sizes = json.loads(done.stdout)
    assert len(sizes) >= 5
    for size, (faults, seconds, mebibytes) in sizes.items():
        assert 1 <= faults <= 20, size
        assert seconds < MOST_SECONDS, size
        assert mebibytes < MOST_MEBIBYTES, size


def test_small_events_are_told_all_that_they_break() -> None:
    for schema, data in (
        ({"propertyNames": {"pattern": "^z$"}}, _members(15)),
        ({"items": {"required": _names(3)}}, [{}] * 5),
        ({"dependentRequired": {"zz": _names(15)}}, {"zz": 1}),
    ):
        compiled = check_schema(schema, len(json.dumps(schema)))
        assert len(violations(compiled, data)) == 15


def test_names_that_others_require_count_as_work() -> None:
    schema = {"dependentRequired": dict.fromkeys(_names(90), _names(90))}
    with pytest.raises(InvalidRequestError, match="may take too long"):
        check_schema(schema, len(json.dumps(schema)))
    few = {"items": {"dependentRequired": dict.fromkeys(_names(9), _names(9))}}
    compiled = check_schema(few, len(json.dumps(few)))
    assert violations(compiled, [dict.fromkeys(_names(9), 0)] * 1_000) == []
    (fault,) = violations(compiled, [dict.fromkeys(_names(9), 0)] * 100_000)
    assert "too large" in fault.detail


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measure(shape: str) -> dict[int, tuple[int, float, float]]:
    """(violations, seconds, mebibytes) by size, as far as a body may be; a peak never falls, so the
    sizes grow."""
    schema, make = SHAPES[shape]
    compiled = check_schema(schema, len(json.dumps(schema)))
    measured = {}
    for size in (10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000):
        data = make(size)
        if len(json.dumps(data)) > MAX_BODY_BYTES:
            break
        before, started = _peak(), time.process_time()
        found = len(violations(compiled, data))
        measured[size] = found, time.process_time() - started, _peak() - before
    return measured


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1])))
