"""POST /events."""

import json
import zlib
from typing import Any

import pytest

import app
from chalicelib.core.ids import is_event_id
from tests.support.app_on_moto import NAMES, BreakCall, Platform, sample
from tests.support.factories import LambdaContext
from tests.support.faults import no_answer, refusal
from tests.support.problems import check_headers, check_problem

DEMO = b'{"eventType":"demo","message":"hello"}'


def ledger_item(platform: Platform, event_id: str) -> Any:
    key = {"pk": {"S": f"EVENT#{event_id}"}}
    return platform.aws("dynamodb").get_item(TableName=NAMES.events_table, Key=key)["Item"]


def bronze_keys(platform: Platform) -> list[str]:
    answer = platform.aws("s3").list_objects_v2(Bucket=NAMES.bronze_bucket)
    return [entry["Key"] for entry in answer.get("Contents", [])]


def test_an_event_is_accepted_with_its_id_and_place(platform: Platform) -> None:
    # When an event is sent
    sender = platform.sender("events:write")
    platform.calls.clear()
    response = sender.post("/events", DEMO)
    # Then the answer is that of the contract
    assert response.status_code == 202
    check_headers(response)
    assert response.headers["Content-Type"] == "application/json"
    event_id = response.json_body["eventId"]
    assert response.json_body == {"status": "accepted", "eventId": event_id}
    assert is_event_id(event_id)
    assert response.headers["Location"] == f"/events/{event_id}"
    assert "Idempotent-Replayed" not in response.headers


def test_an_event_is_in_ledger_and_queue_and_then_in_bronze(platform: Platform) -> None:
    # When an event is sent
    sender = platform.sender()
    event_id = sender.event_id(DEMO)
    # Then the ledger has it, with its payload, and the queue
    item = ledger_item(platform, event_id)
    assert item["eventType"] == {"S": "demo"}
    assert item["status"] == {"S": "RECEIVED"}
    assert zlib.decompress(item["payload"]["B"]) == DEMO
    assert bronze_keys(platform) == []
    (message,) = platform.receive()
    # When the worker has had it
    platform.work([message])
    # Then bronze has the payload as it was sent, where the record says, and the ledger no more
    record = sender.get(f"/events/{event_id}").json_body
    assert bronze_keys(platform) == [record["s3Key"]]
    kept = platform.aws("s3").get_object(Bucket=record["s3Bucket"], Key=record["s3Key"])
    assert kept["Body"].read() == DEMO
    assert kept["ContentType"] == "application/json"
    assert record["s3Key"].startswith("bronze/demo/")
    assert "payload" not in ledger_item(platform, event_id)


@pytest.mark.parametrize("headers", [{}, {"Idempotency_Key": "k"}])
@pytest.mark.parametrize(("size", "before"), [(1, []), (5000, ["PutObject"])])
def test_an_ingest_is_two_aws_calls_and_three_for_a_large_payload(
    platform: Platform, headers: dict[str, str], size: int, before: list[str]
) -> None:
    sender = platform.sender()
    # The schema of a type, or that it has none, is read once in a while, not for each event.
    sender.event_id({"eventType": "demo"})
    platform.calls.clear()
    sender.event_id({"eventType": "demo", "text": "x" * size}, **headers)
    # The first is the authorizer's, a function of its own.
    assert platform.calls[: 1 + len(before)] == ["GetItem", *before]
    ledger_and_queue = platform.calls[1 + len(before) :]
    # Without a key they are at the same time.
    assert (ledger_and_queue if headers else sorted(ledger_and_queue)) == [
        "PutItem", "SendMessage",
    ]  # fmt: skip


