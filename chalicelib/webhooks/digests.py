"""The body's digest as a second key: which delivery brought a body first.

For senders that sign the body and not the delivery's id: a forwarder may give what it sends again
another id. For `WEBHOOK_DIGEST_SECONDS` the same body is then the first delivery come again. It is
ingested under that one's id, so that the ledger's own condition keeps it once, and a delivery that
died before it was kept is kept now.
"""

from datetime import datetime, timedelta
from typing import Any

from chalicelib.aws.dynamodb import Table, from_item, to_item
from chalicelib.core import clock
from chalicelib.core.ids import sha256


class DigestStore:
    """Remembers bodies in the ledger's table, each for `seconds`."""

    def __init__(self, client: Any, table: str, seconds: int) -> None:
        self._table = Table(client, table)
        self._window = timedelta(seconds=seconds)

    def first(self, source: str, body: bytes, delivery_id: str, now: datetime) -> str:
        """The id of the delivery of a source that brought `body` first within the window:
        `delivery_id` if it is this one. One call."""
        until = now + self._window
        outcome = self._table.write(
            "update_item",
            Key=to_item({"pk": f"WEBHOOK#{source}#{sha256(body)}"}),
            UpdateExpression="SET deliveryId = :id, untilAt = :until, #ttl = :ttl",
            ConditionExpression="attribute_not_exists(pk) OR untilAt <= :now",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues=to_item(
                {
                    ":id": delivery_id,
                    ":until": clock.to_text(until),
                    ":now": clock.to_text(now),
                    ":ttl": int(until.timestamp()) + 1,
                }
            ),
        )
        return delivery_id if outcome.made else str(from_item(outcome.item)["deliveryId"])
