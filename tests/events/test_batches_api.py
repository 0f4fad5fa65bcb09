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
    items: list[dict[str, Any]] = [
        {"eventType": "demo", "n": 1},
        {"n": 2},
        {"eventType": "eventline.drill.permanent"},
        {"eventType": "eventline.drill.transient", "failures": 1},
        {"eventType": "other", "n": 5, "idempotencyKey": "five"},
        {"eventType": "demo", "n": 6},
    ]
    # When it is sent
    told = results(send(sender, {"events": items}))
    # Then every item has a verdict
    words = [one["status"] for one in told]
    assert words == ["accepted", "rejected", *["accepted"] * 4]
    assert told[1]["errors"] == [{"pointer": "/events/1/eventType", "detail": "is required"}]
    # And every one comes to its end
    platform.work()
    ids = [one["eventId"] for one in told]
    shown = [sender.get(f"/events/{id_}").json_body for id_ in ids]
    assert [one["status"] for one in shown] == [
        "PROCESSED", "REJECTED", "FAILED", "ENQUEUED", "PROCESSED", "PROCESSED",
    ]  # fmt: skip
    for item, event in zip(items, shown, strict=True):
        response = sender.get(f"/events/{event['eventId']}/payload")
        assert json.loads(response.body) == item
        assert response.headers["Content-Type"] == "application/json"
    for number in (0, 4, 5):
        document = sender.get(f"/events/{ids[number]}/result").json_body
        assert (document["eventId"], document["data"]) == (ids[number], items[number])
        # Those of one type share a file
        assert ("silverRange" in shown[number]) == (items[number]["eventType"] == "demo")
    assert shown[0]["silverKey"] == shown[5]["silverKey"] != shown[4]["silverKey"]
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
    # One for each, two counters, and the end of the unit
    assert platform.calls.count("UpdateItem") == 100 + 2 + 1
    assert platform.calls.count("PutItem") == 1


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


PLAIN = ("/events/batch", "application/json", "application/json")
CLOUD_EVENTS = ("/events", BATCH, "application/cloudevents+json")
INDENTED = {
    PLAIN: b'{\r\n  "eventType": "demo",\n  "idempotencyKey": "k"\n}',
    CLOUD_EVENTS: b'{\r\n  "specversion": "1.0",\n  "id": "1", "source": "/s",\n  "type": "t"\n}',
}


def send_alone(sender: Sender, form: tuple[str, str, str], item: bytes) -> HTTPResponse:
    headers = {"Content-Type": form[2]} | ({"Idempotency-Key": "k"} if form is PLAIN else {})
    return sender.call("POST", "/events", item, headers)


def send_in_batch(sender: Sender, form: tuple[str, str, str], item: bytes) -> dict[str, Any]:
    body = b"[" + item + b"]"
    if form is PLAIN:
        body = b'{"events":' + body + b"}"
    (told,) = results(sender.call("POST", form[0], body, {"Content-Type": form[1]}))
    return told


@pytest.mark.parametrize("form", [PLAIN, CLOUD_EVENTS], ids=["plain", "cloudevents"])
def test_an_event_that_came_in_a_batch_is_known_when_it_comes_alone(
    platform: Platform, form: tuple[str, str, str]
) -> None:
    # Given an event in many lines that came in a batch
    sender, item = platform.sender(), INDENTED[form]
    first = send_in_batch(sender, form, item)
    # When it comes again alone, then it is the same event
    again = send_alone(sender, form, item)
    assert (again.status_code, again.json_body["eventId"]) == (202, first["eventId"])
    assert again.headers["Idempotent-Replayed"] == "true"
    # And its payload is what came, but for the line breaks
    kept = sender.get(f"/events/{first['eventId']}/payload").body
    assert kept == item.replace(b"\r", b" ").replace(b"\n", b" ")
    # And other content is still refused
    other = send_alone(sender, form, item.replace(b"\n}", b',\n  "n": 1\n}'))
    check_problem(other, 422, "idempotency-conflict")


@pytest.mark.parametrize("form", [PLAIN, CLOUD_EVENTS], ids=["plain", "cloudevents"])
def test_an_event_that_came_alone_is_known_when_it_comes_in_a_batch(
    platform: Platform, form: tuple[str, str, str]
) -> None:
    # Given an event in many lines that came alone
    sender, item = platform.sender(), INDENTED[form]
    first = send_alone(sender, form, item)
    # When it comes again in a batch, then it is the same event
    again = send_in_batch(sender, form, item)
    assert (again["status"], again["eventId"]) == ("duplicate", first.json_body["eventId"])
    # And its payload is what came
    assert sender.get(f"/events/{again['eventId']}/payload").body == item
    # And other content is still refused
    other = send_in_batch(sender, form, item.replace(b"\n}", b',\n  "n": 1\n}'))
    assert other["status"] == "rejected"


@pytest.mark.parametrize(("first", "other"), [(b"a b", b"a\nb"), (b"", b"a"), (b"a", b"")])
def test_text_in_other_lines_is_another_event(
    platform: Platform, first: bytes, other: bytes
) -> None:
    # Given an event whose data are text, or nothing
    sender = platform.sender()
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
    headers["Content-Type"] = "text/plain"
    assert sender.call("POST", "/events", first, headers).status_code == 202
    # When it comes with a line break, or with data, then it is not the same
    check_problem(sender.call("POST", "/events", other, headers), 422, "idempotency-conflict")
