"""JSON logs, one object a line, with the ids that tie a request to its last effect.

A log call is a constant message plus `extra` fields; never a payload, never a token. Source of the
field names: the ledger's own, so that one search finds an event in both.
"""

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

log = logging.getLogger("eventline")

_context: ContextVar[dict[str, Any]] = ContextVar("eventline-log-context")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: time, level, message, context, `extra` fields."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": f"{self.formatTime(record, self.default_time_format)}.{record.msecs:03.0f}Z",
            "level": record.levelname,
            "message": record.getMessage(),
            **_context.get({}),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def configure(level: str) -> None:
    """Send every log line of the process to standard output as JSON, at `level` and above.

    Replaces the handlers that Lambda's runtime put on the root logger, which would write each
    line a second time.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(level)


def put_metrics(stage: str, **counts: float) -> None:
    """Report counts to CloudWatch, namespace `Eventline`, dimension `Stage`, without a call to it.

    Source: Amazon CloudWatch User Guide, "Embedded metric format specification".
    """
    metrics = [{"Name": name, "Unit": "Count"} for name in counts]
    directive = {"Namespace": "Eventline", "Dimensions": [["Stage"]], "Metrics": metrics}
    header = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]}
    print(json.dumps({"_aws": header, "Stage": stage, **counts}), flush=True)


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Add `fields` to every log line written inside the block."""
    token = _context.set({**_context.get({}), **fields})
    try:
        yield
    finally:
        _context.reset(token)
