"""A destination and its deliveries: values, and what follows from them.

A delivery is one event on its way to one destination. It is `waiting`, `delivered` or `failed`; its
attempts are kept with it. `tries` counts the attempts since it was begun, by which the next wait is
found (`RETRY_SECONDS`).
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from chalicelib.core import clock
from chalicelib.core.strict_json import dump_json
from chalicelib.events.model import Record

RETRY_SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000)
"""The waits after failed attempts (Standard Webhooks, "Retry schedule"); then it is given up."""
JITTER = 0.1
"""A wait is up to so much longer, so that what failed together does not come back together."""
LONGEST_RETRY_AFTER = 86_400
OVERLAP = timedelta(days=1)
"""How long the secret before is signed with after a rotation."""
PATIENCE = timedelta(days=5)
"""How long a destination may fail, without one success, before it is disabled."""
KEPT = timedelta(days=30)
"""How long deliveries and their attempts are kept."""
TROUBLE = timedelta(minutes=1)
"""How long after a slow answer a destination counts as in trouble."""
SLOW_MILLIS = 5_000
"""An answer that takes longer is trouble too."""
SHORTEST_PAUSE, LONGEST_PAUSE = 60, 18_000
"""Seconds for which a delivery waits that got no slot."""
FIRST_PAUSE = 2
"""The same while the first call to a new destination is out."""
MAX_ATTEMPTS_KEPT, OLDER_CHARACTERS = 20, 200
MAX_DESTINATIONS = 1_000
"""Of one owner."""
MAX_RATE = 1_000
"""The highest rate that may be asked for: deliveries a second."""


class Format(StrEnum):
    """What a request looks like: the payload of Standard Webhooks, or a CloudEvent."""

    STANDARD = "standard"
    STRUCTURED = "cloudevents"
    BINARY = "cloudevents-binary"


class State(StrEnum):
    """Whether a destination gets events."""

    ACTIVE = "active"
    FAILING = "failing"
    PAUSED = "paused"
    DISABLED = "disabled"


class Outcome(StrEnum):
    """Where a delivery stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class Secret(Struct, frozen=True):
    """A secret, in use until a time; None for the one that does not end."""

    text: str
    until: str | None = None


class Destination(Struct, frozen=True, kw_only=True, rename="camel"):
    """A destination as it is stored. `failing_since` is the time of the first failure after the
    last success; `trouble_since` and `trouble_until` say when calls need a slot: after a failure of
    its server until a success. `proven_at` is the time of the first success at its URL. `rate` is
    the most calls a second, None for no limit. `ordered`: events of one subject go one at a time,
    in the order in which they were received."""

    destination_id: str
    owner: str
    url: str
    event_types: tuple[str, ...]
    filter: Mapping[str, Any] | None = None
    description: str | None = None
    headers: Mapping[str, str] = {}
    rate: int | None = None
    ordered: bool = False
    paused: bool = False
    format: Format = Format.STANDARD
    secrets: tuple[Secret, ...]
    created_at: str
    updated_at: str
    failing_since: str | None = None
    trouble_since: str | None = None
    trouble_until: str | None = None
    proven_at: str | None = None
    disabled_at: str | None = None
    disabled_reason: str | None = None

    @property
    def state(self) -> State:
        """Whether it gets events."""
        if self.disabled_at is not None:
            return State.DISABLED
        if self.paused:
            return State.PAUSED
        return State.ACTIVE if self.failing_since is None else State.FAILING

    @property
    def is_off(self) -> bool:
        """Whether it gets none."""
        return self.state in (State.PAUSED, State.DISABLED)

    def signing_secrets(self, now: datetime) -> list[str]:
        """The secrets to sign with, newest first."""
        text = clock.to_text(now)
        return [one.text for one in self.secrets if one.until is None or one.until > text]

    def rotated(self, secret: str, now: datetime) -> "Destination":
        """With a new secret; the one before goes on for `OVERLAP`, older ones end."""
        before = replace(self.secrets[0], until=clock.to_text(now + OVERLAP))
        return replace(self, secrets=(Secret(secret), before), updated_at=clock.to_text(now))

    @property
    def is_down(self) -> bool:
        """Whether its server failed last, and has not succeeded since."""
        return self.trouble_since is not None and self.failing_since is not None

    def is_in_trouble(self, now: datetime) -> bool:
        """Whether it is down, or was slow a moment ago."""
        is_slow = self.trouble_until is not None and self.trouble_until > clock.to_text(now)
        return self.is_down or is_slow

    def needs_slot(self, now: datetime) -> bool:
        """Whether a call needs a slot: in trouble, and as long as nobody knows that it is not."""
        return self.proven_at is None or self.is_in_trouble(now)

    def pause_seconds(self, now: datetime, jitter: float) -> int:
        """How long a delivery waits that got no slot: half as long as the trouble has lasted."""
        if self.trouble_since is None:
            return FIRST_PAUSE
        since = clock.from_text(self.trouble_since)
        lasted = (now - since).total_seconds() / 2
        return round(min(max(lasted, SHORTEST_PAUSE), LONGEST_PAUSE) * (1 + JITTER * jitter))

    def to_dict(self) -> dict[str, Any]:
        """The destination as the API shows it: no secret, and of its own headers the names alone,
        since a value may be a password."""
        return {
            "id": self.destination_id,
            "owner": self.owner,
            "url": self.url,
            "eventTypes": list(self.event_types),
            "filter": self.filter,
            "description": self.description,
            "headerNames": sorted(self.headers),
            "format": self.format,
            "rate": self.rate,
            "ordered": self.ordered,
            "paused": self.paused,
            "state": self.state,
            "failingSince": self.failing_since,
            "disabledAt": self.disabled_at,
            "disabledReason": self.disabled_reason,
            "previousSecretUntil": self.secrets[1].until if self.secrets[1:] else None,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
        }


