"""Alerts on a deployed stage: from the queue, an alarm or a failed event, by Slack's door.

In stage `local`, the one that takes a webhook on loopback.
"""

import json
import random
import re
import string
import time
from typing import Any

import pytest

from chalicelib.events.model import Status
from tests.support.deployed_stage import Stage, unique, wait_for
from tests.support.mailbox import mailbox_of, open_mailbox, reason_of
from tests.support.slack_receiver import RESET, Answer, SlackReceiver

pytestmark = pytest.mark.emulator

FROM_THE_PIPELINE = '{"status":"error","message":"Terraform Apply Failed"}'
GONE = Answer(404, "no_service")
BUSY = Answer(429, "slow down", {"Retry-After": "1"})
BROKEN = Answer(500, "oops")
SILENT = Answer(hang=7.0)
"""Longer than the function waits for an answer."""


def word() -> str:
    """A word that no other test has, of letters alone: numbers make no difference to alerts."""
    return "".join(random.choices(string.ascii_lowercase, k=16))


def send(stage: Stage, *bodies: str) -> None:
    """Put messages on the queue of alerts."""
    url = stage.queue_url(stage.settings.ci_queue_arn)
    entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
    for start in range(0, len(entries), 10):
        answer = stage.sqs.send_message_batch(QueueUrl=url, Entries=entries[start : start + 10])
        assert not answer.get("Failed")


def failure(title: str) -> str:
    """What a pipeline sends."""
    return json.dumps({"status": "error", "message": title})


def groups(stage: Stage, title: str) -> list[dict[str, Any]]:
    """The alert groups with this title, as the API lists them."""
    listed = stage.call("GET", "/alerts", stage.admin, params={"limit": "100"}).json()["items"]
    return [group for group in listed if group["title"] == title]


def delivered(stage: Stage, title: str) -> dict[str, Any]:
    """The one group with this title, once it was delivered."""

    def look() -> list[dict[str, Any]]:
        return [group for group in groups(stage, title) if group["deliveredAt"]]

    wait_for(f"{title} to be delivered", look)
    (group,) = groups(stage, title)
    return group


def settle(stage: Stage) -> None:
    """Wait until an open group's window is over, and what was to be told of it is told."""
    time.sleep(stage.settings.alert_window + 3)


def repeats(slack: SlackReceiver, mark: str) -> int:
    """How many repeats the reports under this title tell of together."""
    told = re.findall(
        rf"ERROR: Repeated (?:(\d+) times|once more): {mark}", str(slack.titles(mark))
    )
    return sum(int(number or 1) for number in told)


def early_in_a_window(stage: Stage) -> None:
    """Wait for a time when messages sent together are all of one slot of time."""
    window = stage.settings.alert_window
    wait_for("an early moment", lambda: 0 < time.time() % window < window / 4)


def test_what_a_pipeline_sends_is_posted_once(local: Stage, slack: SlackReceiver) -> None:
    send(local, FROM_THE_PIPELINE)

    group = delivered(local, "Terraform Apply Failed")

    settle(local)
    (post,) = slack.posts("Terraform Apply Failed")
    assert post["text"] == "ERROR: Terraform Apply Failed"
    assert post["blocks"][0]["text"]["text"] == "🔴 ERROR: Terraform Apply Failed"
    assert (group["state"], group["count"], group["severity"]) == ("delivered", 1, "error")
    assert group["first"] <= group["deliveredAt"]


def test_text_that_is_no_json_shows_and_does_not_act(local: Stage, slack: SlackReceiver) -> None:
    mark = word()

    send(local, f"<!channel> {mark} & <https://example.org|here>")

    wait_for("the post", lambda: slack.posts(mark))
    (post,) = slack.posts(mark)
    assert "<" not in json.dumps(post)
    assert f"&lt;!channel&gt; {mark} &amp; &lt;https" in post["text"]


def test_a_storm_is_one_message_and_a_count(local: Stage, slack: SlackReceiver) -> None:
    # Given
    mark = word()
    early_in_a_window(local)

    # When
    send(local, *[failure(mark)] * 20)
    wait_for("the repeats to be told", lambda: repeats(slack, mark) == 19)
    settle(local)

    # Then there is one message, and each repeat is reported once; by one report, unless a busy
    # machine took some of them up after the window
    first, *reports = slack.titles(mark)
    assert first == f"ERROR: {mark}"
    assert repeats(slack, mark) == 19
    assert len(reports) < 10
    (group,) = groups(local, mark)
    assert (group["count"], group["reportedCount"]) == (20, 19)
    assert group["deliveredAt"] < group["summaryAt"]


