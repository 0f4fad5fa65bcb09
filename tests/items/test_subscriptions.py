"""Subscriptions: an owner's channels, against SNS and DynamoDB in process.

Where SNS in process is more lenient than AWS (it confirms everything at once, and lets a second
subscriber change the first one's filter), `Sns` stands in front of it and does as AWS does.
"""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from msgspec import structs

from chalicelib.aws.dynamodb import ShardedIndex
from chalicelib.aws.sns import Message, Topic
from chalicelib.core import clock
from chalicelib.core.errors import (
    ConflictError,
    EventlineError,
    InvalidRequestError,
    NotFoundError,
    UnsupportedMediaTypeError,
)
from chalicelib.items import subscriptions
from chalicelib.items.api import post_subscription
from chalicelib.items.subscriptions import (
    Subscription,
    SubscriptionDeps,
    SubscriptionStore,
)
from chalicelib.web.callers import Caller
from chalicelib.web.request import Request
from tests.support.moto_aws import client

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
TABLE, SHARDS = "items", 4
ALICE = Caller("alice", frozenset({"items:write"}), "t1")
BOB = Caller("bob", frozenset({"items:write"}), "t2")
ADMIN = Caller("root", frozenset({"admin"}), "t3")


class Clock:
    """A clock that moves a millisecond at every look."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        self.now += clock.MILLISECOND
        return self.now


class Sns:
    """SNS as AWS has it. An e-mail address confirms when `confirm` is called."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._filters: dict[str, str] = {}
        self._waiting: set[str] = set()
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.hides_arn = False

    def confirm(self, arn: str) -> None:
        self._waiting.discard(arn)

    def forget(self, arn: str) -> None:
        self._waiting.discard(arn)
        del self._filters[arn]
        self._client.unsubscribe(SubscriptionArn=arn)

    def filter_of(self, arn: str) -> Any:
        return json.loads(self._filters[arn])

    def subscribe(self, **arguments: Any) -> dict[str, Any]:
        self._note("subscribe")
        wanted = arguments["Attributes"]["FilterPolicy"]
        if arguments["Endpoint"].endswith("@refused.example"):
            raise _refusal("Invalid parameter: Email address")
        listed = self._client.list_subscriptions_by_topic(TopicArn=arguments["TopicArn"])
        for known in listed["Subscriptions"]:
            arn = known["SubscriptionArn"]
            if known["Endpoint"] == arguments["Endpoint"] and self._filters[arn] != wanted:
                raise _refusal("Subscription already exists with different attributes")
        answer: dict[str, Any] = self._client.subscribe(**arguments)
        arn = answer["SubscriptionArn"]
        if arn not in self._filters:
            self._filters[arn] = wanted
            if arguments["Protocol"] != "sqs":
                self._waiting.add(arn)
        return {"SubscriptionArn": "pending confirmation"} if self.hides_arn else answer

    def get_subscription_attributes(self, SubscriptionArn: str) -> Any:  # noqa: N803
        self._note("get_subscription_attributes")
        if SubscriptionArn not in self._filters:
            raise ClientError({"Error": {"Code": "NotFound"}}, "GetSubscriptionAttributes")
        pending = "true" if SubscriptionArn in self._waiting else "false"
        return {"Attributes": {"PendingConfirmation": pending}}

    def unsubscribe(self, SubscriptionArn: str) -> None:  # noqa: N803
        self._note("unsubscribe")
        if SubscriptionArn in self._waiting:
            raise _refusal("Cannot unsubscribe a subscription that is pending confirmation")
        self.forget(SubscriptionArn)

    def publish(self, **arguments: Any) -> Any:
        return self._client.publish(**arguments)

    def _note(self, operation: str) -> None:
        self.calls.append(operation)
        if self.error is not None:
            raise self.error


def _refusal(message: str) -> ClientError:
    return ClientError({"Error": {"Code": "InvalidParameter", "Message": message}}, "SNS")


