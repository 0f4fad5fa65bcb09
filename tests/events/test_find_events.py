"""GET /events by what identifies an event, by what it repeats, and of an owner."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from chalicelib.core.paging import encode_cursor
from tests.support.app_on_moto import Platform, Sender
from tests.support.factories import make_id, unique
from tests.support.problems import check_problem

DEMO = {"eventType": "demo"}
CLOUD_EVENT = {"specversion": "1.0", "id": "7/ü", "source": "/shop?a=b", "type": "order.paid"}
EMPTY: dict[str, Any] = {"items": [], "cursor": None, "newest": None}
SCOPES = ("events:write", "events:read", "events:admin")


def found(sender: Sender, query: str) -> list[str]:
    body = sender.get(f"/events?{query}").json_body
    return [record["eventId"] for record in body["items"]]


def send(sender: Sender, event: Any, **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent_as = {"Content-Type": "application/cloudevents+json", **named}
    body = sender.call("POST", "/events", json.dumps(event).encode(), sent_as).json_body
    return str(body["eventId"])


def test_an_event_is_found_by_its_key_at_one_read(platform: Platform) -> None:
    # Given one sent with a key, one of a batch, and somebody else's with the same keys
    alice, bob = platform.sender(), platform.sender()
    key = "order 7 & paid"
    mine = alice.event_id(DEMO, Idempotency_Key=key)
    bob.event_id(DEMO, Idempotency_Key=key)
    batch = {"events": [{**DEMO, "idempotencyKey": "b"}, {**DEMO, "idempotencyKey": "c"}]}
    in_batch = [one["eventId"] for one in alice.post("/events/batch", batch).json_body["results"]]
    # When it is looked for
    platform.calls.clear()
    answer = alice.get(f"/events?idempotencyKey={quote(key)}").json_body
    # Then it is there as itself, at one read beside the authorizer's
    assert platform.calls == ["GetItem", "GetItem"]
    assert answer["items"] == [alice.get(f"/events/{mine}").json_body]
    assert (answer["cursor"], answer["newest"]) == (None, None)
    assert found(alice, "idempotencyKey=c") == in_batch[1:]
    assert alice.get("/events?idempotencyKey=nobody").json_body == EMPTY


def test_a_cloud_event_is_found_by_its_source_and_id(platform: Platform) -> None:
    # Given one that its own identity names, and one that was sent with a key
    alice, bob = platform.sender(), platform.sender()
    by_itself = send(alice, CLOUD_EVENT)
    by_key = send(alice, {**CLOUD_EVENT, "id": "8"}, Idempotency_Key="k")
    send(bob, CLOUD_EVENT)
    source = quote(CLOUD_EVENT["source"], safe="")
    # Then each is found by what identifies it
    assert found(alice, f"source={source}&id={quote(CLOUD_EVENT['id'], safe='')}") == [by_itself]
    assert found(alice, "idempotencyKey=k") == [by_key]
    assert found(alice, f"source={source}&id=8") == []
    assert found(alice, f"source=other&id={quote(CLOUD_EVENT['id'], safe='')}") == []


def test_an_admin_searches_among_an_owners_events(platform: Platform) -> None:
    alice, admin = platform.sender(owner=unique("alice")), platform.sender("admin")
    mine = alice.event_id(DEMO, Idempotency_Key="k")
    theirs = send(alice, CLOUD_EVENT)
    assert found(admin, "idempotencyKey=k") == []
    assert found(admin, f"idempotencyKey=k&owner={alice.owner}") == [mine]
    query = f"source={quote(CLOUD_EVENT['source'])}&id={quote(CLOUD_EVENT['id'])}"
    assert found(admin, f"{query}&owner={alice.owner}") == [theirs]


def test_an_admin_lists_an_owners_events(platform: Platform) -> None:
    alice, bob, admin = platform.sender(), platform.sender(), platform.sender("admin")
    mine = [alice.event_id(DEMO) for _ in range(2)]
    bob.event_id(DEMO)
    assert found(admin, f"owner={alice.owner}") == mine[::-1]
    assert found(admin, f"owner={alice.owner}&status=RECEIVED&eventType=demo") == mine[::-1]
    assert found(admin, f"owner={unique('nobody')}") == []
    refused = alice.get(f"/events?owner={alice.owner}")
    check_problem(refused, 400, "invalid-request", "/query/owner")
    check_problem(admin.get("/events?owner=%20"), 400, "invalid-request", "/query/owner")


def test_what_repeats_an_event_is_found_whichever_way_it_was_replayed(platform: Platform) -> None:
    # Given an event that was replayed twice alone and once with others, and one of those again
    alice, bob, admin = platform.sender(*SCOPES), platform.sender(*SCOPES), platform.sender("admin")
    first, other = alice.event_id(DEMO), alice.event_id(DEMO)
    platform.work()
    children = [alice.post(f"/events/{first}/replay").json_body["eventId"] for _ in range(2)]
    platform.work()
    grandchild = alice.post(f"/events/{children[0]}/replay").json_body["eventId"]
    # When its children are asked for
    platform.calls.clear()
    listed = found(alice, f"replayOf={first}")
    # Then they are there, newest first, at one query and one read of them
    assert sorted(platform.calls) == ["BatchGetItem", "GetItem", "Query"]
    assert listed == children[::-1]
    assert found(alice, f"replayOf={children[0]}") == [grandchild]
    assert found(alice, f"replayOf={other}") == []
    assert found(admin, f"replayOf={first}") == children[::-1]
    # And filters and pages hold
    assert found(alice, f"replayOf={first}&status=PROCESSED") == children[::-1]
    assert found(alice, f"replayOf={first}&status=FAILED") == []
    page = alice.get(f"/events?replayOf={first}&limit=1").json_body
    rest = alice.get(f"/events?replayOf={first}&cursor={page['cursor']}").json_body
    assert [one["eventId"] for one in page["items"] + rest["items"]] == children[::-1]
    # And nobody else sees whether there are any
    assert found(bob, f"replayOf={first}") == found(bob, f"replayOf={make_id()}") == []


def test_a_bulk_replay_names_what_it_repeats(platform: Platform) -> None:
    alice = platform.sender(*SCOPES)
    first = alice.event_id(DEMO)
    platform.work()
    assert alice.post("/replays", {"from": "2026-01-01T00:00:00Z"}).status_code == 202
    for _ in range(20):
        records = platform.receive()
        if records:
            platform.work(records)
    (child,) = found(alice, f"replayOf={first}")
    assert alice.get(f"/events/{child}").json_body["replayOf"] == first


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("idempotencyKey=", ["/query/idempotencyKey"]),
        ("idempotencyKey=%C3%BC", ["/query/idempotencyKey"]),
        ("idempotencyKey=" + "k" * 256, ["/query/idempotencyKey"]),
        ("source=a", ["/query/id"]),
        ("id=a", ["/query/source"]),
        ("source=&id=%00", ["/query/source", "/query/id"]),
        ("source=a&id=" + "x" * 257, ["/query/id"]),
        ("idempotencyKey=k&source=a", ["/query/source"]),
        ("idempotencyKey=k&status=FAILED&from=x", ["/query/status", "/query/from"]),
        ("source=a&id=b&after=x", ["/query/after"]),
        ("idempotencyKey=k&idempotencyKey=l", ["/query/idempotencyKey"]),
        (f"idempotencyKey=k&cursor={encode_cursor('2026-01-31T23:59:59.123Z#' + make_id())}",
         ["/query/cursor"]),
        ("replayOf=x", ["/query/replayOf"]),
        ("replayOf=", ["/query/replayOf"]),
    ],
)  # fmt: skip
def test_a_search_that_cannot_be_understood_is_refused(
    platform: Platform, query: str, pointers: list[str]
) -> None:
    platform.calls.clear()
    response = platform.sender().get(f"/events?{query}")
    check_problem(response, 400, "invalid-request", *pointers)
    assert platform.calls.count("GetItem") == 1
