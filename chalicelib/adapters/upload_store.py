"""The records of created objects: one DynamoDB item each, keyed by `objectId`, gone by TTL.

An item has `allShard` and, where it has an owner, `ownerShard`, for the indexes `by-time` and
`by-owner`; see `sharded_index`, which lists them.
"""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.adapters.attributes import to_item
from chalicelib.domain.listing import shard_of
from chalicelib.domain.uploads import ObjectRecord
from chalicelib.errors import TransientError, aws_code

EVERYONE = "all"
"""The name of the partitions of `by-time`."""


class UploadStore:
    """Writes records. `shards` is the number of partitions of each name in an index."""

    def __init__(self, client: Any, table: str, shards: int) -> None:
        self._client = client
        self._table = table
        self._shards = shards

    def add(self, record: ObjectRecord) -> bool:
        """Write a record; one call.

        False when it is there already from this notification or from a later one.
        `TransientError`, with the code that AWS gave, when the SDK's retries did not help.
        """
        shard = shard_of(record.object_id, self._shards)
        item = {
            **record.to_dict(),
            "sequence": record.sequence,
            "listKey": record.list_key,
            "allShard": f"{EVERYONE}#{shard}",
            "ownerShard": None if record.owner is None else f"{record.owner}#{shard}",
        }
        is_new = "attribute_not_exists(objectId)"
        is_later = "#sequence < :sequence"
        try:
            self._client.put_item(
                TableName=self._table,
                Item=to_item(item),
                ConditionExpression=f"{is_new} OR {is_later}",
                ExpressionAttributeNames={"#sequence": "sequence"},
                ExpressionAttributeValues={":sequence": {"S": record.sequence}},
            )
        except (ClientError, BotoCoreError) as error:
            if aws_code(error) == "ConditionalCheckFailedException":
                return False
            raise TransientError("the record was not written", code=aws_code(error)) from error
        return True