class Platform:
    """Topic, table, and a queue for each of two owners."""

    def __init__(self) -> None:
        sns, self.sqs, self.dynamodb = map(client, ("sns", "sqs", "dynamodb"))
        names = ("pk", "ownerShard", "listKey")
        self.dynamodb.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "by-owner",
                    "KeySchema": [
                        {"AttributeName": "ownerShard", "KeyType": "HASH"},
                        {"AttributeName": "listKey", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        )
        self.sns = Sns(sns)
        self.topic = Topic(self.sns, sns.create_topic(Name="owners")["TopicArn"])
        self.deps = SubscriptionDeps(
            subscriptions=SubscriptionStore(self.dynamodb, TABLE, SHARDS),
            index=ShardedIndex(self.dynamodb, TABLE, SHARDS),
            topic=self.topic,
            now=Clock(),
        )

    def make_queue(self, name: str) -> tuple[str, str]:
        """(URL, ARN) of a new queue."""
        url: str = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, answer["Attributes"]["QueueArn"]

    def received(self, url: str) -> list[dict[str, Any]]:
        answer = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        for message in answer.get("Messages", []):
            self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in answer.get("Messages", [])]

    def mail(self, endpoint: str = "a@example.com", owner: str = "alice") -> Subscription:
        return subscriptions.subscribe(owner, "email", endpoint, self.deps)

    def listed(self, owner: str = "alice") -> list[Subscription]:
        return subscriptions.list_subscriptions(owner, 50, None, self.deps)[0]


@pytest.fixture(name="platform")
def start_platform(moto: None) -> Platform:
    return Platform()


def arn_of(subscription: Subscription) -> str:
    assert subscription.arn is not None
    return subscription.arn


def test_a_queue_is_confirmed_at_once_and_gets_its_owners_messages_only(platform: Platform) -> None:
    url, arn = platform.make_queue("alice")
    subscription = subscriptions.subscribe("alice", "sqs", arn, platform.deps)
    assert subscription.status == "confirmed"
    assert platform.sns.filter_of(arn_of(subscription)) == {"owner": ["alice"]}
    for owner in ("bob", "alice", "alicia"):
        platform.topic.publish(Message(f"To {owner}", "text", {"owner": owner}))
    (message,) = platform.received(url)
    assert message["Subject"] == "To alice"


def test_an_address_is_pending_until_it_has_confirmed(platform: Platform) -> None:
    made = platform.mail()
    assert made.status == "pending"
    assert platform.listed() == [made]
    platform.sns.confirm(arn_of(made))
    confirmed = structs.replace(made, status="confirmed")
    assert platform.listed() == [confirmed]
    platform.sns.calls.clear()
    assert platform.listed() == [confirmed]
    assert platform.sns.calls == []


def test_the_same_endpoint_again_is_the_same_subscription(platform: Platform) -> None:
    made = platform.mail()
    platform.sns.confirm(arn_of(made))
    again = platform.mail()
    assert again == structs.replace(made, status="confirmed")
    assert platform.listed() == [again]


def test_a_subscription_that_ended_in_sns_is_made_anew(platform: Platform) -> None:
    made = platform.mail()
    platform.sns.confirm(arn_of(made))
    platform.mail()
    platform.sns.forget(arn_of(made))
    again = platform.mail()
    assert (again.subscription_id, again.status) == (made.subscription_id, "pending")
    assert again.arn != made.arn
    assert platform.listed() == [again]


def test_the_stage_s_own_queues_are_no_endpoints(platform: Platform) -> None:
    own = "arn:aws:sqs:us-east-1:123456789012:eventline-dev-"
    deps = structs.replace(platform.deps, own_queues=own)
    for name in ("events", "events-dlq", "ci-events-queue"):
        with pytest.raises(InvalidRequestError) as caught:
            subscriptions.subscribe("alice", "sqs", own + name, deps)
        assert caught.value.errors[0].pointer == "/endpoint"
    assert (platform.listed(), platform.sns.calls) == ([], [])


def test_an_endpoint_is_the_first_owners(platform: Platform) -> None:
    made = platform.mail()
    platform.sns.calls.clear()
    with pytest.raises(ConflictError):
        platform.mail(owner="bob")
    assert platform.sns.calls == []
    assert platform.sns.filter_of(arn_of(made)) == {"owner": ["alice"]}
    assert platform.listed("bob") == []
    assert platform.listed() == [made]


