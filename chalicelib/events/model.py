"""An event: what was received, what has become of it, and which steps of its life are legal.

Pure values and functions. Times and randomness are parameters. Field names in records, messages
and answers are the contract's (camelCase); inside the code they are Python's.

A draft: what was read from a request before it is an event, whatever form it came in.

Each form has a reader, a pure function that gives a `Draft` or raises `InvalidRequestError` naming
every field at fault. A payload whose reader refuses it is kept as REJECTED (promise 4).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct

from chalicelib.core.errors import InvalidRequestError
from chalicelib.core.ids import sha256
from chalicelib.core.names import MAX_NAME_BYTES, MAX_TYPE_BYTES, name_fault
from chalicelib.core.paging import NEWEST, OLDEST
from chalicelib.core.strict_json import parse_json


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
    Status.FAILED: frozenset({Status.PROCESSED, Status.ENQUEUED}),
    Status.PROCESSED: frozenset(),
    Status.REJECTED: frozenset(),
}
"""Legal steps. RECEIVED may end without ENQUEUED being written: the worker can be faster than the
API. FAILED may turn PROCESSED: a message that was given up for lost may still arrive. FAILED turns
ENQUEUED by a redrive only."""
REDRIVEN = "redriven"
"""What the step of a redrive says."""
_REDRIVE = (Status.FAILED, Status.ENQUEUED)


def may_become(status: Status) -> tuple[Status, ...]:
    """The statuses from which an event may turn to `status` by an attempt at it: a late attempt
    that fails must not take up again what was FAILED."""
    return tuple(
        before
        for before, after in TRANSITIONS.items()
        if status in after and (before, status) != _REDRIVE
    )


class Event(Struct, frozen=True):
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
    s3_range: str | None = None
    """Where the payload lies in the file of its unit, as an HTTP range; None: it is all of it."""
    schema_version: int | None = None
    """The version of its type's schema that it was checked against; None: there was no schema."""
    cloud_event: Mapping[str, Any] | None = None
    """A CloudEvent's context attributes that the fields above have no room for."""

    def to_dict(self) -> dict[str, Any]:
        """The facts under the contract's names; what is absent is left out."""
        facts = {name: getattr(self, attribute) for name, (attribute, _) in _FACTS.items()}
        return {name: value for name, value in facts.items() if value is not None}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "Event":
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError on anything else."""
        wrong = [
            name
            for name, (attribute, kind) in _FACTS.items()
            if not isinstance(facts.get(name), kind)
            and not (attribute in _MAY_LACK and facts.get(name) is None)
        ]
        if wrong:
            raise ValueError(f"not an event: {', '.join(wrong)}")
        return cls(**{attribute: facts.get(name) for name, (attribute, _) in _FACTS.items()})  # type: ignore[arg-type]


_FACTS: Mapping[str, tuple[str, type]] = {
    "eventId": ("event_id", str),
    "eventType": ("event_type", str),
    "owner": ("owner", str),
    "source": ("source", str),
    "subject": ("subject", str),
    "receivedAt": ("received_at", str),
    "payloadSha256": ("payload_sha256", str),
    "payloadBytes": ("payload_bytes", int),
    "contentType": ("content_type", str),
    "s3Key": ("s3_key", str),
    "s3Range": ("s3_range", str),
    "schemaVersion": ("schema_version", int),
    "cloudEvent": ("cloud_event", Mapping),
}
_MAY_LACK = ("subject", "s3_range", "schema_version", "cloud_event")


class Failure(Struct, frozen=True):
    """Why an attempt failed: `kind` is permanent, transient or unknown (`class` in a record)."""

    kind: str
    code: str
    message: str

    def to_dict(self) -> dict[str, str]:
        return {"class": self.kind, "code": self.code, "message": self.message}


class Step(Struct, frozen=True):
    """One entry of a timeline."""

    status: Status
    at: str
    detail: str | None = None

    def to_dict(self) -> dict[str, str]:
        entry = {"status": str(self.status), "at": self.at}
        return entry if self.detail is None else {**entry, "detail": self.detail}


class Dispatch(Struct, frozen=True):
    """How an event came to the worker: when its message was sent, and whether the ledger, if it
    has the event, has that noted as a step."""

    sent_at: str
    noted: bool


class Record(Struct, frozen=True):
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
            **({} if self.silver_range is None else {"silverRange": self.silver_range}),
            "replayOf": self.replay_of,
            "timeline": list(self.timeline),
        }


DEFAULT_SOURCE = "/events"
"""The source of a plain JSON event that names none; a URI reference, as in CloudEvents."""
JSON = "application/json"


class Identity(Struct, frozen=True):
    """What makes an event the same as another of its owner: `kind` is the namespace of `key`."""

    kind: str
    key: str


class Draft(Struct, frozen=True):
    """An event as it was sent. `payload` is kept byte for byte; `data` is what a schema describes
    and a processor sees: a JSON value, or text, or base64 where `data_is_base64`. `cloud_event`
    holds the context attributes that the other fields have no room for (None: no CloudEvent)."""

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
        """The event that this becomes once it is kept at `s3_key`."""
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


def read_plain(body: bytes, identity: Identity | None = None) -> Draft:
    """A plain JSON event: the whole body is the payload, `eventType` its only required member."""
    document = parse_json(body)
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
    """A plain event's own `source` or `subject`. The whole body is the payload and may mean
    something else by these names, so one that cannot be a name is left alone, not refused."""
    value = document.get(field)
    return None if name_fault(value, MAX_NAME_BYTES) else value


class Listing(Struct, frozen=True):
    """One page of a list: entries with `start` <= list key <= `end`, newest first."""

    owner: str | None
    event_type: str | None = None
    status: Status | None = None
    start: str = OLDEST
    end: str = NEWEST
    limit: int = 50


class Partition(Struct, frozen=True):
    """A partition of an index; `status` is that of all its events, None when they differ."""

    index: str
    value: str
    status: Status | None
