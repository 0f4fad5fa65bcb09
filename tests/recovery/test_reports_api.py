"""GET /reconcile: the reports of the comparisons, the newest first."""

import json
from typing import Any

import pytest

from chalicelib import wiring
from chalicelib.recovery.model import report_key
from chalicelib.recovery.reports import MAX_REPORTS
from tests.support.app_on_moto import Platform, Sender
from tests.support.problems import check_problem


def report(ended: str, **fields: Any) -> None:
    """A report as `reconcile` leaves it."""
    body = {"ended": ended, "clean": True, "examples": {}, **fields}
    assert wiring.lake().put_report(report_key(ended), json.dumps(body))


def at(day: int, minute: int) -> str:
    return f"2026-03-{day:02}T12:{minute:02}:00.000Z"


def pages(sender: Sender, limit: int) -> list[list[str]]:
    found: list[list[str]] = []
    cursor = ""
    for _ in range(50):
        body = sender.get(f"/reconcile?limit={limit}{cursor}").json_body
        found.append([one["ended"] for one in body["items"]])
        if body["cursor"] is None:
            return found
        cursor = f"&cursor={body['cursor']}"
    raise AssertionError("the list does not end")


def test_a_comparison_is_read_as_it_was_made(platform: Platform) -> None:
    # Given events, one of which has lost its result, and a run that compares the stores
    alice, admin = platform.sender("events:admin"), platform.sender("admin")
    platform.sender().event_id({"eventType": "demo"})
    platform.work()
    assert admin.get("/reconcile").json_body == {"items": [], "cursor": None}
    made = platform.reconcile({"stuckAfterSeconds": 0})["comparison"]
    # When it is read
    (shown,) = admin.get("/reconcile").json_body["items"]
    # Then it is what the run said
    assert shown == json.loads(json.dumps(made))
    assert shown["ledger"]["PROCESSED"] == 1
    assert alice.get("/reconcile").json_body["items"] == [{**shown, "examples": {}}]


@pytest.mark.parametrize("limit", [1, 3, MAX_REPORTS, 100])
def test_pages_show_every_report_once_newest_first(platform: Platform, limit: int) -> None:
    admin = platform.sender("admin")
    ended = [at(day, minute) for day in (3, 4, 9) for minute in range(5)]
    for one in ended:
        report(one)
    found = pages(admin, limit)
    assert max(map(len, found)) == min(limit, MAX_REPORTS)
    assert [one for page in found for one in page] == ended[::-1]


def test_a_page_costs_no_more_with_more_days_behind_it(platform: Platform) -> None:
    admin = platform.sender("admin")
    costs = []
    for days in (range(1, 4), range(4, 28)):
        for day in days:
            report(at(day, 0))
        platform.calls.clear()
        admin.get("/reconcile?limit=2")
        costs.append(sorted(platform.calls))
    assert costs[0] == costs[1] == ["GetItem", *["GetObject"] * 2, *["ListObjectsV2"] * 4]


def test_ids_of_events_are_for_admins(platform: Platform) -> None:
    report(at(1, 0), examples={"silverMissing": ["an-event"]})
    owner, admin = platform.sender("events:admin"), platform.sender("admin")
    assert b"an-event" not in owner.get("/reconcile").body
    assert b"an-event" in admin.get("/reconcile").body


@pytest.mark.parametrize("cursor", ["x", "2026-03-01", "2026-13-01T12:00:00.000Z", "../../bronze/"])
def test_another_text_is_no_cursor(platform: Platform, cursor: str) -> None:
    response = platform.sender("admin").get(f"/reconcile?cursor={cursor}")
    check_problem(response, 400, "invalid-request", "/query/cursor")
