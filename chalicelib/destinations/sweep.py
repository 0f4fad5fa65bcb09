"""Sweeps: many deliveries again, those that failed, or all of a window.

A step looks at a hundred entries, sends what is to be sent, and then the order for the next step,
so a step that dies is taken again and nothing is left out. What was sent before and delivered
meanwhile drops out when its turn comes, since it is read first.

For an ordered destination a sweep goes through its window twice. First all join their lines, the
oldest first, as events that come meanwhile keep lines moving. Then the first of each line is
called, and who has been sent calls the next. Whether the first is of the window does not matter: it
may be one that came to its end elsewhere just before it joined, behind which all would wait.
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
from chalicelib.core.paging import NEWEST, Entry, merge_oldest
from chalicelib.destinations.delivery_store import DeliveryStore
from chalicelib.destinations.line import LineStore, line_of, name_of, place_of
from chalicelib.destinations.match import type_matches
from chalicelib.destinations.message import DeliveryMessage, Sweep
from chalicelib.destinations.model import (
    Delivery,
    Destination,
    Outcome,
    delivery_of,
    list_key,
)
from chalicelib.destinations.store import DestinationStore
from chalicelib.events.bus import document_head
from chalicelib.events.ledger import EventStore, EventWindow
from chalicelib.events.model import Partition, Record, Status

PAGE = 100


class SweepDeps(Struct, frozen=True):
    """The collaborators of `take_step`. `shards` is the number of index partitions an owner."""

    destinations: DestinationStore
    deliveries: DeliveryStore
    lines: LineStore
    ledger: EventStore
    window: EventWindow
    queue: Queue
    shards: int
    now: Callable[[], datetime] = clock.utc_now
    each: Each = in_threads


Found = tuple[Sequence[Delivery], str | None]
"""Deliveries in whichever state, and the last key that was looked at; None at the end."""


def take_step(sweep: Sweep, deps: SweepDeps) -> None:
    """Take one step. AWS calls: one for the destination, one for a page of a hundred (three with
    `every`), one for each delivery that failed or was tried, one for ten messages, one to go on.

    For an ordered destination a page with `every` takes one call for each shard and two, another
    page one more if there are deliveries that know no line. In the first pass there is one more
    call for each delivery that joins its line, and no message but the last; in the second one for
    each line, and none for a delivery.

    A destination that is gone or off ends its sweep; what has joined its line is given up then.
    """
    destination = deps.destinations.get(sweep.destination_id)
    going = None if destination is None else _going(sweep, destination)
    if destination is None or going is None:
        log.info("sweep ended", extra={"destinationId": sweep.destination_id})
        return
    found, last = (_of_window if going.every else _noted)(going, destination, deps)
    taken = [one for one in found if _is_taken(one, going)]
    if not going.joined:
        _begin(taken, going, deps)
    _send(_bodies(found, taken, going, deps), going, deps)
    log.info(
        "sweep's step done", extra={"destinationId": going.destination_id, "number": len(taken)}
    )
    following = _next(going, last, deps)
    if following is not None:
        deps.queue.send(following.encode(), group=going.destination_id)


def _going(sweep: Sweep, destination: Destination) -> Sweep | None:
    """The sweep as it goes on; None if it ends. One whose destination was turned off calls what has
    joined its line so far, all of which would wait for ever."""
    if sweep.joined or not destination.is_off:
        return sweep
    if not sweep.ordered or sweep.after is None:
        return None
    return replace(sweep, joined=True, end=sweep.after, after=None)


def _next(sweep: Sweep, last: str | None, deps: SweepDeps) -> Sweep | None:
    if last is not None:
        return replace(sweep, after=last)
    if sweep.ordered:
        return None if sweep.joined else replace(sweep, joined=True, after=None)
    if sweep.every and sweep.shard + 1 < deps.shards:
        return replace(sweep, shard=sweep.shard + 1, after=None)
    return None


def _is_taken(delivery: Delivery, sweep: Sweep) -> bool:
    """Whether it begins again, or is called. One that waits for its first attempt may have begun
    again in a step that died."""
    if delivery.outcome is Outcome.WAITING and delivery.tries == 0:
        return True
    if sweep.joined:
        return False
    return delivery.outcome is Outcome.FAILED or (
        sweep.every and delivery.outcome is Outcome.WAITING
    )


def _begin(taken: Sequence[Delivery], sweep: Sweep, deps: SweepDeps) -> None:
    """Let each have all its attempts again, and join its line; those of a line one after the other,
    so that who is called meanwhile is the oldest."""
    lines: dict[str, list[Delivery]] = {}
    for one in sorted(taken, key=place_of):
        lines.setdefault(name_of(one) if one.line else one.event_id, []).append(one)

    def begin(line: Sequence[Delivery]) -> None:
        for one in line:
            is_new = one.outcome is Outcome.WAITING and one.tries == 0
            is_open = is_new or deps.deliveries.begin_again(one, deps.now())
            if is_open and one.line:
                deps.lines.join(_message(one, sweep), deps.now())

    deps.each(begin, list(lines.values()))


def _bodies(
    found: Sequence[Delivery], taken: Sequence[Delivery], sweep: Sweep, deps: SweepDeps
) -> list[str]:
    """The messages of a step: of lines only the first, whichever that is, once all have joined."""
    if sweep.ordered and not sweep.joined:
        return []
    lines = {name_of(one): one for one in found if one.line}
    firsts = deps.each(deps.lines.first, list(lines.values()))
    called = [first.message for first in firsts if first is not None]
    return called + [_message(one, sweep).encode() for one in taken if not one.line]


def _send(bodies: Sequence[str], sweep: Sweep, deps: SweepDeps) -> None:
    if any(deps.queue.send_many(bodies, groups=[sweep.destination_id] * len(bodies))):
        raise UnavailableError("SQS did not take all deliveries")


def _message(delivery: Delivery, sweep: Sweep) -> DeliveryMessage:
    return DeliveryMessage(replace(delivery, tries=0), again=True, match=sweep.every)


def _bounds(sweep: Sweep) -> tuple[str, str]:
    return (sweep.start if sweep.after is None else f"{sweep.after}{NEWEST}", sweep.end)


def _noted(sweep: Sweep, destination: Destination, deps: SweepDeps) -> Found:
    """A page of the destination's deliveries."""
    found, last = deps.deliveries.within(sweep.destination_id, _bounds(sweep))
    # Those from before it was ordered, and those without a subject.
    unplaced = [one for one in found if sweep.ordered and not one.line and _is_taken(one, sweep)]
    records = deps.ledger.get_many([one.event_id for one in unplaced])
    return [_placed(one, records.get(one.event_id), sweep, destination) for one in found], last


