"""CloudEvents through the API, with the official SDK as the client."""

import base64
import json
from typing import Any

import pytest
from cloudevents.core.bindings.http import (
    HTTPMessage,
    from_http_event,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from chalicelib import wiring
from chalicelib.events.model import Event
from chalicelib.events.unit import read_unit
from tests.support.app_on_moto import NAMES, Platform, Sender
from tests.support.factories import unique
from tests.support.problems import check_problem

JSON_EVENT = "application/cloudevents+json"


def make_cloud_event(data: Any = None, **attributes: Any) -> CloudEvent:
    """An event as a sender's program makes it."""
    given = {
        "id": unique("id"),
        "source": "/shop/7",
        "type": "com.example.order.created",
        "specversion": "1.0",
        **attributes,
    }
    return CloudEvent(attributes=given, data=data)


def send(sender: Sender, message: HTTPMessage) -> Any:
    return sender.call("POST", "/events", message.body, dict(message.headers))


def read_back(sender: Sender, event_id: str) -> CloudEvent:
    """The stored event, as the SDK reads it."""
    response = sender.call("GET", f"/events/{event_id}", headers={"Accept": JSON_EVENT})
    assert response.status_code == 200, response.body
    assert response.headers["Content-Type"] == JSON_EVENT
    message = HTTPMessage({"Content-Type": JSON_EVENT}, response.body)
    event = from_http_event(message, JSONFormat())
    assert isinstance(event, CloudEvent)
    return event


@pytest.mark.parametrize("convert", [to_structured_event, to_binary_event])
@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        ({"total": 12.5, "note": "grüße"}, "application/json"),
        ({"a": [1, None, True]}, "application/vnd.example+json"),
        ("hello\nworld", "text/plain"),
        (b"\x00\xff\xfe binary", "application/octet-stream"),
        (None, None),
    ],
)
def test_an_event_is_read_back_as_it_was_sent(
    platform: Platform, convert: Any, data: Any, content_type: str | None
) -> None:
    # Given
    alice = platform.sender()
    optional = {} if content_type is None else {"datacontenttype": content_type}
    sent = make_cloud_event(
        data, **optional, subject="order 7 ü", myextension='50 % "quoted"', number=7, flag=True
    )
    # When
    response = send(alice, convert(sent, JSONFormat()))
    # Then
    assert response.status_code == 202, response.body
    got = read_back(alice, response.json_body["eventId"])
    assert got.get_data() == data or _same_bytes(got.get_data(), data)
    assert got.get_id() == sent.get_id()
    assert (got.get_source(), got.get_type()) == (sent.get_source(), sent.get_type())
    assert got.get_subject() == "order 7 ü"
    assert got.get_extension("myextension") == '50 % "quoted"'
    record = alice.get(f"/events/{response.json_body['eventId']}").json_body
    assert record["eventType"] == "com.example.order.created"
    assert record["source"] == "/shop/7"
    assert record["cloudEvent"]["id"] == sent.get_id()


def _same_bytes(got: Any, sent: Any) -> bool:
    as_bytes = got if isinstance(got, bytes) else str(got).encode()
    return bool(as_bytes == (sent if isinstance(sent, bytes) else str(sent).encode()))


def test_source_and_id_make_it_idempotent(platform: Platform) -> None:
    # Given
    alice = platform.sender()
    sent = make_cloud_event({"n": 1})
    message = to_binary_event(sent, JSONFormat())
    # When it is sent twice
    first, again = send(alice, message), send(alice, message)
    # Then
    assert first.json_body == again.json_body
    assert again.headers["Idempotent-Replayed"] == "true"
    # When the id comes with another body, or another type
    other = make_cloud_event({"n": 2}, id=sent.get_id())
    renamed = make_cloud_event({"n": 1}, id=sent.get_id(), type="another")
    for event in (other, renamed):
        response = send(alice, to_binary_event(event, JSONFormat()))
        check_problem(response, 422, "idempotency-conflict")
    # And the same id of another source, or of another owner, is another event
    elsewhere = make_cloud_event({"n": 1}, id=sent.get_id(), source="/shop/8")
    assert (
        "Idempotent-Replayed" not in send(alice, to_binary_event(elsewhere, JSONFormat())).headers
    )
    assert "Idempotent-Replayed" not in send(platform.sender(), message).headers


