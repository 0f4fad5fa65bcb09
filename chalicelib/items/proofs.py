"""Proofs: a token that an endpoint gets, and that its owner sends back.

Whoever can read what comes to an endpoint can say whether it wants an owner's messages. The hash of
the token is a DynamoDB item of its own in the items table, `pk` = `PROOF#<subscription id>`. It
outlives the subscription, so that nobody can have an endpoint asked more often than once a minute.
"""

import hmac
import secrets
from datetime import datetime, timedelta
from typing import Any

from chalicelib.aws.dynamodb import Table, to_item
from chalicelib.aws.sns import Message
from chalicelib.core import clock
from chalicelib.core.ids import sha256
from chalicelib.items.endpoints import only_to

VALID = timedelta(days=1)
APART = timedelta(minutes=1)
TOKEN_BYTES = 16
_HASH = "tokenSha256"


class ProofStore:
    """Makes tokens and knows them again."""

    def __init__(self, client: Any, table: str) -> None:
        self._table = Table(client, table)

    def make_token(self, subscription_id: str, now: datetime) -> str | None:
        """A new token, which the subscription's older ones end with; None within a minute of the
        last. One call."""
        token = secrets.token_hex(TOKEN_BYTES)
        values = {
            _HASH: sha256(token.encode()),
            "sentAt": clock.to_text(now),
            "ttl": int((now + VALID).timestamp()),
        }
        outcome = self._table.write(
            "put_item",
            Item={**_key(subscription_id), **to_item(values)},
            ConditionExpression="attribute_not_exists(pk) OR sentAt <= :latest",
            ExpressionAttributeValues=to_item({":latest": clock.to_text(now - APART)}),
        )
        is_own = outcome.item.get(_HASH) == {"S": values[_HASH]}
        return token if outcome.made or is_own else None

    def is_token(self, subscription_id: str, token: str, now: datetime) -> bool:
        """Whether `token` is the subscription's newest (compared in constant time) and not older
        than a day; one call."""
        found = self._table.get(_key(subscription_id)) or {}
        known = found.get(_HASH, {}).get("S", "")
        is_same = hmac.compare_digest(known, sha256(token.encode()))
        return is_same and found["sentAt"]["S"] > clock.to_text(now - VALID)

    def forget(self, subscription_id: str) -> None:
        """Forget a token that could not be sent; one call."""
        self._table.write("delete_item", Key=_key(subscription_id))


def ask(owner: str, endpoint_id: str, token: str) -> Message:
    """The message that asks an endpoint whether it wants an owner's messages."""
    text = (
        f"{owner} asks for a message here whenever one of {owner}'s items changes.\n\n"
        f"To allow it, {owner} sends the same order to POST /subscriptions again, with"
        f' "token": "{token}". It is good for a day.\n\nTo refuse, do nothing.\n'
    )
    attributes = {"owner": only_to(endpoint_id), "token": token}
    return Message("Confirm the subscription", text, attributes)


def _key(subscription_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"PROOF#{subscription_id}"}}
