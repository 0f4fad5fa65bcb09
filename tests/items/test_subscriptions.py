"""Subscriptions: an owner's channels, against SNS and DynamoDB in process.

Where SNS in process is more lenient than AWS (it confirms everything at once, and lets a second
subscriber change the first one's filter), `Sns` stands in front of it and does as AWS does.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from msgspec import structs

from chalicelib.aws.dynamodb import ShardedIndex
from chalicelib.aws.sns import BY_MAIL, BY_OTHERS, Message, Topic
from chalicelib.core import clock
from chalicelib.core.errors import (
    ConflictError,
    EventlineError,
    InvalidRequestError,
    LimitReachedError,
    NotFoundError,
    UnavailableError,
    UnsupportedMediaTypeError,
)
from chalicelib.core.metrics import measured
from chalicelib.items import subscriptions
from chalicelib.items.api import post_subscription
from chalicelib.items.endpoints import MAX_OWNERS, EndpointDeps, EndpointStore
from chalicelib.items.proofs import ProofStore
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
ADDRESS = "a@example.com"
ALICE = Caller("alice", frozenset({"items:write"}), "t1")
BOB = Caller("bob", frozenset({"items:write"}), "t2")
ADMIN = Caller("root", frozenset({"admin"}), "t3")
NO_CONNECTION = EndpointConnectionError(endpoint_url="http://127.0.0.1")


class Clock:
    """A clock that moves a millisecond at every look."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        self.now += clock.MILLISECOND
        return self.now


class Sns:
    """SNS as AWS has it. An e-mail address confirms when `confirm` is called.

    `before` holds what is done, once, before an operation.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._filters: dict[str, str] = {}
        self._waiting: set[str] = set()
        self.calls: list[str] = []
        self.published: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.before: dict[str, Callable[[], Any]] = {}
        self.hides_arn = False
        self.full: str | None = None

    def arn_of(self, endpoint: str) -> str:
        """The ARN of an endpoint's subscription; KeyError if there is none."""
        (arn,) = [one for one, known in self._endpoints().items() if known == endpoint]
        return arn

    def confirm(self, endpoint: str) -> None:
        """Follow the link that SNS sent."""
        self._waiting.remove(self.arn_of(endpoint))

    def forget(self, arn: str) -> None:
        self._waiting.discard(arn)
        del self._filters[arn]
        self._client.unsubscribe(SubscriptionArn=arn)

    def owners_of(self, endpoint: str) -> list[str]:
        """Whose messages the filter lets through."""
        ((way, values),) = json.loads(self._filters[self.arn_of(endpoint)]).items()
        assert way == (BY_MAIL if "@" in endpoint else BY_OTHERS)
        (own,) = [value for value in values if value.startswith("?")]
        assert len(own) == 37
        return sorted(set(values) - {own})

    def subscribe(self, **arguments: Any) -> dict[str, Any]:
        self._note("subscribe")
        wanted = arguments["Attributes"]["FilterPolicy"]
        if arguments["Endpoint"].endswith("@refused.example"):
            raise _refusal("Invalid parameter: Email address")
        for arn, endpoint in self._endpoints().items():
            if endpoint == arguments["Endpoint"] and self._filters[arn] != wanted:
                raise _refusal("Subscription already exists with different attributes")
        if self.full and arguments["Endpoint"] not in self._endpoints().values():
            raise ClientError({"Error": {"Code": self.full}}, "Subscribe")
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
        policy = self._filters[SubscriptionArn]
        return {"Attributes": {"PendingConfirmation": pending, "FilterPolicy": policy}}

    def set_subscription_attributes(self, **arguments: Any) -> None:
        self._note("set_subscription_attributes")
        arn, policy = arguments["SubscriptionArn"], arguments["AttributeValue"]
        if arn not in self._filters:
            raise ClientError({"Error": {"Code": "NotFound"}}, "SetSubscriptionAttributes")
        if arn in self._waiting:
            raise _refusal("nobody knows whether AWS changes one that is pending")
        assert arguments["AttributeName"] == "FilterPolicy"
        (values,) = json.loads(policy).values()
        assert len(values) <= 150
        self._client.set_subscription_attributes(**arguments)
        self._filters[arn] = policy

    def unsubscribe(self, SubscriptionArn: str) -> None:  # noqa: N803
        self._note("unsubscribe")
        if SubscriptionArn in self._waiting:
            raise _refusal("Cannot unsubscribe a subscription that is pending confirmation")
        if SubscriptionArn in self._filters:
            self.forget(SubscriptionArn)

    def publish(self, **arguments: Any) -> Any:
        self._note("publish")
        self.published.append(arguments)
        return self._client.publish(**arguments)

    def _endpoints(self) -> dict[str, str]:
        listed = self._client.list_subscriptions()["Subscriptions"]
        return {one["SubscriptionArn"]: one["Endpoint"] for one in listed}

    def _note(self, operation: str) -> None:
        self.calls.append(operation)
        self.before.pop(operation, lambda: None)()
        if self.error is not None:
            raise self.error


