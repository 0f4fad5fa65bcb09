"""Effects that came twice: whether something had gone wrong, as docs/guarantees.md has it.

An effect may be had again when the process that had it died or had no time left, or the answer, or
the note of it was lost; else once is all. So for every time but the last that AWS was asked for an
effect, there has to be such a trouble soon after, or no note of it. "Soon" is the time-out of the
worker, which tells of many before it notes each, and a few seconds for others.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.havoc import Havoc
from tests.chaos.keepers import Shelf
from tests.chaos.platform import Rehearsal
from tests.chaos.safeguards import WORKER_SECONDS
from tests.chaos.witness import BUS, NOTES_OF_ALERTS, NOTES_OF_OWNERS, OWNERS, Witness, name_of

_NOTE_SECONDS = 8.0
"""How long it takes to note what owners or Slack were told of: the next call, three attempts."""
_SLACK_SECONDS = 1.0
"""How far clocks of two processes, or two ends of a call, may tell different times."""


@dataclass(frozen=True)
class Repeats:
    """What is known of troubles."""

    witness: Witness
    killed: dict[str, list[float]] = field(default_factory=dict)
    posts: tuple[tuple[float, str], ...] = ()
    away: tuple[float, ...] = ()
    """When Slack went."""

    def of_event(self, event_id: str, times: int) -> int:
        """Of an event that the bus was told of `times`, how many repeats nothing explains. That it
        went in two messages, or to two workers at once, explains none."""
        told = self.told_times(BUS, event_id)
        troubles = self._troubles(BUS, event_id)
        noted = self.witness.noted.get(BUS, {}).get(event_id, [])
        return unexplained(times, told, troubles, WORKER_SECONDS, noted)

    def of_notification(self, text: str, times: int) -> int:
        """The same of a notification that came `times`."""
        name = name_of(text)
        troubles = [
            *self._troubles(OWNERS, name),
            *self._troubles(NOTES_OF_OWNERS, ""),
            *self.killed.get("notify_owners", ()),
        ]
        return unexplained(times, self.told_times(OWNERS, name), troubles, _NOTE_SECONDS)

    def seen_of_notification(self, text: str) -> dict[str, list[float]]:
        """All that was seen of a notification, for people."""
        name = name_of(text)
        return {
            "told": self.told_times(OWNERS, name),
            "troubles": self._troubles(OWNERS, name),
            "notes": self._troubles(NOTES_OF_OWNERS, ""),
            "killed": list(self.killed.get("notify_owners", ())),
        }

    def of_alert(self, word: str) -> int:
        """The same of an alert in Slack."""
        told = [moment for moment, body in self.posts if word in body]
        troubles = [
            *self._troubles(NOTES_OF_ALERTS, ""),
            *self.killed.get("alert_ci_event", ()),
            *self.away,
        ]
        return unexplained(len(told), told, troubles, _NOTE_SECONDS)

    def told_times(self, kind: str, name: str) -> list[float]:
        """When AWS was asked for an effect."""
        return sorted(self.witness.told.get(kind, {}).get(name, []))

    def _troubles(self, kind: str, name: str) -> list[float]:
        return self.witness.troubles.get(kind, {}).get(name, [])


def unexplained(
    times: int,
    told: Sequence[float],
    troubles: Iterable[float],
    seconds: float,
    noted: Sequence[float] | None = None,
) -> int:
    """Of an effect that was had `times`, how many repeats have no cause: a trouble within `seconds`
    after it was asked for or, where notes are known, no note before it was asked for again."""
    known = list(troubles)

    def has_cause(moment: float, again: float) -> bool:
        in_trouble = any(moment - _SLACK_SECONDS <= one <= moment + seconds for one in known)
        return in_trouble or (
            noted is not None and not any(moment <= one <= again for one in noted)
        )

    return max(0, times - 1 - sum(has_cause(*pair) for pair in pairwise(told)))


def repeats_of(running: Rehearsal, havoc: Havoc) -> Repeats:
    """What a run knows of troubles."""
    return Repeats(
        witness=running.proxy.witness(),
        killed=dict(havoc.killed),
        posts=tuple(running.slack.taken),
        away=tuple(running.slack.away),
    )


def judge_notifications(
    shelf: Shelf, repeats: Repeats
) -> tuple[Counter[str], list[str], list[str]]:
    """(counts, lost, doubled) of what owners were told of their items."""
    counts: Counter[str] = Counter({"notification repeats": 0})
    lost, doubled = [], []
    told = shelf.told()
    for (item_id, change), wanted in shelf.changes.items():
        texts = Counter(told.get((item_id, change), []))
        counts["changes of items"] += wanted
        counts["changes told"] += len(texts)
        if len(texts) < wanted:
            lost.append(f"item {item_id}: {wanted} times {change}, told of {len(texts)}")
        if len(texts) > wanted + shelf.unsure[item_id, change]:
            doubled.append(f"item {item_id}: {wanted} times {change}, told of {len(texts)}")
        for text, times in texts.items():
            counts["notification repeats"] += times - 1
            if repeats.of_notification(text, times):
                seen = repeats.seen_of_notification(text)
                doubled.append(f"item {item_id}: {change} told {times} times without cause {seen}")
    return counts, lost, doubled
