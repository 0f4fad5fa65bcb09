"""`make chaos`: the platform under faults, and what became of every event.

    CHAOS_EVENTS=10000 CHAOS_SEED=7 python -m tests.chaos.run
    CHAOS_EVENTS=400 CHAOS_WITHOUT=ledger-condition python -m tests.chaos.run

Ends with a table, and with an exit status of 1 when anything was lost, doubled or changed. The same
seed sends the same things and draws the same faults; which call meets which is the scheduler's.
"""

import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from chalicelib.recovery.reconcile import UNIT_SETTLED
from tests.chaos import stores
from tests.chaos.clients import Book, Doors, Load, send_all
from tests.chaos.faults import FAILING
from tests.chaos.havoc import Havoc
from tests.chaos.keepers import employ
from tests.chaos.platform import OWNERS, Rehearsal, rehearsal
from tests.chaos.quiet import Waiting, redrive_failed
from tests.chaos.repeats import judge_notifications, repeats_of
from tests.chaos.safeguards import SAFEGUARDS, without
from tests.chaos.uploaders import hire
from tests.chaos.verdict import Verdict, alert_words, judge

_QUIET_SECONDS, _QUIET_SECONDS_WITHOUT = 900.0, 120.0
_SHORT_BELOW = 2000
"""Events below which a run is of the short form."""
_SHOWN = 12


@dataclass(frozen=True)
class Plan:
    """How large a run is, and how hard."""

    events: int
    seed: int
    clients: int = 8
    keepers: int = 2
    largest_batch: int = 100
    intensity: float = 1.6
    pace: float = 4.0
    quiet_seconds: float = _QUIET_SECONDS
    without: tuple[str, ...] = ()
    """Safeguards that are taken out."""


def short_plan(seed: int, events: int) -> Plan:
    """A run with as many blows in less time."""
    return Plan(events, seed, clients=6, largest_batch=40, pace=1.5)


@dataclass
class Outcome:
    """What a run came to."""

    plan: Plan
    verdict: Verdict
    rows: list[tuple[str, str, int | str]]
    failing_share: float
    """Of the AWS calls that the platform made while clients were sending."""

    @property
    def is_good(self) -> bool:
        return self.verdict.is_good


def run(plan: Plan, home: Path, say: Callable[[str], None] = print) -> Outcome:
    """One run below `home`; says what it does."""
    begun = time.monotonic()

    def tell(text: str) -> None:
        say(f"{time.monotonic() - begun:6.0f} s  {text}")

    tell(f"CHAOS_SEED={plan.seed} CHAOS_EVENTS={plan.events}: deploying")
    with rehearsal(home, plan.seed, without(plan.without)) as running:
        tokens = {owner: running.stage.token(owner) for owner in OWNERS}
        book = Book()
        havoc = Havoc(running, plan.seed, plan.pace, book.answered)
        stop = threading.Event()
        keepers = employ(running.stage, running.doors, plan.keepers, plan.seed)
        uploader = hire(running.stage, running.doors, plan.seed)
        shelf, pier = keepers[0].shelf, uploader.pier
        tell(f"{plan.clients} clients begin to send, {plan.keepers} keep items, one uploads")
        with havoc.raging(plan.intensity):
            doors = Doors(running.doors, tokens)
            load = Load(plan.events, plan.clients, plan.largest_batch, plan.seed)
            sending = threading.Thread(target=send_all, args=(load, doors, book, stop))
            works = [*(one.work for one in keepers), uploader.work]
            beside = [threading.Thread(target=work, args=(stop,)) for work in works]
            for thread in (sending, *beside):
                thread.start()
            while sending.is_alive():
                sending.join(10)
                tell(f"{len(book.things)} sent, {dict(sorted(book.statuses.items()))}")
            stop.set()
            for thread in beside:
                thread.join()
        asked = running.proxy.counts()["requests"]
        tell("all sent; no more faults; waiting until it is quiet")
        settled = time.monotonic() + UNIT_SETTLED.total_seconds() + 2
        waiting = Waiting(running, havoc, shelf, pier, alert_words(book, havoc.alerts), settled)
        last = waiting.until_quiet(plan.quiet_seconds, tell)
        redrive_failed(running, havoc)
        pier.invoke_letters()
        last = last or waiting.until_quiet(plan.quiet_seconds, tell)
        held, repeats = stores.read(running), repeats_of(running, havoc)
        verdict = judge(book, held, havoc.alerts, repeats)
        told, lost, doubled = judge_notifications(shelf, repeats)
        verdict.counts.update(told)
        verdict.lost += lost
        verdict.doubled += doubled
        missing, repeated = pier.judge()
        verdict.lost += missing
        verdict.doubled += repeated
        verdict.counts.update(pier.counts)
        verdict.wrong += havoc.faults + shelf.wrong + pier.wrong
        if last:
            verdict.wrong.append(f"not quiet after {plan.quiet_seconds:.0f} s: {last}")
        tell("counted")
        failing = _failing(running) / max(1, asked)
        rows: list[tuple[str, str, int | str]] = [
            ("AWS calls", "made while there were faults", asked),
            ("AWS calls", "failing of those", f"{_failing(running)} ({failing:.1%})"),
            *_rows(running, book, havoc, held, verdict),
        ]
        return Outcome(plan, verdict, rows, failing)


