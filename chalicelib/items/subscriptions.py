"""Subscriptions: an owner's channels (e-mail, SQS, HTTPS) for messages about their items.

Each is an SNS subscription to the topic of owners. Its filter on the owner's name keeps other
owners' messages out. A DynamoDB item records it in the items table: `pk` = `SUBSCRIPTION#<id>`,
listed in the index under `subscriptions#<owner>`.

SNS allows one subscription for each endpoint of a topic, so protocol and endpoint give the id: the
first owner to take an endpoint has it, and nobody else can change its filter. The record is written
before SNS is called, which settles who has the endpoint. After any failure, the same request
finishes the work.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.dynamodb import ShardedIndex, Table, from_item, to_item
from chalicelib.aws.sns import Topic
from chalicelib.core import clock
from chalicelib.core.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    is_aws_fault,
)
from chalicelib.core.ids import is_event_id, keyed_event_id
from chalicelib.core.log import log
from chalicelib.core.paging import shard_of
from chalicelib.items.store import newest_ids
from chalicelib.web.callers import Caller

PENDING, CONFIRMED = "pending", "confirmed"
_NOT_SHOWN = ("owner", "arn")
_IS_OWNERS = "#owner = :owner"


class Endpoint(Struct, frozen=True):
    """What an endpoint of one protocol looks like: in words, and for a JSON Schema."""

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
"""By protocol."""


class Subscription(Struct, frozen=True, kw_only=True, rename="camel"):
    """A subscription as it is stored. `arn` is None until SNS gives it."""

    subscription_id: str
    owner: str
    protocol: str
    endpoint: str
    status: str
    arn: str | None = None
    created_at: str

    def to_dict(self) -> dict[str, Any]:
        """The subscription as the API shows it."""
        values = msgspec.to_builtins(self)
        return {name: value for name, value in values.items() if name not in _NOT_SHOWN}


class SubscriptionStore:
    """Reads and writes subscriptions. `shards` is the number of index partitions an owner."""

    def __init__(self, client: Any, table: str, shards: int) -> None:
        self._table = Table(client, table)
        self._shards = shards

    def add(self, subscription: Subscription) -> Subscription | None:
        """Write a new subscription; None when it was written, else the present one. One call."""
        id_ = subscription.subscription_id
        name = f"{_listed_as(subscription.owner)}#{shard_of(id_, self._shards)}"
        item = {
            **msgspec.to_builtins(subscription),
            "pk": f"SUBSCRIPTION#{id_}",
            "ownerShard": name,
            "listKey": f"{subscription.created_at}#{id_}",
        }
        is_new = "attribute_not_exists(pk)"
        outcome = self._table.write("put_item", Item=to_item(item), ConditionExpression=is_new)
        return None if outcome.made else _to_subscription(outcome.item)

    def get(self, subscription_id: str) -> Subscription | None:
        """The subscription, read consistently; one call."""
        found = self._table.get(_key(subscription_id))
        return _to_subscription(found) if found else None

    def get_many(self, subscription_ids: Sequence[str]) -> dict[str, Subscription]:
        """The subscriptions that exist, by id; one call for a hundred."""
        found = self._table.get_many([_key(id_) for id_ in subscription_ids])
        return {one.subscription_id: one for one in map(_to_subscription, found)}

    def update(self, subscription: Subscription) -> None:
        """Store its status and ARN, unless it is gone; one call."""
        values = {
            ":owner": subscription.owner,
            ":status": subscription.status,
            ":arn": subscription.arn,
        }
        self._table.write(
            "update_item",
            Key=_key(subscription.subscription_id),
            UpdateExpression="SET #status = :status" + (", arn = :arn" if subscription.arn else ""),
            ConditionExpression=_IS_OWNERS,
            ExpressionAttributeNames={"#owner": "owner", "#status": "status"},
            ExpressionAttributeValues=to_item(values),
        )

    def delete(self, subscription: Subscription) -> None:
        """Delete it, unless it is gone or another owner's by now; one call."""
        self._table.write(
            "delete_item",
            Key=_key(subscription.subscription_id),
            ConditionExpression=_IS_OWNERS,
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues=to_item({":owner": subscription.owner}),
        )


