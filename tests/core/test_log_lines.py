"""Log lines: whose they are, what they tell, and that no payload or secret is ever in one."""

import base64
import copy
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError

import app
from chalicelib import wiring
from chalicelib.core.errors import BatchIncompleteError
from chalicelib.core.log import JsonFormatter, log
from chalicelib.events.processors import PROCESSORS, Incoming
from chalicelib.tokens.manage import issue_token
from tests.conftest import STAGE_VARIABLES
from tests.support.app_on_moto import NAMES, BreakCall, Platform, sample
from tests.support.factories import LambdaContext
from tests.support.hostile_input import BAD_EVENTS, BAD_JSON
from tests.webhooks.test_webhooks_api import SECRETS, github, put_secret, standard

pytestmark = pytest.mark.enable_socket

MARKER = "p4yl04d-m4rk3r"
SLACK_URL = f"http://127.0.0.1:1/services/T0/B0/{MARKER}"
"""Nobody answers there. The path is the webhook's secret."""
JSON = {"Content-Type": "application/json"}


class Lines:
    """What the application has written since it was last asked."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.every: list[dict[str, Any]] = []

    def new(self) -> list[dict[str, Any]]:
        """The lines, each of them JSON."""
        found = [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]
        self.every += found
        return found

    def only(self, message: str) -> dict[str, Any]:
        """The one new line with this message."""
        (line,) = [line for line in self.new() if line.get("message") == message]
        return line


class _Printing(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        sys.stdout.write(self.format(record) + "\n")


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """Everything that is logged, at the lowest level, as it would come to CloudWatch."""
    handler = _Printing()
    handler.setFormatter(JsonFormatter({"stage": "test"}))
    root = logging.getLogger()
    kept = root.handlers[:], root.level, log.level
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(logging.DEBUG)
    yield Lines(capsys)
    root.handlers[:] = kept[0]
    root.setLevel(kept[1])
    log.setLevel(kept[2])


@pytest.fixture
def broken() -> Iterator[None]:
    """A processor that fails with the payload in its error's words."""

    def fail(incoming: Incoming) -> Any:
        raise RuntimeError(f"cannot take {incoming.data}")

    processors: Any = PROCESSORS
    processors["test.broken"] = fail
    yield
    del processors["test.broken"]


# ------------------------------------------------------------------------ what a request leaves


def test_a_request_leaves_one_line_that_sums_it_up(platform: Platform, lines: Lines) -> None:
    # Given
    sender = platform.sender(owner="alice")
    # When
    answer = sender.post("/events", {"eventType": "demo"})
    # Then
    (admitted, summary) = lines.new()
    assert (admitted["message"], admitted["owner"]) == ("token accepted", "alice")
    assert summary.pop("time")
    assert summary.pop("ms") >= 0
    assert summary.pop("_aws")["CloudWatchMetrics"][0]["Metrics"] == [
        {"Name": "Accepted", "Unit": "Count"}
    ]
    assert summary == {
        "level": "INFO",
        "message": "request answered",
        "stage": "test",
        "requestId": answer.headers["X-Request-Id"],
        "authorizer": admitted["requestId"],
        "method": "POST",
        "route": "/events",
        "status": 202,
        "owner": "alice",
        "eventId": answer.json_body["eventId"],
        "Stage": "local",
        "Accepted": 1,
    }
    # And it is short, since log bytes are paid for
    assert len(json.dumps(summary)) < 450


def test_a_refusal_says_why_and_under_which_id_the_payload_is_kept(
    platform: Platform, lines: Lines
) -> None:
    answer = platform.sender(owner="alice").post("/events", b"{")
    found = {line["message"]: line for line in lines.new()}
    summary, rejected = found["request answered"], found["event rejected"]
    assert (summary["status"], summary["code"]) == (400, "invalid-json")
    assert summary["eventId"] == rejected["eventId"] == answer.json_body["eventId"]
    assert (rejected["owner"], rejected["code"]) == ("alice", "invalid-json")
    assert rejected["requestId"] == summary["requestId"]
    assert summary["Rejected"] == 1


def test_reading_leaves_a_line_without_metrics(platform: Platform, lines: Lines) -> None:
    sender = platform.sender()
    event_id = sender.event_id({"eventType": "demo"})
    lines.new()
    sender.get(f"/events/{event_id}")
    summary = lines.only("request answered")
    assert (summary["route"], summary["eventId"]) == ("/events/{event_id}", event_id)
    assert "_aws" not in summary


def test_what_is_no_id_of_ours_in_a_path_is_not_logged(platform: Platform, lines: Lines) -> None:
    platform.sender().get(f"/events/{MARKER}")
    summary = lines.only("request answered")
    assert (summary["status"], summary["route"]) == (404, "/events/{event_id}")
    assert MARKER not in json.dumps(summary)


