"""`make bench`: measures, prints tables, writes `benchmarks/results/`.

`python -m benchmarks PART...` measures some parts alone, and puts them into the results of the day
if there are any. Exits with 1 when a figure is beyond its aim.
"""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import archive, cold_start, deliveries, growth, report, speed, yardstick
from benchmarks.counting import RequestCounter
from benchmarks.driver import Driver
from benchmarks.growth import ReadMeter
from benchmarks.requests_made import RequestBench
from benchmarks.workspace import emulator, workspace
from local.console import say, step
from local.layout import Layout

RESULTS = Path(__file__).parent / "results"
PARTS = ("requests", "cold-start", "archive", "speed", "deliveries", "yardstick", "growth")
_TOOLS = ("chalice", "botocore", "ministack", "microburst", "aws-lambda-powertools")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything, or what is named; returns the exit status."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument(
        "--entries", type=int, default=growth.MANY, help="of the larger ledger in `growth`"
    )
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if asked.entries <= growth.FEW:
        parser.error(f"--entries has to be more than {growth.FEW}")
    sections = measure(asked.parts or PARTS, asked.entries)
    say("")
    for section in sections:
        say(report.to_text(section))
    done = report.Report(
        date=datetime.now(UTC).date().isoformat(),
        machine=machine(),
        versions={"Python": platform.python_version(), **{name: version(name) for name in _TOOLS}},
        sections=sections,
    )
    keep(done, whole=not asked.parts)
    for figure in done.missed:
        say(f"aim missed: {figure.name}")
    return 1 if done.missed else 0


def keep(done: report.Report, *, whole: bool) -> None:
    """Write the results of a whole run; put those of a part among the same day's."""
    if not whole:
        today = RESULTS / f"{done.date}.json"
        if not today.is_file():
            say("not written: there are no results of a whole run of today")
            return
        done = report.with_part(report.read(today), done)
    for path in report.write(done, RESULTS):
        say(f"written: {path.relative_to(RESULTS.parent.parent)}")


def measure(parts: Sequence[str], entries: int) -> list[report.Section]:
    """Measure the parts, on emulators and copies of the application made for them."""
    sections: list[report.Section] = []
    if set(parts) - {"yardstick"}:
        with workspace() as layout:
            sections += _in_process(layout, parts, entries)
    if "yardstick" in parts:
        # Of its own, for its emulator is to hold nothing else.
        with workspace() as layout, emulator(layout), step("yardstick"):
            sections += yardstick.measure(layout)
    return sections


def _in_process(layout: Layout, parts: Sequence[str], entries: int) -> list[report.Section]:
    sections: list[report.Section] = []
    counter, meter = RequestCounter(), ReadMeter()
    counter.install()
    meter.install()
    with emulator(layout):
        driver = Driver(os.environ["EVENTS_QUEUE_ARN"])
        if "requests" in parts:
            with step("requests an event"):
                sections += RequestBench(driver, counter, os.environ["TOKENS_TABLE"]).measure()
        if "speed" in parts:
            with step("speed"):
                sections.append(speed.measure(driver))
        if "deliveries" in parts:
            with step("deliveries"):
                sender = Driver(os.environ["DELIVERIES_QUEUE_ARN"], "deliver")
                sections.append(deliveries.measure(driver, sender, counter))
        if "growth" in parts:
            with step(f"a ledger of {growth.FEW:,} and of {entries:,} entries"):
                sections.append(growth.measure(driver, counter, meter, many=entries))
            with step("sweeps of events of today"):
                sections.append(growth.measure_sweep(driver, counter, meter))
    if {"archive", "cold-start"} & set(parts):
        with step("the deployment archive"):
            packed = archive.build(layout)
            sections.append(archive.measure(packed))
        if "cold-start" in parts:
            with step(f"cold start, {cold_start.ROUNDS} rounds"):
                sections.append(cold_start.measure(layout, packed))
    return sections


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
