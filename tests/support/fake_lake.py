"""Bronze and silver in memory."""

from collections.abc import Iterator, Mapping
from typing import Any

from chalicelib.core.errors import NotFoundError
from chalicelib.events.keys import parse_bronze_key
from chalicelib.events.lake import Lake
from chalicelib.events.model import Event
from tests.support.fake_stores import FakeAws, StoredObject

_KEYS_A_PAGE = 1000


class FakeLake(Lake):
    """Bronze and silver."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws
        self.bronze_bucket = "bronze"
        self.silver_bucket = "silver"

    def put_bronze(self, event: Event, payload: bytes, rejected: str | None = None) -> bool:
        known = event if rejected is None else None
        return self._put(self.bronze_bucket, event.s3_key, payload, known, {})

    def bronze_event(self, key: str) -> Event | None:
        if parse_bronze_key(key) is None:
            return None
        stored = self._head("bronze", key)
        return stored.event if stored else None

    def _create(self, **arguments: Any) -> bool:
        metadata = arguments.get("Metadata", {})
        return self._put(arguments["Bucket"], arguments["Key"], arguments["Body"], None, metadata)

    def withdraw(self, key: str, body: bytes) -> None:
        def effect() -> None:
            self._aws.objects[self.silver_bucket, key].body = body

        self._aws.call("PutObject", effect)

    def _put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        event: Event | None,
        metadata: Mapping[str, str],
    ) -> bool:
        def effect() -> bool:
            if (bucket, key) in self._aws.objects:
                return False
            stored = StoredObject(body, event, self._aws.clock(), metadata)
            self._aws.objects[bucket, key] = stored
            return True

        return self._aws.call("PutObject", effect)

    def _get(
        self, bucket: str, key: str, byte_range: str | None = None
    ) -> tuple[Mapping[str, str], bytes]:
        stored = self._aws.call("GetObject", lambda: self._aws.objects.get((bucket, key)))
        if stored is None:
            raise NotFoundError("the object is not in the lake")
        return stored.metadata, _part(stored.body, byte_range)

    def _head(self, bucket: str, key: str) -> StoredObject | None:
        return self._aws.call("HeadObject", lambda: self._aws.objects.get((bucket, key)))

    def _folders(self, bucket: str, prefix: str) -> Iterator[str]:
        def effect() -> list[str]:
            keys = [key for where, key in self._aws.objects if where == bucket]
            below = [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]
            return sorted({f"{prefix}{name.split('/')[0]}/" for name in below if "/" in name})

        yield from self._aws.call("ListObjectsV2", effect)

    def _keys(self, bucket: str, prefix: str, after: str) -> Iterator[list[tuple[str, Any]]]:
        while True:

            def effect(after: str = after) -> list[tuple[str, Any]]:
                found = [
                    (key, kept.modified)
                    for (where, key), kept in self._aws.objects.items()
                    if where == bucket and key.startswith(prefix) and key > after
                ]
                return sorted(found, key=lambda entry: entry[0])[:_KEYS_A_PAGE]

            page = self._aws.call("ListObjectsV2", effect)
            yield page
            if len(page) < _KEYS_A_PAGE:
                return
            after = page[-1][0]


def _part(body: bytes, byte_range: str | None) -> bytes:
    """The bytes that an HTTP range (`bytes=0-41`) names."""
    if byte_range is None:
        return body
    first, last = byte_range.removeprefix("bytes=").split("-")
    return body[int(first) : int(last) + 1]