def test_a_direct_invocation_is_answered_as_documented(platform: Platform) -> None:
    # When somebody with the right to invoke the function sends just a body
    payload = {"body": '{"eventType":"demo","message":"hello"}'}
    answer = app.app(payload, LambdaContext())
    # Then the answer has the documented form
    event_id = json.loads(answer["body"])["eventId"]
    assert answer["statusCode"] == 202
    assert answer["headers"]["content-type"] == "application/json"
    assert answer["body"] == f'{{"status":"accepted","eventId":"{event_id}"}}'
    # And the event belongs to the stage's direct owner
    assert ledger_item(platform, event_id)["owner"] == {"S": "direct"}
    platform.work()
    admin = platform.sender("admin")
    assert admin.get(f"/events/{event_id}").json_body["status"] == "PROCESSED"


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        ({"body": {"eventType": "demo"}}, 202),
        ({"body": "eyJldmVudFR5cGUiOiJkZW1vIn0=", "isBase64Encoded": True}, 202),
        ({"body": '{"eventType":"demo"}', "headers": {"Idempotency-Key": "k"}}, 202),
        ({"body": '{"eventType":"demo"}', "headers": {"Content-Type": "text/plain"}}, 415),
        ({"body": "%", "isBase64Encoded": True}, 400),
        ({"body": None}, 400),
        ({}, 400),
        ([], 400),
        (None, 400),
        ("hello", 400),
    ],
)
def test_a_direct_invocation_may_hold_anything(
    platform: Platform, payload: Any, status: int
) -> None:
    answer = app.app(payload, LambdaContext())
    assert answer["statusCode"] == status
    assert answer["headers"]["x-request-id"]
    if status >= 400:
        assert answer["headers"]["content-type"] == "application/problem+json"
        assert json.loads(answer["body"])["requestId"] == answer["headers"]["x-request-id"]


def test_what_api_gateway_sends_is_understood(platform: Platform) -> None:
    # Given a request as API Gateway passes it on, in base64
    event = sample("api_gateway_post_event")
    # When the function is called
    answer = app.app(event, LambdaContext())
    # Then the event is kept as the bytes that were sent, under the gateway's request id
    assert answer["statusCode"] == 202
    assert answer["headers"]["X-Request-Id"] == event["requestContext"]["requestId"]
    assert answer.get("isBase64Encoded", False) is False
    event_id = json.loads(answer["body"])["eventId"]
    alice = platform.sender(owner="alice")
    payload = alice.get(f"/events/{event_id}/payload")
    assert payload.body == '{"eventType":"demo","message":"grüße"}'.encode()


