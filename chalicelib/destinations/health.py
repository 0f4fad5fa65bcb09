"""What is known of destinations: each is read once for a while, judged by every answer, and
disabled when it is gone or has failed for too long."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.sns import Message, Topic
from chalicelib.aws.sqs import Queue
from chalicelib.core import clock
from chalicelib.core.log import log
from chalicelib.core.strict_json import dump_json
from chalicelib.destinations.model import PATIENCE, SLOW_MILLIS, TROUBLE, Destination
from chalicelib.destinations.store import DestinationStore
from chalicelib.outbound.send import Answer

_GONE, _FAILING = "gone", "failing"


class Destinations:
    """Destinations by id, each read once and used for `seconds`; keep one for the life of the
    process. What this process learns of an endpoint counts at once."""

    def __init__(
        self, store: DestinationStore, seconds: float, now: Callable[[], datetime] = clock.utc_now
    ) -> None:
        self.store = store
        self._age = timedelta(seconds=seconds)
        self._now = now
        self._known: dict[str, tuple[Destination | None, datetime]] = {}
        self._lock = threading.Lock()

    def get(self, destination_id: str) -> Destination | None:
        """A destination; one call, none while it is known."""
        with self._lock:
            known = self._known.get(destination_id)
        if known is not None and self._now() - known[1] < self._age:
            return known[0]
        return self.look(destination_id)

    def look(self, destination_id: str) -> Destination | None:
        """A destination as it is now; one call."""
        return self.learn(destination_id, self.store.get(destination_id))

    def learn(self, destination_id: str, destination: Destination | None) -> Destination | None:
        """Use this from now on."""
        with self._lock:
            self._known[destination_id] = destination, self._now()
        return destination


class Health(Struct, frozen=True):
    """Judges destinations by what they answer. `alerts` are for operators; `owner_topic` reaches an
    owner by their subscriptions."""

    destinations: Destinations
    alerts: Queue
    owner_topic: Topic
    now: Callable[[], datetime] = clock.utc_now

    def succeeded(self, called: Destination, answer: Answer) -> None:
        """Note that a destination, as it was when `called`, is well again, or slow; no call where
        that is known."""
        store, now = self.destinations.store, self.now()
        is_slow, is_failing = answer.millis > SLOW_MILLIS, called.failing_since is not None
        is_new = called.proven_at is None
        if is_new or is_failing or (called.trouble_since is not None and not is_slow):
            if not store.mark_healthy(called, now):
                self.destinations.look(called.destination_id)
                return
            healthy = replace(
                called,
                proven_at=called.proven_at or clock.to_text(now),
                failing_since=None,
                trouble_since=None,
                trouble_until=None,
            )
            self.destinations.learn(called.destination_id, healthy)
        # Not at each of many slow answers.
        if is_slow and (is_failing or not called.is_in_trouble(now + TROUBLE / 2)):
            self._learn(called, store.mark_slow(called, now))

    def failed(self, called: Destination, answer: Answer) -> None:
        """Note that a destination, as it was when `called`, fails; disable one that is gone, or has
        failed for too long."""
        store, now = self.destinations.store, self.now()
        marked = self._learn(called, store.mark_failed(called, now, is_trouble=answer.is_down))
        if marked is None or marked.disabled_at is not None:
            return
        since = clock.from_text(marked.failing_since or clock.to_text(now))
        reason = _GONE if answer.is_gone else _FAILING if now - since >= PATIENCE else None
        if reason is None:
            return
        # Told first: a death between the two tells it twice, which is one alert.
        self._tell(marked, reason)
        if store.disable(called, now, reason):
            log.warning("destination disabled", extra={"code": reason})
        self.destinations.look(called.destination_id)

    def _learn(self, called: Destination, marked: Destination | None) -> Destination | None:
        """Use what was marked from now on; or, where nothing was since the destination has another
        URL by now, what it is now, by one call."""
        if marked is None:
            self.destinations.look(called.destination_id)
            return None
        return self.destinations.learn(called.destination_id, marked)

    def _tell(self, destination: Destination, reason: str) -> None:
        """Tell operators by an alert, and the owner by their subscriptions; two calls."""
        fields = {
            "kind": "destination-disabled",
            "destinationId": destination.destination_id,
            "owner": destination.owner,
            "reason": reason,
            "at": clock.to_text(self.now()),
        }
        self.alerts.send(dump_json({"eventline": fields}))
        why = "it answered 410 Gone" if reason == _GONE else "it has failed for five days"
        text = (
            f"The destination {destination.destination_id} was disabled: {why}.\n"
            "Change it (PUT) to enable it again, and send what it missed with its retry.\n"
        )
        subject = "Eventline: a destination was disabled"
        self.owner_topic.publish(Message(subject, text, {"owner": destination.owner}))
