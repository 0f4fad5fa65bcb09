"""`make verify` on a fake of AWS: what is as it should be passes, each fault is named, and nothing
is written but the one event."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra import access_log, gateway, project, verify
from infra.verify import Answer, Place

ACCOUNT = "123456789012"
QUEUE = f"arn:aws:sqs:eu-west-1:{ACCOUNT}:eventline-dev"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/eventline-github-dev"

PART: dict[str, Any] = {
    "environment_variables": {
        "EVENTS_QUEUE_ARN": f"{QUEUE}-events",
        "CI_QUEUE_ARN": f"{QUEUE}-ci-events-queue",
        "DELIVERIES_QUEUE_ARN": f"{QUEUE}-deliveries",
        "EVENT_BUS": "eventline-dev",
        "EVENTS_CONCURRENCY": "7",
    },
    "lambda_architecture": "arm64",
    "lambda_functions": {"api_handler": {}, "process_events": {}},
}
API = {"rest_api_id": "api1", "rest_api_url": "https://api1.example.com/api/"}


class FakeAws:
    """Answers of the services' API References for a stage that is as it should be."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.answers: dict[str, Any] = {
            "get_gateway_responses": {
                "items": [
                    {"responseType": kind, **told}
                    for kind, told in gateway.extension("", "").items()
                ]
            },
            "get_function_configuration": {"Runtime": "python3.13", "Architectures": ["arm64"]},
            "get_account_settings": {"AccountLimit": {"ConcurrentExecutions": 1000}},
            "get_function_concurrency": {},
            "list_event_source_mappings": {
                "EventSourceMappings": [{"ScalingConfig": {"MaximumConcurrency": 7}}]
            },
            "get_stage": {"accessLogSettings": access_log.settings("dev", PART)},
            "describe_event_bus": {"DeadLetterConfig": {"Arn": f"{QUEUE}-bus-dlq"}},
            "get_role": {
                "Role": {
                    "Arn": ROLE,
                    "AssumeRolePolicyDocument": {
                        "Statement": [
                            {
                                "Condition": {
                                    "StringEquals": {
                                        "token.actions.githubusercontent.com:sub": [
                                            "repo:a/b:environment:dev",
                                            "repo:a@1/b@2:environment:dev",
                                        ]
                                    }
                                }
                            }
                        ]
                    },
                }
            },
            "simulate_principal_policy": {
                "EvaluationResults": [
                    {"EvalDecision": "implicitDeny", "EvalResourceName": "x"},
                ]
            },
        }

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**_: Any) -> Any:
            self.calls.append(name)
            answer = self.answers[name]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


