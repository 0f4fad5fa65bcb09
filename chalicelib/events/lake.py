"""The lake: bronze holds payloads as they were sent, silver the processed documents.

Every write has `If-None-Match: *`, so that no object is overwritten, but for `withdraw`, which
takes lines out of a silver file. Source: Amazon S3 User Guide, "Conditional writes".
"""

from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError
from msgspec.structs import replace

from chalicelib.core.errors import NotFoundError, UnavailableError
from chalicelib.core.media_types import JSON
from chalicelib.events.keys import (
    from_metadata,
    parse_bronze_key,
    to_metadata,
    unit_bronze_key,
)
from chalicelib.events.model import Event
from chalicelib.events.unit import gather, gathered_metadata, is_empty, part

NDJSON = "application/x-ndjson"
_NOT_FOUND = ("404", "NoSuchKey", "NotFound")
_ROUNDS = 3


class Lake:
    """Reads and writes the two buckets."""

    def __init__(self, client: Any, bronze_bucket: str, silver_bucket: str) -> None:
        self._client = client
        self.bronze_bucket = bronze_bucket
        self.silver_bucket = silver_bucket

    def put_bronze(self, event: Event, payload: bytes, rejected: str | None = None) -> bool:
        """Store a payload with the facts that rebuild its ledger entry, or with the code of its
        refusal (`rejected`); False if the key exists. One call."""
        return self._create(
            Bucket=self.bronze_bucket,
            Key=event.s3_key,
            Body=payload,
            ContentType=event.content_type,
            Metadata=to_metadata(event, rejected),
        )

    def store(self, event: Event, payload: bytes) -> Event:
        """Put a payload into bronze that waited in the ledger; the event with its place there. One
        call, two if its object exists: with another payload, whose request was refused as a
        conflict after it had stored it, this one goes into a file."""
        if self.put_bronze(event, payload):
            return event
        stored = self.bronze_event(event.s3_key)
        if stored is not None and stored.payload_sha256 == event.payload_sha256:
            return event
        key = unit_bronze_key(event.received_at, event.event_id)
        body, (place,) = gather([event], [payload])
        self.put_unit(key, body, gathered_metadata())
        return replace(event, s3_key=key, s3_range=place)

    def get_bronze(self, key: str, byte_range: str | None = None) -> bytes:
        """A payload: the object, or a range of it (`bytes=0-41`). `NotFoundError` if the object is
        gone. One call."""
        if byte_range is not None and is_empty(byte_range):
            # S3 would answer with all of the object.
            return part(self._get(self.bronze_bucket, key)[1], byte_range)
        return self._get(self.bronze_bucket, key, byte_range)[1]

    def bronze_event(self, key: str) -> Event | None:
        """The event whose payload is at `key`, from the object alone; None if `put_bronze` did not
        write it for an event, or it is gone. One call."""
        named = parse_bronze_key(key)
        head = None if named is None else self._head(self.bronze_bucket, key)
        if named is None or head is None:
            return None
        return from_metadata(
            head["Metadata"], named, key, head["ContentLength"], head["ContentType"]
        )

    def put_unit(self, key: str, lines: bytes, metadata: Mapping[str, str]) -> bool:
        """Store the payloads of a unit's events in one file; False if the key exists. One call."""
        return self._create(
            Bucket=self.bronze_bucket,
            Key=key,
            Body=lines,
            ContentType=NDJSON,
            Metadata=dict(metadata),
        )

    def get_unit(self, key: str) -> tuple[Mapping[str, str], bytes] | None:
        """(metadata, lines) of a unit's file; None if it is gone. One call."""
        try:
            return self._get(self.bronze_bucket, key)
        except NotFoundError:
            return None

    def bronze_types(self) -> Iterator[str]:
        """The key prefix of each event type, in order; one call for a thousand."""
        return self._folders(self.bronze_bucket, "bronze/")

    def bronze_keys(self, prefix: str, after: str = "") -> Iterator[list[tuple[str, Any]]]:
        """Pages of (key, time of last change) below `prefix`, after the key `after`."""
        return self._keys(self.bronze_bucket, prefix, after)

    def silver_types(self) -> Iterator[str]:
        """`bronze_types`, for silver."""
        return self._folders(self.silver_bucket, "silver/")

    def silver_keys(self, prefix: str, after: str = "") -> Iterator[list[tuple[str, Any]]]:
        """`bronze_keys`, for silver."""
        return self._keys(self.silver_bucket, prefix, after)

    def has_bronze(self, key: str) -> bool:
        """Whether bronze has an object `key`; one call."""
        return self._head(self.bronze_bucket, key) is not None

    def has_silver(self, key: str) -> bool:
        """Whether silver has an object `key`; one call."""
        return self._head(self.silver_bucket, key) is not None

    def put_report(self, key: str, report: str) -> bool:
        """Store a report in JSON beside bronze; False if the key exists. One call."""
        return self._create(
            Bucket=self.bronze_bucket, Key=key, Body=report.encode(), ContentType=JSON
        )

    def report_folders(self) -> Iterator[str]:
        """The folder of each day that has reports of `reconcile`, in order; one call for a thousand
        days."""
        return self._folders(self.bronze_bucket, "reports/reconcile/")

    def put_silver(self, key: str, body: bytes) -> bool:
        """Write a processed document (`.json`) or a file of many; False if the key exists. One
        call."""
        return self._create(Bucket=self.silver_bucket, Key=key, Body=body, ContentType=_type(key))

    def withdraw(self, key: str, body: bytes) -> None:
        """Write a silver file again, without the lines that another unit has. One call."""
        self._client.put_object(
            Bucket=self.silver_bucket, Key=key, Body=body, ContentType=_type(key)
        )

    def get_silver(self, key: str, byte_range: str | None = None) -> bytes:
        """`get_bronze`, for silver."""
        return self._get(self.silver_bucket, key, byte_range)[1]

    def _create(self, **arguments: Any) -> bool:
        for _ in range(_ROUNDS):
            try:
                self._client.put_object(IfNoneMatch="*", **arguments)
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code == "PreconditionFailed":
                    return False
                if code != "ConditionalRequestConflict":
                    raise
            else:
                return True
        raise UnavailableError("the same object is being written elsewhere")

    def _get(
        self, bucket: str, key: str, byte_range: str | None = None
    ) -> tuple[Mapping[str, str], bytes]:
        """(metadata, body)"""
        part = {} if byte_range is None else {"Range": byte_range}
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key, **part)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                raise NotFoundError("the object is not in the lake") from error
            raise
        return answer["Metadata"], answer["Body"].read()

    def _head(self, bucket: str, key: str) -> Any:
        """What S3 says of an object; None if it does not exist."""
        try:
            return self._client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _NOT_FOUND:
                return None
            raise

    def _folders(self, bucket: str, prefix: str) -> Iterator[str]:
        for page in self._pages(Bucket=bucket, Prefix=prefix, Delimiter="/"):
            yield from (folder["Prefix"] for folder in page.get("CommonPrefixes", []))

    def _keys(self, bucket: str, prefix: str, after: str) -> Iterator[list[tuple[str, Any]]]:
        start = {"StartAfter": after} if after else {}
        for page in self._pages(Bucket=bucket, Prefix=prefix, **start):
            yield [(entry["Key"], entry["LastModified"]) for entry in page.get("Contents", [])]

    def _pages(self, **arguments: str) -> Iterator[dict[str, Any]]:
        yield from self._client.get_paginator("list_objects_v2").paginate(**arguments)


def _type(key: str) -> str:
    return NDJSON if key.endswith(".ndjson") else JSON
