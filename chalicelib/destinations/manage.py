"""What an owner does with destinations: make, read, change, rotate, delete, and send again."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.sqs import Queue
from chalicelib.core import clock
from chalicelib.core.errors import ConflictError, NotFoundError
from chalicelib.core.ids import is_event_id, new_event_id
from chalicelib.destinations.delivery_store import DeliveryStore
from chalicelib.destinations.line import LineStore, line_of
from chalicelib.destinations.message import DeliveryMessage, Sweep
from chalicelib.destinations.model import (
    MAX_DESTINATIONS,
    Delivery,
    Destination,
    Format,
    Outcome,
    Secret,
    delivery_of,
    list_key,
)
from chalicelib.destinations.sign import SECRET_BYTES, make_secret
from chalicelib.destinations.store import PROBE, DestinationStore
from chalicelib.events.bus import document_head
from chalicelib.events.ledger import EventStore
from chalicelib.events.model import Status
from chalicelib.web.callers import Caller

RECENT = 100
"""Deliveries that a destination is judged by."""
_CHANGED = "it has been changed meanwhile: read it again"


class ManageDeps(Struct, frozen=True):
    """The collaborators of the functions below. `loopback` allows URLs of this machine."""

    destinations: DestinationStore
    deliveries: DeliveryStore
    lines: LineStore
    ledger: EventStore
    queue: Queue
    loopback: bool
    now: Callable[[], datetime] = clock.utc_now
    random: Callable[[int], bytes] = os.urandom


def create(owner: str, order: Mapping[str, Any], deps: ManageDeps) -> tuple[Destination, str]:
    """(a new destination, its secret); two calls. Raises `ConflictError` when the owner has
    `MAX_DESTINATIONS`; requests at the same time may pass that a little."""
    if len(deps.destinations.routes(owner, with_off=True)) >= MAX_DESTINATIONS:
        raise ConflictError(f"there are {MAX_DESTINATIONS} destinations already")
    now = deps.now()
    at, secret = clock.to_text(now), make_secret(deps.random(SECRET_BYTES))
    destination = Destination(
        destination_id=new_event_id(now, deps.random(10)),
        owner=owner,
        secrets=(Secret(secret),),
        created_at=at,
        updated_at=at,
        headers=order.get("headers") or {},
        **_wanted(order),
    )
    deps.destinations.add(destination)
    return destination, secret


def read(destination_id: str, caller: Caller, deps: ManageDeps) -> Destination:
    """A destination; one call. `NotFoundError` unless the caller may see it."""
    found = deps.destinations.get(destination_id) if is_event_id(destination_id) else None
    if found is None:
        raise NotFoundError("no such destination")
    caller.check_owner(found.owner, "destination")
    return found


def change(seen: Destination, order: Mapping[str, Any], deps: ManageDeps) -> Destination:
    """Replace what a destination is ordered to be, but for headers that the order leaves out; a
    disabled one is enabled. One call, two if it was in trouble. Raises `ConflictError`."""
    changed = replace(
        seen,
        **_wanted(order),
        headers=order.get("headers", seen.headers),
        updated_at=clock.to_text(deps.now()),
        failing_since=None,
        proven_at=None,
        trouble_since=None,
        trouble_until=None,
        disabled_at=None,
        disabled_reason=None,
    )
    if seen.trouble_since is not None:
        deps.destinations.free_slot(seen.destination_id, PROBE)
    return _written(deps.destinations.change(seen, changed, enable=True))


def rotate(destination_id: str, caller: Caller, deps: ManageDeps) -> tuple[Destination, str]:
    """(the destination, its new secret). The one before is signed with for a day more; one older
    still ends at once, so to end a secret that leaked, rotate twice. Two calls."""
    seen = read(destination_id, caller, deps)
    secret = make_secret(deps.random(SECRET_BYTES))
    return _written(deps.destinations.change(seen, seen.rotated(secret, deps.now()))), secret


def delete(destination_id: str, caller: Caller, deps: ManageDeps) -> None:
    """Delete a destination; what waits for it is given up when its turn comes. Two calls."""
    read(destination_id, caller, deps)
    deps.destinations.delete(destination_id)


def deliveries_of(event_id: str, caller: Caller, deps: ManageDeps) -> list[Delivery]:
    """The deliveries of an event, to destinations that its owner has. Calls: one to the ledger, one
    for the owner's destinations, one for a hundred of them, one more for those that may wait in
    line. Raises `NotFoundError`."""
    record = deps.ledger.get(event_id) if is_event_id(event_id) else None
    if record is None:
        raise NotFoundError("no such event")
    caller.check_owner(record.event.owner, "event")
    key = list_key(record.event.received_at, event_id)
    routes = deps.destinations.routes(record.event.owner, with_off=True)
    found = deps.deliveries.get_many([(route.destination_id, key) for route in routes])
    tried = {one.destination_id for one in found}
    head = document_head(record.event, "", "")
    behind = [
        replace(delivery_of(record, route.destination_id), line=line)
        for route in routes
        if route.destination_id not in tried and (line := line_of(route, head)) is not None
    ]
    return found + deps.lines.waiting(behind)


def recent(destination_id: str, deps: ManageDeps) -> dict[str, Any]:
    """What became of the newest `RECENT` deliveries; one call. The rate is of those that ended,
    None before one did."""
    newest, _ = deps.deliveries.page(destination_id, RECENT, None)
    counts = Counter(one.outcome for one in newest)
    ended = counts[Outcome.DELIVERED] + counts[Outcome.FAILED]
    rate = round(counts[Outcome.DELIVERED] / ended, 3) if ended else None
    return {**{str(outcome): counts[outcome] for outcome in Outcome}, "successRate": rate}


def retry_one(destination: Destination, event_id: str, deps: ManageDeps) -> None:
    """Send one event again, also one that was delivered, with all attempts anew. Raises
    `NotFoundError`, `ConflictError` unless the event is PROCESSED. Calls: three; one more for an
    event that was delivered, or tried, before, and two for a destination in trouble."""
    _check_open(destination)
    destination_id = destination.destination_id
    record = deps.ledger.get(event_id) if is_event_id(event_id) else None
    if record is None or record.event.owner != destination.owner:
        raise NotFoundError("no such event")
    if record.status is not Status.PROCESSED or not record.silver_key:
        raise ConflictError("the event is not processed")
    wanted = delivery_of(record, destination_id)
    if deps.deliveries.noted(wanted) is not None:
        deps.deliveries.begin_again(wanted, deps.now(), delivered_too=True)
    _trust(destination, deps)
    deps.queue.send(DeliveryMessage(wanted, again=True).encode(), group=destination_id)


def retry_many(
    destination: Destination, start: datetime, end: datetime, *, every: bool, deps: ManageDeps
) -> None:
    """Begin to send again what failed, or with `every` all that match and were not delivered, what
    waits to be tried again too, of the events received in a window. One call, three if it was in
    trouble. Raises `ConflictError`."""
    _check_open(destination)
    _trust(destination, deps)
    id_ = destination.destination_id
    bounds = clock.to_text(start), clock.to_text(end)
    sweep = Sweep(id_, *bounds, every, ordered=destination.ordered)
    deps.queue.send(sweep.encode(), group=id_)


def _check_open(destination: Destination) -> None:
    if destination.is_off:
        raise ConflictError(f"the destination is {destination.state}: change it first")


def _trust(destination: Destination, deps: ManageDeps) -> None:
    """Call a destination at once that was in trouble: its owner says that it is mended. Two calls
    then."""
    if destination.trouble_since is not None:
        deps.destinations.end_trouble(destination.destination_id)
        deps.destinations.free_slot(destination.destination_id, PROBE)


def _written(destination: Destination | None) -> Destination:
    if destination is None:
        raise ConflictError(_CHANGED)
    return destination


def _wanted(order: Mapping[str, Any]) -> dict[str, Any]:
    event_types: Sequence[str] = order["eventTypes"]
    rate = order.get("rate")
    return {
        "url": order["url"],
        "event_types": tuple(dict.fromkeys(event_types)),
        "filter": order.get("filter"),
        "description": order.get("description"),
        "rate": None if rate is None else int(rate),  # 5.0 is an integer in JSON Schema
        "ordered": order.get("ordered", False),
        "paused": order.get("paused", False),
        "format": Format(order.get("format", Format.STANDARD)),
    }
