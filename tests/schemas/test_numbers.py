"""Numbers under a schema: computed as they were written, and priced by how long they are."""

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from chalicelib.core.errors import InvalidRequestError
from chalicelib.core.strict_json import parse_json
from chalicelib.schemas.bounds import MAX_EVENT_WORK, measure
from chalicelib.schemas.compiler import Compiled, compile_schema, violations

UNIT_SECONDS = 20e-9
SLACK = 5
"""A busy machine, and what has no price: the call, the conversion of the data."""


def read(text: str) -> Any:
    return parse_json(text.encode(), exact=True)


def told(schema: str, data: str) -> list[tuple[str, str]]:
    return [(f.pointer, f.detail) for f in violations(compile_schema(read(schema)), read(data))]


@pytest.mark.parametrize(
    ("schema", "data", "is_valid"),
    [
        ('{"multipleOf": 2}', "9007199254740993", False),
        ('{"multipleOf": 3}', "9007199254740993", True),
        ('{"multipleOf": 10}', "100000000000000005", False),
        ('{"multipleOf": 7}', f"{7 * 10**40}", True),
        ('{"multipleOf": 7}', f"{7 * 10**40 + 1}", False),
        ('{"multipleOf": 7}', f"-{7 * 10**40}", True),
        ('{"multipleOf": 7}', "7e300", True),
        ('{"multipleOf": 2}', "4.0", True),
        ('{"multipleOf": 2}', "4.5", False),
        ('{"multipleOf": 2}', "0", True),
        ('{"multipleOf": 2.0}', "9007199254740993", False),
        ('{"multipleOf": 18446744073709551616}', f"{3 * 2**64}", True),
        ('{"multipleOf": 0.01}', "19.99", True),
        ('{"multipleOf": 0.01}', "-0.02", True),
        ('{"multipleOf": 0.01}', "1e300", True),
        ('{"multipleOf": 0.01}', "12345678901234567.895", False),
        ('{"multipleOf": 0.01}', "12345678901234567.89", True),
        ('{"multipleOf": 1e-300}', "1e300", True),
        ('{"multipleOf": 0.5}', f"{2**65 + 1}", True),
        ('{"const": 9007199254740993}', "9007199254740993.0", True),
        ('{"const": 9007199254740993}', "9007199254740992.0", False),
        ('{"const": 9007199254740993.0}', "9007199254740993", True),
        ('{"const": [0.10000000000000001]}', "[0.1]", False),
        ('{"enum": [1e20]}', "100000000000000000000", True),
        ('{"enum": [18446744073709551616]}', "18446744073709551617", False),
        ('{"type": "integer"}', "9007199254740993.5", False),
        ('{"type": "integer"}', "9007199254740993.0", True),
        ('{"type": "integer"}', "1e300", True),
        ('{"type": "integer"}', "1.00000000000000000000001", False),
        ('{"type": ["integer", "string"]}', "9007199254740993.5", False),
        ('{"maximum": 9007199254740992}', "9007199254740993", False),
        ('{"maximum": 9007199254740992}', "9007199254740993.0", False),
        ('{"maximum": 0.1}', "0.10000000000000001", False),
        ('{"exclusiveMaximum": 1e300}', f"{10**300}", False),
        ('{"minimum": -1.7976931348623157e308, "maximum": 1.7976931348623157e308}', "1", True),
        ('{"minimum": 5e-324}', "0", False),
        ('{"minimum": 5e-324}', "1", True),
        ('{"uniqueItems": true}', "[9007199254740993.0, 9007199254740992]", True),
        ('{"uniqueItems": true}', "[9007199254740993.0, 9007199254740993]", False),
    ],
)
def test_numbers_are_compared_as_they_were_written(schema: str, data: str, is_valid: bool) -> None:
    assert (not told(schema, data)) is is_valid


@pytest.mark.parametrize("keyword", ["multipleOf", "maximum", "exclusiveMinimum"])
@pytest.mark.parametrize(
    "number",
    ["9007199254740993.5", "1.00000000000000000000001", "1e-400", "1e-99999999999999999999"],
)
def test_what_cannot_be_compared_exactly_is_refused(keyword: str, number: str) -> None:
    ((pointer, detail),) = told(f'{{"items": {{"{keyword}": 1}}}}', f"[{number}]")
    assert pointer == ""
    assert "more digits" in detail or "too large" in detail


def test_a_divisor_is_named_as_it_was_written() -> None:
    assert told('{"multipleOf": 3}', "4") == [("", "is not a multiple of 3")]
    assert told('{"multipleOf": 0.01}', "0.001") == [("", "is not a multiple of 0.01")]


