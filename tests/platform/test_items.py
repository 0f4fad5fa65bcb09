"""Changes of items on a deployed stage: the owner is told of each once, and nobody else is."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from tests.support.deployed_stage import Stage, unique, wait_for
from tests.support.mailbox import Mailbox, confirm, mailbox_of, open_mailbox, reason_of

pytestmark = [pytest.mark.emulator, pytest.mark.one_stage]

_SCOPES = ("items:write", "items:read")


class Owner:
    """An owner of items whose notifications come to a queue."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.name = unique("owner")
        self.token = stage.token(self.name, *_SCOPES)
        self.mailbox: Mailbox = open_mailbox(stage, "sns.amazonaws.com")
        self.subscription_id = confirm(stage, self.mailbox, self.token)

    def create(self, **data: Any) -> str:
        """Create an item; its id."""
        answer = self._stage.call("POST", "/items", self.token, json=data)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["itemId"])

    def replace(self, item_id: str, **data: Any) -> None:
        """Replace what an item holds."""
        headers = {"If-Match": "*"}
        answer = self._stage.call(
            "PUT", f"/items/{item_id}", self.token, json=data, headers=headers
        )
        assert answer.status_code == 200, answer.text

    def delete(self, item_id: str) -> None:
        """Delete an item."""
        answer = self._stage.call(
            "DELETE", f"/items/{item_id}", self.token, headers={"If-Match": "*"}
        )
        assert answer.status_code == 204, answer.text

    def subjects(self) -> list[str]:
        """The subjects of all that the owner was told."""
        return [body["Subject"] for body in self.mailbox.bodies()]

    def await_subject(self, subject: str) -> None:
        """Wait until the owner was told."""
        wait_for(f"{self.name} to be told {subject!r}", lambda: subject in self.subjects())

    def await_end(self) -> str:
        """Make one change more and wait until it was told, as all before it were then; its
        subject."""
        subject = f"Item {self.create(behind=True)} was created"
        self.await_subject(subject)
        return subject


def stream_records(stage: Stage, item_id: str) -> list[dict[str, Any]]:
    """The records of the stream that tell of an item, as Lambda hands them to the function."""
    streams = stage.emulator.client("dynamodbstreams")
    arn = stage.settings.items_stream_arn
    found: list[dict[str, Any]] = []
    for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        answer = streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )
        iterator = answer["ShardIterator"]
        while iterator:
            page = streams.get_records(ShardIterator=iterator)
            found += page["Records"]
            iterator = page.get("NextShardIterator") if page["Records"] else None
    mine = [r for r in found if item_id in r["dynamodb"]["Keys"]["pk"]["S"]]
    text = json.dumps(mine, default=_seconds)
    records: list[dict[str, Any]] = json.loads(text)
    return records


