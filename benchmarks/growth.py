"""What a larger ledger costs: the list pages and an idle `reconcile`, by requests and read units.

Entries are written to the table as they are, as copies of events that were really processed: other
ids, days ago, so that nothing about them is new.
"""

import itertools
import json
import math
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import botocore

from benchmarks.counting import RequestCounter
from benchmarks.driver import Driver
from benchmarks.report import Figure, Section
from benchmarks.requests_made import BATCH
from chalicelib import wiring

TITLE, SWEEP_TITLE = "Growth of the ledger", "Sweeps of events of today"
FEW, MANY = 1_000, 20_000
SWEPT = (100, 2_000)
AIM = 1.05
"""The same but for what lies on the edge of a page."""
_SAMPLES, _TRIES = 60, 3
_SENT_AT_ONCE = 500
_NEWEST_DAYS, _OLDEST_DAYS = 3, 30
_WRITTEN_AT_ONCE, _WRITERS = 25, 4
_READ_UNIT_BYTES = 4096
_DAY = re.compile(r"(\d{4})([-/])(\d\d)\2(\d\d)")
_CONSISTENT = re.compile(r'"ConsistentRead"\s*:\s*true')
_READS = ("Query", "Scan", "GetItem", "BatchGetItem")

Item = dict[str, Any]


class ReadMeter:
    """Counts what is read from DynamoDB by every botocore session made after `install`, in units.

    A unit is one consistent read of 4 KB, and half of that is charged for one that is not; a query
    reads the items that its filter leaves out, too. Source: DynamoDB Developer Guide, "Read
    consumption". Computed here, since the emulator charges each query the same.
    """

    def __init__(self) -> None:
        self._units: list[float] | None = None

    def install(self) -> None:
        """Hook into the sessions that are yet to be made."""
        botocore.register_initializer(self._watch)

    @contextmanager
    def metering(self) -> Iterator[list[float]]:
        """Collect inside the block the units of each read."""
        self._units = units = list[float]()
        try:
            yield units
        finally:
            self._units = None

    def on_call(self, params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        """Keep whether a read is to be consistent."""
        body = params["body"]
        text = body if isinstance(body, str) else body.decode()
        context["consistent"] = _CONSISTENT.search(text) is not None

    def on_answer(self, parsed: Mapping[str, Any], context: Mapping[str, Any], **_: Any) -> None:
        """Count one answer."""
        if self._units is not None:
            share = 1.0 if context.get("consistent") else 0.5
            self._units.append(share * blocks(parsed))

    def _watch(self, session: Any) -> None:
        for name in _READS:
            session.register(f"before-call.dynamodb.{name}", self.on_call)
            session.register(f"after-call.dynamodb.{name}", self.on_answer)


def blocks(answer: Mapping[str, Any]) -> int:
    """The blocks of 4 KB that an answer of DynamoDB was read from, at least one for each item got
    by its key, and one for a query."""
    if "Responses" in answer:
        items = itertools.chain.from_iterable(answer["Responses"].values())
        return sum(_blocks(item_bytes(item)) for item in items)
    if "Items" in answer:
        sizes = [item_bytes(item) for item in answer["Items"]]
        read = answer.get("ScannedCount", len(sizes))
        mean = sum(sizes) / len(sizes) if sizes else _READ_UNIT_BYTES
        return _blocks(read * mean)
    return _blocks(item_bytes(answer.get("Item") or {}))


def item_bytes(item: Mapping[str, Any]) -> int:
    """The size of an item in bytes, to within some for each number, list and map.

    Source: DynamoDB Developer Guide, "DynamoDB item sizes and formats".
    """
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Any) -> int:
    ((kind, held),) = value.items()
    if kind == "S":
        return len(held.encode())
    if kind == "N":
        return len(held) // 2 + 2
    if kind == "M":
        return 3 + item_bytes(held)
    if kind == "L":
        return 3 + sum(1 + _value_bytes(one) for one in held)
    return len(held) if kind == "B" else 1


def _blocks(size: float) -> int:
    return max(1, math.ceil(size / _READ_UNIT_BYTES))


def measure(
    driver: Driver, counter: RequestCounter, meter: ReadMeter, few: int = FEW, many: int = MANY
) -> Section:
    """Count each use with `few` entries in the ledger and with `many`.

    `counter` and `meter` have to be installed before `driver` is made.
    """
    samples = _samples(driver)
    written = 0
    seen: list[dict[str, tuple[float, float, float]]] = []
    for wanted in (few, many):
        _write(_copies(samples, range(written, wanted)))
        written = wanted
        # What was written is looked at once; from then on there is nothing new.
        driver.reconcile()
        driver.reconcile()
        seen.append({name: _count(use, counter, meter) for name, use in _uses(driver).items()})
    fewer, more = seen
    figures = []
    for name, (requests, units, _) in more.items():
        before_requests, before_units, _ = fewer[name]
        figures += [
            _compare(f"{name}: requests", before_requests, requests, few, many),
            _compare(f"{name}: read units", before_units, units, few, many),
        ]
    return Section(
        TITLE,
        figures,
        (
            (
                f"At {many:,} entries to {few:,}: copies of processed events, {_NEWEST_DAYS} to "
                f"{_OLDEST_DAYS} days old."
            ),
            "Read units by DynamoDB's rules, from the items that each answer was made of.",
        ),
    )


