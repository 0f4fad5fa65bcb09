"""The condensed logs of `make up`."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from local.follow import FileTail, FunctionLogs, Pace, condense, without_refusals


def test_json_line_becomes_a_sentence() -> None:
    line = '{"time":"2026-01-01T00:00:00.000Z","level":"INFO","message":"event processed","id":"7"}'
    assert condense("worker", line) == "worker         INFO event processed id=7"


def test_metrics_in_a_sentence_are_told_without_their_directive() -> None:
    line = (
        '{"level":"INFO","message":"run ended","stage":"local","function":"process_events",'
        '"_aws":{"Timestamp":1,"CloudWatchMetrics":[]},"Stage":"local","Processed":2}'
    )
    assert condense("worker", line) == "worker         INFO run ended Processed=2"


def test_exception_of_a_json_line_is_kept() -> None:
    line = '{"level":"ERROR","message":"failed","exception":"Traceback: x"}'
    assert condense("worker", line) == "worker         ERROR failed\nTraceback: x"


@pytest.mark.parametrize(
    "line", ["", "  \n", "START RequestId: 1", "REPORT RequestId: 1", '{"_aws":{},"count":1}']
)
def test_line_without_news_is_left_out(line: str) -> None:
    assert condense("worker", line) is None


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "[1, 2]", "12"])
def test_other_line_stays_as_it_is(line: str) -> None:
    assert condense("worker", line) == f"worker         {line}"


def test_refused_token_is_one_line_and_a_crash_is_not() -> None:
    refused = ["Traceback (most recent call last):", '  File "app.py"', "Exception: Unauthorized"]
    crash = ["Traceback (most recent call last):", '  File "app.py"', "KeyError: 'x'"]
    lines = [("authorize", line) for line in [*refused, *crash, "done"]]
    kept = [line for _, line in without_refusals(lines)]
    assert kept == ["INFO no valid token: 401", *crash, "done"]


def test_file_tail_gives_only_new_complete_lines(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    tail = FileTail(path)
    assert list(tail.lines()) == []
    path.write_text("one\ntw")
    assert list(tail.lines()) == ["one"]
    with path.open("a") as file:
        file.write("o\n")
    assert list(tail.lines()) == ["two"]


class FakeLogs:
    """CloudWatch Logs with one group, whose events come a page each and without ids."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def get_paginator(self, _operation: str) -> "FakeLogs":
        return self

    def paginate(self, **_options: str) -> Iterator[dict[str, Any]]:
        yield {"logGroups": [{"logGroupName": "/aws/lambda/app-local-worker"}]}

    def filter_log_events(self, **options: Any) -> dict[str, Any]:
        events = [event for event in self.events if event["timestamp"] >= options["startTime"]]
        index = int(options.get("nextToken", "0"))
        page: dict[str, Any] = {"events": events[index : index + 1]}
        return {**page, "nextToken": str(index + 1)} if index + 1 < len(events) else page


def test_function_logs_are_read_once_each_in_order_of_time() -> None:
    logs = FakeLogs()
    reader = FunctionLogs(logs, "/aws/lambda/app-local", clock=lambda: 1.0)
    logs.events = [
        {"logStreamName": "s", "timestamp": 1300, "message": "third"},
        {"logStreamName": "s", "timestamp": 1100, "message": "first\nsecond"},
        {"logStreamName": "s", "timestamp": 900, "message": "before"},
    ]
    assert list(reader.lines()) == [("worker", "first"), ("worker", "second"), ("worker", "third")]
    assert list(reader.lines()) == []
    logs.events.append({"logStreamName": "s", "timestamp": 1200, "message": "late"})
    assert list(reader.lines()) == [("worker", "late")]


def test_looks_become_rare_while_there_is_no_news_and_frequent_with_it() -> None:
    # Given a minute without news
    now = [0.0]
    pace = Pace(lambda: now[0])
    looks = []
    for tick in range(1, 121):
        now[0] = tick / 2
        if pace.is_due():
            pace.looked()
            looks.append(now[0])
    assert looks[:3] == [0.5, 1.0, 2.0]
    assert {after - before for before, after in pairwise(looks[5:])} == {Pace.LATEST}
    # When there is some
    pace.heard()
    # Then the next look is soon
    assert not pace.is_due()
    now[0] += Pace.SOONEST
    assert pace.is_due()