class Route(Struct, frozen=True):
    """What matching needs of a destination."""

    destination_id: str
    event_types: tuple[str, ...]
    filter: Mapping[str, Any] | None = None
    ordered: bool = False


class Attempt(Struct, frozen=True, rename="camel"):
    """One call. `status` is the HTTP status, None for no answer; `code` says why it failed, ""
    for a success; `answer` is the beginning of what was answered, as text."""

    at: str
    millis: int
    status: int | None = None
    code: str = ""
    answer: str = ""


class Delivery(Struct, frozen=True, kw_only=True, rename="camel"):
    """One event to one destination. `silver_range` as in the ledger; `line` once it has joined one
    (`destinations.line`)."""

    destination_id: str
    event_id: str
    received_at: str
    event_type: str
    silver_key: str
    silver_range: str | None = None
    line: str | None = None
    outcome: Outcome = Outcome.WAITING
    tries: int = 0
    attempts: tuple[Attempt, ...] = ()
    next_at: str | None = None
    code: str | None = None
    """Why it was given up, where no attempt says so."""

    def to_dict(self) -> dict[str, Any]:
        """The delivery as the API shows it, the newest attempt last."""
        shown = to_builtins(self)
        hidden = ("silverKey", "silverRange", "line", "tries", "outcome")
        kept = {name: value for name, value in shown.items() if name not in hidden}
        return {**kept, "state": self.outcome}


def wait_after(tries: int, retry_after: int | None, jitter: float) -> int | None:
    """The seconds to wait after `tries` attempts have failed; None when it is given up. `jitter`
    is 0 to 1. What the receiver asked for counts where it is longer, up to a day."""
    if tries > len(RETRY_SECONDS):
        return None
    planned = RETRY_SECONDS[tries - 1]
    asked = min(retry_after or 0, LONGEST_RETRY_AFTER)
    return round(max(planned, asked) * (1 + JITTER * jitter))


def write_filter(pattern: Mapping[str, Any] | None) -> str | None:
    """The inverse of `read_filter`."""
    return None if pattern is None else dump_json(pattern)


def read_filter(text: str | None) -> Mapping[str, Any] | None:
    """A filter of its JSON text, the form in which it is stored: DynamoDB knows no floats here."""
    if text is None:
        return None
    pattern: Mapping[str, Any] = json.loads(text)
    return pattern


def list_key(received_at: str, event_id: str) -> str:
    """The key of an event's deliveries within a destination."""
    return f"{received_at}#{event_id}"


def kept_attempts(before: Sequence[Attempt], attempt: Attempt) -> tuple[Attempt, ...]:
    """The attempts that are kept; of older answers less, so that a note stays small."""
    older = [replace(one, answer=one.answer[:OLDER_CHARACTERS]) for one in before]
    return (*older[1 - MAX_ATTEMPTS_KEPT :], attempt)


def delivery_of(record: Record, destination_id: str) -> Delivery:
    """The delivery of an event of the ledger, which nobody has tried yet."""
    event = record.event
    return Delivery(
        destination_id=destination_id,
        event_id=event.event_id,
        received_at=event.received_at,
        event_type=event.event_type,
        silver_key=record.silver_key or "",
        silver_range=record.silver_range,
    )


def kept_until(now: datetime) -> int:
    """When what is written now is deleted, as DynamoDB has a time to live."""
    return int((now + KEPT).timestamp())


def with_next(delivery: Delivery, at: datetime) -> Delivery:
    """The delivery, which waits until then."""
    return replace(delivery, outcome=Outcome.WAITING, next_at=clock.to_text(at))
