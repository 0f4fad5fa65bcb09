"""Each function's role, as IAM has it after the deployment: what it says, and what it stops.

That the roles suffice is shown by every other test here, since the emulator enforces them.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.deployed_stage import Stage
from tests.support.emulator import ROOT

pytestmark = pytest.mark.emulator

PROBE = ROOT / "tests" / "support" / "role_probe.py"
FUNCTIONS = (
    "api_handler",
    "authorize",
    "process_events",
    "reconcile",
    "record_upload",
    "notify_owners",
    "alert_ci_event",
    "deliver",
    "relay_alarm",
)
WITHOUT_RESOURCE = {
    "sns:GetSubscriptionAttributes",
    "sns:SetSubscriptionAttributes",
    "sns:Unsubscribe",
}
"""Actions for which AWS knows no resource but `*`."""
DENIED = {"AccessDenied", "AccessDeniedException", "403"}
NOWHERE = "EVENT#00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Attempt:
    """One call. In its arguments `{stage}` stands for the stage, `{other}` for the other one."""

    service: str
    operation: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.service}.{self.operation} {self.arguments}"

    def on(self, stage: str) -> dict[str, Any]:
        """The payload for the probe."""
        other = {"local": "dev", "dev": "local"}[stage]
        text = json.dumps(self.arguments).replace("{stage}", stage).replace("{other}", other)
        return {
            "service": self.service,
            "operation": self.operation,
            "arguments": json.loads(text),
        }


def item(operation: str, table: str, **more: Any) -> Attempt:
    """A call on one item of a table; a key that no event has."""
    name = "Item" if operation == "put_item" else "Key"
    key = {name: {"pk": {"S": NOWHERE}}}
    return Attempt("dynamodb", operation, {"TableName": f"eventline-{table}", **key, **more})


def scan(table: str) -> Attempt:
    return Attempt("dynamodb", "scan", {"TableName": f"eventline-{table}"})


def thing(operation: str, bucket: str, key: str | None = None, **more: Any) -> Attempt:
    """A call on one object, if not named one of the layer's own; `bucket` is `<stage>-<layer>`."""
    stage, layer = bucket.split("-")
    name = f"eventline-{stage}-000000000000-{layer}"
    return Attempt("s3", operation, {"Bucket": name, "Key": key or f"{layer}/probe", **more})


def listing(bucket: str, prefix: str = "") -> Attempt:
    stage, layer = bucket.split("-")
    name = f"eventline-{stage}-000000000000-{layer}"
    return Attempt("s3", "list_objects_v2", {"Bucket": name, "Prefix": prefix})


def queue(operation: str, name: str, **more: Any) -> Attempt:
    url = f"https://sqs.us-east-1.amazonaws.com/000000000000/eventline-{name}"
    return Attempt("sqs", operation, {"QueueUrl": url, **more})


SLACK_URL = Attempt("ssm", "get_parameter", {"Name": "/eventline/{stage}/slack/webhook_url"})
EVERYWHERE = [
    item("get_item", "{other}-events"),
    item("get_item", "{other}-tokens"),
    item("delete_item", "{stage}-events"),
    scan("{stage}-events"),
    Attempt("dynamodb", "list_tables", {}),
    Attempt("dynamodb", "describe_table", {"TableName": "eventline-{stage}-events"}),
    thing("get_object", "{other}-bronze"),
    thing("delete_object", "{stage}-bronze"),
    thing("delete_object", "{stage}-silver"),
    thing("get_object", "{stage}-uploads"),
    listing("{stage}-uploads"),
    listing("{other}-bronze"),
    Attempt("s3", "list_buckets", {}),
    queue("purge_queue", "{stage}-events-dlq"),
    queue("receive_message", "{other}-events-dlq"),
    queue("send_message", "{other}-events", MessageBody="probe"),
    Attempt("lambda", "list_functions", {}),
    Attempt("lambda", "invoke", {"FunctionName": "eventline-{stage}-authorize"}),
    Attempt("iam", "list_roles", {}),
    Attempt("ssm", "get_parameter", {"Name": "/eventline/{other}/slack/webhook_url"}),
    Attempt("sts", "assume_role", {
        "RoleArn": "arn:aws:iam::000000000000:role/eventline-{stage}-reconcile",
        "RoleSessionName": "probe",
    }),
]  # fmt: skip
"""What no function may do."""

