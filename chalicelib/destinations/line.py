"""Lines: the deliveries of an ordered destination that have one source and subject.

A delivery joins its line before its message is on the queue. Only the first of a line is sent;
whoever has sent it leaves the line and calls the next. The others have no message meanwhile, so
waiting costs nothing.

| item | pk | sk |
|---|---|---|
| a delivery, with its message | `LINE#<destination>#<digest>` | `<receivedAt>#<place>#<eventId>` |
| the lease of the one that is sent | `LINE#<destination>#<digest>` | `-` |

Both keep the time at which they were heard of (`heardAt`).

`place` is where the payload begins in its bronze file, so that the events of a batch keep their
order, as far as they are one unit. A delivery's `line` is `<digest>#<place>`.

The lease keeps two from being sent at once where an older event joins late. Whoever leaves does it
in this order: delete the entry, call the next, free the lease. A death at any point leaves the
entry or the lease, by which the repeat of the message knows that there is something left to do.

A message may be lost nonetheless: purged, say, or too old in the dead-letter queue. A line of which
nobody has heard for `SILENCE` is told by the next message that comes to wait in it; who finds that
sends the first one's message again (`deliver`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.dynamodb import Table, from_item, to_item
from chalicelib.core import clock
from chalicelib.destinations.message import DeliveryMessage
from chalicelib.destinations.model import Delivery, Destination, Route, kept_until
from chalicelib.events.unit import bounds

LEASE_SECONDS = 60
"""Longer than a call and its notes take."""
PAUSE = 2
"""Seconds for which the first of a line waits for one that is being sent."""
SILENCE = timedelta(hours=1)
"""After so long a line may have lost its message: the queue's waits are shorter."""
_LEASE = "-"


class First(Struct, frozen=True):
    """The first of a line: its event, its message, and when it or the line's lease was last heard
    of; "" for an entry of a release that did not note it."""

    event_id: str
    message: str
    heard_at: str


def line_of(target: Destination | Route, head: Mapping[str, Any]) -> str | None:
    """The line that an event with this envelope waits in, and its place; None for one without a
    subject, or where no order was asked for."""
    subject = head.get("subject")
    if not target.ordered or subject is None:
        return None
    named = f"{head.get('source')}\0{subject}"
    digest = hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    byte_range = head["bronze"].get("range")
    place = bounds(byte_range)[0] if byte_range else 0
    return f"{digest}#{place:08}"


class LineStore:
    """Reads and writes lines, those that a delivery's `line` names. Each method is one call, but
    for `waiting`."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = Table(client, table)

    def join(self, message: DeliveryMessage, now: datetime) -> None:
        """Put a delivery into its line, by the time at which its event was received; one that is
        there stays there."""
        body = replace(message, document=None, again=True, turn=False).encode()
        self._table.write(
            "update_item",
            Key=_entry(message.delivery),
            UpdateExpression="SET body = :body, heardAt = :now, #ttl = :ttl",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues=to_item(
                {
                    ":body": body,
                    ":now": clock.to_text(now),
                    ":ttl": kept_until(now),
                }
            ),
        )

    def waiting(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Those that are in their lines; one call for a hundred, none for none."""
        found = {item["sk"]["S"] for item in self._table.get_many(list(map(_entry, deliveries)))}
        return [one for one in deliveries if place_of(one) in found]

    def first(self, delivery: Delivery) -> First | None:
        """The first of the line, read consistently; None if it is empty."""
        items, _ = self._table.query(
            None,
            "pk = :pk AND sk >= :lease",
            ExpressionAttributeValues=to_item({":pk": name_of(delivery), ":lease": _LEASE}),
            ConsistentRead=True,
            Limit=2,
        )
        found = [from_item(item) for item in items]
        lease = found.pop(0) if found and found[0]["sk"] == _LEASE else {}
        if not found:
            return None
        heard_at = max(one.get("heardAt", "") for one in (lease, found[0]))
        return First(found[0]["sk"].rpartition("#")[2], found[0]["body"], heard_at)

    def hear(self, delivery: Delivery, now: datetime) -> bool:
        """Note that somebody sees to a delivery in its line; False if somebody has for less than
        `SILENCE`, or it has left."""
        return self._table.write(
            "update_item",
            Key=_entry(delivery),
            UpdateExpression="SET heardAt = :now",
            ConditionExpression="attribute_exists(pk)"
            " AND (attribute_not_exists(heardAt) OR heardAt <= :silent)",
            ExpressionAttributeValues=to_item(
                {":now": clock.to_text(now), ":silent": clock.to_text(now - SILENCE)}
            ),
        ).made

    def take(self, delivery: Delivery, now: datetime) -> bool:
        """Take the lease; False if somebody has it."""
        values = {
            ":until": clock.to_text(now + timedelta(seconds=LEASE_SECONDS)),
            ":now": clock.to_text(now),
            ":holder": delivery.event_id,
            ":ttl": kept_until(now),
        }
        return self._table.write(
            "update_item",
            Key=_lease(delivery),
            UpdateExpression="SET leaseUntil = :until, holder = :holder, heardAt = :now,"
            " #ttl = :ttl",
            ConditionExpression="attribute_not_exists(leaseUntil) OR leaseUntil <= :now",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues=to_item(values),
        ).made

    def has(self, delivery: Delivery) -> bool:
        """Whether the lease was taken for this delivery, and not freed."""
        item = self._table.get(_lease(delivery))
        return item is not None and from_item(item).get("holder") == delivery.event_id

    def leave(self, delivery: Delivery) -> bool:
        """Take a delivery out of its line; whether it was there."""
        gone = self._client.delete_item(
            TableName=self._table.name, Key=_entry(delivery), ReturnValues="ALL_OLD"
        )
        return "Attributes" in gone

    def free(self, delivery: Delivery, now: datetime) -> None:
        """Free the lease, if this delivery has it."""
        self._table.write(
            "update_item",
            Key=_lease(delivery),
            UpdateExpression="SET heardAt = :now REMOVE leaseUntil, holder",
            ConditionExpression="holder = :holder",
            ExpressionAttributeValues=to_item(
                {":holder": delivery.event_id, ":now": clock.to_text(now)}
            ),
        )


def name_of(delivery: Delivery) -> str:
    """The name of a delivery's line, the same for all that are in it."""
    return f"LINE#{delivery.destination_id}#{str(delivery.line).partition('#')[0]}"


def place_of(delivery: Delivery) -> str:
    """By this text, those of a line are in their order."""
    place = str(delivery.line).partition("#")[2]
    return f"{delivery.received_at}#{place}#{delivery.event_id}"


def _lease(delivery: Delivery) -> dict[str, Any]:
    return to_item({"pk": name_of(delivery), "sk": _LEASE})


def _entry(delivery: Delivery) -> dict[str, Any]:
    return to_item({"pk": name_of(delivery), "sk": place_of(delivery)})
