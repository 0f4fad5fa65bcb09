"""Metrics without a call to CloudWatch: what a run counts is written as one log line at its end.

Source: Amazon CloudWatch User Guide, "Embedded metric format specification". Namespace `Eventline`,
dimension `Stage`, and `Class` beside it for `Failed`. Nothing that a sender chooses is a dimension.

| metric | what | unit |
|---|---|---|
| Accepted, Duplicate, Rejected | events at ingest: new, repeated, kept as REJECTED | Count |
| Processed, Failed | events that came to that end, once each; Failed by Class | Count |
| EndToEndLatency | from `receivedAt` to PROCESSED, a value for each event | Milliseconds |
| BatchSize | messages of a run of the worker | Count |
| HandedOver | deliveries that the worker sent to `deliver` | Count |
| Delivered, AttemptFailed | attempts at destinations: made, failed | Count |
| DestinationLatency | an attempt at a destination | Milliseconds |
| SlackLatency | a post to Slack, with the reading of its URL | Milliseconds |
| StuckEvents, GivenUpEvents | what a run of `reconcile` found, and gave up | Count |
| ComparedEvents, ComparedDocuments, UnrepairedDifferences | the stores compared | Count |
| SubscriptionsMade, SubscriptionsEnded | those of owners in SNS, which holds 200 | Count |
| a name for each kind of difference | the stores compared | Count |

What it costs: the metrics are in the line that sums up a run, which is written for requests anyway.
They add some 200 bytes to it, and 5 for each event of a batch; CloudWatch Logs takes a dollar for
two billion bytes. A run that is killed leaves its metrics unwritten: they tell how it goes, the
ledger what is so.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from chalicelib.core.log import log

NAMESPACE = "Eventline"
MOST_VALUES = 100
"""Values that one metric may have in one object."""
_MILLISECONDS = frozenset(("EndToEndLatency", "SlackLatency", "DestinationLatency"))
_run: ContextVar["Run"] = ContextVar("eventline-run")


class Run:
    """What is known of one invocation. Threads that work for it may add to it.

    `counts` are (name, number, class), `samples` (name, value). No dataclass, since making one
    takes a millisecond of every cold start.
    """

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.counts: list[tuple[str, float, str | None]] = []
        self.samples: list[tuple[str, float]] = []

    def documents(self, stage: str, millis: int) -> list[dict[str, Any]]:
        """The objects that CloudWatch reads the metrics from; none if there are none."""
        by_class: dict[str | None, dict[str, float]] = {}
        for name, number, kind in self.counts:
            sums = by_class.setdefault(kind, {})
            sums[name] = sums.get(name, 0) + number
        lists: dict[str, list[float]] = {}
        for name, value in self.samples:
            lists.setdefault(name, []).append(value)
        plain: list[dict[str, Any]] = []
        longest = max(map(len, lists.values()), default=0)
        for start in range(0, longest, MOST_VALUES):
            cut = {name: some[start : start + MOST_VALUES] for name, some in lists.items()}
            plain.append({name: some for name, some in cut.items() if some})
        sums = by_class.pop(None, {})
        if sums:
            plain[:1] = [{**sums, **(plain[0] if plain else {})}]
        return [
            *(_document({"Stage": stage}, values, millis) for values in plain),
            *(
                _document({"Stage": stage, "Class": str(kind)}, values, millis)
                for kind, values in sorted(by_class.items(), key=str)
            ),
        ]


@contextmanager
def measured(stage: str, message: str, *, always: bool = False) -> Iterator[Run]:
    """Collect what is counted and noted inside the block, and write it at the end, whatever that
    is: the line `message` with the run's fields and metrics. Without metrics it is written only if
    `always`; where the log level leaves it out, the metrics are written by themselves."""
    run = Run()
    token = _run.set(run)
    begun = time.monotonic()
    try:
        yield run
    finally:
        _run.reset(token)
        run.fields["ms"] = round((time.monotonic() - begun) * 1000)
        _write(run, stage, message, always=always)


def add(name: str, number: float = 1, failure_class: str | None = None) -> None:
    """Count; the run's sum is reported, a sum of 0 too."""
    run = _run.get(None)
    if run is not None:
        run.counts.append((name, number, failure_class))


def sample(name: str, value: float) -> None:
    """Report a value by itself, so that percentiles can be had."""
    run = _run.get(None)
    if run is not None:
        run.samples.append((name, value))


def note(**fields: Any) -> None:
    """Add fields to the line that sums up the run; None leaves one out."""
    run = _run.get(None)
    if run is not None:
        run.fields |= {name: value for name, value in fields.items() if value is not None}


def _write(run: Run, stage: str, message: str, *, always: bool) -> None:
    documents = run.documents(stage, time.time_ns() // 1_000_000)
    if log.isEnabledFor(logging.INFO) and (documents or always):
        log.info(message, extra={**run.fields, **(documents.pop(0) if documents else {})})
    for document in documents:
        print(json.dumps(document, separators=(",", ":")), flush=True)


def _document(dimensions: dict[str, str], values: dict[str, Any], millis: int) -> dict[str, Any]:
    metrics = [
        {"Name": name, "Unit": "Milliseconds" if name in _MILLISECONDS else "Count"}
        for name in values
    ]
    directive = {"Namespace": NAMESPACE, "Dimensions": [list(dimensions)], "Metrics": metrics}
    header = {"Timestamp": millis, "CloudWatchMetrics": [directive]}
    return {"_aws": header, **dimensions, **values}
