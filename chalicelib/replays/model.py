"""A bulk replay: which events it takes, how far it has come, and what is legal next.

Pure values and functions. A replay goes through the partitions of an index, one after the other,
each from its oldest entry to its newest, so a position is a partition and a list key. Its window is
closed at its start, so nothing that it makes is ever matched by it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from chalicelib.core import clock
from chalicelib.core.ids import keyed_event_id
from chalicelib.core.paging import NEWEST, OLDEST
from chalicelib.events.model import OPEN, Event, Partition, Record, Status

DEFAULT_RATE, MAX_RATE = 50, 500
"""Events a second."""
ENDS = (Status.FAILED, Status.PROCESSED, Status.REJECTED)
"""What can be replayed. FAILED is gone through before PROCESSED: an event may turn from the first
to the second meanwhile, never back, so none slips through between them."""
LEASE = timedelta(seconds=90)
"""How long a step belongs to the message that took it: longer than any run of the worker."""
_TOLERANCE = timedelta(seconds=1)
"""Clocks differ."""


class ReplayStatus(StrEnum):
    """Where a bulk replay stands."""

    RUNNING = "RUNNING"
    DONE = "DONE"
    ABORTED = "ABORTED"
    FAILED = "FAILED"


class Selection(Struct, frozen=True):
    """The events that a replay takes: received at `start` or later and before `end`. None stands
    for all. What is itself a replay is left out unless `with_replays`."""

    owner: str | None
    event_type: str | None
    status: Status | None
    start: str | None
    end: str
    with_replays: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The selection as answers show it, and as it is stored."""
        return {
            "owner": self.owner,
            "eventType": self.event_type,
            "status": None if self.status is None else str(self.status),
            "from": self.start,
            "to": self.end,
            "includeReplays": self.with_replays,
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "Selection":
        """The inverse of `to_dict`; what is None may be left out."""
        status = saved.get("status")
        return cls(
            owner=saved.get("owner"),
            event_type=saved.get("eventType"),
            status=None if status is None else Status(status),
            start=saved.get("from"),
            end=saved["to"],
            with_replays=saved.get("includeReplays", False),
        )

    def partitions(self, shards: int) -> list["Partition"]:
        """Where to look: the index that leaves least to filter out, see `event_index`."""
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

    def verdict(self, record: Record, partition: "Partition") -> "Verdict":
        """What is to be done with an event that `partition` lists: the index trails the ledger."""
        if partition.status not in (None, record.status) or self.status not in (
            None,
            record.status,
        ):
            return Verdict.NOT_MEANT
        if record.status in OPEN or (record.replay_of is not None and not self.with_replays):
            return Verdict.SKIPPED
        return Verdict.MATCHED


class Verdict(StrEnum):
    """What a replay does with an event."""

    MATCHED = "matched"
    SKIPPED = "skipped"
    NOT_MEANT = "not meant"


class Tally(Struct, frozen=True):
    """What became of events: `matched` are those that the replay is for, of which `done` were
    handed to the worker and `failed` could not be. `skipped` were left out: still open, or replays
    themselves."""

    matched: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(**{name: value + getattr(other, name) for name, value in asdict(self).items()})


class Replay(Struct, frozen=True):
    """A bulk replay as it is kept. `version` counts its writes; `holder` is the message that has
    taken the present step, at `held_at`, which is not to be before `due_at`. `order` is the hash of
    what was asked for, to tell a repeat by."""

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
    tally: Tally = Tally()
    restarts: int = 0
    finished_at: str | None = None
    last_failure: Mapping[str, str] | None = None

    def is_free(self, message_id: str, now: datetime) -> bool:
        """Whether a message may take the present step: nobody has, it has itself, or whoever had
        taken it is gone."""
        if self.holder in (None, message_id) or self.held_at is None:
            return True
        return clock.from_text(self.held_at) <= now - LEASE

    def taken(self, message_id: str, now: str) -> "Replay":
        """The replay, its present step taken by a message."""
        return replace(self, holder=message_id, held_at=now, updated_at=now)

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

    def early(self, now: datetime) -> int:
        """The seconds until the present step is due; 0 when it is. Its own message comes in time,
        but another for it may be there before."""
        if self.due_at is None:
            return 0
        return max(ceil((clock.from_text(self.due_at) - now - _TOLERANCE).total_seconds()), 0)

    def ended(self, status: ReplayStatus, now: str) -> "Replay":
        """The replay at its end."""
        return replace(self, status=status, finished_at=now, updated_at=now)

    @property
    def bounds(self) -> tuple[str, str]:
        """(from, to): list keys between which the present partition is still to be gone through."""
        start = self.selection.start or OLDEST
        begun = self.after != OLDEST
        return (f"{self.after}{NEWEST}" if begun else start), self.selection.end

    def progress(self) -> float:
        """About how much is done, 0 to 1: events are spread evenly over partitions, and taken to be
        over time."""
        if self.status is ReplayStatus.DONE:
            return 1.0
        partitions = len(self.selection.partitions(self.shards))
        within = 0.0
        if self.selection.start is not None and self.after != OLDEST:
            start, end, at = (
                clock.from_text(text).timestamp()
                for text in (self.selection.start, self.selection.end, self.after.split("#")[0])
            )
            within = (at - start) / (end - start) if end > start else 0.0
        return min((self.partition + min(max(within, 0.0), 1.0)) / partitions, 1.0)

    def to_dict(self, now: datetime) -> dict[str, Any]:
        """The replay as `GET /replays/{id}` shows it."""
        last = now if self.finished_at is None else clock.from_text(self.finished_at)
        seconds = max((last - clock.from_text(self.started_at)).total_seconds(), 0.001)
        progress = self.progress()
        runs = self.status is ReplayStatus.RUNNING
        left = round(seconds * (1 - progress) / progress) if runs and progress > 0 else None
        return {
            "id": self.replay_id,
            "status": str(self.status),
            "filter": self.selection.to_dict(),
            "rate": self.rate,
            **asdict(self.tally),
            "eventsPerSecond": round(self.tally.matched / seconds, 1),
            "progress": round(progress, 4),
            "estimatedSecondsLeft": left,
            "startedAt": self.started_at,
            "updatedAt": self.updated_at,
            "finishedAt": self.finished_at,
            "lastFailure": None if self.last_failure is None else dict(self.last_failure),
        }


def replayed_event(before: Event, replay: Replay, now: str) -> Event:
    """The event that a bulk replay makes of another: the same one, however often it is made. It is
    received after the window, even if the worker's clock is behind that of the API."""
    event_id = keyed_event_id(before.owner, f"{replay.replay_id}\0{before.event_id}", kind="replay")
    return replace(before, event_id=event_id, received_at=max(now, replay.selection.end))


def lineage(before: Record, replay: Replay) -> str:
    """What the first step of a replayed event says. An event that changes its status while it is
    replayed may be met twice; by this it is told which time it was counted."""
    return f"replay of {before.event.event_id} ({before.status}) by {replay.replay_id}"
