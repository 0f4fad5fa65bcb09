"""GET /dead-letters and POST /dead-letters/redrive, to the end of what is redriven."""

import json
from typing import Any

import pytest

from chalicelib import wiring
from chalicelib.events import processors
from tests.support.app_on_moto import BreakCall, Platform, Sender, without_delay
from tests.support.factories import decode_events, make_id
from tests.support.faults import refusal
from tests.support.problems import check_problem

SCOPES = ("events:write", "events:read", "events:admin")
PERMANENT = "eventline.drill.permanent"
REDRIVE = "/dead-letters/redrive"


def fail(platform: Platform, sender: Sender, event_type: str = PERMANENT) -> str:
    """An event that is FAILED; its id."""
    event_id = sender.event_id({"eventType": event_type})
    platform.work()
    assert sender.get(f"/events/{event_id}").json_body["status"] == "FAILED"
    return event_id


def lay(platform: Platform, queue: str, body: str, **reason: str) -> None:
    """Put a message into a dead-letter queue."""
    attributes = {
        name: {"DataType": "String", "StringValue": value} for name, value in reason.items()
    }
    platform.aws("sqs").send_message(
        QueueUrl=wiring.dead_letters().dead[queue]._url,
        MessageBody=body,
        MessageAttributes=attributes,
    )


def listed(sender: Sender, query: str = "") -> list[Any]:
    """All dead letters that somebody sees, two at a time."""
    found: list[Any] = []
    cursor = ""
    for _ in range(20):
        response = sender.get(f"/dead-letters?limit=2{query}{cursor}")
        assert response.status_code == 200, response.body
        page = response.json_body
        assert len([letter for letter in page["items"] if letter["kind"] == "event"]) <= 2
        found += page["items"]
        if page["cursor"] is None:
            return found
        cursor = f"&cursor={page['cursor']}"
    raise AssertionError("the list does not end")


def test_failed_events_are_listed_newest_first_with_the_reason(platform: Platform) -> None:
    # Given failed events, and others
    alice, bob = platform.sender(*SCOPES), platform.sender(*SCOPES)
    ids = [fail(platform, alice) for _ in range(5)]
    alice.event_id({"eventType": "demo"})
    fail(platform, bob)
    # When they are listed
    found = listed(alice)
    # Then hers are there, with all that one needs to know
    assert [letter["eventId"] for letter in found] == ids[::-1]
    letter = found[0]
    assert (letter["kind"], letter["eventType"], letter["attempts"]) == ("event", PERMANENT, 1)
    assert letter["reason"]["class"] == "permanent"
    assert letter["reason"]["code"]
    assert (letter["redrivable"], letter["whyNot"]) == (True, None)
    assert letter["ageSeconds"] >= 0
    assert letter["failedAt"].endswith("Z")
    # And a filter leaves what matches
    assert len(listed(alice, f"&eventType={PERMANENT}")) == 5
    assert listed(alice, "&eventType=demo") == []
    assert len(listed(alice, "&errorClass=permanent")) == 5
    assert listed(alice, "&errorClass=transient") == []


