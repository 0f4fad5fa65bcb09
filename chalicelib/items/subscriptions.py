"""Subscriptions: an owner's channels (e-mail, SQS, HTTPS) for messages about their items.

A DynamoDB item of the items table records each: `pk` = `SUBSCRIPTION#<id>`, listed in the index
under `subscriptions#<owner>`. Owner, protocol and endpoint give the id, so the same order again is
the same subscription. Several owners can have the same endpoint; none of them learns of the others,
neither by an answer nor by its time. In SNS they share one subscription (`endpoints.py`).

A subscription is pending until the endpoint has said that it wants this owner's messages: by SNS's
link, or by a token (`proofs.py`). After any failure, the same request finishes the work.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.dynamodb import ShardedIndex, Table, from_item, to_item
from chalicelib.aws.faults import aws_faults
from chalicelib.aws.threads import in_threads
from chalicelib.core import clock
from chalicelib.core.errors import (
    ConflictError,
    InvalidRequestError,
    LimitReachedError,
    NotFoundError,
)
from chalicelib.core.ids import is_event_id, keyed_event_id
from chalicelib.core.log import log
from chalicelib.core.paging import shard_of
from chalicelib.items import endpoints, proofs
from chalicelib.items.endpoints import EndpointDeps, SharedEndpoint, endpoint_id_of
from chalicelib.items.proofs import ProofStore
from chalicelib.items.store import newest_ids
from chalicelib.web.callers import Caller

PENDING, CONFIRMED, ENDED = "pending", "confirmed", "ended"
LOOK_AGAIN = timedelta(hours=1)
"""How long a confirmed subscription is listed as such before SNS is asked again."""
_REFUSALS = (ConflictError, InvalidRequestError, LimitReachedError)
_NOT_SHOWN = ("owner", "seenAt")


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
    """A subscription as it is stored. `seen_at`: when SNS last said that it is confirmed."""

    subscription_id: str
    owner: str
    protocol: str
    endpoint: str
    status: str
    seen_at: str | None = None
    created_at: str

    @property
    def endpoint_id(self) -> str:
        """The id of its endpoint, which other owners may have, too."""
        return endpoint_id_of(self.protocol, self.endpoint)

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
        """Store its status, unless it is gone; one call."""
        seen = "SET seenAt = :seenAt, " if subscription.seen_at else "REMOVE seenAt SET "
        values = {":status": subscription.status, ":seenAt": subscription.seen_at}
        self._table.write(
            "update_item",
            Key=_key(subscription.subscription_id),
            UpdateExpression=f"{seen}#status = :status",
            ConditionExpression="attribute_exists(pk)",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues=to_item(values),
        )

    def delete(self, subscription: Subscription) -> None:
        """Delete it, unless it is gone; one call."""
        self._table.write("delete_item", Key=_key(subscription.subscription_id))


class SubscriptionDeps(Struct, frozen=True):
    """The collaborators of the functions below."""

    subscriptions: SubscriptionStore
    endpoints: EndpointDeps
    proofs: ProofStore
    index: ShardedIndex
    own_queues: str | None = None
    """What the ARNs of the stage's own queues start with; none of them can be an endpoint."""
    now: Callable[[], datetime] = clock.utc_now


def subscribe(
    owner: str, protocol: str, endpoint: str, deps: SubscriptionDeps, token: str | None = None
) -> Subscription:
    """Subscribe an endpoint that is not the stage's own, or confirm that with the `token` which the
    endpoint got. The same order again is the same subscription; while it is pending, the endpoint
    is asked again, at most once a minute.

    Calls: seven if the endpoint is asked, whether or not others have it; three if the subscription
    is confirmed already; eight with a token. One more to store another status.

    Raises `InvalidRequestError` for a token that is not the newest or older than a day, and for an
    endpoint that SNS refuses; `ConflictError` for one that somebody subscribed outside Eventline;
    `LimitReachedError`.
    """
    if deps.own_queues is not None and endpoint.startswith(deps.own_queues):
        raise InvalidRequestError.at("/endpoint", "is a queue of Eventline itself")
    now = deps.now()
    id_ = keyed_event_id(f"subscriptions\0{owner}\0{protocol}", endpoint)
    if token is not None and not deps.proofs.is_token(id_, token, now):
        raise InvalidRequestError.at(
            "/token", "is wrong or too old; without a token, the endpoint is sent a new one"
        )
    wanted = Subscription(
        subscription_id=id_,
        owner=owner,
        protocol=protocol,
        endpoint=endpoint,
        status=PENDING,
        created_at=clock.to_text(now),
    )
    before = deps.subscriptions.add(wanted)
    present = before or wanted
    shared = deps.endpoints.store.get(wanted.endpoint_id)
    seen = endpoints.look(shared, deps.endpoints)
    if endpoints.reaches(owner, shared, seen):
        return _note(present, CONFIRMED, deps)
    question = None
    if token is None:
        question = deps.proofs.make_token(id_, now)
        if question is None:
            return _note(present, PENDING, deps)
    try:
        is_confirmed = endpoints.connect(
            owner, protocol, endpoint, shared, seen, deps.endpoints, is_proven=token is not None
        )
        if question is not None and not is_confirmed:
            # SNS does not deliver it before the endpoint has confirmed by its link.
            deps.endpoints.topic.publish(proofs.ask(owner, wanted.endpoint_id, question))
    except Exception as error:
        if question is not None:
            deps.proofs.forget(id_)
        if before is None and isinstance(error, _REFUSALS):
            deps.subscriptions.delete(wanted)
        raise
    return _note(present, CONFIRMED if is_confirmed else PENDING, deps)