REFUSED = {
    "api_handler": [
        thing("put_object", "{stage}-silver", Body="x"),
        thing("put_object", "{stage}-bronze", key="outside", Body="x"),
        queue("receive_message", "{stage}-events"),
        queue("send_message", "{stage}-events-dlq", MessageBody="probe"),
        queue("purge_queue", "{stage}-uploads-dlq"),
        SLACK_URL,
    ],
    "authorize": [
        SLACK_URL,
        item("get_item", "{stage}-items"),
        item("get_item", "{stage}-events"),
        item("put_item", "{stage}-tokens"),
        item("delete_item", "{stage}-tokens"),
        scan("{stage}-tokens"),
        thing("get_object", "{stage}-bronze"),
        thing("put_object", "{stage}-bronze", Body="x"),
        listing("{stage}-bronze"),
        listing("{stage}-silver"),
        queue("send_message", "{stage}-events", MessageBody="probe"),
    ],
    "process_events": [
        item("get_item", "{stage}-tokens"),
        item("put_item", "{stage}-tokens"),
        scan("{stage}-tokens"),
        thing("put_object", "{stage}-bronze", key="outside", Body="x"),
        scan("{stage}-events"),
        scan("{stage}-schemas"),
    ],
    "reconcile": [
        item("get_item", "{stage}-tokens"),
        scan("{stage}-tokens"),
        thing("put_object", "{stage}-bronze", key="outside", Body="x"),
        thing("put_object", "{stage}-silver", key="outside", Body="x"),
        queue("receive_message", "{stage}-events"),
        queue("send_message", "{stage}-events-dlq", MessageBody="probe"),
    ],
}

REFUSED |= {
    function: [
        item("get_item", "{stage}-tokens"),
        item("get_item", "{stage}-events"),
        item("put_item", "{stage}-items"),
        thing("get_object", "{stage}-bronze"),
        thing("put_object", "{stage}-silver", Body="x"),
        queue("receive_message", "{stage}-events"),
        queue("send_message", "{stage}-events", MessageBody="probe"),
    ]
    for function in ("record_upload", "notify_owners", "alert_ci_event", "relay_alarm")
}
REFUSED["deliver"] = [
    item("get_item", "{stage}-tokens"),
    item("get_item", "{stage}-events"),
    item("put_item", "{stage}-items"),
    thing("get_object", "{stage}-bronze"),
    thing("put_object", "{stage}-silver", Body="x"),
    queue("receive_message", "{stage}-events"),
    queue("send_message", "{stage}-events", MessageBody="probe"),
]
for function in FUNCTIONS:
    if function != "api_handler":
        # Nobody but the API, for dead letters, may look into them.
        REFUSED[function].append(queue("receive_message", "{stage}-events-dlq"))
    if function not in ("alert_ci_event", "api_handler", "authorize"):
        REFUSED[function].append(SLACK_URL)

GRANTED = {
    "record_upload": queue("send_message", "{stage}-uploads-dlq", MessageBody="probe"),
    "notify_owners": queue("send_message", "{stage}-notifications-dlq", MessageBody="probe"),
    "alert_ci_event": queue(
        "get_queue_attributes",
        "{stage}-ci-events-queue",
        AttributeNames=["ApproximateNumberOfMessages"],
    ),
    "deliver": queue(
        "get_queue_attributes",
        "{stage}-deliveries",
        AttributeNames=["ApproximateNumberOfMessages"],
    ),
    "relay_alarm": queue("send_message", "{stage}-ci-events-queue", MessageBody="probe"),
    "api_handler": item("get_item", "{stage}-events"),
    "authorize": item("get_item", "{stage}-tokens"),
    "process_events": queue(
        "get_queue_attributes", "{stage}-events", AttributeNames=["ApproximateNumberOfMessages"]
    ),
    "reconcile": listing("{stage}-bronze", "bronze/"),
}
"""One thing each may do: that the probe gets through where it should."""


