"""Uploads on a deployed stage: each object that comes into the bucket is recorded once."""

import json
from typing import Any
from urllib.parse import quote_plus

import pytest
import requests

from tests.support.deployed_stage import Stage, unique, wait_for
from tests.support.mailbox import mailbox_of, reason_of

pytestmark = [pytest.mark.emulator, pytest.mark.one_stage]

A_DAY = 24 * 3600
ODD_NAME = "Jahres bericht+2026 ü 🚀.txt"


def records(stage: Stage, mark: str) -> list[dict[str, Any]]:
    """The records of objects whose key holds `mark`, from the table itself."""
    pages = stage.dynamodb.get_paginator("scan").paginate(
        TableName=stage.settings.uploads_table,
        FilterExpression="contains(objectKey, :mark)",
        ExpressionAttributeValues={":mark": {"S": mark}},
    )
    found = [item for page in pages for item in page["Items"]]
    return [{name: next(iter(value.values())) for name, value in item.items()} for item in found]


def recorded(stage: Stage, mark: str) -> dict[str, Any]:
    """The one record of the object whose key holds `mark`, once it is there."""
    wait_for(f"a record of {mark}", lambda: records(stage, mark))
    (record,) = records(stage, mark)
    return record


def notification(stage: Stage, key: str, **more: Any) -> dict[str, Any]:
    """A record as S3 sends it for `key`; `more` goes into its object."""
    thing = {"key": quote_plus(key, safe="/"), "size": 1, "eTag": "e", "sequencer": "0A", **more}
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": stage.settings.region,
        "eventTime": "2026-03-14T12:00:00.000Z",
        "eventName": "ObjectCreated:Put",
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": stage.settings.uploads_bucket},
            "object": thing,
        },
    }


def test_an_upload_through_the_form_is_recorded_and_listed_for_its_owner(stage: Stage) -> None:
    # Given
    owner, other = unique("owner"), unique("owner")
    token = stage.token(owner, "uploads:write", "uploads:read")
    order = {"filename": ODD_NAME, "contentType": "text/plain"}
    answer = stage.call("POST", "/uploads", token, json=order)
    assert answer.status_code == 201, answer.text
    offer = answer.json()

    # When
    sent = requests.post(
        offer["url"], data=offer["fields"], files={"file": ("x", b"hello")}, timeout=30
    )
    assert sent.status_code == 204, sent.text
    record = recorded(stage, offer["uploadId"])

    # Then
    assert record["objectKey"] == offer["objectKey"]
    assert record["objectKey"].endswith(f"/{ODD_NAME}")
    assert (record["owner"], record["bucket"]) == (owner, stage.settings.uploads_bucket)
    assert int(record["size"]) == len(b"hello")
    assert int(record["ttl"]) == int(record["timestamp"]) + A_DAY
    listed = stage.call("GET", "/uploads", token).json()["items"]
    assert [item["objectId"] for item in listed] == [record["objectId"]]
    assert listed[0]["objectKey"] == offer["objectKey"]
    stranger = stage.token(other, "uploads:read")
    assert stage.call("GET", "/uploads", stranger).json()["items"] == []


def test_a_form_takes_no_more_than_it_was_made_for(stage: Stage) -> None:
    token = stage.token(unique("owner"), "uploads:write")
    order = {"filename": "big.txt", "contentType": "text/plain", "maxBytes": 4}
    offer = stage.call("POST", "/uploads", token, json=order).json()

    sent = requests.post(
        offer["url"], data=offer["fields"], files={"file": ("x", b"hello")}, timeout=30
    )

    assert sent.status_code == 400, sent.text
    assert "EntityTooLarge" in sent.text


def test_an_object_put_by_hand_is_recorded_under_its_own_key(stage: Stage) -> None:
    # Given
    mark = unique("hand")
    key = f"by hand/{mark} a b+c é%20.txt"

    # When
    stage.s3.put_object(Bucket=stage.settings.uploads_bucket, Key=key, Body=b"four")
    record = recorded(stage, mark)

    # Then
    assert record["objectKey"] == key
    assert "owner" not in record
    assert int(record["ttl"]) == int(record["timestamp"]) + A_DAY
    listed = stage.call("GET", "/uploads", stage.admin, params={"limit": "100"}).json()["items"]
    (seen,) = [item for item in listed if mark in item["objectKey"]]
    assert (seen["objectKey"], seen["size"], seen["owner"]) == (key, 4, None)


def test_a_notification_that_comes_again_adds_nothing(stage: Stage) -> None:
    # Given
    mark = unique("again")
    key = f"{mark}/a b.txt"
    stage.s3.put_object(Bucket=stage.settings.uploads_bucket, Key=key, Body=b"x")
    first = recorded(stage, mark)
    named = {
        "eTag": first["etag"],
        "sequencer": first["sequencer"],
        "versionId": first["versionId"],
        "size": int(first["size"]),
    }
    again = notification(stage, key, **named)

    # When
    results = [stage.invoke("record_upload", {"Records": [again, again]}) for _ in range(2)]

    # Then
    assert results == [{"recorded": 0, "known": 2, "ignored": 0, "dead": 0}] * 2
    assert records(stage, mark) == [first]


def test_a_new_version_of_an_object_is_another_record(stage: Stage) -> None:
    mark = unique("version")
    for content in (b"one", b"three"):
        stage.s3.put_object(Bucket=stage.settings.uploads_bucket, Key=mark, Body=content)

    wait_for("both records", lambda: len(records(stage, mark)) >= 2)

    assert sorted(int(record["size"]) for record in records(stage, mark)) == [3, 5]


def test_a_malformed_record_is_set_aside_and_its_neighbours_are_recorded(stage: Stage) -> None:
    # Given
    mark = unique("malformed")
    good = [notification(stage, f"{mark}/{name}") for name in ("a b.txt", "é+.txt")]
    bad = {"eventName": "ObjectCreated:Put", "s3": {"object": {"key": mark}}}

    # When
    result = stage.invoke("record_upload", {"Records": [good[0], bad, good[1]]})

    # Then
    assert result == {"recorded": 2, "known": 0, "ignored": 0, "dead": 1}
    keys = sorted(record["objectKey"] for record in records(stage, mark))
    assert keys == [f"{mark}/a b.txt", f"{mark}/é+.txt"]
    (letter,) = mailbox_of(stage, stage.settings.uploads_dlq_arn).with_text(mark)
    assert json.loads(letter["Body"]) == bad
    assert reason_of(letter)["code"] == "malformed-record"
    assert reason_of(letter)["reason"].startswith("the record is malformed: ")
