"""What becomes of events that fail: set once, set again when it differs, patient with AWS."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra import event_sources

QUEUE = "arn:aws:sqs:eu-west-1:123456789012:eventline-dev"
STREAM = "arn:aws:dynamodb:eu-west-1:123456789012:table/eventline-dev-items/stream/2000"
PART = {
    "environment_variables": {
        "UPLOADS_DLQ_ARN": f"{QUEUE}-uploads-dlq",
        "CI_DLQ_ARN": f"{QUEUE}-ci-events-dlq",
        "NOTIFICATIONS_DLQ_ARN": f"{QUEUE}-notifications-dlq",
        "ITEMS_STREAM_ARN": STREAM,
    }
}
DEPLOYED = [
    {"resource_type": kind, "name": name}
    for name in ("api_handler", "notify_owners", "record_upload", "relay_alarm")
    for kind in ("iam_role", "lambda_function")
]


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "Operation")


class FakeLambda:
    """Keeps the settings as Lambda does, with the defaults that it adds, and refuses when told."""

    def __init__(self) -> None:
        self.invoke_configs: dict[str, dict[str, Any]] = {}
        self.recursion: dict[str, str] = {}
        self.mapping: dict[str, Any] = {
            "UUID": "u1",
            "MaximumRetryAttempts": -1,
            "MaximumRecordAgeInSeconds": -1,
            "BisectBatchOnFunctionError": False,
            "DestinationConfig": {"OnFailure": {}},
        }
        self.refusals: list[str] = []
        self.writes = 0

    def get_function_event_invoke_config(self, *, FunctionName: str) -> dict[str, Any]:  # noqa: N803
        if FunctionName not in self.invoke_configs:
            raise refusal("ResourceNotFoundException")
        return self.invoke_configs[FunctionName]

    def put_function_event_invoke_config(self, *, FunctionName: str, **settings: Any) -> None:  # noqa: N803
        self._write()
        settings["DestinationConfig"] = {"OnSuccess": {}, **settings["DestinationConfig"]}
        self.invoke_configs[FunctionName] = {"FunctionArn": FunctionName, **settings}

    def list_event_source_mappings(self, *, EventSourceArn: str, FunctionName: str) -> Any:  # noqa: N803
        assert (EventSourceArn, FunctionName) == (STREAM, "eventline-dev-notify_owners")
        return {"EventSourceMappings": [self.mapping]}

    def update_event_source_mapping(self, *, UUID: str, **settings: Any) -> None:  # noqa: N803
        self._write()
        assert self.mapping["UUID"] == UUID
        self.mapping |= settings

    def _write(self) -> None:
        if self.refusals:
            raise refusal(self.refusals.pop())
        self.writes += 1

    def get_function_recursion_config(self, *, FunctionName: str) -> dict[str, str]:  # noqa: N803
        return {"RecursiveLoop": self.recursion.get(FunctionName, "Terminate")}

    def put_function_recursion_config(self, *, FunctionName: str, RecursiveLoop: str) -> None:  # noqa: N803
        self._write()
        self.recursion[FunctionName] = RecursiveLoop


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_sources, "_PAUSE_SECONDS", 0)


def test_failed_events_and_records_go_to_their_queues() -> None:
    client = FakeLambda()

    assert event_sources.apply(client, "dev", PART, DEPLOYED) == 3

    nets = {
        name: (config["MaximumRetryAttempts"], config["DestinationConfig"]["OnFailure"])
        for name, config in client.invoke_configs.items()
    }
    assert nets == {
        "eventline-dev-record_upload": (2, {"Destination": f"{QUEUE}-uploads-dlq"}),
        "eventline-dev-relay_alarm": (2, {"Destination": f"{QUEUE}-ci-events-dlq"}),
    }
    mapping = client.mapping
    assert mapping["DestinationConfig"]["OnFailure"] == {
        "Destination": f"{QUEUE}-notifications-dlq"
    }
    assert mapping["BisectBatchOnFunctionError"] is True
    assert mapping["MaximumRetryAttempts"] > 0
    assert 0 < mapping["MaximumRecordAgeInSeconds"] < 86400


def test_what_sends_to_its_own_queue_on_purpose_may_and_nothing_else() -> None:
    # AWS Lambda Developer Guide, "Use Lambda recursive loop detection to prevent infinite loops":
    # a chain ends after about 16 runs unless RecursiveLoop is Allow.
    client = FakeLambda()
    names = ("alert_ci_event", "api_handler", "authorize", "process_events", "reconcile")
    deployed = [{"resource_type": "lambda_function", "name": name} for name in names]

    assert event_sources.apply(client, "dev", PART, deployed) == 2
    assert event_sources.apply(client, "dev", PART, deployed) == 0

    assert client.recursion == {
        "eventline-dev-alert_ci_event": "Allow",
        "eventline-dev-process_events": "Allow",
    }


def test_what_is_set_is_left_alone() -> None:
    client = FakeLambda()
    event_sources.apply(client, "dev", PART, DEPLOYED)
    written = client.writes
    assert event_sources.apply(client, "dev", PART, DEPLOYED) == 0
    assert client.writes == written


def test_only_what_differs_is_set_again() -> None:
    client = FakeLambda()
    event_sources.apply(client, "dev", PART, DEPLOYED)
    client.mapping["MaximumRetryAttempts"] = -1
    assert event_sources.apply(client, "dev", PART, DEPLOYED) == 1
    assert client.mapping["MaximumRetryAttempts"] == event_sources.STREAM_RETRIES


def test_a_function_that_the_application_does_not_have_is_passed_over() -> None:
    client = FakeLambda()
    without = [part for part in DEPLOYED if part["name"] == "api_handler"]
    assert event_sources.apply(client, "dev", PART, without) == 0
    assert client.writes == 0


@pytest.mark.parametrize("code", ["InvalidParameterValueException", "ResourceConflictException"])
def test_rights_and_mappings_that_are_not_there_yet_are_waited_for(code: str) -> None:
    client = FakeLambda()
    client.refusals = [code] * 5
    assert event_sources.apply(client, "dev", PART, DEPLOYED) == 3


def test_a_refusal_that_stays_is_told() -> None:
    client = FakeLambda()
    client.refusals = ["InvalidParameterValueException"] * 100
    with pytest.raises(ClientError, match="InvalidParameterValueException"):
        event_sources.apply(client, "dev", PART, DEPLOYED)


def test_another_error_is_told_at_once() -> None:
    client = FakeLambda()
    client.refusals = ["AccessDeniedException"] * 2
    with pytest.raises(ClientError, match="AccessDeniedException"):
        event_sources.apply(client, "dev", PART, DEPLOYED)
    assert len(client.refusals) == 1