def made_records(stage: Stage, owner: str, number: int) -> list[dict[str, Any]]:
    """Records such as the stream gives for items created by `owner`, which it never gave."""
    records = []
    for _ in range(number):
        pk = {"S": f"ITEM#{uuid.uuid4()}"}
        image = {
            "pk": pk,
            "owner": {"S": owner},
            "version": {"N": "1"},
            "data": {"M": {"name": {"S": "chair"}}},
        }
        change = {
            "ApproximateCreationDateTime": 1773489600.0,
            "Keys": {"pk": pk},
            "NewImage": image,
            "SequenceNumber": "1",
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        records.append(
            {
                "eventID": uuid.uuid4().hex,
                "eventName": "INSERT",
                "eventSource": "aws:dynamodb",
                "eventSourceARN": stage.settings.items_stream_arn,
                "dynamodb": change,
            }
        )
    return records


def deliver(stage: Stage, records: list[dict[str, Any]]) -> None:
    """Invoke the function as Lambda does for a stream: again while it raises."""

    def tried() -> bool:
        answer = stage.functions.invoke(
            FunctionName=stage.function_name("notify_owners"),
            Payload=json.dumps({"Records": records}).encode(),
        )
        result = answer["Payload"].read().decode()
        if "FunctionError" in answer:
            assert "left over" in result, result
        return "FunctionError" not in answer

    wait_for("the batch to be through", tried)


def _seconds(value: Any) -> float:
    assert isinstance(value, datetime)
    return value.timestamp()


def test_each_change_is_told_to_the_owner_alone(stage: Stage) -> None:
    # Given
    owner, other = Owner(stage), Owner(stage)

    # When
    item_id = owner.create(name="chair", price=3)
    owner.replace(item_id, name="table", price=3)
    owner.delete(item_id)
    theirs = other.create(name="lamp")
    end = owner.await_end()
    other.await_subject(f"Item {theirs} was created")

    # Then
    assert owner.subjects() == [
        f"Item {item_id} was created",
        f"Item {item_id} was updated: name",
        f"Item {item_id} was deleted",
        end,
    ]
    assert other.subjects() == [f"Item {theirs} was created"]
    updated = owner.mailbox.bodies()[1]
    assert 'name: "chair" -> "table"' in updated["Message"]
    told = {name: value["Value"] for name, value in updated["MessageAttributes"].items()}
    names = {"owner": owner.name, "mailOwner": owner.name}
    assert told == {**names, "change": "updated", "itemId": item_id}


def test_a_change_that_changes_nothing_is_not_told(stage: Stage) -> None:
    owner = Owner(stage)
    item_id = owner.create(name="chair")

    owner.replace(item_id, name="chair")
    end = owner.await_end()

    assert owner.subjects() == [f"Item {item_id} was created", end]


def test_an_owner_who_unsubscribed_is_told_no_more(stage: Stage) -> None:
    # Given
    owner = Owner(stage)
    end = owner.await_end()
    (kept,) = stage.call("GET", "/subscriptions", owner.token).json()["items"]
    assert kept["subscriptionId"] == owner.subscription_id

    # When
    path = f"/subscriptions/{owner.subscription_id}"
    assert stage.call("DELETE", path, owner.token).status_code == 204
    owner.create(name="chair")
    Owner(stage).await_end()

    # Then
    assert owner.subjects() == [end]


def test_owners_share_a_queue_that_agreed_to_both(stage: Stage) -> None:
    # Given
    owner = Owner(stage)
    other = stage.token(unique("owner"), *_SCOPES)
    stranger = stage.token(unique("owner"), *_SCOPES)
    theirs = confirm(stage, owner.mailbox, other)

    # When: the stranger asks, and nobody agrees.
    order = {"protocol": "sqs", "endpoint": owner.mailbox.arn}
    asked = stage.call("POST", "/subscriptions", stranger, json=order)
    assert (asked.status_code, asked.json()["status"]) == (201, "pending")
    wrong = stage.call("POST", "/subscriptions", stranger, json={**order, "token": "0" * 32})
    assert [fault["pointer"] for fault in wrong.json()["errors"]] == ["/token"]
    wait_for("the question", lambda: owner.mailbox.take("Confirm the subscription"))
    items = [
        stage.call("POST", "/items", token, json={"name": "chair"}).json()["itemId"]
        for token in (stranger, other)
    ]

    # Then
    owner.await_subject(f"Item {items[1]} was created")
    end = owner.await_end()
    assert stage.call("DELETE", f"/subscriptions/{theirs}", other).status_code == 204
    stage.call("POST", "/items", other, json={"name": "table"})
    last = owner.await_end()
    assert owner.subjects() == [f"Item {items[1]} was created", end, last]


def test_a_batch_of_the_stream_that_comes_again_tells_nothing(stage: Stage) -> None:
    # Given
    owner = Owner(stage)
    item_id = owner.create(name="chair")
    owner.replace(item_id, name="table")
    owner.delete(item_id)
    owner.await_subject(f"Item {item_id} was deleted")
    told = owner.subjects()
    records = stream_records(stage, item_id)
    # A deleted item leaves its tombstone.
    assert [record["eventName"] for record in records] == ["INSERT", "MODIFY", "MODIFY"]

    # When
    for _ in range(2):
        deliver(stage, records)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: deliver(stage, records), range(4)))
    end = owner.await_end()

    # Then
    assert owner.subjects() == [*told, end]


def test_a_batch_delivered_twice_at_a_time_is_told_once(stage: Stage) -> None:
    # Given
    owner = Owner(stage)
    records = made_records(stage, owner.name, 12)

    # When
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: deliver(stage, records), range(4)))
    end = owner.await_end()

    # Then
    ids = [record["dynamodb"]["Keys"]["pk"]["S"].removeprefix("ITEM#") for record in records]
    told = owner.subjects()
    assert sorted(told) == sorted([*(f"Item {item_id} was created" for item_id in ids), end])


def test_a_poison_record_does_not_hold_up_the_stream(stage: Stage) -> None:
    # Given: between two good changes, one that nobody can make out
    owner = Owner(stage)
    before = owner.create(name="before")
    poison = f"ITEM#{unique('poison')}"
    stage.dynamodb.put_item(
        TableName=stage.settings.items_table, Item={"pk": {"S": poison}, "data": {"S": "none"}}
    )
    after = owner.create(name="after")

    # When
    owner.await_subject(f"Item {after} was created")

    # Then
    assert owner.subjects() == [f"Item {item} was created" for item in (before, after)]
    letters = mailbox_of(stage, stage.settings.notifications_dlq_arn)
    wait_for("the poison record", lambda: letters.with_text(poison))
    (letter,) = letters.with_text(poison)
    assert json.loads(letter["Body"])["dynamodb"]["Keys"] == {"pk": {"S": poison}}
    assert reason_of(letter)["reason"]
    assert reason_of(letter)["code"]


def test_poison_in_the_middle_of_a_batch_leaves_its_neighbours_alone(stage: Stage) -> None:
    # Given
    owner = Owner(stage)
    first, last = made_records(stage, owner.name, 2)
    mark = unique("poison")
    poison = {"eventID": mark, "eventName": "REMOVE", "dynamodb": {"Keys": {}}}

    # When
    for _ in range(2):
        deliver(stage, [first, poison, last])
    end = owner.await_end()

    # Then
    assert len(owner.subjects()) == 3
    assert owner.subjects()[-1] == end
    (letter,) = mailbox_of(stage, stage.settings.notifications_dlq_arn).with_text(mark)
    assert json.loads(letter["Body"]) == poison
    assert reason_of(letter) == {
        "reason": "not a record of the stream of items",
        "code": "record",
    }
