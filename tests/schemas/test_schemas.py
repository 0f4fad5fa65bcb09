"""Schemas that are accepted and refused, what an event breaks, and that neither takes long."""

import json
import random
import time
from typing import Any

import pytest

from chalicelib.core.errors import InvalidRequestError
from chalicelib.core.strict_json import parse_json
from chalicelib.schemas.bounds import MAX_WORK, Work, bound_work, measure
from chalicelib.schemas.compiler import (
    MAX_SCHEMA_BYTES,
    Compiled,
    check_schema,
    violations,
)
from chalicelib.schemas.document import DRAFT_7, DRAFT_2020_12, read_document
from chalicelib.schemas.store import Schema

DIALECT = DRAFT_2020_12.uri
MEBIBYTE = 1 << 20
NUMBERS = [1] * (MEBIBYTE // 2)
SLOW_SECONDS = 5.0
ORDER = {
    "type": "object",
    "required": ["orderId", "lines"],
    "properties": {
        "orderId": {"type": "string", "pattern": "^[0-9a-f-]{36}$"},
        "lines": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["sku", "count"],
                "properties": {"sku": {"type": "string"}, "count": {"minimum": 1}},
                "additionalProperties": False,
            },
        },
    },
}
TREE = {
    "type": "object",
    "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "value": {"type": "integer"}},
    "additionalProperties": False,
}
NESTED_LIST = {
    "properties": {"children": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["name"],
}


def check(schema: Any) -> Compiled:
    return check_schema(schema, len(json.dumps(schema)))


def work_of(schema: Any) -> Work:
    return bound_work(read_document(schema))


def told(schema: Any, data: Any) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.detail) for fault in violations(check(schema), data)]


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"properties": {"a": value}}
    return value


