"""Values of recovery: the dead-letter queues, a comparison of the stores, a scan of bronze.

Comparison and scan may take several runs; between them they are checkpoints, mappings of texts.
"""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from msgspec import Struct, convert, field, to_builtins

from chalicelib.core import clock
from chalicelib.events.model import Status

ERROR_CLASSES = ("permanent", "transient", "unknown", "stuck")
"""The classes of `lastError`: of failed attempts, and of events that reconcile gave up."""
QUEUES = (
    "events-dlq",
    "ci-events-dlq",
    "uploads-dlq",
    "notifications-dlq",
    "bus-dlq",
    "deliveries-dlq",
)
(
    EVENTS_QUEUE,
    ALERTS_QUEUE,
    UPLOADS_QUEUE,
    NOTIFICATIONS_QUEUE,
    BUS_QUEUE,
    DELIVERIES_QUEUE,
) = QUEUES
WHY_NOT: Mapping[str, str] = {
    UPLOADS_QUEUE: "no queue feeds record_upload: invoke it with the message, see the runbook",
    NOTIFICATIONS_QUEUE: "a stream takes no record back: see the runbook",
    BUS_QUEUE: "the bus takes no entry back: replay the event, see the runbook",
}
"""Why the messages of a queue cannot be redriven."""
FOREIGN = "it is a foreign message, which no worker can read"
EXAMPLES = 50
"""How many events of each difference a report names; all are counted, and logged."""
MADE_AGAIN, NOT_MADE, WITHDRAWN = "silverMadeAgain", "silverNotMade", "silverWithdrawn"


class Phase(StrEnum):
    """What a comparison goes through, in this order."""

    BRONZE = "bronze"
    LEDGER = "ledger"
    SILVER = "silver"
    DONE = "done"


class Difference(StrEnum):
    """What a comparison can find."""

    BRONZE_WITHOUT_LEDGER = "bronzeWithoutLedger"
    """A payload without an entry in the ledger; the entry was made again, and the event sent."""
    LEDGER_WITHOUT_BRONZE = "ledgerWithoutBronze"
    """An event whose payload is gone. Only an older version of the object can bring it back."""
    SILVER_MISSING = "silverMissing"
    """A PROCESSED event whose document, or whose line in its unit's file, was gone."""
    SILVER_WITHOUT_LEDGER = "silverWithoutLedger"
    """A document of an event that neither the ledger nor bronze has."""
    SILVER_NOT_PROCESSED = "silverNotProcessed"
    """A document of an event that has not been PROCESSED for long."""
    SILVER_ELSEWHERE = "silverElsewhere"
    """A document beside the one that the ledger points to, which is taken out of its file."""


class Comparison(Struct, rename={"scan": "sweep"}):
    """A comparison: when the full scan began that it follows, its window (`since` and `until`, ISO
    8601 texts), and the last key seen in its phase. Counts have the names of the report."""

    scan: str = ""
    begun: str = ""
    since: str = ""
    until: str = ""
    phase: Phase = Phase.DONE
    position: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, scan: str, until: str, now: datetime, days: int) -> "Comparison":
        """A new one, of events received on the last `days` days and up to `until`."""
        first = (now - timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return cls(scan, clock.to_text(now), clock.to_text(first), until, Phase.BRONZE)

    @classmethod
    def from_state(cls, state: Mapping[str, str]) -> "Comparison":
        """The inverse of `to_state`; an empty mapping is one that is done."""
        tallies = json.loads(state.get("tallies", "{}"))
        return convert({**state, **tallies}, cls, dec_hook=lambda kind, value: kind(value))

    def to_state(self) -> dict[str, str]:
        """The checkpoint, at most some 20 KB."""
        state = to_builtins(self)
        tallies = {name: state.pop(name) for name in ("counts", "examples")}
        return {**state, "tallies": json.dumps(tallies)}

    def days(self) -> list[datetime]:
        """The days of its window, in order."""
        first, last = clock.from_text(self.since), clock.from_text(self.until)
        return [first + timedelta(days=n) for n in range(max((last - first).days, 0) + 1)]

    def advance(self) -> None:
        """Go on to the next phase."""
        phases = list(Phase)
        self.phase = phases[phases.index(self.phase) + 1]
        self.position = ""

    def differ(self, difference: Difference, event_id: str) -> None:
        """Count a difference."""
        self.counts[difference] += 1
        named = self.examples.setdefault(difference, [])
        if len(named) < EXAMPLES:
            named.append(event_id)

    def differences(self) -> dict[str, int]:
        """How often each difference was found, and how many documents were made again, not made,
        or withdrawn."""
        names = (*Difference, MADE_AGAIN, NOT_MADE, WITHDRAWN)
        return {str(name): self.counts[name] for name in names}

    def unrepaired(self) -> int:
        """How many differences remain."""
        repaired = (Difference.BRONZE_WITHOUT_LEDGER, Difference.SILVER_MISSING, MADE_AGAIN)
        found = self.differences()
        left = sum(n for name, n in found.items() if name not in (*repaired, WITHDRAWN))
        return left - found[WITHDRAWN]

    def report(self, ended: str, stage: str) -> dict[str, Any]:
        """The report; `clean` when no difference remains."""
        return {
            "stage": stage,
            "begun": self.begun,
            "ended": ended,
            "runs": self.counts["runs"],
            "window": {"from": self.since, "to": self.until},
            "bronze": self._counts("bronze", "events", "units", "refusedUnits", "foreign"),
            "ledger": self._counts("ledger", *Status),
            "silver": self._counts("silver", "documents", "units", "foreign"),
            "differences": self.differences(),
            "examples": self.examples,
            "clean": self.unrepaired() == 0,
        }

    def _counts(self, store: str, *names: str) -> dict[str, int]:
        return {str(name): self.counts[f"{store}.{name}"] for name in names}


class Scan(Struct, frozen=True):
    """A scan of bronze for orphans. `position` is the last key seen, empty between scans. It looks
    at objects last modified up to `until`. `full_at` is when it began. Times are ISO 8601 texts."""

    position: str = ""
    until: str = ""
    full_at: str = ""

    def started(self, now: datetime, settled_for: timedelta, every: timedelta | None) -> "Scan":
        """The scan to go on with: this one, or the next if that is due, `every` so often; None
        starts one now, whatever is under way. It leaves out objects younger than `settled_for`.
        """
        is_due = not self.full_at or every is None
        is_due = is_due or (every is not None and clock.from_text(self.full_at) <= now - every)
        if every is not None and (self.position or not is_due):
            return self
        return Scan(until=clock.to_text(now - settled_for), full_at=clock.to_text(now))

    def covers(self, modified: datetime) -> bool:
        """Whether the scan looks at an object last modified then."""
        return clock.to_text(modified) <= self.until


def report_key(ended: str) -> str:
    """`reports/reconcile/<yyyy-mm-dd>/<hhmmss.mmm>Z.json`."""
    return f"reports/reconcile/{ended[:10]}/{ended[11:].replace(':', '')}.json"