def test_an_endpoint_that_somebody_subscribed_by_hand_is_not_taken_over(platform: Platform) -> None:
    by_hand = platform.topic.subscribe("email", "a@example.com", "bob")
    with pytest.raises(ConflictError):
        platform.mail()
    assert by_hand is not None
    assert platform.sns.filter_of(by_hand) == {"owner": ["bob"]}
    assert platform.listed() == []


def test_an_endpoint_that_sns_refuses_leaves_nothing(platform: Platform) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        platform.mail("a@refused.example")
    assert caught.value.errors[0].pointer == "/endpoint"
    assert platform.listed() == []


def test_a_request_that_died_half_way_is_finished_by_the_next(platform: Platform) -> None:
    platform.sns.error = EndpointConnectionError(endpoint_url="http://127.0.0.1")
    with pytest.raises(EndpointConnectionError):
        platform.mail()
    platform.sns.error = None
    (left,) = platform.listed()
    assert (left.status, left.arn) == ("pending", None)
    assert platform.mail() == structs.replace(left, arn=platform.listed()[0].arn)
    assert platform.listed()[0].arn


def test_a_list_is_answered_though_sns_is_not(platform: Platform) -> None:
    made = platform.mail()
    platform.sns.error = EndpointConnectionError(endpoint_url="http://127.0.0.1")
    assert platform.listed() == [made]


def test_lists_are_ones_own_newest_first_page_by_page(platform: Platform) -> None:
    made = [platform.mail(f"a{number}@example.com") for number in range(5)]
    other = platform.mail("b@example.com", owner="bob")
    first, below = subscriptions.list_subscriptions("alice", 3, None, platform.deps)
    rest, end = subscriptions.list_subscriptions("alice", 3, below, platform.deps)
    assert [*first, *rest] == made[::-1]
    assert (len(first), end) == (3, None)
    assert platform.listed("bob") == [other]


def test_a_confirmed_subscription_ends_with_its_record(platform: Platform) -> None:
    url, arn = platform.make_queue("alice")
    made = subscriptions.subscribe("alice", "sqs", arn, platform.deps)
    subscriptions.unsubscribe(made.subscription_id, ALICE, platform.deps)
    platform.topic.publish(Message("To alice", "text", {"owner": "alice"}))
    assert platform.received(url) == []
    assert platform.listed() == []
    with pytest.raises(NotFoundError):
        subscriptions.unsubscribe(made.subscription_id, ALICE, platform.deps)


def test_an_unconfirmed_subscription_is_left_to_sns_and_its_record_ends(platform: Platform) -> None:
    made = platform.mail()
    subscriptions.unsubscribe(made.subscription_id, ALICE, platform.deps)
    assert platform.listed() == []
    # Whose address confirmed after all can have it back, or end it for good.
    platform.sns.confirm(arn_of(made))
    assert platform.mail().status == "confirmed"


def test_a_subscription_that_ended_in_sns_can_be_ended_here(platform: Platform) -> None:
    made = platform.mail()
    platform.sns.forget(arn_of(made))
    platform.sns.error = ClientError({"Error": {"Code": "NotFound"}}, "Unsubscribe")
    subscriptions.unsubscribe(made.subscription_id, ALICE, platform.deps)
    platform.sns.error = None
    assert platform.listed() == []


def test_an_arn_that_sns_keeps_to_itself_is_found_out_later(platform: Platform) -> None:
    platform.sns.hides_arn = True
    made = platform.mail()
    assert (made.status, made.arn) == ("pending", None)
    platform.sns.hides_arn = False
    subscriptions.unsubscribe(made.subscription_id, ALICE, platform.deps)
    assert platform.sns.calls[-1] == "unsubscribe"
    assert platform.listed() == []


def test_anothers_subscription_looks_as_if_it_were_not_there(platform: Platform) -> None:
    made = platform.mail()
    for subscription_id in (made.subscription_id, "no id", "0195d2f0-6c00-7a11-8b22-4c33d455e666"):
        with pytest.raises(NotFoundError):
            subscriptions.unsubscribe(subscription_id, BOB, platform.deps)
    assert platform.listed() == [made]
    subscriptions.unsubscribe(made.subscription_id, ADMIN, platform.deps)
    assert platform.listed() == []


