"""A draft: what was read from a request before it is an event, whatever form it came in.

Each form has a reader, a pure function that gives a `Draft` or raises `InvalidRequestError` naming
every field at fault. A payload whose reader refuses it is kept as REJECTED (promise 4).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.domain.events import MAX_NAME_BYTES, MAX_TYPE_BYTES, Event, name_fault, sha256
from chalicelib.domain.payloads import parse_json
from chalicelib.errors import InvalidRequestError

DEFAULT_SOURCE = "/events"
"""The source of a plain JSON event that names none; a URI reference, as in CloudEvents."""
MAX_KEY_CHARACTERS = 255
JSON = "application/json"


@dataclass(frozen=True)
class Identity:
    """What makes an event the same as another of its owner: `kind` is the namespace of `key`."""

    kind: str
    key: str


@dataclass(frozen=True)
class Draft:
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


def key_fault(key: object) -> str | None:
    """What is wrong with an idempotency key, in words; None when nothing is."""
    fits = isinstance(key, str) and 1 <= len(key) <= MAX_KEY_CHARACTERS
    if fits and str(key).isascii() and str(key).isprintable():
        return None
    return f"must be 1 to {MAX_KEY_CHARACTERS} printable ASCII characters"


def _optional_name(document: Mapping[str, Any], field: str) -> str | None:
    """A plain event's own `source` or `subject`. The whole body is the payload and may mean
    something else by these names, so one that can not be a name is left alone, not refused."""
    value = document.get(field)
    return None if name_fault(value, MAX_NAME_BYTES) else value
