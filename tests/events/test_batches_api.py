"""POST /events/batch, and CloudEvents in batched mode: from the request to each event's result."""

import json
from typing import Any

import pytest
from chalice.test import HTTPResponse

from tests.support.app_on_moto import NAMES, BreakCall, Platform, Sender
from tests.support.faults import refusal
from tests.support.problems import check_headers, check_problem

BATCH = "application/cloudevents-batch+json"


def send(sender: Sender, body: Any, path: str = "/events/batch", **headers: str) -> HTTPResponse:
    return sender.post(path, body, **headers)


def results(response: HTTPResponse) -> list[dict[str, Any]]:
    assert response.status_code == 202, response.body
    check_headers(response)
    assert list(response.json_body) == ["results"]
    told: list[dict[str, Any]] = response.json_body["results"]
    assert [one["index"] for one in told] == list(range(len(told)))
    return told


def test_every_item_has_its_verdict_and_its_end(platform: Platform) -> None:
    # Given a batch with good, bad and failing items
    sender = platform.sender()
    items = [
        {"eventType": "demo", "n": 1},
        {"n": 2},
        {"eventType": "eventline.drill.permanent"},
        {"eventType": "eventline.drill.transient", "failures": 1},
        {"eventType": "other", "n": 5, "idempotencyKey": "five"},
    ]
    # When it is sent
    told = results(send(sender, {"events": items}))
    # Then every item has a verdict
    words = [one["status"] for one in told]
    assert words == ["accepted", "rejected", "accepted", "accepted", "accepted"]
    assert told[1]["errors"] == [{"pointer": "/events/1/eventType", "detail": "is required"}]
    # And every one comes to its end
    platform.work()
    ids = [one["eventId"] for one in told]
    shown = [sender.get(f"/events/{id_}").json_body for id_ in ids]
    assert [one["status"] for one in shown] == [
        "PROCESSED", "REJECTED", "FAILED", "ENQUEUED", "PROCESSED",
    ]  # fmt: skip
    for item, event in zip(items, shown, strict=True):
        response = sender.get(f"/events/{event['eventId']}/payload")
        assert json.loads(response.body) == item
        assert response.headers["Content-Type"] == "application/json"
    for number in (0, 4):
        document = sender.get(f"/events/{ids[number]}/result").json_body
        assert (document["eventId"], document["data"]) == (ids[number], items[number])
        assert shown[number]["silverRange"].startswith("bytes=")
    listed = sender.get("/events").json_body["items"]
    assert {one["eventId"] for one in listed} == set(ids)


def test_a_hundred_events_are_six_calls(platform: Platform) -> None:
    sender = platform.sender()
    items = [{"eventType": "demo", "n": n} for n in range(100)]
    results(send(sender, {"events": items}))  # the schemas are known from here on
    platform.work()
    platform.calls.clear()
    results(send(sender, {"events": items}))
    calls = ["PutObject", *["BatchWriteItem"] * 4, "SendMessage"]
    # The first is the authorizer's, a function of its own.
    assert platform.calls == ["GetItem", *calls]
    platform.work()
    assert platform.calls.count("PutObject") == 1
    assert platform.calls.count("PutEvents") == 10
    assert platform.calls.count("UpdateItem") == 102


def test_a_batch_can_be_sent_again_whole(platform: Platform) -> None:
    sender = platform.sender()
    items = [{"eventType": "demo", "idempotencyKey": f"k{n}"} for n in range(30)]
    first = results(send(sender, {"events": items}))
    platform.work()
    again = results(send(sender, {"events": items}))
    assert {one["status"] for one in again} == {"duplicate"}
    assert [one["eventId"] for one in again] == [one["eventId"] for one in first]
    assert platform.receive() == []
    (other,) = results(send(sender, {"events": [{**items[0], "n": 1}]}))
    assert (other["status"], other["eventId"]) == ("rejected", None)


def test_cloud_events_in_batched_mode(platform: Platform) -> None:
    # Given CloudEvents, one of them wrong and one twice
    sender = platform.sender()
    event = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "demo", "data": {"a": 1}}
    body = [event, {**event, "id": "2", "specversion": "0.3"}, event]
    # When they are sent
    told = results(send(sender, json.dumps(body).encode(), "/events", Content_Type=BATCH))
    # Then it is as with any other batch
    assert [one["status"] for one in told] == ["accepted", "rejected", "duplicate"]
    assert told[1]["errors"][0]["pointer"] == "/1/specversion"
    platform.work()
    event_id = told[0]["eventId"]
    document = sender.get(f"/events/{event_id}/result").json_body
    assert (document["data"], document["cloudEvent"]) == ({"a": 1}, {"id": "1"})
    payload = sender.get(f"/events/{event_id}/payload")
    assert payload.headers["Content-Type"] == "application/cloudevents+json"
    assert json.loads(payload.body) == event


