"""What travels on the queue."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chalicelib.core.errors import ForeignMessageError
from chalicelib.core.names import MAX_NAME_BYTES, MAX_TYPE_BYTES
from chalicelib.events.message import (
    MAX_EVENTS,
    MAX_MESSAGE_BYTES,
    EventsMessage,
    Parcel,
    ReplayMessage,
    decode_message,
    encode_message,
    encode_messages,
)
from tests.support.factories import (
    decode_event,
    decode_events,
    make_body,
    make_event,
    make_id,
    make_message,
)

SQS_BYTES = 256 * 1024
PAYLOAD = b'{"eventType":"demo"}'
GOOD: dict[str, Any] = json.loads(make_message(make_event(payload=PAYLOAD), PAYLOAD))
texts = st.text(st.characters(exclude_categories=["Cs"]))


def parcel(payload: bytes, *, in_bronze: bool = True, **facts: Any) -> Parcel:
    return Parcel(make_event(payload=payload, **facts), payload, in_bronze)


@given(
    st.lists(
        st.tuples(texts.map(str.encode) | st.binary(), texts, texts, st.none() | texts, texts),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
    st.integers(0, 5),
)
def test_a_message_comes_back_as_it_was(
    facts: list[tuple[bytes, str, str, str | None, str]], in_bronze: bool, attempts: int
) -> None:
    parcels = [
        parcel(
            payload,
            in_bronze=in_bronze,
            owner=owner,
            source=source,
            subject=subject,
            event_type=event_type,
        )
        for payload, owner, source, subject, event_type in facts
    ]
    ((body, group),) = encode_messages(parcels, "request", attempts)
    assert group == parcels
    assert decode_message(body) == EventsMessage(tuple(parcels), "request", attempts)


def test_one_event_is_the_same_message_as_many() -> None:
    one = parcel(PAYLOAD, in_bronze=False)
    body = encode_message(one, "r", 2)
    assert encode_messages([one], "r", 2) == [(body, [one])]
    assert decode_message(body) == EventsMessage((one,), "r", 2)


def test_what_all_events_share_is_written_once() -> None:
    owner = "shared-owner-name"
    parcels = [parcel(make_body(), owner=owner) for _ in range(20)]
    ((body, _),) = encode_messages(parcels, "r")
    assert body.count(owner) == 1
    assert [one.event.owner for one in decode_events(body).parcels] == [owner] * 20


def test_a_message_without_a_payload_says_so() -> None:
    body = make_message(make_event(), None)
    assert decode_event(body).payload is None
    assert "payload" not in json.loads(body)["events"][0]


def test_a_payload_that_is_nowhere_else_says_so() -> None:
    assert decode_event(make_message(make_event(payload=PAYLOAD), PAYLOAD)).in_bronze
    body = make_message(make_event(payload=PAYLOAD), PAYLOAD, in_bronze=False)
    assert not decode_event(body).in_bronze


@pytest.mark.parametrize("letter", ["a", "ü", '"', "\x01", "\N{GRINNING FACE}"])
def test_a_message_stays_below_its_limit(letter: str) -> None:
    # Given payloads around the size at which they no longer fit, escaped as JSON
    longest = ""
    for count in range(0, MAX_MESSAGE_BYTES + 500, 97):
        payload = (letter * count).encode()
        # When they are sent
        body = make_message(make_event(payload=payload), payload)
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
    body = make_message(event, b"x" * 10**6)
    assert len(body) < 4096
    assert decode_event(body).payload is None


@pytest.mark.parametrize("letter", ["a", "\x01", "\xff"])
def test_a_payload_that_only_the_message_has_is_never_left_out(letter: str) -> None:
    # Given many payloads of the largest size that the ledger keeps
    payload = letter.encode("latin-1") * 4096
    parcels = [parcel(payload, in_bronze=False) for _ in range(60)]
    # When they are sent
    messages = encode_messages(parcels, "r")
    # Then all travel along, in messages that SQS takes
    assert all(len(body.encode()) <= SQS_BYTES for body, _ in messages)
    assert [one for body, _ in messages for one in decode_events(body).parcels] == parcels
    assert [len(group) for _, group in messages] == [7] * 8 + [4]


def test_payloads_in_bronze_are_left_out_together_where_they_do_not_fit() -> None:
    parcels = [parcel(b"x" * 5_000) for _ in range(20)]
    ((body, _),) = encode_messages(parcels, "r")
    assert len(body) <= MAX_MESSAGE_BYTES
    assert list(decode_events(body).parcels) == [replace(one, payload=None) for one in parcels]


def test_a_message_holds_a_hundred_events_in_their_order() -> None:
    parcels = [parcel(make_body()) for _ in range(2 * MAX_EVENTS + 50)]
    messages = encode_messages(parcels, "r")
    assert [len(group) for _, group in messages] == [MAX_EVENTS, MAX_EVENTS, 50]
    assert [one for body, _ in messages for one in decode_events(body).parcels] == parcels
    assert [len(group) for _, group in encode_messages(parcels[:5], "r", most=2)] == [2, 2, 1]
    assert encode_messages([], "r") == []


def test_the_longest_facts_fit_a_message() -> None:
    # Given events whose every attribute is as long as it may be, and takes most room in JSON
    wide = "\U0001f600"
    cloud_event = {"id": "x" * 256, "extensions": {"ext": wide * 50}}
    long = make_event(
        event_type=wide * (MAX_TYPE_BYTES // 4),
        source=wide * (MAX_NAME_BYTES // 4),
        subject=wide * (MAX_NAME_BYTES // 4),
        owner=wide * (MAX_NAME_BYTES // 4),
        payload=PAYLOAD,
    )
    events = [replace(long, event_id=make_id(), cloud_event=cloud_event) for _ in range(500)]
    # When they are sent
    for in_bronze in (True, False):
        messages = encode_messages(
            [Parcel(event, PAYLOAD, in_bronze) for event in events], "r" * 64
        )
        # Then SQS takes each message
        assert all(len(body.encode()) <= SQS_BYTES for body, _ in messages)
        sent = [one.event for body, _ in messages for one in decode_events(body).parcels]
        assert sent == events


@pytest.mark.parametrize("letter", ["a", '"', "\x01", "\xff"])
@pytest.mark.parametrize(("size", "number"), [(4096, 7), (16384, 1)])
def test_payloads_amid_long_facts_fit_a_message(letter: str, size: int, number: int) -> None:
    # Given payloads that only the ledger has, and events in bronze with long facts
    payload = letter.encode("latin-1") * size
    wide = "\U0001f600"
    long = make_event(event_type=wide * 32, source=wide * 64, subject=wide * 64)
    cloud_event = {"id": "x" * 256, "extensions": {"ext": wide * 50}}
    facts = [replace(long, event_id=make_id(), cloud_event=cloud_event) for _ in range(99)]
    parcels = [
        *[parcel(payload, in_bronze=False) for _ in range(number)],
        *[Parcel(event) for event in facts],
    ]
    # When they are sent, whichever are first
    for order in (parcels, parcels[::-1]):
        messages = encode_messages(order, "r")
        # Then SQS takes each message
        assert all(len(body.encode()) <= SQS_BYTES for body, _ in messages)
        assert [one for body, _ in messages for one in decode_events(body).parcels] == order


def test_a_step_of_a_replay_comes_back_as_it_was() -> None:
    step = ReplayMessage(make_id(), 3)
    assert decode_message(step.encode()) == step


def _without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def _event(**facts: Any) -> str:
    """A good message but for some facts of its event; `...` takes one out."""
    event = {name: fact for name, fact in {**GOOD["events"][0], **facts}.items() if fact is not ...}
    return json.dumps({**GOOD, "events": [event]})


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
        json.dumps(_without("events")),
        json.dumps(_without("shared")),
        json.dumps(_without("requestId")),
        json.dumps({**GOOD, "v": 1}),
        json.dumps({**GOOD, "v": 3}),
        json.dumps({**GOOD, "v": "x" * 5000}),
        json.dumps({**GOOD, "events": None}),
        json.dumps({**GOOD, "events": []}),
        json.dumps({**GOOD, "events": {}}),
        json.dumps({**GOOD, "events": [None]}),
        json.dumps({**GOOD, "events": [[]]}),
        json.dumps({**GOOD, "events": GOOD["events"] * 2}),
        json.dumps({**GOOD, "shared": None}),
        json.dumps({**GOOD, "shared": {**GOOD["shared"], "owner": None}}),
        json.dumps({**GOOD, "attempts": "1"}),
        json.dumps({**GOOD, "attempts": None}),
        _event(eventId=...),
        _event(eventId=7),
        _event(owner=None),
        _event(payloadBytes="20"),
        _event(subject=7),
        _event(payload=7),
        _event(payload={"eventType": "demo"}),
        _event(payload="another"),
        _event(payload="\ud800"),
        _event(payload64="?"),
        _event(payload64=7),
        _event(payload=..., inBronze=False),
        json.dumps({"v": 2, "replay": {"id": "x", "step": 1}}),
        json.dumps({"v": 2, "replay": {"id": make_id(), "step": -1}}),
        json.dumps({"v": 2, "replay": {"id": make_id()}}),
        json.dumps({"Records": [{"eventSource": "aws:s3"}]}),
    ],
    ids=lambda body: body[:25],
)
def test_what_we_did_not_write_is_foreign(body: str) -> None:
    with pytest.raises(ForeignMessageError) as caught:
        decode_message(body)
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize("value", ["false", 0, None, "true", 1])
def test_only_true_says_that_bronze_has_it(value: object) -> None:
    assert decode_event(_event(inBronze=value)).in_bronze is False
    assert decode_event(_event()).in_bronze is True
