"""A sweep through bronze that may take several runs: where it stands, what it still looks at."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chalicelib.domain import clock

_OVERLAP = timedelta(minutes=1)
"""S3 gives whole seconds, and clocks differ: so much is looked at again."""


@dataclass(frozen=True)
class Sweep:
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
        return cls(**{name: saved[name] for name in vars(cls()) if name in saved})

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
