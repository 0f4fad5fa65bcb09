"""The yardstick: Eventline against the peers, in one emulator behind one delaying proxy.

The sides take turns, block by block, so that what else the machine does meets them all alike. Each
is called with direct invocations of its deployed function by clients that go past the proxy, warmed
up before it is timed, and its worker's trigger is off while ingest is timed. After each block the
proxy must have delayed every call: a side that called AWS some other way would look fast.
"""

import itertools
import json
import os
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from benchmarks.cost import LEDGER_INDEXES, Way, dollars
from benchmarks.prices import LATENCY_MS
from benchmarks.proxy import Calls, Proxy, delaying_proxy
from benchmarks.report import Figure, Section
from benchmarks.sides import Side, SideError, deploy
from local.layout import Layout

TITLE, CALLS_TITLE = "Yardstick", "Yardstick: delayed calls an event"
OURS, PLAIN = "Eventline", "plain"
CLIENTS = 8
LEAST_CALLS = 2
"""Calls of an ingested event: it has to be kept, and it has to be queued."""
_BLOCK, _WARM_UP = 20, 10
_FILLER = "x" * 850
_CHECKED = 10


@dataclass(frozen=True)
class Size:
    """Events a side in each part; `rounds` is how often the sides take turns at crowds."""

    single: int = 150
    keyed: int = 60
    bare: int = 60
    crowd: int = 100
    rounds: int = 2


@dataclass
class Timed:
    """What was seen of one side in one part: milliseconds of each call, and the calls to AWS."""

    milliseconds: list[float] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    events: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds

    def percentile(self, percent: int) -> float:
        """Milliseconds that `percent` of the calls did not exceed."""
        return statistics.quantiles(self.milliseconds, n=100, method="inclusive")[percent - 1]

    def calls_an_event(self) -> dict[str, float]:
        """Calls by operation, most frequent first."""
        return {name: count / self.events for name, count in self.calls.most_common()}


Seen = Mapping[str, Timed]


def measure(layout: Layout, size: Size | None = None) -> list[Section]:
    """Deploy the sides and compare them. Call it in `workspace.emulator`."""
    before = os.getloadavg()[0]
    with delaying_proxy(layout) as proxy:
        sections = _Yardstick(deploy(layout, proxy.url), proxy, size or Size()).measure()
    load = (
        f"Load of the machine (one minute, {os.cpu_count()} CPUs): {before:.1f} before and "
        f"{os.getloadavg()[0]:.1f} at the end; clients, emulator and proxy share it."
    )
    table, calls = sections
    return [Section(table.title, table.figures, [*table.notes, load]), calls]