@pytest.mark.parametrize(
    "schema",
    [
        True,
        False,
        {},
        ORDER,
        TREE,
        NESTED_LIST,
        {"$schema": DIALECT, "$id": "https://example.com/order", "type": "object"},
        {"$id": DIALECT, "type": "integer"},
        {"$defs": {"a/b~c d": {"type": "string"}}, "$ref": "#/$defs/a~1b~0c%20d"},
        {"$defs": {"a": {"$anchor": "here", "type": "string"}}, "$ref": "#here"},
        {"$defs": {"a": {"$dynamicAnchor": "n"}}, "properties": {"a": {"$dynamicRef": "#n"}}},
        {"properties": {"$id": {}, "$ref": {}, "$vocabulary": {}, "$schema": {}}},
        {"const": {"$ref": "http://example.com"}, "default": {"$id": "x"}},
        {"x-ours": {"$ref": "file:///etc/passwd", "pattern": "("}},
        {"pattern": "^.{1,255}$", "patternProperties": {"^\\p{L}+$": True}},
        {"definitions": {"a": {}}, "$ref": "#/definitions/a"},
        {"dependencies": {"a": ["b"], "c": {"required": ["d"]}}},
        nested(15),
    ],
)
def test_a_good_schema_is_accepted(schema: Any) -> None:
    check(schema)


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ([], ""),
        ("object", ""),
        (None, ""),
        (1, ""),
        ({"type": "objekt"}, "/type"),
        ({"properties": {"a/b": {"minimum": "1"}}}, "/properties/a~1b/minimum"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "/$schema"),
        ({"$schema": "https://json-schema.org/draft/next/schema"}, "/$schema"),
        ({"$schema": 7}, "/$schema"),
        ({"$schema": []}, "/$schema"),
        ({"$vocabulary": {}}, "/$vocabulary"),
        ({"properties": {"a": {"$schema": DRAFT_7.uri}}}, "/properties/a/$schema"),
        ({"properties": {"a": {"$id": "b"}, "b": {"$id": "b"}}}, "/properties/a/$id"),
        ({"$id": "http://a.b/c", "$ref": "other"}, "/$ref"),
        ({"$id": "urn:a:b", "$ref": "other"}, "/$ref"),
        ({"dependencies": {"a": {}}, "$ref": "#/dependencies/a"}, "/$ref"),
        ({"items": {"$ref": "http://169.254.169.254/"}}, "/items/$ref"),
        ({"items": {"$ref": "file:///etc/passwd"}}, "/items/$ref"),
        ({"$id": "https://example.com/a", "$ref": "b"}, "/$ref"),
        ({"$ref": DIALECT}, "/$ref"),
        ({"$ref": ""}, ""),
        ({"$dynamicRef": "https://example.com#a"}, "/$dynamicRef"),
        ({"$ref": "#/$defs/none"}, "/$ref"),
        ({"$ref": "#none"}, "/$ref"),
        ({"enum": [{"type": "string"}], "$ref": "#/enum/0"}, "/$ref"),
        ({"minimum": 4, "$ref": "#/minimum"}, "/$ref"),
        ({"$ref": "#"}, ""),
        ({"allOf": [{"not": {"$ref": "#"}}]}, "/allOf/0/not"),
        ({"$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}}, "/$defs/a/$anchor"),
        ({"properties": {"a": {"pattern": "(?=x)"}}}, "/properties/a/pattern"),
        ({"pattern": "(a)\\1"}, "/pattern"),
        ({"pattern": "("}, "/pattern"),
        ({"pattern": "(?:a{1000}){1000}"}, "/pattern"),
        ({"patternProperties": {"(?!a)/": True}}, "/patternProperties/(?!a)~1"),
        ({"allOf": [True] * 4000}, ""),
        (nested(17), ""),
        ({"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}, ""),
        ({"additionalProperties": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}, ""),
        ({"patternProperties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}}, ""),
        ({"items": {"$ref": "#"}, "contains": {"$ref": "#"}}, ""),
        ({"properties": {"a": {"$ref": "#"}}, "unevaluatedProperties": {"$ref": "#"}}, ""),
        ({"enum": list(range(2000))}, ""),
    ],
)
def test_a_bad_schema_is_refused_with_the_place(schema: Any, pointer: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        check(schema)
    assert [fault.pointer for fault in raised.value.errors] == [pointer]
    assert 0 < len(raised.value.errors[0].detail) <= 200


def test_doubled_references_are_refused_before_they_are_followed() -> None:
    chain = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(25)}
    started = time.process_time()
    with pytest.raises(InvalidRequestError, match="too long"):
        check({"$defs": chain | {"d25": {}}, "$ref": "#/$defs/d0"})
    assert time.process_time() - started < 1


def test_a_long_chain_in_place_is_refused_without_exhausting_the_stack() -> None:
    chain = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(1500)}
    with pytest.raises(InvalidRequestError, match="one within the other"):
        check({"$defs": chain | {"d1500": {}}, "$ref": "#/$defs/d0"})


def test_size_is_that_of_what_was_sent() -> None:
    check_schema({}, MAX_SCHEMA_BYTES)
    with pytest.raises(InvalidRequestError, match="65536"):
        check_schema({}, MAX_SCHEMA_BYTES + 1)


def test_patterns_together_are_bounded() -> None:
    with pytest.raises(InvalidRequestError, match="together"):
        check({"allOf": [{"pattern": f"^(.x){{1,{n}}}$"} for n in range(200, 210)]})


def test_work_in_place_adds_up_and_that_of_different_members_does_not() -> None:
    wide = work_of({"properties": {f"p{n}": {"minimum": 1} for n in range(1000)}})
    stacked = work_of({"allOf": [{"minimum": 1}] * 1000})
    # But for the look-ups of its names.
    assert wide.costs[-1].per_value < 1000 / 10 + 10
    assert stacked.costs[-1].per_value > 1000


def test_a_recursive_schema_costs_what_the_depth_of_the_data_makes_it() -> None:
    work = work_of(TREE)
    assert work.at(0).per_value < work.at(1).per_value < work.at(10).per_value
    assert work.at(100).per_value <= MAX_WORK
    assert work.at(1000) == work.at(101)


def test_a_tree_of_the_largest_depth_is_checked() -> None:
    tree: Any = {"value": "no integer"}
    for _ in range(99):
        tree = {"left": tree}
    assert told(TREE, tree) == [("/left" * 99 + "/value", 'is not of type "integer"')]


def test_what_is_broken_is_told_by_place_in_order() -> None:
    lines: list[Any] = [{"sku": "a", "count": 1}] * 10
    data: Any = {"lines": [*lines, {"sku": 1, "count": 0, "x/y~": 1}, 7], "orderId": "x"}
    data["lines"][2] = {"count": 1}
    assert told(ORDER, data) == [
        ("/lines/2", '"sku" is a required property'),
        ("/lines/10", "Additional properties are not allowed ('x/y~' was unexpected)"),
        ("/lines/10/count", "is less than the minimum of 1"),
        ("/lines/10/sku", 'is not of type "string"'),
        ("/lines/11", 'is not of type "object"'),
        ("/orderId", 'does not match "^[0-9a-f-]{36}$"'),
        ("/orderId", "is shorter than 36 characters"),
    ]
    assert told(ORDER, {"orderId": "0" * 36, "lines": lines[:2]}) == []


def test_pointers_are_escaped() -> None:
    schema = {"additionalProperties": {"type": "integer"}}
    assert told(schema, {"a/b~c": "", "": ""}) == [
        ("/", 'is not of type "integer"'),
        ("/a~1b~0c", 'is not of type "integer"'),
    ]


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ({"": {"": "x"}}, "//"),
        ({"": {"a": "x"}}, "//a"),
        ({"a": {"": "x"}}, "/a/"),
        ({"a": {"01": "x"}}, "/a/01"),
        ({"1": {"0": "x", "": 1}}, "/1/0"),
        ({"-": {"\u0661": "x"}}, "/-/\u0661"),
    ],
)
def test_names_that_are_empty_or_look_like_numbers_keep_their_place(
    data: Any, pointer: str
) -> None:
    schema = {"additionalProperties": {"additionalProperties": {"type": "integer"}}}
    assert told(schema, data) == [(pointer, 'is not of type "integer"')]


def test_no_more_than_twenty_are_told_and_nothing_long_is_echoed() -> None:
    secret = "s3cret" * 100
    faults = told({"items": {"type": "integer"}}, [secret] * 50)
    assert [pointer for pointer, _ in faults] == [f"/{n}" for n in range(20)]
    assert not any("s3cret" in detail for _, detail in faults)
    ((_, detail),) = told({"enum": ["x" * 5000]}, secret)
    assert len(detail) == 200
    schema = {"properties": {"a": True}, "additionalProperties": False}
    ((_, detail),) = told(schema, {"k" * 5000: 1})
    assert len(detail) == 200


def test_what_false_refuses_is_told_in_words() -> None:
    assert told({"properties": {"a": False}}, {"a": 1}) == [("/a", "is not allowed")]
    assert told({"additionalProperties": False}, {"a": 1}) == [
        ("", "has members that are not allowed")
    ]


def test_format_is_not_asserted() -> None:
    assert told({"format": "email"}, "no address") == []


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ({"uniqueItems": True}, [10**30, 10**30 + 10**20]),
        ({"uniqueItems": True}, [2**62, 2**62 + 1]),
        ({"type": "integer"}, 10**300),
        ({"const": 10**30}, 10**30),
        ({"minimum": 1e-308, "multipleOf": 0.5}, 1e308),
        ({"type": "string", "minLength": 1}, "\0"),
    ],
)
def test_values_at_the_edge_are_valid(schema: Any, data: Any) -> None:
    assert told(schema, data) == []


