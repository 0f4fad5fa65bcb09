"""What the stores hold at the end, read from them directly and all of it."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from chalicelib.aws.dynamodb import from_item
from chalicelib.events.keys import bronze_beside, bronze_key
from chalicelib.events.unit import unpack
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
    open_units: list[str] = field(default_factory=list)
    """Units that nobody finished."""
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
            for line, within in unpack(content):
                yield (key, *_payload_in(line, within))


def read(running: Rehearsal) -> Holdings:
    """Read all stores."""
    stage, held = running.stage, Holdings()
    for item in _scan(stage.dynamodb, stage.settings.events_table):
        if item["pk"].startswith("EVENT#"):
            held.records[item["eventId"]] = {"s3Key": _left_out(item), **item}
        elif item["pk"].startswith("UNIT#") and "statusShard" in item:
            held.open_units.append(item["pk"])
    for bucket, keep in (
        (stage.settings.bronze_bucket, held.bronze.__setitem__),
        (stage.settings.silver_bucket, _keeper(held.silver)),
    ):
        versions = _versions(stage.s3, bucket)
        held.rewritten += [
            f"{bucket}/{key}"
            for key, ids in versions.items()
            if len(ids) > 1 and not _is_withdrawn(stage.s3, bucket, key, ids)
        ]
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


def _left_out(item: dict[str, Any]) -> str:
    """The bronze key of an entry that does not name it."""
    if "s3Range" in item and (key := bronze_beside(item.get("silverKey", ""))):
        return key
    return bronze_key(item["eventType"], item["receivedAt"], item["eventId"])


def _getter(s3: Any, bucket: str) -> Callable[[str], tuple[str, bytes]]:
    def get(key: str) -> tuple[str, bytes]:
        return key, s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    return get


def _keeper(
    silver: dict[str, list[tuple[str, dict[str, Any]]]],
) -> Callable[[str, bytes], None]:
    def keep(key: str, content: bytes) -> None:
        for line in content.split(b"\n") if key.endswith(".ndjson") else [content]:
            if line.strip():
                document = json.loads(line)
                silver.setdefault(document["eventId"], []).append((key, document))

    return keep


def _scan(dynamodb: Any, table: str) -> Iterable[dict[str, Any]]:
    for page in dynamodb.get_paginator("scan").paginate(TableName=table):
        yield from map(from_item, page["Items"])


def _versions(s3: Any, bucket: str) -> dict[str, list[str]]:
    """The versions of each object, the newest first; a deletion is one."""
    versions: dict[str, list[str]] = defaultdict(list)
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for kind in ("Versions", "DeleteMarkers"):
            for entry in page.get(kind, []):
                versions[entry["Key"]].append(entry["VersionId"])
    return versions


def _is_withdrawn(s3: Any, bucket: str, key: str, ids: list[str]) -> bool:
    """Whether each version lacks lines of the one before, and has nothing else."""
    lines = [
        set(unpack(s3.get_object(Bucket=bucket, Key=key, VersionId=id_)["Body"].read()))
        for id_ in ids
    ]
    return "/silver/" in f"/{key}" and all(new <= old for new, old in pairwise(lines))


def _payload_in(line: bytes, within: str) -> tuple[str, bytes]:
    """(range, payload) of a line: the line itself, or what is in it beside the event's facts."""
    facts = json.loads(line)
    if "payloadSha256" not in facts:
        return within, line
    size = facts["payloadBytes"]
    first = int(within.removeprefix("bytes=").split("-")[0]) + len(line) - 1 - size
    return f"bytes={first}-{first + size - 1}", line[-1 - size : -1]


def sha256(content: bytes) -> str:
    """The hash that the ledger has of a payload."""
    return hashlib.sha256(content).hexdigest()
