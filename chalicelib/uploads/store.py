"""The bucket that clients upload to, and the records of its objects.

Sources: Amazon S3 API Reference, "POST Object" and "Creating a POST policy". The policy of a form
limits the size of an upload, which a presigned PUT cannot.

A record is one DynamoDB item, keyed by `objectId` and removed by TTL. `allShard` puts it in the
index `by-time`, and `ownerShard`, where it has an owner, in `by-owner`.
"""

from datetime import datetime
from typing import Any

import msgspec

from chalicelib.aws.dynamodb import Partitions, ShardedIndex, Table, to_item
from chalicelib.aws.faults import aws_code, aws_faults
from chalicelib.core.errors import TransientError
from chalicelib.core.paging import shard_of
from chalicelib.uploads.model import ObjectRecord, UploadOrder

_EVERYONE = "all"


class UploadBucket:
    """Signs forms. The client must sign with Signature Version 4 and address buckets by host name:
    newer regions take no other signature, and S3 redirects what is sent to the global name."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def sign_form(self, key: str, order: UploadOrder, seconds: int) -> tuple[str, dict[str, str]]:
        """(URL, fields) of a form that S3 takes for `seconds`, or less if the signer's credentials
        end sooner: for this key and content type, and 1 to `max_bytes` bytes. No call."""
        content_type = {"Content-Type": order.content_type}
        form = self._client.generate_presigned_post(
            Bucket=self.bucket,
            Key=key,
            Fields=dict(content_type),
            Conditions=[content_type, ["content-length-range", 1, order.max_bytes]],
            ExpiresIn=seconds,
        )
        return form["url"], form["fields"]


class UploadStore:
    """Reads and writes records. `shards` is the number of partitions of each name in an index."""

    def __init__(self, client: Any, table: str, shards: int) -> None:
        self._table = Table(client, table)
        self._index = ShardedIndex(client, table, shards)
        self._shards = shards

    def add(self, record: ObjectRecord) -> bool:
        """Write a record; one call. False if it is there from this notification or a later one.

        Raises `TransientError` with the code from AWS when the SDK's retries did not help.
        """
        shard = shard_of(record.object_id, self._shards)
        item = {
            **record.to_dict(),
            "sequence": record.sequence,
            "listKey": record.list_key,
            "allShard": f"{_EVERYONE}#{shard}",
            "ownerShard": record.owner and f"{record.owner}#{shard}",
        }
        is_new = "attribute_not_exists(objectId)"
        is_later = "#sequence < :sequence"
        try:
            outcome = self._table.write(
                "put_item",
                Item=to_item(item),
                ConditionExpression=f"{is_new} OR {is_later}",
                ExpressionAttributeNames={"#sequence": "sequence"},
                ExpressionAttributeValues={":sequence": {"S": record.sequence}},
            )
        except aws_faults() as error:
            raise TransientError("the record was not written", code=aws_code(error)) from error
        return outcome.made

    def newest(
        self, owner: str | None, limit: int, below: str | None, now: datetime
    ) -> tuple[list[ObjectRecord], str | None]:
        """(records, the list key to go on below) of one page, newest first; None for all owners.

        One call a shard. Records that have expired but are still in the table are left out, so a
        page may be short.
        """
        by_owner = Partitions("by-owner", "ownerShard", owner or "")
        by_time = Partitions("by-time", "allShard", _EVERYONE)
        records, resume = self._index.newest(
            by_owner if owner else by_time,
            limit,
            below,
            lambda values: msgspec.convert(values, ObjectRecord),
        )
        return [record for record in records if record.ttl > now.timestamp()], resume
