"""Which events a destination gets."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.destinations.match import (
    Comparisons,
    TooManyComparisonsError,
    filter_faults,
    filter_matches,
    needs_data,
    type_matches,
)

EVENT: dict[str, Any] = {
    "eventId": "1",
    "eventType": "order.paid",
    "source": "/shop",
    "subject": None,
    "time": "2026-01-01T00:00:00Z",
    "data": {
        "total": 12.5,
        "count": 1,
        "paid": True,
        "note": None,
        "country": "DE",
        "tags": ["new", "vip"],
        "empty": [],
        "lines": [{"sku": "a", "price": 1}, {"sku": "b", "price": 9}],
        "address": {"city": "Köln"},
    },
}


def is_match(pattern: Any, event: Any) -> bool:
    return filter_matches(pattern, event, Comparisons(10_000))


@pytest.mark.parametrize(
    ("patterns", "matches"),
    [
        (["order.paid"], True),
        (["order.*"], True),
        (["*"], True),
        (["a", "order.p*"], True),
        (["order"], False),
        (["orders.*"], False),
        (["order.paid.*"], False),
        ([], False),
    ],
)
def test_event_types_are_exact_or_prefixes(patterns: list[str], matches: bool) -> None:
    assert type_matches(patterns, "order.paid") is matches


def data(name: str, *entries: Any) -> dict[str, Any]:
    return {"data": {name: list(entries)}}


MATCHES = [
    {"source": ["/shop", "/other"]},
    {"source": ["/shop"], "data": {"country": ["DE"]}},
    {"subject": [None]},
    {"subject": [{"exists": True}]},
    {"data": {"address": {"city": [{"prefix": "K"}]}}},
    {"data": {"lines": {"sku": ["b"]}}},
    data("total", 12.5),
    data("count", 1.0),
    {"data": {"paid": [True]}},
    data("note", None),
    data("tags", "vip"),
    data("tags", {"anything-but": "old"}),
    data("country", {"suffix": "E"}),
    data("country", {"equals-ignore-case": "de"}),
    data("country", {"anything-but": ["AT", "CH"]}),
    data("country", {"anything-but": {"prefix": "A"}}),
    data("country", {"exists": True}),
    data("absent", {"exists": False}),
    data("absent", {"exists": False}, "AT"),
    data("total", {"numeric": [">", 12, "<=", 12.5]}),
    data("count", {"numeric": ["=", 1]}),
    data("total", "nothing", {"numeric": ["<", 100]}),
]
NO_MATCHES = [
    {"source": ["/other"]},
    {"source": ["/shop"], "data": {"country": ["AT"]}},
    {"data": {"address": {"city": ["Bonn"]}}},
    {"data": {"lines": {"sku": ["a"], "price": [9]}}},
    {"data": {"country": {"code": ["DE"]}}},
    {"data": ["order"]},
    {"data": {"count": [True]}},
    data("paid", 1),
    data("total", "12.5"),
    data("absent", None),
    data("absent", {"anything-but": "x"}),
    data("tags", {"anything-but": "vip"}),
    data("tags", "old"),
    data("empty", {"anything-but": "x"}),
    data("country", {"prefix": "E"}),
    data("country", {"exists": False}),
    data("absent", {"exists": True}),
    data("total", {"numeric": [">", 12.5]}),
    data("country", {"numeric": [">", 0]}),
    data("paid", {"numeric": [">", 0]}),
    data("total", {"prefix": "1"}),
]
FAULTS = [
    ([], "/filter"),
    ({}, "/filter"),
    ("order", "/filter"),
    ({"owner": ["a"]}, "/filter/owner"),
    ({"detail-type": ["a"]}, "/filter/detail-type"),
    ({"source": "a"}, "/filter/source"),
    ({"source": []}, "/filter/source"),
    ({"source": {}}, "/filter/source"),
    ({"data": {"a": {"b": 1}}}, "/filter/data/a/b"),
    ({"data": {"a/b~": 1}}, "/filter/data/a~1b~0"),
    ({"source": [[1]]}, "/filter/source/0"),
    ({"source": [{}]}, "/filter/source/0"),
    ({"source": ["a", {"prefix": "a", "suffix": "b"}]}, "/filter/source/1"),
    ({"source": [{"wildcard": "a*"}]}, "/filter/source/0"),
    ({"source": [{"cidr": "10.0.0.0/8"}]}, "/filter/source/0"),
    ({"source": [{"prefix": 1}]}, "/filter/source/0"),
    ({"source": [{"prefix": ""}]}, "/filter/source/0"),
    ({"source": [{"exists": "yes"}]}, "/filter/source/0"),
    ({"source": [{"anything-but": []}]}, "/filter/source/0"),
    ({"source": [{"anything-but": [None]}]}, "/filter/source/0"),
    ({"source": [{"anything-but": {"numeric": [">", 1]}}]}, "/filter/source/0"),
    ({"source": [{"anything-but": {"prefix": 1}}]}, "/filter/source/0"),
    ({"source": [{"numeric": [">"]}]}, "/filter/source/0"),
    ({"source": [{"numeric": [">", 1, "<"]}]}, "/filter/source/0"),
    ({"source": [{"numeric": ["!", 1]}]}, "/filter/source/0"),
    ({"source": [{"numeric": [["="], 1]}]}, "/filter/source/0"),
    ({"source": [{"numeric": [">", "1"]}]}, "/filter/source/0"),
    ({"source": [{"numeric": [">", True]}]}, "/filter/source/0"),
    ({"source": [{"numeric": 1}]}, "/filter/source/0"),
    ({"source": ["a" * 4096]}, "/filter"),
    ({"source": list(range(101))}, "/filter"),
]


@pytest.mark.parametrize("pattern", MATCHES)
def test_a_matches(pattern: dict[str, Any]) -> None:
    assert filter_faults(pattern) == []
    assert is_match(pattern, EVENT)


@pytest.mark.parametrize("pattern", NO_MATCHES)
def test_a_filter_does_not_match(pattern: dict[str, Any]) -> None:
    assert filter_faults(pattern) == []
    assert not is_match(pattern, EVENT)


@pytest.mark.parametrize(("pattern", "pointer"), FAULTS)
def test_a_filter_that_is_not_understood_is_refused_where_it_is_wrong(
    pattern: Any, pointer: str
) -> None:
    (fault,) = filter_faults(pattern)
    assert fault.pointer == pointer
    assert "must" in fault.detail or "exists" in fault.detail


def test_a_filter_has_a_limited_depth() -> None:
    deep: Any = ["a"]
    for _ in range(8):
        deep = {"data": deep}
    assert filter_faults(deep) == []
    assert filter_faults({"data": deep})


def test_only_a_filter_on_data_needs_it() -> None:
    assert needs_data({"data": {"a": [1]}})
    assert not needs_data({"source": ["/shop"]})
    assert not needs_data(None)


@pytest.mark.parametrize("value", [None, "text", 7, [1, [2]], [{"country": 1}]])
def test_data_of_any_form_is_matched_without_a_fault(value: Any) -> None:
    assert not is_match(data("country", "DE"), {**EVENT, "data": value})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.sampled_from("abc"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)
    ),
    max_leaves=8,
)
entries = (
    json_values
    | st.fixed_dictionaries({"prefix": json_values})
    | st.fixed_dictionaries({"anything-but": json_values})
    | st.fixed_dictionaries({"numeric": st.lists(st.sampled_from([">", "=", 1, "a"]), max_size=4)})
    | st.fixed_dictionaries({"exists": st.booleans() | json_values})
)
patterns = st.recursive(
    st.lists(entries, max_size=3) | json_values,
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=6,
)


@given(patterns, json_values)
def test_a_pattern_is_refused_or_works(pattern: Any, value: Any) -> None:
    filters = {"data": pattern}
    if filter_faults(filters) == []:
        assert is_match(filters, {**EVENT, "data": value}) in (True, False)


@given(json_values)
def test_anything_but_is_the_opposite_of_a_value_that_is_there(value: Any) -> None:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        event = {"data": {"a": value}}
        assert is_match({"data": {"a": [value]}}, event)
        assert not is_match({"data": {"a": [{"anything-but": [value]}]}}, event)


HARD = {
    "texts": ([{"prefix": f"x{n}"} for n in range(100)], ["y" * 9] * 99_000),
    "case": ([{"equals-ignore-case": f"x{n}"} for n in range(100)], ["Y" * 10_000] * 100),
    "long text": ([{"equals-ignore-case": f"x{n}"} for n in range(100)], "ß" * 1_000_000),
    "none of many": ([{"anything-but": list(range(1, 800))}], [0] * 99_000),
    "numbers": ([{"numeric": [">", 1, "<", 0]}] * 100, [1] * 99_000),
    "absent": ({f"m{n}": [{"exists": n != 99}] for n in range(100)}, [{}] * 99_000),
    "objects": (
        {"a": {"b": {"c": {f"m{n}": [{"exists": n == 99}] for n in range(100)}}}},
        [{"a": [{"b": [{"c": [{}] * 3}] * 3}] * 3}] * 2_000,
    ),
}


@pytest.mark.parametrize("case", HARD)
def test_a_filter_that_is_held_against_very_many_values_gives_up(case: str) -> None:
    rule, value = HARD[case]
    pattern = {"data": {"x": rule}}
    assert filter_faults(pattern) == []
    started = time.process_time()
    try:
        found = filter_matches(pattern, {"data": {"x": value}}, Comparisons(500_000))
    except TooManyComparisonsError:
        found = False
    assert not found
    assert time.process_time() - started < 1.5


def test_comparisons_are_counted_for_each_value_and_entry() -> None:
    event = {"data": {"x": [1, 2, 3]}}
    pattern = {"data": {"x": [5, {"anything-but": [1, 2]}]}}
    assert not filter_matches(pattern, event, Comparisons(1 + 4 + 8))
    with pytest.raises(TooManyComparisonsError):
        filter_matches(pattern, event, Comparisons(1 + 4 + 7))
