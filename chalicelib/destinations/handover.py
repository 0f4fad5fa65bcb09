"""The hand-over in the worker: a message for each destination that gets an event.

It comes before the bus, and the unit's journal entry stays open until the queue of deliveries has
all messages: whoever finishes a dead run's unit hands over again, and says so in the message.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from chalicelib.aws.faults import aws_code, aws_faults
from chalicelib.aws.sqs import Queue
from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock, metrics
from chalicelib.core.log import log
from chalicelib.destinations.line import LineStore, line_of
from chalicelib.destinations.match import (
    MAX_COMPARISONS,
    Comparisons,
    TooManyComparisonsError,
    filter_matches,
    needs_data,
    type_matches,
)
from chalicelib.destinations.message import DeliveryMessage
from chalicelib.destinations.model import Delivery, Route
from chalicelib.destinations.store import DestinationStore
from chalicelib.events.finish import Handed

_MOST_OWNERS = 10_000
_AT_ONCE = 10
"""Messages of a call to the queue."""
_LEAST_COMPARISONS = 10_000
"""Of all filters with a document; those of a run share `MAX_COMPARISONS` otherwise."""
RESERVE_SECONDS = 2
"""What a run needs to tell the bus and to leave the rest to another. Processors leave more."""
_NO_TIME = "no-time"


class Routes:
    """The routes of owners, each used for `seconds`; keep one for the life of the process. That an
    owner has none is remembered too."""

    def __init__(
        self,
        store: DestinationStore,
        seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._seconds = seconds
        self._monotonic = monotonic
        self._known: dict[str, tuple[list[Route], float]] = {}

    def of(self, owner: str) -> list[Route]:
        """An owner's routes; one call, none while they are known."""
        now = self._monotonic()
        known = self._known.get(owner)
        if known is not None and now - known[1] < self._seconds:
            return known[0]
        if len(self._known) >= _MOST_OWNERS:
            self._known.clear()
        routes = self._store.routes(owner)
        self._known[owner] = routes, now
        return routes


class HandOverDeps(Struct, frozen=True):
    """The collaborators of `hand_over`. `seconds_left` gives the seconds left to this run."""

    routes: Routes
    queue: Queue
    lines: LineStore
    seconds_left: Callable[[], float]
    now: Callable[[], datetime] = clock.utc_now
    each: Each = in_threads


def hand_over(documents: Sequence[Handed], deps: HandOverDeps) -> list[str | None]:
    """Send a message for each destination that gets one of `documents`; for each document None when
    that is done, else the code of what AWS refused, or that there was no time.

    Documents with few destinations go first, so that one with very many holds up no other. A filter
    that would take too long here is left to `deliver`. AWS calls: for an event that nobody
    subscribed to none, but one for each owner and `DESTINATION_CACHE_SECONDS`; else one to the
    queue for ten messages, and one for each that joins a line first.
    """
    codes: list[str | None] = [None] * len(documents)
    found: list[tuple[int, list[DeliveryMessage]]] = []
    share = max(MAX_COMPARISONS // max(len(documents), 1), _LEAST_COMPARISONS)
    for place, document in enumerate(documents):
        try:
            routes = deps.routes.of(document.head["owner"])
        except aws_faults() as error:
            codes[place] = aws_code(error)
            continue
        found.append((place, _messages(document, routes, Comparisons(share))))
    found.sort(key=lambda one: len(one[1]))
    messages = [message for _, some in found for message in some]
    places = [place for place, some in found for _ in some]
    if messages:
        joined = _join(messages, deps)
        # All are in their lines before one is sent, so that none overtakes those of its run.
        ready = [one for one, code in zip(messages, joined, strict=True) if code is None]
        sent = iter(_send(ready, deps))
        refused = [next(sent) if code is None else code for code in joined]
        for place, code in zip(places, refused, strict=True):
            codes[place] = codes[place] or code
        metrics.add("HandedOver", len(messages))
        log.info("deliveries handed over", extra={"number": len(messages)})
    return codes


def _messages(
    document: Handed, routes: Sequence[Route], comparisons: Comparisons
) -> list[DeliveryMessage]:
    """Those for the destinations that a document goes to. Its text is read only if a filter asks
    for data."""
    event: Mapping[str, Any] = document.head
    found = [one for one in routes if type_matches(one.event_types, event["eventType"])]
    if any(needs_data(one.filter) for one in found):
        event = {**event, "data": json.loads(document.text).get("data")}
    messages = []
    for route in found:
        try:
            if route.filter is None or filter_matches(route.filter, event, comparisons):
                messages.append(_message(document, route))
        except TooManyComparisonsError:
            messages.append(_message(document, route, match=True))
    return messages


def _message(document: Handed, route: Route, *, match: bool = False) -> DeliveryMessage:
    head = document.head
    delivery = Delivery(
        destination_id=route.destination_id,
        event_id=head["eventId"],
        received_at=head["receivedAt"],
        event_type=head["eventType"],
        silver_key=document.key,
        silver_range=document.byte_range,
        line=line_of(route, head),
    )
    return DeliveryMessage(
        delivery, document.text, document.again, match, request_id=document.request_id
    )


def _join(messages: Sequence[DeliveryMessage], deps: HandOverDeps) -> list[str | None]:
    """Put those of ordered destinations into their lines; for each message None, or the code of
    what AWS refused."""
    if all(one.delivery.line is None for one in messages):
        return [None] * len(messages)

    def join(message: DeliveryMessage) -> str | None:
        if message.delivery.line is None:
            return None
        if deps.seconds_left() < RESERVE_SECONDS:
            return _NO_TIME
        try:
            deps.lines.join(message, deps.now())
        except aws_faults() as error:
            return aws_code(error)
        return None

    return list(deps.each(join, messages))


def _send(messages: Sequence[DeliveryMessage], deps: HandOverDeps) -> list[str | None]:
    """Send messages, some at the same time: an event may have a thousand destinations."""

    def send(start: int) -> list[str | None]:
        some = messages[start : start + _AT_ONCE]
        groups = [one.destination_id for one in some]
        if deps.seconds_left() < RESERVE_SECONDS:
            return [_NO_TIME] * len(some)
        try:
            return deps.queue.send_many([one.encode() for one in some], groups=groups)
        except aws_faults() as error:
            return [aws_code(error)] * len(some)

    answers = deps.each(send, range(0, len(messages), _AT_ONCE))
    return [code for answer in answers for code in answer]