def test_an_error_of_aws_is_not_taken_for_a_refusal(platform: Platform) -> None:
    platform.sns.error = ClientError({"Error": {"Code": "Throttled", "Message": ""}}, "Subscribe")
    with pytest.raises(ClientError):
        platform.mail()
    assert len(platform.listed()) == 1


def test_the_api_does_not_show_the_arn(platform: Platform) -> None:
    made = platform.mail()
    assert made.to_dict() == {
        "subscriptionId": made.subscription_id,
        "protocol": "email",
        "endpoint": "a@example.com",
        "status": "pending",
        "createdAt": "2026-03-14T12:00:00.001Z",
    }


class ReachedError(Exception):
    """The order got as far as the store."""


class _Store:
    def add(self, subscription: Subscription) -> None:
        raise ReachedError(subscription)


def decode(body: Any, content_type: str = "application/json") -> tuple[str, str, str]:
    """(owner, protocol, endpoint) that `POST /subscriptions` orders with that body."""
    sent: Any = {"content-type": content_type}
    unused: Any = None
    store: Any = _Store()
    deps = SubscriptionDeps(subscriptions=store, index=unused, topic=unused)
    try:
        post_subscription(Request(ALICE, "r1", sent, {}, json.dumps(body).encode()), deps)
    except ReachedError as reached:
        made: Subscription = reached.args[0]
        return made.owner, made.protocol, made.endpoint
    raise AssertionError("nothing was ordered")


@pytest.mark.parametrize(
    ("protocol", "endpoint"),
    [
        ("email", "a@example.com"),
        ("email", "first.last+tag@mail.example.co.uk"),
        ("sqs", "arn:aws:sqs:us-east-1:123456789012:a-queue_1"),
        ("sqs", "arn:aws-cn:sqs:cn-north-1:123456789012:q"),
        ("https", "https://example.com"),
        ("https", "https://example.com:8443/hook?a=b&c=%20"),
    ],
)
def test_an_endpoint_is_decoded(protocol: str, endpoint: str) -> None:
    wanted = {"protocol": protocol, "endpoint": endpoint}
    assert decode(wanted) == ("alice", protocol, endpoint)


@pytest.mark.parametrize(
    ("protocol", "endpoint"),
    [
        ("email", "a"),
        ("email", "a@b"),
        ("email", "a b@example.com"),
        ("email", "a@example.com\n"),
        ("email", "a@example..com"),
        ("email", "a" * 65 + "@example.com"),
        ("email", "a@" + "b." * 130 + "com"),
        ("sqs", "arn:aws:sns:us-east-1:123456789012:topic"),
        ("sqs", "arn:aws:sqs:us-east-1:123456789012:queue.fifo"),
        ("sqs", "https://sqs.us-east-1.amazonaws.com/123456789012/q"),
        ("https", "http://example.com"),
        ("https", "https://"),
        ("https", "https://user:password@example.com/"),
        ("https", "https://example.com/a b"),
        ("https", "https://example.com/" + "a" * 2048),
        ("email", 7),
        ("https", None),
    ],
)
def test_an_endpoint_that_is_none_is_refused(protocol: str, endpoint: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode({"protocol": protocol, "endpoint": endpoint})
    assert [fault.pointer for fault in caught.value.errors] == ["/endpoint"]


@pytest.mark.parametrize("protocol", ["http", "sms", "lambda", None, ["email"], ""])
def test_other_protocols_are_refused(protocol: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode({"protocol": protocol, "endpoint": "a@example.com", "more": 1})
    assert sorted(fault.pointer for fault in caught.value.errors) == ["/more", "/protocol"]


@pytest.mark.parametrize(
    ("body", "content_type", "error"),
    [
        ([], "application/json", InvalidRequestError),
        ({}, "text/plain", UnsupportedMediaTypeError),
    ],
)
def test_what_is_no_order_is_refused(
    body: Any, content_type: str, error: type[EventlineError]
) -> None:
    with pytest.raises(error):
        decode(body, content_type)
