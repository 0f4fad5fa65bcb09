"""Data of items that are too large for the table: objects of the bronze bucket below `items/`.

An object is named after what it holds and never changed. Like all of bronze, the data of earlier
versions and of deleted items stay for as long as the bucket's life cycle says.
"""

import json
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError


class ItemBodies:
    """Reads and writes them."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, key: str, text: str) -> None:
        """Keep data, given as JSON; one call."""
        self._client.put_object(
            Bucket=self._bucket, Key=key, Body=text.encode(), ContentType="application/json"
        )

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The data at `key`; None when there are none. One call."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        data: Mapping[str, Any] = json.loads(answer["Body"].read())
        return data
