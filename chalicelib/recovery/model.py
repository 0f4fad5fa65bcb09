"""Dead letters: events that are FAILED, and messages that lie in the dead-letter queues.

A comparison of the ledger, bronze and silver: how far it has come, and what it has found.

It may take several runs; between them it is kept as texts (`to_state`). Names of counts are those
of the report that comes out of it.

A sweep through bronze that may take several runs: where it stands, what it still looks at.
"""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from chalicelib.core import clock
from chalicelib.events.model import Status

ERROR_CLASSES = ("permanent", "transient", "unknown", "stuck")
"""The classes of `lastError`: those of failed attempts, and that of what reconcile gave up."""
QUEUES = ("events-dlq", "ci-events-dlq", "uploads-dlq", "notifications-dlq")
EVENTS_QUEUE, ALERTS_QUEUE = QUEUES[:2]
UPLOADS_QUEUE, NOTIFICATIONS_QUEUE = QUEUES[2:]
WHY_NOT: Mapping[str, str] = {
    UPLOADS_QUEUE: "no queue feeds record_upload: invoke it with the message, see the runbook",
    NOTIFICATIONS_QUEUE: "a stream takes no record back: see the runbook",
}
"""Why nothing of a queue can be redriven."""
FOREIGN = "it is no message of this platform, so no worker could read it"


EXAMPLES = 50
"""Of each difference, so many are named in the report; all are counted, and logged."""


class Phase(StrEnum):
    """What is gone through, in this order."""

    BRONZE = "bronze"
    LEDGER = "ledger"
    SILVER = "silver"
    DONE = "done"


class Difference(StrEnum):
    """What can be wrong."""

    BRONZE_WITHOUT_LEDGER = "bronzeWithoutLedger"
    """A payload that the ledger had not heard of; its entry was made again, and it was sent."""
    LEDGER_WITHOUT_BRONZE = "ledgerWithoutBronze"
    """An event whose payload is gone. Nothing can bring it back but a version of the object."""
    SILVER_MISSING = "silverMissing"
    """A PROCESSED event whose document, or whose line in its unit's file, was gone."""
    SILVER_WITHOUT_LEDGER = "silverWithoutLedger"
    """A document of an event that the ledger has not heard of, and bronze neither."""
    SILVER_NOT_PROCESSED = "silverNotProcessed"
    """A document of an event that the ledger has at another end, or at none for long."""
    SILVER_ELSEWHERE = "silverElsewhere"
    """A document beside the one that the ledger points to."""


MADE_AGAIN, NOT_MADE = "silverMadeAgain", "silverNotMade"


