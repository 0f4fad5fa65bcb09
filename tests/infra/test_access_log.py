"""The access log of the API: its fields, its log group, and when it is set."""

import json
import re
from typing import Any

import pytest

from infra import access_log, project, stack

QUEUE = "arn:aws-cn:sqs:cn-north-1:123456789012:eventline-dev-events"
PART = {"environment_variables": {"EVENTS_QUEUE_ARN": QUEUE}}
GROUP = "arn:aws-cn:logs:cn-north-1:123456789012:log-group:/aws/apigateway/eventline-dev"
API = {"rest_api_id": "abcd1234", "rest_api_url": "https://abcd1234.example.com/api/"}
ROLE_TEMPLATE = stack.read_template(project.ROOT / "infra" / "api-gateway-logs.yaml")
# Amazon API Gateway Developer Guide, "Variables for access logging for API Gateway".
KNOWN = {
    "authorizer.owner",  # a member of the context that the authorizer gives
    "error.responseType", "httpMethod", "identity.sourceIp", "integration.latency", "protocol",
    "requestId", "requestTimeEpoch", "resourcePath", "responseLatency", "responseLength", "status",
    "xrayTraceId",
}  # fmt: skip


class FakeGateway:
    """Keeps a stage's settings as API Gateway does, which wants a role before it logs."""

    def __init__(self, role: str = "arn:aws:iam::1:role/logs") -> None:
        self.role = role
        self.settings: dict[str, str] = {}
        self.calls: list[str] = []

    def get_account(self) -> dict[str, Any]:
        self.calls.append("get_account")
        return {"cloudwatchRoleArn": self.role} if self.role else {"features": ["UsagePlans"]}

    def get_stage(self, *, restApiId: str, stageName: str) -> dict[str, Any]:  # noqa: N803
        assert (restApiId, stageName) == ("abcd1234", "api")
        self.calls.append("get_stage")
        return {"accessLogSettings": dict(self.settings)} if self.settings else {}

    def update_stage(self, *, restApiId: str, stageName: str, patchOperations: Any) -> None:  # noqa: N803
        assert (restApiId, stageName) == ("abcd1234", "api")
        assert self.role
        self.calls.append("update_stage")
        for operation in patchOperations:
            assert operation["op"] == "replace"
            assert operation["path"].startswith("/accessLogSettings/")
            self.settings[operation["path"].rsplit("/", 1)[-1]] = operation["value"]


def test_it_is_set_once_and_again_when_it_differs(capsys: pytest.CaptureFixture[str]) -> None:
    # Given a stage that logs nothing
    client = FakeGateway()
    # When it is deployed
    assert access_log.apply(client, "dev", PART, API)
    # Then its requests are logged, and the next deployment changes nothing
    assert client.settings == {"destinationArn": GROUP, "format": access_log.FORMAT}
    assert "/aws/apigateway/eventline-dev" in capsys.readouterr().out
    client.calls.clear()
    assert not access_log.apply(client, "dev", PART, API)
    assert client.calls == ["get_stage"]
    # And one by hand is put right
    client.settings["format"] = "$context.path"
    assert access_log.apply(client, "dev", PART, API)
    assert client.settings["format"] == access_log.FORMAT


def test_without_a_role_of_the_account_it_is_told_and_nothing_is_changed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = FakeGateway(role="")
    assert not access_log.apply(client, "dev", PART, API)
    assert client.settings == {}
    assert "infra/api-gateway-logs.yaml" in capsys.readouterr().out


def test_a_line_is_json_with_the_request_id_and_nothing_that_a_client_could_hide() -> None:
    # Given the format as API Gateway fills it in, where it has nothing with a dash
    assert "\n" not in access_log.FORMAT
    line = json.loads(re.sub(r"\$context\.[A-Za-z.]+", "-", access_log.FORMAT))
    assert set(line.values()) == {"-"}
    # Then it has the id that the answer and the functions' lines have, and variables that exist
    used = {value.removeprefix("$context.") for value in access_log.FIELDS.values()}
    assert access_log.FIELDS["requestId"] == "$context.requestId"
    assert used <= KNOWN
    # And no path, no query string, no header, no agent, no claim
    for hidden in ("path", "customDomain", "userAgent", "claims", "tokenId", "identity.apiKey"):
        assert not any(value.startswith(hidden) for value in used)


@pytest.mark.parametrize("stage", ["local", "dev", "prod"])
def test_its_log_group_is_of_the_stack_and_has_a_retention(stage: str) -> None:
    template = stack.read_template()
    group = template["Resources"]["AccessLogGroup"]["Properties"]
    name = group["LogGroupName"]["Fn::Sub"].replace("${Stage}", stage)
    assert access_log.log_group_arn(stage, PART).endswith(f":log-group:{name}")
    assert group["RetentionInDays"] == {
        "Fn::FindInMap": ["Stages", {"Ref": "Stage"}, "LogRetention"]
    }
    assert template["Mappings"]["Stages"][stage]["LogRetention"] > 0


def test_the_role_of_the_account_outlives_its_stack() -> None:
    resources = ROLE_TEMPLATE["Resources"]
    assert {part["DeletionPolicy"] for part in resources.values()} == {"Retain"}
    (statement,) = resources["Role"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "apigateway.amazonaws.com"}
    assert resources["Account"]["Properties"] == {
        "CloudWatchRoleArn": {"Fn::GetAtt": "Role.Arn"}
    } or resources["Account"]["Properties"] == {
        "CloudWatchRoleArn": {"Fn::GetAtt": ["Role", "Arn"]}
    }
