"""Who gets in, and whose events they see: tokens, scopes, owners and stages, as deployed."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.core.clock import to_text
from chalicelib.web.authorizer import CACHE_SECONDS
from chalicelib.web.browsers import SECURITY_HEADERS
from tests.platform.test_rest_api import assert_problem
from tests.support.deployed_stage import Stage, unique, wait_for

pytestmark = pytest.mark.emulator

EVENT = {"eventType": "demo"}


@pytest.mark.one_stage
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer nonsense",
        "Basic dXNlcjpwYXNz",
        f"Bearer evl_{'0' * 16}_{'0' * 64}",
        "Bearer evl_x_y",
        "Bearer ☃",
    ],
)
def test_nobody_gets_in_without_a_token(stage: Stage, authorization: str | None) -> None:
    """One request for each: a refusal costs the emulator a start of the authorizer. That every
    route is guarded is in `test_schemathesis`."""
    headers = {} if authorization is None else {"Authorization": authorization.encode()}

    assert_problem(stage.call("GET", "/events", headers=headers), 401, "unauthorized")


@pytest.mark.one_stage
def test_an_invalid_token_writes_nothing_and_administers_nothing(stage: Stage) -> None:
    for method, path in (("POST", "/events"), ("GET", "/tokens"), ("POST", "/tokens")):
        answer = stage.call(method, path, f"evl_{'0' * 16}_{'0' * 64}", json=EVENT)
        assert_problem(answer, 401, "unauthorized")


def test_a_token_with_another_secret_is_refused(stage: Stage) -> None:
    token = stage.token(unique("owner"))
    last = "0" if token[-1] != "0" else "1"

    assert_problem(stage.call("GET", "/events", token[:-1] + last), 401, "unauthorized")


def test_the_gateways_own_answers_have_the_headers_of_every_answer(stage: Stage) -> None:
    for method, path, token in (
        ("GET", "/health", None),
        ("GET", "/events", None),
        ("GET", "/nowhere", stage.admin),
        ("GET", "/events/nosuch", stage.admin),
    ):
        answer = stage.call(method, path, token)
        assert SECURITY_HEADERS.items() <= dict(answer.headers).items(), (method, path)
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_token_of_another_stage_is_refused(stages: dict[str, Stage]) -> None:
    for here, there in (("local", "dev"), ("dev", "local")):
        token = stages[here].token(unique("owner"))
        assert stages[here].call("GET", "/events", token).status_code == 200
        assert_problem(stages[there].call("GET", "/events", token), 401, "unauthorized")


def test_stages_do_not_see_each_others_events(stages: dict[str, Stage]) -> None:
    # Given
    key = unique("key")
    sent = {name: stage.send(EVENT, key=key) for name, stage in stages.items()}

    # Then: the same owner and key, so the same id, and yet two events
    assert sent["local"] == sent["dev"]
    alone = stages["local"].send(EVENT)
    assert_problem(
        stages["dev"].call("GET", f"/events/{alone}", stages["dev"].admin), 404, "not-found"
    )
    listed = stages["dev"].call("GET", "/events", stages["dev"].admin).json()["items"]
    assert alone not in [item["eventId"] for item in listed]
    for name, stage in stages.items():
        record = stage.follow(sent[name])
        assert record.s3_bucket == f"eventline-{name}-000000000000-bronze"


def test_another_owner_sees_nothing(stage: Stage) -> None:
    # Given
    mine, theirs = stage.token(unique("owner")), stage.token(unique("owner"))
    event_id = stage.send(EVENT, mine)
    stage.follow(event_id)

    # Then
    for path in ("", "/payload", "/result"):
        assert stage.call("GET", f"/events/{event_id}{path}", mine).status_code == 200
        assert stage.call("GET", f"/events/{event_id}{path}", stage.admin).status_code == 200
        answer = stage.call("GET", f"/events/{event_id}{path}", theirs)
        assert_problem(answer, 404, "not-found")
    listed = stage.call("GET", "/events", theirs).json()
    assert (listed["items"], listed["cursor"]) == ([], None)


def test_a_scope_is_needed_for_each_route(stage: Stage) -> None:
    reader = stage.token(unique("owner"), "events:read")
    writer = stage.token(unique("owner"), "events:write")

    assert stage.call("GET", "/events", reader).status_code == 200
    assert stage.post(EVENT, writer).status_code == 202
    assert_problem(stage.post(EVENT, reader), 403, "forbidden")
    assert_problem(stage.call("GET", "/events", writer), 403, "forbidden")
    order = {"owner": "me", "scopes": ["admin"]}
    assert_problem(stage.call("POST", "/tokens", writer, json=order), 403, "forbidden")
    assert_problem(stage.call("GET", "/tokens", reader), 403, "forbidden")
    assert_problem(stage.call("DELETE", "/tokens/x", reader), 403, "forbidden")


def test_a_revoked_token_is_refused(stage: Stage) -> None:
    # Given
    issued = stage.issue(unique("owner"), "events:read")
    assert issued["id"] in listed_tokens(stage)

    # When
    revoked = stage.call("DELETE", f"/tokens/{issued['id']}", stage.admin)

    # Then
    assert (revoked.status_code, revoked.content) == (204, b"")
    assert_problem(stage.call("GET", "/events", issued["token"]), 401, "unauthorized")
    assert issued["id"] not in listed_tokens(stage)
    again = stage.call("DELETE", f"/tokens/{issued['id']}", stage.admin)
    assert_problem(again, 404, "not-found")


def test_revocation_and_expiry_take_effect_within_the_gateways_memory(local: Stage) -> None:
    """The gateway may remember for a moment that a token was good, and no longer."""
    # Given two tokens in use, one of which is about to expire
    revoked = local.issue(unique("owner"), "events:read")
    assert local.call("GET", "/events", revoked["token"]).status_code == 200
    # The functions have started; now they answer within the time that the other has left
    soon = datetime.now(UTC) + timedelta(seconds=10)
    expiring = local.issue(unique("owner"), "events:read", expiresAt=to_text(soon))
    assert local.call("GET", "/events", expiring["token"]).status_code == 200

    # When the other is revoked
    local.call("DELETE", f"/tokens/{revoked['id']}", local.admin)
    ended = {revoked["token"]: time.monotonic()}
    ended[expiring["token"]] = time.monotonic() + (soon - datetime.now(UTC)).total_seconds()

    # Then what is sent when the gateway has forgotten it is refused, however slow the answers are
    for token, end in ended.items():
        while True:
            sent = time.monotonic()
            answer = local.call("GET", "/events", token)
            if answer.status_code != 200:
                break
            assert sent < end + CACHE_SECONDS + 1
            time.sleep(0.2)
        assert_problem(answer, 401, "unauthorized")


def test_an_expired_token_is_refused(stage: Stage) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=8)
    issued = stage.issue(unique("owner"), "events:read", expiresAt=to_text(soon))

    time.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()) + 0.01)

    assert_problem(stage.call("GET", "/events", issued["token"]), 401, "unauthorized")


def test_the_secret_of_a_token_is_nowhere_to_be_found(stage: Stage) -> None:
    issued = stage.issue(unique("owner"), "events:read")
    secret = issued["token"].rsplit("_", 1)[-1]

    rows = stage.dynamodb.scan(TableName=stage.settings.tokens_table)["Items"]
    listed = stage.call("GET", "/tokens", stage.admin).text

    assert issued["id"] in str(rows)
    assert secret not in str(rows)
    assert secret not in listed
    wait_for("the tokens to be used", lambda: stage.call("GET", "/events", issued["token"]).ok)


def listed_tokens(stage: Stage) -> list[str]:
    """The ids of all tokens, page by page."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = stage.call("GET", "/tokens", stage.admin, params={"limit": "10", **cursor}).json()
        found += [item["id"] for item in page["items"]]
        if page["cursor"] is None:
            return found
        cursor = {"cursor": page["cursor"]}
