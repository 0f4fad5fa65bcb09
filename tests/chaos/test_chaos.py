"""The short form of `make chaos`: 120 events under every fault, none lost and none doubled.

Its seed is fixed, so that it sends the same and draws the same faults each time; `make chaos` takes
another each time, and so does this with `CHAOS_SEED=<number>`.
"""

import os
from pathlib import Path

import pytest

from tests.chaos.run import run, short_plan, table

pytestmark = [pytest.mark.emulator, pytest.mark.slow]
_SEED, _EVENTS = 7, 120


def test_nothing_is_lost_and_nothing_doubled_under_faults(tmp_path: Path) -> None:
    # Given
    plan = short_plan(int(os.environ.get("CHAOS_SEED") or _SEED), _EVENTS)

    # When
    outcome = run(plan, tmp_path)

    # Then
    shown = table(outcome)
    print(shown)
    assert outcome.is_good, shown
    numbers = {name: number for _, name, number in outcome.rows}
    # It was no fair weather.
    for name in ("throttled", "reset after", "function killed", "visibility expired"):
        assert int(numbers[name]) > 0, shown
    assert int(numbers["PROCESSED"]) > plan.events / 2, shown
    assert outcome.failing_share >= 0.05, shown
