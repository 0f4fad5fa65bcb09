"""What docs/cost.md rests on and the benchmark does not count."""

import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from benchmarks.cost import ways
from benchmarks.prices import ASSUMED
from chalicelib import wiring
from chalicelib.events.stats import SLOT_MINUTES
from tests.conftest import STAGE_VARIABLES
from tests.support.app_on_moto import NAMES, Platform

UNIT = 1024
"""Bytes of a write unit (Amazon DynamoDB Developer Guide, "DynamoDB read and write operations")."""
LONGEST_SECONDS = 20
"""That a hundred events take here."""
LOOKS = ("GetItem", "BatchGetItem", "GetParameter")
"""For the type's schema and a secret: once in a while, not for each event."""


def attribute_bytes(attribute: Mapping[str, Any]) -> int:
    """Source: Amazon DynamoDB Developer Guide, "DynamoDB item sizes and formats"."""
    ((kind, value),) = attribute.items()
    if kind == "S":
        return len(value.encode())
    if kind == "B":
        return len(value)
    if kind == "N":
        return len(value) // 2 + 2
    if kind == "BOOL":
        return 1
    if kind == "M":
        return 3 + sum(len(name) + attribute_bytes(one) + 1 for name, one in value.items())
    return 3 + sum(attribute_bytes(one) + 1 for one in value)


def entry_bytes(platform: Platform) -> list[int]:
    items = platform.aws("dynamodb").scan(TableName=NAMES.events_table)["Items"]
    entries = [item for item in items if item["pk"]["S"].startswith("EVENT#")]
    return [sum(len(k) + attribute_bytes(v) for k, v in item.items()) for item in entries]


def body(**more: Any) -> dict[str, Any]:
    """An event of the size that the page assumes."""
    event = {"eventType": "order.created", "filler": "", **more}
    missing = int(ASSUMED["payload bytes"]) - len(str(event))
    return {**event, "filler": "x" * missing}


def test_an_entry_takes_one_write_unit_from_beginning_to_end(platform: Platform) -> None:
    platform.sender().event_id(body())
    assert all(size <= UNIT for size in entry_bytes(platform))
    platform.work()
    (size,) = entry_bytes(platform)
    assert 0.8 * ASSUMED["ledger entry, bytes"] < size <= UNIT


def test_a_unit_of_that_size_is_read_from_bronze_and_its_entries_take_one_unit(
    platform: Platform,
) -> None:
    # The counters of a quarter of an hour are one item: the test shall not be in two of them.
    slot = SLOT_MINUTES * 60
    left = slot - time.time() % slot
    time.sleep(left if left < LONGEST_SECONDS else 0)
    sender = platform.sender()
    events = [body(idempotencyKey=f"key-{number}") for number in range(100)]
    assert sender.post("/events/batch", {"events": events}).status_code == 202
    assert max(entry_bytes(platform)) <= UNIT

    (record,) = platform.receive()
    assert len(record["body"]) < 64 * 1024
    platform.work([record])

    counts = Counter(platform.calls)
    (way,) = [way for way in ways() if way.name == "the same, with keys"]
    expected = {name: round(count * 100) for name, count in way.processing.items()}
    assert {name: counts[name] for name in expected} == expected
    sizes = entry_bytes(platform)
    assert len(sizes) == 100
    assert max(sizes) <= UNIT


def test_a_webhook_asks_for_what_an_event_with_a_key_does(platform: Platform) -> None:
    name = f"/eventline/{STAGE_VARIABLES['STAGE']}/webhooks/github/secret"
    platform.aws("ssm").put_parameter(Name=name, Value="s", Type="SecureString", Overwrite=True)
    wiring.secrets.cache_clear()
    payload = b'{"zen":"Keep it logically awesome."}'
    signature = hmac.new(b"s", payload, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "ping",
        "X-GitHub-Delivery": "d-1",
        "X-Hub-Signature-256": f"sha256={signature}",
    }

    platform.calls.clear()
    reply = platform.client.http.request("POST", "/webhooks/github", headers=headers, body=payload)

    assert reply.status_code == 202, reply.body
    (way,) = [way for way in ways() if way.name == "a webhook"]
    calls = Counter(call for call in platform.calls if call not in LOOKS)
    assert calls == {name: round(count) for name, count in way.ingest.items()}
    wiring.secrets.cache_clear()
