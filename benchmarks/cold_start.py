"""Cold start: importing `app.py` and making its clients, against the least that could do."""

import os
import statistics
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.report import Figure, Section
from benchmarks.workspace import stage_variables
from local.layout import REGION, Layout

AIM = 1.2
ROUNDS = 15
_TIMED = """
import time
start = time.perf_counter()
{}
print(time.perf_counter() - start)
"""
_FLOOR = """
import chalice
from botocore.session import Session
session = Session()
clients = [session.create_client(name, region_name="us-east-1") for name in
           ("dynamodb", "s3", "sqs")]
"""
_IMPORT = "import app"
# Makes the three clients that the floor makes, by the application's own way.
_FIRST_USE = "import app; from chalicelib import wiring; wiring.ingest()"
PROGRAMS = {
    "the floor: chalice and three botocore clients": _FLOOR,
    "import app, and its three clients": _FIRST_USE,
    "import app alone": _IMPORT,
}


def measure(layout: Layout, archive: Path) -> Section:
    """Time each program in processes of its own, by turns; seconds are medians of `ROUNDS`.

    Three times: with Python's bytecode cached, as on a machine that ran it before; from the
    unpacked archive, as in Lambda, which can cache nothing; and from that without its bytecode.
    """
    unpacked, stripped = layout.home / "unpacked", layout.home / "stripped"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(unpacked)
        names = opened.namelist()
        opened.extractall(stripped, [name for name in names if not name.endswith(".pyc")])
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **stage_variables(layout),
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
    }
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    uncached = {**environ, "PYTHONDONTWRITEBYTECODE": "1"}
    figures = [
        *_compare("with bytecode", layout.project, environ, AIM),
        *_compare("as in Lambda", unpacked, uncached, AIM),
        *_compare("without bytecode", stripped, uncached, None),
    ]
    return Section(
        "Cold start",
        figures,
        (
            f"Medians of {ROUNDS} processes each, by turns. Python's own start is not in it.",
            (
                "As in Lambda: from the unpacked archive, which has the bytecode of what importing "
                "app runs; that of botocore, which the runtime brings, is there in all three."
            ),
        ),
    )


def _compare(
    label: str, folder: Path, environ: Mapping[str, str], aim: float | None
) -> list[Figure]:
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    # The first round fills the caches of the file system, and that of bytecode if there is one.
    for number in range(ROUNDS + 1):
        for name, program in PROGRAMS.items():
            took = _run(program, folder, environ)
            if number:
                seconds[name].append(took)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    floor, first_use, _ = medians.values()
    return [
        *(Figure(f"{label}: {name}", value * 1000, "ms") for name, value in medians.items()),
        Figure(f"{label}: ratio to the floor", first_use / floor, "", aim),
    ]


def _run(program: str, folder: Path, environ: Mapping[str, str]) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _TIMED.format(program)],
        cwd=folder,
        env=dict(environ),
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)
