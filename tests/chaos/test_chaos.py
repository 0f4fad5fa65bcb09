"""The short form of `make chaos`: 500 events under every fault, none lost and none doubled."""

import os
import random
from pathlib import Path

import pytest

from tests.chaos.run import Plan, run, table

pytestmark = [pytest.mark.emulator, pytest.mark.slow]


def test_nothing_is_lost_and_nothing_doubled_under_faults(tmp_path: Path) -> None:
    # Given
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(10**6))
    plan = Plan(events=400, seed=seed, clients=6, pace=1.5, quiet_seconds=240)

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