def test_integers_beyond_64_bits_are_the_same_only_if_all_their_digits_are() -> None:
    assert told({"uniqueItems": True}, [10**30, 10**30 + 1]) == []
    assert told({"uniqueItems": True}, [10**30, 10**30]) == [("", "has non-unique elements")]
    assert told({"uniqueItems": True}, [2**62, 2**62]) == [("", "has non-unique elements")]


HEAVY = {
    "items": ({"items": {"allOf": [{"type": "integer"}] * 46}}, NUMBERS),
    "not": ({"items": {"allOf": [{"not": {"not": {"type": "integer"}}}] * 15}}, NUMBERS),
    "multiple": ({"items": {"allOf": [{"multipleOf": 0.1}] * 9}}, NUMBERS),
    "enum": ({"items": {"enum": [*range(100, 130), 1, "a", {}]}}, NUMBERS),
    "contains": ({"allOf": [{"contains": {"const": "x"}, "minContains": 0}] * 20}, NUMBERS),
    "large integers": ({"uniqueItems": True}, [10**30 + n * 10**18 for n in range(30_000)]),
    "64 bits": ({"uniqueItems": True}, [2**63 - n for n in range(1, 14_000)]),
    "doubles": ({"uniqueItems": True}, [n * 1e-300 for n in range(50_000)]),
    "unique": ({"allOf": [{"uniqueItems": True}] * 50}, list(range(150_000))),
    "unevaluated": (
        {
            "allOf": [{"properties": {f"p{n}": True}} for n in range(60)],
            "unevaluatedProperties": {"type": "integer"},
        },
        {f"{n:x}": 1 for n in range(90_000)},
    ),
    "names": ({"propertyNames": {"maxLength": 9}}, {f"{n:x}": 1 for n in range(90_000)}),
    "slow pattern": (
        {"pattern": "[ab]*a[ab]{800}c"},
        "".join(random.Random(1).choices("ab", k=440_000)),
    ),
    "all wrong": ({"items": {"type": "string"}}, NUMBERS),
    "deep and wrong": (
        {"items": {"$ref": "#"}, "anyOf": [{"type": "integer"}, {"maxItems": 0}]},
        json.loads("[" * 99 + '"' + "x" * MEBIBYTE + '"' + "]" * 99),
    ),
    "all branches wrong": ({"anyOf": [{"type": "integer"}] * 1000}, {"a": "x" * MEBIBYTE}),
}