def test_what_slack_does_not_take_is_sent_again(local: Stage, slack: SlackReceiver) -> None:
    # Given alerts that Slack refuses twice, each in its own way
    faults = {word(): fault for fault in (BROKEN, BUSY, SILENT, RESET)}
    for mark, fault in faults.items():
        slack.answer(mark, fault, fault)

    # When
    for mark in faults:
        send(local, failure(mark))
    counts = {mark: delivered(local, mark)["count"] for mark in faults}
    settle(local)

    # Then
    for mark, fault in faults.items():
        assert slack.refused(mark) == 2, fault
        assert slack.titles(mark) == [f"ERROR: {mark}"], fault
        assert counts[mark] == 1, fault
        assert mailbox_of(local, local.settings.ci_dlq_arn).with_text(mark) == [], fault


def test_no_alert_is_lost_while_slack_is_away(local: Stage, slack: SlackReceiver) -> None:
    # Given
    marks = [word() for _ in range(12)]
    with slack.down():
        # When
        send(local, *(failure(mark) for mark in marks))
        time.sleep(8)
        assert not any(group["deliveredAt"] for mark in marks for group in groups(local, mark))

    # Then
    for mark in marks:
        delivered(local, mark)
    settle(local)
    assert [slack.titles(mark) for mark in marks] == [[f"ERROR: {mark}"] for mark in marks]
    letters = mailbox_of(local, local.settings.ci_dlq_arn)
    assert not any(letters.with_text(mark) for mark in marks)


def test_what_slack_will_never_take_is_set_aside_and_said(
    local: Stage, slack: SlackReceiver
) -> None:
    # Given
    mark, other = word(), word()
    slack.answer(mark, *[GONE] * 10)
    watcher = open_mailbox(local, "sns.amazonaws.com")
    local.emulator.client("sns").subscribe(
        TopicArn=local.settings.alert_topic_arn, Protocol="sqs", Endpoint=watcher.arn
    )

    # When
    send(local, failure(mark), failure(other))
    delivered(local, other)
    letters = mailbox_of(local, local.settings.ci_dlq_arn)
    wait_for("the dead letter", lambda: letters.with_text(mark))
    wait_for("the line on the alarm topic", lambda: watcher.with_text(mark))
    settle(local)

    # Then
    (letter,) = letters.with_text(mark)
    assert letter["Body"] == failure(mark)
    assert reason_of(letter)["code"] == "http-404"
    assert reason_of(letter)["reason"] == "Slack answered 404: no_service"
    assert slack.refused(mark) == 1
    assert slack.posts(mark) == []
    (group,) = groups(local, mark)
    assert (group["state"], group["deliveredAt"]) == ("undelivered", None)
    assert len(watcher.with_text(mark)) == 1


def test_an_alarm_and_its_end_are_told_apart(local: Stage, slack: SlackReceiver) -> None:
    # Given
    name = f"eventline-{local.name}-DynamoDBWriteThrottleAlert"
    cloudwatch = local.emulator.client("cloudwatch")
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="at rest")
    settle(local)
    before = len(slack.posts(name))
    mark = word()

    # When
    for state in ("ALARM", "OK"):
        cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason=f"a drill {mark}")
        # A topic does not keep the order of what is published at about the same time.
        wait_for(state, lambda: len(slack.posts(mark)) > (state == "OK"))  # noqa: B023
    settle(local)

    # Then
    assert slack.titles(mark) == [f"ERROR: ALARM: {name}", f"INFO: Resolved: {name}"]
    assert len(slack.posts(name)) == before + 2
    assert delivered(local, f"ALARM: {name}")["kind"] == "alarm"


def test_an_event_that_fails_is_one_alert(local: Stage, slack: SlackReceiver) -> None:
    # Given: an event whose payload is gone before it is processed, and its message twice
    event_type = f"order.{word()}"
    with local.paused_worker():
        sent = json.dumps({"eventType": event_type, "blob": "x" * 100_000}).encode()
        event_id = local.send(sent)
        record = local.record(event_id)
        assert record is not None
        local.s3.delete_object(Bucket=record.s3_bucket, Key=record.event.s3_key)

    # When
    failed = local.follow(event_id)
    group = delivered(local, f"Event failed: {event_type}")
    settle(local)

    # Then
    assert failed.status is Status.FAILED
    (post,) = slack.posts(event_type)
    assert post["text"] == f"ERROR: Event failed: {event_type}"
    assert event_id in json.dumps(post["blocks"])
    assert (group["kind"], group["count"]) == ("event-failed", 1)


def test_what_is_not_read_is_an_alert_all_the_same(local: Stage, slack: SlackReceiver) -> None:
    mark = unique("odd")

    send(local, json.dumps([mark]), json.dumps({"eventline": {"kind": mark}}))

    wait_for("both posts", lambda: len(slack.posts(mark)) == 2)
