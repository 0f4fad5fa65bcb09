"""Alerts: what a message says, which alerts are equal, which group an alert belongs to."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert, to_builtins
from msgspec.structs import replace

from chalicelib.alerts.groups import AlertGroup, GroupState, candidate_ids, choose_group, later
from chalicelib.alerts.model import (
    TEXT_LIMIT,
    TITLE_LIMIT,
    Alert,
    Severity,
    SummaryDue,
    alarm,
    read_message,
    summary,
)
from chalicelib.aws.dynamodb import from_item, to_item
from chalicelib.events.alerts import event_failed
from chalicelib.events.model import Event, Failure

EVENTS = Path(__file__).parent.parent / "samples"
NOON = "2026-03-14T12:00:00.000Z"
WINDOW = 300


def sample(name: str) -> str:
    return (EVENTS / name).read_text()


def read(body: Any) -> Alert:
    """The alert in a message; a body that is no text is sent as JSON."""
    message = read_message(body if isinstance(body, str) else json.dumps(body))
    assert isinstance(message, Alert)
    return message


def make_event(event_id: str = "0195a000-0000-7000-8000-000000000001") -> Event:
    return Event(
        event_id=event_id,
        event_type="order.created",
        owner="alice",
        source="/events",
        subject=None,
        received_at=NOON,
        payload_sha256="0" * 64,
        payload_bytes=2,
        content_type="application/json",
        s3_key="bronze/x",
    )


def make_group(**fields: Any) -> AlertGroup:
    group = AlertGroup(
        group_id="g",
        alert=read("Disk full"),
        first=NOON,
        last=NOON,
        count=1,
        state=GroupState.SENDING,
        leaders=("m1",),
        lease_until="2026-03-14T12:01:00.000Z",
    )
    return replace(group, **fields)


def test_the_messages_of_a_pipeline_are_read() -> None:
    alert = read(sample("ci_error.json"))

    assert alert.title == "Terraform Apply Failed"
    assert alert.severity is Severity.ERROR
    assert alert.kind == "message"


def test_the_variables_of_a_github_run_are_read() -> None:
    alert = read(sample("ci_github_variables.json"))

    assert alert.title == "Terraform CI/CD failed"
    assert alert.severity is Severity.ERROR
    assert (alert.repository, alert.branch) == ("octo-org/infrastructure", "main")
    assert alert.link == "https://github.com/octo-org/infrastructure/actions/runs/12874123987"
    assert dict(alert.facts)["Actor"] == "octocat"
    assert dict(alert.facts)["Commit"] == "6dcb09b5b578"


def test_a_workflow_run_payload_is_read() -> None:
    alert = read(sample("ci_workflow_run.json"))

    assert alert.title == "CI failed"
    assert (alert.repository, alert.branch) == ("octo-org/web", "feature/login")
    assert alert.link == "https://github.com/octo-org/web/actions/runs/12874123987"
    assert alert.at == "2026-03-14T11:58:41.000Z"
    assert alert.severity is Severity.ERROR


@pytest.mark.parametrize(
    "fields",
    [
        {"repository": "o/r", "branch": "main", "run_id": 7, "workflow": "CI", "status": "failed"},
        {"repo": "o/r", "ref": "refs/heads/main", "runId": "7", "workflow": "CI", "result": "fail"},
        {
            "repository": {"full_name": "o/r"},
            "head_branch": "main",
            "run_url": "https://github.com/o/r/actions/runs/7",
            "workflow": "CI",
            "conclusion": "failure",
        },
    ],
)
def test_the_names_of_a_runs_fields_may_differ(fields: dict[str, Any]) -> None:
    alert = read(fields)

    assert (alert.repository, alert.branch) == ("o/r", "main")
    assert alert.link == "https://github.com/o/r/actions/runs/7"
    assert alert.severity is Severity.ERROR
    assert alert.kind == "workflow"


def test_a_message_beside_a_runs_fields_is_the_title() -> None:
    alert = read({"status": "error", "message": "Plan failed\nExit code 1", "repository": "o/r"})

    assert alert.title == "Plan failed"
    assert alert.text == "Plan failed\nExit code 1"
    assert alert.repository == "o/r"


@pytest.mark.parametrize(
    ("word", "severity"),
    [
        ("success", Severity.INFO),
        ("cancelled", Severity.WARNING),
        ("timed_out", Severity.ERROR),
        ("CRITICAL", Severity.CRITICAL),
        ("purple", Severity.WARNING),
    ],
)
def test_a_status_gives_the_severity(word: str, severity: Severity) -> None:
    assert read({"status": word, "message": "m"}).severity is severity


def test_a_severity_that_is_told_wins_over_the_status() -> None:
    told = {"status": "error", "severity": "critical", "message": "m"}

    assert read(told).severity is Severity.CRITICAL


def test_plain_text_is_shown_as_it_is() -> None:
    alert = read("Deploy failed on web-1\nno space left")

    assert (alert.kind, alert.severity) == ("text", Severity.WARNING)
    assert alert.title == "Deploy failed on web-1"
    assert alert.text == "Deploy failed on web-1\nno space left"


@pytest.mark.parametrize("value", [[1, 2], 7, None, {"a": {"b": [1]}}])
def test_other_json_is_shown_shortened(value: Any) -> None:
    alert = read(value)

    assert alert.kind == "json"
    assert json.loads(alert.text) == value
    assert len(read({"a": {"b": ["x" * 9000]}}).text) <= TEXT_LIMIT


@given(st.text() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_reading_never_fails_and_keeps_the_limits(body: str) -> None:
    message = read_message(body)

    assert isinstance(message, Alert)
    assert message.title
    assert len(message.title) <= TITLE_LIMIT
    assert len(message.text) <= TEXT_LIMIT
    stored = to_item(to_builtins(message))
    assert convert(from_item(stored), Alert) == message


@pytest.mark.parametrize(
    "ours",
    [
        {"kind": "summary", "groupId": "no id"},
        {"kind": "summary", "groupId": 7},
        {"kind": "alarm", "name": "a", "state": "PURPLE"},
        {"kind": "event-failed"},
        {"kind": "unheard-of"},
        {},
    ],
)
def test_a_message_of_ours_that_is_malformed_is_shown_and_not_lost(ours: Any) -> None:
    assert read({"eventline": ours}).kind == "json"


def test_a_summary_is_read_back() -> None:
    group_id = candidate_ids("key", NOON, WINDOW)[0]

    assert read_message(summary(group_id)) == SummaryDue(group_id)


def test_failed_events_are_equal_by_owner_type_class_and_code() -> None:
    # Given two failures that differ in event, time and message, and others
    failure = Failure("permanent", "schema", "no amount")
    first = read(event_failed(make_event(), failure, NOON))
    other_event = replace(make_event("0195a000-0000-7000-8000-000000000002"), subject="s")
    same = read(
        event_failed(other_event, replace(failure, message="no id"), "2026-03-14T12:04:00.000Z")
    )
    other_code = read(event_failed(make_event(), replace(failure, code="limit"), NOON))
    other_type = read(event_failed(replace(make_event(), event_type="order.paid"), failure, NOON))

    other_owner = read(event_failed(replace(make_event(), owner="bob"), failure, NOON))

    # Then only those of one owner, type, class and code are equal
    assert first.group_key == same.group_key
    others = {other_code.group_key, other_type.group_key, other_owner.group_key}
    assert len({first.group_key, *others}) == 4
    assert (first.owner, other_owner.owner) == ("alice", "bob")
    assert first.severity is Severity.ERROR
    assert "order.created" in first.title
    assert dict(first.facts)["Event"] == make_event().event_id


def test_alarm_and_ok_are_told_apart() -> None:
    told = {
        "reason": "r",
        "region": "us-east-1",
        "account": "123456789012",
        "metric": "AWS/SQS Age",
    }
    raised = read(alarm("Queue is old", "ALARM", NOON, **told))
    resolved = read(alarm("Queue is old", "OK", NOON, **told))

    assert raised.title == "ALARM: Queue is old"
    assert resolved.title == "Resolved: Queue is old"
    assert (raised.severity, resolved.severity) == (Severity.ERROR, Severity.INFO)
    assert raised.group_key != resolved.group_key
    assert raised.link == (
        "https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1"
        "#alarmsV2:alarm/Queue%20is%20old"
    )


def test_an_alarm_of_another_region_or_name_is_another_alert() -> None:
    keys = {
        read(alarm(name, "ALARM", NOON, region=region)).group_key
        for name in ("Queue-1", "Queue-2")
        for region in ("us-east-1", "eu-west-1")
    }

    assert len(keys) == 4


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"message": "Run #41 failed"}, {"message": "Run #42 failed"}),
        (
            {"message": "m", "runId": 1, "time": "2026-03-14T12:00:00Z", "repository": "o/r"},
            {"message": "m", "runId": 2, "time": "2026-03-14T12:01:00Z", "repository": "o/r"},
        ),
        ("failed at 2026-03-14T12:00:00Z", "failed at 2026-03-14 12:07:11.5+01:00"),
        (
            "request 0195a000-0000-7000-8000-000000000001",
            "request 0195a000-0000-7000-8000-000000000002",
        ),
        ("commit 6dcb09b failed", "commit 7fd1a60b01f91b314f59955a4e4d4e80d8edf11d failed"),
        ({"message": "m", "build_number": 1}, {"message": "m", "build_number": 2}),
    ],
)
def test_times_ids_and_run_numbers_do_not_tell_alerts_apart(one: Any, other: Any) -> None:
    assert read(one).group_key == read(other).group_key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"message": "m", "status": "error"}, {"message": "m", "status": "warning"}),
        ({"message": "m", "repository": "o/r"}, {"message": "m", "repository": "o/s"}),
        ({"message": "m", "branch": "main"}, {"message": "m", "branch": "dev"}),
        ({"message": "m", "environment": "prod"}, {"message": "m", "environment": "dev"}),
        ({"message": "m\nat a"}, {"message": "m\nat b"}),
        ("disk on web-1 full", "disk on web-2 full"),
        ({"a": {"x": 1}}, {"a": {"x": 2}}),
        (
            {"workflow": "CI", "repository": "o/r", "conclusion": "failure"},
            {"workflow": "Deploy", "repository": "o/r", "conclusion": "failure"},
        ),
    ],
)
def test_what_matters_tells_alerts_apart(one: Any, other: Any) -> None:
    assert read(one).group_key != read(other).group_key


def test_an_alert_of_an_open_window_joins_its_group_across_slots() -> None:
    # Given a group whose window opened just before the end of a slot
    early, late = "2026-03-14T12:04:59.000Z", "2026-03-14T12:05:01.000Z"
    (opened, _), candidates = (candidate_ids("k", moment, WINDOW) for moment in (early, late))
    known = {opened: make_group(group_id=opened, first=early)}

    # Then an alert of the next slot belongs to it, until the window is over
    assert choose_group(candidates, "m2", late, WINDOW, known, {}) == opened
    assert choose_group(candidates, "m2", late, WINDOW, {}, {opened: early}) == opened
    after = later(early, WINDOW)
    assert choose_group(candidates, "m2", after, WINDOW, known, {}) == candidates[0]
    assert choose_group(candidates, "m2", late, WINDOW, {}, {}) == candidates[0]


def test_the_leader_of_a_group_finds_it_again_when_an_older_one_turns_up() -> None:
    # Given a group that m2 opened, and one of the slot before that was opened only later
    early, late = "2026-03-14T12:04:59.000Z", "2026-03-14T12:05:01.000Z"
    own, before = candidate_ids("k", late, WINDOW)
    known = {
        own: make_group(group_id=own, first=late, leaders=("m2",)),
        before: make_group(group_id=before, first=early),
    }

    # Then m2 stays with its own
    assert choose_group((own, before), "m2", late, WINDOW, known, {}) == own
    assert choose_group((own, before), "m3", late, WINDOW, known, {}) == before


def test_only_the_leader_may_post_until_the_lease_is_over() -> None:
    within, after = "2026-03-14T12:00:30.000Z", "2026-03-14T12:01:00.000Z"
    sending = make_group()
    retrying = make_group(state=GroupState.RETRYING)

    assert not sending.may_post("m1", within)
    assert not sending.may_post("m2", within)
    assert sending.may_post("m2", after)
    assert retrying.may_post("m1", within)
    assert not retrying.may_post("m2", within)
    assert retrying.may_post("m2", after)
    assert make_group(state=GroupState.UNDELIVERED).may_post("m2", within)
    assert not make_group(state=GroupState.DELIVERED).may_post("m1", after)


def test_the_list_of_leaders_does_not_grow_for_ever() -> None:
    group = make_group()
    for number in range(100):
        group = group.led_by(f"n{number}", NOON, added=0, last=NOON, summary_due=False)

    assert group.leaders[-1] == "n99"
    assert len(group.leaders) <= 20


def test_a_disabled_destination_is_its_owners_alert() -> None:
    def told(**fields: str) -> Alert:
        named = {"kind": "destination-disabled", "destinationId": "d1", "owner": "shop"}
        alert = read_message(json.dumps({"eventline": {**named, **fields}}))
        assert isinstance(alert, Alert)
        return alert

    gone, failing = told(reason="gone"), told(reason="failing")
    assert (gone.kind, gone.owner) == ("destination-disabled", "shop")
    assert "410" in gone.text
    assert "five days" in failing.text
    # One alert for a destination and a reason, whenever it was.
    assert gone.group_key == told(reason="gone", at="2026-01-31T00:00:00.000Z").group_key
    assert gone.group_key != failing.group_key
    assert gone.group_key != told(reason="gone", destinationId="d2").group_key
