"""Logs: one JSON object a line, with the ids that belong to it."""

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.core.log import JsonFormatter, configure, correlation, log, log_context


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged, as it is written."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    log.addHandler(handler)
    yield stream
    log.removeHandler(handler)


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_fields(lines: io.StringIO) -> None:
    log.warning("event failed", extra={"eventId": "e", "attempt": 3})
    (line,) = read(lines)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {"level": "WARNING", "message": "event failed", "eventId": "e", "attempt": 3}


def test_the_context_is_on_every_line_inside_and_on_none_outside(lines: io.StringIO) -> None:
    with log_context(requestId="r"), log_context(owner="alice"):
        log.warning("inside")
    with log_context(requestId="r2"):
        log.warning("after the inner one")
    log.warning("outside")
    inside, after, outside = read(lines)
    assert (inside["requestId"], inside["owner"]) == ("r", "alice")
    assert after["requestId"] == "r2"
    assert "owner" not in after
    assert "requestId" not in outside


def test_the_context_ends_with_an_error_too(lines: io.StringIO) -> None:
    def fail() -> None:
        with log_context(requestId="r"):
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    log.warning("outside")
    assert "requestId" not in read(lines)[0]


def test_an_exception_stays_on_its_line_without_its_words(lines: io.StringIO) -> None:
    secret = "payload"

    def fail() -> None:
        try:
            raise ValueError(f"cannot take\n{secret}")
        except ValueError as error:
            raise KeyError(secret) from error

    try:
        fail()
    except KeyError:
        log.exception("it failed")
    (line,) = read(lines)
    story = line["exception"]
    assert story.index("ValueError") < story.index("which led to") < story.index("KeyError")
    assert __file__ in story
    assert secret not in story.replace("{secret}", "")


def test_what_aws_answered_is_told(lines: io.StringIO) -> None:
    answer = {"Error": {"Code": "AccessDenied", "Message": "not authorized: s3:PutObject"}}
    try:
        raise ClientError(answer, "PutObject")
    except ClientError:
        log.exception("it failed")
    assert "s3:PutObject" in read(lines)[0]["exception"]


def test_what_json_can_not_hold_is_written_as_text(lines: io.StringIO) -> None:
    log.warning("odd", extra={"value": {1, 2} - {2}})
    assert read(lines)[0]["value"] == "{1}"


def test_the_level_is_the_stages_and_the_lambda_runtimes_handlers_are_replaced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Given the handler that Lambda's runtime puts there
    root = logging.getLogger()
    handlers, level, own_level = root.handlers[:], root.level, log.level
    runtime = io.StringIO()
    root.addHandler(logging.StreamHandler(runtime))
    try:
        # When logging is configured
        configure("ERROR", "dev")
        log.warning("not shown")
        log.error("shown")
        logging.getLogger("botocore").info("not shown either")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        log.setLevel(own_level)
    # Then each line is written once, as JSON, from the level on
    assert runtime.getvalue() == ""
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["message"], line["stage"]) == ("shown", "dev")
    assert "function" not in line


@pytest.mark.parametrize(
    ("name", "function"),
    [("eventline-dev", "api_handler"), ("eventline-dev-process_events", "process_events")],
)
def test_a_line_says_which_function_wrote_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, function: str
) -> None:
    root = logging.getLogger()
    handlers, level, own_level = root.handlers[:], root.level, log.level
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", name)
    try:
        configure("INFO", "dev")
        log.info("shown")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        log.setLevel(own_level)
    line = json.loads(capsys.readouterr().out)
    assert (line["stage"], line["function"]) == ("dev", function)


def test_the_ids_that_go_on_with_a_message_are_those_of_the_context() -> None:
    assert correlation() == {}
    with log_context(requestId="r", owner="alice"):
        assert correlation() == {"requestId": "r"}
        with log_context(eventId="e"):
            assert correlation() == {"requestId": "r", "eventId": "e"}
        with log_context(eventId=None):
            assert correlation() == {"requestId": "r"}