def timed(schema: Any, data: Any) -> tuple[float, list[str]]:
    compiled = compile_schema(schema)
    started = time.process_time()
    faults = [fault.detail for fault in violations(compiled, data)]
    return time.process_time() - started, faults


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ({"multipleOf": 0.01}, [1e300] * 10_000),
        ({"multipleOf": 0.01}, [10**307] * 10_000),
        ({"multipleOf": 1e-300}, [1e300] * 90_000),
        ({"maximum": 5.5}, [1e-300] * 90_000),
        ({"const": 1e-300}, [1e-300] * 90_000),
        ({"enum": [i + 0.5 for i in range(50)] + [1e-300]}, [1e-300] * 90_000),
        ({"type": "integer"}, [123456789e-300] * 90_000),
        ({"uniqueItems": True}, [[i / 7 * 1e-300 for i in range(15)]] * 6_000),
    ],
    ids=lambda value: str(value)[:30],
)
def test_events_of_long_numbers_are_refused_before_they_are_computed(
    schema: Any, data: Any
) -> None:
    seconds, faults = timed({"items": {"allOf": [schema] * 3}}, data)
    assert faults == ["is too large for a schema that asks this much of each part"]
    assert seconds < 1


def test_few_long_numbers_and_many_of_everyday_size_are_checked() -> None:
    price = {"type": "number", "minimum": 0, "maximum": 1e9, "multipleOf": 0.01}
    assert timed({"items": price}, [n / 100 for n in range(90_000)])[1] == []
    assert timed({"items": price}, [1, 2, 3] * 30_000)[1] == []
    assert timed({"items": {"multipleOf": 0.01}}, [1e300] * 100)[1] == []


@pytest.mark.parametrize("schema", ['{"const": %s}', '{"enum": [1, %s]}', '{"const": [%s]}'])
def test_a_number_of_a_schema_has_its_price_however_it_is_written(schema: str) -> None:
    short = compile_schema(read(schema % "5.5e-229")).work.at(1).per_number
    long = compile_schema(read(schema % "5.5000000000000000000001e-229")).work.at(1).per_number
    assert 10_000 < short < long


def test_equal_elements_are_no_twins() -> None:
    schema = {"properties": {"tags": {"uniqueItems": True}}}
    rows = [{"x": [0, 0.5]}] * 10_000
    assert timed(schema, {"tags": [1, 2], "zeros": [0] * 50_000, "rows": rows})[1] == []
    tags = [{"name": f"n{n}", "at": [n, -n, n / 8]} for n in range(15_000)]
    assert timed(schema, {"tags": tags})[1] == []
    assert timed(schema, {"tags": [*tags, tags[0]]})[1] == ["has non-unique elements"]


@pytest.mark.parametrize(
    "data",
    [
        [2**63 - n for n in range(1, 90_000)],
        [0.1] + [read(f"0.1{'0' * 20}{n + 1:05}") for n in range(50_000)],
        [json.loads(f"[{'[],' * (n % 60)}[{'[],' * (n // 60)}[]]]") for n in range(1_500)],
    ],
    ids=["integers that share a double", "fractions that do", "arrays of arrays"],
)
def test_elements_with_one_hash_are_priced_by_their_pairs(data: Any) -> None:
    seconds, faults = timed({"uniqueItems": True}, data)
    assert faults == [] or "too large" in faults[0]
    assert seconds < 5


TEXTS = st.one_of(
    st.integers(-(10**17), 10**17).map(str),
    st.integers(10**250, 10**307).map(str),
    st.tuples(st.integers(1, 10**17), st.integers(-320, 290)).map("{0[0]}e{0[1]}".format),
    st.tuples(st.integers(0, 999), st.integers(1, 10**200)).map("{0[0]}.{0[1]}".format),
)
NUMBERS = TEXTS.filter(lambda text: float(text) < 1e308).map(read)
DIVISORS = NUMBERS.filter(lambda number: float(number) > 0)
ASKED = st.one_of(
    st.builds(lambda n: {"multipleOf": n}, DIVISORS),
    st.builds(
        lambda name, n: {name: n},
        st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "const"]),
        NUMBERS,
    ),
    st.builds(lambda some: {"enum": some}, st.lists(NUMBERS, min_size=1, max_size=30)),
    st.sampled_from([{"type": "integer"}, {"uniqueItems": True}]),
)
SCHEMAS = st.lists(ASKED, min_size=1, max_size=4).map(
    # What is wrong must not end the check: the next number costs, too.
    lambda asked: {"items": {"allOf": [{"anyOf": [one, True]} for one in asked]}}
)


def compiled_or_none(schema: Any) -> Compiled | None:
    try:
        return compile_schema(schema)
    except InvalidRequestError:
        return None


@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(SCHEMAS, st.lists(NUMBERS, min_size=1, max_size=15), st.booleans())
def test_no_pair_of_schema_and_numbers_takes_longer_than_its_price(
    schema: Any, numbers: list[Any], in_arrays: bool
) -> None:
    compiled = compiled_or_none(schema)
    assume(compiled is not None)
    assert compiled is not None
    data = [numbers] * 100 if in_arrays else numbers * 100
    price = compiled.work.cost_of(measure(data), data)
    assume(price <= MAX_EVENT_WORK)
    started = time.process_time()
    violations(compiled, data)
    taken = time.process_time() - started
    assert taken < SLACK * (price * UNIT_SECONDS + 0.005)
