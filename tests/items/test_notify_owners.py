"""Notifications: real stream records in, messages in an owner's queue out, whatever goes wrong."""

import copy
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib.aws.effects import KEPT, Claim, EffectStore
from chalicelib.aws.sns import BY_MAIL, Message, Refusal, Topic
from chalicelib.aws.sqs import Queue
from chalicelib.core.errors import BatchIncompleteError, UnavailableError
from chalicelib.items.changes import MAX_LINES
from chalicelib.items.notify import (
    LEASE_SECONDS,
    MAX_DEAD_LETTER_BYTES,
    MOST_MAILS,
    NotifyDeps,
    notify_owners,
)
from tests.support.moto_aws import client

EVENTS = Path(__file__).parent.parent / "samples"
NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
TABLE = "events"
ITEM_ID = "0195d2f0-6c00-7a11-8b22-4c33d455e666"


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


class Client:
    """A client of which one operation can be made to act otherwise. `calls` lists what is called,
    `act` maps an operation to what is done instead, given the arguments and the real operation."""

    def __init__(self, client: Any, calls: list[str], act: dict[str, Callable[..., Any]]) -> None:
        self._client, self._calls, self._act = client, calls, act

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._client, name)

        def call(**arguments: Any) -> Any:
            self._calls.append(name)
            act = self._act.get(name)
            return act(operation, **arguments) if act else operation(**arguments)

        return call


