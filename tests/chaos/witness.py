"""What the proxy saw of effects that may come twice: when each was asked for, and when something
went wrong with it or with the note of it. With this a judge can tell a repeat that
docs/guarantees.md permits from one that it does not.
"""

import hashlib
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from chalicelib.core.errors import ForeignMessageError
from chalicelib.events.message import EventsMessage, decode_message

_EVENT_IN_DETAIL = re.compile(r'eventId\\?": ?\\?"([0-9a-f-]{36})')
_EVENT_KEY = re.compile(r"EVENT#([0-9a-f-]{36})")
_HARMLESS_MS = 1000
"""A delay that every caller waits for."""
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
    `sent[event]`: in how many messages of a queue an event went; the SDK's repetitions count too.
    """

    told: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    noted: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    troubles: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)

    def see(
        self, target: str, body: str, decision: Any, moment: float, *, done: bool = True
    ) -> None:
        """Note a request: its `X-Amz-Target` (for SNS `Publish`), what the proxy did to it, and
        whether AWS answered that it is done, to a caller who was there to hear it."""
        if ".SendMessage" in target and gets_by(decision):
            for text in _messages(body):
                self.sent.update(events_in(text))
        kind, names = _subject(target, body)
        if not kind:
            return
        if target.endswith(("PutEvents", "Publish")):
            if gets_by(decision):
                _note(self.told, kind, names, moment)
        elif done and not disturbs(decision) and _says_done(kind, body):
            _note(self.noted, kind, names, moment)
        if disturbs(decision):
            _note(self.troubles, kind, names, moment)

    def seen_of(self, event_id: str) -> dict[str, Any]:
        """All that was seen of an event, for people."""
        kinds = {"told": self.told, "noted": self.noted, "troubles": self.troubles}
        seen: dict[str, Any] = {
            name: by_kind.get(BUS, {}).get(event_id, []) for name, by_kind in kinds.items()
        }
        return {**seen, "messages": self.sent.get(event_id, 0)}


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


def _subject(target: str, body: str) -> tuple[str, list[str]]:
    """(kind, names) of what a request is about; an empty kind for nothing of interest."""
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
    if operation in ("UpdateItem", "PutItem"):
        return BUS, _EVENT_KEY.findall(body)[:1]
    return "", []


def _messages(body: str) -> list[str]:
    """The bodies of the messages in a request of SendMessage or SendMessageBatch."""
    request = json.loads(body)
    return [entry["MessageBody"] for entry in request.get("Entries", [request])]


def events_in(body: str) -> set[str]:
    """The ids of the events that a message brings; none if it is not the worker's."""
    try:
        message = decode_message(body)
    except ForeignMessageError:
        return set()
    if not isinstance(message, EventsMessage):
        return set()
    return {parcel.event.event_id for parcel in message.parcels}


def _says_done(kind: str, body: str) -> bool:
    return kind != BUS or '"PROCESSED"' in body


def _note(
    where: dict[str, dict[str, list[float]]], kind: str, names: list[str], moment: float
) -> None:
    for name in names:
        where.setdefault(kind, defaultdict(list))[name].append(moment)
