"""Relaying what is said on the alarm topic to the queue of alerts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from chalicelib.alerts.model import Alert, Severity, read_message
from chalicelib.alerts.relay import relay_alarms
from chalicelib.aws.sns import AlarmTopic
from chalicelib.aws.sqs import Queue
from chalicelib.core.errors import UnavailableError

EVENTS = Path(__file__).parent.parent / "samples"


class FakeSqs:
    """SQS's batch action: `refused` counts the entries that it does not take."""

    def __init__(self, refused: int = 0) -> None:
        self.bodies: list[str] = []
        self.batches: list[int] = []
        self.refused = refused

    def send_message_batch(self, QueueUrl: str, Entries: Sequence[dict[str, str]]) -> Any:  # noqa: N803
        assert 1 <= len(Entries) <= 10
        assert sum(len(entry["MessageBody"].encode()) for entry in Entries) <= 262_144
        self.batches.append(len(Entries))
        failed, taken = Entries[: self.refused], Entries[self.refused :]
        self.bodies += [entry["MessageBody"] for entry in taken]
        return {
            "Successful": [{"Id": entry["Id"]} for entry in taken],
            "Failed": [{"Id": entry["Id"], "Code": "InternalError"} for entry in failed],
        }


class FakeSns:
    """SNS: what is published comes back as Lambda would get it."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def publish(self, **arguments: Any) -> None:
        assert len(arguments["Subject"]) <= 100
        attributes = {
            name: {"Type": value["DataType"], "Value": value["StringValue"]}
            for name, value in arguments["MessageAttributes"].items()
        }
        self.records.append(
            record(arguments["Message"], arguments["Subject"], MessageAttributes=attributes)
        )


def sample(name: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads((EVENTS / name).read_text())["Records"]
    return records


def record(message: str, subject: str | None = None, **more: Any) -> dict[str, Any]:
    return {"Sns": {"Message": message, "Subject": subject, **more}}


def relay(records: list[dict[str, Any]]) -> list[Alert]:
    """The alerts that the queue gets."""
    sqs = FakeSqs()
    assert relay_alarms(records, Queue(sqs, "url")) == len(sqs.bodies)
    read = [read_message(body) for body in sqs.bodies]
    return [alert for alert in read if isinstance(alert, Alert)]


def test_an_alarm_is_relayed_with_what_one_has_to_know() -> None:
    (alert,) = relay(sample("sns_alarm_alarm.json"))

    assert (alert.kind, alert.severity) == ("alarm", Severity.ERROR)
    assert alert.title == "ALARM: eventline-dev-DynamoDBWriteThrottleAlert"
    assert "Writes to S3ObjectEvents are throttled." in alert.text
    assert "Threshold Crossed: 1 out of the last 1 datapoints" in alert.text
    assert alert.at == "2026-03-14T11:59:12.345Z"
    assert dict(alert.facts) == {
        "Metric": "AWS/DynamoDB WriteThrottleEvents (TableName=eventline-dev-S3ObjectEvents)",
        "Region": "us-east-1",
        "Account": "123456789012",
    }
    assert alert.link is not None
    assert alert.link.startswith("https://us-east-1.console.aws.amazon.com/cloudwatch/")


def test_an_alarm_that_is_over_is_told_apart() -> None:
    raised, resolved = relay(sample("sns_alarm_alarm.json") + sample("sns_alarm_ok.json"))

    assert resolved.title == "Resolved: eventline-dev-DynamoDBWriteThrottleAlert"
    assert resolved.severity is Severity.INFO
    assert raised.group_key != resolved.group_key


@pytest.mark.parametrize("subject", [None, "From a stranger"])
@pytest.mark.parametrize(
    "own",
    [
        {"kind": "event-failed", "eventType": "t", "class": "c", "code": "x", "owner": "victim"},
        {"kind": "alarm", "name": "Queue is old", "state": "ALARM"},
        {"kind": "summary", "groupId": "0195d2f0-6c00-7a11-8b22-4c33d455e666"},
        {},
    ],
)
def test_nobody_on_the_topic_speaks_for_eventline(subject: str | None, own: Any) -> None:
    sqs = FakeSqs()
    relay_alarms([record(json.dumps({"eventline": own}), subject)], Queue(sqs, "url"))
    (alert,) = [read_message(body) for body in sqs.bodies]
    assert isinstance(alert, Alert)
    assert (alert.kind, alert.owner) == ("message", None)
    assert json.dumps(own) in alert.text


def test_a_state_of_insufficient_data_is_left_out() -> None:
    assert relay(sample("sns_alarm_insufficient_data.json")) == []


def test_all_records_are_relayed_ten_a_call() -> None:
    sqs = FakeSqs()
    count = relay_alarms(sample("sns_alarm_alarm.json") * 23, Queue(sqs, "url"))

    assert count == 23
    assert sqs.batches == [10, 10, 3]


def test_alarms_without_a_metric_are_relayed() -> None:
    # Given a composite alarm, and one on an expression
    fields = {"AlarmName": "All is bad", "NewStateValue": "ALARM", "AlarmRule": "ALARM(x)"}
    on_expression = {**fields, "Trigger": {"Metrics": [{"Expression": "m1/m2", "Id": "e1"}]}}

    composite, expression = relay([record(json.dumps(fields)), record(json.dumps(on_expression))])

    assert composite.title == expression.title == "ALARM: All is bad"
    assert composite.facts == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"AlarmArn": "x", "StateChangeTime": "yesterday", "Trigger": "none"},
        {
            "AlarmArn": None,
            "StateChangeTime": None,
            "Trigger": {"MetricName": "m", "Dimensions": 7},
        },
        {"Trigger": {"MetricName": "m", "Dimensions": ["x"]}},
    ],
)
def test_an_alarm_of_an_unusual_shape_is_relayed(fields: dict[str, Any]) -> None:
    (alert,) = relay([record(json.dumps({"AlarmName": "a", "NewStateValue": "ALARM", **fields}))])

    assert alert.title == "ALARM: a"


@pytest.mark.parametrize(
    "dimension", [{"name": "QueueName", "value": "q"}, {"Name": "QueueName", "Value": "q"}]
)
def test_the_dimensions_of_a_metric_are_told(dimension: dict[str, str]) -> None:
    trigger = {"Namespace": "AWS/SQS", "MetricName": "Age", "Dimensions": [dimension]}
    fields = {"AlarmName": "a", "NewStateValue": "ALARM", "Trigger": trigger}
    (alert,) = relay([record(json.dumps(fields))])

    assert dict(alert.facts)["Metric"] == "AWS/SQS Age (QueueName=q)"


def test_other_text_is_relayed_as_it_is() -> None:
    plain, titled = relay([record("Budget exceeded"), record("80 % are used", "AWS Budgets")])

    assert (plain.title, plain.kind) == ("Budget exceeded", "text")
    assert (titled.title, titled.text) == ("AWS Budgets", "80 % are used")


def test_what_a_pipeline_publishes_on_the_topic_is_read_as_on_the_queue() -> None:
    (alert,) = relay([record('{"status":"error","message":"Terraform Apply Failed"}')])

    assert (alert.title, alert.severity) == ("Terraform Apply Failed", Severity.ERROR)


def test_long_texts_fit_one_batch() -> None:
    records = [record("\u00fc" * 200_000, "\u00fc" * 100)] * 10

    assert len(relay(records)) == 10


def test_our_own_lines_do_not_come_back_as_alerts() -> None:
    # Given a line of ours, and one that lost its mark on the way
    sns = FakeSns()
    AlarmTopic(sns, "arn").publish("error: CI failed (Slack answered 404: no_service)")
    (marked,) = sns.records
    unmarked = record(marked["Sns"]["Message"], marked["Sns"]["Subject"])

    assert "CI failed" in marked["Sns"]["Message"]
    assert relay([marked, unmarked]) == []
    # Neither needs the other's sign.
    assert relay([record("any text", MessageAttributes=marked["Sns"]["MessageAttributes"])]) == []


def test_an_entry_that_sqs_refuses_makes_lambda_try_again() -> None:
    sqs = FakeSqs(refused=1)

    with pytest.raises(UnavailableError, match="1 of 2 alarms not relayed: InternalError"):
        relay_alarms(sample("sns_alarm_alarm.json") * 2, Queue(sqs, "url"))


def test_an_empty_notification_is_left_out() -> None:
    sqs = FakeSqs()

    assert relay_alarms([record("  ")], Queue(sqs, "url")) == 0
    assert sqs.batches == []