def test_the_payload_of_a_binary_event_is_its_data(platform: Platform) -> None:
    alice = platform.sender()
    raw = bytes(range(256))
    event = make_cloud_event(raw, datacontenttype="image/png")
    event_id = send(alice, to_binary_event(event, JSONFormat())).json_body["eventId"]
    response = alice.get(f"/events/{event_id}/payload")
    assert response.body == raw or base64.b64decode(response.body) == raw
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["Content-Disposition"] == "attachment"


EMPTY = ["application/json", "text/plain", "application/octet-stream", None]
"""Content types of events without data in binary mode."""


def send_empty(sender: Sender, content_type: str | None) -> str:
    """Send an event without data in binary mode; its id."""
    headers = {"ce-specversion": "1.0", "ce-id": unique("id"), "ce-source": "/s", "ce-type": "t"}
    if content_type is not None:
        headers["Content-Type"] = content_type
    response = sender.call("POST", "/events", b"", headers)
    assert response.status_code == 202, response.body
    event_id: str = response.json_body["eventId"]
    return event_id


def check_empty(sender: Sender, event_id: str, content_type: str | None) -> None:
    """The event is processed, and has no data wherever it is read."""
    record = sender.get(f"/events/{event_id}").json_body
    assert (record["status"], record["payloadBytes"]) == ("PROCESSED", 0)
    payload = sender.get(f"/events/{event_id}/payload")
    assert (payload.status_code, payload.body) == (200, b"")
    assert payload.headers["Content-Type"] == (content_type or "application/octet-stream")
    result = sender.get(f"/events/{event_id}/result").json_body
    assert result["data"] is None
    assert "dataEncoding" not in result
    assert read_back(sender, event_id).get_data() is None


@pytest.mark.parametrize("content_type", EMPTY)
def test_a_binary_event_without_data_is_processed(
    platform: Platform, content_type: str | None
) -> None:
    # Given an event whose body is empty
    alice = platform.sender("events:write", "events:read", "events:admin")
    event_id = send_empty(alice, content_type)
    # When it is processed
    platform.work()
    # Then it has no data, like a structured event without any
    check_empty(alice, event_id, content_type)
    # And it can be replayed
    again = alice.post(f"/events/{event_id}/replay").json_body["eventId"]
    platform.work()
    check_empty(alice, again, content_type)


def test_binary_events_without_data_spoil_no_file_of_many(platform: Platform) -> None:
    # Given events with and without data
    alice = platform.sender()
    empty = {send_empty(alice, content_type): content_type for content_type in EMPTY}
    full = [alice.event_id({"eventType": "demo", "n": n}) for n in range(3)]
    # When they are processed together
    platform.work()
    # Then each has its own payload
    for event_id, content_type in empty.items():
        check_empty(alice, event_id, content_type)
    for n, event_id in enumerate(full):
        assert alice.get(f"/events/{event_id}/payload").json_body["n"] == n
    # And bronze alone gives all of them back
    for event_id in (*empty, *full):
        record = wiring.ledger().get(event_id)
        assert record is not None
        assert record.event in events_of_object(record.event.s3_key)


def events_of_object(key: str) -> list[Event]:
    """The events that a bronze object alone tells of."""
    if single := wiring.lake().bronze_event(key):
        return [single]
    found = wiring.lake().get_unit(key)
    assert found is not None
    return read_unit(key, *found) or []


def test_a_lost_binary_event_without_data_is_recovered(platform: Platform) -> None:
    # Given one of which only bronze is left
    alice = platform.sender()
    event_id = send_empty(alice, "application/json")
    platform.work()
    record = wiring.ledger().get(event_id)
    assert record is not None
    key = {"pk": {"S": f"EVENT#{event_id}"}}
    platform.aws("dynamodb").delete_item(TableName=NAMES.events_table, Key=key)
    platform.aws("s3").delete_object(Bucket=NAMES.silver_bucket, Key=record.silver_key)
    # When reconcile has found it
    platform.reconcile({"stuckAfterSeconds": 0})
    platform.work()
    # Then it is processed again
    check_empty(alice, event_id, "application/json")


@pytest.mark.parametrize("content_type", ["application/json", JSON_EVENT])
def test_an_event_of_another_form_needs_a_body(platform: Platform, content_type: str) -> None:
    alice = platform.sender()
    response = alice.call("POST", "/events", b"", {"Content-Type": content_type})
    problem = check_problem(response, 400, "invalid-json", "")
    kept = alice.get(f"/events/{problem['eventId']}/payload")
    assert (kept.status_code, kept.body) == (200, b"")