def test_a_batch_is_summed_up_in_the_line_of_its_request(platform: Platform, lines: Lines) -> None:
    items = [{"eventType": "demo"}, {"eventType": "demo"}, {"eventType": 7}]
    platform.sender().post("/events/batch", {"events": items})
    summary = lines.only("request answered")
    assert (summary["items"], summary["accepted"], summary["rejected"]) == (3, 2, 1)
    assert (summary["Accepted"], summary["Rejected"]) == (2, 1)


def test_a_direct_invocation_is_a_request_too(platform: Platform, lines: Lines) -> None:
    app.app({"body": '{"eventType":"demo"}'}, LambdaContext())
    summary = lines.only("request answered")
    assert (summary["owner"], summary["status"], summary["Accepted"]) == ("direct", 202, 1)
    assert "authorizer" not in summary


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("Bearer nonsense", "no token"),
        ("", "no token"),
        ("Bearer " + "x" * 5000, "no token"),
        (f"Bearer evl_stranger_{'0' * 64}", "unknown"),
        ("Bearer {wrong}", "wrong secret"),
        ("Bearer {expired}", "expired"),
    ],
)
def test_the_log_says_why_a_token_was_refused(
    platform: Platform, lines: Lines, token: str, reason: str
) -> None:
    # Given a token, and one that has expired
    sender = platform.sender()
    _, expired = issue_token(
        wiring.tokens(), "alice", ["events:read"], "2026-01-01", expires_at="2026-01-02"
    )
    wrong = sender.token[:-64] + "0" * 64
    event = {
        **sample("authorizer_token"),
        "authorizationToken": token.format(wrong=wrong, expired=expired),
    }
    # When
    with pytest.raises(Exception, match="Unauthorized"):
        app.authorize(event, LambdaContext())
    # Then
    line = lines.only("token refused")
    assert line["reason"] == reason
    assert line["requestId"]
    assert ("tokenId" in line) == (reason != "no token")
    assert "0" * 64 not in json.dumps(line)


# ------------------------------------------------------------------------ correlation


def test_the_worker_s_lines_have_the_request_that_brought_the_event(
    platform: Platform, lines: Lines
) -> None:
    # Given events of two requests
    sender = platform.sender()
    answers = [sender.post("/events", {"eventType": "demo", "n": n}) for n in range(2)]
    ids = {one.json_body["eventId"]: one.headers["X-Request-Id"] for one in answers}
    lines.new()
    # When
    platform.work()
    # Then
    found = lines.new()
    processed = [line for line in found if line["message"] == "event processed"]
    assert {line["eventId"]: line["requestId"] for line in processed} == ids
    (ended,) = [line for line in found if line["message"] == "run ended"]
    assert ended["requestId"] not in ids.values()
    assert (ended["BatchSize"], ended["Processed"]) == ([2], 2)
    assert len(ended["EndToEndLatency"]) == 2


def test_a_failed_event_s_alert_is_followed_to_slack_s_door(
    platform: Platform, lines: Lines, broken: None
) -> None:
    # Given an event that fails for good at once
    answer = platform.sender().post("/events", {"eventType": "test.broken"})
    event_id, request_id = answer.json_body["eventId"], answer.headers["X-Request-Id"]
    records = platform.receive()
    for record in records:
        record["attributes"]["ApproximateReceiveCount"] = "5"
    platform.work(records)
    lines.new()
    # When the alert is taken from its queue, as Lambda hands it over
    alerts = [as_lambda_has_it(record) for record in platform.receive(NAMES.alert_queue)]
    point_slack_nowhere(platform)
    with pytest.raises(Exception, match="to retry"):
        app.alert_ci_event({"Records": alerts}, LambdaContext())
    # Then its lines are the event's
    found = lines.new()
    (put_off,) = [line for line in found if line["message"] == "alert put off"]
    assert (put_off["eventId"], put_off["requestId"]) == (event_id, request_id)
    (ended,) = [line for line in found if line["message"] == "run ended"]
    assert len(ended["SlackLatency"]) == 1
    assert ended["requestId"] != request_id


@pytest.mark.parametrize("hostile", ["a b", "x" * 65, "a\nb", "", MARKER + "!"])
def test_ids_that_others_put_on_a_message_are_not_believed(
    platform: Platform, lines: Lines, hostile: str
) -> None:
    record = {
        **sample("sqs_batch")["Records"][0],
        "body": "Terraform Apply Failed",
        "messageAttributes": {
            "requestId": {"stringValue": hostile, "dataType": "String"},
            "eventId": ["no", "attribute"],
        },
    }
    point_slack_nowhere(platform)
    context = LambdaContext()
    with pytest.raises(Exception, match="to retry"):
        app.alert_ci_event({"Records": [record]}, context)
    put_off = lines.only("alert put off")
    assert put_off["requestId"] == context.aws_request_id
    assert "eventId" not in put_off


