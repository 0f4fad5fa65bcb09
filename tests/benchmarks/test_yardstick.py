"""How the yardstick compares: turns, counts of calls, ratios. The outcome is no test's business."""

import itertools
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import pytest
from microburst import control  # type: ignore[import-untyped]
from microburst.core.pipeline import Microburst  # type: ignore[import-untyped]

from benchmarks import yardstick
from benchmarks.proxy import Calls, NotDelayedError, Proxy, read_calls
from benchmarks.sides import Side, SideError
from benchmarks.yardstick import Size, Timed

INGEST = ("PutObject", "PutItem", "SendMessage")
SMALL = Size(single=40, keyed=20, bare=20, crowd=16, rounds=2)


class FakeProxy:
    """Counts what the fake sides call; those of `leaving` pass undelayed."""

    def __init__(self) -> None:
        self.total = 0
        self.delayed: Counter[str] = Counter()
        self._lock = threading.Lock()

    def pass_on(self, operations: Sequence[str], *, delayed: bool = True) -> None:
        with self._lock:
            self.total += len(operations)
            self.delayed.update(operations if delayed else ())

    def calls(self) -> Calls:
        return Calls(self.total, Counter(self.delayed))


class FakeSide:
    """A side that takes no time, and does what it is told to."""

    def __init__(self, name: str, proxy: FakeProxy, log: list[str]) -> None:
        self.name, self.batch = name, 10
        self.ingest_calls: Sequence[str] = INGEST
        self.work_calls = ("PutObject", "UpdateItem", "PutEvents")
        self.is_delayed, self.end = True, "PROCESSED"
        self.queued = 0
        self.refused: list[object] = []
        self.is_proxied = True
        self._proxy, self._log = proxy, log
        self._ids = itertools.count()

    def check_log(self) -> None:
        self._log.append(f"{self.name} log")

    def ingest(self, body: str, key: str | None = None) -> str:
        assert len(body) > 800
        self._log.append(self.name if key is None else f"{self.name} keyed")
        if self.is_proxied:
            self._proxy.pass_on(self.ingest_calls, delayed=self.is_delayed)
        self.queued += 1
        return f"{self.name}-{next(self._ids)}"

    def purge(self) -> None:
        self.queued = 0

    def drain(self) -> float:
        self._log.append(f"{self.name} drains {self.queued}")
        self._proxy.pass_on(self.work_calls * self.queued)
        self.queued = 0
        return 0.5

    def call_through(self, url: str | None) -> None:
        assert url is None
        self.is_proxied = False

    def status(self, event_id: str) -> str:
        assert event_id.startswith(self.name)
        return self.end


class Rig:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.proxy = FakeProxy()
        self.sides = [
            FakeSide(name, self.proxy, self.log) for name in ("Eventline", "plain", "Powertools")
        ]

    def measure(self) -> list[Any]:
        sides, proxy = cast("list[Side]", self.sides), cast("Proxy", self.proxy)
        return list(yardstick._Yardstick(sides, proxy, SMALL).measure())


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_every_side_gives_each_figure_and_its_share_of_the_plain_design(rig: Rig) -> None:
    rig.sides[0].ingest_calls = ("PutItem", "SendMessage")

    table, calls = rig.measure()

    figures = {figure.name: figure for figure in table.figures}
    assert len(figures) == len(table.figures)
    assert all(list(one.parts) == ["Eventline", "plain", "Powertools"] for one in table.figures)
    for figure in table.figures:
        assert figure.value == pytest.approx(figure.parts["Eventline"] / figure.parts["plain"])
    assert figures["requests an event"].parts == {"Eventline": 5, "plain": 6, "Powertools": 6}
    assert figures["worker drains, events/s"].parts["plain"] == pytest.approx(16 * 2 / 1.0)
    paid = figures["a million single events, dollars"].parts
    assert paid["Eventline"] != paid["plain"] == paid["Powertools"] > 1
    assert {one.name: one.parts for one in calls.figures}["Eventline, ingest"] == {
        "PutItem": 1, "SendMessage": 1,
    }  # fmt: skip