def _failing(running: Rehearsal) -> int:
    fired = running.proxy.fired()
    return sum(fired[kind] for kind in FAILING)


def _rows(
    running: Rehearsal, book: Book, havoc: Havoc, held: stores.Holdings, verdict: Verdict
) -> list[tuple[str, str, int | str]]:
    """(part, name, number) of everything that is told."""
    fired, calls = running.proxy.fired(), running.proxy.counts()
    rows: list[tuple[str, str, int | str]] = [
        ("AWS calls", "made in all", calls["requests"]),
        ("AWS calls", "failing of all", f"{_failing(running) / max(1, calls['requests']):.1%}"),
        ("AWS calls", "repeated by the SDK", calls["retries"]),
    ]
    rows += [("faults", kind, fired[kind]) for kind in sorted(fired)]
    rows += [("havoc", name, havoc.counts[name]) for name in sorted(havoc.counts)]
    rows += [("clients", name, book.counts[name]) for name in sorted(book.counts)]
    rows += [("answers", str(status), count) for status, count in sorted(book.statuses.items())]
    rows += [("refusals", said, count) for said, count in sorted(book.refusals.items())]
    rows += [("events", "sent", len(book.things))]
    rows += [("events", name, count) for name, count in sorted(verdict.counts.items())]
    suppressed = book.counts["repeats answered"] + havoc.counts["message copied"]
    rows += [
        ("result", "duplicates suppressed", suppressed),
        ("result", "messages in dead-letter queues", len(held.dead_letters)),
        ("result", "at-least-once repeats on the bus", verdict.counts["bus repeats"]),
        ("result", "at-least-once repeats in Slack", verdict.counts["Slack repeats"]),
        ("result", "at-least-once repeats to owners", verdict.counts["notification repeats"]),
        ("result", "lost", len(verdict.lost)),
        ("result", "doubled", len(verdict.doubled)),
        ("result", "changed", len(verdict.changed)),
        ("result", "wrong", len(verdict.wrong)),
    ]
    return rows


def table(outcome: Outcome) -> str:
    """The outcome for people."""
    lines, part = [], ""
    for group, name, number in outcome.rows:
        lines.append(f"  {group if group != part else '':<10} {name:<40} {number:>14}")
        part = group
    for title in ("lost", "doubled", "changed", "wrong"):
        found = getattr(outcome.verdict, title)
        lines += [f"  {title}: {text[:400]}" for text in found[:_SHOWN]]
    seed = outcome.plan.seed
    return "\n".join([*lines, f"  CHAOS_SEED={seed} ends {'well' if outcome.is_good else 'BADLY'}"])


def main() -> None:
    """Run as the environment says; exit status 1 when it ends badly."""
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    events = int(os.environ.get("CHAOS_EVENTS") or 10_000)
    taken_out = tuple(os.environ.get("CHAOS_WITHOUT", "").split())
    if not SAFEGUARDS.keys() >= set(taken_out):
        sys.exit(f"CHAOS_WITHOUT: one or more of {' '.join(SAFEGUARDS)}")
    plan = short_plan(seed, events) if events < _SHORT_BELOW else Plan(events, seed)
    if taken_out:
        # It is not going to be quiet, maybe.
        plan = replace(plan, without=taken_out, quiet_seconds=_QUIET_SECONDS_WITHOUT)
    home = Path(tempfile.mkdtemp(prefix="eventline-chaos-"))
    outcome = run(plan, home, lambda text: print(text, flush=True))
    print(table(outcome))
    if outcome.is_good:
        shutil.rmtree(home)
    else:
        print(f"  what was logged is in {home}")
    sys.exit(not outcome.is_good)


if __name__ == "__main__":
    main()
