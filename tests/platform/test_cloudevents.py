"""The official CloudEvents SDK against the deployed API."""

from typing import Any

import pytest
import requests
from cloudevents.core.bindings.http import (
    HTTPMessage,
    from_http_event,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from tests.support.deployed_stage import Stage, unique, wait_for

pytestmark = [pytest.mark.emulator, pytest.mark.one_stage]

JSON_EVENT = "application/cloudevents+json"


def make_cloud_event(data: Any, **attributes: Any) -> CloudEvent:
    given = {"id": unique("id"), "source": "/shop/7", "type": "order.made", "specversion": "1.0"}
    return CloudEvent(attributes={**given, **attributes}, data=data)


def send(stage: Stage, token: str, message: HTTPMessage) -> requests.Response:
    headers = dict(message.headers)
    return stage.call("POST", "/events", token, data=message.body, headers=headers)


def ended(stage: Stage, token: str, event_id: str) -> Any:
    """The event at its end."""

    def look() -> Any:
        event = stage.call("GET", f"/events/{event_id}", token).json()
        return event if event["status"] in {"PROCESSED", "FAILED"} else None

    return wait_for(f"{event_id} to end", look)


@pytest.mark.parametrize("convert", [to_binary_event, to_structured_event])
@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        ({"note": "grüße"}, "application/json"),
        ("hello\nworld", "text/plain"),
        (bytes(range(256)), "application/octet-stream"),
        (None, "text/plain"),
    ],
    ids=["json", "text", "bytes", "nothing"],
)
def test_an_event_comes_back_as_the_sdk_sent_it(
    stage: Stage, convert: Any, data: Any, content_type: str
) -> None:
    # Given
    token = stage.token(unique("owner"))
    sent = make_cloud_event(
        data, datacontenttype=content_type, subject="ü 50 %", note='a "quoted" € word', number=7
    )
    message = convert(sent, JSONFormat())
    # When
    answer = send(stage, token, message)
    # Then
    assert answer.status_code == 202, answer.text
    event_id = answer.json()["eventId"]
    path = f"/events/{event_id}"
    got = stage.call("GET", path, token, headers={"Accept": JSON_EVENT})
    assert got.headers["Content-Type"] == JSON_EVENT
    event = from_http_event(HTTPMessage({"Content-Type": JSON_EVENT}, got.content), JSONFormat())
    assert isinstance(event, CloudEvent)
    assert event.get_data() == data
    assert event.get_attributes() == {
        name: value if name != "number" or convert is to_structured_event else str(value)
        for name, value in sent.get_attributes().items()
    }
    # And the payload is what was sent, byte for byte
    assert stage.call("GET", f"{path}/payload", token).content == message.body
    assert ended(stage, token, event_id)["status"] == "PROCESSED"
    result = stage.call("GET", f"{path}/result", token).json()
    assert result["cloudEvent"]["id"] == sent.get_id()


def test_source_and_id_are_the_key(stage: Stage) -> None:
    token = stage.token(unique("owner"))
    message = to_binary_event(make_cloud_event({"n": 1}), JSONFormat())
    first, again = send(stage, token, message), send(stage, token, message)
    assert first.json() == again.json()
    assert again.headers["Idempotent-Replayed"] == "true"


def test_what_is_no_cloud_event_is_told_and_kept(stage: Stage) -> None:
    # Given
    token = stage.token(unique("owner"))
    attributes = {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t", "ce-time": "now"}
    # Without a content type the emulator's gateway takes a body for text, which AWS does not.
    headers = {**attributes, "Content-Type": "application/octet-stream"}
    # When
    answer = stage.call("POST", "/events", token, data=b"\xff\x00", headers=headers)
    # Then
    assert answer.status_code == 400, answer.text
    pointers = {fault["pointer"] for fault in answer.json()["errors"]}
    assert pointers == {"/header/ce-source", "/header/ce-time"}
    kept = stage.call("GET", f"/events/{answer.json()['eventId']}/payload", token)
    assert kept.content == b"\xff\x00"


def test_a_batch_in_the_sdks_own_format_is_taken_event_by_event(stage: Stage) -> None:
    # Given events as the SDK writes them, one of them without its type
    token = stage.token(unique("owner"))
    events = [make_cloud_event({"n": 1}), make_cloud_event("two", datacontenttype="text/plain")]
    written = [JSONFormat().write(event) for event in events]
    bad = b'{"specversion":"1.0","id":"3","source":"/shop/7"}'
    body = b"[" + b",".join([*written, bad]) + b"]"
    headers = {"Content-Type": "application/cloudevents-batch+json"}
    # When they are sent, twice
    first = stage.call("POST", "/events", token, data=body, headers=headers)
    again = stage.call("POST", "/events", token, data=body, headers=headers)
    # Then each has its verdict, and the repeat makes nothing new
    assert first.status_code == again.status_code == 202, first.text
    results, repeated = first.json()["results"], again.json()["results"]
    assert [one["status"] for one in results] == ["accepted", "accepted", "rejected"]
    assert [one["status"] for one in repeated] == ["duplicate", "duplicate", "rejected"]
    assert [one["eventId"] for one in results] == [one["eventId"] for one in repeated]
    assert [fault["pointer"] for fault in results[2]["errors"]] == ["/2/type"]
    # And each is read back by the SDK
    for one, sent in zip(results, events, strict=False):
        accept = {"Accept": JSON_EVENT}
        got = stage.call("GET", f"/events/{one['eventId']}", token, headers=accept)
        message = HTTPMessage({"Content-Type": JSON_EVENT}, got.content)
        event = from_http_event(message, JSONFormat())
        assert (event.get_id(), event.get_data()) == (sent.get_id(), sent.get_data())
        assert ended(stage, token, one["eventId"])["status"] == "PROCESSED"
