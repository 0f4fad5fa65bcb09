"""JSON logs, one object a line, with the ids that tie a request to its last effect.

A log call is a constant message plus `extra` fields; never a payload, never a token. Source of the
field names: the ledger's own, so that one search finds an event in both. `requestId` is the id of
the request that brought an event; what no request started has the id of its own run. It travels in
the messages of the queues, so the lines of every function have it.
"""

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


def where(error: BaseException) -> str:
    """File and line that raised `error`: for logs, since its message may quote the payload."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


log = logging.getLogger("eventline")
_context: ContextVar[dict[str, Any]] = ContextVar("eventline-log-context")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CORRELATION = ("requestId", "eventId")


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: time, level, message, what is said of the process in
    every line (`process`), context, `extra` fields."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    converter = staticmethod(time.gmtime)

    def __init__(self, process: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._process = dict(process or {})

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": f"{self.formatTime(record, self.default_time_format)}.{record.msecs:03.0f}Z",
            "level": record.levelname,
            "message": record.getMessage(),
            **self._process,
            **_context.get({}),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        if record.exc_info and record.exc_info[1]:
            fields["exception"] = _in_words(record.exc_info[1])
        return json.dumps(fields, default=str, separators=(",", ":"))


def configure(level: str, stage: str) -> None:
    """Send every log line of the process to standard output as JSON, at `level` and above, each
    with the stage and the function.

    Replaces the handlers that Lambda's runtime put on the root logger, which would write each
    line a second time.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter({"stage": stage, **_function(stage)}))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(level)


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Add `fields` to every log line written inside the block."""
    token = _context.set({**_context.get({}), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def correlation() -> dict[str, str]:
    """The ids of the log context that go on with a message: `requestId` and `eventId`."""
    context = _context.get({})
    return {name: str(context[name]) for name in _CORRELATION if context.get(name)}


def _in_words(error: BaseException) -> str:
    """Where an error was raised, and what kind it is; its causes before it. Its message only if it
    is AWS's answer: others may quote what they could not take."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    earlier = "" if before is None else f"{_in_words(before)}\nwhich led to:\n"
    frames = "".join(traceback.format_tb(error.__traceback__))
    told = f": {error}" if isinstance(getattr(error, "response", None), dict) else ""
    return f"{earlier}{frames}{type(error).__name__}{told}"


def _function(stage: str) -> dict[str, str]:
    """The function's name as `app.py` has it; nothing outside of Lambda."""
    name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
    if not name:
        return {}
    return {"function": name.removeprefix(f"eventline-{stage}").lstrip("-") or "api_handler"}