def _refusal(message: str) -> ClientError:
    return ClientError({"Error": {"Code": "InvalidParameter", "Message": message}}, "SNS")


class Platform:
    """Topic, table and queues."""

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
        self.clock = Clock()
        self.endpoints = EndpointStore(self.dynamodb, TABLE)
        self.deps = SubscriptionDeps(
            subscriptions=SubscriptionStore(self.dynamodb, TABLE, SHARDS),
            endpoints=EndpointDeps(self.endpoints, self.topic),
            proofs=ProofStore(self.dynamodb, TABLE),
            index=ShardedIndex(self.dynamodb, TABLE, SHARDS),
            now=self.clock,
        )

    def make_queue(self, name: str = "queue") -> tuple[str, str]:
        """(URL, ARN) of a new queue."""
        url: str = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, answer["Attributes"]["QueueArn"]

    def received(self, url: str) -> list[dict[str, Any]]:
        answer = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        for message in answer.get("Messages", []):
            self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in answer.get("Messages", [])]

    def subjects(self, url: str, *owners: str) -> list[str]:
        """What of a message to each of `owners` comes to a queue."""
        self.received(url)
        for owner in owners:
            self.topic.publish(Message(f"To {owner}", "text", {"owner": owner}))
        return sorted(message["Subject"] for message in self.received(url))

    def token(self) -> str:
        """The token of the last question that was published."""
        token: str = self.sns.published[-1]["MessageAttributes"]["token"]["StringValue"]
        return token

    def queue(self, endpoint: str, owner: str = "alice", token: str | None = None) -> Subscription:
        """Subscribe a queue."""
        return subscriptions.subscribe(owner, "sqs", endpoint, self.deps, token)

    def prove(self, endpoint: str, owner: str = "alice") -> Subscription:
        """Subscribe a queue and send its token back."""
        self.queue(endpoint, owner)
        return self.queue(endpoint, owner, self.token())

    def mail(
        self, endpoint: str = ADDRESS, owner: str = "alice", token: str | None = None
    ) -> Subscription:
        """Subscribe an address."""
        return subscriptions.subscribe(owner, "email", endpoint, self.deps, token)

    def listed(self, owner: str = "alice") -> list[Subscription]:
        return subscriptions.list_subscriptions(owner, 50, None, self.deps)[0]

    def statuses(self, owner: str = "alice") -> list[str]:
        return [one.status for one in self.listed(owner)]

    @contextmanager
    def calls(self) -> Iterator[list[str]]:
        """The operations of SNS and DynamoDB in the block."""
        made: list[str] = []
        events = self.dynamodb.meta.events
        events.register(
            "before-call.dynamodb", lambda model, **_: made.append(model.name), "test-calls"
        )
        self.sns.calls.clear()
        yield made
        made += self.sns.calls
        events.unregister("before-call.dynamodb", unique_id="test-calls")


@pytest.fixture(name="platform")
def start_platform(moto: None) -> Platform:
    return Platform()


def shown(subscription: Subscription, status: str) -> dict[str, Any]:
    return {**subscription.to_dict(), "status": status}


# Queues: a token


