"""An event: its facts, its status and timeline, and the draft that it is made from.

Pure values and functions. Records, messages and answers have the same fields as the classes, in
camelCase.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, convert, field, to_builtins
from msgspec.structs import replace

from chalicelib.core.errors import InvalidRequestError
from chalicelib.core.ids import sha256
from chalicelib.core.media_types import JSON
from chalicelib.core.names import MAX_NAME_BYTES, MAX_TYPE_BYTES, name_fault
from chalicelib.core.paging import NEWEST, OLDEST
from chalicelib.core.strict_json import parse_json

DEFAULT_SOURCE = "/events"
"""The source of a plain JSON event that names none; a URI reference, as in CloudEvents."""
REDRIVEN = "redriven"
"""The detail of a redrive's step."""


class Status(StrEnum):
    """How far an event has come."""

    RECEIVED = "RECEIVED"
    ENQUEUED = "ENQUEUED"
    PROCESSED = "PROCESSED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"


OPEN = (Status.RECEIVED, Status.ENQUEUED)
"""Statuses of events that are not finished."""
TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.RECEIVED: frozenset({Status.ENQUEUED, Status.PROCESSED, Status.FAILED}),
    Status.ENQUEUED: frozenset({Status.ENQUEUED, Status.PROCESSED, Status.FAILED}),
    Status.FAILED: frozenset({Status.PROCESSED, Status.ENQUEUED}),
    Status.PROCESSED: frozenset(),
    Status.REJECTED: frozenset(),
}
"""Legal steps. RECEIVED may end without ENQUEUED, since the worker can be faster than the API.
FAILED may turn PROCESSED, since the message of an event that was given up may still arrive. Only a
redrive turns FAILED into ENQUEUED."""
_REDRIVE = (Status.FAILED, Status.ENQUEUED)


