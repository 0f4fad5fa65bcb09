"""What counts as JSON, and what does not."""

import json
import sys
from collections import OrderedDict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.errors import InvalidJsonError
from chalicelib.core.strict_json import MAX_DEPTH, MAX_VALUES, LongNumber, dump_json, parse_json

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-(10**300), 10**300) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)


@given(json_values)
def test_what_json_can_hold_comes_back_as_it_was(value: Any) -> None:
    assert parse_json(dump_json(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False, indent=1).encode()) == value


@given(st.binary())
def test_any_bytes_are_parsed_or_refused(payload: bytes) -> None:
    try:
        value = parse_json(payload)
    except InvalidJsonError:
        return
    assert parse_json(dump_json(value).encode()) == value


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"", "Expecting value"),
        (b"   ", "Expecting value"),
        (b"{", "line 1 column 2"),
        (b'{"a":1}x', "Extra data"),
        (b'{"a":1,}', "line 1"),
        (b"{'a':1}", "line 1"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":Infinity}', "Infinity"),
        (b'{"a":-Infinity}', "-Infinity"),
        (b'{"a":1e400}', "too large"),
        (b'{"a":-1e400}', "too large"),
        (b'{"a":' + b"9" * 309 + b"}", "too large"),
        (b'{"a":1' + b"0" * 309 + b"}", "too large"),
        (b'{"a":' + str(2**1024).encode() + b"}", "too large"),
        (b'{"a":' + b"9" * 5000 + b"}", "too large"),
        (b'{"a":-' + b"9" * 309 + b"}", "too large"),
        (b'{"a":1,"a":2}', 'duplicate name "a"'),
        (b'{"x":[{"b":1,"c":2,"b":3}]}', 'duplicate name "b"'),
        (b'{"a":1,"\\u0061":2}', 'duplicate name "a"'),
        (b'{"a":"\\ud800"}', "surrogate"),
        (b'{"\\udfff":1}', "surrogate"),
        (b'{"a":["\\udc00\\ud800"]}', "surrogate"),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"a":1}', "line 1 column 1"),
        (b'{"a":\xef\xbb\xbf1}', "line 1 column 6"),
        (b'{"a":"\xff"}', "not UTF-8 at byte 6"),
        (b'{"a":"\xc0\xaf"}', "not UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a":"\x00"}', "line 1"),
        (b'{"a":01}', "line 1"),
        (b'{"a":.5}', "line 1"),
        (b"[" * 100_000 + b"]" * 100_000, "deeper"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "deeper"),
        (b"[" * (MAX_DEPTH + 1) + b"1" + b"]" * (MAX_DEPTH + 1), "deeper"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "deeper"),
        (b'{"a":' * MAX_DEPTH + b"{}" + b"}" * MAX_DEPTH, "deeper"),
        (b"[" + b"1," * MAX_VALUES + b"1]", "more than 100000"),
        (b"[" + b"[]," * MAX_VALUES + b"1]", "more than 100000"),
        (b'{"a":[' + b"1," * (MAX_VALUES - 2) + b'1],"b":1}', "more than 100000"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_what_readers_would_read_differently_is_refused(payload: bytes, said: str) -> None:
    with pytest.raises(InvalidJsonError) as caught:
        parse_json(payload)
    assert said in caught.value.errors[0].detail
    assert caught.value.code == "invalid-json"


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"[" * MAX_DEPTH + b"1" + b"]" * MAX_DEPTH, None),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
        (b'{"a":' * (MAX_DEPTH - 1) + b"{}" + b"}" * (MAX_DEPTH - 1), None),
        (b"[" + b"1," * (MAX_VALUES - 1) + b"1]", [1] * MAX_VALUES),
        (b'{"a":[' + b"1," * (MAX_VALUES - 3) + b'1],"b":1}', None),
        (b"9" * 308, int("9" * 308)),
        (b"1.7976931348623157e308", 1.7976931348623157e308),
        (b"1e-400", 0.0),
        (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        (b'"\\u0000"', "\x00"),
        (b"-0", 0),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_at_the_limit_is_read(payload: bytes, value: Any) -> None:
    parsed = parse_json(payload)
    assert value is None or parsed == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"x"])
def test_what_json_can_not_hold_is_not_written(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        dump_json({"a": value})


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), object(), {1, 2}, b"x", Decimal("NaN"), Decimal("-Infinity")],
)
def test_what_json_can_not_hold_is_not_written_exactly(value: object) -> None:
    circle: list[object] = [LongNumber("0.10000000000000001")]
    circle.append(circle)
    for refused in (value, {"a": [LongNumber("0.10000000000000001"), (value,)]}, circle):
        with pytest.raises((ValueError, TypeError)):
            dump_json(refused, exact=True)


def test_what_a_processor_may_give_is_written_exactly() -> None:
    # Given whatever the encoder takes, beside numbers of all digits
    long = LongNumber("0.10000000000000001")
    values: list[object] = [
        None,
        True,
        1,
        0.5,
        '\xe9"',
        (),
        [],
        {},
        {1: (2,), None: 3, "\xe9": "\u2028"},
    ]
    # Then those are as the encoder writes them, and these in full
    assert dump_json(values, exact=True) == dump_json(values)
    given = OrderedDict(a=(long,), b=Decimal("1.50"), c=Decimal("1E+30"), d=values)
    wanted = f'{{"a":[0.10000000000000001],"b":1.50,"c":1E+30,"d":{dump_json(values)}}}'
    assert dump_json(given, exact=True) == wanted
    with pytest.raises(TypeError):
        dump_json(Decimal("1.50"))


def test_a_duplicate_name_is_not_quoted_at_length() -> None:
    name = b"x" * 5000
    with pytest.raises(InvalidJsonError) as caught:
        parse_json(b'{"' + name + b'":1,"' + name + b'":2}')
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize(
    "number",
    [10**307, -(10**307), 10**308, -(10**308), int(sys.float_info.max), -int(sys.float_info.max)],
    ids=lambda number: str(number)[:5],
)
def test_an_integer_is_measured_by_its_magnitude(number: int) -> None:
    assert parse_json(str(number).encode()) == number
    assert parse_json(b"[-1" + b"0" * 308 + b"]") == [-(10**308)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9007199254740993.5", Decimal("9007199254740993.5")),
        ("9007199254740993.0", 9007199254740993),
        ("0.10000000000000001", Decimal("0.10000000000000001")),
        ("12345678901234567890123e-3", Decimal("12345678901234567890.123")),
        ("-1e-400", Decimal("-1e-400")),
        ("-1e-99999999999999999999", Decimal("-1e-999999")),
    ],
)
def test_a_number_that_is_no_double_keeps_its_digits_if_asked(text: str, value: object) -> None:
    (number,) = parse_json(f"[{text}]".encode(), exact=True)
    assert isinstance(number, LongNumber)
    assert (number.exactly(), type(number.exactly())) == (value, type(value))
    assert str(number) == text
    assert dump_json(number) == dump_json(float(text))
    assert dump_json({"a": [number]}, exact=True) == f'{{"a":[{text}]}}'
    assert type(parse_json(text.encode())) is float


@pytest.mark.parametrize(
    "text", ["0.1", "1e22", "5e-324", "1.7976931348623157e308", "0e99999999999999999999", "0.30"]
)
def test_a_number_that_is_a_double_is_one(text: str) -> None:
    assert type(parse_json(text.encode(), exact=True)) is float


def test_a_byte_order_mark_at_the_start_is_skipped() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a":"\xef\xbb\xbf"}') == {"a": "\ufeff"}