@pytest.mark.parametrize("case", HEAVY)
def test_the_heaviest_that_is_accepted_is_checked_in_seconds(case: str) -> None:
    schema, data = HEAVY[case]
    compiled = check(schema)
    started = time.process_time()
    faults = violations(compiled, data)
    assert time.process_time() - started < SLOW_SECONDS
    assert len(faults) <= 20


def applied(times: int, schema: Any, **more: Any) -> Any:
    """A schema that applies another so many times to each element."""
    return {"items": {"allOf": [{"$ref": "#/$defs/a"}] * times, **more}, "$defs": {"a": schema}}


NAMES = [f"{n:x}" for n in range(2_800)]
OBJECTS = [{"zz": 1}] * 49_000
STEPS = "^(?:a?b?c?d?){1500}$"
SLOW: dict[str, tuple[Any, Any]] = {
    "properties": ({"properties": {key: {} for key in NAMES}}, OBJECTS),
    "dependentRequired": ({"dependentRequired": {key: [] for key in NAMES}}, OBJECTS),
    "unevaluated": (
        {"unevaluatedProperties": {}, "properties": {key: {} for key in NAMES}},
        OBJECTS,
    ),
    "empty texts": ({"pattern": STEPS}, [""] * 99_000),
    "empty names": ({"patternProperties": {STEPS: {}}}, [{"": 1}] * 49_000),
}
"""What costs by the schema's size in each small part of an event."""


@pytest.mark.parametrize("case", SLOW)
def test_what_a_keyword_looks_at_in_each_small_part_has_a_price(case: str) -> None:
    schema, data = SLOW[case]
    checked = 0
    # However often it applies, and to however much: it is refused, or soon over
    for times in (1, 2, 4, 8, 16, 32, 64, 120):
        try:
            compiled = check(applied(times, schema))
        except InvalidRequestError:
            break
        for number in (1_000, 3_000, 10_000, 30_000, len(data)):
            started = time.process_time()
            faults = violations(compiled, data[:number])
            assert time.process_time() - started < 2, (times, number)
            checked += not faults
    assert checked >= 1
    assert times < 120 or faults


def test_an_event_that_may_take_too_long_is_refused_unseen() -> None:
    schema = {"items": {"allOf": [{"type": "integer"}] * 500}}
    assert told(schema, NUMBERS[:1000]) == []
    ((pointer, detail),) = told(schema, NUMBERS)
    assert (pointer, "too large" in detail) == ("", True)


def test_unevaluated_within_unevaluated_multiplies() -> None:
    schema: Any = {"unevaluatedItems": True}
    for _ in range(8):
        schema = {"allOf": [schema], "unevaluatedItems": True}
    with pytest.raises(InvalidRequestError, match="too long"):
        check(schema)


def test_integers_that_share_a_double_count_for_all_that_they_may_collide_with() -> None:
    numbers = [2**63 - n for n in range(1, 50_000)]
    ((_, detail),) = told({"uniqueItems": True}, numbers)
    assert "too large" in detail
    assert told({"type": "array"}, numbers) == []


def test_large_data_that_is_wrong_is_told_its_first_fault_or_that_there_is_one() -> None:
    assert told({"items": {"type": "string"}}, NUMBERS) == [("/0", 'is not of type "string"')]
    # A violation costs more than the small value that it is about.
    few = {"items": {"type": "string"}}
    assert len(violations(check(few), NUMBERS[:100_000])) == 1
    ((pointer, detail),) = told({"items": {"anyOf": [{"type": "string"}] * 9}}, NUMBERS)
    assert pointer == ""
    assert "too large to say where" in detail


def test_the_same_schema_in_other_words_is_the_same() -> None:
    schema = Schema("a", 1, '{"type": "object",\n"required": ["a", "b"]}', "", "")
    assert schema.is_same(parse_json(b'{"required":["a","b"],"type":"object"}'))
    assert not schema.is_same({"type": "object", "required": ["b", "a"]})
    assert not Schema("a", 1, '{"const": 1}', "", "").is_same({"const": True})
    shown = schema.to_dict()
    assert shown.keys() == {"eventType", "version", "schema", "createdAt"}
    assert shown["schema"] == {"type": "object", "required": ["a", "b"]}


def test_measure_counts_values_names_text_and_depth() -> None:
    size = measure({"ab": [1, "é", {"c": None}]})
    assert (size.values, size.text_bytes, size.depth) == (8, 5, 3)
    assert measure(1).depth == 0
    assert measure([2**62, 1.5, True, [2**64]]).numbers == 3
    assert measure([2**62, True, "1.5"]).weight == 0
    assert 0 < measure([1.5]).weight < measure([2**70]).weight * 2 < measure([1e-99]).weight
