"""Counts and latencies of events, by minute: what a run counted is added at its end.

An item holds `SLOT_MINUTES` minutes of one owner, or of the whole stage: `pk` =
`STATS#<owner>#<start>#<shard>`, with `*` for the stage. Its attributes are counters named after the
minute in the item and what is counted, `<minute>#<name>`; a latency is counted in one of `BUCKETS`,
whose bounds grow by the square root of two. So an item stays near 1 KB, a run costs one write for
each owner and one for the stage, and a reader knows all keys of a window beforehand. A run adds to
one of `SHARDS` items, so that no item takes all writes; the items are gone by TTL after `KEPT`.

A run that dies, or whose write fails, loses its counts; a delivery that comes twice while the first
is at work, or a write whose answer was lost, counts twice. The ledger is exact, these are not.
"""

import math
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from chalicelib.aws.dynamodb import BATCH, Table, from_item, to_item
from chalicelib.aws.faults import aws_code, aws_faults
from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock
from chalicelib.core.log import log

SLOT_MINUTES = 15
SHARDS = 4
KEPT = timedelta(days=9)
EVERYBODY = "*"
"""In the place of an owner, which cannot be named so: the whole stage."""
BUCKETS = 48
_SHORTEST = 10.0
"""Milliseconds that the first bucket ends at; the last one has all from 1.3 days on."""
_MINUTE = timedelta(minutes=1)
FIRST = datetime.fromtimestamp(0, UTC)
"""No window ends before."""


class Count(StrEnum):
    """What is counted: an event at the minute it was received, once the worker gets it; an end at
    the minute of that end."""

    ACCEPTED = "accepted"
    PROCESSED = "processed"
    FAILED = "failed"
    REJECTED = "rejected"


class Step(Struct, frozen=True):
    """A length of the steps of `GET /stats`; `usual` and `longest` are how far a window reaches."""

    length: timedelta
    usual: timedelta
    longest: timedelta
    words: str

    def starts(self, start: datetime, end: datetime) -> list[datetime]:
        """The starts of the steps from the one that holds `start` to the one that holds `end`."""
        at = FIRST + (start - FIRST) // self.length * self.length
        found = [at]
        while at + self.length <= end:
            at += self.length
            found.append(at)
        return found


STEPS: Mapping[str, Step] = {
    "minute": Step(_MINUTE, timedelta(hours=1), timedelta(days=1), "a day"),
    "hour": Step(timedelta(hours=1), timedelta(days=1), timedelta(days=8), "8 days"),
    "day": Step(timedelta(days=1), timedelta(days=7), timedelta(days=8), "8 days"),
}
Minutes = dict[datetime, Counter[str]]
"""By minute, how often each `Count` and each bucket came."""


class Totals(Struct):
    """The counts of a span of time, and its latencies by bucket."""

    counts: Counter[str] = field(default_factory=Counter)

    def to_dict(self, at: datetime) -> dict[str, Any]:
        """As the API shows it. A percentile is the middle of its bucket, so it is right within a
        fifth; None where nothing was processed."""
        return {
            "at": clock.to_text(at),
            **{str(count): self.counts[count] for count in Count},
            "latencyP50Ms": self._percentile(0.5),
            "latencyP95Ms": self._percentile(0.95),
        }

    def _percentile(self, share: float) -> int | None:
        left = math.ceil(share * sum(self.counts[str(bucket)] for bucket in range(BUCKETS)))
        if not left:
            return None
        for bucket in range(BUCKETS):
            left -= self.counts[str(bucket)]
            if left <= 0:
                break
        return round(_SHORTEST * 2 ** ((bucket - 0.5) / 2))