@pytest.fixture(scope="session")
def probes(stage: Stage, stages: dict[str, Stage]) -> Iterator[Stage]:
    """The stage, beside the other, with a probe for each function that runs under its role."""
    assert stage.name in stages
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as package:
        package.writestr("probe.py", PROBE.read_text())
    for function in FUNCTIONS:
        stage.functions.create_function(
            FunctionName=probe_name(stage, function),
            Runtime="python3.11",
            Handler="probe.handler",
            Role=role_of(stage, function),
            Code={"ZipFile": archive.getvalue()},
            Timeout=30,
        )
    yield stage
    for function in FUNCTIONS:
        stage.functions.delete_function(FunctionName=probe_name(stage, function))


def probe_name(stage: Stage, function: str) -> str:
    return f"probe-{stage.name}-{function}"


def role_of(stage: Stage, function: str) -> str:
    """The ARN of the role that a function runs under."""
    name = stage.function_name(function)
    role: str = stage.functions.get_function_configuration(FunctionName=name)["Role"]
    return role


def outcomes(stage: Stage, function: str, *attempts: Attempt) -> dict[str, str]:
    """What AWS says to calls under a function's role."""
    answer = stage.functions.invoke(
        FunctionName=probe_name(stage, function),
        Payload=json.dumps([attempt.on(stage.name) for attempt in attempts]).encode(),
    )
    told = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, told
    return dict(zip(map(str, attempts), told, strict=True))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_role_stops_what_is_not_the_functions_job(probes: Stage, function: str) -> None:
    told = outcomes(probes, function, *EVERYWHERE, *REFUSED[function])

    assert {name: code for name, code in told.items() if code not in DENIED} == {}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_role_lets_through_what_is(probes: Stage, function: str) -> None:
    assert list(outcomes(probes, function, GRANTED[function]).values()) == ["allowed"]


def test_every_function_has_a_role_of_its_own(stage: Stage) -> None:
    prefix = f"eventline-{stage.name}"
    pages = stage.functions.get_paginator("list_functions").paginate()
    deployed = {
        function["FunctionName"]: function["Role"]
        for page in pages
        for function in page["Functions"]
        if function["FunctionName"].startswith(prefix)
    }

    assert set(deployed) == {stage.function_name(function) for function in FUNCTIONS}
    assert len(set(deployed.values())) == len(FUNCTIONS)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_policy_names_its_actions_and_its_resources(stage: Stage, function: str) -> None:
    # Given
    iam = stage.emulator.client("iam")
    role = role_of(stage, function).rsplit("/", 1)[-1]

    # When
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    statements = [
        statement
        for name in names
        for statement in iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"][
            "Statement"
        ]
    ]

    # Then
    assert statements
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    for statement in statements:
        assert statement["Effect"] == "Allow"
        assert "NotAction" not in statement
        assert "NotResource" not in statement
        for action in as_list(statement["Action"]):
            service, _, verb = action.partition(":")
            assert service.isalnum(), action
            assert verb[:4].isalpha(), action
        if set(as_list(statement["Action"])) <= WITHOUT_RESOURCE:
            continue
        for resource in as_list(statement["Resource"]):
            assert resource.startswith("arn:aws:"), resource
            names = (f"eventline-{stage.name}", f"eventline/{stage.name}/")
            assert any(name in resource for name in names), resource


@pytest.mark.parametrize("function", FUNCTIONS)
def test_only_lambda_may_take_on_a_role(stage: Stage, function: str) -> None:
    iam = stage.emulator.client("iam")
    role = role_of(stage, function).rsplit("/", 1)[-1]

    trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]

    (statement,) = trust["Statement"]
    assert as_list(statement["Principal"]["Service"]) == ["lambda.amazonaws.com"]
    assert as_list(statement["Action"]) == ["sts:AssumeRole"]


def as_list(value: str | list[str]) -> list[str]:
    """A policy may give one thing as itself or as a list."""
    return value if isinstance(value, list) else [value]
