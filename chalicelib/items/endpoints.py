"""Endpoints: the one SNS subscription that an endpoint has, and the owners who share it.

SNS allows one subscription for each topic, protocol and endpoint, so the owners of an endpoint
share it. Its filter policy is `{"owner": ["?<endpoint id>", owner, ...]}`, with `mailOwner` for
e-mail. A message with the first value reaches this endpoint alone, since no owner's name begins
with `?`: it asks for a proof.

A DynamoDB item of the items table, `pk` = `ENDPOINT#<endpoint id>`, says who the owners are. It is
changed by compare-and-swap on `version`. SNS is told afterwards and the item is read again, so that
of two owners who come at once both end in the filter.

SNS itself asks a new e-mail or HTTPS endpoint, with a link. Following it is the proof of the owner
who asked first (`first`), whose name is in the filter from the start. If another owner asks before
the link is followed, the link says nothing of either, and both need a token (`proofs.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.dynamodb import Table, from_item, to_item
from chalicelib.aws.sns import Seen, Topic
from chalicelib.core import metrics
from chalicelib.core.errors import ConflictError, LimitReachedError, UnavailableError
from chalicelib.core.ids import keyed_event_id

MAX_OWNERS = 149
"""SNS takes 150 values in a filter policy (Amazon SNS Developer Guide, "Filter policy constraints
in Amazon SNS"); one is the endpoint's own."""
KEPT_EMPTY = timedelta(days=30)
_ROUNDS = 8


class SharedEndpoint(Struct, frozen=True, kw_only=True, rename="camel"):
    """An endpoint's entry. `arn` is None until SNS gives it, `version` 0 while nothing is stored.
    Once the last owner has gone there is a `ttl`; `ending` is an ARN that nobody may join any more,
    until it is ended."""

    endpoint_id: str
    arn: str | None = None
    ending: str | None = None
    first: str | None = None
    owners: tuple[str, ...] = ()
    version: int = 0
    ttl: int | None = None

    def filter(self, owners: Sequence[str]) -> frozenset[str]:
        """The values of a filter policy that lets `owners` through."""
        return frozenset({only_to(self.endpoint_id), *owners})


class EndpointStore:
    """Reads and writes endpoints."""

    def __init__(self, client: Any, table: str) -> None:
        self._table = Table(client, table)

    def get(self, endpoint_id: str) -> SharedEndpoint:
        """The endpoint, read consistently; one call."""
        found = self._table.get(_key(endpoint_id))
        return _to_endpoint(found) if found else SharedEndpoint(endpoint_id=endpoint_id)

    def get_many(self, endpoint_ids: Sequence[str]) -> dict[str, SharedEndpoint]:
        """The endpoints that are stored, by id; one call for a hundred."""
        found = self._table.get_many([_key(id_) for id_ in sorted(set(endpoint_ids))])
        return {one.endpoint_id: one for one in map(_to_endpoint, found)}

    def change(
        self, known: SharedEndpoint, edit: Callable[[SharedEndpoint], SharedEndpoint]
    ) -> SharedEndpoint:
        """Store `edit` of the endpoint, and return it: of `known`, or of the present state if that
        is another by now. One call; two more for each change of somebody else."""
        for _ in range(_ROUNDS):
            new = replace(edit(known), version=known.version + 1)
            outcome = self._table.write(
                "put_item",
                Item={**_key(known.endpoint_id), **to_item(msgspec.to_builtins(new))},
                ConditionExpression="attribute_not_exists(pk) OR version = :version",
                ExpressionAttributeValues=to_item({":version": known.version}),
            )
            if outcome.made:
                return new
            known = self.get(known.endpoint_id)
        raise UnavailableError("many owners are changing the endpoint")


class EndpointDeps(Struct, frozen=True):
    """The collaborators of the functions below."""

    store: EndpointStore
    topic: Topic


def endpoint_id_of(protocol: str, endpoint: str) -> str:
    """The id of an endpoint, whoever subscribes it."""
    return keyed_event_id(protocol, endpoint, kind="endpoint")


def only_to(endpoint_id: str) -> str:
    """The attribute `owner` of a message to this endpoint alone."""
    return f"?{endpoint_id}"


def look(shared: SharedEndpoint, deps: EndpointDeps) -> Seen | None:
    """The endpoint's subscription as SNS has it, None for none; one call if its ARN is known."""
    return deps.topic.look(shared.arn) if shared.arn else None


def reaches(owner: str, shared: SharedEndpoint, seen: Seen | None) -> bool:
    """Whether an owner's messages go to the endpoint."""
    is_confirmed = seen is not None and seen.is_confirmed and owner in seen.owners
    return is_confirmed and owner in shared.owners


def connect(
    owner: str,
    protocol: str,
    endpoint: str,
    shared: SharedEndpoint,
    seen: Seen | None,
    deps: EndpointDeps,
    *,
    is_proven: bool,
) -> bool:
    """Subscribe an endpoint that was seen so, and let the owner through if that `is_proven`, here
    or by SNS's link. Whether the owner's messages go to it now.

    Two calls, and one if nothing was seen; two more to let an owner through. Raises
    `InvalidRequestError` for an endpoint that SNS refuses, `ConflictError` for one that somebody
    subscribed outside Eventline, `LimitReachedError`.
    """
    if shared.ending is not None:
        deps.topic.unsubscribe(shared.ending)
    if shared.arn is not None and seen is None:
        shared = SharedEndpoint(endpoint_id=shared.endpoint_id, version=shared.version)
    first = None if protocol == "sqs" else shared.first or owner
    try:
        arn = deps.topic.subscribe(protocol, endpoint, shared.filter([first] if first else []))
    except ConflictError:
        # Its filter has other owners by now, and SNS does not change it here.
        arn = shared.arn or deps.store.get(shared.endpoint_id).arn
        if arn is None:
            raise
    if arn is not None and arn != shared.arn:
        seen = deps.topic.look(arn)
        metrics.add("SubscriptionsMade")
    waits = seen is None or not seen.is_confirmed

    def join(present: SharedEndpoint) -> SharedEndpoint:
        if arn is not None and arn == present.ending:
            raise UnavailableError("the subscription is just being ended")
        joined = SharedEndpoint(endpoint_id=present.endpoint_id, arn=arn, first=first)
        return replace(joined, owners=_owners(owner, joined, present, waits, is_proven))

    return reaches(owner, *tell_sns(deps.store.change(shared, join), seen, deps))


def tell_sns(
    shared: SharedEndpoint, seen: Seen | None, deps: EndpointDeps
) -> tuple[SharedEndpoint, Seen | None]:
    """See that SNS lets the owners of an endpoint through, and nobody else, once the endpoint has
    confirmed. (The endpoint, its subscription) afterwards. No call if that is so, else two, and two
    more for each change of somebody else meanwhile."""
    arn = shared.arn
    for _ in range(_ROUNDS):
        wanted = shared.filter(shared.owners)
        if seen is None or not seen.is_confirmed or seen.owners == wanted:
            return shared, seen
        if arn is None or shared.arn != arn:
            return shared, seen
        deps.topic.let_through(arn, seen.way, wanted)
        seen = replace(seen, owners=wanted)
        shared = deps.store.get(shared.endpoint_id)
    raise UnavailableError("many owners are changing the endpoint")


def disconnect(
    owner: str, shared: SharedEndpoint, seen: Seen | None, now: datetime, deps: EndpointDeps
) -> None:
    """Stop an owner's messages to an endpoint that was seen so, and end its subscription with the
    last owner; three calls at most, as many whether or not the owner is the last.

    SNS cannot end a subscription that has not confirmed, but drops it by itself within days. Until
    then the first owner's name stays in its filter, and that owner can have it back.
    """
    waits = seen is not None and not seen.is_confirmed
    if waits and owner == shared.first:
        return
    until = int((now + KEPT_EMPTY).timestamp())

    def leave(present: SharedEndpoint) -> SharedEndpoint:
        owners = tuple(one for one in present.owners if one != owner)
        if owners or waits:
            return replace(present, owners=owners)
        ending = present.arn or present.ending
        return replace(present, owners=(), arn=None, first=None, ending=ending, ttl=until)

    shared = deps.store.change(shared, leave)
    if shared.ending is not None:
        ended = shared.ending
        deps.topic.unsubscribe(ended)
        metrics.add("SubscriptionsEnded")
        deps.store.change(shared, lambda present: _without_ending(present, ended))
    elif seen is not None:
        tell_sns(shared, replace(seen, owners=frozenset()), deps)


def _owners(
    owner: str, joined: SharedEndpoint, present: SharedEndpoint, waits: bool, is_proven: bool
) -> tuple[str, ...]:
    """The owners once one more has asked. A new subscription has none but the first; one that
    `waits` for its link loses the first when another asks."""
    owners = present.owners
    if joined.arn is None or joined.arn != present.arn:
        owners = (owner,) if owner == joined.first else ()
    elif waits and owner != joined.first:
        owners = tuple(one for one in owners if one != joined.first)
    if is_proven and owner not in owners:
        owners = (*owners, owner)
    if len(owners) > MAX_OWNERS:
        raise LimitReachedError(f"{MAX_OWNERS} owners have the endpoint, which is the most")
    return owners


def _without_ending(shared: SharedEndpoint, ended: str) -> SharedEndpoint:
    return replace(shared, ending=None) if shared.ending == ended else shared


def _key(endpoint_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"ENDPOINT#{endpoint_id}"}}


def _to_endpoint(item: Mapping[str, Any]) -> SharedEndpoint:
    return msgspec.convert(from_item(item), SharedEndpoint)
