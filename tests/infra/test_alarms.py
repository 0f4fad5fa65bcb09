"""The alarms and the dashboard: that all that can fail is watched, and everyone concerned is told.

The loops of the template are written out here as CloudFormation writes them out.
"""

import json
import re
from typing import Any

import pytest

from infra import project, stack

TEMPLATE = stack.read_template(stack.ALARMS)
RESOURCES = stack.read_template()["Resources"]
CONFIG = project.read_config(project.ROOT)
STAGE = "dev"
FUNCTIONS = sorted(CONFIG["stages"][STAGE]["lambda_functions"])
LOOP = "Fn::ForEach::"


def written_out(resources: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The resources with every loop's body once for each of its values."""
    made = {}
    for name, part in resources.items():
        if not name.startswith(LOOP):
            made[name] = part
            continue
        variable, values, body = part
        for value in values:
            text = json.dumps(body).replace(f"${{{variable}}}", value)
            plain = re.sub(r"[^A-Za-z0-9]", "", value)
            made |= json.loads(text.replace(f"&{{{variable}}}", plain))
    return made


def for_stage(value: Any) -> Any:
    """A value of the template as it is for the stage."""
    return json.loads(json.dumps(value).replace("${Stage}", STAGE))


PARTS = written_out(TEMPLATE["Resources"])
ALARMS: dict[str, dict[str, Any]] = {
    for_stage(part["Properties"]["AlarmName"]["Fn::Sub"]): for_stage(part["Properties"])
    for part in PARTS.values()
    if part["Type"] == "AWS::CloudWatch::Alarm"
}


def watched(namespace: str, metric: str) -> dict[str, dict[str, Any]]:
    """The alarms on a metric, by the value of their first dimension."""
    return {
        next(iter(alarm["Dimensions"]))["Value"]["Fn::Sub"]: alarm
        for alarm in ALARMS.values()
        if (alarm["Namespace"], alarm["MetricName"]) == (namespace, metric)
    }


def physical(kind: str, key: str) -> set[str]:
    """The names that resources of a type have in the stage."""
    return {
        for_stage(part["Properties"][key]["Fn::Sub"])
        for part in RESOURCES.values()
        if part["Type"] == kind
    }


def test_no_two_alarms_share_a_name() -> None:
    kinds = [part["Type"] for part in PARTS.values()]
    assert kinds.count("AWS::CloudWatch::Alarm") == len(ALARMS)
    assert all(name.startswith(f"eventline-{STAGE}-") for name in ALARMS)


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_an_alarm_tells_when_it_rises_and_when_it_clears(name: str) -> None:
    alarm = ALARMS[name]
    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlertTopicArn"}]
    assert alarm["AlarmDescription"]
    # What is measured once an hour holds until it is measured again.
    rarely = alarm["MetricName"] == "UnrepairedDifferences"
    assert alarm["TreatMissingData"] == ("ignore" if rarely else "notBreaching")


def test_writes_of_uploads_and_their_throttling_are_watched() -> None:
    activity = ALARMS[f"eventline-{STAGE}-DynamoDBWriteActivityAlert"]
    throttle = ALARMS[f"eventline-{STAGE}-DynamoDBWriteThrottleAlert"]
    assert activity["MetricName"] == "ConsumedWriteCapacityUnits"
    assert throttle["MetricName"] == "WriteThrottleEvents"
    for alarm in (activity, throttle):
        assert alarm["Namespace"] == "AWS/DynamoDB"
        (dimension,) = alarm["Dimensions"]
        assert dimension["Value"]["Fn::Sub"] == f"eventline-{STAGE}-S3ObjectEvents"
        assert dimension["Value"]["Fn::Sub"] in physical("AWS::DynamoDB::Table", "TableName")


def test_every_queue_is_watched() -> None:
    queues = physical("AWS::SQS::Queue", "QueueName")
    dead = {name for name in queues if name.endswith("-dlq")}
    letters = watched("AWS/SQS", "ApproximateNumberOfMessagesVisible")
    assert set(letters) == dead
    assert all(alarm["Threshold"] == 1 for alarm in letters.values())
    assert set(watched("AWS/SQS", "ApproximateAgeOfOldestMessage")) == queues - dead


@pytest.mark.parametrize("metric", ["Errors", "Throttles"])
def test_every_function_is_watched(metric: str) -> None:
    names = {project.lambda_name(STAGE, function) for function in FUNCTIONS}
    assert set(watched("AWS/Lambda", metric)) == names


def test_refused_tokens_are_no_alarm_until_there_are_many() -> None:
    alarms = watched("AWS/Lambda", "Errors")
    refused = alarms.pop(project.lambda_name(STAGE, "authorize"))
    assert refused["Threshold"] >= 10 * max(alarm["Threshold"] for alarm in alarms.values())


def test_the_stream_s_reader_the_api_and_reconcile_s_findings_are_watched() -> None:
    reader = project.lambda_name(STAGE, "notify_owners")
    assert set(watched("AWS/Lambda", "IteratorAge")) == {reader}
    (faults,) = watched("AWS/ApiGateway", "5XXError").values()
    assert faults["Dimensions"] == [
        {"Name": "ApiName", "Value": {"Fn::Sub": f"eventline-{STAGE}"}},
        {"Name": "Stage", "Value": CONFIG["api_gateway_stage"]},
    ]
    ours = [alarm for alarm in ALARMS.values() if alarm["Namespace"] == "Eventline"]
    assert {alarm["MetricName"] for alarm in ours} == {"StuckEvents", "UnrepairedDifferences"}
    for alarm in ours:
        assert alarm["Dimensions"] == [{"Name": "Stage", "Value": {"Ref": "Stage"}}]


def test_stages_differ_in_one_place() -> None:
    stages = TEMPLATE["Mappings"]["Stages"]
    assert set(stages) == set(CONFIG["stages"])
    assert set(TEMPLATE["Parameters"]["Stage"]["AllowedValues"]) == set(stages)
    assert len({tuple(sorted(column)) for column in stages.values()}) == 1


def test_the_dashboard_shows_every_function_and_queue() -> None:
    body = for_stage(PARTS["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
    dashboard = json.loads(body.replace("${AWS::Region}", "eu-west-1"))
    shown = {value for widget in dashboard["widgets"] for value in flat(widget["properties"])}
    assert shown >= physical("AWS::SQS::Queue", "QueueName")
    assert shown >= {project.lambda_name(STAGE, function) for function in FUNCTIONS}
    places = {(widget["x"], widget["y"]) for widget in dashboard["widgets"]}
    assert len(places) == len(dashboard["widgets"])


def flat(properties: dict[str, Any]) -> set[str]:
    """The words in a widget's metrics."""
    return {word for metric in properties["metrics"] for word in metric if isinstance(word, str)}
