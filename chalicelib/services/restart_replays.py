"""Bulk replays whose chain of messages broke: reconcile's part, which sends the next one.

A replay that runs notes its progress at each step. One that has not for `stuck_after` seconds gets
a message for its present step; should the chain not have been broken, the step drops it. After
`max_restarts` without progress the replay is FAILED, where its operator looks.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chalicelib.adapters.queue import Queue
from chalicelib.adapters.replay_store import ReplayStore
from chalicelib.domain import clock
from chalicelib.domain.messages import ReplayMessage
from chalicelib.domain.replays import LEASE, Replay, ReplayStatus
from chalicelib.observability import log


@dataclass(frozen=True)
class Restarting:
    """The collaborators of `restart_replays`."""

    replays: ReplayStore
    queue: Queue
    stuck_after: int
    max_restarts: int
    backlog_limit: int
    now: Callable[[], datetime] = clock.utc_now


def restart_replays(using: Restarting) -> Counter[str]:
    """Go through the replays that run; how many were "restarted", "failed", and struck from the
    register as "ended". One call, and one for each replay; three for one that is stuck.

    With a backlog nothing is restarted: its messages wait like all others.
    """
    counts: Counter[str] = Counter()
    cutoff = clock.to_text(using.now() - timedelta(seconds=using.stuck_after))
    for replay_id, entry in using.replays.running().items():
        replay = using.replays.get(replay_id)
        if replay is None:
            # Its start died, or is at work on it just now.
            if entry["at"] <= cutoff:
                using.replays.leave(replay_id)
                counts["ended"] += 1
        elif replay.status is not ReplayStatus.RUNNING:
            using.replays.leave(replay_id)
            counts["ended"] += 1
        elif replay.updated_at <= cutoff:
            counts.update(_restart(replay, using))
    return counts


def _restart(replay: Replay, using: Restarting) -> list[str]:
    if using.queue.visible() > using.backlog_limit:
        return []
    now = clock.to_text(using.now())
    # An operator may ask for a `stuck_after` of nothing; that alone says nothing of the chain.
    is_silent = clock.from_text(replay.updated_at) <= using.now() - LEASE
    if is_silent and replay.restarts >= using.max_restarts:
        message = f"no progress after {replay.restarts} restarts"
        reason = {"code": "restart-limit", "message": message}
        failed = replace(replay.ended(ReplayStatus.FAILED, now), last_failure=reason)
        if using.replays.save(failed) is None:
            return []
        using.replays.leave(replay.replay_id)
        log.error("replay given up", extra={"replayId": replay.replay_id})
        return ["failed"]
    # Sent first, then noted: a note alone would put it off once more.
    using.queue.send(ReplayMessage(replay.replay_id, replay.step).encode())
    if is_silent:
        noted = replace(replay, restarts=replay.restarts + 1, updated_at=now)
        using.replays.save(replace(noted, holder=None, held_at=None))
    log.warning("replay restarted", extra={"replayId": replay.replay_id, "step": replay.step})
    return ["restarted"]
