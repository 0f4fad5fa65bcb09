"""What is counted as a read unit, and what the copies in a large ledger are."""

import json
from typing import Any

import botocore.session
import pytest

from benchmarks import growth
from benchmarks.counting import RequestCounter
from benchmarks.growth import ReadMeter, aged, blocks, item_bytes

ENTRY: dict[str, Any] = {
    "pk": {"S": "EVENT#6f1f"},
    "eventId": {"S": "6f1f"},
    "attempts": {"N": "12"},
    "receivedAt": {"S": "2026-03-02T00:00:00.000Z"},
    "s3Key": {"S": "bronze/order/2026/03/02/6f1f.json"},
    "sort": {"S": "2026-03-02T00:00:00.000Z#6f1f"},
}


def test_a_copy_has_another_id_and_day_wherever_they_stand() -> None:
    copied = aged(ENTRY, "new", 2)

    assert {name: next(iter(value.values())) for name, value in copied.items()} == {
        "pk": "EVENT#new",
        "eventId": "new",
        "attempts": "12",
        "receivedAt": "2026-02-28T00:00:00.000Z",
        "s3Key": "bronze/order/2026/02/28/new.json",
        "sort": "2026-02-28T00:00:00.000Z#new",
    }
    assert ENTRY["eventId"] == {"S": "6f1f"}


def test_an_entry_without_its_id_is_known_by_its_key() -> None:
    lean = {name: value for name, value in ENTRY.items() if name != "eventId"}

    assert aged(lean, "new", 1)["pk"] == {"S": "EVENT#new"}


def test_copies_differ_and_lie_on_all_days_by_turns() -> None:
    copied = list(growth._copies([ENTRY], range(270)))

    days = [one["receivedAt"]["S"][:10] for one in copied]
    assert len({one["pk"]["S"] for one in copied}) == 270
    assert set(map(days.count, days)) == {10}
    assert (min(days), max(days)) == ("2026-02-01", "2026-02-27")


@pytest.mark.parametrize(
    ("item", "size"),
    [
        ({"a": {"S": "äb"}}, 4),
        ({"a": {"N": "1234"}}, 5),
        ({"a": {"BOOL": True}, "b": {"NULL": True}}, 4),
        ({"a": {"B": b"123"}}, 4),
        ({"a": {"M": {"bc": {"S": "d"}}}}, 7),
        ({"a": {"L": [{"S": "bc"}]}}, 7),
    ],
)
def test_the_size_of_an_item_is_that_of_its_names_and_values(item: Any, size: int) -> None:
    assert item_bytes(item) == size


def big(size: int) -> dict[str, Any]:
    return {"a": {"S": "x" * (size - 1)}}


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        ({}, 1),
        ({"Item": big(4096)}, 1),
        ({"Item": big(4097)}, 2),
        ({"Items": [big(1000)] * 4, "ScannedCount": 4}, 1),
        ({"Items": [big(1000)] * 5, "ScannedCount": 5}, 2),
        # A filter left most of them out, and they were read all the same.
        ({"Items": [big(1000)], "ScannedCount": 50}, 13),
        ({"Items": [], "ScannedCount": 0}, 1),
        ({"Items": [], "ScannedCount": 3}, 3),
        ({"Responses": {"one": [big(10), big(10)], "two": [big(5000)]}}, 4),
    ],
)
def test_an_answer_is_read_in_blocks_of_four_kilobytes(answer: Any, count: int) -> None:
    assert blocks(answer) == count


def test_reads_are_metered_as_they_are_asked_for(
    moto: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore._INITIALIZERS", [])
    meter = ReadMeter()
    meter.install()
    client = botocore.session.Session().create_client("dynamodb", region_name="us-east-1")
    key = [{"AttributeName": "pk", "KeyType": "HASH"}]
    named = [{"AttributeName": "pk", "AttributeType": "S"}]
    client.create_table(
        TableName="t", KeySchema=key, AttributeDefinitions=named, BillingMode="PAY_PER_REQUEST"
    )
    client.put_item(TableName="t", Item={"pk": {"S": "a"}, **big(5000)})
    one = {"TableName": "t", "Key": {"pk": {"S": "a"}}}

    client.get_item(**one)
    with meter.metering() as units:
        client.get_item(**one)
        client.get_item(**one, ConsistentRead=True)
        client.query(
            TableName="t",
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": "a"}},
        )
        client.put_item(TableName="t", Item={"pk": {"S": "b"}})
    client.get_item(**one)

    assert units == [1, 2, 1]


def test_entries_are_written_all(moto: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTS_TABLE", "t")
    client = botocore.session.Session().create_client("dynamodb", region_name="us-east-1")
    client.create_table(
        TableName="t",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )

    growth._write(growth._copies([ENTRY], range(263)))

    assert client.scan(TableName="t", Select="COUNT")["Count"] == 263


def test_a_use_that_costs_more_in_a_large_ledger_misses_its_aim() -> None:
    same, more, new = (
        growth._compare("list: requests", *costs, 1_000, 20_000)
        for costs in ((40, 41), (40, 43), (0, 1))
    )

    assert (same.is_met, more.is_met, new.is_met) == (True, False, False)
    assert json.dumps(dict(more.parts)) == '{"1,000": 40, "20,000": 43}'


def test_what_a_busy_machine_adds_is_not_counted() -> None:
    counter, meter = RequestCounter(), ReadMeter()
    tries = iter([3, None, 2])

    def use() -> None:
        requests = next(tries)
        if requests is None:
            raise RuntimeError("GET /events answered 503")
        for _ in range(requests):
            counter.on_request("before-send.dynamodb.Query")
            meter.on_answer({"Items": []}, {"consistent": True})

    assert growth._count(use, counter, meter)[:2] == (2, 2)


def test_a_use_that_always_fails_is_told_of() -> None:
    def use() -> None:
        raise RuntimeError("GET /events answered 503")

    with pytest.raises(RuntimeError, match="503"):
        growth._count(use, RequestCounter(), ReadMeter())
