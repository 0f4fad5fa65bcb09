"""Subscriptions: an owner's own channels (e-mail, SQS, HTTPS) for what is told of their items.

Each is an SNS subscription to the topic of owners with a filter on the owner's name, so that nobody
gets another's messages. The table's record is written first: it settles who has an endpoint before
SNS is asked, and whatever fails after it, asking again goes on from there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from chalicelib.adapters.sharded_index import Partitions, ShardedIndex
from chalicelib.adapters.subscription_store import (
    CONFIRMED,
    PENDING,
    Subscription,
    SubscriptionStore,
    partition_name,
    subscription_id_of,
)
from chalicelib.adapters.topic import Topic
from chalicelib.domain import clock
from chalicelib.domain.event_ids import is_event_id
from chalicelib.domain.tokens import Caller
from chalicelib.errors import ConflictError, InvalidRequestError, NotFoundError, is_aws_fault
from chalicelib.observability import log


@dataclass(frozen=True)
class SubscriptionOrder:
    """What `POST /subscriptions` asks for."""

    owner: str
    protocol: str
    endpoint: str


@dataclass(frozen=True)
class Subscribing:
    """The collaborators of the functions below."""

    subscriptions: SubscriptionStore
    index: ShardedIndex
    topic: Topic
    now: Callable[[], datetime] = clock.utc_now


def subscribe(order: SubscriptionOrder, using: Subscribing) -> Subscription:
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
        created_at=clock.to_text(using.now()),
    )
    before = using.subscriptions.add(wanted)
    if before is not None and before.owner != order.owner:
        raise ConflictError("the endpoint is subscribed already")
    subscription = before or wanted
    try:
        arn = using.topic.subscribe(order.protocol, order.endpoint, order.owner)
    except (ConflictError, InvalidRequestError):
        if before is None:
            using.subscriptions.delete(wanted.subscription_id, order.owner)
        raise
    return _note(subscription, arn, using)


def list_subscriptions(
    owner: str, limit: int, below: str | None, using: Subscribing
) -> tuple[list[Subscription], str | None]:
    """(subscriptions, the list key to go on below) of one page, newest first.

    Calls: one for each shard, one to read the page, and two for each that was not confirmed when
    it was last looked at; confirmed ones need no call to SNS.
    """
    partitions = Partitions("by-owner", "ownerShard", partition_name(owner))
    keys, resume = using.index.newest(partitions, limit, below, lambda entry: str(entry["listKey"]))
    ids = [key.rpartition("#")[2] for key in keys]
    found = using.subscriptions.get_many(ids)
    return [_look_again(found[id_], using) for id_ in ids if id_ in found], resume


def unsubscribe(subscription_id: str, caller: Caller, using: Subscribing) -> None:
    """End a subscription; three calls. `NotFoundError` unless it is there and the caller's.

    One that was never confirmed can not be ended in SNS, which forgets it by itself; until then its
    address gets nothing unless somebody follows the link in the confirmation.
    """
    subscription = (
        using.subscriptions.get(subscription_id) if is_event_id(subscription_id) else None
    )
    if subscription is None:
        raise NotFoundError("no such subscription")
    caller.check_owner(subscription.owner, "subscription")
    # Without an ARN the request that subscribed died half-way, or SNS keeps the ARN to itself.
    arn = subscription.arn or using.topic.subscribe(
        subscription.protocol, subscription.endpoint, subscription.owner
    )
    if arn is not None and not using.topic.unsubscribe(arn):
        log.info("unconfirmed subscription left to SNS", extra={"subscriptionId": subscription_id})
    using.subscriptions.delete(subscription_id, subscription.owner)


def _look_again(subscription: Subscription, using: Subscribing) -> Subscription:
    """The subscription with its status as SNS has it now, if that may have changed."""
    if subscription.status != PENDING or subscription.arn is None:
        return subscription
    try:
        return _note(subscription, subscription.arn, using)
    except Exception as error:
        if not is_aws_fault(error):
            raise
        # The list is right but for one that may have been confirmed just now.
        log.warning("status of a subscription not read", exc_info=True)
        return subscription


def _note(subscription: Subscription, arn: str | None, using: Subscribing) -> Subscription:
    """The subscription with `arn` and the status that SNS gives it, kept if that is new."""
    confirmed = arn is not None and using.topic.is_confirmed(arn)
    status = CONFIRMED if confirmed else PENDING
    if (status, arn) != (subscription.status, subscription.arn):
        using.subscriptions.note(subscription.subscription_id, subscription.owner, arn, status)
    return replace(subscription, status=status, arn=arn)
