"""Bulk replay and redrive as deployed: the API, the worker and reconcile under their own roles."""

import time
from typing import Any

import pytest

from chalicelib.events.message import ReplayMessage
from chalicelib.events.model import Dispatch, Failure, Status
from chalicelib.replays.store import ReplayStore
from tests.support.deployed_stage import Stage, unique, wait_for

pytestmark = [pytest.mark.emulator, pytest.mark.one_stage]

SCOPES = ("events:write", "events:read", "events:admin")
PERMANENT = "eventline.drill.permanent"


def ended(stage: Stage, replay_id: str, token: str) -> dict[str, Any]:
    """The replay once it is at its end."""

    def look() -> dict[str, Any] | None:
        answer = stage.call("GET", f"/replays/{replay_id}", token)
        assert answer.status_code == 200, answer.text
        replay: dict[str, Any] = answer.json()
        return replay if replay["status"] != "RUNNING" else None

    return wait_for(f"replay {replay_id} to end", look)


def start(stage: Stage, token: str, **fields: Any) -> str:
    answer = stage.call("POST", "/replays", token, json={"from": "2026-01-01", **fields})
    assert answer.status_code == 202, answer.text
    replay_id: str = answer.json()["id"]
    return replay_id


def send_many(stage: Stage, token: str, count: int) -> list[str]:
    """Events that are PROCESSED; their ids."""
    body = {"events": [{"eventType": "demo", "n": number} for number in range(count)]}
    answer = stage.call("POST", "/events/batch", token, json=body)
    ids = [result["eventId"] for result in answer.json()["results"]]
    for event_id in ids:
        stage.follow(event_id)
    return ids


def replays_in(stage: Stage, owner: str) -> dict[str, list[str]]:
    """By what they repeat: the ids of an owner's events that are replays."""
    found: dict[str, list[str]] = {}
    for event_id in stage.records_of(owner):
        record = stage.record(event_id)
        if record is not None and record.replay_of is not None:
            found.setdefault(record.replay_of, []).append(event_id)
    return found


def test_a_bulk_replay_runs_to_its_end(stage: Stage) -> None:
    # Given events of several ends
    owner = unique("owner")
    token = stage.token(owner, *SCOPES)
    ids = send_many(stage, token, 120)
    failed = stage.send({"eventType": PERMANENT}, token)
    stage.follow(failed)
    refused = stage.post(b"{", token)
    assert refused.status_code == 400
    count = stage.call("POST", "/replays", token, json={"status": "PROCESSED", "dryRun": True})
    assert (count.json()["matched"], count.json()["atLeast"]) == (120, False)
    # When they are replayed
    replay = ended(stage, start(stage, token, rate=500), token)
    # Then each has one replay, with one silver document
    assert (replay["status"], replay["matched"], replay["done"]) == ("DONE", 122, 121)
    assert replay["failed"] == 1
    made = replays_in(stage, owner)
    assert made.keys() == {*ids, failed}
    assert {len(those) for those in made.values()} == {1}
    for before, (again,) in made.items():
        record = stage.follow(again)
        assert record.status is (Status.FAILED if before == failed else Status.PROCESSED)
        if record.status is Status.PROCESSED:
            assert record.silver_key is not None
            assert stage.versions(stage.settings.silver_bucket, record.silver_key) == 1
    store = ReplayStore(stage.dynamodb, stage.settings.events_table)
    assert replay["id"] not in store.running()


def test_a_step_that_comes_many_times_makes_nothing_twice(stage: Stage) -> None:
    # Given a replay whose every message comes several times
    owner = unique("owner")
    token = stage.token(owner, *SCOPES)
    ids = send_many(stage, token, 60)
    replay_id = start(stage, token, rate=2)
    # When
    for step in (0, 0, 1, 0, 1, 2, 1, 2, 3):
        stage.queue().send(ReplayMessage(replay_id, step).encode())
        time.sleep(0.2)
    replay = ended(stage, replay_id, token)
    # Then
    assert (replay["done"], replay["matched"]) == (60, 60)
    made = replays_in(stage, owner)
    assert made.keys() == set(ids)
    assert {len(those) for those in made.values()} == {1}
    # And a slow rate was kept
    assert replay["eventsPerSecond"] <= 6


