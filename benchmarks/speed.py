"""Time of one client's calls on this machine: a check for blunders, not a figure for AWS."""

import statistics
import time
from collections.abc import Callable
from functools import partial

from benchmarks.driver import Driver
from benchmarks.report import Figure, Section
from benchmarks.requests_made import BATCH

_NOTE = (
    "The functions run in the benchmark's process and call the emulator on loopback: no API "
    "Gateway, no authorizer, no network. AWS's own latencies come on top."
)
_EVENTS = 200
_WARM_UP = 20


def measure(driver: Driver) -> Section:
    """Time ingest one by one and processing in batches, in this process, against the emulator."""
    for _ in range(_WARM_UP):
        driver.ingest("bench.speed")
    sends = [_timed(lambda: driver.ingest("bench.speed")) for _ in range(_EVENTS)]
    batches = []
    for _ in range((_WARM_UP + _EVENTS) // BATCH):
        records = driver.receive(BATCH)
        batches.append(_timed(partial(driver.process, records)))
        driver.settle(records)
    return Section(
        "Speed on this machine, one client",
        [
            Figure("ingest, median", statistics.median(sends), "ms"),
            Figure("ingest, 95th percentile", statistics.quantiles(sends, n=20)[-1], "ms"),
            Figure(f"a batch of {BATCH}, median", statistics.median(batches), "ms"),
        ],
        [_NOTE],
    )


def _timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000
