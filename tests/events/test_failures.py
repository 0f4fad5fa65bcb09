"""GET /failures: what fails, in groups, of whom one may see."""

from typing import Any

import pytest

from chalicelib.events import failures, processors
from tests.support.app_on_moto import Platform, Sender, without_delay
from tests.support.factories import unique
from tests.support.problems import check_problem

PERMANENT = {"eventType": "eventline.drill.permanent"}


def groups(sender: Sender, query: str = "") -> list[dict[str, Any]]:
    response = sender.get(f"/failures{query}")
    assert response.status_code == 200, response.body
    found: list[dict[str, Any]] = response.json_body["items"]
    return found


def fail(platform: Platform, sender: Sender) -> str:
    event_id = sender.event_id(PERMANENT)
    platform.work()
    return event_id


def test_failures_are_counted_by_type_class_and_code(platform: Platform) -> None:
    # Given three that failed alike, two that were refused in two ways, and one that is done
    alice, bob = platform.sender(), platform.sender()
    ids = [fail(platform, alice) for _ in range(3)]
    alice.post("/events", {"eventType": ""})
    alice.post("/events", b"{")
    alice.event_id({"eventType": "demo"})
    platform.work()
    fail(platform, bob)
    # When she looks
    body = alice.get("/failures").json_body
    # Then each kind is there once, with its count, its times and its last event
    assert body["cursor"] is None
    failed = [group for group in body["items"] if group["status"] == "FAILED"]
    refused = [group for group in body["items"] if group["status"] == "REJECTED"]
    records = [alice.get(f"/events/{event_id}").json_body for event_id in ids]
    times = [record["updatedAt"] for record in records]
    error = records[0]["lastError"]
    assert failed == [
        {
            "eventType": PERMANENT["eventType"],
            "status": "FAILED",
            "class": error["class"],
            "code": error["code"],
            "count": 3,
            "first": min(times),
            "last": max(times),
            "eventId": failed[0]["eventId"],
        }
    ]
    assert failed[0]["eventId"] in ids
    assert sorted((one["code"], one["count"]) for one in refused) == [
        ("invalid-json", 1),
        ("invalid-request", 1),
    ]
    lasts = [group["last"] for group in body["items"]]
    assert lasts == sorted(lasts, reverse=True)


def test_a_redrive_that_succeeds_leaves_its_group(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = platform.sender("events:write", "events:read", "events:admin")
    first, _ = fail(platform, alice), fail(platform, alice)
    assert groups(alice)[0]["count"] == 2
    monkeypatch.setattr(processors, "PROCESSORS", {})
    alice.post("/dead-letters/redrive", {"eventId": first})
    without_delay()
    platform.work()
    assert groups(alice)[0]["count"] == 1


def test_filters_hold(platform: Platform) -> None:
    alice, admin = platform.sender(owner=unique("alice")), platform.sender("admin")
    fail(platform, alice)
    alice.post("/events", b"{")
    assert len(groups(alice)) == 2
    assert [one["status"] for one in groups(alice, "?status=FAILED")] == ["FAILED"]
    assert [one["status"] for one in groups(alice, "?status=REJECTED")] == ["REJECTED"]
    assert len(groups(alice, f"?eventType={PERMANENT['eventType']}")) == 1
    assert groups(alice, "?to=2020-01-01") == []
    assert len(groups(alice, "?from=2020-01-01")) == 2
    assert len(groups(admin, f"?owner={alice.owner}")) == 2
    assert groups(admin, f"?owner={unique('nobody')}") == []
    assert groups(platform.sender()) == []
    assert sum(one["count"] for one in groups(admin)) >= 2


def test_many_are_counted_over_several_answers(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given more failures than one answer looks at
    monkeypatch.setattr(failures, "LOOKED_AT", 3)
    alice = platform.sender()
    for _ in range(8):
        fail(platform, alice)
    for number in range(4):
        alice.post("/events", {"eventType": "", "n": number})
    # When she follows the cursor
    counts: dict[str, int] = {}
    cursor, costs = "", []
    for _ in range(20):
        platform.calls.clear()
        body = alice.get(f"/failures{cursor}").json_body
        costs.append(len(platform.calls))
        for group in body["items"]:
            counts[group["status"]] = counts.get(group["status"], 0) + group["count"]
        if body["cursor"] is None:
            break
        cursor = f"?cursor={body['cursor']}"
    # Then the counts add up, and each answer costs the same at most
    assert counts == {"FAILED": 8, "REJECTED": 4}
    assert len(costs) > 1
    assert max(costs) <= 1 + 16 + 1


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("status=PROCESSED", "/query/status"),
        ("status=x", "/query/status"),
        ("cursor=x", "/query/cursor"),
        ("limit=5", "/query/limit"),
        ("from=x", "/query/from"),
        ("owner=bob", "/query/owner"),
        ("eventType=%00", "/query/eventType"),
    ],
)
def test_a_query_that_cannot_be_understood_is_refused(
    platform: Platform, query: str, pointer: str
) -> None:
    response = platform.sender().get(f"/failures?{query}")
    check_problem(response, 400, "invalid-request", pointer)