def test_a_rejected_item_is_replayed_once_its_schema_allows_it(platform: Platform) -> None:
    # Given an item that the schema of its type refuses
    admin = platform.sender("admin", "schemas:write", "events:write", "events:read", "events:admin")
    schema = {"type": "object", "required": ["n"]}
    put = json.dumps(schema).encode()
    headers = {"Content-Type": "application/json"}
    assert admin.call("PUT", "/schemas/strict", put, headers).status_code == 201
    told = results(send(admin, {"events": [{"eventType": "strict"}, {"eventType": "demo"}]}))
    assert [one["status"] for one in told] == ["rejected", "accepted"]
    # When the schema is changed, and the item is replayed
    admin.call("PUT", "/schemas/strict", b'{"type":"object"}', headers)
    answer = admin.call("POST", f"/events/{told[0]['eventId']}/replay", b"", headers)
    assert answer.status_code == 202, answer.body
    platform.work()
    # Then it is processed, alone
    replay = answer.json_body["eventId"]
    shown = admin.get(f"/events/{replay}").json_body
    assert (shown["status"], shown["replayOf"]) == ("PROCESSED", told[0]["eventId"])
    assert admin.get(f"/events/{replay}/result").json_body["data"] == {"eventType": "strict"}


def test_a_processed_event_of_a_unit_is_replayed(platform: Platform) -> None:
    admin = platform.sender("admin", "events:write", "events:read", "events:admin")
    items = [{"eventType": "demo", "n": n} for n in range(3)]
    told = results(send(admin, {"events": items}))
    platform.work()
    answer = admin.post(f"/events/{told[1]['eventId']}/replay")
    platform.work()
    replay = answer.json_body["eventId"]
    assert admin.get(f"/events/{replay}/result").json_body["data"] == items[1]
    assert admin.get(f"/events/{told[1]['eventId']}").json_body["status"] == "PROCESSED"


def test_a_batch_of_no_cloud_events_is_answered_with_no_verdict(platform: Platform) -> None:
    # JSON event format 1.0.2, section 4.3
    sender = platform.sender()
    for body in (b"[]", b" [ ] ", b"\xef\xbb\xbf[]"):
        answer = sender.call("POST", "/events", body, {"Content-Type": BATCH})
        assert (answer.status_code, answer.json_body) == (202, {"results": []})
    assert sender.get("/events").json_body["items"] == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"{", ""),
        (b"[]", ""),
        (b'{"events":[]}', "/events"),
        (b'{"events":[' + b"1," * 500 + b"1]}", "/events"),
        (b'{"events":[{"eventType":"demo"}],"dryRun":true}', "/dryRun"),
    ],
)
def test_what_is_no_batch_is_a_problem_and_is_kept(
    platform: Platform, body: bytes, pointer: str
) -> None:
    sender = platform.sender()
    response = send(sender, body)
    code = "invalid-json" if body == b"{" else "invalid-request"
    check_problem(response, 400, code, pointer)
    (kept,) = sender.get("/events").json_body["items"]
    assert kept["status"] == "REJECTED"
    assert sender.get(f"/events/{kept['eventId']}/payload").body == body


def test_a_key_for_the_whole_batch_is_refused(platform: Platform) -> None:
    response = send(platform.sender(), {"events": [{"eventType": "demo"}]}, Idempotency_Key="k")
    check_problem(response, 400, "invalid-request", "/header/Idempotency-Key")


def test_a_batch_is_json(platform: Platform) -> None:
    response = send(platform.sender(), b'{"events":[1]}', Content_Type="text/csv")
    check_problem(response, 415, "unsupported-media-type")


def test_a_deep_item_is_refused_alone(platform: Platform) -> None:
    deep = b'{"eventType":"demo","x":' + b"[" * 60_000 + b"]" * 60_000 + b"}"
    body = b'{"events":[{"eventType":"demo"},' + deep + b"]}"
    told = results(send(platform.sender(), body))
    assert [one["status"] for one in told] == ["accepted", "rejected"]


def test_when_the_ledger_is_down_nothing_is_acknowledged(
    platform: Platform, break_call: BreakCall
) -> None:
    sender = platform.sender()
    error = refusal("BatchWriteItem", "InternalServerError")
    with break_call("dynamodb", "BatchWriteItem", error):
        response = send(sender, {"events": [{"eventType": "demo"}]})
    check_problem(response, 503, "unavailable")
    assert platform.receive() == []


def test_another_owner_sees_nothing_of_a_batch(platform: Platform) -> None:
    (told,) = results(send(platform.sender(), {"events": [{"eventType": "demo"}]}))
    platform.work()
    other = platform.sender()
    for what in ("", "/payload", "/result"):
        check_problem(other.get(f"/events/{told['eventId']}{what}"), 404, "not-found")
    assert other.get("/events").json_body["items"] == []


def test_where_a_payload_lies_can_be_read_from_s3(platform: Platform) -> None:
    sender = platform.sender()
    items = [{"eventType": "demo", "text": f"größe {n}"} for n in range(3)]
    told = results(send(sender, {"events": items}))
    event = sender.get(f"/events/{told[1]['eventId']}").json_body
    answer = platform.aws("s3").get_object(
        Bucket=NAMES.bronze_bucket, Key=event["s3Key"], Range=event["s3Range"]
    )
    assert json.loads(answer["Body"].read()) == items[1]
    assert answer["ContentType"] == "application/x-ndjson"
