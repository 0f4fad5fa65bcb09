"""An event: what was received, what has become of it, and which steps of its life are legal.

Pure values and functions. Times and randomness are parameters. Field names in records, messages
and answers are the contract's (camelCase); inside the code they are Python's.
"""

import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote, unquote

from chalicelib.domain import clock

MAX_TYPE_BYTES = 128
MAX_NAME_BYTES = 256
"""Limits of eventType and of source and subject, in UTF-8 bytes: an S3 key holds 1,024 bytes and
an object's metadata 2,048 (Amazon S3 User Guide, "Naming objects", "Object metadata")."""


class Status(StrEnum):
    """Where an event stands."""

    RECEIVED = "RECEIVED"
    ENQUEUED = "ENQUEUED"
    PROCESSED = "PROCESSED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"


OPEN = (Status.RECEIVED, Status.ENQUEUED)
"""Not yet at an end: `reconcile` watches these."""

TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.RECEIVED: frozenset({Status.ENQUEUED, Status.PROCESSED, Status.FAILED}),
    Status.ENQUEUED: frozenset({Status.ENQUEUED, Status.PROCESSED, Status.FAILED}),
    Status.FAILED: frozenset({Status.PROCESSED}),
    Status.PROCESSED: frozenset(),
    Status.REJECTED: frozenset(),
}
"""Legal steps. RECEIVED may end without ENQUEUED being written: the worker can be faster than the
API. FAILED may turn PROCESSED: a message that was given up for lost may still arrive."""


def may_become(status: Status) -> tuple[Status, ...]:
    """The statuses from which an event may turn to `status`."""
    return tuple(before for before, after in TRANSITIONS.items() if status in after)


@dataclass(frozen=True)
class Event:
    """The facts of an event: fixed when it is received, never changed."""

    event_id: str
    event_type: str
    owner: str
    source: str
    subject: str | None
    received_at: str
    payload_sha256: str
    payload_bytes: int
    content_type: str
    s3_key: str

    def to_dict(self) -> dict[str, Any]:
        """The facts under the contract's names; an absent subject is left out."""
        facts = {name: getattr(self, attribute) for name, attribute in _FACTS.items()}
        return {name: value for name, value in facts.items() if value is not None}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "Event":
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError on anything else."""
        values = {attribute: facts.get(name) for name, attribute in _FACTS.items()}
        wrong = [
            name
            for name, attribute in _FACTS.items()
            if not isinstance(values[attribute], int if attribute == "payload_bytes" else str)
            and not (attribute == "subject" and values[attribute] is None)
        ]
        if wrong:
            raise ValueError(f"not an event: {', '.join(wrong)}")
        return cls(**values)  # type: ignore[arg-type]


_BRONZE_KEY = re.compile(
    r"bronze/(?P<event_type>[^/]+)/\d{4}/\d{2}/\d{2}/(?P<event_id>[^/]+)\.json"
)
_FACTS = {
    "eventId": "event_id",
    "eventType": "event_type",
    "owner": "owner",
    "source": "source",
    "subject": "subject",
    "receivedAt": "received_at",
    "payloadSha256": "payload_sha256",
    "payloadBytes": "payload_bytes",
    "contentType": "content_type",
    "s3Key": "s3_key",
}


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed: `kind` is permanent, transient or unknown (`class` in a record)."""

    kind: str
    code: str
    message: str

    def to_dict(self) -> dict[str, str]:
        return {"class": self.kind, "code": self.code, "message": self.message}


@dataclass(frozen=True)
class Step:
    """One entry of a timeline."""

    status: Status
    at: str
    detail: str | None = None

    def to_dict(self) -> dict[str, str]:
        entry = {"status": str(self.status), "at": self.at}
        return entry if self.detail is None else {**entry, "detail": self.detail}


@dataclass(frozen=True)
class Handover:
    """How an event came to the worker: when its message was sent, and whether the ledger, if it
    has the event, has that noted as a step."""

    sent_at: str
    noted: bool


@dataclass(frozen=True)
class Record:
    """An event in the ledger: its facts and its life so far."""

    event: Event
    status: Status
    updated_at: str
    s3_bucket: str
    attempts: int = 0
    requeues: int = 0
    last_error: Mapping[str, str] | None = None
    silver_bucket: str | None = None
    silver_key: str | None = None
    replay_of: str | None = None
    timeline: tuple[Mapping[str, str], ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The record as `GET /events/{id}` shows it."""
        return {
            **self.event.to_dict(),
            "subject": self.event.subject,
            "status": str(self.status),
            "updatedAt": self.updated_at,
            "s3Bucket": self.s3_bucket,
            "attempts": self.attempts,
            "lastError": self.last_error,
            "silverBucket": self.silver_bucket,
            "silverKey": self.silver_key,
            "replayOf": self.replay_of,
            "timeline": list(self.timeline),
        }


def new_event_id(now: datetime, random: bytes) -> str:
    """A UUIDv7 (RFC 9562, section 5.7): milliseconds of `now`, then 10 bytes of `random`."""
    millis = clock.to_millis(now)
    return str(_uuid(millis.to_bytes(6, "big") + random[:10], version=7))


def keyed_event_id(owner: str, key: str) -> str:
    """The id that an owner's idempotency key stands for: a UUIDv8 (RFC 9562, section 5.8).

    The same key gives the same id for ever, so the ledger's one conditional write is the check
    for duplicates too, and needs no expiry.
    """
    digest = hashlib.sha256(f"eventline/idempotency\0{owner}\0{key}".encode()).digest()
    return str(_uuid(digest[:16], version=8))


def sha256(payload: bytes) -> str:
    """The hash of a payload, in hexadecimal."""
    return hashlib.sha256(payload).hexdigest()


def bronze_key(event_type: str, received_at: str, event_id: str) -> str:
    """`bronze/<eventType>/<yyyy>/<mm>/<dd>/<eventId>.json`."""
    return f"bronze/{_segment(event_type)}/{received_at[:10].replace('-', '/')}/{event_id}.json"


def silver_key(event: Event) -> str:
    """`silver/<eventType>/dt=<yyyy-mm-dd>/<eventId>.json`."""
    day = event.received_at[:10]
    return f"silver/{_segment(event.event_type)}/dt={day}/{event.event_id}.json"


def parse_bronze_key(key: str) -> tuple[str, str] | None:
    """The (eventType, eventId) that a bronze key names; None for a key that is not one of ours."""
    match = _BRONZE_KEY.fullmatch(key)
    if match is None or not is_event_id(match["event_id"]):
        return None
    return unquote(match["event_type"]), match["event_id"]


def is_event_id(text: str) -> bool:
    """Whether `text` is a UUID written as we write them."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def name_fault(text: object, max_bytes: int) -> str | None:
    """What is wrong with a name (an event type, a source), in words; None when nothing is."""
    if not isinstance(text, str):
        return "must be a string"
    if not text.strip():
        return "must not be empty"
    if not text.isprintable():
        return "must hold printable characters only"
    if len(text.encode()) > max_bytes:
        return f"must be at most {max_bytes} bytes of UTF-8"
    return None


def _segment(event_type: str) -> str:
    """An event type as one segment of a key: percent-encoded, so that it can not leave it."""
    encoded = quote(event_type, safe="")
    return encoded.replace(".", "%2E") if set(encoded) == {"."} else encoded


def _uuid(raw: bytes, version: int) -> uuid.UUID:
    value = int.from_bytes(raw[:16], "big")
    value = value & ~(0xF << 76) | version << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)