def test_what_no_request_started_has_its_run_s_id(platform: Platform, lines: Lines) -> None:
    context = LambdaContext()
    app.reconcile(sample("eventbridge_schedule"), context)
    found = lines.new()
    assert {line["requestId"] for line in found} == {context.aws_request_id}
    (ended,) = [line for line in found if line["message"] == "run ended"]
    assert (ended["StuckEvents"], ended["GivenUpEvents"]) == (0, 0)


# ------------------------------------------------------------------------ what is never in a line


def test_no_payload_or_secret_is_in_any_line(
    platform: Platform, lines: Lines, break_call: BreakCall, broken: None
) -> None:
    """One test, so that what one path leaves behind is there for the next."""
    sender = platform.sender("admin", "events:write", "events:read", "items:write", "items:read")
    _send_events(platform, sender)
    _send_webhooks(platform)
    _use_the_rest(sender)
    _suffer_faults(sender, break_call)
    _run_the_triggers(platform)
    # Then
    lines.new()
    text = "\n".join(map(json.dumps, lines.every))
    assert len(lines.every) > 150
    assert MARKER not in text
    assert base64.b64encode(MARKER.encode()).decode()[:12] not in text
    assert sender.token not in text
    assert sender.token.rsplit("_", 1)[1] not in text
    for secret in SECRETS.values():
        assert secret not in text
    # And whatever failed has its reason
    messages = {line.get("message") for line in lines.every}
    assert messages >= {
        "request answered", "event rejected", "attempt failed", "event failed", "run ended",
        "token refused", "webhook refused", "alert put off", "upload not recorded",
        "stream record set aside", "AWS call failed", "foreign message",
    }  # fmt: skip


def _send_events(platform: Platform, sender: Any) -> None:
    marked = {"eventType": "demo", "secret": MARKER, MARKER: 1}
    hostile = [body + MARKER.encode() for body in (*BAD_JSON.values(), *BAD_EVENTS.values())]
    for body in (*hostile, marked, {"eventType": "test.broken", "secret": MARKER}):
        sender.post("/events", body)
    sender.post("/events", {"eventType": f"{MARKER} \u0000"})
    sender.post("/events", marked, Idempotency_Key=MARKER)
    sender.post("/events", {**marked, "n": 2}, Idempotency_Key=MARKER)
    items = [marked, {"eventType": 7, "secret": MARKER}, {"eventType": "test.broken", "s": MARKER}]
    sender.post("/events/batch", {"events": items})
    sender.post("/events/batch", {"events": MARKER})
    binary = {
        "ce-id": MARKER,
        "ce-source": f"/{MARKER}",
        "ce-type": "demo",
        "ce-specversion": "1.0",
    }
    sender.call("POST", "/events", MARKER.encode(), {**binary, "Content-Type": "text/plain"})
    sender.call("POST", "/events", MARKER.encode(), {"Content-Type": f"text/{MARKER}"})
    schema = {"type": "object", "properties": {"secret": {"const": 1}}}
    sender.call("PUT", "/schemas/strict", json.dumps(schema).encode(), JSON)
    sender.post("/events", {"eventType": "strict", "secret": MARKER})
    records = platform.receive()
    for attempt in ("1", "2", "5", "6"):
        for record in records:
            record["attributes"]["ApproximateReceiveCount"] = attempt
        with suppress(BatchIncompleteError):
            app.process_events({"Records": records}, LambdaContext())
    foreign = {**sample("sqs_batch")["Records"][0], "body": MARKER}
    app.process_events({"Records": [foreign]}, LambdaContext())


def _send_webhooks(platform: Platform) -> None:
    for source, secret in SECRETS.items():
        put_secret(platform, source, secret)
    wiring.secrets.cache_clear()
    body = json.dumps({"type": "paid", "data": {"secret": MARKER}}).encode()
    for source, headers in (
        ("github", github(body)),
        ("github", {**github(body), "X-Hub-Signature-256": f"sha256={MARKER}"}),
        ("github", github(MARKER.encode())),
        ("standard", standard(body)),
        ("standard", {**standard(body), "webhook-id": MARKER}),
        (MARKER, github(body)),
    ):
        platform.client.http.request("POST", f"/webhooks/{source}", headers=headers, body=body)
    failed = json.loads(sample("github_workflow_run")["body"])
    failed["workflow_run"] |= {"display_title": MARKER, "head_commit": {"message": MARKER}}
    text = json.dumps(failed).encode()
    headers = github(text, event="workflow_run", delivery="d-9")
    platform.client.http.request("POST", "/webhooks/github", headers=headers, body=text)


