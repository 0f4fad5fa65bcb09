"""The lake: bronze, the payloads as they were sent, and silver, the processed documents.

Both are written with `If-None-Match: *`, so that a second write of the same thing is no write at
all: what is kept is never overwritten. Source: Amazon S3 User Guide, "Conditional writes".
"""

from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.core.errors import NotFoundError, UnavailableError
from chalicelib.events.keys import from_metadata, parse_bronze_key, to_metadata
from chalicelib.events.model import Event

NDJSON = "application/x-ndjson"
_EXISTS = "PreconditionFailed"
_BEING_WRITTEN = "ConditionalRequestConflict"
_NOT_FOUND = ("404", "NoSuchKey", "NotFound")
_ROUNDS = 3


class Lake:
    """Reads and writes the two buckets."""

    def __init__(self, client: Any, bronze_bucket: str, silver_bucket: str) -> None:
        self._client = client
        self.bronze_bucket = bronze_bucket
        self.silver_bucket = silver_bucket

    def put_bronze(self, event: Event, payload: bytes, rejected: str | None = None) -> bool:
        """Keep a payload with the facts that would rebuild its ledger entry, or with the code of
        its refusal; one call.

        False when there is an object of that key already.
        """
        return self._create(
            Bucket=self.bronze_bucket,
            Key=event.s3_key,
            Body=payload,
            ContentType=event.content_type,
            Metadata=to_metadata(event, rejected),
        )

    def get_bronze(self, key: str, within: str | None = None) -> bytes:
        """The payload, or the range of it that `within` names; `NotFoundError` when it is gone.
        One call."""
        return self._read(self.bronze_bucket, key, within)

    def bronze_event(self, key: str) -> Event | None:
        """The event whose payload is kept at `key`, from the object alone; one call.

        None when the object is not an event's that `put_bronze` wrote, or is gone.
        """
        named = parse_bronze_key(key)
        if named is None:
            return None
        try:
            head = self._client.head_object(Bucket=self.bronze_bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _NOT_FOUND:
                return None
            raise
        return from_metadata(
            head["Metadata"], named, key, head["ContentLength"], head["ContentType"]
        )

    def put_unit(self, key: str, lines: bytes, metadata: Mapping[str, str]) -> bool:
        """Keep the payloads of many events in one file; False when there is one. One call."""
        return self._create(
            Bucket=self.bronze_bucket,
            Key=key,
            Body=lines,
            ContentType=NDJSON,
            Metadata=dict(metadata),
        )

    def get_unit(self, key: str) -> tuple[Mapping[str, str], bytes] | None:
        """(metadata, lines) of a unit's file; None when it is gone. One call."""
        try:
            answer = self._get(self.bronze_bucket, key)
        except NotFoundError:
            return None
        return answer["Metadata"], answer["Body"].read()

    def bronze_types(self) -> Iterator[str]:
        """The key prefixes of all event types, in order; one call a thousand."""
        return self._folders(self.bronze_bucket, "bronze/")

    def bronze_keys(self, prefix: str, after: str = "") -> Iterator[list[tuple[str, Any]]]:
        """Pages of (key, when last modified) below `prefix`, after the key `after`."""
        return self._keys(self.bronze_bucket, prefix, after)

    def silver_types(self) -> Iterator[str]:
        """As `bronze_types`, of silver."""
        return self._folders(self.silver_bucket, "silver/")

    def silver_keys(self, prefix: str, after: str = "") -> Iterator[list[tuple[str, Any]]]:
        """As `bronze_keys`, of silver."""
        return self._keys(self.silver_bucket, prefix, after)

    def has_bronze(self, key: str) -> bool:
        """Whether there is such an object in bronze; one call."""
        return self._has(self.bronze_bucket, key)

    def has_silver(self, key: str) -> bool:
        """Whether there is such an object in silver; one call."""
        return self._has(self.silver_bucket, key)

    def put_report(self, key: str, report: str) -> bool:
        """Keep a report, JSON, beside bronze; False when there is one of that key. One call."""
        return self._create(
            Bucket=self.bronze_bucket,
            Key=key,
            Body=report.encode(),
            ContentType="application/json",
        )

    def put_silver(self, key: str, document: str) -> bool:
        """Write a processed document; False when there is one already. One call."""
        return self._create(
            Bucket=self.silver_bucket,
            Key=key,
            Body=document.encode(),
            ContentType="application/json",
        )

    def put_silver_unit(self, key: str, lines: bytes) -> bool:
        """Write the silver file of a unit and type, which decides for ever who is in it; False
        when there is one already. One call."""
        return self._create(Bucket=self.silver_bucket, Key=key, Body=lines, ContentType=NDJSON)

    def get_silver(self, key: str, within: str | None = None) -> bytes:
        """The silver document, or the range of a unit's that `within` names; `NotFoundError` when
        it is gone. One call."""
        return self._read(self.silver_bucket, key, within)

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

    def _read(self, bucket: str, key: str, within: str | None) -> bytes:
        part = {} if within is None else {"Range": within}
        body: bytes = self._get(bucket, key, **part)["Body"].read()
        return body

    def _get(self, bucket: str, key: str, **more: str) -> Any:
        try:
            return self._client.get_object(Bucket=bucket, Key=key, **more)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                raise NotFoundError("the object is not in the lake") from error
            raise

    def _has(self, bucket: str, key: str) -> bool:
        try:
            self._client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _NOT_FOUND:
                return False
            raise
        return True

    def _folders(self, bucket: str, prefix: str) -> Iterator[str]:
        for page in self._pages(bucket, Prefix=prefix, Delimiter="/"):
            for folder in page.get("CommonPrefixes", []):
                yield folder["Prefix"]

    def _keys(self, bucket: str, prefix: str, after: str) -> Iterator[list[tuple[str, Any]]]:
        start = {"StartAfter": after} if after else {}
        for page in self._pages(bucket, Prefix=prefix, **start):
            yield [(entry["Key"], entry["LastModified"]) for entry in page.get("Contents", [])]

    def _pages(self, bucket: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        paginator = self._client.get_paginator("list_objects_v2")
        yield from paginator.paginate(Bucket=bucket, **arguments)
