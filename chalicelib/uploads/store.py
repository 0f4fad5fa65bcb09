"""The bucket that clients upload to, by forms that are signed here.

Source: Amazon S3 API Reference, "POST Object" and "Creating a POST policy". A presigned PUT could
not limit the size of what is sent; the policy of a form can.

The records of created objects: one DynamoDB item each, keyed by `objectId`, gone by TTL.

An item has `allShard` and, where it has an owner, `ownerShard`, for the indexes `by-time` and
`by-owner`; see `sharded_index`, which lists them.
"""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws.dynamodb import to_item
from chalicelib.core.errors import TransientError, aws_code
from chalicelib.core.paging import shard_of
from chalicelib.uploads.model import ObjectRecord, UploadForm, UploadOrder


class UploadBucket:
    """Signs forms. The client must sign with Signature Version 4 and address buckets by host name:
    S3 takes no other signature in newer regions, and redirects what is sent to the global name."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def sign_form(self, key: str, order: UploadOrder, seconds: int) -> UploadForm:
        """A form that S3 takes for `seconds` (less if the signer's own credentials end sooner), for
        this key and content type only, and 1 to `max_bytes` bytes. No call."""
        content_type = {"Content-Type": order.content_type}
        form = self._client.generate_presigned_post(
            Bucket=self.bucket,
            Key=key,
            Fields=dict(content_type),
            Conditions=[content_type, ["content-length-range", 1, order.max_bytes]],
            ExpiresIn=seconds,
        )
        return UploadForm(form["url"], form["fields"])


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
