"""Who is told by which channel: one DynamoDB item a subscription, in the table of items, `pk` =
`SUBSCRIPTION#<id>`, listed in its index under the name `subscriptions#<owner>`.

SNS has one subscription for an endpoint of a topic, so the id stands for protocol and endpoint: the
first owner who takes an endpoint has it, and nobody else can change its filter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.adapters.attributes import from_item, to_item
from chalicelib.domain.event_ids import keyed_event_id
from chalicelib.domain.listing import shard_of
from chalicelib.errors import UnavailableError

PENDING, CONFIRMED = "pending", "confirmed"
_BATCH_GET_ROUNDS = 5


@dataclass(frozen=True)
class Subscription:
    """A subscription as it is kept. `arn` is None until SNS has told it."""

    subscription_id: str
    owner: str
    protocol: str
    endpoint: str
    status: str
    arn: str | None
    created_at: str

    def to_dict(self) -> dict[str, Any]:
        """The subscription as the API shows it."""
        return {
            "subscriptionId": self.subscription_id,
            "protocol": self.protocol,
            "endpoint": self.endpoint,
            "status": self.status,
            "createdAt": self.created_at,
        }


class SubscriptionStore:
    """Reads and writes subscriptions. `shards` is the number of index partitions an owner."""

    def __init__(self, client: Any, table: str, shards: int) -> None:
        self._client = client
        self._table = table
        self._shards = shards

    def add(self, subscription: Subscription) -> Subscription | None:
        """Write a new subscription; None when it was written, else the one there is. One call."""
        shard = shard_of(subscription.subscription_id, self._shards)
        item = {
            "pk": _pk(subscription.subscription_id),
            "subscriptionId": subscription.subscription_id,
            "owner": subscription.owner,
            "protocol": subscription.protocol,
            "endpoint": subscription.endpoint,
            "status": subscription.status,
            "arn": subscription.arn,
            "createdAt": subscription.created_at,
            "ownerShard": f"{partition_name(subscription.owner)}#{shard}",
            "listKey": f"{subscription.created_at}#{subscription.subscription_id}",
        }
        try:
            self._client.put_item(
                TableName=self._table,
                Item=to_item(item),
                ConditionExpression="attribute_not_exists(pk)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return _to_subscription(error.response["Item"])
        return None

    def get(self, subscription_id: str) -> Subscription | None:
        """The subscription, read consistently; one call."""
        answer = self._client.get_item(
            TableName=self._table, Key=_key(subscription_id), ConsistentRead=True
        )
        return _to_subscription(answer["Item"]) if "Item" in answer else None

    def get_many(self, subscription_ids: list[str]) -> dict[str, Subscription]:
        """Up to a hundred subscriptions, those that exist, by id; one call."""
        found: dict[str, Subscription] = {}
        keys = [_key(subscription_id) for subscription_id in subscription_ids]
        request: Mapping[str, Any] = {self._table: {"Keys": keys, "ConsistentRead": True}}
        for _ in range(_BATCH_GET_ROUNDS):
            if not request or not keys:
                return found
            answer = self._client.batch_get_item(RequestItems=request)
            for subscription in map(_to_subscription, answer["Responses"].get(self._table, [])):
                found[subscription.subscription_id] = subscription
            request = answer.get("UnprocessedKeys") or {}
        raise UnavailableError("the table of items is being throttled")

    def note(self, subscription_id: str, owner: str, arn: str | None, status: str) -> None:
        """Keep what SNS said, unless the subscription has gone meanwhile; one call."""
        values = {":owner": owner, ":status": status, ":arn": arn}
        expression = "SET #status = :status" + (", arn = :arn" if arn else "")
        self._change(
            "update_item",
            subscription_id,
            values,
            names={"#status": "status"},
            UpdateExpression=expression,
        )

    def delete(self, subscription_id: str, owner: str) -> None:
        """Remove the owner's subscription, if it is there; one call."""
        self._change("delete_item", subscription_id, {":owner": owner}, names={})

    def _change(
        self,
        operation: str,
        subscription_id: str,
        values: dict[str, str | None],
        names: dict[str, str],
        **arguments: Any,
    ) -> None:
        try:
            getattr(self._client, operation)(
                TableName=self._table,
                Key=_key(subscription_id),
                ConditionExpression="#owner = :owner",
                ExpressionAttributeNames={"#owner": "owner", **names},
                ExpressionAttributeValues=to_item(values),
                **arguments,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise


def subscription_id_of(protocol: str, endpoint: str) -> str:
    """The id of the one subscription that an endpoint has."""
    return keyed_event_id(f"subscriptions\0{protocol}", endpoint)


def partition_name(owner: str) -> str:
    """The name under which the index holds an owner's subscriptions; no owner has a `#`."""
    return f"subscriptions#{owner}"


def _pk(subscription_id: str) -> str:
    return f"SUBSCRIPTION#{subscription_id}"


def _key(subscription_id: str) -> dict[str, Any]:
    return {"pk": {"S": _pk(subscription_id)}}


def _to_subscription(item: Mapping[str, Any]) -> Subscription:
    values = from_item(item)
    return Subscription(
        subscription_id=values["subscriptionId"],
        owner=values["owner"],
        protocol=values["protocol"],
        endpoint=values["endpoint"],
        status=values["status"],
        arn=values.get("arn"),
        created_at=values["createdAt"],
    )
