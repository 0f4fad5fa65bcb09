"""The calls that stores make on a table, with DynamoDB's answers as it documents them."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.aws.dynamodb import BATCH, Table
from chalicelib.core.errors import UnavailableError


class Client:
    """Answers as told, in order, and notes what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def __getattr__(self, _operation: str) -> Any:
        return self._call

    def _call(self, **arguments: Any) -> Any:
        self.asked.append(arguments)
        given = self.answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return given


def key(number: int) -> dict[str, Any]:
    return {"pk": {"S": str(number)}}


def refusal(code: str, item: Any = None, retries: int = 0) -> ClientError:
    response: Any = {
        "Error": {"Code": code},
        "ResponseMetadata": {"RetryAttempts": retries},
        **({} if item is None else {"Item": item}),
    }
    return ClientError(response, "PutItem")


def test_a_read_is_consistent() -> None:
    client = Client({"Item": key(1)}, {})
    table = Table(client, "t")
    assert (table.get(key(1)), table.get(key(2))) == (key(1), None)
    assert all(asked["ConsistentRead"] for asked in client.asked)


def test_many_are_read_a_hundred_at_a_time_and_what_is_left_out_again() -> None:
    # Given DynamoDB, which leaves one key of the first hundred for a second call
    left = {"t": {"Keys": [key(99)], "ConsistentRead": True}}
    client = Client(
        {"Responses": {"t": [key(0)]}, "UnprocessedKeys": left},
        {"Responses": {"t": [key(99)]}, "UnprocessedKeys": {}},
        {"Responses": {"t": [key(100)]}},
    )
    # When
    found = list(Table(client, "t").get_many([key(number) for number in range(BATCH + 1)]))
    # Then
    assert found == [key(0), key(99), key(100)]
    assert [len(asked["RequestItems"]["t"]["Keys"]) for asked in client.asked] == [BATCH, 1, 1]


def test_no_keys_are_no_call() -> None:
    assert list(Table(Client(), "t").get_many([])) == []


def test_a_table_that_keeps_leaving_keys_out_is_unavailable() -> None:
    left = {"t": {"Keys": [key(1)], "ConsistentRead": True}}
    answers = [{"Responses": {}, "UnprocessedKeys": left}] * 20
    with pytest.raises(UnavailableError):
        list(Table(Client(*answers), "t").get_many([key(1)]))


def test_a_write_that_was_made_gives_what_it_was_asked_for() -> None:
    done = Table(Client({"Attributes": key(1)}), "t").write("update_item", Key=key(1))
    assert (done.made, done.item) == (True, key(1))


def test_a_write_that_was_refused_gives_what_stood_against_it() -> None:
    code = "ConditionalCheckFailedException"
    client = Client(refusal(code, key(1)), refusal(code, retries=1))
    table = Table(client, "t")
    first, second = table.write("put_item", Item={}), table.write("delete_item", Key=key(1))
    assert (first.made, first.item, first.is_repeat) == (False, key(1), False)
    assert (second.made, second.item, second.is_repeat) == (False, {}, True)
    assert client.asked[0]["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"


def test_any_other_error_passes_through() -> None:
    with pytest.raises(ClientError):
        Table(Client(refusal("ThrottlingException")), "t").write("put_item", Item={})
