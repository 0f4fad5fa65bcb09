"""What the proxy saw of effects that may come twice: when each was asked for, and when something
went wrong with it or with the note of it. With this a judge can tell a repeat that
docs/guarantees.md permits from one that it does not.
"""

import base64
import hashlib
import json
import re
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

_EVENT_IN_DETAIL = re.compile(r'eventId\\?": ?\\?"([0-9a-f-]{36})')
_EVENT_KEY = re.compile(r"EVENT#([0-9a-f-]{36})")
_UNIT_FILE = re.compile(r"/([0-9a-f-]{36})\.ndjson")
_UNIT_KEY = re.compile(r"UNIT#([0-9a-f-]{36})")
_CLOSES = "REMOVE statusShard"
_UNIT_BYTES = 16
_HARMLESS_MS = 1000
"""A delay that every caller waits for, whether the proxy made it or a busy machine."""
BUS, OWNERS, NOTES_OF_OWNERS, NOTES_OF_ALERTS = (
    "bus",
    "owners",
    "notes of owners",
    "notes of alerts",
)


def name_of(message: str) -> str:
    """A short name of a notification's text."""
    return hashlib.sha256(message.encode()).hexdigest()[:16]


@dataclass
class Witness:
    """`told[kind][name]`: when AWS was asked for an effect, and the request got through.
    `noted[kind][name]`: when AWS was asked to note that it was had, and did: a process that is
    killed while it asks leaves it open whether the request still got there.
    `troubles[kind][name]`: when the answer was lost, or the note was refused. The notes of owners'
    notifications and of alerts have no names. Times are those of `time.time`.
    """

    told: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    noted: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    troubles: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    units: dict[str, list[str]] = field(default_factory=dict)
    """The events of each unit of the journal."""
    winners: dict[str, str] = field(default_factory=dict)
    """The unit that made an event PROCESSED, as far as it was heard: it alone publishes, so the end
    of another says nothing of the bus."""

    def see(
        self,
        target: str,
        body: str,
        decision: Any,
        moment: float,
        *,
        done: bool = True,
        seconds: float = 0.0,
    ) -> None:
        """Note a request: its `X-Amz-Target` (for SNS `Publish`), what the proxy did to it, whether
        AWS answered that it is done, to a caller who was there to hear it, and after how long."""
        if done:
            self._see_winner(target, body)
        kind, names = self._subject(target, body)
        if not kind:
            return
        if target.endswith(("PutEvents", "Publish")):
            if gets_by(decision):
                _note(self.told, kind, names, moment)
        elif done and not disturbs(decision) and (kind != BUS or _CLOSES in body):
            _note(self.noted, kind, names, moment)
        if disturbs(decision) or seconds * 1000 > _HARMLESS_MS:
            _note(self.troubles, kind, names, moment)

    def seen_of(self, event_id: str) -> dict[str, Any]:
        """All that was seen of an event, for people."""
        kinds = {"told": self.told, "noted": self.noted, "troubles": self.troubles}
        seen: dict[str, Any] = {
            name: by_kind.get(BUS, {}).get(event_id, []) for name, by_kind in kinds.items()
        }
        return seen

    def _subject(self, target: str, body: str) -> tuple[str, list[str]]:
        """(kind, names) of what a request is about; an empty kind for nothing of interest. That a
        unit is off the journal is the note that its events are on the bus."""
        operation = target.rpartition(".")[2]
        if operation == "PutEvents":
            return BUS, _EVENT_IN_DETAIL.findall(body)
        if operation == "Publish":
            fields = parse_qsl(body)
            return OWNERS, [name_of(value) for name, value in fields if name.endswith(".Message")]
        if operation == "BatchWriteItem" and "EFFECT#" in body:
            return NOTES_OF_OWNERS, [""]
        if operation in ("PutItem", "UpdateItem", "BatchWriteItem") and "-alerts" in body:
            return NOTES_OF_ALERTS, [""]
        unit = _UNIT_KEY.search(body)
        if unit is None or operation not in ("PutItem", "UpdateItem"):
            return "", []
        if operation == "PutItem":
            raw = base64.b64decode(json.loads(body)["Item"]["events"]["B"])
            ids = [str(uuid.UUID(bytes=raw[at : at + 16])) for at in range(0, len(raw), 16)]
            self.units[unit[1]] = ids
        events = self.units.get(unit[1], [])
        return BUS, [one for one in events if self.winners.get(one, unit[1]) == unit[1]]

    def _see_winner(self, target: str, body: str) -> None:
        """Learn which unit made an event PROCESSED, from the write that did: it names the unit, or
        its silver file does."""
        event = _EVENT_KEY.search(body)
        if event is None or "PROCESSED" not in body or not target.endswith(".UpdateItem"):
            return
        values = json.loads(body)["ExpressionAttributeValues"].values()
        raw = [base64.b64decode(value["B"]) for value in values if "B" in value]
        named = [str(uuid.UUID(bytes=one)) for one in raw if len(one) == _UNIT_BYTES]
        named += [file[1] for file in map(_UNIT_FILE.search, [body]) if file]
        if named:
            self.winners[event[1]] = named[0]


def gets_by(decision: Any) -> bool:
    """Whether a request reaches AWS."""
    return decision is None or not (decision.error or decision.reset or decision.timeout_ms)


def disturbs(decision: Any) -> bool:
    """Whether the caller does not get the answer as it was, in time."""
    if decision is None:
        return False
    return bool(not gets_by(decision) or decision.response_fault or _is_late(decision))


def _is_late(decision: Any) -> bool:
    return bool(decision.latency_ms and decision.latency_ms > _HARMLESS_MS)


def _note(
    where: dict[str, dict[str, list[float]]], kind: str, names: list[str], moment: float
) -> None:
    for name in names:
        where.setdefault(kind, defaultdict(list))[name].append(moment)