class _Yardstick:
    def __init__(self, sides: Sequence[Side], proxy: Proxy, size: Size) -> None:
        self._sides = sides
        self._proxy = proxy
        self._size = size
        self._numbers = itertools.count()

    def measure(self) -> list[Section]:
        size = self._size
        for side in self._sides:
            self._crowd(side, CLIENTS * _WARM_UP)
            side.check_log()
        single = self._by_turns(size.single)
        keyed = self._by_turns(size.keyed, keyed=True)
        crowd, drained = self._crowds()
        for side in self._sides:
            side.call_through(None)
            for _ in range(_WARM_UP):
                self._send(side)
        bare = self._by_turns(size.bare, proxied=False)
        figures = [
            *_percentiles("ingest, 1 client", single, {50: 0.6, 99: 0.8}),
            *_percentiles(f"ingest, {CLIENTS} clients", crowd, {}),
            _latency("ingest with a key, 1 client: p50", keyed, 50, 0.7),
            _latency("ingest without delays, 1 client: p50", bare, 50, 0.9),
            _rate(f"ingest, {CLIENTS} clients", crowd, 1.3),
            _rate("worker drains", drained, 4),
            *_prices(self._sides, single, drained),
        ]
        refused = {side.name: len(side.refused) for side in self._sides if side.refused}
        notes = [*_notes(size), *([f"Errors, tried again in time: {refused}."] if refused else [])]
        return [Section(TITLE, figures, notes), _calls(single, keyed, drained)]

    def _by_turns(self, count: int, *, keyed: bool = False, proxied: bool = True) -> Seen:
        """`count` events of one client of each side, in blocks."""
        seen = {side.name: Timed() for side in self._sides}
        for number in range(0, count, _BLOCK):
            for side in _rotated(self._sides, number // _BLOCK):
                before = self._proxy.calls()
                for _ in range(min(_BLOCK, count - number)):
                    self._time(side, seen[side.name], keyed=keyed)
                seen[side.name].events = len(seen[side.name].milliseconds)
                if proxied:
                    self._count(seen[side.name], before)
        if proxied:
            _check_calls(seen)
        return seen

    def _crowds(self) -> tuple[Seen, Seen]:
        """`CLIENTS` clients at once, then the worker alone with what they left."""
        sent = {side.name: Timed() for side in self._sides}
        drained = {side.name: Timed() for side in self._sides}
        for side in self._sides:
            side.purge()
            self._crowd(side, CLIENTS * _WARM_UP)
            side.drain()
        for number in range(self._size.rounds):
            sides = list(_rotated(self._sides, number))
            ids = {}
            for side in sides:
                before = self._proxy.calls()
                ids[side.name] = self._crowd(side, self._size.crowd, sent[side.name])
                self._count(sent[side.name], before)
            for side in sides:
                done, before = drained[side.name], self._proxy.calls()
                done.seconds += side.drain()
                done.events += len(ids[side.name])
                self._count(done, before)
                _check_processed(side, ids[side.name][:: self._size.crowd // _CHECKED or 1])
        _check_calls(sent)
        return sent, drained

    def _crowd(self, side: Side, count: int, timed: Timed | None = None) -> list[str]:
        timed = timed or Timed()
        start = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as clients:
            send = partial(self._time, side, timed)
            ids = list(clients.map(lambda _: send(), range(count)))
        timed.seconds += time.perf_counter() - start
        timed.events += count
        return ids

    def _time(self, side: Side, timed: Timed, *, keyed: bool = False) -> str:
        start = time.perf_counter()
        event_id = self._send(side, keyed=keyed)
        timed.milliseconds.append((time.perf_counter() - start) * 1000)
        return event_id

    def _send(self, side: Side, *, keyed: bool = False) -> str:
        number = next(self._numbers)
        body = {"eventType": "bench.order", "number": number, "filler": _FILLER}
        return side.ingest(json.dumps(body), str(uuid.uuid4()) if keyed else None)

    def _count(self, timed: Timed, before: Calls) -> None:
        timed.calls += self._proxy.calls().since(before)


def _rotated(sides: Sequence[Side], by: int) -> Iterator[Side]:
    return (sides[(number + by) % len(sides)] for number in range(len(sides)))


def _check_calls(seen: Seen) -> None:
    for name, timed in seen.items():
        if timed.calls.total() < LEAST_CALLS * timed.events:
            raise SideError(f"{name} made {timed.calls} through the proxy for {timed.events}")


def _check_processed(side: Side, ids: Sequence[str]) -> None:
    for event_id in ids:
        status = side.status(event_id)
        if status != "PROCESSED":
            raise SideError(f"{side.name} left {event_id} {status}")


def _percentiles(name: str, seen: Seen, aims: Mapping[int, float]) -> list[Figure]:
    return [_latency(f"{name}: p{one}", seen, one, aims.get(one)) for one in (50, 95, 99)]


def _latency(name: str, seen: Seen, percent: int, aim: float | None) -> Figure:
    parts = {side: timed.percentile(percent) for side, timed in seen.items()}
    return _compare(f"{name}, ms", parts, aim)


def _rate(name: str, seen: Seen, aim: float) -> Figure:
    parts = {side: timed.rate for side, timed in seen.items()}
    return _compare(f"{name}, events/s", parts, aim, at_least=True)


def _compare(
    name: str, parts: Mapping[str, float], aim: float | None = None, *, at_least: bool = False
) -> Figure:
    """Our share of the plain design's, with everybody's own values as parts."""
    return Figure(name, parts[OURS] / parts[PLAIN], "x plain", aim, parts, at_least)


def _prices(sides: Sequence[Side], single: Seen, drained: Seen) -> list[Figure]:
    """Requests and dollars of single events, by the cost page's way of counting."""
    requests, paid = {}, {}
    for side in sides:
        ingest, processing = (seen[side.name].calls_an_event() for seen in (single, drained))
        requests[side.name] = sum(ingest.values()) + sum(processing.values())
        way = Way(
            side.name,
            _priced(ingest),
            _priced(processing),
            at_once=1,
            worked_at_once=side.batch,
            messages=1,
            indexes=LEDGER_INDEXES if side.name == OURS else 0,
        )
        paid[side.name] = sum(dollars(way).values())
    return [
        _compare("requests an event", requests),
        _compare("a million single events, dollars", paid),
    ]


def _priced(calls: Mapping[str, float]) -> dict[str, float]:
    return {name: count for name, count in calls.items() if name in LATENCY_MS}


def _calls(single: Seen, keyed: Seen, drained: Seen) -> Section:
    parts = {"ingest": single, "ingest with a key": keyed, "processing": drained}
    figures = []
    for name in single:
        for part, seen in parts.items():
            calls = seen[name].calls_an_event()
            figures.append(Figure(f"{name}, {part}", sum(calls.values()), "calls", None, calls))
    return Section(CALLS_TITLE, figures, ("Counted by the proxy, which delayed each of them.",))


def _notes(size: Size) -> list[str]:
    return [
        "Ratios to the plain design; the parts are each side's own values.",
        (
            f"Events a side: {size.single} of one client, {size.keyed} with keys, {size.bare} "
            f"without delays, {size.rounds} times {size.crowd} of {CLIENTS} clients, which the "
            "worker then drains."
        ),
        (
            "S3 30.6, SQS 16.1, EventBridge 13.5, DynamoDB 8.4 ms on average (microburst's "
            "presets). Without delays the functions call the emulator directly."
        ),
        "The plain design has no keys: where there are some, its value is that without one.",
        "Dollars by the method of docs/cost.md, in full batches; the peers' tables have no index.",
    ]