def test_a_queue_is_pending_until_its_token_comes_back(platform: Platform) -> None:
    url, arn = platform.make_queue()
    made = platform.queue(arn)
    assert made.status == "pending"
    assert platform.sns.owners_of(arn) == []
    (question,) = platform.received(url)
    token = question["MessageAttributes"]["token"]["Value"]
    assert question["Subject"] == "Confirm the subscription"
    assert token in question["Message"]
    assert "alice asks" in question["Message"]
    assert platform.subjects(url, "alice", "bob") == []
    confirmed = platform.queue(arn, token=token)
    assert confirmed.to_dict() == shown(made, "confirmed")
    assert platform.listed() == [confirmed]
    assert platform.subjects(url, "bob", "alice", "alicia") == ["To alice"]


def test_only_the_hash_of_a_token_is_stored(platform: Platform) -> None:
    platform.queue(platform.make_queue()[1])
    assert platform.token() not in str(platform.dynamodb.scan(TableName=TABLE)["Items"])


def test_a_question_comes_to_one_endpoint_alone(platform: Platform) -> None:
    url, arn = platform.make_queue("a")
    platform.prove(arn)
    platform.received(url)
    platform.queue(platform.make_queue("b")[1])
    assert platform.received(url) == []


def test_a_stranger_does_not_get_anothers_queue(platform: Platform) -> None:
    url, arn = platform.make_queue()
    mine = platform.prove(arn)
    alices = platform.token()
    theirs = platform.queue(arn, "bob")
    (_, question) = platform.received(url)
    assert "bob asks" in question["Message"]
    assert theirs.status == "pending"
    assert theirs.subscription_id != mine.subscription_id
    for token in (alices, "0" * 32, "é"):
        with pytest.raises(InvalidRequestError) as caught:
            platform.queue(arn, "bob", token)
        assert [fault.pointer for fault in caught.value.errors] == ["/token"]
    assert platform.subjects(url, "alice", "bob") == ["To alice"]
    assert (platform.statuses(), platform.statuses("bob")) == (["confirmed"], ["pending"])


def test_the_true_owner_gets_a_queue_that_a_stranger_asked_for(platform: Platform) -> None:
    url, arn = platform.make_queue()
    platform.queue(arn, "bob")
    assert platform.prove(arn).status == "confirmed"
    assert platform.subjects(url, "alice", "bob") == ["To alice"]


def test_owners_who_proved_share_an_endpoint(platform: Platform) -> None:
    url, arn = platform.make_queue()
    mine, theirs = platform.prove(arn), platform.prove(arn, "bob")
    assert platform.sns.owners_of(arn) == ["alice", "bob"]
    assert platform.subjects(url, "alice", "bob", "carol") == ["To alice", "To bob"]
    assert (platform.listed(), platform.listed("bob")) == ([mine], [theirs])


def test_neither_answer_nor_calls_tell_whether_another_has_the_endpoint(platform: Platform) -> None:
    _, taken = platform.make_queue("taken")
    _, free = platform.make_queue("free")
    platform.prove(taken)
    answers, calls = [], []
    for endpoint in (taken, free):
        with platform.calls() as made:
            asked = platform.queue(endpoint, "bob")
            (listed, *_) = platform.listed("bob")
            subscriptions.unsubscribe(asked.subscription_id, BOB, platform.deps)
        calls.append(sorted(made))
        answers.append((asked.status, listed.status))
    ends = {"unsubscribe": "end", "set_subscription_attributes": "end"}
    ends |= {"PutItem": "entry", "GetItem": "entry"}
    first, second = [sorted(ends.get(name, name) for name in some) for some in calls]
    assert first == second
    assert answers[0] == answers[1] == ("pending", "pending")


def test_an_endpoint_is_asked_once_a_minute(platform: Platform) -> None:
    url, arn = platform.make_queue()
    made = platform.queue(arn)
    old = platform.token()
    assert platform.queue(arn) == made
    subscriptions.unsubscribe(made.subscription_id, ALICE, platform.deps)
    platform.queue(arn)
    assert len(platform.received(url)) == 1
    platform.clock.now += timedelta(minutes=1)
    platform.queue(arn)
    assert len(platform.received(url)) == 1
    with pytest.raises(InvalidRequestError):
        platform.queue(arn, token=old)
    assert platform.queue(arn, token=platform.token()).status == "confirmed"


