"""The messages of the events queue: an event's facts, and its payload when that is small.

One event is `{"v":1,"event":{...},"payload":"...","recorded":true,"requestId":"..."}`, a unit of
many `{"v":1,"events":[{...}],"payloads":["..."],"requestId":"..."}`, the next step of a bulk replay
`{"v":1,"replay":{"id":"...","step":3}}`. A message stays below 64 KB, the unit in which SQS counts
requests (Amazon SQS pricing), if it can: beyond it, reading payloads from bronze costs less than
sending them along.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct, convert, to_builtins

from chalicelib.core.errors import ForeignMessageError
from chalicelib.core.ids import is_event_id, sha256
from chalicelib.core.strict_json import dump_json
from chalicelib.events.keys import parse_unit_key
from chalicelib.events.model import Event

VERSION = 1
MAX_MESSAGE_BYTES = 64 * 1024
_SHARED = ("owner", "receivedAt", "contentType", "s3Key")


class EventMessage(Struct, frozen=True):
    """One event to process. `payload` None means: read it from bronze. `recorded` says whether the
    ledger had the ENQUEUED step when this was sent; if not, the worker adds it. `attempts` counts
    those made before this message, in the unit that the event was detached from."""

    event: Event
    payload: bytes | None
    recorded: bool
    request_id: str
    attempts: int = 0

    def encode(self) -> str:
        """The message's body; without the payload if that would make it too large."""
        fields = {
            "v": VERSION,
            "event": self.event.to_dict(),
            "recorded": self.recorded,
            "requestId": self.request_id,
            **({"attempts": self.attempts} if self.attempts else {}),
        }
        if self.payload is None or len(self.payload) > MAX_MESSAGE_BYTES:
            return dump_json(fields)
        return _dump(fields, _payload_field(self.payload))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "EventMessage":
        """The message of an event. Raises as `decode_message` says, or what a lookup raises."""
        event = Event.from_dict(fields["event"])
        payload = _read_payload(fields)
        if payload is not None and sha256(payload) != event.payload_sha256:
            raise ForeignMessageError("the payload is not the one that was received")
        attempts = fields.get("attempts", 0)
        if not isinstance(attempts, int):
            raise TypeError("attempts")
        recorded = fields["recorded"] is True
        return cls(event, payload, recorded, str(fields["requestId"]), attempts)


class UnitMessage(Struct, frozen=True):
    """Events of one unit to process together, in the order of its lines. `payloads` None means:
    read them from the unit's file. The ledger has them all, and none of them as ENQUEUED."""

    events: tuple[Event, ...]
    payloads: tuple[bytes, ...] | None
    request_id: str

    def encode(self) -> str:
        """The message's body; without the payloads if that would make it too large. What all
        events share is written once."""
        first = self.events[0].to_dict()
        shared = {name: first[name] for name in _SHARED}
        facts = [
            {name: value for name, value in event.to_dict().items() if shared.get(name) != value}
            for event in self.events
        ]
        fields = {"v": VERSION, "shared": shared, "events": facts, "requestId": self.request_id}
        payloads = self.payloads
        if payloads is None or sum(map(len, payloads)) > MAX_MESSAGE_BYTES:
            return dump_json(fields)
        return _dump(fields, {"payloads": [payload.decode() for payload in payloads]})

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "UnitMessage":
        """The message of a unit. Raises as `decode_message` says, or what a lookup raises."""
        shared = fields["shared"]
        events = tuple(Event.from_dict({**shared, **facts}) for facts in fields["events"])
        texts = fields.get("payloads")
        payloads = None if texts is None else tuple(text.encode() for text in texts)
        ids, keys = {event.event_id for event in events}, {event.s3_key for event in events}
        if len(ids) != len(events) or any(event.s3_range is None for event in events):
            raise ValueError("not the events of a unit")
        if len(keys) != 1 or parse_unit_key(events[0].s3_key) is None:
            raise ValueError("not the events of one unit")
        hashes = [event.payload_sha256 for event in events]
        if payloads is not None and [sha256(payload) for payload in payloads] != hashes:
            raise ForeignMessageError("the payloads are not those that were received")
        return cls(events, payloads, str(fields["requestId"]))


class ReplayMessage(Struct, frozen=True, rename={"replay_id": "id"}):
    """The order to take a step of a bulk replay."""

    replay_id: str
    step: Annotated[int, Meta(ge=0)]

    def encode(self) -> str:
        """The message's body."""
        return dump_json({"v": VERSION, "replay": to_builtins(self)})


Message = EventMessage | UnitMessage | ReplayMessage


def message_for(
    pairs: Sequence[tuple[Event, bytes]], request_id: str, *, recorded: bool = False
) -> str:
    """The body that sends new events, with their payloads, to the worker: one event, or some of one
    unit. An event of a unit is never sent alone (ADR 0013)."""
    event, payload = pairs[0]
    if event.s3_range is None:
        return EventMessage(event, payload, recorded, request_id).encode()
    events, payloads = zip(*pairs, strict=True)
    return UnitMessage(events, payloads, request_id).encode()


def decode_message(body: str) -> Message:
    """Read a message's body; `ForeignMessageError` for anything that `encode` did not write."""
    try:
        fields = json.loads(body)
        if fields["v"] != VERSION:
            raise ForeignMessageError(f"a message of version {fields['v']!r:.20}")
        if "replay" not in fields:
            kind = UnitMessage if "events" in fields else EventMessage
            return kind.from_fields(fields)
        step = convert(fields["replay"], ReplayMessage)
        if not is_event_id(step.replay_id):
            raise ValueError("not a replay's id")
        return step
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ForeignMessageError("not a message of this platform") from error


def _dump(fields: Mapping[str, Any], payloads: Mapping[str, Any]) -> str:
    """The fields as JSON, with the payloads if that is not too large."""
    whole = dump_json({**fields, **payloads})
    return whole if len(whole) <= MAX_MESSAGE_BYTES else dump_json(fields)


def _payload_field(payload: bytes) -> dict[str, str]:
    try:
        return {"payload": payload.decode()}
    except UnicodeDecodeError:
        return {"payload64": base64.b64encode(payload).decode()}


def _read_payload(fields: Mapping[str, Any]) -> bytes | None:
    if "payload64" in fields:
        return base64.b64decode(fields["payload64"], validate=True)
    text = fields.get("payload")
    return None if text is None else bytes(text.encode())
