"""What somebody deletes in a running stage comes back, or is told: reconcile under its own role."""

import json
from typing import Any

import pytest

from chalicelib.core import clock
from chalicelib.events.keys import silver_key
from chalicelib.events.model import Record, Status
from chalicelib.recovery.reconcile import UNIT_SETTLED
from tests.support.deployed_stage import Stage, unique, wait_for

pytestmark = [pytest.mark.emulator, pytest.mark.one_stage]


def compare(stage: Stage) -> dict[str, Any]:
    """Compare the stores now; the report, as it is kept in the bucket."""
    told: dict[str, Any] = stage.reconcile()["comparison"]
    key = f"reports/reconcile/{told['ended'][:10]}/{told['ended'][11:].replace(':', '')}.json"
    kept = stage.s3.get_object(Bucket=stage.settings.bronze_bucket, Key=key)
    assert json.loads(kept["Body"].read()) == told
    return told


def named(report: dict[str, Any], difference: str) -> list[str]:
    found: list[str] = report["examples"].get(difference, [])
    return found


def forget(stage: Stage, record: Record) -> None:
    """Delete an entry of the ledger by hand."""
    pk = f"EVENT#{record.event.event_id}"
    stage.dynamodb.delete_item(TableName=stage.settings.events_table, Key={"pk": {"S": pk}})


def silver_body(stage: Stage, key: str) -> bytes:
    body: bytes = stage.s3.get_object(Bucket=stage.settings.silver_bucket, Key=key)["Body"].read()
    return body


def send_unit(stage: Stage, *bodies: dict[str, Any]) -> list[Record]:
    """Send a batch that must be accepted; its events, processed."""
    answer = stage.call("POST", "/events/batch", stage.admin, json={"events": list(bodies)})
    assert answer.status_code == 202, answer.text
    ids = [verdict["eventId"] for verdict in answer.json()["results"]]
    return [stage.follow(event_id) for event_id in ids]


@pytest.fixture(scope="module", autouse=True)
def early(local: Stage) -> Record:
    """An event of a unit that is sent before all else, for the test at the end: a unit is left
    alone for a minute, since a request may be at work on it."""
    (record,) = send_unit(local, {"eventType": unique("forgotten"), "n": 1})
    return record


def test_a_silver_object_that_was_deleted_comes_back(stage: Stage) -> None:
    # Given an event whose document somebody deletes
    record = stage.follow(stage.send({"eventType": "demo", "message": "comes back"}))
    event, key = record.event, silver_key(record.event)
    before = silver_body(stage, key)
    stage.s3.delete_object(Bucket=stage.settings.silver_bucket, Key=key)

    # When reconcile runs
    report = compare(stage)

    # Then it is there as it was, and the ledger says so
    assert event.event_id in named(report, "silverMissing")
    assert report["differences"]["silverMadeAgain"] >= 1
    assert silver_body(stage, key) == before
    after = stage.record(event.event_id)
    assert after is not None
    assert (after.status, after.attempts, after.silver_key) == (Status.PROCESSED, 1, key)
    assert after.timeline[-1]["detail"] == "silver document made again by reconcile"
    assert event.event_id not in named(compare(stage), "silverMissing")


def test_the_file_of_a_unit_that_was_deleted_comes_back_event_by_event(stage: Stage) -> None:
    # Given a unit whose file of one type somebody deletes
    kind = unique("lost")
    records = send_unit(
        stage,
        {"eventType": kind, "n": 1},
        {"eventType": "demo", "n": 2},
        {"eventType": kind, "n": 3, "idempotencyKey": unique("key")},
    )
    file = records[0].silver_key
    assert file is not None
    lines = silver_body(stage, file).splitlines()
    stage.s3.delete_object(Bucket=stage.settings.silver_bucket, Key=file)

    # When reconcile runs
    report = compare(stage)

    # Then each has a document of its own, which the API serves
    for record, line in zip((records[0], records[2]), lines, strict=True):
        event = record.event
        assert event.event_id in named(report, "silverMissing")
        after = stage.record(event.event_id)
        assert after is not None
        assert (after.silver_key, after.silver_range) == (silver_key(event), None)
        assert silver_body(stage, silver_key(event)) == line
        served = stage.call("GET", f"/events/{event.event_id}/result", stage.admin)
        assert served.content == line
    assert stage.record(records[1].event.event_id) == records[1]


def test_an_entry_that_was_deleted_is_made_again_and_ends_processed(stage: Stage) -> None:
    record = stage.follow(stage.send({"eventType": unique("forgotten"), "n": 1}))
    check_entry_comes_back(stage, record)


def check_entry_comes_back(stage: Stage, record: Record) -> None:
    # Given a PROCESSED event whose entry somebody deletes
    event, key = record.event, record.silver_key
    assert key is not None
    document = silver_body(stage, key)
    forget(stage, record)

    # When reconcile runs, and the worker has seen the event again
    report = compare(stage)
    assert event.event_id in named(report, "bronzeWithoutLedger")
    again = stage.follow(event.event_id, Status.PROCESSED)

    # Then it is what it was, with one document
    assert again.event == event
    assert (again.silver_key, again.silver_range) == (key, record.silver_range)
    assert again.timeline[0]["detail"] == "found in bronze by reconcile"
    assert silver_body(stage, key) == document
    assert stage.versions(stage.settings.silver_bucket, key) == 1
    assert silver_key(event) == key or stage.silver_documents(event) == 0


def test_a_payload_that_was_deleted_is_told_and_its_version_is_the_way_back(stage: Stage) -> None:
    # Given an event whose payload somebody deletes
    record = stage.follow(stage.send({"eventType": "demo", "message": "gone"}))
    event, bucket = record.event, stage.settings.bronze_bucket
    deleted = stage.s3.delete_object(Bucket=bucket, Key=event.s3_key)

    # When reconcile runs
    report = compare(stage)

    # Then it is told, and nothing else is touched
    assert event.event_id in named(report, "ledgerWithoutBronze")
    assert not report["clean"]
    assert stage.record(event.event_id) == record
    # And an operator who removes the delete marker has it back
    stage.s3.delete_object(Bucket=bucket, Key=event.s3_key, VersionId=deleted["VersionId"])
    assert event.event_id not in named(compare(stage), "ledgerWithoutBronze")


def test_a_document_without_an_entry_is_told(stage: Stage) -> None:
    # Given an event of which only the document is left
    record = stage.follow(stage.send({"eventType": "demo", "message": "nobody knows"}))
    event = record.event
    stage.s3.delete_object(Bucket=stage.settings.bronze_bucket, Key=event.s3_key)
    forget(stage, record)

    # Then it is told, and left where it is
    assert event.event_id in named(compare(stage), "silverWithoutLedger")
    assert stage.silver_documents(event) == 1
    stage.s3.delete_object(Bucket=stage.settings.silver_bucket, Key=silver_key(event))


@pytest.mark.slow
def test_an_entry_of_a_unit_that_was_deleted_is_made_again_too(local: Stage, early: Record) -> None:
    settled = clock.from_text(early.event.received_at) + UNIT_SETTLED
    wait_for("the unit to be settled", lambda: settled <= clock.utc_now(), seconds=90)
    check_entry_comes_back(local, early)