class Comparison(Struct):
    """`sweep` is when the full sweep began that it belongs to; `since` and `until` are the window
    (ISO 8601 texts), `position` is the last key seen in its phase."""

    sweep: str = ""
    begun: str = ""
    since: str = ""
    until: str = ""
    phase: Phase = Phase.DONE
    position: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, sweep: str, until: str, now: datetime, days: int) -> "Comparison":
        """A new one, of what was received on the last `days` days and up to `until`."""
        first = (now - timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
        at = clock.to_text(now)
        return cls(sweep, at, clock.to_text(first), until, Phase.BRONZE)

    @classmethod
    def from_state(cls, state: Mapping[str, str]) -> "Comparison":
        """The inverse of `to_state`; an empty mapping is one that is done."""
        if not state:
            return cls()
        tallies = json.loads(state["tallies"])
        return cls(
            state["sweep"],
            state["begun"],
            state["since"],
            state["until"],
            Phase(state["phase"]),
            state["position"],
            Counter(tallies["counts"]),
            tallies["examples"],
        )

    def to_state(self) -> dict[str, str]:
        """All of it as texts, at most some 20 KB."""
        tallies = {"counts": dict(self.counts), "examples": self.examples}
        return {
            "sweep": self.sweep,
            "begun": self.begun,
            "since": self.since,
            "until": self.until,
            "phase": str(self.phase),
            "position": self.position,
            "tallies": json.dumps(tallies),
        }

    def days(self) -> list[datetime]:
        """The days of its window, in order."""
        first, last = clock.from_text(self.since), clock.from_text(self.until)
        return [first + timedelta(days=n) for n in range(max((last - first).days, 0) + 1)]

    def advance(self) -> None:
        """Go on to the next phase."""
        phases = list(Phase)
        self.phase = phases[phases.index(self.phase) + 1]
        self.position = ""

    def differ(self, difference: Difference, name: str) -> None:
        """Note a difference; `name` is an event's id or an object's key."""
        self.counts[difference] += 1
        named = self.examples.setdefault(difference, [])
        if len(named) < EXAMPLES:
            named.append(name)

    def differences(self) -> dict[str, int]:
        """How often each difference was found, and what became of missing documents."""
        names = (*Difference, MADE_AGAIN, NOT_MADE)
        return {str(name): self.counts[name] for name in names}

    def unrepaired(self) -> int:
        """How many differences were not made good."""
        made_good = (Difference.BRONZE_WITHOUT_LEDGER, Difference.SILVER_MISSING, MADE_AGAIN)
        return sum(n for name, n in self.differences().items() if name not in made_good)

    def report(self, ended: str, stage: str) -> dict[str, Any]:
        """What is kept of it. `clean` says that nothing is wrong that was not made good."""
        return {
            "stage": stage,
            "begun": self.begun,
            "ended": ended,
            "runs": self.counts["runs"],
            "window": {"from": self.since, "to": self.until},
            "bronze": {
                name: self.counts[f"bronze.{name}"]
                for name in ("events", "units", "refusedUnits", "foreign")
            },
            "ledger": {str(status): self.counts[f"ledger.{status}"] for status in Status},
            "silver": {
                name: self.counts[f"silver.{name}"] for name in ("documents", "units", "foreign")
            },
            "differences": self.differences(),
            "examples": self.examples,
            "clean": self.unrepaired() == 0,
        }


def report_key(ended: str) -> str:
    """`reports/reconcile/<yyyy-mm-dd>/<hhmmss.mmm>Z.json`."""
    return f"reports/reconcile/{ended[:10]}/{ended[11:].replace(':', '')}.json"


_OVERLAP = timedelta(minutes=1)
"""S3 gives whole seconds, and clocks differ: so much is looked at again."""


class Sweep(Struct, frozen=True):
    """`position` is the last key seen, empty between sweeps. A sweep looks at objects last modified
    after `since` (empty: all, a full sweep) and up to `until`. `full_at` is when the last full
    sweep began. Times are ISO 8601 texts."""

    position: str = ""
    since: str = ""
    until: str = ""
    full_at: str = ""

    @classmethod
    def from_dict(cls, saved: Mapping[str, str]) -> "Sweep":
        """The inverse of `vars`; an empty mapping is a first sweep."""
        return cls(**{name: saved[name] for name in cls.__struct_fields__ if name in saved})

    def started(
        self, now: datetime, settled_for: timedelta, full_every: timedelta | None
    ) -> "Sweep":
        """The sweep to go on with: this one if it stopped half-way, else the next one.

        It leaves alone what is younger than `settled_for`. What the last sweep saw is not looked up
        again until a full sweep is due, `full_every` after the last; None is for a full sweep now,
        whatever was on its way.
        """
        if self.position and full_every is not None:
            return self
        until = clock.to_text(now - settled_for)
        if (
            full_every is None
            or not self.full_at
            or clock.from_text(self.full_at) <= now - full_every
        ):
            return Sweep(until=until, full_at=clock.to_text(now))
        since = clock.to_text(clock.from_text(self.until) - _OVERLAP)
        return replace(self, since=since, until=until)

    def covers(self, modified: datetime) -> bool:
        """Whether an object last modified then is to be looked at."""
        return self.since < clock.to_text(modified) <= self.until

    def at(self, position: str) -> "Sweep":
        """The sweep, stopped at a key; at "", it is through."""
        return replace(self, position=position)
