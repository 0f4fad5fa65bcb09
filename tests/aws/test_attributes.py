"""Python values as DynamoDB attributes and back."""

from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.aws.dynamodb import from_attribute, from_item, to_attribute, to_item
from chalicelib.events.model import Status

names = st.text(min_size=1, max_size=10)
values = st.recursive(
    st.text(max_size=10) | st.binary(max_size=10) | st.booleans() | st.integers(-(10**37), 10**37),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
)


@given(values)
def test_values_come_back_as_they_were(value: Any) -> None:
    assert from_attribute(to_attribute(value)) == value


@given(values)
def test_aws_own_converter_reads_them_alike(value: Any) -> None:
    assert TypeDeserializer().deserialize(to_attribute(value)) == value


@given(st.dictionaries(names, st.none() | values, max_size=5))
def test_what_is_none_is_left_out(item: dict[str, Any]) -> None:
    expected = {name: value for name, value in item.items() if value is not None}
    assert from_item(to_item(item)) == expected


def test_true_is_no_number_and_a_status_is_a_text() -> None:
    assert to_attribute(value=True) == {"BOOL": True}
    assert to_attribute(1) == {"N": "1"}
    assert to_attribute(Status.FAILED) == {"S": "FAILED"}
    assert type(to_attribute(Status.FAILED)["S"]) is str
    assert to_attribute(("a",)) == {"L": [{"S": "a"}]}


@pytest.mark.parametrize("value", [1.5, {1}, None, object()])
def test_what_a_record_never_holds_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        to_attribute(value)


@pytest.mark.parametrize("attribute", [{"BS": [b"x"]}, {"SS": ["a"]}, {"NULL": True}])
def test_what_we_never_wrote_is_refused(attribute: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        from_attribute(attribute)