class SubscriptionDeps(Struct, frozen=True):
    """The collaborators of the functions below."""

    subscriptions: SubscriptionStore
    index: ShardedIndex
    topic: Topic
    own_queues: str | None = None
    """What the ARNs of the stage's own queues start with; none of them can be an endpoint."""
    now: Callable[[], datetime] = clock.utc_now


def subscribe(owner: str, protocol: str, endpoint: str, deps: SubscriptionDeps) -> Subscription:
    """Subscribe an endpoint that is not the stage's own; four calls. The same endpoint again is the
    same subscription: made again if SNS has dropped it, and with a new e-mail to an address that
    has not confirmed.

    Raises `ConflictError` for another owner's endpoint, `InvalidRequestError` for one that SNS
    refuses.
    """
    if deps.own_queues is not None and endpoint.startswith(deps.own_queues):
        raise InvalidRequestError.at("/endpoint", "is a queue of Eventline itself")
    wanted = Subscription(
        subscription_id=keyed_event_id(f"subscriptions\0{protocol}", endpoint),
        owner=owner,
        protocol=protocol,
        endpoint=endpoint,
        status=PENDING,
        created_at=clock.to_text(deps.now()),
    )
    before = deps.subscriptions.add(wanted)
    if before is not None and before.owner != owner:
        raise ConflictError("the endpoint is subscribed already")
    try:
        arn = deps.topic.subscribe(protocol, endpoint, owner)
    except (ConflictError, InvalidRequestError):
        if before is None:
            deps.subscriptions.delete(wanted)
        raise
    return _refresh(before or wanted, arn, deps)


def list_subscriptions(
    owner: str, limit: int, below: str | None, deps: SubscriptionDeps
) -> tuple[list[Subscription], str | None]:
    """(subscriptions, the list key to go on below) of one page, newest first.

    Calls: one a shard, one to read the page, and two for each subscription that was pending when
    last seen; confirmed ones need no call to SNS.
    """
    ids, resume = newest_ids(deps.index, _listed_as(owner), limit, below)
    found = deps.subscriptions.get_many(ids)
    return [_refresh_pending(found[id_], deps) for id_ in ids if id_ in found], resume


def unsubscribe(subscription_id: str, caller: Caller, deps: SubscriptionDeps) -> None:
    """End a subscription; three calls. `NotFoundError` unless the caller has it.

    SNS cannot end a pending subscription, but drops it by itself. Until then, its address gets
    messages only if somebody follows the link in the confirmation.
    """
    subscription = deps.subscriptions.get(subscription_id) if is_event_id(subscription_id) else None
    if subscription is None:
        raise NotFoundError("no such subscription")
    caller.check_owner(subscription.owner, "subscription")
    # Without an ARN, the request that subscribed failed half-way, or SNS did not give the ARN.
    arn = subscription.arn or deps.topic.subscribe(
        subscription.protocol, subscription.endpoint, subscription.owner
    )
    if arn is not None and not deps.topic.unsubscribe(arn):
        log.info("unconfirmed subscription left to SNS", extra={"subscriptionId": subscription_id})
    deps.subscriptions.delete(subscription)


def _refresh_pending(subscription: Subscription, deps: SubscriptionDeps) -> Subscription:
    """The subscription; with its present status in SNS if it was pending."""
    if subscription.status != PENDING or subscription.arn is None:
        return subscription
    try:
        return _refresh(subscription, subscription.arn, deps)
    except Exception as error:
        if not is_aws_fault(error):
            raise
        # At worst, the list shows a subscription as pending that was just confirmed.
        log.warning("status of a subscription not read", exc_info=True)
        return subscription


def _refresh(subscription: Subscription, arn: str | None, deps: SubscriptionDeps) -> Subscription:
    """The subscription with `arn` and its status in SNS, stored if that is new."""
    is_confirmed = arn is not None and deps.topic.is_confirmed(arn)
    now = replace(subscription, status=CONFIRMED if is_confirmed else PENDING, arn=arn)
    if now != subscription:
        deps.subscriptions.update(now)
    return now


def _listed_as(owner: str) -> str:
    """The name of an owner's subscriptions in the index; an owner's name has no `#`."""
    return f"subscriptions#{owner}"


def _key(subscription_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"SUBSCRIPTION#{subscription_id}"}}


def _to_subscription(item: Mapping[str, Any]) -> Subscription:
    return msgspec.convert(from_item(item), Subscription)
