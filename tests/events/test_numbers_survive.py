"""Numbers come out as they came in: whatever JSON can write, in whichever form it was sent."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chalicelib.core.strict_json import parse_json
from chalicelib.events.processors import PROCESSORS, Incoming
from tests.support.app_on_moto import Platform, Sender
from tests.support.factories import unique

_NUMBER = r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?"
LONG = ["123.456e-789", "12345678901234567.89", "0.1000000000000000055", "-1e-99999999", "5e-324"]
Tree = Any


def is_taken(number: str) -> bool:
    """Numbers beyond the largest double are refused."""
    return not math.isinf(float(number))


def _as_members(parts: list[str]) -> str:
    members = ",".join(f'"m{at}":{part}' for at, part in enumerate(parts))
    return f"{{{members}}}"


NUMBERS = st.from_regex(_NUMBER, fullmatch=True).filter(is_taken)
TREES = st.recursive(
    NUMBERS.map(lambda number: f" {number}"),
    lambda below: (
        st.lists(below, max_size=4).map(lambda parts: f"[{', '.join(parts)}]")
        | st.lists(below, max_size=4).map(_as_members)
    ),
    max_leaves=30,
)
"""JSON texts in which every scalar is a number."""


def exactly(text: str | bytes) -> Tree:
    """JSON with every number as a `Decimal`."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


@contextmanager
def published(platform: Platform) -> Iterator[list[str]]:
    """The details that are put on the bus meanwhile."""
    details: list[str] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        details.extend(entry["Detail"] for entry in params["Entries"])

    events = platform.aws("events").meta.events
    events.register("before-parameter-build.events.PutEvents", note)
    try:
        yield details
    finally:
        events.unregister("before-parameter-build.events.PutEvents", note)


def send_plain(sender: Sender, tree: str) -> str:
    return _id_of(sender.post("/events", f'{{"eventType":"n","data":{tree}}}'.encode()))


def send_structured(sender: Sender, tree: str) -> str:
    body = f'{{"specversion":"1.0","id":"{unique("n")}","source":"/n","type":"n","data":{tree}}}'
    headers = {"Content-Type": "application/cloudevents+json"}
    return _id_of(sender.call("POST", "/events", body.encode(), headers))


def send_binary(sender: Sender, tree: str) -> str:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": unique("n"),
        "ce-source": "/n",
        "ce-type": "n",
        "ce-weight": "12",
        "Content-Type": "application/json",
    }
    return _id_of(sender.call("POST", "/events", tree.encode(), headers))


def send_in_a_batch(sender: Sender, tree: str) -> str:
    body = f'{{"events":[{{"eventType":"n","data":{tree}}},{{"eventType":"n"}}]}}'
    verdicts = sender.post("/events/batch", body.encode()).json_body["results"]
    event_id: str = verdicts[0]["eventId"]
    return event_id


def _id_of(response: Any) -> str:
    assert response.status_code == 202, response.body
    event_id: str = response.json_body["eventId"]
    return event_id


FORMS: Sequence[Callable[[Sender, str], str]] = [
    send_plain,
    send_structured,
    send_binary,
    send_in_a_batch,
]


def test_numbers_survive_from_post_to_payload_result_and_bus(platform: Platform) -> None:
    sender = platform.sender()

    @settings(max_examples=10)
    @example(f"[{','.join(LONG)}]")
    @given(TREES)
    def check(tree: str) -> None:
        # Given numbers that are sent in every form
        ids = [send(sender, tree) for send in FORMS]
        # When they are processed
        with published(platform) as details:
            platform.work()
        # Then the payload and the result have the very same numbers
        wanted, heads = exactly(tree), {}
        for event_id, send in zip(ids, FORMS, strict=True):
            payload = exactly(sender.get(f"/events/{event_id}/payload").body)
            document = exactly(sender.get(f"/events/{event_id}/result").body)
            data = document.pop("data")
            is_all = send is send_binary
            assert (payload if is_all else payload["data"]) == wanted
            is_data = send in (send_binary, send_structured)
            assert (data if is_data else data["data"]) == wanted
            heads[event_id] = document
        # And the entry on the bus has those of the result
        told = {}
        for detail in map(exactly, details):
            del detail["silver"]
            told[detail["eventId"]] = detail
        assert {event_id: told[event_id] for event_id in ids} == heads

    check()


def test_a_rejected_event_is_checked_again_with_all_its_digits(platform: Platform) -> None:
    # Given an event that its schema refuses, although its double would pass
    editor = platform.sender("schemas:write", "events:write", "events:read", "events:admin")
    editor.call("PUT", "/schemas/n", b'{"properties":{"n":{"const":0}}}')
    refused = editor.post("/events", b'{"eventType":"n","n":123.456e-789}')
    assert refused.status_code == 422
    # When it is replayed, then it is refused again
    event_id = json.loads(refused.body)["eventId"]
    assert editor.post(f"/events/{event_id}/replay").status_code == 422


@pytest.mark.parametrize("number", [12345678901234567.5, 1e300, 0.1])
def test_a_processor_computes_with_doubles(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, number: float
) -> None:
    # Given a processor that computes, and another number that it leaves as it is
    def double_it(event: Incoming) -> Any:
        return {**event.data, "n": event.data["n"] * 2, "exact": 2 * to_decimal(event.data["n"])}

    monkeypatch.setitem(PROCESSORS, "computed", double_it)
    sender = platform.sender()
    text = f"{number:.25e}"
    event_id = sender.event_id(f'{{"eventType":"computed","n":{text},"m":{text}}}'.encode())
    # When
    platform.work()
    # Then what it computed is a double, what it took as a Decimal is exact, the rest is as sent
    result = exactly(sender.get(f"/events/{event_id}/result").body)["data"]
    assert float(result["n"]) == float(text) * 2
    assert result["exact"] == 2 * Decimal(text)
    assert result["m"] == Decimal(text)


def to_decimal(number: float) -> Decimal:
    """As docs/extending.md says."""
    return Decimal(str(number))


@given(TREES)
def test_every_number_of_an_exact_parse_is_a_decimal_by_its_text(tree: str) -> None:
    assert _decimals(parse_json(tree.encode(), exact=True)) == exactly(tree)


def _decimals(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _decimals(below) for name, below in value.items()}
    if isinstance(value, list):
        return [_decimals(below) for below in value]
    return to_decimal(value)