def test_a_token_is_good_for_a_day(platform: Platform) -> None:
    _, arn = platform.make_queue()
    platform.queue(arn)
    platform.clock.now += timedelta(hours=23, minutes=59)
    assert platform.queue(arn, token=platform.token()).status == "confirmed"
    platform.clock.now += timedelta(minutes=1)
    with pytest.raises(InvalidRequestError) as caught:
        platform.queue(arn, token=platform.token())
    assert [fault.pointer for fault in caught.value.errors] == ["/token"]


def test_a_wrong_token_makes_nothing(platform: Platform) -> None:
    _, arn = platform.make_queue()
    with pytest.raises(InvalidRequestError):
        platform.queue(arn, token="0" * 32)
    assert (platform.listed(), platform.sns.calls) == ([], [])


def test_a_question_that_could_not_be_sent_is_sent_by_the_next_request(platform: Platform) -> None:
    url, arn = platform.make_queue()
    platform.sns.before["publish"] = lambda: platform.sns.__setattr__("error", NO_CONNECTION)
    with pytest.raises(EndpointConnectionError):
        platform.queue(arn)
    platform.sns.error = None
    platform.queue(arn)
    assert len(platform.received(url)) == 1


def test_two_owners_at_once_are_both_let_through(platform: Platform) -> None:
    _, arn = platform.make_queue()
    platform.queue(arn)
    alices = platform.token()
    platform.queue(arn, "bob")
    bobs = platform.token()

    def meanwhile() -> None:
        assert platform.queue(arn, "bob", bobs).status == "confirmed"

    platform.sns.before["set_subscription_attributes"] = meanwhile
    assert platform.queue(arn, token=alices).status == "confirmed"
    assert platform.sns.owners_of(arn) == ["alice", "bob"]


def test_an_entry_that_another_changes_meanwhile_is_changed_from_there(platform: Platform) -> None:
    _, arn = platform.make_queue()
    platform.queue(arn)
    alices = platform.token()
    platform.queue(arn, "bob")
    bobs = platform.token()
    # Bob comes between Alice's reading of the entry and her writing it.
    platform.sns.before["subscribe"] = lambda: platform.queue(arn, "bob", bobs)
    assert platform.queue(arn, token=alices).status == "confirmed"
    assert platform.sns.owners_of(arn) == ["alice", "bob"]


@pytest.mark.parametrize("by_list", [True, False])
def test_what_sns_was_not_told_is_told_later(platform: Platform, by_list: bool) -> None:
    _, arn = platform.make_queue()
    platform.queue(arn)
    platform.sns.before["set_subscription_attributes"] = lambda: platform.sns.__setattr__(
        "error", NO_CONNECTION
    )
    with pytest.raises(EndpointConnectionError):
        platform.queue(arn, token=platform.token())
    platform.sns.error = None
    assert platform.sns.owners_of(arn) == []
    if by_list:
        assert platform.statuses() == ["confirmed"]
    else:
        assert platform.queue(arn, token=platform.token()).status == "confirmed"
    assert platform.sns.owners_of(arn) == ["alice"]


def test_an_endpoint_has_a_limit_of_owners(platform: Platform) -> None:
    _, arn = platform.make_queue()
    platform.prove(arn)
    shared = platform.endpoints.get(platform.listed()[0].endpoint_id)
    many = tuple(f"owner-{number}" for number in range(MAX_OWNERS - 1))
    platform.endpoints.change(shared, lambda one: structs.replace(one, owners=many))
    assert platform.prove(arn).status == "confirmed"
    assert len(platform.sns.owners_of(arn)) == MAX_OWNERS
    with pytest.raises(LimitReachedError):
        platform.prove(arn, "bob")
    assert platform.sns.owners_of(arn) == sorted([*many, "alice"])


@pytest.mark.parametrize("code", ["FilterPolicyLimitExceeded", "SubscriptionLimitExceeded"])
def test_a_full_topic_refuses_in_words_and_leaves_nothing(platform: Platform, code: str) -> None:
    platform.sns.full = code
    with pytest.raises(LimitReachedError) as caught:
        platform.queue(platform.make_queue()[1])
    assert (caught.value.status, caught.value.retryable) == (409, False)
    assert platform.listed() == []
    platform.sns.full = None
    assert platform.prove(platform.make_queue()[1]).status == "confirmed"


