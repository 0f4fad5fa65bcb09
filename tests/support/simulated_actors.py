"""Runs jobs at the same time, in an order that the test decides.

Each job has a thread of its own, but only one moves at a time, and hands over just before each of
its AWS calls. So an interleaving is a list of numbers: who makes the next call.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.support.fake_stores import FakeAws
from tests.support.faults import Fault, ProcessKilledError, suffer

_STUCK_SECONDS = 20


class Actor:
    """One job: its thread, its bad luck by the number of its calls, and how it ended."""

    def __init__(self, name: str, job: Callable[[], None], faults: dict[int, Fault]) -> None:
        self.name = name
        self.faults = faults
        self.calls = 0
        self.ended = False
        self.error: BaseException | None = None
        self._job = job
        self._alone = False
        self._my_turn = threading.Semaphore(0)
        self._handed_over = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def go_on(self, *, alone: bool) -> None:
        """Let it run up to its next call, or to its end; `alone`: to its end in any case."""
        self._alone = alone
        self._my_turn.release()
        if not self._handed_over.acquire(timeout=_STUCK_SECONDS):
            raise AssertionError(f"{self.name} does not hand over")
        if self.ended:
            self._thread.join()

    def hand_over(self) -> None:
        """Called by the job itself: wait for its next turn, which nobody else can have if it is
        alone."""
        if self._alone:
            return
        self._handed_over.release()
        self._my_turn.acquire()

    def _run(self) -> None:
        self._my_turn.acquire()
        try:
            self._job()
        except (Exception, ProcessKilledError) as error:  # noqa: BLE001 - the test looks at it
            self.error = error
        finally:
            self.ended = True
            self._handed_over.release()


class Stage:
    """Where actors act: it is the gate that all AWS calls go through."""

    def __init__(self, aws: FakeAws, tick: Callable[[], None], note: Callable[[str], None]) -> None:
        self._tick = tick
        self._note = note
        self._here = threading.local()
        aws.gate = self._call

    def play(self, actors: Sequence[Actor], order: Iterator[int]) -> None:
        """Run all actors to their end; `order` says who goes next as long as it lasts."""
        for actor in actors:
            actor.start()
        waiting = list(actors)
        while waiting:
            actor = waiting[next(order, 0) % len(waiting)]
            actor.go_on(alone=len(waiting) == 1)
            waiting = [one for one in waiting if not one.ended]

    def enter(self, actor: Actor) -> None:
        """Called first by an actor's job, in its thread."""
        self._here.actor = actor

    def _call(self, operation: str, effect: Callable[[], Any]) -> Any:
        actor: Actor | None = getattr(self._here, "actor", None)
        if actor is None:
            return effect()
        actor.calls += 1
        fault = actor.faults.get(actor.calls)
        actor.hand_over()

        def timed_effect() -> Any:
            self._tick()
            return effect()

        note = f"{actor.name}: {actor.calls} {operation}"
        self._note(note if fault is None else f"{note} ({fault})")
        if fault is not Fault.REPEATED:
            return suffer(fault, operation, timed_effect)
        timed_effect()
        # Others may come between a lost call and its repetition.
        actor.hand_over()
        return timed_effect()
