"""`make bench`: measures, prints tables, writes `benchmarks/results/`.

Exits with 1 when a figure is beyond its aim.
"""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import archive, cold_start, report, speed
from benchmarks.counting import RequestCounter
from benchmarks.driver import Driver
from benchmarks.requests_made import RequestBench
from benchmarks.workspace import emulator, workspace
from local.console import say, step

RESULTS = Path(__file__).parent / "results"
_TOOLS = ("chalice", "botocore", "ministack")


def main() -> int:
    """Run everything; returns the exit status."""
    sections = measure()
    done = report.Report(
        date=datetime.now(UTC).date().isoformat(),
        machine=machine(),
        versions={"Python": platform.python_version(), **{name: version(name) for name in _TOOLS}},
        sections=sections,
    )
    say("")
    for section in sections:
        say(report.to_text(section))
    for path in report.write(done, RESULTS):
        say(f"written: {path.relative_to(RESULTS.parent.parent)}")
    for figure in done.missed:
        say(f"aim missed: {figure.name}")
    return 1 if done.missed else 0


def measure() -> list[report.Section]:
    """Take all measurements, on an emulator and a copy of the application made for them."""
    counter = RequestCounter()
    counter.install()
    with workspace() as layout:
        with emulator(layout):
            driver = Driver(os.environ["EVENTS_QUEUE_ARN"])
            with step("requests an event"):
                requests = RequestBench(driver, counter, os.environ["TOKENS_TABLE"]).measure()
            with step("speed"):
                timed = speed.measure(driver)
        with step("the deployment archive"):
            packed = archive.build(layout)
            size = archive.measure(packed)
        with step(f"cold start, {cold_start.ROUNDS} rounds"):
            started = cold_start.measure(layout, packed)
    return [*requests, started, size, timed]


def machine() -> dict[str, str]:
    """What figures of time depend on."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "CPUs": str(os.cpu_count()),
        "memory": f"{pages / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
    }


if __name__ == "__main__":
    sys.exit(main())
