"""GET /events, and one event, its payload and its result."""

import itertools
import json
from typing import Any
from urllib.parse import quote

import pytest

from chalicelib.core.errors import BatchIncompleteError
from chalicelib.core.paging import encode_cursor
from tests.support.app_on_moto import NAMES, BreakCall, Platform, Sender
from tests.support.factories import make_event, make_id
from tests.support.faults import refusal
from tests.support.problems import check_headers, check_problem

DEMO = b'{"eventType":"demo","message":"gr\xc3\xbc\xc3\x9fe"}'
LARGE = b'{"eventType":"demo","text":"%s"}' % (b"x" * 5000)
READS = ("/events/{}", "/events/{}/payload", "/events/{}/result")


def all_ids(sender: Sender, query: str) -> list[str]:
    """The ids of a whole list, page after page."""
    found: list[str] = []
    cursor = ""
    for _ in range(50):
        response = sender.get(f"/events?{query}{cursor}")
        assert response.status_code == 200, response.body
        found += [item["eventId"] for item in response.json_body["items"]]
        if response.json_body["cursor"] is None:
            return found
        cursor = f"&cursor={response.json_body['cursor']}"
    raise AssertionError("the list does not end")


def test_an_event_shows_every_field_of_the_contract(platform: Platform) -> None:
    sender = platform.sender()
    event_id = sender.event_id(DEMO)
    response = sender.get(f"/events/{event_id}")
    assert response.status_code == 200
    check_headers(response)
    record = response.json_body
    assert record.keys() == {
        "eventId", "eventType", "source", "subject", "owner", "status", "receivedAt", "updatedAt",
        "s3Bucket", "s3Key", "payloadSha256", "payloadBytes", "contentType", "attempts",
        "lastError", "silverBucket", "silverKey", "replayOf", "timeline",
    }  # fmt: skip
    assert record["eventId"] == event_id
    assert record["status"] == "RECEIVED"
    assert record["owner"] == sender.owner
    assert record["payloadBytes"] == len(DEMO)
    assert record["s3Bucket"] == NAMES.bronze_bucket
    day = record["receivedAt"][:10].replace("-", "/")
    assert record["s3Key"] == f"bronze/demo/{day}/{event_id}.json"
    # And the same when it is processed
    platform.work()
    after = sender.get(f"/events/{event_id}").json_body
    assert after.keys() == record.keys()
    changed = {name for name in after if after[name] != record[name]}
    assert changed == {
        "status", "updatedAt", "attempts", "silverBucket", "silverKey", "timeline",
    }  # fmt: skip


def test_the_payload_is_what_was_sent(platform: Platform) -> None:
    sender = platform.sender()
    event_id = sender.event_id(DEMO)
    response = sender.get(f"/events/{event_id}/payload")
    assert response.status_code == 200
    check_headers(response)
    assert response.body == DEMO
    assert response.headers["Content-Type"] == "application/json"
    assert "Content-Disposition" not in response.headers


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("size", [1, 5000])
def test_payload_and_result_are_there_at_every_moment(
    platform: Platform, break_call: BreakCall, number: int, size: int
) -> None:
    # Given events that wait, of which the ledger has the payload if it is small
    sender = platform.sender()
    bodies = [b'{"eventType":"demo","n":%d.00,"t":"%s"}' % (n, b"x" * size) for n in range(number)]
    sent = {sender.event_id(body): body for body in bodies}
    for event_id, body in sent.items():
        platform.calls.clear()
        assert sender.get(f"/events/{event_id}/payload").body == body
        # The first call is the authorizer's
        assert platform.calls == ["GetItem"] * 2 + (["GetObject"] if size > 4096 else [])
    # When an attempt at them fails, and when they are processed
    records = platform.receive()
    error = refusal("PutItem")
    with break_call("dynamodb", "PutItem", error), pytest.raises(BatchIncompleteError):
        platform.work(records)
    for event_id, body in sent.items():
        assert sender.get(f"/events/{event_id}/payload").body == body
    platform.work(records)
    # Then each is found at its place
    for event_id, body in sent.items():
        assert sender.get(f"/events/{event_id}/payload").body == body
        shown = sender.get(f"/events/{event_id}").json_body
        document = sender.get(f"/events/{event_id}/result").json_body
        assert (document["eventId"], document["data"]) == (event_id, json.loads(body))
        kept = platform.aws("s3").get_object(
            Bucket=shown["s3Bucket"],
            Key=shown["s3Key"],
            **({"Range": shown["s3Range"]} if "s3Range" in shown else {}),
        )
        assert kept["Body"].read() == body
        assert ("s3Range" in shown) == (number > 1 and size < 4096)
        assert ("silverRange" in shown) == (number > 1)