def test_the_aims_are_those_of_the_design(rig: Rig) -> None:
    table, _ = rig.measure()

    aims = {one.name: (one.aim, one.at_least) for one in table.figures if one.aim is not None}
    assert aims == {
        "ingest, 1 client: p50, ms": (0.6, False),
        "ingest, 1 client: p99, ms": (0.8, False),
        "ingest with a key, 1 client: p50, ms": (0.7, False),
        "ingest without delays, 1 client: p50, ms": (0.9, False),
        "ingest, 8 clients, events/s": (1.3, True),
        "worker drains, events/s": (4, True),
    }


def test_sides_take_turns_and_each_is_first_in_its_turn(rig: Rig) -> None:
    rig.measure()

    asked = [entry for entry in rig.log if " " not in entry]
    turns = [name for name, _ in itertools.groupby(asked[3 * 80 : 3 * 80 + 3 * 40])]
    # The end of a round may be the start of the next one: 20, 20, 20, then from the second on.
    assert turns == ["Eventline", "plain", "Powertools", "plain", "Powertools", "Eventline"]


def test_the_worker_drains_what_the_crowd_left_and_nothing_else(rig: Rig) -> None:
    rig.measure()

    drained = [entry.partition(" drains ")[2] for entry in rig.log if " drains " in entry]
    assert drained == ["80"] * 3 + ["16"] * 6


def test_each_side_is_warm_and_logs_before_it_is_timed(rig: Rig) -> None:
    rig.measure()

    for side in rig.sides:
        assert rig.log.index(f"{side.name} log") >= 80
        assert rig.log[: rig.log.index(f"{side.name} log")].count(side.name) == 80


@pytest.mark.parametrize("number", range(3))
def test_a_side_that_leaves_the_proxy_stops_the_bench(rig: Rig, number: int) -> None:
    rig.sides[number].is_delayed = False

    with pytest.raises(NotDelayedError):
        rig.measure()


def test_a_side_that_calls_aws_behind_the_proxys_back_stops_the_bench(rig: Rig) -> None:
    rig.sides[1].ingest_calls = ("PutItem",)

    with pytest.raises(SideError, match="plain made"):
        rig.measure()


def test_a_side_that_leaves_events_undone_stops_the_bench(rig: Rig) -> None:
    rig.sides[2].end = "ENQUEUED"

    with pytest.raises(SideError, match="Powertools left Powertools-"):
        rig.measure()


def test_percentiles_lie_between_the_fastest_and_the_slowest() -> None:
    timed = Timed([float(number) for number in range(1, 102)])

    assert [timed.percentile(one) for one in (50, 95, 99)] == [51, 96, 100]


def test_calls_are_read_from_the_metrics_of_the_published_proxy() -> None:
    burst = Microburst("http://127.0.0.1:9", resign=False)
    burst.requests_seen = 7
    burst.fault_counts.update({("s3", "PutObject", "latency"): 4, ("sqs", "SendMessage", "x"): 2})
    text = control._metrics(burst).text

    assert text is not None
    assert read_calls(text) == Calls(7, Counter(PutObject=4, SendMessage=2))


def test_calls_of_a_block_are_those_after_its_start() -> None:
    before, after = Calls(3, Counter(PutItem=3)), Calls(5, Counter(PutItem=4, PutObject=1))

    assert after.since(before) == {"PutItem": 1, "PutObject": 1}
    with pytest.raises(NotDelayedError, match="2 of 3"):
        Calls(6, after.delayed).since(before)


def test_answers_that_were_errors_are_told_of(rig: Rig) -> None:
    rig.sides[1].refused.append({"statusCode": 503})

    table, _ = rig.measure()

    assert any("{'plain': 1}" in note for note in table.notes)
