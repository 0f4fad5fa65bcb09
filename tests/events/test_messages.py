"""What travels on the queue."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.errors import ForeignMessageError
from chalicelib.core.names import MAX_NAME_BYTES, MAX_TYPE_BYTES
from chalicelib.events.message import MAX_MESSAGE_BYTES, EventMessage
from tests.support.factories import decode_event, make_event

PAYLOAD = b'{"eventType":"demo"}'
GOOD: dict[str, Any] = json.loads(
    EventMessage(make_event(), PAYLOAD, recorded=True, request_id="r").encode()
)
texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(texts, texts, st.none() | texts, texts, st.booleans())
def test_a_message_comes_back_as_it_was(
    text: str, source: str, subject: str | None, event_type: str, recorded: bool
) -> None:
    payload = text.encode()
    event = make_event(payload=payload, source=source, subject=subject, event_type=event_type)
    message = EventMessage(event, payload, recorded, "request")
    assert decode_event(message.encode()) == message


def test_a_message_without_a_payload_says_so() -> None:
    message = EventMessage(make_event(), None, recorded=False, request_id="r")
    assert decode_event(message.encode()) == message
    assert "payload" not in json.loads(message.encode())


@pytest.mark.parametrize("letter", ["a", "ü", '"', "\x01", "\N{GRINNING FACE}"])
def test_a_message_stays_below_its_limit(letter: str) -> None:
    # Given payloads around the size at which they no longer fit, escaped as JSON
    longest = ""
    for count in range(0, MAX_MESSAGE_BYTES + 500, 97):
        payload = (letter * count).encode()
        event = make_event(payload=payload)
        # When they are sent
        body = EventMessage(event, payload, recorded=True, request_id="r").encode()
        # Then the payload travels along, or is left in bronze
        assert len(body.encode()) <= MAX_MESSAGE_BYTES
        sent = decode_event(body).payload
        assert sent in (payload, None)
        longest = max(longest, body, key=len)
    assert len(longest) > MAX_MESSAGE_BYTES - 2000


def test_a_pointer_is_always_small_enough() -> None:
    event = make_event(
        event_type="\U0001f600" * (MAX_TYPE_BYTES // 4),
        source="\U0001f600" * (MAX_NAME_BYTES // 4),
        subject="\U0001f600" * (MAX_NAME_BYTES // 4),
        payload=b"x" * 10**6,
    )
    body = EventMessage(event, b"x" * 10**6, recorded=True, request_id="r").encode()
    assert len(body) < 4096
    assert decode_event(body).payload is None


def _without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hello",
        "null",
        "[]",
        "7",
        '"text"',
        "{}",
        "[" * 100_000,
        json.dumps(_without("v")),
        json.dumps(_without("event")),
        json.dumps(_without("recorded")),
        json.dumps(_without("requestId")),
        json.dumps({**GOOD, "v": 2}),
        json.dumps({**GOOD, "v": "x" * 5000}),
        json.dumps({**GOOD, "event": None}),
        json.dumps({**GOOD, "event": []}),
        json.dumps({**GOOD, "event": {**GOOD["event"], "eventId": 7}}),
        json.dumps({**GOOD, "event": {**GOOD["event"], "owner": None}}),
        json.dumps({**GOOD, "event": {**GOOD["event"], "payloadBytes": "20"}}),
        json.dumps({**GOOD, "event": {**GOOD["event"], "subject": 7}}),
        json.dumps({**GOOD, "payload": 7}),
        json.dumps({**GOOD, "payload": {"eventType": "demo"}}),
        json.dumps({**GOOD, "payload": "another"}),
        json.dumps({**GOOD, "payload": "\ud800"}),
        json.dumps({"Records": [{"eventSource": "aws:s3"}]}),
    ],
    ids=lambda body: body[:25],
)
def test_what_we_did_not_write_is_foreign(body: str) -> None:
    with pytest.raises(ForeignMessageError) as caught:
        decode_event(body)
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize("recorded", ["true", 1, None, "false"])
def test_only_true_says_that_the_ledger_has_it(recorded: object) -> None:
    message = decode_event(json.dumps({**GOOD, "recorded": recorded}))
    assert message.recorded is False
