"""Values to test with. Every id is new; what a test cares about it passes by name."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from chalicelib.aws.sqs import Delivery
from chalicelib.core import clock
from chalicelib.core.ids import new_event_id, sha256
from chalicelib.events.ingest import Submission
from chalicelib.events.keys import bronze_key
from chalicelib.events.ledger import Done
from chalicelib.events.message import EventsMessage, Parcel, decode_message, encode_message
from chalicelib.events.model import Event, Identity, Record, Status, Step, read_plain
from chalicelib.tokens.model import Token, hash_secret

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
_numbers = itertools.count(1)


def unique(prefix: str) -> str:
    """A name nothing else in this run has."""
    return f"{prefix}-{next(_numbers)}"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime = NOON) -> None:
        self._now = start

    def __call__(self) -> datetime:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)

    @property
    def text(self) -> str:
        """Now, as the ledger writes it."""
        return clock.to_text(self._now)


def make_id(now: datetime = NOON) -> str:
    """A new event id."""
    return new_event_id(now, next(_numbers).to_bytes(10, "big"))


def make_body(event_type: str = "demo", **fields: Any) -> bytes:
    """A payload, different from every other unless `n` is given."""
    fields.setdefault("n", next(_numbers))
    return json.dumps({"eventType": event_type, **fields}).encode()


def make_event(
    *,
    event_id: str | None = None,
    event_type: str = "demo",
    owner: str = "alice",
    at: datetime = NOON,
    payload: bytes = b'{"eventType":"demo"}',
    source: str = "/events",
    subject: str | None = None,
    content_type: str = "application/json",
    s3_range: str | None = None,
) -> Event:
    """An event received at `at`."""
    event_id = event_id or make_id(at)
    received_at = clock.to_text(at)
    return Event(
        event_id=event_id,
        event_type=event_type,
        owner=owner,
        source=source,
        subject=subject,
        received_at=received_at,
        payload_sha256=sha256(payload),
        payload_bytes=len(payload),
        content_type=content_type,
        s3_key=bronze_key(event_type, received_at, event_id),
        s3_range=s3_range,
    )


def make_record(
    event: Event | None = None, status: Status = Status.ENQUEUED, requeues: int = 0
) -> Record:
    """The record of an event just received."""
    event = event or make_event()
    return Record(
        event=event,
        status=status,
        updated_at=event.received_at,
        s3_bucket="bronze",
        requeues=requeues,
        timeline=(Step(status, event.received_at).to_dict(),),
    )


def make_submission(
    body: bytes | None = None, *, owner: str = "alice", key: str | None = None
) -> Submission:
    """What a sender sends."""
    payload = make_body() if body is None else body
    identity = None if key is None else Identity("idempotency", key)
    return Submission(
        payload=payload,
        content_type="application/json",
        owner=owner,
        request_id=unique("request"),
        read=lambda: read_plain(payload, identity),
    )


def no_schema(event_type: str, data: object, is_json: bool) -> int | None:
    """The check of a stage that has no schemas."""
    return None


def make_message(event: Event, payload: bytes | None, *, in_bronze: bool = True) -> str:
    """The body of the message of one event."""
    return encode_message(Parcel(event, payload, in_bronze), unique("request"))


def decode_events(body: str) -> EventsMessage:
    """The message of some events."""
    message = decode_message(body)
    assert isinstance(message, EventsMessage)
    return message


def decode_event(body: str) -> Parcel:
    """The one event of a message."""
    (parcel,) = decode_events(body).parcels
    return parcel


def make_delivery(body: str, attempt: int = 1, sent_at: datetime = NOON) -> Delivery:
    """One delivery of a message."""
    return Delivery(
        body=body,
        receipt_handle=unique("handle"),
        message_id=unique("message"),
        attempt=attempt,
        sent_at=clock.to_text(sent_at),
    )


def make_done(event: Event, at: str | None = None, **places: str) -> Done:
    """An event that was processed."""
    return Done(event.event_id, at or event.received_at, **{"silver_key": "k", **places})


def make_token(
    *, owner: str = "alice", expires_at: str | None = None, secret: str = "5" * 64
) -> Token:
    """A token as it is stored."""
    return Token(
        token_id=f"t{next(_numbers):07d}",
        secret_sha256=hash_secret(secret),
        owner=owner,
        scopes=("events:read",),
        created_at=clock.to_text(NOON),
        expires_at=expires_at,
    )


class LambdaContext:
    """What Lambda passes a handler, with `seconds` left to run."""

    def __init__(self, seconds: float = 60.0) -> None:
        self.aws_request_id = unique("run")
        self._millis = int(seconds * 1000)

    def get_remaining_time_in_millis(self) -> int:
        return self._millis
