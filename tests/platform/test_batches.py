"""Batches on the deployed stage: a hundred events in one request, each to its own end."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chalicelib.events.message import Parcel, encode_messages
from chalicelib.events.model import Record, Status
from tests.platform.test_aws_cli import CLI
from tests.support.deployed_stage import Stage, unique, wait_for

pytestmark = [pytest.mark.emulator, pytest.mark.one_stage]

BAD, FAILING, RETRIED = 3, 50, 70
KEYED = range(90, 100)


def make_items() -> list[dict[str, Any]]:
    """A hundred items: a bad one, one that fails for good, one that fails twice, some with keys."""
    event_type = unique("batch")
    items: list[dict[str, Any]] = [{"eventType": event_type, "n": n} for n in range(100)]
    items[BAD] = {"n": BAD}
    items[FAILING] = {"eventType": "eventline.drill.permanent", "n": FAILING}
    items[RETRIED] = {"eventType": "eventline.drill.transient", "failures": 2, "n": RETRIED}
    for n in KEYED:
        items[n]["idempotencyKey"] = unique("key")
    return items


def send(stage: Stage, items: list[dict[str, Any]], token: str) -> list[dict[str, Any]]:
    """The verdicts for items that are sent together."""
    answer = stage.call("POST", "/events/batch", token, json={"events": items})
    assert answer.status_code == 202, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


@pytest.mark.one_stage
def test_a_hundred_events_come_to_their_ends(stage: Stage) -> None:
    # Given a batch
    token, items = stage.token(unique("owner")), make_items()
    verdicts = send(stage, items, token)

    # When all has come to its end
    ids = [verdict["eventId"] for verdict in verdicts]
    records = [stage.follow(id_, Status.PROCESSED, Status.FAILED, Status.REJECTED) for id_ in ids]

    # Then everything went as its item says
    assert [verdict["status"] for verdict in verdicts] == [
        "rejected" if number == BAD else "accepted" for number in range(100)
    ]
    ends = {BAD: Status.REJECTED, FAILING: Status.FAILED}
    for number, record in enumerate(records):
        assert record.status is ends.get(number, Status.PROCESSED), record.last_error
        attempts = {BAD: 0, RETRIED: 3}.get(number, 1)
        assert record.attempts == attempts, record.timeline
    check_results(stage, items, records)

    # And when its message is delivered once more, nothing changes
    events = tuple(record.event for record in records if record.status is not Status.REJECTED)
    ((body, _),) = encode_messages(map(Parcel, events), "again")
    stage.queue().send(body)
    wait_for("an idle queue", lambda: not any(stage.waiting().values()))
    assert [stage.record(id_) for id_ in ids] == records
    check_results(stage, items, records)


def check_results(stage: Stage, items: list[dict[str, Any]], records: list[Record]) -> None:
    """Every processed event has its document, in an object that was written once; every payload
    is what was sent."""
    lake = stage.lake()
    for item, record in zip(items, records, strict=True):
        event = record.event
        assert json.loads(lake.get_bronze(event.s3_key, event.s3_range)) == item
        if record.status is Status.PROCESSED:
            assert record.silver_key
            document = json.loads(lake.get_silver(record.silver_key, record.silver_range))
            assert (document["eventId"], document["data"]) == (event.event_id, item)
    silver = {str(record.silver_key) for record in records if record.silver_key}
    assert len(silver) == 2, "the unit's file of the type, and the document of what left it"
    for key in silver:
        assert stage.versions(stage.settings.silver_bucket, key) == 1
    for key in {record.event.s3_key for record in records}:
        assert stage.versions(stage.settings.bronze_bucket, key) == 1


def test_a_batch_sent_again_is_the_same_events(stage: Stage) -> None:
    owner = unique("owner")
    token = stage.token(owner)
    items = [{"eventType": "again", "idempotencyKey": unique("key")} for _ in range(40)]
    first = send(stage, items, token)
    again = send(stage, items, token)
    assert [one["status"] for one in again] == ["duplicate"] * 40
    assert [one["eventId"] for one in again] == [one["eventId"] for one in first]
    for one in first:
        assert stage.follow(one["eventId"]).attempts == 1
    assert len(stage.records_of(owner)) == 40


def test_the_api_reads_from_within_files(stage: Stage) -> None:
    token = stage.token(unique("owner"))
    items = [{"eventType": unique("read"), "text": f"größe {n}"} for n in range(3)]
    verdicts = send(stage, items, token)
    for item, verdict in zip(items, verdicts, strict=True):
        event_id = verdict["eventId"]
        stage.follow(event_id)
        assert stage.call("GET", f"/events/{event_id}/payload", token).json() == item
        assert stage.call("GET", f"/events/{event_id}/result", token).json()["data"] == item


def test_the_aws_cli_reads_one_payload(stage: Stage, tmp_path: Path) -> None:
    # Given an event in the middle of a unit
    items = [{"eventType": "range", "n": n} for n in range(5)]
    verdicts = send(stage, items, stage.admin)
    record = stage.follow(verdicts[2]["eventId"])
    # When an operator fetches its range
    done = subprocess.run(
        [
            *(CLI, "s3api", "get-object", "--bucket", stage.settings.bronze_bucket),
            *("--key", record.event.s3_key, "--range", str(record.event.s3_range)),
            *("one.json", "--endpoint-url", stage.emulator.url),
        ],
        cwd=tmp_path,
        env={**stage.emulator.environ(), "AWS_PAGER": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # Then it is that payload and no other
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "one.json").read_bytes()) == items[2]


def test_cloud_events_in_batched_mode_are_processed(stage: Stage) -> None:
    token = stage.token(unique("owner"))
    event = {"specversion": "1.0", "id": unique("id"), "source": "/s", "type": "ce", "data": [1]}
    headers = {"Content-Type": "application/cloudevents-batch+json"}
    body = json.dumps([event, {**event, "id": unique("id")}, event]).encode()
    answer = stage.call("POST", "/events", token, data=body, headers=headers)
    verdicts = answer.json()["results"]
    assert [one["status"] for one in verdicts] == ["accepted", "accepted", "duplicate"]
    record = stage.follow(verdicts[0]["eventId"])
    shown = stage.call("GET", f"/events/{record.event.event_id}/result", token).json()
    assert (shown["data"], shown["cloudEvent"]["id"]) == ([1], event["id"])
