"""`POST /webhooks/{source}`, as GitHub and the Standard Webhooks library call it."""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from chalice.test import HTTPResponse
from standardwebhooks import Webhook

from chalicelib import wiring
from chalicelib.alerts.model import Alert, read_message
from tests.conftest import STAGE_VARIABLES
from tests.support.app_on_moto import NAMES, BreakCall, Platform, sample
from tests.support.problems import check_headers, check_problem

SECRETS = {
    "github": json.dumps(["an older secret", "a secret for tests only"]),
    "standard": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}
PUSH = '{"ref":"refs/heads/main","after":"Zoë"}'.encode()
PAID = b'{"type":"invoice.paid","data":{"id":"in_1"}}'


@pytest.fixture(autouse=True)
def forget_secrets() -> Iterator[None]:
    """The secrets that the process has read are those of one test."""
    wiring.secrets.cache_clear()
    yield
    wiring.secrets.cache_clear()


@pytest.fixture
def hooks(platform: Platform) -> Platform:
    """The application with the secrets of both sources."""
    for source, value in SECRETS.items():
        put_secret(platform, source, value)
    platform.calls.clear()
    return platform


def put_secret(platform: Platform, source: str, value: str) -> None:
    platform.aws("ssm").put_parameter(
        Name=f"/eventline/{STAGE_VARIABLES['STAGE']}/webhooks/{source}/secret",
        Value=value,
        Type="SecureString",
        Overwrite=True,
    )


def github(
    body: bytes = PUSH, event: str = "push", delivery: str = "d-1", *, secret: str | None = None
) -> dict[str, str]:
    """The headers of a delivery of GitHub."""
    key = (secret or "a secret for tests only").encode()
    return {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/8d33975",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest(),
    }


def standard(
    body: bytes = PAID, message_id: str = "msg_1", *, age: float = 0, secret: str | None = None
) -> dict[str, str]:
    """The headers of a Standard Webhook sent `age` seconds ago."""
    sent = datetime.now(UTC) - timedelta(seconds=age)
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(sent.timestamp())),
        "webhook-signature": Webhook(secret or SECRETS["standard"]).sign(
            message_id, sent, body.decode()
        ),
    }


def post(platform: Platform, source: str, headers: dict[str, str], body: bytes) -> HTTPResponse:
    """A delivery, by somebody without a token."""
    return platform.client.http.request("POST", f"/webhooks/{source}", headers=headers, body=body)


def kept(response: HTTPResponse) -> str:
    """The id of a delivery that was accepted."""
    assert response.status_code == 202, response.body
    check_headers(response)
    event_id: str = response.json_body["eventId"]
    assert response.json_body == {"status": "accepted", "eventId": event_id}
    assert response.headers["Location"] == f"/events/{event_id}"
    return event_id


def check_nothing_is_written(platform: Platform) -> None:
    assert platform.calls == []
    assert platform.aws("dynamodb").scan(TableName=NAMES.events_table)["Count"] == 0
    assert "Contents" not in platform.aws("s3").list_objects_v2(Bucket=NAMES.bronze_bucket)
    assert platform.receive() == []
    platform.calls.clear()


# ------------------------------------------------------------------- what is kept


def test_a_delivery_of_github_is_kept_processed_and_told(hooks: Platform) -> None:
    # Given a failed workflow run, as GitHub sends it
    delivery = sample("github_workflow_run")
    body = delivery["body"].encode()
    # When it comes
    response = post(hooks, "github", delivery["headers"], body)
    # Then it is an event of the stage's owner of webhooks
    event_id = kept(response)
    assert "Idempotent-Replayed" not in response.headers
    # The first is the look for the type's schema, once in a while.
    assert hooks.calls == ["BatchGetItem", "PutObject", "PutItem", "SendMessage"]
    reader = hooks.sender("events:read", owner="webhooks")
    event = reader.get(f"/events/{event_id}").json_body
    assert event["eventType"] == "github.workflow_run.completed"
    assert event["source"] == "https://github.com/octo-org/web"
    assert event["subject"] == "octo-org/web"
    assert reader.get(f"/events/{event_id}/payload").body == body
    assert hooks.sender("events:read").get(f"/events/{event_id}").status_code == 404
    # And when the worker has processed it
    hooks.work()
    event = reader.get(f"/events/{event_id}").json_body
    assert event["status"] == "PROCESSED"
    assert reader.get(f"/events/{event_id}/result").json_body["data"] == json.loads(body)
    # Then its alert is on the queue
    (record,) = hooks.receive(NAMES.alert_queue)
    alert = read_message(record["body"])
    assert isinstance(alert, Alert)
    assert (alert.title, alert.repository, alert.branch) == (
        "CI failed",
        "octo-org/web",
        "feature/login",
    )


def test_what_did_not_fail_is_no_alert(hooks: Platform) -> None:
    kept(post(hooks, "github", github(), PUSH))
    hooks.work()
    assert hooks.receive(NAMES.alert_queue) == []


