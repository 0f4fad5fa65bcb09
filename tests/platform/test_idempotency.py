"""One key, one event: however often, however concurrently, and whatever the body."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.events.model import Status
from tests.platform.test_rest_api import assert_problem
from tests.support.deployed_stage import Stage, unique

pytestmark = [pytest.mark.emulator, pytest.mark.one_stage]

EVENT = {"eventType": "order.created", "total": 12.5}


def test_twenty_equal_requests_at_once_make_one_event(stage: Stage) -> None:
    # Given
    owner, key = unique("owner"), unique("key")
    token = stage.token(owner)

    # When
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: stage.post(EVENT, token, key), range(20)))

    # Then
    assert {answer.status_code for answer in answers} == {202}
    (event_id,) = {answer.json()["eventId"] for answer in answers}
    first = [answer for answer in answers if "Idempotent-Replayed" not in answer.headers]
    assert len(first) == 1
    record = stage.follow(event_id)
    assert record.status is Status.PROCESSED
    assert stage.records_of(owner) == [event_id]
    assert stage.versions(stage.settings.bronze_bucket, record.event.s3_key) == 1
    assert stage.silver_documents(record.event) == 1


def test_twenty_different_bodies_at_once_under_one_key_keep_one(stage: Stage) -> None:
    # Given
    owner, key = unique("owner"), unique("key")
    token = stage.token(owner)

    # When
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(lambda n: stage.post({**EVENT, "number": n % 4}, token, key), range(20))
        )

    # Then: whose body won is chance, but it is one, and everyone else was told
    accepted = [answer for answer in answers if answer.status_code == 202]
    (event_id,) = {answer.json()["eventId"] for answer in accepted}
    for answer in answers:
        if answer.status_code != 202:
            assert_problem(answer, 422, "idempotency-conflict")
    assert len(accepted) == 5
    record = stage.follow(event_id)
    kept = json.loads(stage.lake().get_bronze(record.event.s3_key))
    assert stage.silver(record.event)["data"] == kept
    assert stage.post(kept, token, key).status_code == 202
    assert stage.records_of(owner) == [event_id]
    assert stage.versions(stage.settings.bronze_bucket, record.event.s3_key) == 1


def test_a_repeat_gets_the_first_answer_before_and_after_processing(stage: Stage) -> None:
    # Given
    token, key = stage.token(unique("owner")), unique("key")
    with stage.paused_worker():
        first = stage.post(EVENT, token, key)
        early = stage.post(EVENT, token, key)

    # When
    record = stage.follow(first.json()["eventId"])
    late = stage.post(EVENT, token, key)

    # Then
    assert [step["status"] for step in record.timeline] == ["RECEIVED", "ENQUEUED", "PROCESSED"]
    for repeat in (early, late):
        assert (repeat.status_code, repeat.json()) == (202, first.json())
        assert repeat.headers["Location"] == first.headers["Location"]
        assert repeat.headers["Idempotent-Replayed"] == "true"
    assert stage.silver_documents(record.event) == 1


def test_another_body_under_the_same_key_is_refused_and_changes_nothing(stage: Stage) -> None:
    # Given
    token, key = stage.token(unique("owner")), unique("key")
    record = stage.follow(stage.send(EVENT, token, key))

    # When
    refused = [
        stage.post({"eventType": "order.created", "total": 13}, token, key),
        stage.post({"eventType": "order.changed", "total": 12.5}, token, key),
    ]

    # Then
    for answer in refused:
        assert_problem(answer, 422, "idempotency-conflict")
    assert stage.record(record.event.event_id) == record
    assert stage.silver(record.event)["data"] == EVENT


def test_the_same_key_of_another_owner_is_another_event(stage: Stage) -> None:
    key = unique("key")
    mine, theirs = unique("owner"), unique("owner")

    ids = {stage.send(EVENT, stage.token(owner), key) for owner in (mine, theirs)}

    assert len(ids) == 2
    assert len(stage.records_of(mine)) == len(stage.records_of(theirs)) == 1


def test_without_a_key_every_request_is_an_event(stage: Stage) -> None:
    owner = unique("owner")
    token = stage.token(owner)

    ids = {stage.send(EVENT, token) for _ in range(3)}

    assert sorted(stage.records_of(owner)) == sorted(ids)
    assert len(ids) == 3
