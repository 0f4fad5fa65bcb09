"""The REST API as deployed: API Gateway, authorizer, function and roles, for both stages."""

import json
from typing import Any

import pytest
import requests

from chalicelib.events.model import Status
from tests.support.deployed_stage import Stage, unique, wait_for

pytestmark = [pytest.mark.emulator, pytest.mark.one_stage]

PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code", "requestId"}


def assert_problem(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    """Check one error by the rules for all of them; returns its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem.keys() - {"errors", "eventId"} == PROBLEM_MEMBERS
    assert (problem["type"], problem["status"], problem["code"]) == ("about:blank", status, code)
    assert problem["requestId"] == answer.headers["X-Request-Id"]
    assert (answer.headers.get("WWW-Authenticate") == "Bearer") is (status == 401)
    return problem


def test_health_needs_no_token(stage: Stage) -> None:
    answer = stage.call("GET", "/health")

    assert answer.status_code == 200
    assert answer.json().keys() == {"status", "version", "stage"}
    assert (answer.json()["status"], answer.json()["stage"]) == ("ok", stage.name)
    assert answer.headers["X-Request-Id"]


def test_an_event_goes_from_the_request_to_its_result(stage: Stage) -> None:
    # Given
    owner = unique("owner")
    token = stage.token(owner)
    sent = b'{ "eventType": "order.created",  "total": 12.50, "source": "shop/7" }\n'

    # When
    accepted = stage.post(sent, token)
    event_id = accepted.json()["eventId"]
    wait_for(
        "PROCESSED",
        lambda: stage.call("GET", f"/events/{event_id}", token).json()["status"] == "PROCESSED",
    )
    event = stage.call("GET", f"/events/{event_id}", token)
    payload = stage.call("GET", f"/events/{event_id}/payload", token)
    result = stage.call("GET", f"/events/{event_id}/result", token)
    listed = stage.call("GET", "/events", token, params={"eventType": "order.created"})

    # Then
    assert accepted.status_code == 202
    assert accepted.json() == {"status": "accepted", "eventId": event_id}
    assert accepted.headers["Location"] == f"/api/events/{event_id}"
    assert stage.url.endswith("/api")
    assert "Idempotent-Replayed" not in accepted.headers
    told = event.json()
    assert [step["status"] for step in told["timeline"]] == ["RECEIVED", "ENQUEUED", "PROCESSED"]
    moments = [step["at"] for step in told["timeline"]]
    assert moments == sorted(moments)
    assert (told["owner"], told["source"], told["attempts"]) == (owner, "shop/7", 1)
    assert payload.content == sent
    assert payload.headers["Content-Type"] == "application/json"
    assert payload.headers["X-Content-Type-Options"] == "nosniff"
    assert result.json()["data"] == json.loads(sent)
    assert result.json()["bronze"]["key"] == told["s3Key"]
    assert [item["eventId"] for item in listed.json()["items"]] == [event_id]
    assert listed.json()["cursor"] is None
    for answer in (accepted, event, payload, result, listed):
        assert answer.headers["X-Request-Id"]


def test_a_list_is_paged_newest_first(stage: Stage) -> None:
    # Given
    token = stage.token(unique("owner"))
    sent = [stage.send({"eventType": "page", "number": number}, token) for number in range(5)]

    # When
    pages: list[list[str]] = []
    cursor: dict[str, str] = {}
    while not pages or cursor:
        answer = stage.call("GET", "/events", token, params={"limit": "2", **cursor}).json()
        pages.append([item["eventId"] for item in answer["items"]])
        cursor = {"cursor": answer["cursor"]} if answer["cursor"] else {}

    # Then
    assert [event_id for page in pages for event_id in page] == sent[::-1]
    assert [len(page) for page in pages[:2]] == [2, 2]


def test_unicode_comes_back_as_it_was_sent(stage: Stage) -> None:
    # Given
    token = stage.token(unique("owner"))
    event_type = "größe/../заказ ✓ 🚀"
    body = {"eventType": event_type, "source": "ünï/☃", "subject": "東京", "text": "naïve 👩‍👩‍👧"}
    sent = json.dumps(body, ensure_ascii=False).encode()

    # When
    record = stage.follow(stage.send(sent, token))
    path = f"/events/{record.event.event_id}"
    told = stage.call("GET", path, token).json()
    listed = stage.call("GET", "/events", token, params={"eventType": event_type}).json()

    # Then
    assert stage.call("GET", f"{path}/payload", token).content == sent
    assert stage.call("GET", f"{path}/result", token).json()["data"] == body
    assert (told["eventType"], told["source"], told["subject"]) == (event_type, "ünï/☃", "東京")
    assert [item["eventId"] for item in listed["items"]] == [record.event.event_id]
    assert record.event.s3_key.count("/") == 5
    assert stage.lake().bronze_event(record.event.s3_key) == record.event


def test_a_large_event_travels_as_a_pointer(stage: Stage) -> None:
    # Given: 900 KiB, which no queue message could carry
    token = stage.token(unique("owner"))
    sent = json.dumps({"eventType": "large", "blob": "0123456789abcdef" * 57_600}).encode()

    # When
    record = stage.follow(stage.send(sent, token))

    # Then
    assert record.status is Status.PROCESSED, record.last_error
    path = f"/events/{record.event.event_id}"
    assert stage.call("GET", f"{path}/payload", token).content == sent
    assert stage.call("GET", f"{path}/result", token).json()["data"] == json.loads(sent)


def test_an_event_over_the_limit_is_refused(stage: Stage) -> None:
    owner = unique("owner")
    token = stage.token(owner)
    room = stage.settings.max_event_bytes - len(b'{"eventType":"x","b":""}')

    assert stage.post(b'{"eventType":"x","b":"' + b"a" * room + b'"}', token).status_code == 202
    refused = stage.post(b'{"eventType":"x","b":"' + b"a" * (room + 1) + b'"}', token)

    assert_problem(refused, 413, "payload-too-large")
    assert len(stage.records_of(owner)) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"eventType":"demo"', "invalid-json"),
        (b'{"eventType":"demo","eventType":"other"}', "invalid-json"),
        (b'{"eventType":"demo","n":NaN}', "invalid-json"),
        (b"[]", "invalid-request"),
        (b'{"message":"no type"}', "invalid-request"),
        (b"", "invalid-json"),
    ],
)
def test_a_body_that_is_no_event_is_refused_and_kept(stage: Stage, body: bytes, code: str) -> None:
    # When
    answer = stage.post(body, stage.admin)

    # Then
    problem = assert_problem(answer, 400, code)
    assert problem["errors"]
    kept = stage.call("GET", f"/events/{problem['eventId']}", stage.admin).json()
    assert (kept["status"], kept["lastError"]["code"]) == ("REJECTED", code)
    assert kept["lastError"]["errors"] == problem["errors"]
    payload = stage.call("GET", f"/events/{problem['eventId']}/payload", stage.admin)
    assert payload.content == body


def test_another_media_type_is_refused(stage: Stage) -> None:
    headers = {"Content-Type": "text/plain"}

    answer = stage.call("POST", "/events", stage.admin, data=b"{}", headers=headers)

    assert_problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing/here"),
        ("GET", "/"),
        ("PATCH", "/events"),
        ("DELETE", "/events"),
        ("POST", "/health"),
    ],
)
def test_no_route_is_a_404_with_a_token_or_without(stage: Stage, method: str, path: str) -> None:
    for token in (stage.admin, None):
        assert_problem(stage.call(method, path, token), 404, "not-found")


def test_an_event_that_is_not_there_is_a_404(stage: Stage) -> None:
    for event_id in ("01900000-0000-7000-8000-000000000000", "no-id", "EVENT%23x"):
        for path in ("", "/payload", "/result"):
            answer = stage.call("GET", f"/events/{event_id}{path}", stage.admin)
            assert_problem(answer, 404, "not-found")


def test_a_query_that_can_not_be_understood_is_refused(stage: Stage) -> None:
    for query in ({"limit": "0"}, {"status": "DONE"}, {"colour": "red"}, {"cursor": "abc"}):
        answer = stage.call("GET", "/events", stage.admin, params=query)
        problem = assert_problem(answer, 400, "invalid-request")
        assert [fault["pointer"] for fault in problem["errors"]] == [f"/query/{next(iter(query))}"]


def test_a_result_is_there_only_after_processing(stage: Stage) -> None:
    failed = stage.follow(stage.send({"eventType": "eventline.drill.permanent"}))

    answer = stage.call("GET", f"/events/{failed.event.event_id}/result", stage.admin)

    assert_problem(answer, 409, "not-processed")


def test_a_burst_loses_nothing(stage: Stage) -> None:
    """More events than a batch holds are waiting when the worker starts."""
    owner = unique("owner")
    token = stage.token(owner)

    with stage.paused_worker():
        sent = [stage.send({"eventType": "burst", "number": number}, token) for number in range(25)]

    for event_id in sent:
        assert stage.follow(event_id).status is Status.PROCESSED
    assert sorted(stage.records_of(owner)) == sorted(sent)