def list_subscriptions(
    owner: str, limit: int, below: str | None, deps: SubscriptionDeps
) -> tuple[list[Subscription], str | None]:
    """(subscriptions, the list key to go on below) of one page, newest first.

    Calls: one a shard, and one to read the page. For those that are pending, or were last seen
    confirmed more than an hour ago, one to read their endpoints, and one each to SNS, which knows
    whether somebody followed its links; up to three more where that is news.
    """
    ids, resume = newest_ids(deps.index, _listed_as(owner), limit, below)
    found = deps.subscriptions.get_many(ids)
    latest = clock.to_text(deps.now() - LOOK_AGAIN)
    due = [one for one in found.values() if _is_due(one, latest)]
    shared = deps.endpoints.store.get_many([one.endpoint_id for one in due])

    def refresh(one: Subscription) -> Subscription:
        none = SharedEndpoint(endpoint_id=one.endpoint_id)
        return _refresh(one, shared.get(one.endpoint_id, none), deps)

    found |= {one.subscription_id: one for one in in_threads(refresh, due)}
    return [found[id_] for id_ in ids if id_ in found], resume


def unsubscribe(subscription_id: str, caller: Caller, deps: SubscriptionDeps) -> None:
    """End a subscription; seven calls, whether or not others have its endpoint. `NotFoundError`
    unless the caller has it.

    SNS cannot end what its link was to confirm, but drops it by itself. Until then, the endpoint
    gets messages only if somebody follows the link.
    """
    subscription = deps.subscriptions.get(subscription_id) if is_event_id(subscription_id) else None
    if subscription is None:
        raise NotFoundError("no such subscription")
    caller.check_owner(subscription.owner, "subscription")
    owner, protocol, endpoint = subscription.owner, subscription.protocol, subscription.endpoint
    shared = deps.endpoints.store.get(subscription.endpoint_id)
    if shared.arn is None and shared.first is not None:
        # SNS kept the ARN to itself while it waited for the endpoint.
        endpoints.connect(owner, protocol, endpoint, shared, None, deps.endpoints, is_proven=False)
        shared = deps.endpoints.store.get(subscription.endpoint_id)
    seen = endpoints.look(shared, deps.endpoints)
    endpoints.disconnect(owner, shared, seen, deps.now(), deps.endpoints)
    deps.subscriptions.delete(subscription)


def _is_due(subscription: Subscription, latest: str) -> bool:
    """Whether SNS is asked for its status."""
    if subscription.status == CONFIRMED:
        return (subscription.seen_at or "") <= latest
    return subscription.status == PENDING


def _refresh(
    subscription: Subscription, shared: SharedEndpoint, deps: SubscriptionDeps
) -> Subscription:
    """The subscription with its present status."""
    try:
        seen = endpoints.look(shared, deps.endpoints)
        settled = endpoints.tell_sns(shared, seen, deps.endpoints)
        if endpoints.reaches(subscription.owner, *settled):
            return _note(subscription, CONFIRMED, deps)
        return _note(subscription, ENDED if subscription.status == CONFIRMED else PENDING, deps)
    except aws_faults():
        # At worst, the list shows a status that has just changed.
        log.warning("status of a subscription not read", exc_info=True)
        return subscription


def _note(subscription: Subscription, status: str, deps: SubscriptionDeps) -> Subscription:
    """The subscription with its status as seen now, stored if that is news."""
    seen_at = clock.to_text(deps.now()) if status == CONFIRMED else None
    now = replace(subscription, status=status, seen_at=seen_at)
    if status == CONFIRMED or status != subscription.status:
        deps.subscriptions.update(now)
    return now


def _listed_as(owner: str) -> str:
    """The name of an owner's subscriptions in the index; an owner's name has no `#`."""
    return f"subscriptions#{owner}"


def _key(subscription_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"SUBSCRIPTION#{subscription_id}"}}


def _to_subscription(item: Mapping[str, Any]) -> Subscription:
    return msgspec.convert(from_item(item), Subscription)