def test_a_sender_of_plain_events_can_not_make_an_alert(hooks: Platform) -> None:
    # Given somebody with a token who names an event as GitHub's are
    run = json.loads(sample("github_workflow_run")["body"])
    hooks.sender().event_id({"eventType": "github.workflow_run.completed", **run})
    # When it is processed
    hooks.work()
    # Then nobody is alerted of what no GitHub signed
    assert hooks.receive(NAMES.alert_queue) == []


def test_a_standard_webhook_is_kept(hooks: Platform) -> None:
    event_id = kept(post(hooks, "standard", standard(), PAID))
    event = hooks.sender("events:read", owner="webhooks").get(f"/events/{event_id}").json_body
    assert event["eventType"] == "standard.invoice.paid"
    assert (event["source"], event["subject"]) == ("/webhooks/standard", None)


def test_a_token_neither_helps_nor_hinders(hooks: Platform) -> None:
    sender = hooks.sender("admin")
    response = sender.call("POST", "/webhooks/github", PUSH, {"Content-Type": "application/json"})
    check_problem(response, 401, "unauthorized")
    for authorization in (f"Bearer {sender.token}", "Bearer nonsense", "Basic eDp5"):
        kept(post(hooks, "github", {**github(), "Authorization": authorization}, PUSH))


@pytest.mark.parametrize("rename", [str.lower, str.upper])
def test_header_names_have_no_case(hooks: Platform, rename: Callable[[str], str]) -> None:
    for source, headers, body in (("github", github(), PUSH), ("standard", standard(), PAID)):
        kept(post(hooks, source, {rename(name): text for name, text in headers.items()}, body))


# ------------------------------------------------------------------------ repeats


def test_a_repeat_is_answered_as_the_first(hooks: Platform) -> None:
    for source, first, again, body in (
        ("github", github(), github(), PUSH),
        ("standard", standard(age=200), standard(), PAID),
    ):
        event_id = kept(post(hooks, source, first, body))
        repeated = post(hooks, source, again, body)
        assert kept(repeated) == event_id
        assert repeated.headers["Idempotent-Replayed"] == "true"
    assert hooks.aws("dynamodb").scan(TableName=NAMES.events_table)["Count"] == 2


def test_many_repeats_at_once_are_one_event(hooks: Platform) -> None:
    sample_delivery = sample("github_workflow_run")
    body = sample_delivery["body"].encode()
    with ThreadPoolExecutor(4) as pool:
        responses = list(
            pool.map(lambda _: post(hooks, "github", sample_delivery["headers"], body), range(8))
        )
    assert len({kept(response) for response in responses}) == 1
    hooks.work()
    assert len(hooks.receive(NAMES.alert_queue)) == 1


def test_another_body_under_the_same_id_is_refused(hooks: Platform) -> None:
    other = b'{"type":"invoice.paid","data":{"id":"in_2"}}'
    kept(post(hooks, "github", github(), PUSH))
    kept(post(hooks, "standard", standard(), PAID))
    check_problem(post(hooks, "github", github(other), other), 422, "idempotency-conflict")
    check_problem(post(hooks, "standard", standard(other), other), 422, "idempotency-conflict")


# ------------------------------------------------------------------- what is not


def refusals() -> dict[str, tuple[str, dict[str, str], bytes]]:
    """Requests that nobody signed who should have."""
    return {
        "unknown source": ("gitlab", github(), PUSH),
        "encoded": ("github%2F", github(), PUSH),
        "wrong secret": ("github", github(secret="wrong"), PUSH),
        "other body": ("github", github(), PUSH + b" "),
        "no headers": ("github", {}, PUSH),
        "no JSON": ("github", github(), b"{"),
        "form": (
            "github",
            {"Content-Type": "application/x-www-form-urlencoded"},
            b"payload=%7B%7D",
        ),
        "empty": ("github", {}, b""),
        "odd bytes": ("github", {"X-Hub-Signature-256": "sha256=\xff\x00é"}, b"\xff\x00"),
        "stale": ("standard", standard(age=310), PAID),
        "early": ("standard", standard(age=-310), PAID),
        "wrong secret, standard": ("standard", standard(secret="whsec_" + "A" * 32), PAID),
        "no headers, standard": ("standard", {}, PAID),
        "other scheme": ("standard", github(PAID), PAID),
        "odd time": ("standard", {**standard(), "webhook-timestamp": "9" * 5000}, PAID),
    }


def seen(response: HTTPResponse) -> tuple[Any, ...]:
    """All that a sender sees, but for the request's id."""
    body = {**json.loads(response.body), "requestId": ""}
    headers = {
        name: text for name, text in response.headers.items() if name.lower() != "x-request-id"
    }
    return response.status_code, body, headers