def _of_window(sweep: Sweep, destination: Destination, deps: SweepDeps) -> Found:
    """Those of a page of the owner's events that match by type. The filter is asked when an event's
    document is read."""
    entries, last = _entries(sweep, destination, deps)
    records = deps.ledger.get_many([entry.event_id for entry in entries])
    wanted = [
        delivery_of(record, sweep.destination_id)
        for record in records.values()
        if record.status is Status.PROCESSED
        and record.silver_key
        and type_matches(destination.event_types, record.event.event_type)
    ]
    keys = [(one.destination_id, list_key(one.received_at, one.event_id)) for one in wanted]
    known = {one.event_id: one for one in deps.deliveries.get_many(keys)}
    return [
        _placed(known.get(one.event_id, one), records[one.event_id], sweep, destination)
        for one in wanted
    ], last


def _entries(
    sweep: Sweep, destination: Destination, deps: SweepDeps
) -> tuple[Sequence[Entry], str | None]:
    """A page of one shard; for an ordered destination of all shards, oldest first."""

    def read(shard: int) -> tuple[list[Entry], str | None]:
        partition = Partition("by-owner", f"{destination.owner}#{shard}", None)
        return deps.window.read(partition, _bounds(sweep), {}, PAGE)

    if not sweep.ordered:
        return read(sweep.shard)
    page = merge_oldest(deps.each(read, range(deps.shards)), PAGE)
    return page.entries, page.resume_below


def _placed(
    delivery: Delivery, record: Record | None, sweep: Sweep, destination: Destination
) -> Delivery:
    """The delivery with the line that it waits in; without one unless the sweep is ordered. It was
    when it began, and what has joined a line goes by it though the destination has changed."""
    if not sweep.ordered:
        return replace(delivery, line=None)
    if delivery.line is not None or record is None:
        return delivery
    head = document_head(record.event, "", "")
    return replace(delivery, line=line_of(replace(destination, ordered=True), head))