def test_silver_holds_the_data_and_the_context(platform: Platform) -> None:
    # Given
    alice = platform.sender()
    event = make_cloud_event({"n": 1}, mark="x")
    event_id = send(alice, to_structured_event(event, JSONFormat())).json_body["eventId"]
    # When
    platform.work()
    # Then
    document = alice.get(f"/events/{event_id}/result").json_body
    assert document["data"] == {"n": 1}
    assert document["cloudEvent"]["id"] == event.get_id()
    assert document["cloudEvent"]["extensions"] == {"mark": "x"}


@pytest.mark.parametrize("missing", ["id", "source", "type", "specversion"])
def test_a_missing_attribute_is_named_and_the_payload_kept(
    platform: Platform, missing: str
) -> None:
    # Given
    alice = platform.sender()
    fields = {"specversion": "1.0", "id": unique("id"), "source": "/s", "type": "t", "data": 1}
    del fields[missing]
    body = json.dumps(fields).encode()
    # When
    response = alice.call("POST", "/events", body, {"Content-Type": JSON_EVENT})
    # Then
    problem = check_problem(response, 400, "invalid-request", f"/{missing}")
    record = alice.get(f"/events/{problem['eventId']}").json_body
    assert record["status"] == "REJECTED"
    assert alice.get(f"/events/{problem['eventId']}/payload").body == body


def test_headers_at_fault_are_named(platform: Platform) -> None:
    alice = platform.sender()
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
    response = alice.call(
        "POST", "/events", b"{}", {**headers, "ce-time": "yesterday", "Content-Type": "text/plain"}
    )
    check_problem(response, 400, "invalid-request", "/header/ce-time")


def test_another_format_of_cloud_events_is_not_read(platform: Platform) -> None:
    alice = platform.sender()
    headers = {"Content-Type": "application/cloudevents+avro"}
    response = alice.call("POST", "/events", b"x", headers)
    check_problem(response, 415, "unsupported-media-type")


def test_a_plain_event_is_a_cloud_event_too(platform: Platform) -> None:
    alice = platform.sender()
    event_id = alice.event_id({"eventType": "demo", "n": 1})
    event = read_back(alice, event_id)
    assert (event.get_id(), event.get_type(), event.get_source()) == (event_id, "demo", "/events")
    assert event.get_data() == {"eventType": "demo", "n": 1}


def test_a_fault_in_the_data_is_told_where_it_is_in_the_payload(platform: Platform) -> None:
    # Given
    admin, alice = platform.sender("admin"), platform.sender()
    schema = {"properties": {"total": {"type": "number"}}}
    assert admin.call("PUT", "/schemas/t", json.dumps(schema).encode()).status_code == 201
    event = make_cloud_event({"total": "x"}, type="t")
    # When
    structured = send(alice, to_structured_event(event, JSONFormat()))
    binary = send(alice, to_binary_event(event, JSONFormat()))
    plain = alice.post("/events", {"eventType": "t", "total": "x"})
    # Then
    check_problem(structured, 422, "schema-violation", "/data/total")
    check_problem(binary, 422, "schema-violation", "/total")
    check_problem(plain, 422, "schema-violation", "/total")


def test_what_powershell_sends_is_read_and_kept_as_it_came(platform: Platform) -> None:
    # Given JSON with a byte order mark, sent as a type that is JSON by another name
    sender = platform.sender()
    sent = b'\xef\xbb\xbf{"eventType":"demo","subject":"10\xe2\x80\xafh","n":1}'
    answer = sender.call("POST", "/events", sent, {"Content-Type": "text/json; version=1;"})
    assert answer.status_code == 202, answer.body
    event_id = answer.json_body["eventId"]
    platform.work()
    # Then it is processed, and its payload is what was sent
    assert sender.get(f"/events/{event_id}").json_body["subject"] == "10\u202fh"
    assert sender.get(f"/events/{event_id}/payload").body == sent
    assert sender.get(f"/events/{event_id}/result").json_body["data"]["n"] == 1
    # And as a CloudEvent it is JSON
    asked = {"Accept": JSON_EVENT}
    event = json.loads(sender.call("GET", f"/events/{event_id}", b"", asked).body)
    assert event["data"]["n"] == 1