def test_an_admin_sees_what_lies_in_the_queues_as_well(platform: Platform) -> None:
    # Given something in every queue, and failed events
    alice, admin = platform.sender(*SCOPES), platform.sender("admin")
    ids = [fail(platform, alice) for _ in range(3)]
    lay(platform, "events-dlq", "not ours", reason="not a message", code="foreign-message")
    lay(platform, "ci-events-dlq", '{"status":"error"}', code="no_service")
    lay(platform, "uploads-dlq", "{}", code="malformed")
    lay(platform, "notifications-dlq", "{}", code="malformed")
    lay(platform, "bus-dlq", "{}", ERROR_CODE="KMS_ACCESS_DENIED")
    # When an admin looks, again and again
    for _ in range(3):
        found = listed(admin)
    # Then it is all there, and each says whether it can be redriven
    messages = {letter["queue"]: letter for letter in found if letter["kind"] == "message"}
    assert len(found) == 8
    assert [letter["eventId"] for letter in found if letter["kind"] == "event"] == ids[::-1]
    assert messages["ci-events-dlq"]["redrivable"]
    assert messages["bus-dlq"]["reason"] == {"ERROR_CODE": "KMS_ACCESS_DENIED"}
    for queue in ("events-dlq", "uploads-dlq", "notifications-dlq", "bus-dlq"):
        assert not messages[queue]["redrivable"]
        assert messages[queue]["whyNot"]
    foreign = messages["events-dlq"]
    assert foreign["reason"] == {"reason": "not a message", "code": "foreign-message"}
    assert (foreign["approximateCount"], foreign["messageId"] != "") == (1, True)
    assert b"not ours" not in admin.get("/dead-letters").body
    # And nobody else sees messages
    assert {letter["kind"] for letter in listed(alice)} == {"event"}
    assert {letter["kind"] for letter in listed(admin, "&errorClass=permanent")} == {"event"}


