"""The messages of the events queue: events with their payloads, or the next step of a replay.

`{"v":2,"shared":{...},"events":[{...,"payload":"..."}],"requestId":"..."}`: what all events share
is written once. A payload that is not UTF-8 is `payload64`; a payload that is not in bronze yet has
`"inBronze":false` beside it. `{"v":2,"replay":{"id":"...","step":3}}` is a step of a bulk replay.

A message stays below 64 KB, the unit in which SQS counts requests (Amazon SQS pricing): beyond it,
reading payloads from bronze costs less than sending them along.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct, convert, to_builtins

from chalicelib.core.errors import ForeignMessageError
from chalicelib.core.ids import is_event_id, sha256
from chalicelib.core.strict_json import dump_json
from chalicelib.events.model import Event

VERSION = 2
MAX_MESSAGE_BYTES = 64 * 1024
MAX_EVENTS = 100
MAX_FACTS_BYTES = 224 * 1024
"""Room for the facts of a message's events; SQS takes up to 256 KB."""
_SHARED = ("owner", "receivedAt", "contentType", "s3Key")


class Parcel(Struct, frozen=True):
    """An event to process. `payload` None means: read it from bronze; one that is not `in_bronze`
    is put there by the worker."""

    event: Event
    payload: bytes | None = None
    in_bronze: bool = True


class EventsMessage(Struct, frozen=True):
    """Events to process, each id once. `attempts` counts those made before this message."""

    parcels: tuple[Parcel, ...]
    request_id: str
    attempts: int = 0


class ReplayMessage(Struct, frozen=True, rename={"replay_id": "id"}):
    """The order to take a step of a bulk replay."""

    replay_id: str
    step: Annotated[int, Meta(ge=0)]

    def encode(self) -> str:
        """The message's body."""
        return dump_json({"v": VERSION, "replay": to_builtins(self)})


Message = EventsMessage | ReplayMessage


def encode_messages(
    parcels: Iterable[Parcel], request_id: str, attempts: int = 0, most: int = MAX_EVENTS
) -> list[tuple[str, list[Parcel]]]:
    """(body, its parcels) of each message that sends `parcels` to the worker: in their order, at
    most `most` in one. Payloads that are in bronze are left out where they would not fit."""
    groups: list[list[Parcel]] = []
    facts_room = room = 0
    for parcel in parcels:
        facts, payload = len(dump_json(parcel.event.to_dict())), len(parcel.payload or b"")
        is_full = bool(groups) and len(groups[-1]) == most
        # A payload that the ledger has may not be left out, so it begins another message.
        if not groups or is_full or facts > facts_room or (not parcel.in_bronze and payload > room):
            groups.append([])
            facts_room, room = MAX_FACTS_BYTES, MAX_MESSAGE_BYTES // 2
        groups[-1].append(parcel)
        # A payload that is not in bronze stays in the message, however many bytes JSON makes of it.
        facts_room -= facts + (0 if parcel.in_bronze else len(dump_json(_payload_fields(parcel))))
        room -= facts + payload
    return [(_encode(group, request_id, attempts), group) for group in groups]


def encode_message(parcel: Parcel, request_id: str, attempts: int = 0) -> str:
    """The body that sends one event to the worker."""
    return _encode([parcel], request_id, attempts)


def decode_message(body: str) -> Message:
    """Read a message's body; `ForeignMessageError` for anything that was not written here."""
    try:
        fields = json.loads(body)
        if fields["v"] != VERSION:
            raise ForeignMessageError(f"a message of version {fields['v']!r:.20}")
        if "replay" not in fields:
            return _read_events(fields)
        step = convert(fields["replay"], ReplayMessage)
        if not is_event_id(step.replay_id):
            raise ValueError("not a replay's id")
        return step
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ForeignMessageError("not a message of this platform") from error


def _encode(parcels: list[Parcel], request_id: str, attempts: int) -> str:
    first = parcels[0].event.to_dict()
    shared = {name: first[name] for name in _SHARED}
    events = [
        {name: value for name, value in parcel.event.to_dict().items() if shared.get(name) != value}
        for parcel in parcels
    ]
    fields: dict[str, Any] = {"v": VERSION, "shared": shared, "events": events}
    fields |= {"requestId": request_id, **({"attempts": attempts} if attempts else {})}
    bare = dump_json(fields)
    size = sum(len(parcel.payload or b"") for parcel in parcels)
    if len(bare) + size <= MAX_MESSAGE_BYTES or not all(one.in_bronze for one in parcels):
        for fact, parcel in zip(events, parcels, strict=True):
            fact.update(_payload_fields(parcel))
        whole = dump_json(fields)
        if len(whole) <= MAX_MESSAGE_BYTES or not all(one.in_bronze for one in parcels):
            return whole
    return bare


def _payload_fields(parcel: Parcel) -> dict[str, Any]:
    if parcel.payload is None:
        return {}
    place = {} if parcel.in_bronze else {"inBronze": False}
    try:
        return {"payload": parcel.payload.decode(), **place}
    except UnicodeDecodeError:
        return {"payload64": base64.b64encode(parcel.payload).decode(), **place}


def _read_events(fields: Mapping[str, Any]) -> EventsMessage:
    parcels = tuple(_read_parcel({**fields["shared"], **facts}) for facts in fields["events"])
    if len({parcel.event.event_id for parcel in parcels}) != len(parcels) or not parcels:
        raise ValueError("not the events of a message")
    attempts = fields.get("attempts", 0)
    if not isinstance(attempts, int):
        raise TypeError("attempts")
    return EventsMessage(parcels, str(fields["requestId"]), attempts)


def _read_parcel(facts: Mapping[str, Any]) -> Parcel:
    event = Event.from_dict(facts)
    payload = _read_payload(facts)
    if payload is not None and sha256(payload) != event.payload_sha256:
        raise ForeignMessageError("the payload is not the one that was received")
    in_bronze = facts.get("inBronze", True) is True
    if payload is None and not in_bronze:
        raise ValueError("a payload that is nowhere")
    return Parcel(event, payload, in_bronze)


def _read_payload(fields: Mapping[str, Any]) -> bytes | None:
    if "payload64" in fields:
        return base64.b64decode(fields["payload64"], validate=True)
    text = fields.get("payload")
    return None if text is None else bytes(text.encode())