def test_the_result_is_the_silver_document(platform: Platform) -> None:
    # Given an event that is not processed
    sender = platform.sender()
    event_id = sender.event_id(DEMO)
    check_problem(sender.get(f"/events/{event_id}/result"), 409, "not-processed")
    # When it is
    platform.work()
    # Then its document is there, by the ledger's word
    response = sender.get(f"/events/{event_id}/result")
    assert response.status_code == 200
    check_headers(response)
    document = response.json_body
    assert document["data"] == {"eventType": "demo", "message": "grüße"}
    assert document["eventId"] == event_id
    record = sender.get(f"/events/{event_id}").json_body
    kept = platform.aws("s3").get_object(Bucket=record["silverBucket"], Key=record["silverKey"])
    assert kept["Body"].read() == response.body
    assert document["bronze"] == {
        "bucket": record["s3Bucket"],
        "key": record["s3Key"],
        "sha256": record["payloadSha256"],
    }


def test_a_failed_event_has_no_result(platform: Platform) -> None:
    sender = platform.sender()
    event_id = sender.event_id({"eventType": "eventline.drill.permanent"})
    platform.work()
    body = check_problem(sender.get(f"/events/{event_id}/result"), 409, "not-processed")
    assert "FAILED" in body["detail"]


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("event_id", ["x", "..%2F..", "EVENT%23x", make_id(), "%00", "A" * 300])
def test_an_event_that_is_not_there_is_not_found(
    platform: Platform, path: str, event_id: str
) -> None:
    check_problem(platform.sender().get(path.format(event_id)), 404, "not-found")


@pytest.mark.parametrize("path", READS)
def test_another_owners_event_looks_as_if_it_did_not_exist(platform: Platform, path: str) -> None:
    # Given an event of somebody's
    owner = platform.sender()
    event_id = owner.event_id(DEMO)
    platform.work()
    # When somebody else asks for it
    stranger = platform.sender().get(path.format(event_id))
    # Then the answer is that for an event that is not there
    nothing = platform.sender().get(path.format(make_id()))
    theirs = check_problem(stranger, 404, "not-found")
    nobodys = check_problem(nothing, 404, "not-found")
    assert {**theirs, "requestId": ""} == {**nobodys, "requestId": ""}
    # And an admin and the owner see it
    assert platform.sender("admin").get(path.format(event_id)).status_code == 200
    assert owner.get(path.format(event_id)).status_code == 200


def test_a_list_shows_an_owners_own_events_newest_first(platform: Platform) -> None:
    alice, bob, admin = platform.sender(), platform.sender(), platform.sender("admin")
    mine = [alice.event_id(DEMO) for _ in range(3)]
    others = [bob.event_id(DEMO) for _ in range(2)]
    response = alice.get("/events")
    check_headers(response)
    assert response.json_body["cursor"] is None
    assert [item["eventId"] for item in response.json_body["items"]] == mine[::-1]
    assert all_ids(bob, "") == others[::-1]
    assert sorted(all_ids(admin, "")) == sorted(mine + others)
    nothing = platform.sender().get("/events").json_body
    assert (nothing["items"], nothing["cursor"]) == ([], None)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_show_every_event_once(platform: Platform, limit: int) -> None:
    sender = platform.sender()
    ids = [sender.event_id(DEMO) for _ in range(7)]
    assert all_ids(sender, f"limit={limit}") == ids[::-1]


def test_an_event_that_comes_meanwhile_moves_no_page(platform: Platform) -> None:
    sender = platform.sender()
    ids = [sender.event_id(DEMO) for _ in range(4)]
    first = sender.get("/events?limit=2").json_body
    sender.event_id(DEMO)
    second = sender.get(f"/events?limit=2&cursor={first['cursor']}").json_body
    shown = [item["eventId"] for item in first["items"] + second["items"]]
    assert shown == ids[::-1]


def test_a_cursor_of_another_owners_list_grants_nothing(platform: Platform) -> None:
    alice, bob = platform.sender(), platform.sender()
    for _ in range(3):
        alice.event_id(DEMO)
    cursor = alice.get("/events?limit=1").json_body["cursor"]
    assert bob.get(f"/events?cursor={cursor}").json_body["items"] == []


def test_a_page_costs_the_same_calls_however_many_events_there_are(platform: Platform) -> None:
    sender = platform.sender()
    costs = []
    for _ in range(2):
        for _ in range(10):
            sender.event_id(DEMO)
        platform.calls.clear()
        sender.get("/events?limit=5")
        costs.append(sorted(platform.calls))
    assert costs[0] == costs[1] == ["BatchGetItem", "GetItem", *["Query"] * 8]