def measure_sweep(driver: Driver, counter: RequestCounter, meter: ReadMeter) -> Section:
    """Count and time an idle `reconcile` of the stage `local`, which sweeps most often, with few
    and with many events of today: real ones, since a sweep looks at their objects, too."""
    os.environ["FULL_SWEEP_MINUTES"] = "0"
    wiring.reset()
    try:
        seen = []
        for fresh in (SWEPT[0], SWEPT[1] - SWEPT[0]):
            for start in range(0, fresh, _SENT_AT_ONCE):
                count = min(_SENT_AT_ONCE, fresh - start)
                driver.batch([{"eventType": "bench.sweep", "number": n} for n in range(count)])
            driver.drain()
            # What came is looked at once; from then on there is nothing new.
            driver.reconcile()
            driver.reconcile()
            seen.append(_count(driver.reconcile, counter, meter))
    finally:
        del os.environ["FULL_SWEEP_MINUTES"]
        wiring.reset()
    figures = [
        replace(_compare(f"an idle reconcile: {name}", before, after, *SWEPT), aim=None)
        for name, before, after in zip(("requests", "read units", "seconds"), *seen, strict=True)
    ]
    note = "As the stage `local` is set; events of today, sent in batches and processed."
    return Section(SWEEP_TITLE, figures, (note,))


def _uses(driver: Driver) -> dict[str, Callable[[], object]]:
    def page(scopes: str, **query: str) -> Callable[[], object]:
        return lambda: driver.request("GET", "/events", query=query, scopes=scopes)

    return {
        "one owner's list": page("events:read"),
        "one owner's list, PROCESSED": page("events:read", status="PROCESSED"),
        "everybody's list": page("admin"),
        "an idle reconcile": driver.reconcile,
    }


def _compare(name: str, fewer: float, more: float, few: int, many: int) -> Figure:
    parts = {f"{few:,}": fewer, f"{many:,}": more}
    return Figure(name, more / fewer if fewer else 1 + more, "x", AIM, parts)


def _count(
    use: Callable[[], object], counter: RequestCounter, meter: ReadMeter
) -> tuple[float, float, float]:
    """Requests, read units and seconds: the least of some tries, for on a busy machine the SDK may
    try again, or a page fail with a time-out."""
    seen: list[tuple[float, float, float]] = []
    for left in reversed(range(_TRIES)):
        began = time.perf_counter()
        try:
            with counter.counting() as requests, meter.metering() as units:
                use()
        except RuntimeError:
            if not (left or seen):
                raise
        else:
            seen.append((requests.total(), sum(units), time.perf_counter() - began))
    requests_made, units_read, seconds = map(min, zip(*seen, strict=True))
    return requests_made, units_read, seconds


def _samples(driver: Driver) -> list[Item]:
    """Entries of events that were sent and processed, over all parts of the key space."""
    ids = [driver.ingest("bench.growth") for _ in range(_SAMPLES)]
    for _ in range(_SAMPLES // BATCH):
        records = driver.receive(BATCH)
        driver.process(records)
        driver.settle(records)
    table, client = os.environ["EVENTS_TABLE"], boto3.client("dynamodb")
    keys = ({"pk": {"S": f"EVENT#{event_id}"}} for event_id in ids)
    return [client.get_item(TableName=table, Key=key)["Item"] for key in keys]


def _copies(samples: Sequence[Item], numbers: range) -> Iterator[Item]:
    """Copies of the samples by turns, each with an id of its own, over the days by chance."""
    span = _OLDEST_DAYS - _NEWEST_DAYS
    for number in numbers:
        sample = samples[number % len(samples)]
        # Any step that has no part in common with the span spreads them evenly.
        yield aged(sample, str(uuid.uuid4()), _NEWEST_DAYS + number * 7 % span)


def aged(sample: Item, event_id: str, days: int) -> Item:
    """A copy of an entry as if the event had another id and had come `days` before.

    Ids and days are replaced wherever they stand, in keys and locations too.
    """
    old = sample["eventId"]["S"] if "eventId" in sample else sample["pk"]["S"].partition("#")[2]
    text = json.dumps(sample).replace(old, event_id)
    item: Item = json.loads(_DAY.sub(lambda found: _before(found, days), text))
    return item


def _before(found: re.Match[str], days: int) -> str:
    year, mark, month, day = found.groups()
    earlier = datetime(int(year), int(month), int(day), tzinfo=UTC) - timedelta(days=days)
    return earlier.strftime(f"%Y{mark}%m{mark}%d")


def _write(items: Iterable[Item]) -> None:
    """Put the items into the ledger, without its code."""
    table, client = os.environ["EVENTS_TABLE"], boto3.client("dynamodb")

    def put(some: Sequence[Item]) -> None:
        left = {table: [{"PutRequest": {"Item": item}} for item in some]}
        while left:
            left = client.batch_write_item(RequestItems=left)["UnprocessedItems"]

    items = iter(items)
    with ThreadPoolExecutor(_WRITERS) as writers:
        while True:
            some = [list(itertools.islice(items, _WRITTEN_AT_ONCE)) for _ in range(_WRITERS)]
            list(writers.map(put, filter(None, some)))
            if not some[-1]:
                return
