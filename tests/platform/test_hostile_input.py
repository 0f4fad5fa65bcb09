"""What nobody sends by mistake, against the deployed API: API Gateway, authorizer, roles and all.

`tests/web/test_hostile_input.py` looks at each case more closely, without a gateway.
"""

import json
from typing import Any

import pytest
import requests

from chalicelib.web.limits import MAX_HEADER_BYTES
from tests.support.deployed_stage import Stage, unique, wait_for
from tests.support.hostile_input import BAD_EVENTS, BAD_JSON, CONTEXT, ODD_TYPES

pytestmark = [pytest.mark.emulator, pytest.mark.one_stage]

MEMBERS = {"type", "title", "status", "detail", "code", "requestId"}
JSON = {"Content-Type": "application/json"}


def refused(answer: requests.Response) -> Any:
    """The problem that a bad request is told by."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:500])
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-Id"]
    problem = answer.json()
    assert problem.keys() - {"errors", "eventId"} == MEMBERS
    assert "X-Injected" not in answer.headers
    return problem


def test_a_bad_event_is_refused_and_kept(stage: Stage) -> None:
    token = stage.token(unique("owner"))
    kept = {}
    # When each is sent, plain and as a CloudEvent
    for body in (BAD_JSON | BAD_EVENTS).values():
        problem = refused(stage.post(body, token))
        kept[problem["eventId"]] = body
    structured = {"Content-Type": "application/cloudevents+json"}
    for given in BAD_JSON.values():
        body = given.replace(b'"eventType":"demo"', CONTEXT)
        problem = refused(stage.call("POST", "/events", token, data=body, headers=structured))
        kept[problem["eventId"]] = body
    # Then all are kept as they were sent, and listed
    for event_id, body in kept.items():
        assert stage.call("GET", f"/events/{event_id}/payload", token).content == body
    listed: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"status": "REJECTED", "limit": "100"} | ({"cursor": cursor} if cursor else {})
        page = stage.call("GET", "/events", token, params=query).json()
        listed += [item["eventId"] for item in page["items"]]
        cursor = page["cursor"]
    assert sorted(listed) == sorted(kept)


def test_an_odd_type_never_leaves_its_place(stage: Stage) -> None:
    token = stage.token(unique("owner"))
    sent = {stage.send({"eventType": odd}, token): odd for odd in ODD_TYPES}
    for event_id, odd in sent.items():

        def look(event_id: str = event_id) -> Any:
            event = stage.call("GET", f"/events/{event_id}", token).json()
            return event if event["status"] == "PROCESSED" else None

        event = wait_for(f"{odd!r} to be processed", look)
        assert event["eventType"] == odd
        assert event["s3Key"].startswith("bronze/")
        assert event["silverKey"].startswith("silver/")
        assert (len(event["s3Key"].split("/")), len(event["silverKey"].split("/"))) == (6, 4)
        assert ".." not in event["s3Key"].split("/")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/cloudevents+avro"},
        {**JSON, "Idempotency-Key": "x" * 256},
        {**JSON, "X-Long": "x" * MAX_HEADER_BYTES},
        {"ce-specversion": "1.0", "ce-id": "%zz", "ce-source": "/s", "ce-type": "t", **JSON},
        {"ce-specversion": "0.3", "ce-id": "1", "ce-source": "/s", "ce-type": "t", **JSON},
        {"ce-specversion": "1.0", "ce-id": "1%0d%0aX-Injected: 1", "ce-source": "/s", **JSON},
    ],
)
def test_odd_headers_are_refused(stage: Stage, headers: dict[str, str]) -> None:
    body = b'{"eventType":"demo"}'
    refused(stage.call("POST", "/events", stage.admin, data=body, headers=headers))


def test_json_is_known_by_any_of_its_names(stage: Stage) -> None:
    for name in ("Application/JSON", "application/json;charset=UTF-8", None):
        headers = {} if name is None else {"Content-Type": name}
        body = b'{"eventType":"demo"}'
        answer = stage.call("POST", "/events", stage.admin, data=body, headers=headers)
        assert answer.status_code == 202, (name, answer.text)


@pytest.mark.parametrize("path", ["/events", "/events/batch", "/items", "/webhooks/github"])
def test_ten_megabytes_are_refused(stage: Stage, path: str) -> None:
    body = b'{"eventType":"demo","a":"' + b"x" * 10 * 1024 * 1024 + b'"}'
    problem = refused(stage.call("POST", path, stage.admin, data=body, headers=JSON))
    assert problem["code"] == "payload-too-large"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "evl_",
        "evl_bootstrap_" + "0" * 64,
        "evl_../../x_" + "0" * 64,
        "evl_" + "x" * 7000,
        "Bearer",
        "null",
        "' OR 1=1 --",
    ],
)
def test_what_is_no_token_opens_nothing(stage: Stage, token: str) -> None:
    answer = stage.call("GET", "/tokens", headers={"Authorization": f"Bearer {token}"})
    assert refused(answer)["status"] == 401


def test_a_cursor_that_was_tampered_with_is_refused(stage: Stage) -> None:
    # Given a cursor
    token = stage.token(unique("owner"))
    for number in range(2):
        stage.send({"eventType": "demo", "n": number}, token)

    def first_page() -> Any:
        page = stage.call("GET", "/events", token, params={"limit": "1"}).json()
        return page["cursor"]

    cursor = wait_for("a second page", first_page)
    # When characters of it are others
    for place in range(0, len(cursor), 5):
        for other in ("A", "\x00"):
            changed = cursor[:place] + other + cursor[place + 1 :]
            answer = stage.call("GET", "/events", token, params={"cursor": changed})
            # Then it is refused, or is a place in the list of the same owner
            if answer.status_code != 200:
                assert refused(answer)["status"] == 400
            else:
                owners = {item["owner"] for item in answer.json()["items"]}
                assert len(owners) <= 1


@pytest.mark.parametrize(
    "path",
    [
        "/events/..%2f..%2ftokens",
        "/events/%00",
        "/events/" + "x" * 2000,
        "/events/%f0%9f%92%a5",
        "/schemas/%00",
        "/items/'%20OR%201=1",
        "/webhooks/%0d%0aX-Injected:%201",
        "/nowhere",
    ],
)
def test_odd_paths_lead_nowhere(stage: Stage, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        refused(stage.call(method, path, stage.admin, data=b"{}", headers=JSON))


def test_nothing_of_a_problem_comes_from_elsewhere(stage: Stage) -> None:
    marker = unique("secret")
    body = json.dumps({"eventType": {"a": marker}}).encode()
    answer = stage.post(body, stage.admin)
    assert marker not in answer.text
    assert "Traceback" not in answer.text