def test_filters_leave_what_matches(platform: Platform) -> None:
    # Given events of two types that succeed and fail
    sender = platform.sender()
    done = [sender.event_id(DEMO) for _ in range(3)]
    failed = [sender.event_id({"eventType": "eventline.drill.permanent"}) for _ in range(3)]
    platform.work()
    waiting = [sender.event_id(DEMO)]
    again = [sender.event_id({"eventType": "eventline.drill.crash"})]
    with pytest.raises(BatchIncompleteError):
        platform.work(platform.receive()[1:])
    # Then each filter, and both together, show theirs
    expected = {
        "status=PROCESSED": done,
        "status=FAILED": failed,
        "status=RECEIVED": waiting,
        "status=ENQUEUED": again,
        "status=REJECTED": [],
        "eventType=demo": done + waiting,
        "eventType=eventline.drill.permanent": failed,
        "eventType=demo&status=PROCESSED": done,
        "eventType=demo&status=FAILED": [],
        "eventType=" + quote("no/such type"): [],
    }
    for query, ids in expected.items():
        for limit in (1, 50):
            assert all_ids(sender, f"{query}&limit={limit}") == ids[::-1], query


def test_a_time_filter_takes_both_ends(platform: Platform) -> None:
    # Given an event now
    sender = platform.sender()
    event_id = sender.event_id(DEMO)
    at = sender.get(f"/events/{event_id}").json_body["receivedAt"]
    before, after = "2020-01-01", "2100-01-01T00:00:00%2B02:00"
    # Then it is found between, and not beyond
    assert all_ids(sender, f"from={before}&to={after}") == [event_id]
    assert all_ids(sender, f"from={at}") == [event_id]
    assert all_ids(sender, f"from={after}") == []
    assert all_ids(sender, f"to={before}") == []
    assert all_ids(sender, f"from={after}&to={before}") == []
    assert all_ids(sender, "to=2100-01-01T00:00:00+02:00") == [event_id]


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("limit=0", ["/query/limit"]),
        ("limit=101", ["/query/limit"]),
        ("limit=-1", ["/query/limit"]),
        ("limit=ten", ["/query/limit"]),
        ("limit=05", ["/query/limit"]),
        ("limit=005", ["/query/limit"]),
        ("limit=+5", ["/query/limit"]),
        ("limit=%2B5", ["/query/limit"]),
        ("limit=%205", ["/query/limit"]),
        ("limit=5%20", ["/query/limit"]),
        ("limit=5.0", ["/query/limit"]),
        ("%20limit=5", ["/query/ limit"]),
        ("limit=%C2%B2", ["/query/limit"]),
        ("limit=", ["/query/limit"]),
        ("limit=1&limit=2", ["/query/limit"]),
        ("status=DONE", ["/query/status"]),
        ("status=processed", ["/query/status"]),
        ("eventType=", ["/query/eventType"]),
        ("eventType=%00", ["/query/eventType"]),
        ("eventType=" + "x" * 129, ["/query/eventType"]),
        ("from=yesterday", ["/query/from"]),
        ("to=2026-13-01", ["/query/to"]),
        ("to=0001-01-01T00:00:00%2B02:00", ["/query/to"]),
        ("cursor=x", ["/query/cursor"]),
        ("cursor=" + encode_cursor("~"), ["/query/cursor"]),
        ("owner=bob", ["/query/owner"]),
        ("Limit=5", ["/query/Limit"]),
        ("a=1&b=2", ["/query/a", "/query/b"]),
    ],
)
def test_an_invalid_query_is_refused_with_the_reason(
    platform: Platform, query: str, pointers: list[str]
) -> None:
    check_problem(platform.sender().get(f"/events?{query}"), 400, "invalid-request", *pointers)


@pytest.mark.parametrize(
    ("operation", "service"), [("GetItem", "dynamodb"), ("GetObject", "s3"), ("Query", "dynamodb")]
)
def test_reading_while_aws_is_down_asks_to_retry(
    platform: Platform, break_call: BreakCall, operation: str, service: str
) -> None:
    sender = platform.sender()
    event_id = sender.event_id(LARGE if service == "s3" else DEMO)
    path = "/events" if operation == "Query" else f"/events/{event_id}/payload"
    # The authorizer, a function of its own, is not to fail: it reads the other table.
    error = refusal(operation, "ProvisionedThroughputExceededException")
    with break_call(service, operation, error, table=NAMES.events_table):
        response = sender.get(path)
    check_problem(response, 503, "unavailable")
    assert response.headers["Retry-After"].isdecimal()


def test_a_payload_that_is_gone_is_not_found(platform: Platform) -> None:
    sender = platform.sender()
    event_id = sender.event_id(LARGE)
    key = sender.get(f"/events/{event_id}").json_body["s3Key"]
    platform.aws("s3").delete_object(Bucket=NAMES.bronze_bucket, Key=key)
    check_problem(sender.get(f"/events/{event_id}/payload"), 404, "not-found")


def test_everything_a_list_shows_can_be_read(platform: Platform) -> None:
    sender = platform.sender()
    for event_type in ("demo", "größe/../x"):
        sender.event_id({"eventType": event_type})
    platform.work()
    items: list[Any] = sender.get("/events").json_body["items"]
    for item, path in itertools.product(items, READS):
        assert sender.get(path.format(item["eventId"])).status_code == 200
    assert {item["eventType"] for item in items} == {"demo", "größe/../x"}
    assert make_event().event_id not in {item["eventId"] for item in items}
