"""The lake: bronze, the payloads as they were sent, and silver, the processed documents.

Both are written with `If-None-Match: *`, so that a second write of the same thing is no write at
all: what is kept is never overwritten. Source: Amazon S3 User Guide, "Conditional writes".
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote

from botocore.exceptions import ClientError

from chalicelib.domain.events import Event, parse_bronze_key
from chalicelib.errors import NotFoundError, UnavailableError

_EXISTS = "PreconditionFailed"
_BEING_WRITTEN = "ConditionalRequestConflict"
_ROUNDS = 3
_META = {
    "owner": "owner",
    "source": "source",
    "subject": "subject",
    "received-at": "received_at",
    "sha256": "payload_sha256",
}


class Lake:
    """Reads and writes the two buckets."""

    def __init__(self, client: Any, bronze_bucket: str, silver_bucket: str) -> None:
        self._client = client
        self.bronze_bucket = bronze_bucket
        self.silver_bucket = silver_bucket

    def put_bronze(self, event: Event, payload: bytes) -> bool:
        """Keep a payload with the facts that would rebuild its ledger entry; one call.

        False when there is an object of that key already.
        """
        metadata = {
            name: quote(value, safe="/:")
            for name, attribute in _META.items()
            if (value := getattr(event, attribute)) is not None
        }
        return self._create(
            Bucket=self.bronze_bucket,
            Key=event.s3_key,
            Body=payload,
            ContentType=event.content_type,
            Metadata=metadata,
        )

    def get_bronze(self, key: str) -> bytes:
        """The payload; `NotFoundError` when it is gone. One call."""
        return self._read(self.bronze_bucket, key)

    def bronze_event(self, key: str) -> Event | None:
        """The event whose payload is kept at `key`, from the object alone; one call.

        None when the object is not one that `put_bronze` wrote, or is gone.
        """
        named = parse_bronze_key(key)
        if named is None:
            return None
        try:
            head = self._client.head_object(Bucket=self.bronze_bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
                return None
            raise
        facts = {
            attribute: unquote(head["Metadata"][name])
            for name, attribute in _META.items()
            if name in head["Metadata"]
        }
        if not facts.keys() >= {"owner", "source", "received_at", "payload_sha256"}:
            return None
        return Event(
            event_id=named[1],
            event_type=named[0],
            owner=facts["owner"],
            source=facts["source"],
            subject=facts.get("subject"),
            received_at=facts["received_at"],
            payload_sha256=facts["payload_sha256"],
            payload_bytes=head["ContentLength"],
            content_type=head["ContentType"],
            s3_key=key,
        )

    def bronze_types(self) -> Iterator[str]:
        """The key prefixes of all event types, in order; one call a thousand."""
        for page in self._pages(Prefix="bronze/", Delimiter="/"):
            for prefix in page.get("CommonPrefixes", []):
                yield prefix["Prefix"]

    def bronze_keys(self, prefix: str, after: str = "") -> Iterator[list[tuple[str, Any]]]:
        """Pages of (key, when last modified) below `prefix`, after the key `after`."""
        start = {"StartAfter": after} if after else {}
        for page in self._pages(Prefix=prefix, **start):
            yield [(entry["Key"], entry["LastModified"]) for entry in page.get("Contents", [])]

    def put_silver(self, key: str, document: str) -> bool:
        """Write a processed document; False when there is one already. One call."""
        return self._create(
            Bucket=self.silver_bucket,
            Key=key,
            Body=document.encode(),
            ContentType="application/json",
        )

    def get_silver(self, key: str) -> bytes:
        """The silver document; `NotFoundError` when it is gone. One call."""
        return self._read(self.silver_bucket, key)

    def _create(self, **arguments: Any) -> bool:
        for _ in range(_ROUNDS):
            try:
                self._client.put_object(IfNoneMatch="*", **arguments)
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code == _EXISTS:
                    return False
                if code != _BEING_WRITTEN:
                    raise
            else:
                return True
        raise UnavailableError("the same object is being written elsewhere")

    def _read(self, bucket: str, key: str) -> bytes:
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                raise NotFoundError("the object is not in the lake") from error
            raise
        body: bytes = answer["Body"].read()
        return body

    def _pages(self, **arguments: Any) -> Iterator[dict[str, Any]]:
        paginator = self._client.get_paginator("list_objects_v2")
        yield from paginator.paginate(Bucket=self.bronze_bucket, **arguments)