def test_bytes_that_are_no_utf_8_are_refused_not_replaced(platform: Platform) -> None:
    sender, sent = platform.sender(), b'{"eventType":"demo","a":"\xff"}'
    body = check_problem(sender.post("/events", sent), 400, "invalid-json", "")
    assert "not UTF-8" in body["detail"]
    (key,) = bronze_keys(platform)
    kept = platform.aws("s3").get_object(Bucket=NAMES.bronze_bucket, Key=key)
    assert kept["Body"].read() == sent


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"", "invalid-json", ""),
        (b"hello", "invalid-json", ""),
        (b'{"eventType":"demo","n":NaN}', "invalid-json", ""),
        (b'{"eventType":"a","eventType":"b"}', "invalid-json", ""),
        (b"[" * 100_000, "invalid-json", ""),
        (b"[]", "invalid-request", ""),
        (b"{}", "invalid-request", "/eventType"),
        (b'{"eventType":7}', "invalid-request", "/eventType"),
        (b'{"eventType":"a\\u0000"}', "invalid-request", "/eventType"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_that_is_no_event_is_told_why(
    platform: Platform, body: bytes, code: str, pointer: str
) -> None:
    sender = platform.sender()
    problem = check_problem(sender.post("/events", body), 400, code, pointer)
    # And it is kept, with the reason, and nobody processes it
    record = sender.get(f"/events/{problem['eventId']}").json_body
    assert (record["status"], record["lastError"]["code"]) == ("REJECTED", code)
    assert [fault["pointer"] for fault in record["lastError"]["errors"]] == [pointer]
    assert sender.get(f"/events/{problem['eventId']}/payload").body == body
    listed = sender.get("/events?status=REJECTED").json_body["items"]
    assert [item["eventId"] for item in listed] == [problem["eventId"]]
    assert platform.receive() == []


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "",
    ],
)
def test_json_is_accepted_however_it_is_spelt(platform: Platform, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    response = platform.sender().call("POST", "/events", DEMO, headers)
    assert response.status_code == 202


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", "application/json; charset=latin-1", "application/jsonx"],
)
def test_other_formats_are_refused(platform: Platform, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    response = platform.sender().call("POST", "/events", DEMO, headers)
    check_problem(response, 415, "unsupported-media-type")


def test_a_large_event_is_accepted_up_to_the_limit(platform: Platform) -> None:
    frame = b'{"eventType":"demo","text":"%s"}'
    fits = frame % (b"x" * (1024 * 1024 - len(frame) + 2))
    assert len(fits) == 1024 * 1024
    sender = platform.sender()
    event_id = sender.event_id(fits)
    check_problem(sender.post("/events", fits + b" "), 413, "payload-too-large")
    # It is too large for a message, so the worker reads bronze.
    platform.work()
    counters = ["UpdateItem"] * 2
    assert platform.calls == [
        "GetObject", "PutItem", "PutObject", "UpdateItem", "Query", "PutEvents", "UpdateItem",
        *counters,
    ]  # fmt: skip
    assert sender.get(f"/events/{event_id}").json_body["status"] == "PROCESSED"


@pytest.mark.parametrize("event_type", ["../../x", "a/b", "..", "%2F", "grüße", "a b", "#?&"])
def test_a_hostile_type_is_kept_in_its_place(platform: Platform, event_type: str) -> None:
    sender = platform.sender()
    event_id = sender.event_id({"eventType": event_type})
    platform.work()
    record = sender.get(f"/events/{event_id}").json_body
    assert record["status"] == "PROCESSED"
    assert record["eventType"] == event_type
    assert len(record["s3Key"].split("/")) == 6
    assert len(record["silverKey"].split("/")) == 4
    assert sender.get(f"/events/{event_id}/payload").status_code == 200
    assert sender.get(f"/events/{event_id}/result").json_body["eventType"] == event_type


@pytest.mark.parametrize(
    ("service", "operation", "size"),
    [("s3", "PutObject", 5000), ("dynamodb", "PutItem", 5000), ("dynamodb", "PutItem", 1)],
)
@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("done", [False, True])
def test_what_is_not_kept_is_not_acknowledged(
    platform: Platform,
    break_call: BreakCall,
    service: str,
    operation: str,
    size: int,
    key: str | None,
    *,
    done: bool,
) -> None:
    sender = platform.sender()
    headers = {} if key is None else {"Idempotency_Key": key}
    error = no_answer() if done else refusal(operation)
    with break_call(service, operation, error, done=done):
        response = sender.post("/events", {"eventType": "demo", "text": "x" * size}, **headers)
    body = check_problem(response, 503, "unavailable")
    assert response.headers["Retry-After"].isdecimal()
    assert "made up" not in body["detail"]


@pytest.mark.parametrize("headers", [{}, {"Idempotency_Key": "k"}])
@pytest.mark.parametrize("done", [False, True])
def test_an_event_the_queue_did_not_take_is_not_acknowledged_and_is_sent_later(
    platform: Platform, break_call: BreakCall, headers: dict[str, str], *, done: bool
) -> None:
    # When an event is sent while the queue does not answer
    sender = platform.sender()
    with break_call("sqs", "SendMessage", no_answer(), done=done):
        response = sender.post("/events", DEMO, **headers)
    # Then it is not acknowledged
    check_problem(response, 503, "unavailable")
    assert response.headers["Retry-After"].isdecimal()
    # But it is kept, and does not claim to be on the queue
    (item,) = sender.get("/events").json_body["items"]
    record = sender.get(f"/events/{item['eventId']}").json_body
    assert record["status"] == "RECEIVED"
    assert [entry["status"] for entry in record["timeline"]] == ["RECEIVED"]
    assert sender.get(f"/events/{item['eventId']}/payload").body == DEMO
    # And a repeat with its key sends it
    if headers:
        again = sender.post("/events", DEMO, **headers)
        assert (again.status_code, again.json_body["eventId"]) == (202, item["eventId"])
        platform.work()
        assert sender.get(f"/events/{item['eventId']}").json_body["status"] == "PROCESSED"