def _use_the_rest(sender: Any) -> None:
    data = {"data": {"secret": MARKER}}
    item = sender.post("/items", data).json_body
    sender.call(
        "PUT", f"/items/{item['itemId']}", json.dumps(data).encode(), {**JSON, "If-Match": MARKER}
    )
    sender.post("/items", {"data": MARKER})
    sender.post("/uploads", {"fileName": MARKER, "contentType": "text/plain"})
    sender.get(f"/events?cursor={MARKER}")
    sender.get(f"/events/{MARKER}")
    sender.post("/tokens", {"owner": f"{MARKER}!", "scopes": [MARKER]})
    wrong = sender.token[:-1] + ("1" if sender.token.endswith("0") else "0")
    for token in (MARKER, f"Bearer {MARKER}", f"Bearer {wrong}"):
        event = {**sample("authorizer_token"), "authorizationToken": token}
        with pytest.raises(Exception, match="Unauthorized"):
            app.authorize(event, LambdaContext())
    app.app({"body": MARKER}, LambdaContext())


def _suffer_faults(sender: Any, break_call: BreakCall) -> None:
    refused = ClientError({"Error": {"Code": "Throttling", "Message": "slow"}}, "PutObject")
    marked = {"eventType": "demo", "secret": MARKER}
    for service, operation in (
        ("s3", "PutObject"),
        ("sqs", "SendMessage"),
        ("dynamodb", "PutItem"),
    ):
        with break_call(service, operation, refused):
            sender.post("/events", marked)
            sender.post("/events/batch", {"events": [marked]})
    # botocore quotes what it cannot take
    quoting = ParamValidationError(report=f"Invalid value: {MARKER}")
    with break_call("s3", "PutObject", quoting):
        sender.post("/events", marked)


def _run_the_triggers(platform: Platform) -> None:
    point_slack_nowhere(platform)
    queued = [as_lambda_has_it(record) for record in platform.receive(NAMES.alert_queue)]
    model = sample("sqs_batch")["Records"][0]
    texts = [MARKER, json.dumps({"status": "error", "message": MARKER}), json.dumps([MARKER])]
    alerts = [
        {**model, "messageId": f"m{n}", "receiptHandle": f"h{n}", "body": text}
        for n, text in enumerate(texts)
    ]
    for some in (queued, alerts):
        _quietly(app.alert_ci_event, {"Records": some})
    notification = sample("sns_alarm_alarm")
    notification["Records"][0]["Sns"]["Message"] = MARKER
    _quietly(app.relay_alarm, notification)
    created = sample("s3_two_objects_created")
    created["Records"][0]["s3"]["object"]["key"] = f"uploads/{MARKER}"
    del created["Records"][1]["s3"]["object"]["key"]
    created["Records"][1]["secret"] = MARKER
    _quietly(app.record_upload, created)
    change = sample("dynamodb_modify")
    malformed = copy.deepcopy(change)
    for name in ("OldImage", "NewImage"):
        change["Records"][0]["dynamodb"][name]["data"] = {"S": json.dumps({"secret": MARKER})}
        malformed["Records"][0]["dynamodb"][name] = {"secret": {"S": MARKER}}
    malformed["Records"][0]["eventID"] = "e-2"
    for event in (change, malformed):
        _quietly(app.notify_owners, event)
    for options in ({}, {"stuckAfterSeconds": 0}):
        _quietly(app.reconcile, options)


def _quietly(function: Any, event: Any) -> None:
    """Run a function; what it raises goes to Lambda's own log, see the tests of each."""
    told = ""
    try:
        function(event, LambdaContext())
    except Exception as error:  # noqa: BLE001 - whatever it is
        told = str(error)
    assert MARKER not in told, function


def point_slack_nowhere(platform: Platform) -> None:
    """Give Slack a webhook where nobody answers."""
    platform.aws("ssm").put_parameter(
        Name=STAGE_VARIABLES["SLACK_PARAMETER"],
        Value=SLACK_URL,
        Type="SecureString",
        Overwrite=True,
    )
    wiring.secrets.cache_clear()
    wiring.slack.cache_clear()


def as_lambda_has_it(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with its message attributes as Lambda writes them: names in lower camel case."""
    attributes = {
        name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
        for name, value in record["messageAttributes"].items()
    }
    return {**record, "messageAttributes": attributes}
