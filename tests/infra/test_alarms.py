"""The alarms, the dashboard and the saved queries: that all that can fail is watched, everyone
concerned is told, and what is counted is shown.

The loops of the template are written out here as CloudFormation writes them out.
"""

import json
import re
from typing import Any

import pytest

from chalicelib.core import metrics
from chalicelib.recovery.model import MADE_AGAIN, NOT_MADE, Difference
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


def widgets() -> list[dict[str, Any]]:
    """The widgets of the dashboard."""
    body = for_stage(PARTS["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
    assert "${" not in body.replace("${AWS::Region}", "")
    found: list[dict[str, Any]] = json.loads(body.replace("${AWS::Region}", "eu-west-1"))["widgets"]
    return found


def test_the_dashboard_shows_every_function_and_queue() -> None:
    shown = {value for widget in widgets() for value in flat(widget["properties"])}
    assert shown >= physical("AWS::SQS::Queue", "QueueName")
    assert shown >= {project.lambda_name(STAGE, function) for function in FUNCTIONS}


def test_the_widgets_stand_in_rows_and_none_on_another() -> None:
    taken = [
        (column, row)
        for widget in widgets()
        for column in range(widget["x"], widget["x"] + widget["width"])
        for row in range(widget["y"], widget["y"] + widget["height"])
    ]
    assert len(taken) == len(set(taken))
    assert {column for column, _ in taken} == set(range(24))


def test_the_dashboard_shows_every_metric_of_the_application() -> None:
    # Given what the application counts, as its code says it
    sources = [path.read_text() for path in (project.ROOT / "chalicelib").rglob("*.py")]
    named = {
        name
        for source in sources
        for name in re.findall(r'\b(?:add|sample)\(\s*"([A-Z]\w+)"', source)
    }
    outcomes = {"Accepted", "Duplicate", "Rejected"}
    differences = {
        name[0].upper() + name[1:] for name in (*map(str, Difference), MADE_AGAIN, NOT_MADE)
    }
    assert named >= {"Processed", "Failed", "EndToEndLatency", "BatchSize", "SlackLatency"}
    # Then the dashboard has each
    shown = {name for widget in widgets() for name in own_metrics(widget["properties"]["metrics"])}
    assert shown == named | outcomes | differences
    # And its docstring has each that is no difference
    assert metrics.__doc__
    assert [name for name in named | outcomes if name not in metrics.__doc__] == []


def test_failures_are_shown_by_class_and_latencies_as_percentiles() -> None:
    by_title = {widget["properties"]["title"]: widget["properties"] for widget in widgets()}
    processing = json.dumps(by_title["Events processed, and failed by class"]["metrics"])
    assert all(f'"{kind}"' in processing for kind in ("permanent", "transient", "unknown", "stuck"))
    for title in ("From received to processed (ms)", "Slack: a post (ms)", "API: latency (ms)"):
        stats = [metric[-1]["stat"] for metric in by_title[title]["metrics"]]
        assert stats == ["p50", "p99"]


def own_metrics(rows: list[list[Any]]) -> set[str]:
    """The names of the application's metrics in a widget, whose rows may leave out what the one
    before says: `.` stands for one word, `...` for all but the last."""
    found, before = set(), [""]
    for row in rows:
        words = [word for word in row if isinstance(word, str)]
        if words and words[0] == "...":
            words = [*before[: len(before) - len(words) + 1], *words[1:]]
        before = [
            before[number] if word == "." else word for number, word in enumerate(words)
        ] or before
        if before[0] == "Eventline":
            found.add(before[1])
    return found


# ------------------------------------------------------------------------ queries

QUERIES = {
    for_stage(part["Properties"]["Name"]["Fn::Sub"]): for_stage(part["Properties"])
    for part in PARTS.values()
    if part["Type"] == "AWS::Logs::QueryDefinition"
}


def test_the_queries_an_operator_asks_are_saved() -> None:
    assert {name.partition("/")[2] for name in QUERIES} == {
        "one event's story",
        "one request's story",
        "failures by class and code",
        "slowest events",
        "rejected by owner",
        "who was refused a token",
    }
    assert all(name.startswith(f"eventline-{STAGE}/") for name in QUERIES)


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_a_query_asks_of_groups_that_exist_for_lines_that_are_written(name: str) -> None:
    query = QUERIES[name]
    groups = {group["Fn::Sub"] for group in query["LogGroupNames"]}
    assert groups <= physical("AWS::Logs::LogGroup", "LogGroupName")
    if "story" in name:
        # The access log knows requests, and no events.
        of_the_api = {f"/aws/apigateway/eventline-{STAGE}"} if "event's" in name else set()
        assert groups == physical("AWS::Logs::LogGroup", "LogGroupName") - of_the_api
    source = "".join(path.read_text() for path in (project.ROOT / "chalicelib").rglob("*.py"))
    text = query["QueryString"]
    for clause in re.findall(r"message (?:=|in) (.+)", text):
        for message in re.findall(r'"([^"]+)"', clause):
            assert f'"{message}"' in source, message
    fields = set(re.findall(r"\b[a-z]+(?:[A-Z]\w+)?\b", re.sub(r'"[^"]*"', "", text)))
    written = set(re.findall(r"(\w+)=|\"(\w+)\":|\[\"(\w+)\"\]", source))
    known = {word for words in written for word in words} | KEYWORDS
    assert fields <= known, fields - known


KEYWORDS = {
    "fields", "filter", "stats", "count", "count_distinct", "by", "as", "sort", "desc", "asc",
    "limit", "in", "or", "latest", "earliest", "timestamp", "attempts", "events", "example",
    "rejected", "refused", "first", "last",
}  # fmt: skip


def test_only_the_emulator_goes_without_the_queries() -> None:
    for part in PARTS.values():
        if part["Type"] == "AWS::Logs::QueryDefinition":
            assert part["Condition"] == "SavesQueries"
        else:
            assert "Condition" not in part
    assert TEMPLATE["Parameters"]["SavedQueries"]["Default"] == "true"


def test_the_template_is_not_too_long_to_be_sent() -> None:
    # AWS CloudFormation User Guide, "Understand CloudFormation quotas": 51,200 bytes.
    assert stack.ALARMS.stat().st_size < 50_000


def flat(properties: dict[str, Any]) -> set[str]:
    """The words in a widget's metrics."""
    return {word for metric in properties["metrics"] for word in metric if isinstance(word, str)}
