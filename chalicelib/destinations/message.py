"""The messages of the queue of deliveries.

`{"v":1,"delivery":{...},"document":"...","again":true}`: one event to one destination. A document
of up to `INLINE_BYTES` is sent along, since SQS counts ten such messages as one request; another is
read from silver. `again` says that the delivery may have been made: it is read first.
`match` says that the destination's filter is still to be asked, `turn` that it has waited for its
turn at the destination's rate. `requestId` is for the log.

`{"v":1,"sweep":{...}}`: the order to send many deliveries again, from a point in time.
"""

import json
from typing import Any

from msgspec import Struct, convert, field, to_builtins

from chalicelib.core.errors import ForeignMessageError
from chalicelib.core.ids import is_event_id
from chalicelib.core.strict_json import dump_json
from chalicelib.destinations.model import Delivery

VERSION = 1
INLINE_BYTES = 6_000


class DeliveryMessage(Struct, frozen=True):
    """One delivery; of it the message holds what is needed to make an attempt."""

    delivery: Delivery
    document: str | None = None
    again: bool = False
    match: bool = False
    turn: bool = False
    request_id: str = field(default="", name="requestId")

    def encode(self) -> str:
        """The message's body."""
        place = self.delivery
        fields: dict[str, Any] = {
            "destinationId": place.destination_id,
            "eventId": place.event_id,
            "receivedAt": place.received_at,
            "eventType": place.event_type,
            "silverKey": place.silver_key,
            "silverRange": place.silver_range,
            "tries": place.tries,
        }
        if place.line is not None:
            fields["line"] = place.line
        body: dict[str, Any] = {"v": VERSION, "delivery": fields}
        if self.document is not None and len(self.document.encode()) <= INLINE_BYTES:
            body["document"] = self.document
        if self.again:
            body["again"] = True
        if self.match:
            body["match"] = True
        if self.turn:
            body["turn"] = True
        if self.request_id:
            body["requestId"] = self.request_id
        return dump_json(body)

    @property
    def destination_id(self) -> str:
        return self.delivery.destination_id


class Sweep(Struct, frozen=True, rename="camel"):
    """Send deliveries again whose events were received in a window (list keys): those that failed,
    or with `every` all that match and were not delivered. `shard` and `after` are how far it is.

    With `ordered` it goes through the window twice: until it has `joined`, deliveries join their
    lines; then the lines are called."""

    destination_id: str
    start: str
    end: str
    every: bool = False
    shard: int = 0
    after: str | None = None
    ordered: bool = False
    joined: bool = False

    def encode(self) -> str:
        """The message's body."""
        return dump_json({"v": VERSION, "sweep": to_builtins(self)})


def decode(body: str) -> DeliveryMessage | Sweep:
    """Read a message; raises `ForeignMessageError` for one that Eventline did not write."""
    try:
        fields = json.loads(body)
        if fields["v"] != VERSION:
            raise ForeignMessageError("not a version that this release reads")
        if "sweep" in fields:
            return convert(fields["sweep"], Sweep)
        message = convert(fields, DeliveryMessage)
    except (ValueError, KeyError, TypeError) as error:
        raise ForeignMessageError("not a message of deliveries") from error
    ids = (message.delivery.destination_id, message.delivery.event_id)
    if not all(map(is_event_id, ids)):
        raise ForeignMessageError("not a message of deliveries")
    return message