# E-mail and HTTPS: SNS's link


def test_an_address_is_pending_until_somebody_follows_its_link(platform: Platform) -> None:
    made = platform.mail()
    assert made.status == "pending"
    assert platform.listed() == [made]
    platform.sns.confirm(ADDRESS)
    # The messages come from then on, whoever looks.
    assert platform.sns.owners_of(ADDRESS) == ["alice"]
    (confirmed,) = platform.listed()
    assert confirmed.to_dict() == shown(made, "confirmed")
    platform.sns.calls.clear()
    assert platform.listed() == [confirmed]
    assert platform.sns.calls == []


def test_the_same_order_again_is_the_same_subscription(platform: Platform) -> None:
    made = platform.mail()
    platform.sns.confirm(ADDRESS)
    again = platform.mail()
    assert again.to_dict() == shown(made, "confirmed")
    assert platform.listed() == [again]
    assert "alice" in platform.sns.owners_of(ADDRESS)


def test_an_address_that_has_not_confirmed_is_asked_again(platform: Platform) -> None:
    platform.mail()
    platform.sns.calls.clear()
    platform.mail()
    assert "subscribe" not in platform.sns.calls
    platform.clock.now += timedelta(minutes=1)
    platform.mail()
    assert "subscribe" in platform.sns.calls
    platform.sns.confirm(ADDRESS)
    assert platform.statuses() == ["confirmed"]


def test_another_owner_of_a_confirmed_address_needs_a_token(platform: Platform) -> None:
    platform.mail()
    platform.sns.confirm(ADDRESS)
    assert platform.mail(owner="bob").status == "pending"
    assert platform.sns.owners_of(ADDRESS) == ["alice"]
    assert platform.mail(owner="bob", token=platform.token()).status == "confirmed"
    assert platform.sns.owners_of(ADDRESS) == ["alice", "bob"]


def test_a_link_that_two_owners_asked_for_proves_neither(platform: Platform) -> None:
    platform.mail()
    platform.mail(owner="bob")
    platform.sns.confirm(ADDRESS)
    assert (platform.statuses("bob"), platform.statuses()) == (["pending"], ["pending"])
    assert platform.sns.owners_of(ADDRESS) == []
    platform.clock.now += timedelta(minutes=1)
    platform.mail()
    assert platform.mail(token=platform.token()).status == "confirmed"
    assert platform.sns.owners_of(ADDRESS) == ["alice"]


def test_whoever_unsubscribed_by_the_link_is_seen_within_the_hour(platform: Platform) -> None:
    made = platform.mail()
    platform.sns.confirm(ADDRESS)
    platform.mail(owner="bob")
    platform.mail(owner="bob", token=platform.token())
    assert (platform.statuses(), platform.statuses("bob")) == (["confirmed"], ["confirmed"])
    platform.sns.forget(platform.sns.arn_of(ADDRESS))
    platform.clock.now += timedelta(hours=1)
    platform.sns.calls.clear()
    (ended,) = platform.listed()
    assert ended.to_dict() == shown(made, "ended")
    assert platform.sns.calls == ["get_subscription_attributes"]
    assert platform.listed() == [ended]
    assert len(platform.sns.calls) == 1
    # Asked again, the address is back for the one who asked.
    assert platform.mail().status == "pending"
    platform.sns.confirm(ADDRESS)
    assert platform.sns.owners_of(ADDRESS) == ["alice"]
    assert (platform.statuses(), platform.statuses("bob")) == (["confirmed"], ["ended"])


def test_who_asks_after_an_end_is_the_first(platform: Platform) -> None:
    platform.mail()
    platform.sns.confirm(ADDRESS)
    platform.listed()
    platform.sns.forget(platform.sns.arn_of(ADDRESS))
    assert platform.mail(owner="bob").status == "pending"
    assert platform.sns.owners_of(ADDRESS) == ["bob"]
    platform.sns.confirm(ADDRESS)
    assert platform.statuses("bob") == ["confirmed"]