class Platform:
    """Table, topic, an owner's queue for each of two owners, and the dead-letter queue."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.act: dict[str, Callable[..., Any]] = {}
        self.clock = Clock()
        self.seconds_left = 60.0
        self._sns, self._sqs, self._dynamodb = map(client, ("sns", "sqs", "dynamodb"))
        self._dynamodb.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        )
        self.topic_arn = self._sns.create_topic(Name="owners")["TopicArn"]
        names = ("alice", "bob", "by-mail", "dlq")
        self._urls = {name: self._sqs.create_queue(QueueName=name)["QueueUrl"] for name in names}
        for owner in ("alice", "bob"):
            Topic(self._sns, self.topic_arn).subscribe("sqs", self._arn(owner), [owner])
        # Stands for the e-mail of alice.
        self._sns.subscribe(
            TopicArn=self.topic_arn,
            Protocol="sqs",
            Endpoint=self._arn("by-mail"),
            Attributes={"FilterPolicy": json.dumps({BY_MAIL: ["alice"]})},
        )

    def _arn(self, queue: str) -> str:
        url = self._urls[queue]
        answer = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(answer["Attributes"]["QueueArn"])

    @property
    def effects(self) -> EffectStore:
        return EffectStore(self._wrap(self._dynamodb), TABLE)

    @property
    def deps(self) -> NotifyDeps:
        return NotifyDeps(
            effects=self.effects,
            topic=Topic(self._wrap(self._sns), self.topic_arn),
            dead_letters=Queue(self._wrap(self._sqs), self._urls["dlq"]),
            remaining=lambda: self.seconds_left,
            now=self.clock,
        )

    def _wrap(self, client: Any) -> Client:
        return Client(client, self.calls, self.act)

    def mail(self, owner: str = "alice") -> list[dict[str, Any]]:
        """The messages that came to an owner's queue since last asked, as SNS wraps them."""
        return [json.loads(message["Body"]) for message in self._receive(owner)]

    def dead_letters(self) -> list[tuple[Any, dict[str, str]]]:
        """(record, attributes) of what was set aside since last asked."""
        return [
            (
                json.loads(message["Body"]),
                {
                    name: value["StringValue"]
                    for name, value in message.get("MessageAttributes", {}).items()
                },
            )
            for message in self._receive("dlq")
        ]

    def _receive(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        url = self._urls[name]
        while some := self._sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            for message in some:
                self._sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            found += some
        return found


@pytest.fixture(name="platform")
def start_platform(moto: None) -> Platform:
    return Platform()


def sample(name: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads((EVENTS / f"dynamodb_{name}.json").read_text())[
        "Records"
    ]
    return records


def changed(event_id: str, **changes: Any) -> dict[str, Any]:
    """The sample of an update, under another id, with attributes of its new image changed."""
    (record,) = copy.deepcopy(sample("modify"))
    record["eventID"] = event_id
    record["dynamodb"]["NewImage"] |= changes
    return record


def inserted(number: int) -> dict[str, Any]:
    (record,) = copy.deepcopy(sample("insert"))
    record["eventID"] = f"insert-{number}"
    record["dynamodb"]["Keys"]["pk"]["S"] = f"ITEM#{number}"
    return record


def refusing(code: str) -> Callable[..., Any]:
    def refuse(_operation: Any, **_arguments: Any) -> Any:
        raise ClientError({"Error": {"Code": code, "Message": "a test"}}, "Operation")

    return refuse


@pytest.mark.parametrize(
    ("name", "kind", "subject", "line"),
    [
        ("insert", "created", f"Item {ITEM_ID} was created", '+ name: "Desk lamp"'),
        (
            "modify",
            "updated",
            f"Item {ITEM_ID} was updated: address.city, colour, price and 2 more",
            "  price: 10 -> 12.5",
        ),
        ("remove_by_user", "deleted", f"Item {ITEM_ID} was deleted", '- colour (was "red")'),
        ("remove_by_ttl", "expired", f"Item {ITEM_ID} expired", '- name (was "Desk lamp")'),
    ],
)
def test_each_change_is_told_to_the_owner_and_only_the_owner(
    platform: Platform, name: str, kind: str, subject: str, line: str
) -> None:
    notify_owners(sample(name), platform.deps)
    (message,) = platform.mail("alice")
    assert message["Subject"][:99] == subject[:99]
    assert line in message["Message"].splitlines()
    assert {name: value["Value"] for name, value in message["MessageAttributes"].items()} == {
        "owner": "alice",
        "mailOwner": "alice",
        "change": kind,
        "itemId": ITEM_ID,
    }
    assert platform.mail("bob") == []
    assert platform.dead_letters() == []


def test_a_redelivered_batch_tells_nothing_twice(platform: Platform) -> None:
    records = sample("insert") + sample("modify")
    for _ in range(3):
        notify_owners(records, platform.deps)
    assert len(platform.mail()) == 2
    assert platform.calls.count("publish_batch") == 1


def test_a_hundred_changes_go_in_tens(platform: Platform) -> None:
    notify_owners([inserted(number) for number in range(100)], platform.deps)
    # And the digest for e-mail
    assert platform.calls.count("put_item") == 101
    assert platform.calls.count("publish_batch") == 11
    assert platform.calls.count("batch_write_item") == 11
    attributes = [message["MessageAttributes"]["itemId"]["Value"] for message in platform.mail()]
    assert sorted(attributes, key=int) == [str(number) for number in range(100)]


def test_a_few_changes_are_a_mail_each(platform: Platform) -> None:
    notify_owners([inserted(number) for number in range(MOST_MAILS)], platform.deps)
    assert len(platform.mail("by-mail")) == len(platform.mail()) == MOST_MAILS


def test_a_burst_is_one_mail_and_a_message_each(platform: Platform) -> None:
    burst = [inserted(number) for number in range(60)]
    notify_owners(burst, platform.deps)
    (digest,) = platform.mail("by-mail")
    lines = digest["Message"].splitlines()
    assert digest["Subject"] == "60 changes of your items"
    assert [line for line in lines if "was created" in line] == [
        f"  Item {number} was created" for number in range(MAX_LINES)
    ]
    assert lines[-1] == "  ... and 10 more"
    assert set(digest["MessageAttributes"]) == {BY_MAIL, "change"}
    messages = platform.mail()
    assert len(messages) == 60
    assert not any(BY_MAIL in one["MessageAttributes"] for one in messages)
    # It comes again: nothing is told twice
    notify_owners(burst, platform.deps)
    assert platform.mail("by-mail") == platform.mail() == []


def test_a_burst_of_one_owner_is_no_digest_of_anothers(platform: Platform) -> None:
    others = [changed(f"bob-{number}", owner={"S": "bob"}) for number in range(9)]
    for record in others:
        record["dynamodb"]["OldImage"]["owner"] = {"S": "bob"}
    notify_owners([inserted(0), *others, inserted(1)], platform.deps)
    assert len(platform.mail("by-mail")) == len(platform.mail("alice")) == 2
    assert len(platform.mail("bob")) == 9


def test_a_burst_that_comes_again_in_parts_leaves_out_no_change(platform: Platform) -> None:
    # Given a burst of which SNS takes nothing after the first call
    burst = [inserted(number) for number in range(12)]
    calls = []

    def once(operation: Any, **arguments: Any) -> Any:
        calls.append(1)
        return operation(**arguments) if len(calls) == 1 else unreachable(operation)

    platform.act["publish_batch"] = once
    with pytest.raises(BatchIncompleteError):
        notify_owners(burst, platform.deps)
    # When Lambda halves the batch until its parts are small
    platform.act.clear()
    for start in range(0, 12, 3):
        notify_owners(burst[start : start + 3], platform.deps)
    # Then all were told, by the digest or by themselves
    told = "".join(one["Subject"] + one["Message"] for one in platform.mail("by-mail"))
    assert all(f"Item {number} was created" in told for number in range(12))
    assert len(platform.mail()) == 12


def test_no_change_in_data_is_no_news(platform: Platform) -> None:
    same = changed("same", version={"N": "9"}, updatedAt={"S": "2026-03-14T12:09:00.000Z"})
    same["dynamodb"]["NewImage"]["data"] = same["dynamodb"]["OldImage"]["data"]
    notify_owners([same], platform.deps)
    assert platform.calls == []


def test_other_kinds_in_the_table_are_left_alone(platform: Platform) -> None:
    (record,) = copy.deepcopy(sample("insert"))
    record["dynamodb"]["Keys"]["pk"]["S"] = "SUBSCRIPTION#1"
    record["dynamodb"]["NewImage"] = {"pk": {"S": "SUBSCRIPTION#1"}}
    notify_owners([record], platform.deps)
    assert platform.calls == []


def test_an_item_put_by_hand_is_told_too(platform: Platform) -> None:
    (record,) = copy.deepcopy(sample("insert"))
    record["dynamodb"]["NewImage"] = {
        "pk": {"S": "ITEM#1"},
        "owner": {"S": "bob"},
        "price": {"N": "1.5"},
        "tags": {"SS": ["b", "a"]},
        "more": {"M": {"list": {"L": [{"NULL": True}, {"BOOL": False}]}}},
        "raw": {"B": "AAEC"},
    }
    notify_owners([record], platform.deps)
    (message,) = platform.mail("bob")
    assert message["Message"].splitlines()[3:] == [
        '+ more: {"list": [null, false]}',
        "+ price: 1.5",
        '+ raw: "(binary)"',
        '+ tags: ["a", "b"]',
    ]
    assert platform.mail("alice") == []


def test_data_changed_by_hand_are_told_though_the_hash_was_left(platform: Platform) -> None:
    record = changed("by-hand", data={"M": {"name": {"S": "Desk lamp"}, "price": {"N": "11"}}})
    record["dynamodb"]["NewImage"]["dataSha256"] = record["dynamodb"]["OldImage"]["dataSha256"]
    notify_owners([record], platform.deps)
    assert "  price: 10 -> 11" in platform.mail()[0]["Message"]


def test_large_data_are_told_of_by_their_hash(platform: Platform) -> None:
    record = changed("large")
    for image, mark in (("OldImage", "a"), ("NewImage", "b")):
        del record["dynamodb"][image]["data"]
        record["dynamodb"][image] |= {"bodyKey": {"S": mark}, "dataSha256": {"S": mark * 64}}
    same = copy.deepcopy(record)
    same["eventID"] = "large-same"
    same["dynamodb"]["OldImage"] = same["dynamodb"]["NewImage"]
    notify_owners([record, same], platform.deps)
    (message,) = platform.mail()
    assert "The content changed" in message["Message"]


def test_an_item_past_its_time_expired_whoever_removed_it(platform: Platform) -> None:
    (record,) = sample("remove_by_ttl")
    del record["userIdentity"]
    early = copy.deepcopy(record)
    early["eventID"] = "early"
    early["dynamodb"]["ApproximateCreationDateTime"] = 1773532799
    notify_owners([record, early], platform.deps)
    kinds = [message["MessageAttributes"]["change"]["Value"] for message in platform.mail()]
    assert sorted(kinds) == ["deleted", "expired"]


def test_a_tombstone_tells_of_the_deletion_and_of_nothing_more(platform: Platform) -> None:
    # Given a deletion, the removal of its tombstone, and an item made in the place of a tombstone
    deleted, buried, made = (changed(name) for name in ("deleted", "buried", "made"))
    tombstone = {"owner": {"S": "alice"}, "tombstoneAt": {"S": "2026-03-14T12:00:00.000Z"}}
    deleted["dynamodb"]["NewImage"] = tombstone
    buried["eventName"] = "REMOVE"
    for record in (buried, made):
        record["dynamodb"]["OldImage"] = tombstone
    notify_owners([deleted, buried, made], platform.deps)
    kinds = [message["MessageAttributes"]["change"]["Value"] for message in platform.mail()]
    assert sorted(kinds) == ["created", "deleted"]


def test_an_item_made_in_the_place_of_an_expired_one_is_told_as_two(platform: Platform) -> None:
    record = changed("made", createdAt={"S": "2026-03-14T13:00:00.000Z"})
    notify_owners([record], platform.deps)
    kinds = [message["MessageAttributes"]["change"]["Value"] for message in platform.mail()]
    assert sorted(kinds) == ["created", "expired"]


def test_what_dynamodb_itself_removed_expired_whatever_the_image_says(platform: Platform) -> None:
    (record,) = sample("remove_by_ttl")
    del record["dynamodb"]["OldImage"]["ttl"]
    notify_owners([record], platform.deps)
    assert platform.mail()[0]["MessageAttributes"]["change"]["Value"] == "expired"


def test_an_item_that_changes_hands_is_told_to_both(platform: Platform) -> None:
    record = changed("moved", owner={"S": "bob"})
    for _ in range(2):
        notify_owners([record], platform.deps)
    (gone,), (come,) = platform.mail("alice"), platform.mail("bob")
    assert gone["MessageAttributes"]["change"]["Value"] == "deleted"
    assert come["MessageAttributes"]["change"]["Value"] == "created"
    assert "12.5" not in gone["Message"]
    assert "Graz" not in come["Message"]


def test_poison_is_set_aside_once_and_its_neighbours_are_told(platform: Platform) -> None:
    poison = [*sample("malformed"), "no record", {"eventID": 7, "dynamodb": None}]
    batch = [*sample("insert"), *poison, *sample("modify")]
    for _ in range(2):
        notify_owners(batch, platform.deps)
    assert len(platform.mail()) == 2
    letters = platform.dead_letters()
    assert sorted(json.dumps(record) for record, _ in letters) == sorted(map(json.dumps, poison))
    reasons = {json.dumps(record): attributes["code"] for record, attributes in letters}
    assert [reasons[json.dumps(record)] for record in poison] == [
        "image",
        "record",
        "owner",
        "record",
        "record",
        "record",
    ]
    assert all(attributes["reason"] for _, attributes in letters)


@pytest.mark.parametrize(
    "damage",
    [
        {"NewImage": None},
        {"NewImage": {"owner": {"S": "alice"}, "data": {"S": "[1]"}}},
        {"NewImage": {"owner": {"S": "alice"}, "data": {"S": "[" * 5000 + "]" * 5000}}},
        {"NewImage": {"owner": {"S": "alice"}, "data": {"S": '{"a":"\\ud800"}'}}},
        {"NewImage": {"owner": {"S": "alice"}, "n": {"N": "many"}}},
        {"NewImage": {"owner": {"S": "alice"}, "n": {"S": "a", "N": "1"}}},
        {"NewImage": {"owner": {"S": "alice"}, "n": {"X": "?"}}},
        {"NewImage": {"owner": {"S": "no owner"}}},
        {"NewImage": {"owner": {"L": []}}},
        {"ApproximateCreationDateTime": "soon"},
        {"ApproximateCreationDateTime": 1e300},
        {"Keys": {"pk": {"N": "1"}}},
        {"Keys": {"pk": {"S": 7}}},
    ],
)
def test_every_kind_of_damage_is_set_aside(platform: Platform, damage: dict[str, Any]) -> None:
    (record,) = copy.deepcopy(sample("insert"))
    record["dynamodb"] |= damage
    notify_owners([record, *sample("modify")], platform.deps)
    assert [letter for letter, _ in platform.dead_letters()] == [record]
    assert len(platform.mail()) == 1


def test_text_that_is_no_unicode_does_not_stop_the_shard(platform: Platform) -> None:
    (record,) = copy.deepcopy(sample("insert"))
    record["dynamodb"]["NewImage"] = {"owner": {"S": "alice"}, "name": {"S": "\ud800"}}
    notify_owners([record], platform.deps)
    assert '+ name: "?"' in platform.mail()[0]["Message"]


def test_a_record_too_large_for_a_message_is_set_aside_without_its_images(
    platform: Platform,
) -> None:
    (record,) = copy.deepcopy(sample("insert"))
    record["dynamodb"]["NewImage"] = {"blob": {"S": "x" * MAX_DEAD_LETTER_BYTES}}
    notify_owners([record], platform.deps)
    ((letter, attributes),) = platform.dead_letters()
    assert attributes["code"] == "owner"
    assert letter["imagesLeftOut"] is True
    assert letter["eventID"] == record["eventID"]
    assert letter["dynamodb"].keys() == record["dynamodb"].keys() - {"NewImage"}


def test_poison_that_can_not_be_set_aside_stays_in_the_stream(platform: Platform) -> None:
    platform.act["send_message"] = refusing("ServiceUnavailable")
    batch = [*sample("malformed"), *sample("insert")]
    with pytest.raises(BatchIncompleteError):
        notify_owners(batch, platform.deps)
    assert len(platform.mail()) == 1
    platform.act.clear()
    notify_owners(batch, platform.deps)
    assert len(platform.dead_letters()) == len(sample("malformed"))
    assert platform.mail() == []


def fail_entries(faults: dict[str, bool]) -> Callable[..., Any]:
    """A batch of which SNS refuses the entries about the items in `faults` (item: SenderFault)."""

    def publish(operation: Any, PublishBatchRequestEntries: Any, **more: Any) -> Any:  # noqa: N803
        def item(entry: Any) -> str:
            return str(entry["MessageAttributes"]["itemId"]["StringValue"])

        good = [entry for entry in PublishBatchRequestEntries if item(entry) not in faults]
        answer = operation(PublishBatchRequestEntries=good, **more)
        answer["Failed"] = [
            {"Id": entry["Id"], "Code": "Refused", "SenderFault": faults[item(entry)]}
            for entry in PublishBatchRequestEntries
            if item(entry) in faults
        ]
        return answer

    return publish


def test_each_entry_of_a_batch_is_checked(platform: Platform) -> None:
    platform.act["publish_batch"] = fail_entries({"1": True, "3": False})
    batch = [inserted(number) for number in range(5)]
    with pytest.raises(BatchIncompleteError, match="1 of 5"):
        notify_owners(batch, platform.deps)
    told = [message["MessageAttributes"]["itemId"]["Value"] for message in platform.mail()]
    assert sorted(told) == ["0", "2", "4"]
    ((letter, attributes),) = platform.dead_letters()
    assert letter == batch[1]
    assert attributes["code"] == "Refused"
    platform.act.clear()
    notify_owners(batch, platform.deps)
    (late,) = platform.mail()
    assert late["MessageAttributes"]["itemId"]["Value"] == "3"
    assert platform.dead_letters() == []


def test_an_entry_that_sns_does_not_mention_is_sent_again(platform: Platform) -> None:
    platform.act["publish_batch"] = lambda _operation, **_: {"Successful": [], "Failed": []}
    with pytest.raises(BatchIncompleteError):
        notify_owners(sample("insert"), platform.deps)
    platform.act.clear()
    notify_owners(sample("insert"), platform.deps)
    assert len(platform.mail()) == 1


def test_a_batch_refused_for_one_message_is_sent_one_by_one(platform: Platform) -> None:
    def refuse(operation: Any, **arguments: Any) -> Any:
        texts = [entry["Message"] for entry in arguments["PublishBatchRequestEntries"]]
        if any("Your item 2 " in text for text in texts):
            raise ClientError({"Error": {"Code": "InvalidParameter"}}, "PublishBatch")
        return operation(**arguments)

    platform.act["publish_batch"] = refuse
    notify_owners([inserted(number) for number in range(4)], platform.deps)
    assert len(platform.mail()) == 3
    ((_, attributes),) = platform.dead_letters()
    assert attributes["code"] == "InvalidParameter"


def test_an_outage_of_sns_loses_and_repeats_nothing(platform: Platform) -> None:
    batch = [inserted(number) for number in range(25)]
    for error in (refusing("InternalError"), refusing("AuthorizationError"), unreachable):
        platform.act["publish_batch"] = error
        with pytest.raises(BatchIncompleteError, match="26 of 26"):
            notify_owners(batch, platform.deps)
    assert platform.dead_letters() == []
    platform.act.clear()
    notify_owners(batch, platform.deps)
    assert len(platform.mail()) == 25


def unreachable(_operation: Any, **_arguments: Any) -> Any:
    raise EndpointConnectionError(endpoint_url="http://127.0.0.1")


def test_an_outage_of_dynamodb_leaves_the_batch_in_the_stream(platform: Platform) -> None:
    platform.act["put_item"] = unreachable
    with pytest.raises(BatchIncompleteError):
        notify_owners(sample("insert"), platform.deps)
    assert platform.mail() == []
    platform.act.clear()
    notify_owners(sample("insert"), platform.deps)
    assert len(platform.mail()) == 1


def test_who_dies_before_publishing_is_followed_after_the_lease(platform: Platform) -> None:
    def die(_operation: Any, **_arguments: Any) -> Any:
        raise KeyboardInterrupt

    platform.act["publish_batch"] = die
    with pytest.raises(KeyboardInterrupt):
        notify_owners(sample("insert"), platform.deps)
    platform.act.clear()
    batch = sample("insert") + sample("modify")
    with pytest.raises(BatchIncompleteError, match="1 of 2"):
        notify_owners(batch, platform.deps)
    (neighbour,) = platform.mail()
    assert neighbour["MessageAttributes"]["change"]["Value"] == "updated"
    platform.clock.now += timedelta(seconds=LEASE_SECONDS)
    notify_owners(batch, platform.deps)
    (late,) = platform.mail()
    assert late["MessageAttributes"]["change"]["Value"] == "created"


def test_who_dies_after_publishing_repeats_at_most_that_one(platform: Platform) -> None:
    def die(_operation: Any, **_arguments: Any) -> Any:
        raise KeyboardInterrupt

    platform.act["batch_write_item"] = die
    with pytest.raises(KeyboardInterrupt):
        notify_owners(sample("insert"), platform.deps)
    platform.act.clear()
    platform.clock.now += timedelta(seconds=LEASE_SECONDS)
    for _ in range(3):
        notify_owners(sample("insert"), platform.deps)
    assert len(platform.mail()) == 2


def test_a_note_that_can_not_be_written_does_not_fail_the_batch(platform: Platform) -> None:
    platform.act["batch_write_item"] = unreachable
    notify_owners(sample("insert"), platform.deps)
    assert len(platform.mail()) == 1


def test_two_who_get_the_same_batch_at_once_tell_it_once(platform: Platform) -> None:
    batch = [inserted(number) for number in range(30)]

    def run(_: int) -> None:
        try:
            notify_owners(batch, platform.deps)
        except BatchIncompleteError:
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    notify_owners(batch, platform.deps)
    assert len(platform.mail()) == 30


def test_what_there_is_no_time_for_is_left_over(platform: Platform) -> None:
    def slow(operation: Any, **arguments: Any) -> Any:
        platform.seconds_left = 4.0
        return operation(**arguments)

    platform.act["publish_batch"] = slow
    batch = [inserted(number) for number in range(25)]
    with pytest.raises(BatchIncompleteError, match="16 of 26"):
        notify_owners(batch, platform.deps)
    assert len(platform.mail()) == 9
    assert len(platform.mail("by-mail")) == 1
    platform.seconds_left = 60.0
    platform.act.clear()
    notify_owners(batch, platform.deps)
    assert len(platform.mail()) == 16
    assert platform.mail("by-mail") == []


def test_nothing_of_the_data_is_logged(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "eventline")
    platform.act["publish_batch"] = fail_entries({ITEM_ID: True})
    notify_owners([*sample("modify"), *sample("malformed")], platform.deps)
    lines = [str(vars(record)) for record in caplog.records]
    assert lines
    assert not [line for line in lines if "lamp" in line or "Wien" in line]


def test_an_effect_is_claimed_by_one_until_its_lease_is_over(platform: Platform) -> None:
    effects = platform.effects
    assert effects.claim("e", NOON, 60) is Claim.CLAIMED
    assert effects.claim("e", NOON + timedelta(seconds=59.999), 60) is Claim.BUSY
    assert effects.claim("e", NOON + timedelta(seconds=60), 60) is Claim.CLAIMED
    effects.finish(["e"], NOON)
    assert effects.claim("e", NOON + timedelta(days=1), 60) is Claim.DONE


def test_an_effect_given_back_can_be_claimed_at_once(platform: Platform) -> None:
    platform.effects.claim("e", NOON, 60)
    platform.effects.release(["e"])
    assert platform.effects.claim("e", NOON, 60) is Claim.CLAIMED


def test_a_claim_that_the_sdk_sends_again_is_ones_own(platform: Platform) -> None:
    def twice(operation: Any, **arguments: Any) -> Any:
        operation(**arguments)
        return operation(**arguments)

    platform.act["put_item"] = twice
    assert platform.effects.claim("e", NOON, 60) is Claim.CLAIMED
    assert platform.effects.claim("e", NOON, 60) is Claim.BUSY


def test_many_effects_are_noted_though_dynamodb_takes_some_at_a_time(platform: Platform) -> None:
    def some(operation: Any, RequestItems: Any) -> Any:  # noqa: N803
        requests = RequestItems[TABLE]
        operation(RequestItems={TABLE: requests[:20]})
        return {"UnprocessedItems": {TABLE: requests[20:]} if requests[20:] else {}}

    platform.act["batch_write_item"] = some
    ids = [f"e{number}" for number in range(60)]
    platform.effects.finish(ids, NOON)
    assert {platform.effects.claim(id_, NOON, 60) for id_ in ids} == {Claim.DONE}
    platform.act["batch_write_item"] = lambda _operation, RequestItems: {  # noqa: N803
        "UnprocessedItems": RequestItems
    }
    with pytest.raises(UnavailableError):
        platform.effects.finish(["late"], NOON)


def test_effects_end_by_themselves(platform: Platform) -> None:
    platform.effects.claim("e", NOON, 60)
    platform.effects.finish(["f"], NOON)
    for item in platform._dynamodb.scan(TableName=TABLE)["Items"]:
        assert item["ttl"] == {"N": str(int((NOON + KEPT).timestamp()))}
        assert item["pk"]["S"].startswith("EFFECT#")


def test_one_message_is_published(platform: Platform) -> None:
    topic = Topic(platform._sns, platform.topic_arn)
    topic.publish(Message("Subject", "text", {"owner": "bob"}))
    (message,) = platform.mail("bob")
    assert (message["Subject"], message["Message"]) == ("Subject", "text")


def test_a_message_that_sns_refuses_alone_is_its_senders_fault(platform: Platform) -> None:
    platform.act["publish_batch"] = refusing("InvalidParameter")
    outcome = platform.deps.topic.publish_batch([Message("Subject", "text", {"owner": "bob"})])
    assert outcome == [Refusal("InvalidParameter", sender_fault=True)]
