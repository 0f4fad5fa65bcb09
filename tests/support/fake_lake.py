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
        return self._keep(self.bronze_bucket, event.s3_key, payload, known)

    def get_bronze(self, key: str, within: str | None = None) -> bytes:
        return _part(self._fetch(self.bronze_bucket, key), within)

    def bronze_event(self, key: str) -> Event | None:
        if parse_bronze_key(key) is None:
            return None
        kept = self._aws.call("HeadObject", lambda: self._aws.objects.get(("bronze", key)))
        return kept.event if kept else None

    def put_unit(self, key: str, lines: bytes, metadata: Mapping[str, str]) -> bool:
        return self._keep(self.bronze_bucket, key, lines, None, metadata)

    def get_unit(self, key: str) -> tuple[Mapping[str, str], bytes] | None:
        kept = self._aws.call("GetObject", lambda: self._aws.objects.get(("bronze", key)))
        return None if kept is None else (kept.metadata, kept.body)

    def bronze_types(self) -> Iterator[str]:
        return self._folders(self.bronze_bucket, "bronze/")

    def bronze_keys(self, prefix: str, after: str = "") -> Iterator[list[tuple[str, Any]]]:
        return self._keys(self.bronze_bucket, prefix, after)

    def silver_types(self) -> Iterator[str]:
        return self._folders(self.silver_bucket, "silver/")

    def silver_keys(self, prefix: str, after: str = "") -> Iterator[list[tuple[str, Any]]]:
        return self._keys(self.silver_bucket, prefix, after)

    def has_bronze(self, key: str) -> bool:
        return self._has(self.bronze_bucket, key)

    def has_silver(self, key: str) -> bool:
        return self._has(self.silver_bucket, key)

    def put_report(self, key: str, report: str) -> bool:
        return self._keep(self.bronze_bucket, key, report.encode(), None)

    def _has(self, bucket: str, key: str) -> bool:
        return self._aws.call("HeadObject", lambda: (bucket, key) in self._aws.objects)

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

    def put_silver(self, key: str, document: str) -> bool:
        return self._keep(self.silver_bucket, key, document.encode(), None)

    def put_silver_unit(self, key: str, lines: bytes) -> bool:
        return self._keep(self.silver_bucket, key, lines, None)

    def get_silver(self, key: str, within: str | None = None) -> bytes:
        return _part(self._fetch(self.silver_bucket, key), within)

    def _keep(
        self,
        bucket: str,
        key: str,
        body: bytes,
        event: Event | None,
        metadata: Mapping[str, str] | None = None,
    ) -> bool:
        def effect() -> bool:
            if (bucket, key) in self._aws.objects:
                return False
            kept = StoredObject(body, event, self._aws.clock(), metadata or {})
            self._aws.objects[bucket, key] = kept
            return True

        return self._aws.call("PutObject", effect)

    def _fetch(self, bucket: str, key: str) -> bytes:
        kept = self._aws.call("GetObject", lambda: self._aws.objects.get((bucket, key)))
        if kept is None:
            raise NotFoundError("the object is not in the lake")
        return kept.body


def _part(body: bytes, within: str | None) -> bytes:
    """The bytes that an HTTP range (`bytes=0-41`) names."""
    if within is None:
        return body
    first, last = within.removeprefix("bytes=").split("-")
    return body[int(first) : int(last) + 1]