class FakeApi:
    """The stage's API over HTTP."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.health = 200
        self.webhook = 401
        self.challenge = "x-amzn-remapped-www-authenticate"
        self.status = "PROCESSED"

    def __call__(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> Answer:
        self.sent.append((method, path))
        if path == "/health":
            return Answer(self.health, {}, b"{}")
        if path.startswith("/webhooks"):
            return Answer(self.webhook, {}, b"{}")
        if "Authorization" not in headers:
            told = {"content-type": "application/problem+json", self.challenge: "Bearer"}
            return Answer(401, told, b"{}")
        if method == "POST":
            assert json.loads(body or b"") == {"eventType": "verify"}
            return Answer(202, {}, b'{"eventId": "e1"}')
        return Answer(200, {}, json.dumps({"status": self.status}).encode())


@pytest.fixture
def aws() -> FakeAws:
    return FakeAws()


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def place(aws: FakeAws, api: FakeApi) -> Place:
    return Place("dev", PART, API, "evl_token", lambda _: aws, api, sleep=lambda _: None)


def test_a_stage_that_is_as_it_should_be_passes(
    place: Place, aws: FakeAws, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.verify(place) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(verify.CHECKS)
    assert {line.split()[0] for line in lines} == {"ok"}
    # Read-only but for one event, and the webhook that is refused
    assert all(call.startswith(("get_", "list_", "describe_", "simulate_")) for call in aws.calls)
    assert [sent for sent in api.sent if sent[0] != "GET"] == [
        ("POST", "/webhooks/github"),
        ("POST", "/events"),
    ]


@pytest.mark.parametrize(
    ("call", "answer", "check", "words"),
    [
        ("get_gateway_responses", {"items": []}, "gateway responses", "is not ours"),
        ("get_function_configuration", {"Runtime": "python3.9"}, "runtimes", "python3.9"),
        (
            "get_function_configuration",
            {"Runtime": "python3.13"},
            "runtimes",
            "is on x86_64, lambda_architecture says arm64",
        ),
        (
            "get_account_settings",
            {"AccountLimit": {"ConcurrentExecutions": 10}},
            "quota of the account",
            "10 runs",
        ),
        (
            "get_function_concurrency",
            {"ReservedConcurrentExecutions": 5},
            "SQS event sources",
            "reserved",
        ),
        (
            "list_event_source_mappings",
            {"EventSourceMappings": [{}]},
            "SQS event sources",
            "MaximumConcurrency is 0",
        ),
        ("list_event_source_mappings", {"EventSourceMappings": []}, "SQS event sources", "0 mapp"),
        (
            "get_stage",
            {"accessLogSettings": {"destinationArn": "arn:aws:firehose:x", "format": "{}"}},
            "access log",
            "destinationArn",
        ),
        ("describe_event_bus", {}, "bus", "no dead-letter queue"),
        (
            "simulate_principal_policy",
            {"EvaluationResults": [{"EvalDecision": "allowed", "EvalResourceName": "secret"}]},
            "secrets and GitHub",
            "may read secret",
        ),
    ],
)
def test_a_fault_is_named(
    place: Place,
    aws: FakeAws,
    capsys: pytest.CaptureFixture[str],
    call: str,
    answer: Any,
    check: str,
    words: str,
) -> None:
    aws.answers[call] = answer
    assert verify.verify(place) == 1
    (line,) = (one for one in capsys.readouterr().out.splitlines() if one.startswith("FAIL"))
    assert check in line
    assert words in line


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("health", 503, "health and SDK"),
        ("webhook", 503, "unsigned webhook"),
        ("challenge", "x-other", "401 of the gateway"),
        ("status", "FAILED", "an event"),
        ("status", "ENQUEUED", "an event"),
    ],
)
def test_a_wrong_answer_of_the_api_is_named(
    place: Place,
    api: FakeApi,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: object,
    check: str,
) -> None:
    setattr(api, name, value)
    assert verify.verify(place) == 1
    assert f"FAIL  {check}" in capsys.readouterr().out


def test_a_subject_with_a_pattern_is_a_fault(place: Place, aws: FakeAws) -> None:
    document = aws.answers["get_role"]["Role"]["AssumeRolePolicyDocument"]
    equal = document["Statement"][0]["Condition"]["StringEquals"]
    equal["token.actions.githubusercontent.com:sub"] = "repo:a/b:*"
    with pytest.raises(verify.WrongError, match="it trusts"):
        verify.trust(place)


def test_what_cannot_be_checked_is_told_and_is_no_fault(
    place: Place, aws: FakeAws, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = {"Error": {"Code": "NoSuchEntity", "Message": "no role"}}
    denied = {"Error": {"Code": "AccessDenied", "Message": "no right"}}
    aws.answers["get_role"] = ClientError(missing, "GetRole")
    aws.answers["describe_event_bus"] = ClientError(denied, "DescribeEventBus")
    aws.answers |= {"get_stage": {}, "get_account": {}}
    assert verify.verify(replace(place, token="")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("--") for line in lines) == 5
    assert ("POST", "/events") not in api.sent


def test_a_token_is_sent_over_https_alone() -> None:
    with pytest.raises(project.InfraError, match="is not https"):
        verify.http_of("http://example.com/api")
