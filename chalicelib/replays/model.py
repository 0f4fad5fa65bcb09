"""A bulk replay: which events it takes, how far it is, and which changes are legal.

Pure values and functions. A replay reads the partitions of an index one after the other, each from
its oldest entry to its newest, so its position is a partition and a list key. Its window closes at
its start, so a replay never matches an event that it makes.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import Any

from msgspec import Struct, field, to_builtins
from msgspec.structs import asdict, astuple, replace

from chalicelib.core import clock
from chalicelib.core.ids import keyed_event_id
from chalicelib.core.paging import NEWEST, OLDEST
from chalicelib.events.model import OPEN, Event, Partition, Record, Status

DEFAULT_RATE, MAX_RATE = 50, 500
"""Events a second."""
ENDS = (Status.FAILED, Status.PROCESSED, Status.REJECTED)
"""The statuses that can be replayed. A replay reads FAILED before PROCESSED: an event may turn from
the first to the second meanwhile, never back, so none slips through between them."""
SCAN_LIMIT = 1_000
"""Entries of an index that one query looks at when it filters them."""
LEASE = timedelta(seconds=90)
"""How long a step belongs to the message that took it: longer than any run of the worker."""
STALLED_AFTER = timedelta(minutes=5)
"""How long a running replay may be without a step before it is shown as stalled: some steps, and
the wait of one that stands back for live traffic."""
_CLOCK_TOLERANCE = timedelta(seconds=1)


class ReplayStatus(StrEnum):
    """Where a bulk replay stands."""

    RUNNING = "RUNNING"
    DONE = "DONE"
    ABORTED = "ABORTED"
    FAILED = "FAILED"


class Decision(StrEnum):
    """What a replay does with an event that the index lists."""

    REPLAY = "replay"
    SKIP = "skip"
    IGNORE = "ignore"


class Selection(Struct, frozen=True, kw_only=True, rename="camel"):
    """The events that a replay takes: received at `start` or later and before `end`; None stands
    for all. Events that are replays themselves are skipped unless `include_replays`."""

    owner: str | None = None
    event_type: str | None = None
    status: Status | None = None
    start: str | None = field(default=None, name="from")
    end: str = field(name="to")
    include_replays: bool = False

    def partitions(self, shards: int) -> list[Partition]:
        """The partitions to read: of the index that leaves least to filter out."""
        rare = self.status not in (None, Status.PROCESSED)
        numbers = range(shards)
        if self.owner is not None and not rare:
            return [Partition("by-owner", f"{self.owner}#{number}", None) for number in numbers]
        statuses = ENDS if self.status is None else (self.status,)
        return [
            Partition("by-status", f"{status}#{number}", status)
            for status in statuses
            for number in numbers
        ]

    def filters(self, partition: Partition) -> dict[str, str]:
        """The attributes by which to filter the entries of a partition."""
        owner = self.owner if partition.index == "by-status" else None
        wanted = {"eventType": self.event_type, "owner": owner}
        return {name: value for name, value in wanted.items() if value is not None}

    def decide(self, record: Record, partition: Partition) -> Decision:
        """Decide about an event that `partition` lists, by its record: the index trails it."""
        if any(status not in (None, record.status) for status in (partition.status, self.status)):
            return Decision.IGNORE
        if record.status in OPEN or (record.replay_of is not None and not self.include_replays):
            return Decision.SKIP
        return Decision.REPLAY


class ReplayTally(Struct, frozen=True):
    """Counts of events. Of those `matched`, `done` were handed to the worker and `failed` could not
    be. `skipped` are still open, or replays themselves."""

    matched: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: "ReplayTally") -> "ReplayTally":
        return ReplayTally(*map(sum, zip(astuple(self), astuple(other), strict=True)))


class Replay(Struct, frozen=True):
    """A bulk replay as it is stored. `version` counts its writes. `holder` is the message that took
    the present step, at `held_at`; the step is due at `due_at`. `order` is the hash of the request,
    by which a repeat is recognized."""

    replay_id: str
    owner: str
    selection: Selection
    rate: int
    shards: int
    order: str
    started_at: str
    updated_at: str
    status: ReplayStatus = ReplayStatus.RUNNING
    version: int = 0
    step: int = 0
    holder: str | None = None
    held_at: str | None = None
    due_at: str | None = None
    partition: int = 0
    after: str = OLDEST
    tally: ReplayTally = ReplayTally()
    restarts: int = 0
    finished_at: str | None = None
    last_failure: Mapping[str, str] | None = None

    @property
    def is_running(self) -> bool:
        return self.status is ReplayStatus.RUNNING

    def is_free(self, message_id: str, now: datetime) -> bool:
        """Whether a message may take the present step: no other message holds it, or its lease
        is over."""
        if self.holder in (None, message_id) or self.held_at is None:
            return True
        return clock.from_text(self.held_at) <= now - LEASE

    def handed_on(self, now: datetime, delay: int) -> "Replay":
        """The replay at its next step, which is due in `delay` seconds."""
        return replace(
            self,
            step=self.step + 1,
            holder=None,
            held_at=None,
            due_at=clock.to_text(now + timedelta(seconds=delay)),
            updated_at=clock.to_text(now),
        )

    def seconds_until_due(self, now: datetime) -> int:
        """The seconds until the present step is due, 0 when it is. A message that `restart_replays`
        sent may come early."""
        if self.due_at is None:
            return 0
        wait = clock.from_text(self.due_at) - now - _CLOCK_TOLERANCE
        return max(ceil(wait.total_seconds()), 0)

    def is_stalled(self, now: datetime) -> bool:
        """Whether it should be running, and has not taken a step for `STALLED_AFTER`."""
        return self.is_running and clock.from_text(self.updated_at) <= now - STALLED_AFTER

    def ended(self, status: ReplayStatus, now: str) -> "Replay":
        """The replay at its end."""
        return replace(self, status=status, finished_at=now, updated_at=now)

    @property
    def bounds(self) -> tuple[str, str]:
        """(from, to): the list keys of the present partition that are still to be read."""
        has_begun = self.after != OLDEST
        start = f"{self.after}{NEWEST}" if has_begun else self.selection.start or OLDEST
        return start, self.selection.end

    def progress(self) -> float:
        """About how much is done, 0 to 1, as if events were spread evenly over the partitions and
        over time."""
        if self.status is ReplayStatus.DONE:
            return 1.0
        share = 0.0
        if self.selection.start is not None and self.after != OLDEST:
            start, end, at = (
                clock.from_text(text).timestamp()
                for text in (self.selection.start, self.selection.end, self.after.split("#")[0])
            )
            share = (at - start) / (end - start) if end > start else 0.0
        partitions = len(self.selection.partitions(self.shards))
        return min((self.partition + min(max(share, 0.0), 1.0)) / partitions, 1.0)

    def to_dict(self, now: datetime) -> dict[str, Any]:
        """The replay as `GET /replays/{id}` shows it."""
        last = now if self.finished_at is None else clock.from_text(self.finished_at)
        seconds = max((last - clock.from_text(self.started_at)).total_seconds(), 0.001)
        progress = self.progress()
        is_stalled = self.is_stalled(now)
        left = None
        if self.is_running and not is_stalled and progress > 0:
            left = round(seconds * (1 - progress) / progress)
        return {
            "id": self.replay_id,
            "status": self.status,
            "stalled": is_stalled,
            "filter": to_builtins(self.selection),
            "rate": self.rate,
            **asdict(self.tally),
            "eventsPerSecond": round(self.tally.matched / seconds, 1),
            "progress": round(progress, 4),
            "estimatedSecondsLeft": left,
            "startedAt": self.started_at,
            "updatedAt": self.updated_at,
            "finishedAt": self.finished_at,
            "lastFailure": self.last_failure,
        }


def replayed_event(before: Event, replay: Replay, now: str) -> Event:
    """The event that a bulk replay makes of another, with the same id however often it is made. It
    is received after the window, even if the worker's clock is behind that of the API."""
    event_id = keyed_event_id(before.owner, f"{replay.replay_id}\0{before.event_id}", kind="replay")
    return replace(before, event_id=event_id, received_at=max(now, replay.selection.end))


def lineage(before: Record, replay: Replay) -> str:
    """The detail of a replayed event's first step. It names the status of the event, by which a
    replay counts an event once that changes its status and is listed twice."""
    return f"replay of {before.event.event_id} ({before.status}) by {replay.replay_id}"