def test_all_who_did_not_sign_get_the_same_answer(hooks: Platform) -> None:
    answers = []
    for source, headers, body in refusals().values():
        response = post(hooks, source, headers, body)
        check_problem(response, 401, "unauthorized")
        answers.append(seen(response))
    check_nothing_is_written(hooks)
    assert answers == answers[:1] * len(answers)


def test_without_a_secret_the_answer_is_the_same_too(platform: Platform) -> None:
    unset = seen(post(platform, "github", github(), PUSH))
    put_secret(platform, "standard", "not base64!")
    unusable = seen(post(platform, "standard", standard(), PAID))
    unknown = seen(post(platform, "gitlab", github(), PUSH))
    assert unset == unusable == unknown
    assert unset[0] == 401
    check_nothing_is_written(platform)


def test_a_get_is_no_delivery(hooks: Platform) -> None:
    response = hooks.client.http.get("/webhooks/github")
    check_problem(response, 405, "method-not-allowed")


def test_a_body_beyond_the_limit_is_refused_for_any_source(hooks: Platform) -> None:
    body = b"x" * (1_048_576 + 1)
    for source in ("github", "standard", "gitlab"):
        check_problem(post(hooks, source, github(body), body), 413, "payload-too-large")
    check_nothing_is_written(hooks)


def test_a_form_of_github_is_processed_as_its_json(hooks: Platform) -> None:
    body = b"payload=%7B%22zen%22%3A%22Design+for+failure.%22%7D"
    headers = github(body, "ping") | {"Content-Type": "application/x-www-form-urlencoded"}
    event_id = kept(post(hooks, "github", headers, body))
    hooks.work()
    admin = hooks.sender("admin")
    assert admin.get(f"/events/{event_id}").json_body["eventType"] == "github.ping"
    result = admin.get(f"/events/{event_id}/result").json_body
    assert result["data"] == {"zen": "Design for failure."}


@pytest.mark.parametrize(
    ("body", "event", "code", "pointers"),
    [
        (b"", "push", "invalid-json", [""]),
        (b"{", "push", "invalid-json", [""]),
        (b'{"a":1,"a":2}', "push", "invalid-json", [""]),
        (b"\xff", "push", "invalid-json", [""]),
        (b"[]", "push", "invalid-request", [""]),
        (b"{}", "../x", "invalid-request", ["/header/X-GitHub-Event"]),
    ],
)
def test_what_is_signed_but_can_not_be_used_is_listed_as_rejected(
    hooks: Platform, body: bytes, event: str, code: str, pointers: list[str]
) -> None:
    response = post(hooks, "github", github(body, event), body)
    assert response.status_code == 400, response.body
    problem = json.loads(response.body)
    assert problem["code"] == code
    assert [fault["pointer"] for fault in problem["errors"]] == pointers
    reader = hooks.sender("events:read", owner="webhooks")
    (listed,) = reader.get("/events?status=REJECTED").json_body["items"]
    assert listed["lastError"]["code"] == code
    assert hooks.receive() == []


# ------------------------------------------------------------------------- faults


def test_while_ssm_fails_a_sender_is_to_come_again(hooks: Platform, break_call: BreakCall) -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetParameter")
    throttled = ClientError({"Error": {"Code": "ThrottlingException"}}, "GetParameter")
    for error in (denied, throttled, EndpointConnectionError(endpoint_url="https://ssm")):
        wiring.secrets.cache_clear()
        with break_call("ssm", "GetParameter", error):
            response = post(hooks, "github", github(), PUSH)
            check_problem(response, 503, "unavailable")
            assert response.headers["Retry-After"]
            # Nobody asks SSM for a source that is none.
            check_problem(post(hooks, "gitlab", github(), PUSH), 401, "unauthorized")
    check_nothing_is_written(hooks)
    # And once it has been read, the secret lasts.
    wiring.secrets.cache_clear()
    kept(post(hooks, "github", github(), PUSH))
    with break_call("ssm", "GetParameter", denied):
        kept(post(hooks, "github", github(), PUSH))


@pytest.mark.parametrize(
    ("service", "operation", "size"),
    [
        ("s3", "PutObject", 5000),
        ("dynamodb", "PutItem", 5000),
        ("dynamodb", "PutItem", 1),
        ("sqs", "SendMessage", 1),
    ],
)
def test_while_aws_fails_nothing_is_acknowledged_and_a_redelivery_is_kept(
    hooks: Platform, break_call: BreakCall, service: str, operation: str, size: int
) -> None:
    body = b'{"ref":"refs/heads/main","text":"%s"}' % (b"x" * size)
    error = ClientError({"Error": {"Code": "SlowDown"}}, operation)
    with break_call(service, operation, error):
        check_problem(post(hooks, "github", github(body), body), 503, "unavailable")
    event_id = kept(post(hooks, "github", github(body), body))
    hooks.work()
    admin = hooks.sender("admin")
    assert admin.get(f"/events/{event_id}").json_body["status"] == "PROCESSED"
    assert admin.get(f"/events/{event_id}/payload").body == body
