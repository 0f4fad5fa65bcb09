"""What the schedule does for deliveries: it takes up those whose wait is nearly over.

A wait of more than 15 minutes is an entry of the index `by-due`. A run looks as far ahead as the
next run is away, and sends each with what is left of its wait as delay, so a retry is on time.
"""

import math
from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

from chalicelib.aws.faults import aws_code, aws_faults
from chalicelib.aws.sqs import Queue
from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock
from chalicelib.core.log import log
from chalicelib.destinations.deliver import LONGEST_DELAY
from chalicelib.destinations.delivery_store import DUE_SHARDS, DeliveryStore
from chalicelib.destinations.message import DeliveryMessage


class DueDeps(Struct, frozen=True):
    """The collaborators of `take_up_due`. `ahead` is the seconds until the next run."""

    deliveries: DeliveryStore
    queue: Queue
    ahead: int
    seconds_left: Callable[[], float]
    now: Callable[[], datetime] = clock.utc_now
    each: Each = in_threads


def take_up_due(deps: DueDeps) -> int:
    """Send the deliveries that are due before the next run; how many. AWS calls: one for each of
    `DUE_SHARDS`; for a hundred that are due one more, one for each, and one for ten to the queue.

    Each is taken up before it is sent, so that two runs never send the same. Should it not be sent
    then, it is due again in half an hour. Half of the run's time is left to the rest of the
    schedule, which goes on whatever AWS refuses here.
    """
    until, sent = deps.seconds_left() / 2, 0
    try:
        for shard in range(DUE_SHARDS):
            sent += _take_up(shard, until, deps)
    except aws_faults() as error:
        log.error("deliveries not taken up", extra={"code": aws_code(error)})
    if sent:
        log.info("deliveries taken up", extra={"number": sent})
    return sent


def _take_up(shard: int, seconds: float, deps: DueDeps) -> int:
    """Take up what is due of a shard, until so many seconds are left of the run."""
    sent = 0
    while deps.seconds_left() > seconds:
        now = deps.now()
        latest = now + timedelta(seconds=min(deps.ahead, LONGEST_DELAY))
        due = deps.deliveries.due(shard, latest)
        made = deps.each(lambda pair: deps.deliveries.take_up(*pair, deps.now()), due)
        taken = [pair for pair, is_mine in zip(due, made, strict=True) if is_mine]
        if not taken:
            return sent
        bodies = [DeliveryMessage(one, again=True).encode() for one, _ in taken]
        delays = [_delay(due_at, now) for _, due_at in taken]
        groups = [one.destination_id for one, _ in taken]
        sent += sum(code is None for code in deps.queue.send_many(bodies, delays, groups))
    return sent


def _delay(due_at: str, now: datetime) -> int:
    seconds = (clock.from_text(due_at) - now).total_seconds()
    return min(max(math.ceil(seconds), 0), LONGEST_DELAY)
