"""Running the processor of one event: from its payload to its silver document."""

from dataclasses import dataclass
from typing import Any

from chalicelib.domain.events import Event, sha256
from chalicelib.domain.silver import silver_document
from chalicelib.errors import PermanentError
from chalicelib.services.end_events import Processing
from chalicelib.services.processors import Incoming, find_processor, read_data, time_limit


@dataclass(frozen=True)
class Result:
    """A silver document, and the message for the queue of alerts if the event is one."""

    document: str
    alert: str | None


def run_processor(
    event: Event,
    payload: bytes,
    attempt: int,
    seconds: float,
    processed_at: str,
    using: Processing,
) -> Result:
    """Run the processor for an event's type, for up to `seconds`; what it raises passes."""
    data, is_base64 = read_data(event, payload)
    with time_limit(seconds):
        result = find_processor(event.event_type, using.processors)(Incoming(event, data, attempt))
    untouched = is_base64 and result is data
    document = silver_document(
        event, result, processed_at, using.lake.bronze_bucket, is_base64=untouched
    )
    return Result(document, _alert(event, data, using))


def read_alert(event: Event, payload: bytes, using: Processing) -> str | None:
    """The alert that an event gives rise to, without running its processor."""
    if event.owner != using.webhook_owner:
        return None
    return _alert(event, read_data(event, payload)[0], using)


def check_payload(event: Event, payload: bytes) -> bytes:
    """The payload, if it is the one that was received; `PermanentError` if not."""
    if sha256(payload) != event.payload_sha256:
        raise PermanentError("the payload in bronze is another", code="payload-changed")
    return payload


def missing_payload() -> PermanentError:
    """The error for a payload that is gone."""
    return PermanentError("the payload is not in bronze", code="payload-missing")


def _alert(event: Event, data: Any, using: Processing) -> str | None:
    if event.owner != using.webhook_owner:
        return None
    from chalicelib.domain.webhooks import alert_of

    return alert_of(event.event_type, data)
