"""Lines: the deliveries of an ordered destination that have one source and subject.

A delivery joins its line before its message is on the queue. Only the first of a line is sent;
whoever has sent it leaves the line and calls the next. The others have no message meanwhile, so
waiting costs nothing.

| item | pk | sk |
|---|---|---|
| a delivery, with its message | `LINE#<destination>#<digest>` | `<receivedAt>#<place>#<eventId>` |
| the lease of the one that is sent | `LINE#<destination>#<digest>` | `-` |

`place` is where the payload begins in its bronze file, so that the events of a batch keep their
order, as far as they are one unit. A delivery's `line` is `<digest>#<place>`.

The lease keeps two from being sent at once where an older event joins late. Whoever leaves does it
in this order: delete the entry, call the next, free the lease. A death at any point leaves the
entry or the lease, by which the repeat of the message knows that there is something left to do.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from chalicelib.aws.dynamodb import Table, from_item, to_item
from chalicelib.core import clock
from chalicelib.destinations.message import DeliveryMessage
from chalicelib.destinations.model import KEPT, Delivery, Destination, Route
from chalicelib.events.unit import bounds

LEASE_SECONDS = 60
"""Longer than a call and its notes take."""
PAUSE = 2
"""Seconds for which the first of a line waits for one that is being sent."""
_LEASE = "-"


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
    """Reads and writes lines, those that a delivery's `line` names. Each method is one call."""

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
            UpdateExpression="SET body = :body, #ttl = :ttl",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues=to_item(
                {":body": body, ":ttl": int((now + KEPT).timestamp())}
            ),
        )

    def first(self, delivery: Delivery) -> tuple[str, str] | None:
        """(event id, message) of the first of the line, read consistently; None if it is empty."""
        items, _ = self._table.query(
            None,
            "pk = :pk AND sk > :lease",
            ExpressionAttributeValues=to_item({":pk": name_of(delivery), ":lease": _LEASE}),
            ConsistentRead=True,
            Limit=1,
        )
        if not items:
            return None
        return items[0]["sk"]["S"].rpartition("#")[2], items[0]["body"]["S"]

    def take(self, delivery: Delivery, now: datetime) -> bool:
        """Take the lease; False if somebody has it."""
        values = {
            ":until": clock.to_text(now + timedelta(seconds=LEASE_SECONDS)),
            ":now": clock.to_text(now),
            ":holder": delivery.event_id,
            ":ttl": int((now + KEPT).timestamp()),
        }
        return self._table.write(
            "update_item",
            Key=_lease(delivery),
            UpdateExpression="SET leaseUntil = :until, holder = :holder, #ttl = :ttl",
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

    def free(self, delivery: Delivery) -> None:
        """Free the lease, if this delivery has it."""
        self._table.write(
            "update_item",
            Key=_lease(delivery),
            UpdateExpression="REMOVE leaseUntil, holder",
            ConditionExpression="holder = :holder",
            ExpressionAttributeValues={":holder": {"S": delivery.event_id}},
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
