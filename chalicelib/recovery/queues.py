"""The depth of every queue, and how long the oldest open event has been waiting."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct, to_builtins

from chalicelib.aws.sqs import Queue
from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock
from chalicelib.core.paging import NEWEST, OLDEST
from chalicelib.events.ledger import EventWindow
from chalicelib.events.model import OPEN, Partition

EVENTS = "events"


class QueueDeps(Struct, frozen=True):
    """The collaborators of `list_queues`: the queues by their short names, the ledger's index."""

    queues: Mapping[str, Queue]
    window: EventWindow
    shards: int
    now: Callable[[], datetime] = clock.utc_now
    each: Each = in_threads


def list_queues(deps: QueueDeps) -> list[dict[str, Any]]:
    """Every queue with its depth, in the order of `deps.queues`.

    `oldestSeconds` is the age of the oldest event that is still open, for the queue of events; None
    when there is none, and for other queues: SQS tells the age of a message only to CloudWatch, or
    to who receives it. Calls: one a queue, and one for each ledger shard and open status.
    """
    depths = deps.each(lambda queue: queue.depth(), list(deps.queues.values()))
    oldest = {EVENTS: _oldest_seconds(deps)}
    return [
        {"name": name, **to_builtins(depth), "oldestSeconds": oldest.get(name)}
        for name, depth in zip(deps.queues, depths, strict=True)
    ]


def _oldest_seconds(deps: QueueDeps) -> int | None:
    partitions = [
        Partition("by-status", f"{status}#{shard}", status)
        for status in OPEN
        for shard in range(deps.shards)
    ]
    first = deps.each(lambda one: deps.window.read(one, (OLDEST, NEWEST), {}, 1)[0], partitions)
    keys = [entries[0].list_key for entries in first if entries]
    if not keys:
        return None
    received = clock.from_text(min(keys).partition("#")[0])
    return max(int((deps.now() - received).total_seconds()), 0)
