"""What `make up` and `make smoke` print: a line a step, with the time it took."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_TICK_SECONDS = 5.0


def say(text: str = "") -> None:
    """Print a line at once."""
    _write(f"{text}\n")


def _write(text: str) -> None:
    # A terminal that was closed, or a reader that left, must not keep a stop from finishing.
    with contextlib.suppress(OSError):
        sys.stdout.write(text)
        sys.stdout.flush()


def elapsed(seconds: float) -> str:
    """A duration for people: "0.3 s", "1 min 05 s"."""
    if seconds < 60:  # noqa: PLR2004 (seconds in a minute)
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


class FailedError(Exception):
    """Raised when a step cannot be done; its text tells a person what to do about it."""


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print `name`, a sign of life every few seconds while the block runs, and how it ended."""
    started = time.monotonic()
    done = threading.Event()
    terminal = sys.stdout.isatty()

    def tick() -> None:
        while not done.wait(_TICK_SECONDS):
            text = f"    {name} ... {elapsed(time.monotonic() - started)}"
            _write(f"\r{text}" if terminal else f"{text}\n")

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    outcome = "failed"
    try:
        yield
        outcome = "ok"
    finally:
        done.set()
        ticker.join()
        start = "\r\033[K" if terminal else ""
        say(f"{start}  {outcome:<6} {name} ({elapsed(time.monotonic() - started)})")
