"""The operator of the platform in memory: bulk replays, their steps, and redrives."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from chalicelib.aws.sqs import Delivery
from chalicelib.aws.threads import in_turn
from chalicelib.core.errors import ConflictError, IdempotencyConflictError
from chalicelib.events.message import ReplayMessage
from chalicelib.events.model import Listing, Status
from chalicelib.events.read import ReadDeps
from chalicelib.recovery.dead_letters import DeadLetterDeps, FailedEvents, redrive_events
from chalicelib.replays.model import Selection
from chalicelib.replays.start import BulkReplayDeps, ReplayOrder, abort, start
from chalicelib.replays.steps import RestartDeps, StepDeps, restart_replays, take_step
from chalicelib.web.callers import Caller
from tests.support.factories import no_schema
from tests.support.fake_lake import FakeLake
from tests.support.fake_queue import FakeQueue
from tests.support.fake_recovery import FakeEventWindow, FakeReplayStore
from tests.support.fake_stores import SHARDS, FakeAws, FakeEventIndex, FakeEventStore

MAX_ATTEMPTS = 5
MAX_RESTARTS = 3
BACKLOG_LIMIT = 1000
OPERATOR = Caller("operator", frozenset({"admin"}), "t")


@dataclass(frozen=True)
class ReplayMany:
    """An operator replays all that came to an end, `rate` events a second."""

    status: Status | None = None
    rate: int = 50
    key: str | None = None
    include_replays: bool = False


@dataclass(frozen=True)
class AbortReplays:
    """An operator aborts all replays that run."""


@dataclass(frozen=True)
class Redrive:
    """An operator takes up again all that is FAILED."""


OperatorJob = ReplayMany | AbortReplays | Redrive


@dataclass
class Operator:
    """Who presses the buttons, and the worker's part in what follows."""

    aws: FakeAws
    queue: FakeQueue
    note: Callable[[str], None]
    meant: dict[str, set[str]] = field(default_factory=dict)
    """By replay: the events that were PROCESSED, and in its window, before it began."""

    def __post_init__(self) -> None:
        self.replays = FakeReplayStore(self.aws)
        self.window = FakeEventWindow(self.aws)
        self.ledger = FakeEventStore(self.aws)
        self._randoms = itertools.count(2**40)

    def do(self, job: OperatorJob) -> None:
        match job:
            case ReplayMany():
                self._replay(job)
            case AbortReplays():
                self._abort()
            case Redrive():
                self._redrive()

    def step(self, message: ReplayMessage, delivery: Delivery, seconds: float, /) -> int | None:
        """The worker takes a step."""
        deps = StepDeps(
            replays=self.replays,
            ledger=self.ledger,
            window=self.window,
            lake=FakeLake(self.aws),
            queue=self.queue,
            check_schema=no_schema,
            backlog_limit=BACKLOG_LIMIT,
            max_attempts=MAX_ATTEMPTS,
            remaining=lambda: 60.0,
            now=self.aws.clock,
            each=in_turn,
        )
        return take_step(message, delivery, seconds, deps)

    def restart(self, stuck_after: int) -> None:
        """The schedule looks after replays."""
        deps = RestartDeps(
            self.replays,
            self.queue,
            stuck_after,
            MAX_RESTARTS,
            BACKLOG_LIMIT,
            now=self.aws.clock,
        )
        restart_replays(deps)

    def _replaying(self) -> BulkReplayDeps:
        return BulkReplayDeps(
            replays=self.replays,
            ledger=self.ledger,
            window=self.window,
            queue=self.queue,
            shards=SHARDS,
            now=self.aws.clock,
            random=lambda count: next(self._randoms).to_bytes(count, "big"),
        )

    def _replay(self, job: ReplayMany) -> None:
        end = self.aws.clock.text
        meant = {
            event_id
            for event_id, record in self.aws.records.items()
            if record.status is Status.PROCESSED
            and record.event.received_at < end
            and (job.include_replays or record.replay_of is None)
            and job.status in (None, Status.PROCESSED)
        }
        selection = Selection(status=job.status, end=end, include_replays=job.include_replays)
        order = ReplayOrder(selection, job.rate, {"status": job.status}, job.key)
        try:
            replay, was_known = start(order, OPERATOR, self._replaying())
        except (ConflictError, IdempotencyConflictError):
            return
        self.note(f"replay {replay.replay_id} for {job}")
        if not was_known:
            self.meant[replay.replay_id] = meant

    def _abort(self) -> None:
        for replay_id in list(self.aws.running):
            if replay_id in self.aws.replays:
                try:
                    abort(replay_id, OPERATOR, self._replaying())
                except ConflictError:
                    continue

    def _redrive(self) -> None:
        deps = DeadLetterDeps(
            reading=ReadDeps(self.ledger, FakeEventIndex(self.aws), FakeLake(self.aws)),
            queue=self.queue,
            dead={},
            sources={},
            now=self.aws.clock,
            each=in_turn,
        )
        done = redrive_events(FailedEvents(Listing(owner=None, status=Status.FAILED)), deps)
        self.note(f"redriven {done.redriven}, skipped {done.skipped}")
