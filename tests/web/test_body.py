"""A body checked by the schema that the document shows: every fault, at its place, in its words."""

import json
from functools import partial
from typing import Any

import pytest

from chalicelib.core.errors import InvalidJsonError, InvalidRequestError
from chalicelib.core.names import name_fault
from chalicelib.web.body import MAX_FAULTS, check_body, faults_of, read_body
from chalicelib.web.callers import Caller
from chalicelib.web.describe import nullable, number, order, text
from chalicelib.web.request import Request

ORDER = order(
    {
        "owner": text("Whose it is: must be 1 to 3 letters.", pattern="^[a-z]{1,3}$"),
        "rate": number(
            "Events a second: must be a whole number, 1 to 500.", minimum=1, maximum=500
        ),
        "scopes": {
            "type": "array",
            "minItems": 1,
            "description": "must be a list of scopes",
            "items": {"type": "string", "enum": ["a", "b"], "description": "is not a scope"},
        },
        "until": nullable(text("When it ends: must be a time", format="date-time")),
        "plain": {"type": "string"},
    },
    ["owner"],
)
CHOICE = order(
    {
        "one": text("must be text"),
        "other": text("must be text"),
        "detail": text("must come with one"),
    },
    [],
    description="An order must have just one of one, other.",
    oneOf=[{"required": ["one"]}, {"required": ["other"]}],
    dependentSchemas={"detail": {"required": ["one"]}},
)


def request(body: Any) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request(Caller("alice", frozenset(), "t"), "r1", {}, {}, raw)


def told(value: Any, schema: Any = ORDER) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.detail) for fault in faults_of(value, schema)]


def test_what_the_schema_allows_has_no_fault() -> None:
    body = {"owner": "abc", "rate": 500, "scopes": ["a", "b"], "until": None, "plain": ""}
    assert told(body) == []
    assert read_body(request(body), ORDER, "refused") == body


def test_every_fault_is_told_at_once_in_the_order_of_the_members() -> None:
    body = {"until": "soon", "scopes": ["a", "c", 7], "rate": 0, "owner": "A", "zz": 1, "~/": 2}
    unknown = [("/zz", "is not known here"), ("/~0~1", "is not known here")]
    assert sorted(told(body)[-2:]) == sorted(unknown)
    assert told(body)[:-2] == [
        ("/owner", "must be 1 to 3 letters"),
        ("/rate", "must be a whole number, 1 to 500"),
        ("/scopes/1", "is not a scope"),
        ("/scopes/2", "is not a scope"),
        ("/until", "must be a time"),
    ]


def test_unknown_members_hide_no_other_fault() -> None:
    body = {"rate": 0, **{f"unknown{number}": 1 for number in range(2 * MAX_FAULTS)}}
    with pytest.raises(InvalidRequestError) as caught:
        read_body(request(body), ORDER, "refused")
    assert [fault.pointer for fault in caught.value.errors[:2]] == ["/owner", "/rate"]
    assert len(caught.value.errors) == MAX_FAULTS


def test_a_member_that_is_missing_is_told_in_its_own_words() -> None:
    assert told({}) == [("/owner", "must be 1 to 3 letters")]


@pytest.mark.parametrize("rate", ["5", None, True, 1.5, 501, -1, 10**300, [], {}])
def test_a_value_of_any_other_kind_is_told_once(rate: Any) -> None:
    assert told({"owner": "a", "rate": rate}) == [("/rate", "must be a whole number, 1 to 500")]


def test_a_member_without_words_has_those_of_the_validator() -> None:
    ((pointer, words),) = told({"owner": "a", "plain": 7})
    assert pointer == "/plain"
    assert "string" in words


def test_a_rule_of_the_whole_order_is_told_at_its_root() -> None:
    assert told({}, CHOICE) == [("", "must have just one of one, other")]
    assert told({"one": "a", "other": "b"}, CHOICE) == [("", "must have just one of one, other")]


def test_what_a_member_depends_on_is_told_at_the_member() -> None:
    assert told({"other": "a", "detail": "b"}, CHOICE) == [("/detail", "must come with one")]


def test_a_check_stands_in_for_the_schema_where_that_cannot_be_exact() -> None:
    # Given a limit in bytes, which a schema can only give in characters
    schema = order({"name": text("must be a name", maxLength=4)}, ["name"])
    checks = {"name": partial(name_fault, max_bytes=4)}
    # Then
    assert faults_of({"name": "ééé"}, schema) == []
    (fault,) = faults_of({"name": "ééé"}, schema, checks)
    assert (fault.pointer, fault.detail) == ("/name", "must be at most 4 bytes of UTF-8")
    (fault,) = faults_of({"name": 7}, schema, checks)
    assert fault.detail == "must be a string"


@pytest.mark.parametrize("body", [[], "a", 1, None])
def test_any_other_json_than_an_object_is_refused(body: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_body(request(body), ORDER)
    assert [(one.pointer, one.detail) for one in caught.value.errors] == [
        ("", "must be a JSON object")
    ]


def test_a_body_that_is_not_json_is_refused_as_that() -> None:
    with pytest.raises(InvalidJsonError):
        read_body(request(b'{"owner":"a","owner":"b"}'), ORDER, "refused")


def test_the_answer_does_not_grow_with_a_hostile_body() -> None:
    body = {f"{number:03}{'x' * 500}": 1 for number in range(100)}
    with pytest.raises(InvalidRequestError) as caught:
        read_body(request(body), ORDER, "refused")
    assert len(caught.value.errors) == MAX_FAULTS
    assert max(len(one.pointer) for one in caught.value.errors) <= 65


def test_schemas_that_come_and_go_are_not_taken_for_each_other() -> None:
    for size in range(1, 200):
        schema = order({"name": text("must fit", maxLength=size)}, [])
        assert faults_of({"name": "x" * size}, schema) == []
        assert len(faults_of({"name": "x" * (size + 1)}, schema)) == 1


def test_a_member_that_is_called_description_is_no_description() -> None:
    schema = order({"description": text("must be short", maxLength=3), "size": number()}, [])
    (fault,) = faults_of({"size": -1}, schema)
    assert fault.pointer == "/size"
    (fault,) = faults_of({"description": "long"}, schema)
    assert fault.detail == "must be short"