def test_a_confirmed_subscription_is_looked_up_once_an_hour(platform: Platform) -> None:
    platform.mail()
    platform.sns.confirm(ADDRESS)
    platform.listed()
    for looks in (1, 2):
        platform.clock.now += timedelta(hours=1)
        platform.listed()
        platform.listed()
        assert platform.sns.calls.count("get_subscription_attributes") == 2 + looks


def test_an_endpoint_that_somebody_subscribed_by_hand_is_not_taken_over(platform: Platform) -> None:
    platform.topic.subscribe("email", ADDRESS, ["?" + "0" * 36, "bob"])
    with pytest.raises(ConflictError):
        platform.mail()
    assert platform.sns.owners_of(ADDRESS) == ["bob"]
    assert platform.listed() == []


def test_an_endpoint_that_sns_refuses_leaves_nothing(platform: Platform) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        platform.mail("a@refused.example")
    assert caught.value.errors[0].pointer == "/endpoint"
    assert platform.listed() == []
    assert platform.dynamodb.scan(TableName=TABLE)["Items"] == []


def test_the_stage_s_own_queues_are_no_endpoints(platform: Platform) -> None:
    own = "arn:aws:sqs:us-east-1:123456789012:eventline-dev-"
    deps = structs.replace(platform.deps, own_queues=own)
    for name in ("events", "events-dlq", "ci-events-queue"):
        with pytest.raises(InvalidRequestError) as caught:
            subscriptions.subscribe("alice", "sqs", own + name, deps)
        assert caught.value.errors[0].pointer == "/endpoint"
    assert (platform.listed(), platform.sns.calls) == ([], [])


def test_a_request_that_died_half_way_is_finished_by_the_next(platform: Platform) -> None:
    platform.sns.error = NO_CONNECTION
    with pytest.raises(EndpointConnectionError):
        platform.mail()
    platform.sns.error = None
    (left,) = platform.listed()
    assert left.status == "pending"
    assert platform.mail() == left
    platform.sns.confirm(ADDRESS)
    assert platform.statuses() == ["confirmed"]


def test_a_list_is_answered_though_sns_is_not(platform: Platform) -> None:
    made = platform.mail()
    platform.sns.error = NO_CONNECTION
    assert platform.listed() == [made]


def test_lists_are_ones_own_newest_first_page_by_page(platform: Platform) -> None:
    made = [platform.mail(f"a{number}@example.com") for number in range(5)]
    other = platform.mail("b@example.com", owner="bob")
    first, below = subscriptions.list_subscriptions("alice", 3, None, platform.deps)
    rest, end = subscriptions.list_subscriptions("alice", 3, below, platform.deps)
    assert [*first, *rest] == made[::-1]
    assert (len(first), end) == (3, None)
    assert platform.listed("bob") == [other]


# The end


def test_the_last_owner_ends_the_subscription_in_sns(platform: Platform) -> None:
    url, arn = platform.make_queue()
    mine, theirs = platform.prove(arn), platform.prove(arn, "bob")
    subscriptions.unsubscribe(mine.subscription_id, ALICE, platform.deps)
    assert platform.subjects(url, "alice", "bob") == ["To bob"]
    assert (platform.listed(), platform.statuses("bob")) == ([], ["confirmed"])
    subscriptions.unsubscribe(theirs.subscription_id, BOB, platform.deps)
    with pytest.raises(ValueError, match="not enough values"):
        platform.sns.arn_of(arn)
    with pytest.raises(NotFoundError):
        subscriptions.unsubscribe(mine.subscription_id, ALICE, platform.deps)


def test_what_sns_holds_is_counted(platform: Platform) -> None:
    _, arn = platform.make_queue()
    with measured("test", "a run") as run:
        made = [(platform.prove(arn, who.owner).subscription_id, who) for who in (ALICE, BOB)]
        assert run.counts == [("SubscriptionsMade", 1, None)]
        for subscription_id, who in made:
            subscriptions.unsubscribe(subscription_id, who, platform.deps)
    assert run.counts[1:] == [("SubscriptionsEnded", 1, None)]


