"""What the stores hold at the end, read from them directly and all of it."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from chalicelib.aws.dynamodb import from_item
from tests.chaos.platform import Rehearsal

_READERS = 8


@dataclass
class Holdings:
    """Everything. Records are those of the ledger, with the contract's names."""

    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    bronze: dict[str, bytes] = field(default_factory=dict)
    """Objects by key."""
    silver: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)
    """By event id: (key of the object, document), as often as it is there."""
    rewritten: list[str] = field(default_factory=list)
    """Objects that were written more than once, or deleted."""
    told: Counter[str] = field(default_factory=Counter)
    """Entries that the bus passed on, by event id."""
    groups: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Alert groups by title."""
    dead_letters: list[str] = field(default_factory=list)
    """Bodies of messages that lie in the dead-letter queues of events and alerts."""

    def bronze_of(self, record: dict[str, Any]) -> bytes | None:
        """The payload that a record points at."""
        content = self.bronze.get(record["s3Key"])
        within = record.get("s3Range")
        if content is None or not within:
            return content
        first, last = within.removeprefix("bytes=").split("-")
        return content[int(first) : int(last) + 1]

    def payloads(self) -> Iterator[tuple[str, str | None, bytes]]:
        """(key, range, payload) of everything in bronze; no range for an object of one payload."""
        for key, content in self.bronze.items():
            if not key.endswith(".ndjson"):
                yield key, None, content
                continue
            start = 0
            for line in content.splitlines(keepends=True):
                payload = line.removesuffix(b"\n")
                yield key, f"bytes={start}-{start + len(payload) - 1}", payload
                start += len(line)


def read(running: Rehearsal) -> Holdings:
    """Read all stores."""
    stage, held = running.stage, Holdings()
    for item in _scan(stage.dynamodb, stage.settings.events_table):
        if item["pk"].startswith("EVENT#"):
            held.records[item["eventId"]] = item
    for bucket, keep in (
        (stage.settings.bronze_bucket, held.bronze.__setitem__),
        (stage.settings.silver_bucket, _keeper(held.silver)),
    ):
        versions = _versions(stage.s3, bucket)
        held.rewritten += [f"{bucket}/{key}" for key, times in versions.items() if times > 1]
        with ThreadPoolExecutor(_READERS) as pool:
            for key, content in pool.map(_getter(stage.s3, bucket), versions):
                keep(key, content)
    for message in running.bus.messages():
        held.told[json.loads(message["Body"])["detail"]["eventId"]] += 1
    for item in _scan(stage.dynamodb, stage.settings.alerts_table):
        title = item.get("title") or (item.get("alert") or {}).get("title") or ""
        held.groups.setdefault(title, []).append(item)
    held.dead_letters = [message["Body"] for message in stage.dead_letters()]
    return held


def _getter(s3: Any, bucket: str) -> Callable[[str], tuple[str, bytes]]:
    def get(key: str) -> tuple[str, bytes]:
        return key, s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    return get


def _keeper(
    silver: dict[str, list[tuple[str, dict[str, Any]]]],
) -> Callable[[str, bytes], None]:
    def keep(key: str, content: bytes) -> None:
        for line in content.split(b"\n") if key.endswith(".ndjson") else [content]:
            if line:
                document = json.loads(line)
                silver.setdefault(document["eventId"], []).append((key, document))

    return keep


def _scan(dynamodb: Any, table: str) -> Iterable[dict[str, Any]]:
    for page in dynamodb.get_paginator("scan").paginate(TableName=table):
        yield from map(from_item, page["Items"])


def _versions(s3: Any, bucket: str) -> Counter[str]:
    """How often each object was written or deleted."""
    versions: Counter[str] = Counter()
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for kind in ("Versions", "DeleteMarkers"):
            versions.update(entry["Key"] for entry in page.get(kind, []))
    return versions


def sha256(content: bytes) -> str:
    """The hash that the ledger has of a payload."""
    return hashlib.sha256(content).hexdigest()
