"""The logs that `make up` follows, condensed to a line each."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

_LIFECYCLE = ("START RequestId", "END RequestId", "REPORT RequestId", "INIT_START")
_KNOWN = ("time", "level", "message", "exception", "requestId", "stage", "function")
_METRICS = ("_aws", "Stage", "Class")
_MAX_FIELD = 120
# The emulator may list an event a moment after its time stamp.
_OVERLAP_MS = 5_000
_MAX_PAGES = 20


def condense(source: str, line: str) -> str | None:
    """One readable line from a log line; None when it says nothing to a person.

    JSON lines become "<level> <message> name=value ..."; metrics without a message and Lambda's own
    bookkeeping are left out; other lines stay as they are.
    """
    text = line.rstrip()
    if not text or text.startswith(_LIFECYCLE):
        return None
    try:
        record = json.loads(text)
    except ValueError:
        record = None
    if isinstance(record, dict):
        if "_aws" in record and "message" not in record:
            return None
        text = _sentence(record)
    return f"{source:<14} {text}"


def _sentence(record: dict[str, Any]) -> str:
    level = str(record.get("level", "INFO"))
    words = [level, str(record.get("message", ""))]
    for name, value in record.items():
        if name not in (*_KNOWN, *_METRICS) and value not in (None, "", [], {}):
            shown = value if isinstance(value, str) else json.dumps(value, default=str)
            words.append(f"{name}={shown[:_MAX_FIELD]}")
    sentence = " ".join(word for word in words if word)
    return f"{sentence}\n{record['exception']}" if record.get("exception") else sentence


def without_refusals(lines: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The lines, with the authorizer's traceback for a refused token made one plain line.

    Raising is how an authorizer says 401, so to Lambda's log a stranger looks like a crash.
    """
    held: list[tuple[str, str]] = []
    for source, line in lines:
        if held or line.startswith("Traceback (most recent call last)"):
            held.append((source, line))
            if len(held) > 1 and not line.startswith(" "):
                refused = line == "Exception: Unauthorized"
                yield from [(source, "INFO no valid token: 401")] if refused else held
                held = []
        else:
            yield source, line
    yield from held


class FileTail:
    """Lines appended to a file since it was last asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""

    def lines(self) -> Iterator[str]:
        """The complete lines that are new."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *complete, self._rest = (self._rest + data).split(b"\n")
        for line in complete:
            yield line.decode(errors="replace")


class Pace:
    """When to look for news again: soon after some, and less often the longer there are none.

    A look at the functions' logs is ten requests; two looks a second are a tenth of a core.
    """

    SOONEST, LATEST = 0.5, 3.0

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._pause = self.SOONEST
        self._due = monotonic()

    def is_due(self) -> bool:
        """Whether it is time for a look."""
        return self._monotonic() >= self._due

    def looked(self) -> None:
        """There was a look: the next one has time."""
        self._due = self._monotonic() + self._pause
        self._pause = min(self._pause * 1.5, self.LATEST)

    def heard(self) -> None:
        """There is news, and more may follow."""
        self._pause = self.SOONEST
        self._due = min(self._due, self._monotonic() + self._pause)


class FunctionLogs:
    """New log lines of every function of the stage, from CloudWatch Logs."""

    def __init__(self, logs: Any, prefix: str, clock: Callable[[], float] = time.time) -> None:
        """`logs` is a CloudWatch Logs client; `prefix` begins the log groups' names."""
        self._logs = logs
        self._prefix = prefix
        self._since = int(clock() * 1000)
        self._seen: dict[tuple[str, ...], int] = {}

    def lines(self) -> Iterator[tuple[str, str]]:
        """(function, line) pairs that are new, in order of time."""
        new = {
            key: event
            for group in self._groups()
            for event in self._events(group)
            if (key := _identity(group, event)) not in self._seen
        }
        for key, event in sorted(new.items(), key=lambda item: int(item[1]["timestamp"])):
            self._seen[key] = event["timestamp"]
            self._since = max(self._since, event["timestamp"] - _OVERLAP_MS)
            for line in event["message"].splitlines():
                yield key[0].removeprefix(self._prefix).lstrip("-") or "api_handler", line
        self._seen = {key: at for key, at in self._seen.items() if at >= self._since}

    def _groups(self) -> list[str]:
        pages = self._logs.get_paginator("describe_log_groups")
        found = pages.paginate(logGroupNamePrefix=self._prefix)
        return [group["logGroupName"] for page in found for group in page["logGroups"]]

    def _events(self, group: str) -> Iterator[dict[str, Any]]:
        token: dict[str, str] = {}
        for _ in range(_MAX_PAGES):
            page = self._logs.filter_log_events(logGroupName=group, startTime=self._since, **token)
            yield from page["events"]
            if not page.get("nextToken"):
                return
            token = {"nextToken": page["nextToken"]}


def _identity(group: str, event: dict[str, Any]) -> tuple[str, ...]:
    # The emulator gives events no id; a stream's equal lines of one millisecond count as one.
    names = ("logStreamName", "timestamp", "message")
    return (group, *(str(event.get(name, "")) for name in names))