def test_an_abort_stops_it(stage: Stage) -> None:
    owner = unique("owner")
    token = stage.token(owner, *SCOPES)
    send_many(stage, token, 50)
    replay_id = start(stage, token, rate=1)

    def begun() -> bool:
        return bool(stage.call("GET", f"/replays/{replay_id}", token).json()["done"])

    wait_for("the first step", begun)
    answer = stage.call("DELETE", f"/replays/{replay_id}", token)
    assert (answer.status_code, answer.json()["status"]) == (200, "ABORTED")
    time.sleep(12)
    replay = stage.call("GET", f"/replays/{replay_id}", token).json()
    assert (replay["status"], replay["done"]) == ("ABORTED", 10)
    assert len(replays_in(stage, owner)) == 10


def test_a_failed_event_is_listed_and_redriven(stage: Stage) -> None:
    # Given an event that was given up although nothing is wrong with it
    owner = unique("owner")
    token = stage.token(owner, *SCOPES)
    with stage.paused_worker():
        event_id = stage.send({"eventType": "demo"}, token)
        received = stage.sqs.receive_message(QueueUrl=stage.events_url, WaitTimeSeconds=0)
        (message,) = received["Messages"]
        stage.sqs.delete_message(QueueUrl=stage.events_url, ReceiptHandle=message["ReceiptHandle"])
        record = stage.record(event_id)
        assert record is not None
        assert record.payload is not None
        stage.ledger().mark_attempt_failed(
            stage.lake().store(record.event, record.payload),
            record.updated_at,
            Failure("transient", "busy", "later"),
            final=True,
            dispatch=Dispatch(record.updated_at, noted=True),
        )
    (letter,) = stage.call("GET", "/dead-letters", token).json()["items"]
    assert (letter["eventId"], letter["reason"]["class"]) == (event_id, "transient")
    # When it is redriven
    answer = stage.call(
        "POST", "/dead-letters/redrive", token, json={"errorClass": "transient"}
    ).json()
    # Then
    assert answer["redriven"] == 1
    record = stage.follow(event_id, Status.PROCESSED)
    assert [step.get("detail") for step in record.timeline].count("redriven") == 1
    assert stage.silver_documents(record.event) == 1
    assert stage.call("GET", "/dead-letters", token).json()["items"] == []


def test_what_lies_in_a_dead_letter_queue_is_seen_and_redriven(stage: Stage) -> None:
    # Given a message that was delivered too often, as SQS sets it aside, and a foreign one
    owner = unique("owner")
    token = stage.token(owner, *SCOPES)
    with stage.paused_worker():
        event_id = stage.send({"eventType": "demo"}, token)
        received = stage.sqs.receive_message(QueueUrl=stage.events_url, WaitTimeSeconds=0)
        (message,) = received["Messages"]
        stage.sqs.delete_message(QueueUrl=stage.events_url, ReceiptHandle=message["ReceiptHandle"])
    sent = stage.sqs.send_message(QueueUrl=stage.dead_letter_url, MessageBody=message["Body"])
    foreign = stage.sqs.send_message(QueueUrl=stage.dead_letter_url, MessageBody="foreign")

    def seen() -> dict[str, Any]:
        items = stage.call("GET", "/dead-letters", stage.admin).json()["items"]
        return {item["messageId"]: item for item in items if item["kind"] == "message"}

    letters = wait_for("both", lambda: seen() if foreign["MessageId"] in seen() else None)
    assert letters[sent["MessageId"]]["redrivable"]
    assert not letters[foreign["MessageId"]]["redrivable"]
    # When they are redriven
    order = {"queue": "events-dlq"}
    answer = stage.call("POST", "/dead-letters/redrive", stage.admin, json=order)
    # Then the first is processed, and the second stays, with the reason
    assert answer.status_code == 200, answer.text
    reasons = {one["messageId"]: one["reason"] for one in answer.json()["skipped"]}
    assert "foreign message" in reasons[foreign["MessageId"]]
    assert stage.follow(event_id).status is Status.PROCESSED
    assert stage.dead_letters_with("foreign")
