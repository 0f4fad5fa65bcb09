"""One id in the log of every function that an event passes, from the request to the last effect.

Read as CloudWatch Logs has it, from functions that run as deployed.
"""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.events.model import Status
from local.follow import FunctionLogs
from tests.platform.test_items import Owner
from tests.platform.test_reconcile import PAYLOAD, make_event
from tests.support.deployed_stage import Stage, unique, wait_for
from tests.support.slack_receiver import SlackReceiver

pytestmark = pytest.mark.emulator

Line = dict[str, Any]
_KEPT_SECONDS = 3.0
_ON_RECORDS = ("process_events", "alert_ci_event", "record_upload", "notify_owners")


class Logs:
    """The log lines of a stage's functions, from now on.

    The emulator may keep the last lines of a run until the next run of the same process. So whoever
    awaits one lets the functions run again after a while.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        client = stage.emulator.client("logs")
        self._reader = FunctionLogs(client, f"/aws/lambda/eventline-{stage.name}", _a_moment_ago)
        self.raw: list[str] = []
        self._lines: list[Line] = []

    def having(self, **fields: Any) -> list[Line]:
        """Those that came until now and have these fields, in order of the time at which they were
        written."""
        self._read()
        found = [line for line in self._lines if fields.items() <= line.items()]
        return sorted(found, key=lambda line: str(line["time"]))

    def await_lines(self, number: int, **fields: Any) -> list[Line]:
        """Those with these fields, once there are so many."""
        patience = time.monotonic() + _KEPT_SECONDS

        def look() -> list[Line] | None:
            nonlocal patience
            if time.monotonic() > patience:
                self._let_all_run()
                patience = time.monotonic() + _KEPT_SECONDS
            found = self.having(**fields)
            return found if len(found) >= number else None

        return wait_for(f"log lines with {fields}", look)

    def await_line(self, **fields: Any) -> Line:
        """The first line with these fields, once it is there."""
        return self.await_lines(1, **fields)[0]

    def _read(self) -> None:
        try:
            for function, text in self._reader.lines():
                self.raw.append(text)
                if text.startswith("{"):
                    self._lines.append({**json.loads(text), "log of": function})
        except ClientError as error:
            # The emulator cannot list its groups while it makes one; the next look has them.
            if error.response["Error"]["Code"] != "InternalError":
                raise

    def _let_all_run(self) -> None:
        """Let each function run with nothing to do; the authorizer with a token that nobody has."""
        self._stage.call("GET", "/events", f"evl_{uuid.uuid4().hex[:16]}_{'0' * 64}")
        self._stage.call("GET", "/health")
        self._stage.invoke("reconcile", {})
        for function in _ON_RECORDS:
            self._stage.invoke(function, {"Records": []})


def _a_moment_ago() -> float:
    return time.time() - 1


@pytest.fixture
def logs(local: Stage) -> Callable[[], Logs]:
    """Begins to read the logs of the stage `local`."""
    return lambda: Logs(local)


def test_one_id_leads_from_the_request_to_the_message_in_slack(
    local: Stage, slack: SlackReceiver, logs: Callable[[], Logs]
) -> None:
    # Given an event that fails for good, and so becomes an alert
    marker = unique("marker")
    token, read = local.token(unique("owner")), logs()
    # When it is sent
    body = {"eventType": "eventline.drill.permanent", "secret": f"payload-{marker}"}
    answer = local.post(body, token)
    request_id, event_id = answer.headers["X-Request-Id"], answer.json()["eventId"]
    assert local.follow(event_id).status is Status.FAILED
    # Then every function that had to do with it has written the one id. Each may be done before the
    # one that called it has written its line.
    story = read.await_lines(3, requestId=request_id)
    assert sorted((line["function"], line["message"]) for line in story) == [
        ("alert_ci_event", "alert delivered"),
        ("api_handler", "request answered"),
        ("process_events", "event failed"),
    ]
    assert {line["eventId"] for line in story} == {event_id}
    assert read.having(eventId=event_id) == story
    # And the authorizer, whose id the request names
    (answered,) = (line for line in story if line["function"] == "api_handler")
    admitted = read.await_lines(1, requestId=answered["authorizer"])
    assert [(line["function"], line["message"]) for line in admitted] == [
        ("authorize", "token accepted")
    ]
    # And each line says which function of which stage wrote it
    for line in [*story, *admitted]:
        assert (line["function"], line["stage"]) == (line["log of"], "local")
    # And no line at all has what was sent, or by whom it was allowed
    text = "\n".join(read.raw)
    assert f"payload-{marker}" not in text
    assert token.rsplit("_", 1)[1] not in text


def test_an_event_keeps_its_id_through_retries(local: Stage, logs: Callable[[], Logs]) -> None:
    token, read = local.token(unique("owner")), logs()
    answer = local.post({"eventType": "eventline.drill.transient", "failures": 2}, token)
    event_id = answer.json()["eventId"]
    assert local.follow(event_id).status is Status.PROCESSED
    done = read.await_line(message="event processed", eventId=event_id)
    assert len(read.await_lines(2, message="attempt failed", eventId=event_id)) == 2
    story = read.having(eventId=event_id)
    assert {line["requestId"] for line in story} == {answer.headers["X-Request-Id"]}
    assert done["latencyMs"] > 0


def test_an_event_that_leaves_its_batch_takes_the_id_along(
    local: Stage, logs: Callable[[], Logs]
) -> None:
    token, read = local.token(unique("owner")), logs()
    items = [{"eventType": "demo"}, {"eventType": "eventline.drill.transient", "failures": 1}]
    answer = local.call("POST", "/events/batch", token, json={"events": items})
    ids = [verdict["eventId"] for verdict in answer.json()["results"]]
    for event_id in ids:
        local.follow(event_id)
        read.await_line(message="event processed", eventId=event_id)
    for event_id in ids:
        found = {line["requestId"] for line in read.having(eventId=event_id)}
        assert found == {answer.headers["X-Request-Id"]}
    left = read.await_line(message="event left its message", eventId=ids[1])
    assert left["requestId"] == answer.headers["X-Request-Id"]


def test_what_reconcile_sends_again_has_the_id_of_its_run(
    local: Stage, logs: Callable[[], Logs]
) -> None:
    # Given a payload that the ledger has not heard of, whose request nobody knows any more
    event, read = make_event(), logs()
    local.lake().put_bronze(event, PAYLOAD)
    # When
    local.reconcile()
    local.follow(event.event_id)
    # Then its story begins with the run
    done = read.await_line(message="event processed", eventId=event.event_id)
    (found,) = read.await_lines(1, message="orphan recovered", eventId=event.event_id)
    assert found["log of"] == "reconcile"
    assert found["requestId"] == done["requestId"]
    ended = read.await_line(message="run ended", requestId=done["requestId"])
    assert ended["StuckEvents"] >= 1


def test_what_no_request_started_has_its_run_s_id(local: Stage, logs: Callable[[], Logs]) -> None:
    # When an upload comes, and an item changes
    owner, read = Owner(local), logs()
    key = f"uploads/{owner.name}/{unique('file')}"
    local.s3.put_object(Bucket=local.settings.uploads_bucket, Key=key, Body=b"x")
    item_id = owner.create(data={"n": 1})
    # Then both functions tell of it, each under the id of a run of its own
    recorded = read.await_line(message="upload recorded", owner=owner.name)
    told = read.await_line(message="owner notified", itemId=item_id)
    assert (recorded["log of"], told["log of"]) == ("record_upload", "notify_owners")
    assert told["function"] == "notify_owners"
    assert recorded["requestId"]
    assert recorded["requestId"] != told["requestId"]
    assert told["owner"] == owner.name


def test_metrics_come_with_the_lines(local: Stage, logs: Callable[[], Logs]) -> None:
    token, read = local.token(unique("owner")), logs()
    event_id = local.send({"eventType": "demo"}, token)
    local.follow(event_id)
    accepted = read.await_line(message="request answered", eventId=event_id)
    read.await_line(message="event processed", eventId=event_id)
    ended = read.await_line(message="run ended", Processed=1)
    for line in (accepted, ended):
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert (directive["Namespace"], line["Stage"]) == ("Eventline", "local")
        assert all(metric["Name"] in line for metric in directive["Metrics"])
    assert accepted["Accepted"] == 1
    assert len(ended["EndToEndLatency"]) == 1
