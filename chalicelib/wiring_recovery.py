"""What bulk replays, dead letters and their redrive work with.

The same rules as in `wiring`, which makes the clients.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from chalicelib import wiring
from chalicelib.domain.deliveries import Delivery
from chalicelib.domain.messages import ReplayMessage

if TYPE_CHECKING:
    from chalicelib.adapters.event_window import EventWindow
    from chalicelib.adapters.replay_store import ReplayStore
    from chalicelib.services.dead_letters import Recovering
    from chalicelib.services.end_events import Processing, StepReplay
    from chalicelib.services.replay_many import ReplayingMany
    from chalicelib.services.restart_replays import Restarting


def replaying_many() -> "ReplayingMany":
    """What `replay_many` works with."""
    from chalicelib.services.replay_many import ReplayingMany

    return ReplayingMany(
        replays=_replays(),
        ledger=wiring.ledger(),
        window=_window(),
        queue=wiring.events_queue(),
        shards=wiring.settings().ledger_shards,
    )


def processing(remaining: Callable[[], float]) -> "Processing":
    """What `process_events` works with; `remaining` gives the seconds left."""
    return replace(wiring.processing(remaining), step_replay=stepping(remaining))


def stepping(remaining: Callable[[], float]) -> "StepReplay":
    """Takes steps of bulk replays; `remaining` gives the seconds left."""

    def step_replay(message: ReplayMessage, delivery: Delivery, seconds: float, /) -> int | None:
        # Most batches bring no step, so nothing of this is made before one does.
        from chalicelib.services.step_replays import SteppingReplays, take_step

        config = wiring.settings()
        using = SteppingReplays(
            replays=_replays(),
            ledger=wiring.ledger(),
            window=_window(),
            lake=wiring.lake(),
            queue=wiring.events_queue(),
            check_schema=wiring.schema_check().check,
            backlog_limit=config.backlog_limit,
            max_attempts=config.max_attempts,
            remaining=remaining,
        )
        return take_step(message, delivery, seconds, using)

    return step_replay


def restarting(stuck_after: int | None = None) -> "Restarting":
    """What `restart_replays` works with; an operator's `stuck_after` overrides the stage's."""
    from chalicelib.services.restart_replays import Restarting

    config = wiring.settings()
    return Restarting(
        replays=_replays(),
        queue=wiring.events_queue(),
        stuck_after=config.stuck_after if stuck_after is None else stuck_after,
        max_restarts=config.max_requeues,
        backlog_limit=config.backlog_limit,
    )


def recovering() -> "Recovering":
    """What `dead_letters` works with."""
    from chalicelib.adapters.dead_letter_queue import DeadLetterQueue
    from chalicelib.domain import dead_letters
    from chalicelib.services.dead_letters import Recovering
    from chalicelib.settings import queue_url

    config = wiring.settings()
    arns = {
        dead_letters.EVENTS_QUEUE: config.events_dlq_arn,
        dead_letters.ALERTS_QUEUE: config.ci_dlq_arn,
        dead_letters.UPLOADS_QUEUE: config.uploads_dlq_arn,
        dead_letters.NOTIFICATIONS_QUEUE: config.notifications_dlq_arn,
    }
    return Recovering(
        ledger=wiring.ledger(),
        index=wiring.index(),
        queue=wiring.events_queue(),
        dead={
            name: DeadLetterQueue(wiring.aws("sqs"), queue_url(arn)) for name, arn in arns.items()
        },
        sources={
            dead_letters.EVENTS_QUEUE: wiring.events_queue(),
            dead_letters.ALERTS_QUEUE: wiring.alert_queue(),
        },
    )


def _replays() -> "ReplayStore":
    from chalicelib.adapters.replay_store import ReplayStore

    return ReplayStore(wiring.aws("dynamodb"), wiring.settings().events_table)


def _window() -> "EventWindow":
    from chalicelib.adapters.event_window import EventWindow

    return EventWindow(wiring.aws("dynamodb"), wiring.settings().events_table)