def test_an_ended_subscription_can_be_had_again(platform: Platform) -> None:
    url, arn = platform.make_queue()
    made = platform.prove(arn)
    subscriptions.unsubscribe(made.subscription_id, ALICE, platform.deps)
    platform.clock.now += timedelta(minutes=1)
    assert platform.prove(arn).status == "confirmed"
    assert platform.subjects(url, "alice") == ["To alice"]
    assert platform.endpoints.get(made.endpoint_id).ttl is None


def test_a_token_is_good_though_all_others_left_meanwhile(platform: Platform) -> None:
    url, arn = platform.make_queue()
    mine = platform.prove(arn)
    platform.queue(arn, "bob")
    subscriptions.unsubscribe(mine.subscription_id, ALICE, platform.deps)
    assert platform.queue(arn, "bob", platform.token()).status == "confirmed"
    assert platform.subjects(url, "alice", "bob") == ["To bob"]


def test_who_comes_while_the_last_one_leaves_is_told_to_come_again(platform: Platform) -> None:
    url, arn = platform.make_queue()
    mine = platform.prove(arn)
    platform.queue(arn, "bob")
    bobs = platform.token()
    # Alice's whole departure up to the call that ends the subscription, amid Bob's request.
    platform.sns.before["unsubscribe"] = lambda: platform.sns.__setattr__("error", NO_CONNECTION)

    def meanwhile() -> None:
        with pytest.raises(EndpointConnectionError):
            subscriptions.unsubscribe(mine.subscription_id, ALICE, platform.deps)
        platform.sns.error = None

    platform.sns.before["subscribe"] = meanwhile
    with pytest.raises((UnavailableError, ConflictError)):
        platform.queue(arn, "bob", bobs)
    assert platform.queue(arn, "bob", bobs).status == "confirmed"
    subscriptions.unsubscribe(mine.subscription_id, ALICE, platform.deps)
    assert platform.subjects(url, "alice", "bob") == ["To bob"]
    assert platform.statuses("bob") == ["confirmed"]


def test_an_unconfirmed_subscription_is_left_to_sns_and_its_record_ends(platform: Platform) -> None:
    made = platform.mail()
    subscriptions.unsubscribe(made.subscription_id, ALICE, platform.deps)
    assert platform.listed() == []
    # Whose address confirmed after all can have it back, or end it for good.
    platform.sns.confirm(ADDRESS)
    assert platform.mail().status == "confirmed"


def test_whoever_left_while_the_link_was_out_is_not_let_through_by_it(platform: Platform) -> None:
    platform.mail()
    platform.sns.confirm(ADDRESS)
    theirs = platform.mail(owner="bob")
    token = platform.token()
    platform.sns.forget(platform.sns.arn_of(ADDRESS))
    platform.clock.now += timedelta(minutes=1)
    platform.mail()
    assert platform.mail(owner="bob", token=token).status == "pending"
    subscriptions.unsubscribe(theirs.subscription_id, BOB, platform.deps)
    platform.sns.confirm(ADDRESS)
    platform.listed()
    assert "bob" not in platform.sns.owners_of(ADDRESS)


def test_a_subscription_that_ended_in_sns_can_be_ended_here(platform: Platform) -> None:
    made = platform.mail()
    platform.sns.forget(platform.sns.arn_of(ADDRESS))
    subscriptions.unsubscribe(made.subscription_id, ALICE, platform.deps)
    assert platform.listed() == []


def test_an_arn_that_sns_keeps_to_itself_is_found_out_later(platform: Platform) -> None:
    platform.sns.hides_arn = True
    made = platform.mail()
    assert platform.statuses() == ["pending"]
    platform.sns.hides_arn = False
    platform.sns.confirm(ADDRESS)
    subscriptions.unsubscribe(made.subscription_id, ALICE, platform.deps)
    assert "unsubscribe" in platform.sns.calls
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
    platform.sns.error = None
    assert len(platform.listed()) == 1


def test_the_api_shows_neither_the_owner_nor_when_sns_was_asked(platform: Platform) -> None:
    made = platform.mail()
    platform.sns.confirm(ADDRESS)
    assert platform.mail().to_dict() == {
        "subscriptionId": made.subscription_id,
        "protocol": "email",
        "endpoint": ADDRESS,
        "status": "confirmed",
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
    deps = SubscriptionDeps(subscriptions=store, endpoints=unused, proofs=unused, index=unused)
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
