"""Event ids: UUIDs that are new, or that an identity stands for (ADR 0004)."""

import hashlib
import uuid
from datetime import datetime

from chalicelib.core import clock


def sha256(payload: bytes) -> str:
    """The hash of a payload, in hexadecimal."""
    return hashlib.sha256(payload).hexdigest()


def new_event_id(now: datetime, random: bytes) -> str:
    """A UUIDv7 (RFC 9562, section 5.7): milliseconds of `now`, then 10 bytes of `random`."""
    millis = clock.to_millis(now)
    return str(_uuid(millis.to_bytes(6, "big") + random[:10], version=7))


def keyed_event_id(owner: str, key: str, kind: str = "idempotency") -> str:
    """The id that an owner's key stands for: a UUIDv8 (RFC 9562, section 5.8).

    The same key gives the same id for ever, so the ledger's one conditional write is the check
    for duplicates too, and needs no expiry. Keys of different `kind` never meet.
    """
    digest = hashlib.sha256(f"eventline/{kind}\0{owner}\0{key}".encode()).digest()
    return str(_uuid(digest[:16], version=8))


def unit_event_id(unit_id: str, line: int) -> str:
    """The id of the event in a line (from 0) of a unit, where nothing else identifies it: a UUIDv7
    of the unit's own moment. The unit's id and the line are enough to compute it again."""
    digest = hashlib.sha256(f"eventline/unit\0{unit_id}\0{line}".encode()).digest()
    return str(_uuid(uuid.UUID(unit_id).bytes[:6] + digest[:10], version=7))


def is_event_id(text: str) -> bool:
    """Whether `text` is a UUID written as we write them."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _uuid(raw: bytes, version: int) -> uuid.UUID:
    value = int.from_bytes(raw[:16], "big")
    value = value & ~(0xF << 76) | version << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)
