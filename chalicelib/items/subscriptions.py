"""Who is told by which channel: one DynamoDB item a subscription, in the table of items, `pk` =
`SUBSCRIPTION#<id>`, listed in its index under the name `subscriptions#<owner>`.

SNS has one subscription for an endpoint of a topic, so the id stands for protocol and endpoint: the
first owner who takes an endpoint has it, and nobody else can change its filter.

Subscriptions: an owner's own channels (e-mail, SQS, HTTPS) for what is told of their items.

Each is an SNS subscription to the topic of owners with a filter on the owner's name, so that nobody
gets another's messages. The table's record is written first: it settles who has an endpoint before
SNS is asked, and whatever fails after it, asking again goes on from there.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError
from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.dynamodb import Partitions, ShardedIndex, from_item, to_item
from chalicelib.aws.sns import Topic
from chalicelib.core import clock
from chalicelib.core.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
    is_aws_fault,
)
from chalicelib.core.ids import is_event_id, keyed_event_id
from chalicelib.core.log import log
from chalicelib.core.paging import shard_of
from chalicelib.web.callers import Caller

PENDING, CONFIRMED = "pending", "confirmed"
_BATCH_GET_ROUNDS = 5


class Endpoint(Struct, frozen=True):
    """What an endpoint of one protocol looks like: in words, and as a JSON Schema has it."""

    words: str
    pattern: str
    max_characters: int


_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
ENDPOINTS = {
    "email": Endpoint(
        "an e-mail address",
        rf"^(?=.{{1,64}}@){_ATOM}+(\.{_ATOM}+)*@({_LABEL}\.)+[A-Za-z0-9-]{{2,63}}$",
        254,
    ),
    "sqs": Endpoint(
        "the ARN of a standard SQS queue",
        "^arn:aws[a-z-]*:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,80}$",
        2048,
    ),
    "https": Endpoint(
        "an https URL", r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?([/?][!#-~]*)?$", 2048
    ),
}
"""By protocol; these are the protocols that there are."""


class Subscription(Struct, frozen=True):
    """A subscription as it is kept. `arn` is None until SNS has told it."""

    subscription_id: str
    owner: str
    protocol: str
    endpoint: str
    status: str
    arn: str | None
    created_at: str

    def to_dict(self) -> dict[str, Any]:
        """The subscription as the API shows it."""
        return {
            "subscriptionId": self.subscription_id,
            "protocol": self.protocol,
            "endpoint": self.endpoint,
            "status": self.status,
            "createdAt": self.created_at,
        }


class SubscriptionStore:
    """Reads and writes subscriptions. `shards` is the number of index partitions an owner."""

    def __init__(self, client: Any, table: str, shards: int) -> None:
        self._client = client
        self._table = table
        self._shards = shards

    def add(self, subscription: Subscription) -> Subscription | None:
        """Write a new subscription; None when it was written, else the one there is. One call."""
        shard = shard_of(subscription.subscription_id, self._shards)
        item = {
            "pk": _pk(subscription.subscription_id),
            "subscriptionId": subscription.subscription_id,
            "owner": subscription.owner,
            "protocol": subscription.protocol,
            "endpoint": subscription.endpoint,
            "status": subscription.status,
            "arn": subscription.arn,
            "createdAt": subscription.created_at,
            "ownerShard": f"{partition_name(subscription.owner)}#{shard}",
            "listKey": f"{subscription.created_at}#{subscription.subscription_id}",
        }
        try:
            self._client.put_item(
                TableName=self._table,
                Item=to_item(item),
                ConditionExpression="attribute_not_exists(pk)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return _to_subscription(error.response["Item"])
        return None

    def get(self, subscription_id: str) -> Subscription | None:
        """The subscription, read consistently; one call."""
        answer = self._client.get_item(
            TableName=self._table, Key=_key(subscription_id), ConsistentRead=True
        )
        return _to_subscription(answer["Item"]) if "Item" in answer else None

    def get_many(self, subscription_ids: list[str]) -> dict[str, Subscription]:
        """Up to a hundred subscriptions, those that exist, by id; one call."""
        found: dict[str, Subscription] = {}
        keys = [_key(subscription_id) for subscription_id in subscription_ids]
        request: Mapping[str, Any] = {self._table: {"Keys": keys, "ConsistentRead": True}}
        for _ in range(_BATCH_GET_ROUNDS):
            if not request or not keys:
                return found
            answer = self._client.batch_get_item(RequestItems=request)
            for subscription in map(_to_subscription, answer["Responses"].get(self._table, [])):
                found[subscription.subscription_id] = subscription
            request = answer.get("UnprocessedKeys") or {}
        raise UnavailableError("the table of items is being throttled")

    def note(self, subscription_id: str, owner: str, arn: str | None, status: str) -> None:
        """Keep what SNS said, unless the subscription has gone meanwhile; one call."""
        values = {":owner": owner, ":status": status, ":arn": arn}
        expression = "SET #status = :status" + (", arn = :arn" if arn else "")
        self._change(
            "update_item",
            subscription_id,
            values,
            names={"#status": "status"},
            UpdateExpression=expression,
        )

    def delete(self, subscription_id: str, owner: str) -> None:
        """Remove the owner's subscription, if it is there; one call."""
        self._change("delete_item", subscription_id, {":owner": owner}, names={})

    def _change(
        self,
        operation: str,
        subscription_id: str,
        values: dict[str, str | None],
        names: dict[str, str],
        **arguments: Any,
    ) -> None:
        try:
            getattr(self._client, operation)(
                TableName=self._table,
                Key=_key(subscription_id),
                ConditionExpression="#owner = :owner",
                ExpressionAttributeNames={"#owner": "owner", **names},
                ExpressionAttributeValues=to_item(values),
                **arguments,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise


def subscription_id_of(protocol: str, endpoint: str) -> str:
    """The id of the one subscription that an endpoint has."""
    return keyed_event_id(f"subscriptions\0{protocol}", endpoint)


def partition_name(owner: str) -> str:
    """The name under which the index holds an owner's subscriptions; no owner has a `#`."""
    return f"subscriptions#{owner}"


def _pk(subscription_id: str) -> str:
    return f"SUBSCRIPTION#{subscription_id}"


def _key(subscription_id: str) -> dict[str, Any]:
    return {"pk": {"S": _pk(subscription_id)}}


def _to_subscription(item: Mapping[str, Any]) -> Subscription:
    values = from_item(item)
    return Subscription(
        subscription_id=values["subscriptionId"],
        owner=values["owner"],
        protocol=values["protocol"],
        endpoint=values["endpoint"],
        status=values["status"],
        arn=values.get("arn"),
        created_at=values["createdAt"],
    )


class SubscriptionOrder(Struct, frozen=True):
    """What `POST /subscriptions` asks for."""

    owner: str
    protocol: str
    endpoint: str


class SubscriptionDeps(Struct, frozen=True):
    """The collaborators of the functions below."""

    subscriptions: SubscriptionStore
    index: ShardedIndex
    topic: Topic
    now: Callable[[], datetime] = clock.utc_now


def subscribe(order: SubscriptionOrder, deps: SubscriptionDeps) -> Subscription:
    """Subscribe an endpoint; four calls. The same endpoint again is the same subscription, which is
    made anew in SNS if it has gone there, and an e-mail address not confirmed is asked again.

    Raises `ConflictError` for an endpoint that is subscribed for someone else,
    `InvalidRequestError` for one that SNS refuses.
    """
    wanted = Subscription(
        subscription_id=subscription_id_of(order.protocol, order.endpoint),
        owner=order.owner,
        protocol=order.protocol,
        endpoint=order.endpoint,
        status=PENDING,
        arn=None,
        created_at=clock.to_text(deps.now()),
    )
    before = deps.subscriptions.add(wanted)
    if before is not None and before.owner != order.owner:
        raise ConflictError("the endpoint is subscribed already")
    subscription = before or wanted
    try:
        arn = deps.topic.subscribe(order.protocol, order.endpoint, order.owner)
    except (ConflictError, InvalidRequestError):
        if before is None:
            deps.subscriptions.delete(wanted.subscription_id, order.owner)
        raise
    return _note(subscription, arn, deps)


def list_subscriptions(
    owner: str, limit: int, below: str | None, deps: SubscriptionDeps
) -> tuple[list[Subscription], str | None]:
    """(subscriptions, the list key to go on below) of one page, newest first.

    Calls: one for each shard, one to read the page, and two for each that was not confirmed when
    it was last looked at; confirmed ones need no call to SNS.
    """
    partitions = Partitions("by-owner", "ownerShard", partition_name(owner))
    keys, resume = deps.index.newest(partitions, limit, below, lambda entry: str(entry["listKey"]))
    ids = [key.rpartition("#")[2] for key in keys]
    found = deps.subscriptions.get_many(ids)
    return [_look_again(found[id_], deps) for id_ in ids if id_ in found], resume


def unsubscribe(subscription_id: str, caller: Caller, deps: SubscriptionDeps) -> None:
    """End a subscription; three calls. `NotFoundError` unless it is there and the caller's.

    One that was never confirmed cannot be ended in SNS, which forgets it by itself; until then its
    address gets nothing unless somebody follows the link in the confirmation.
    """
    subscription = deps.subscriptions.get(subscription_id) if is_event_id(subscription_id) else None
    if subscription is None:
        raise NotFoundError("no such subscription")
    caller.check_owner(subscription.owner, "subscription")
    # Without an ARN the request that subscribed died half-way, or SNS keeps the ARN to itself.
    arn = subscription.arn or deps.topic.subscribe(
        subscription.protocol, subscription.endpoint, subscription.owner
    )
    if arn is not None and not deps.topic.unsubscribe(arn):
        log.info("unconfirmed subscription left to SNS", extra={"subscriptionId": subscription_id})
    deps.subscriptions.delete(subscription_id, subscription.owner)


def _look_again(subscription: Subscription, deps: SubscriptionDeps) -> Subscription:
    """The subscription with its status as SNS has it now, if that may have changed."""
    if subscription.status != PENDING or subscription.arn is None:
        return subscription
    try:
        return _note(subscription, subscription.arn, deps)
    except Exception as error:
        if not is_aws_fault(error):
            raise
        # The list is right but for one that may have been confirmed just now.
        log.warning("status of a subscription not read", exc_info=True)
        return subscription


def _note(subscription: Subscription, arn: str | None, deps: SubscriptionDeps) -> Subscription:
    """The subscription with `arn` and the status that SNS gives it, kept if that is new."""
    confirmed = arn is not None and deps.topic.is_confirmed(arn)
    status = CONFIRMED if confirmed else PENDING
    if (status, arn) != (subscription.status, subscription.arn):
        deps.subscriptions.note(subscription.subscription_id, subscription.owner, arn, status)
    return replace(subscription, status=status, arn=arn)
