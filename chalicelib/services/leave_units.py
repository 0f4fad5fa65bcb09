"""Leaving a unit: how an event goes on that is not in its unit's silver file.

Sent first, then noted. The note, a failed attempt in the ledger, says to all others that the event
may be sent alone from now on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.domain import clock
from chalicelib.domain.events import Event, Handover
from chalicelib.domain.failures import classify, where
from chalicelib.domain.messages import EventMessage
from chalicelib.errors import UnavailableError
from chalicelib.observability import log, log_context
from chalicelib.services.end_events import Processing, record_failure, wait_after


@dataclass(frozen=True)
class Leaving:
    """An event that leaves: why, and how many attempts were made at it. `has_run` says that it
    failed just now, so that it waits before it is tried again."""

    event: Event
    payload: bytes | None
    error: BaseException
    attempts: int
    has_run: bool


def leave(
    leaving: Sequence[Leaving], handover: Handover, request_id: str, using: Processing
) -> list[BaseException]:
    """Let events go on alone, or end them as FAILED where there is no use in that; what stood
    against it. AWS calls: one for ten to the queue, one for each to the ledger, an alert for each
    that ends."""
    ended = [one for one in leaving if _is_last(one, using)]
    alone = [one for one in leaving if not _is_last(one, using)]

    def end(one: Leaving) -> BaseException | None:
        with log_context(eventId=one.event.event_id):
            wait = record_failure(one.event, handover, one.attempts, one.error, using)
        return None if wait is None else UnavailableError("a failure was not recorded")

    errors = using.each(end, ended) + _send(alone, handover, request_id, using)
    return [error for error in errors if error is not None]


def _is_last(one: Leaving, using: Processing) -> bool:
    return classify(one.error).kind == "permanent" or one.attempts >= using.max_attempts


def _send(
    leaving: Sequence[Leaving], handover: Handover, request_id: str, using: Processing
) -> list[BaseException | None]:
    if not leaving:
        return []
    bodies = [
        EventMessage(
            one.event,
            one.payload,
            recorded=False,
            request_id=request_id,
            attempts=one.attempts,
        ).encode()
        for one in leaving
    ]
    delays = [wait_after(one.attempts, using) if one.has_run else 0 for one in leaving]
    codes = using.queue.send_many(bodies, delays)

    def note(pair: tuple[Leaving, str | None]) -> BaseException | None:
        one, code = pair
        if code is not None:
            return UnavailableError(f"SQS did not take a message: {code}")
        failure = classify(one.error)
        extra = {
            "attempt": one.attempts,
            "class": failure.kind,
            "code": failure.code,
            "where": where(one.error),
        }
        with log_context(eventId=one.event.event_id):
            log.warning("event left its unit", extra=extra)
            at = clock.to_text(using.now())
            try:
                using.ledger.mark_attempt_failed(
                    one.event, at, failure, final=False, handover=handover
                )
            except Exception as error:  # noqa: BLE001 - the unit's message comes again
                return error
        return None

    return using.each(note, zip(leaving, codes, strict=True))