class _Facts(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A value that is stored, sent and shown under its fields' names in camelCase, without those
    that are None."""

    def to_dict(self) -> dict[str, Any]:
        facts: dict[str, Any] = to_builtins(self)
        return facts


class Event(_Facts, frozen=True, kw_only=True):
    """The facts of an event: fixed when it is received, never changed."""

    event_id: str
    event_type: str
    owner: str
    source: str
    subject: str | None = None
    received_at: str
    payload_sha256: str
    payload_bytes: int
    content_type: str
    s3_key: str
    s3_range: str | None = None
    """The HTTP range of the payload in its unit's file; None: the payload is all of `s3_key`."""
    schema_version: int | None = None
    """The version of its type's schema that it was checked against; None: there was no schema."""
    cloud_event: Mapping[str, Any] | None = None
    """The context attributes of a CloudEvent that have no field above."""

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "Event":
        """The inverse of `to_dict`; `ValueError` for anything else. Ignores other fields."""
        return convert(facts, cls)


class Failure(_Facts, frozen=True):
    """Why an attempt failed: `kind` is permanent, transient or unknown."""

    kind: str = field(name="class")
    code: str
    message: str


class Step(_Facts, frozen=True):
    """One entry of a timeline."""

    status: Status
    at: str
    detail: str | None = None


class Dispatch(Struct, frozen=True):
    """When an event's message was sent, and whether the ledger has that as a step (`noted`)."""

    sent_at: str
    noted: bool


class Record(Struct, frozen=True, rename="camel"):
    """An event in the ledger: its facts and its life so far."""

    event: Event
    status: Status
    updated_at: str
    s3_bucket: str
    attempts: int = 0
    requeues: int = 0
    last_error: Mapping[str, Any] | None = None
    silver_bucket: str | None = None
    silver_key: str | None = None
    silver_range: str | None = None
    replay_of: str | None = None
    timeline: tuple[Mapping[str, str], ...] = ()
    payload: bytes | None = None
    """The payload while it is not in bronze."""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Record":
        """The record of a ledger item, in which the event's facts stand beside the other fields."""
        return convert({**fields, "event": fields}, cls)

    def to_dict(self) -> dict[str, Any]:
        """The record as `GET /events/{id}` shows it."""
        fields: dict[str, Any] = to_builtins(replace(self, payload=None))
        del fields["requeues"], fields["payload"]
        if self.silver_range is None:
            del fields["silverRange"]
        return {**fields.pop("event"), "subject": self.event.subject, **fields}


class Identity(Struct, frozen=True):
    """Two events of one owner with the same identity are one; `kind` is the namespace of `key`."""

    kind: str
    key: str


class Draft(Struct, frozen=True):
    """An event as it was sent. `payload` is stored byte for byte; schemas and processors see
    `data`: a JSON value, text, or base64 where `data_is_base64`. `cloud_event` holds the context
    attributes that have no field of their own (None: not a CloudEvent).

    Each form has a reader, a pure function that returns a `Draft` or raises `InvalidRequestError`
    with every field at fault. A payload that its reader refuses is stored as REJECTED (promise 4).
    """

    payload: bytes
    content_type: str
    event_type: str
    source: str
    subject: str | None
    data: Any
    identity: Identity | None = None
    cloud_event: Mapping[str, Any] | None = None
    data_is_base64: bool = False
    data_pointer: str = ""
    """Where `data` is in the payload, as a JSON Pointer."""

    def to_event(
        self,
        event_id: str,
        owner: str,
        received_at: str,
        s3_key: str,
        *,
        s3_range: str | None = None,
        schema_version: int | None = None,
    ) -> Event:
        """The event of this draft, with its payload at `s3_key`."""
        return Event(
            event_id=event_id,
            event_type=self.event_type,
            owner=owner,
            source=self.source,
            subject=self.subject,
            received_at=received_at,
            payload_sha256=sha256(self.payload),
            payload_bytes=len(self.payload),
            content_type=self.content_type,
            s3_key=s3_key,
            s3_range=s3_range,
            schema_version=schema_version,
            cloud_event=self.cloud_event,
        )


class Listing(Struct, frozen=True):
    """One page of a list: entries with `start` <= list key <= `end`, newest first unless
    `oldest_first`. `replay_of`: only events that repeat that one."""

    owner: str | None
    event_type: str | None = None
    status: Status | None = None
    start: str = OLDEST
    end: str = NEWEST
    limit: int = 50
    replay_of: str | None = None
    oldest_first: bool = False


class Partition(Struct, frozen=True):
    """A partition of an index; `status` is that of all its events, None if they differ."""

    index: str
    value: str
    status: Status | None


def may_become(status: Status) -> tuple[Status, ...]:
    """The statuses that an attempt may turn into `status`. A late attempt that fails must not
    reopen a FAILED event, as a redrive does."""
    return tuple(
        before
        for before, after in TRANSITIONS.items()
        if status in after and (before, status) != _REDRIVE
    )


def read_plain(body: bytes, identity: Identity | None = None) -> Draft:
    """A plain JSON event: the whole body is the payload, `eventType` its only required member."""
    document = parse_json(body, exact=True)
    if not isinstance(document, dict):
        raise InvalidRequestError.at("", "must be a JSON object")
    if "eventType" not in document:
        raise InvalidRequestError.at("/eventType", "is required")
    fault = name_fault(document["eventType"], MAX_TYPE_BYTES)
    if fault:
        raise InvalidRequestError.at("/eventType", fault)
    return Draft(
        payload=body,
        content_type=JSON,
        event_type=document["eventType"],
        source=_optional_name(document, "source") or DEFAULT_SOURCE,
        subject=_optional_name(document, "subject"),
        data=document,
        identity=identity,
    )


def _optional_name(document: Mapping[str, Any], field: str) -> str | None:
    """A plain event's `source` or `subject`; None for a value that cannot be a name, which is not
    a fault: the whole body is the payload and may use these members for something else."""
    value = document.get(field)
    return None if name_fault(value, MAX_NAME_BYTES) else value