def test_an_event_is_redriven_as_itself(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an event that failed, and a processor that was mended since
    alice = platform.sender(*SCOPES)
    event_id = fail(platform, alice)
    monkeypatch.setattr(processors, "PROCESSORS", {})
    # When it is redriven
    response = alice.post(REDRIVE, {"eventId": event_id})
    assert response.json_body == {"redriven": 1, "skipped": [], "more": False, "cursor": None}
    record = alice.get(f"/events/{event_id}").json_body
    assert (record["status"], record["attempts"]) == ("ENQUEUED", 1)
    without_delay()
    platform.work()
    # Then it is processed, and its life tells how
    record = alice.get(f"/events/{event_id}").json_body
    assert (record["status"], record["attempts"]) == ("PROCESSED", 2)
    steps = [(step["status"], step.get("detail", "")) for step in record["timeline"]]
    assert [status for status, _ in steps] == [
        "RECEIVED", "ENQUEUED", "FAILED", "ENQUEUED", "PROCESSED",
    ]  # fmt: skip
    assert steps[3][1] == "redriven"
    assert listed(alice) == []
    # And it cannot be redriven again
    again = alice.post(REDRIVE, {"eventId": event_id}).json_body
    assert again["redriven"] == 0
    assert "PROCESSED" in again["skipped"][0]["reason"]


def test_an_event_that_fails_again_is_failed_again(platform: Platform) -> None:
    alice = platform.sender(*SCOPES)
    event_id = fail(platform, alice)
    alice.post(REDRIVE, {"all": True})
    without_delay()
    platform.work()
    record = alice.get(f"/events/{event_id}").json_body
    assert (record["status"], record["attempts"]) == ("FAILED", 2)


def test_an_event_that_left_its_unit_is_redriven_alone(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a unit of which two have failed
    alice = platform.sender(*SCOPES)
    events = [{"eventType": PERMANENT}, {"eventType": "demo"}, {"eventType": PERMANENT}]
    answer = alice.post("/events/batch", {"events": events}).json_body
    ids = [result["eventId"] for result in answer["results"]]
    platform.work()
    assert len(listed(alice)) == 2
    monkeypatch.setattr(processors, "PROCESSORS", {})
    # When they are redriven
    assert alice.post(REDRIVE, {"errorClass": "permanent"}).json_body["redriven"] == 2
    without_delay()
    platform.work()
    # Then all are processed
    for event_id, event in zip(ids, events, strict=True):
        result = alice.get(f"/events/{event_id}/result")
        assert result.json_body["data"] == event


def test_redrive_takes_what_it_is_asked_for(platform: Platform) -> None:
    alice, bob = platform.sender(*SCOPES), platform.sender(*SCOPES)
    mine, theirs = fail(platform, alice), fail(platform, bob)
    for order in ({"eventType": "demo"}, {"errorClass": "stuck"}):
        assert alice.post(REDRIVE, order).json_body["redriven"] == 0
    assert alice.post(REDRIVE, {"eventType": PERMANENT}).json_body["redriven"] == 1
    assert alice.get(f"/events/{mine}").json_body["status"] == "ENQUEUED"
    assert bob.get(f"/events/{theirs}").json_body["status"] == "FAILED"
    check_problem(alice.post(REDRIVE, {"eventId": theirs}), 404, "not-found")
    check_problem(alice.post(REDRIVE, {"eventId": make_id()}), 404, "not-found")
    assert platform.sender("admin").post(REDRIVE, {"eventId": theirs}).json_body["redriven"] == 1


def test_many_are_redriven_a_hundred_at_once(platform: Platform) -> None:
    # Given more than a call takes
    alice = platform.sender(*SCOPES)
    for _ in range(3):
        alice.post("/events/batch", {"events": [{"eventType": PERMANENT}] * 35})
    while records := platform.receive():
        platform.work(records)
    # When it is called until there is no more
    counts = []
    order: dict[str, Any] = {"all": True}
    for _ in range(5):
        answer = alice.post(REDRIVE, order).json_body
        counts.append(answer["redriven"])
        if not answer["more"]:
            break
        order = {"all": True, "cursor": answer["cursor"]}
    # Then each was redriven once
    assert counts == [100, 5]
    without_delay()
    waiting = 0
    while records := platform.receive():
        waiting += sum(len(decode_events(record["body"]).parcels) for record in records)
    assert waiting == 105


def test_an_event_that_sqs_does_not_take_stays_failed(
    platform: Platform, break_call: BreakCall
) -> None:
    alice = platform.sender(*SCOPES)
    event_id = fail(platform, alice)
    with break_call("sqs", "SendMessageBatch", refusal("SendMessageBatch")):
        check_problem(alice.post(REDRIVE, {"all": True}), 503, "unavailable")
    assert alice.get(f"/events/{event_id}").json_body["status"] == "FAILED"


def test_messages_go_back_to_where_they_came_from(platform: Platform) -> None:
    # Given a message of the worker's that was delivered too often, a foreign one, and an alert
    alice, admin = platform.sender(*SCOPES), platform.sender("admin")
    event_id = alice.event_id({"eventType": "demo"})
    (lost,) = platform.receive()
    platform.aws("sqs").delete_message(
        QueueUrl=wiring.events_queue()._url, ReceiptHandle=lost["receiptHandle"]
    )
    lay(platform, "events-dlq", lost["body"])
    lay(platform, "events-dlq", "foreign")
    lay(platform, "ci-events-dlq", '{"status":"error"}', code="no_service")
    # When they are redriven
    events = admin.post(REDRIVE, {"queue": "events-dlq"}).json_body
    alerts = admin.post(REDRIVE, {"queue": "ci-events-dlq"}).json_body
    # Then what can be is back and gone from there, and what cannot says why
    assert (events["redriven"], len(events["skipped"]), alerts["redriven"]) == (1, 1, 1)
    assert "foreign message" in events["skipped"][0]["reason"]
    platform.work()
    assert alice.get(f"/events/{event_id}").json_body["status"] == "PROCESSED"
    assert len(platform.receive("eventline-test-ci-events-queue")) == 1
    left = [letter["queue"] for letter in listed(admin)]
    assert left == ["events-dlq"]


def test_one_message_is_redriven_and_the_others_stay(platform: Platform) -> None:
    admin = platform.sender("admin")
    for number in range(3):
        lay(platform, "ci-events-dlq", json.dumps({"status": "error", "n": number}))
    ids = {letter["messageId"] for letter in listed(admin)}
    one = min(ids)
    order = {"queue": "ci-events-dlq", "messageId": one}
    assert admin.post(REDRIVE, order).json_body["redriven"] == 1
    assert {letter["messageId"] for letter in listed(admin)} == ids - {one}
    check_problem(admin.post(REDRIVE, order), 404, "not-found")
    assert {letter["messageId"] for letter in listed(admin)} == ids - {one}


@pytest.mark.parametrize("queue", ["uploads-dlq", "notifications-dlq", "bus-dlq"])
def test_what_no_queue_feeds_says_why_it_stays(platform: Platform, queue: str) -> None:
    admin = platform.sender("admin")
    lay(platform, queue, "{}")
    answer = admin.post(REDRIVE, {"queue": queue}).json_body
    assert (answer["redriven"], answer["skipped"][0]["queue"]) == (0, queue)
    assert answer["skipped"][0]["reason"]
    assert len(listed(admin)) == 1


def test_queues_are_for_admins(platform: Platform) -> None:
    lay(platform, "ci-events-dlq", "{}")
    order = {"queue": "ci-events-dlq"}
    check_problem(platform.sender(*SCOPES).post(REDRIVE, order), 403, "forbidden")
    assert platform.receive("eventline-test-ci-events-queue") == []


BAD: dict[str, tuple[Any, tuple[str, ...]]] = {
    "nothing": ({}, ("",)),
    "a list": ([], ("",)),
    "two": ({"all": True, "eventType": "demo"}, ("",)),
    "unknown": ({"all": True, "x": 1}, ("/x",)),
    "all false": ({"all": False}, ("/all",)),
    "all 1": ({"all": 1}, ("/all",)),
    "event null": ({"eventId": None}, ("/eventId",)),
    "event path": ({"eventId": "../x"}, ("/eventId",)),
    "event list": ({"eventId": [make_id()]}, ("/eventId",)),
    "type": ({"eventType": 5}, ("/eventType",)),
    "class": ({"errorClass": "bad"}, ("/errorClass",)),
    "class list": ({"errorClass": ["permanent"]}, ("/errorClass",)),
    "queue": ({"queue": "events"}, ("/queue",)),
    "queue object": ({"queue": {}}, ("/queue",)),
    "message alone": ({"all": True, "messageId": "x"}, ("/messageId",)),
    "message number": ({"queue": "events-dlq", "messageId": 5}, ("/messageId",)),
    "cursor": ({"all": True, "cursor": "x"}, ("/cursor",)),
    "cursor number": ({"all": True, "cursor": 5}, ("/cursor",)),
    "cursor of a queue": ({"queue": "events-dlq", "cursor": "x"}, ("/cursor",)),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_order_is_refused_by_field(platform: Platform, name: str) -> None:
    body, pointers = BAD[name]
    response = platform.sender("admin").post(REDRIVE, json.dumps(body).encode())
    check_problem(response, 400, "invalid-request", *pointers)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/query/limit"),
        ("limit=101", "/query/limit"),
        ("errorClass=bad", "/query/errorClass"),
        ("eventType=", "/query/eventType"),
        ("status=FAILED", "/query/status"),
        ("cursor=x", "/query/cursor"),
        ("errorClass=stuck&errorClass=stuck", "/query/errorClass"),
    ],
)
def test_a_bad_query_is_refused_by_field(platform: Platform, query: str, pointer: str) -> None:
    response = platform.sender(*SCOPES).get(f"/dead-letters?{query}")
    check_problem(response, 400, "invalid-request", pointer)


def test_deliveries_go_back_to_their_queue(platform: Platform) -> None:
    admin = platform.sender("admin")
    lay(platform, "deliveries-dlq", '{"v":1}', code="x")
    done = admin.post(REDRIVE, {"queue": "deliveries-dlq"}).json_body
    assert done["redriven"] == 1
    (message,) = platform.receive("eventline-test-deliveries")
    assert message["body"] == '{"v":1}'
    assert platform.receive("eventline-test-deliveries-dlq") == []