class Tally:
    """What one run counts. Threads that work for it may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners: dict[str, Minutes] = {}

    def add(self, owner: str, count: Count, at: datetime, latency_ms: float | None = None) -> None:
        """Count one event."""
        with self._lock:
            for whose in (owner, EVERYBODY):
                minutes = self._owners.setdefault(whose, {})
                counts = minutes.setdefault(_minute(at), Counter())
                counts[count] += 1
                if latency_ms is not None:
                    counts[str(bucket_of(latency_ms))] += 1

    def take(self) -> dict[str, Minutes]:
        """What was counted, by owner."""
        return self._owners


class StatStore:
    """Adds to and reads the counters, in the ledger's table."""

    def __init__(
        self,
        client: Any,
        table: str,
        shard: Callable[[int], int] = random.randrange,
        each: Each = in_threads,
    ) -> None:
        self._client, self._shard, self._each = client, shard, each
        self._table = Table(client, table)

    def add(self, owner: str, minutes: Minutes) -> None:
        """Add the counts of a run; one call for each slot that they are in."""
        slots: dict[datetime, dict[str, int]] = {}
        for minute, counts in minutes.items():
            start, number = _slot(minute)
            named = {f"{number}#{name}": count for name, count in counts.items()}
            slots.setdefault(start, {}).update(named)
        for start, counters in slots.items():
            names = {f"#{number}": name for number, name in enumerate(counters)}
            values = {f":{number}": count for number, count in enumerate(counters.values())}
            sums = ", ".join(f"#{number} :{number}" for number in range(len(counters)))
            self._client.update_item(
                TableName=self._table.name,
                Key={"pk": {"S": _pk(owner, start, self._shard(SHARDS))}},
                UpdateExpression=f"ADD {sums} SET #ttl = :ttl",
                ExpressionAttributeNames={**names, "#ttl": "ttl"},
                ExpressionAttributeValues=to_item(
                    {**values, ":ttl": int((start + KEPT).timestamp())}
                ),
            )

    def read(self, owner: str, start: datetime, end: datetime) -> Minutes:
        """The counts of the minutes from `start` up to `end`, which is left out. One call for a
        hundred items, of which a slot has `SHARDS`: 1 for an hour, 4 for a day, 27 for a week."""
        first, _ = _slot(start)
        slots = []
        while first < end:
            slots.append(first)
            first += SLOT_MINUTES * _MINUTE
        keys = {_pk(owner, slot, shard): slot for slot in slots for shard in range(SHARDS)}
        names = list(keys)
        batches = [names[at : at + BATCH] for at in range(0, len(names), BATCH)]

        def get(batch: list[str]) -> list[Mapping[str, Any]]:
            wanted = [{"pk": {"S": pk}} for pk in batch]
            return list(self._table.get_many(wanted, consistent=False))

        found: Minutes = {}
        for item in (item for items in self._each(get, batches) for item in items):
            values = from_item(item)
            slot = keys[values.pop("pk")]
            values.pop("ttl")
            for name, count in values.items():
                number, _, what = name.partition("#")
                minute = slot + int(number) * _MINUTE
                if start <= minute < end:
                    found.setdefault(minute, Counter())[what] += count
        return found


_tally: ContextVar[Tally | None] = ContextVar("tally", default=None)


def count(owner: str, what: Count, at: datetime, latency_ms: float | None = None) -> None:
    """Count an event of this run, if the run counts."""
    tally = _tally.get()
    if tally is not None:
        tally.add(owner, what, at, latency_ms)


@contextmanager
def counting(make_store: Callable[[], StatStore]) -> Iterator[None]:
    """Add what is counted inside the block to the counters at its end, whatever that is; no store
    is made, and no call, if there is nothing. That AWS refuses it is only logged: no event fails
    for it. Calls: one for each owner and slot, and one for the stage."""
    tally = Tally()
    token = _tally.set(tally)
    try:
        yield
    finally:
        _tally.reset(token)
        counted = tally.take()
        if counted:
            _keep(counted, make_store())


def totals(minutes: Minutes, starts: Iterable[datetime], step: timedelta) -> list[dict[str, Any]]:
    """The sums of spans of `step`, in the order of their `starts`, as the API shows them."""
    spans = {start: Totals() for start in starts}
    first = min(spans, default=None)
    for minute, counts in minutes.items():
        if first is None or minute < first:
            continue
        start = first + (minute - first) // step * step
        if start in spans:
            spans[start].counts.update(counts)
    return [total.to_dict(start) for start, total in spans.items()]


def bucket_of(latency_ms: float) -> int:
    """The bucket of a latency."""
    steps = math.ceil(2 * math.log2(max(latency_ms, _SHORTEST) / _SHORTEST))
    return min(steps, BUCKETS - 1)


def _keep(counted: Mapping[str, Minutes], store: StatStore) -> None:
    for owner, minutes in counted.items():
        try:
            store.add(owner, minutes)
        except aws_faults() as error:
            log.warning("counts not kept", extra={"code": aws_code(error)})


def _minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def _slot(minute: datetime) -> tuple[datetime, int]:
    """(start of the slot, number of the minute in it)"""
    number = minute.minute % SLOT_MINUTES
    return minute.replace(second=0, microsecond=0) - number * _MINUTE, number


def _pk(owner: str, start: datetime, shard: int) -> str:
    return f"STATS#{owner}#{start:%Y-%m-%dT%H:%M}#{shard}"
