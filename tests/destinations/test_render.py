"""Requests in each format, as other implementations of the specifications read them."""

import base64
import json
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event, from_structured_event

from chalicelib.destinations.model import Format
from chalicelib.destinations.render import render

DOCUMENT: dict[str, Any] = {
    "eventId": "019a9d2c-6f3b-7c1e-9b6a-2f4f6d1c8e55",
    "eventType": "order.paid",
    "source": "/shop?a=b",
    "subject": 'Köln "1" 100%',
    "owner": "shop",
    "time": "2026-01-31T23:59:59.123Z",
    "receivedAt": "2026-01-31T23:59:59.500Z",
    "cloudEvent": {"id": "A-1", "tenant": "x y", "urgent": True, "tries": 3},
    "data": {"total": 5, "name": "ü"},
}
BYTES = {**DOCUMENT, "dataEncoding": "base64", "data": base64.b64encode(b"\x00\xff").decode()}


def message(format_: Format, document: dict[str, Any]) -> HTTPMessage:
    body, headers = render(format_, document)
    return HTTPMessage(headers, body)


def test_the_payload_of_standard_webhooks() -> None:
    body, headers = render(Format.STANDARD, DOCUMENT)
    assert headers == {"Content-Type": "application/json"}
    assert json.loads(body) == {
        "type": "order.paid",
        "timestamp": "2026-01-31T23:59:59.123Z",
        "id": DOCUMENT["eventId"],
        "source": "/shop?a=b",
        "subject": 'Köln "1" 100%',
        "data": {"total": 5, "name": "ü"},
    }
    assert json.loads(render(Format.STANDARD, BYTES)[0])["dataEncoding"] == "base64"


@pytest.mark.parametrize("format_", [Format.STRUCTURED, Format.BINARY])
def test_the_sdk_reads_a_cloud_event(format_: Format) -> None:
    read = from_structured_event if format_ is Format.STRUCTURED else from_binary_event
    event = read(message(format_, DOCUMENT))
    assert event.get_id() == DOCUMENT["eventId"]
    assert event.get_type() == "order.paid"
    assert event.get_source() == "/shop?a=b"
    assert event.get_subject() == 'Köln "1" 100%'
    assert event.get_datacontenttype() == "application/json"
    assert event.get_data() == {"total": 5, "name": "ü"}
    attributes = event.get_attributes()
    assert attributes["tenant"] == "x y"
    # In headers every attribute is text, in its canonical form.
    assert attributes["urgent"] in (True, "true")
    assert attributes["tries"] in (3, "3")


@pytest.mark.parametrize("format_", [Format.STRUCTURED, Format.BINARY])
def test_the_sdk_reads_bytes(format_: Format) -> None:
    read = from_structured_event if format_ is Format.STRUCTURED else from_binary_event
    event = read(message(format_, BYTES))
    assert event.get_data() == b"\x00\xff"
    assert event.get_datacontenttype() == "application/octet-stream"


def test_an_event_that_was_no_cloud_event_becomes_one() -> None:
    plain = {name: value for name, value in DOCUMENT.items() if name != "cloudEvent"}
    event = from_structured_event(message(Format.STRUCTURED, {**plain, "subject": None}))
    assert event.get_subject() is None
    assert event.get_id() == DOCUMENT["eventId"]
