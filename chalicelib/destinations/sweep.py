"""Sweeps: many deliveries again, those that failed, or all of a window.

A step looks at a hundred entries, sends what is to be sent, and then the order for the next step,
so a step that dies is taken again and nothing is left out. What was sent before and delivered
meanwhile drops out when its turn comes, since it is read first.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.sqs import Queue
from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock
from chalicelib.core.errors import UnavailableError
from chalicelib.core.log import log
from chalicelib.core.paging import NEWEST
from chalicelib.destinations.match import type_matches
from chalicelib.destinations.message import DeliveryMessage, Sweep
from chalicelib.destinations.model import Delivery, Destination, Outcome, list_key
from chalicelib.destinations.store import DeliveryStore, DestinationStore
from chalicelib.events.ledger import EventStore, EventWindow
from chalicelib.events.model import Partition, Record, Status

PAGE = 100


class SweepDeps(Struct, frozen=True):
    """The collaborators of `take_step`. `shards` is the number of index partitions an owner."""

    destinations: DestinationStore
    deliveries: DeliveryStore
    ledger: EventStore
    window: EventWindow
    queue: Queue
    shards: int
    now: Callable[[], datetime] = clock.utc_now
    each: Each = in_threads


def take_step(sweep: Sweep, deps: SweepDeps) -> None:
    """Take one step. AWS calls: one for the destination, one for a page of a hundred (three with
    `every`), one for each delivery that begins again, one for ten messages, one to go on.

    A destination that is gone or off ends its sweep.
    """
    destination = deps.destinations.get(sweep.destination_id)
    if destination is None or destination.is_off:
        log.info("sweep ended", extra={"destinationId": sweep.destination_id})
        return
    found, last = (_of_window if sweep.every else _failed)(sweep, destination, deps)
    known = [one for one in found if one.outcome is Outcome.FAILED]
    deps.each(lambda one: deps.deliveries.begin_again(one, deps.now()), known)
    messages = [
        DeliveryMessage(replace(one, tries=0, line=None), again=True, match=sweep.every)
        for one in found
    ]
    groups = [sweep.destination_id] * len(messages)
    codes = deps.queue.send_many([one.encode() for one in messages], groups=groups)
    if any(codes):
        raise UnavailableError("SQS did not take all deliveries")
    following = _next(sweep, last, deps)
    log.info(
        "sweep's step done", extra={"destinationId": sweep.destination_id, "number": len(found)}
    )
    if following is not None:
        deps.queue.send(following.encode(), group=sweep.destination_id)


def _next(sweep: Sweep, last: str | None, deps: SweepDeps) -> Sweep | None:
    if last is not None:
        return replace(sweep, after=last)
    if sweep.every and sweep.shard + 1 < deps.shards:
        return replace(sweep, shard=sweep.shard + 1, after=None)
    return None


def _bounds(sweep: Sweep) -> tuple[str, str]:
    return (sweep.start if sweep.after is None else f"{sweep.after}{NEWEST}", sweep.end)


def _failed(
    sweep: Sweep, _destination: Destination, deps: SweepDeps
) -> tuple[Sequence[Delivery], str | None]:
    return deps.deliveries.failed(sweep.destination_id, _bounds(sweep))


def _of_window(
    sweep: Sweep, destination: Destination, deps: SweepDeps
) -> tuple[Sequence[Delivery], str | None]:
    """The events of a page of the owner's that match by type and have not been delivered. The
    filter is asked when an event's document is read."""
    partition = Partition("by-owner", f"{destination.owner}#{sweep.shard}", None)
    entries, last = deps.window.read(partition, _bounds(sweep), {}, PAGE)
    records = deps.ledger.get_many([entry.event_id for entry in entries]).values()
    wanted = [
        _delivery(record, destination)
        for record in records
        if record.status is Status.PROCESSED
        and record.silver_key
        and type_matches(destination.event_types, record.event.event_type)
    ]
    keys = [(one.destination_id, list_key(one.received_at, one.event_id)) for one in wanted]
    known = {one.event_id: one for one in deps.deliveries.get_many(keys)}
    found = [known.get(one.event_id, one) for one in wanted]
    return [one for one in found if one.outcome is not Outcome.DELIVERED], last


def _delivery(record: Record, destination: Destination) -> Delivery:
    return Delivery(
        destination_id=destination.destination_id,
        event_id=record.event.event_id,
        received_at=record.event.received_at,
        event_type=record.event.event_type,
        silver_key=record.silver_key or "",
        silver_range=record.silver_range,
    )
