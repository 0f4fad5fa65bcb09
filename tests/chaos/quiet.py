"""Waiting, after the faults, until nothing is on its way any more."""

import json
import time
from collections.abc import Callable
from http import HTTPStatus

from tests.chaos.cargo import ORDER
from tests.chaos.havoc import Havoc
from tests.chaos.platform import Rehearsal
from tests.chaos.safeguards import API_SECONDS

STUCK_AFTER_SECONDS = API_SECONDS + 1
"""Longer than a request may live that nobody waits for any more."""
_NAMES = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
_PAUSE_SECONDS, _TOLD_EVERY_SECONDS = 2.0, 10.0
_CALM_ROUNDS = 2


def wait_until_quiet(
    running: Rehearsal,
    havoc: Havoc,
    words: list[str],
    seconds: float,
    tell: Callable[[str], None],
) -> dict[str, int]:
    """Let `reconcile` run until nothing is open, and all alerts, told by their `words`, came to
    Slack; what is still open, when it takes too long."""
    deadline, told, calm = time.monotonic() + seconds, 0.0, 0
    while True:
        report = havoc.reconcile(STUCK_AFTER_SECONDS)
        busy = _busy(running, words, report)
        calm = 0 if busy or not report else calm + 1
        if calm >= _CALM_ROUNDS:
            return {}
        if time.monotonic() > deadline:
            return busy or {"reconcile": 1}
        if time.monotonic() > told + _TOLD_EVERY_SECONDS:
            told = time.monotonic()
            tell(f"waiting for {busy or 'nothing more'}")
        time.sleep(_PAUSE_SECONDS)


def _busy(running: Rehearsal, words: list[str], report: dict[str, object]) -> dict[str, int]:
    stage = running.stage
    answer = stage.sqs.get_queue_attributes(QueueUrl=stage.events_url, AttributeNames=list(_NAMES))
    posts = json.dumps(running.slack.posts(""))
    busy = {
        "messages": sum(int(count) for count in answer["Attributes"].values()),
        "unfinished": _unfinished(running),
        # The queue of alerts is no sign: repeats wait there until their window is over.
        "alerts": sum(word not in posts for word in words),
    }
    for name in ("stuck", "orphans", "waiting"):
        number = report.get(name, 0)
        busy[name] = number if isinstance(number, int) else 0
    return {name: number for name, number in busy.items() if number}


def _unfinished(running: Rehearsal) -> int:
    """How many events the ledger has as not at their end."""
    pages = running.stage.dynamodb.get_paginator("scan").paginate(
        TableName=running.stage.settings.events_table,
        FilterExpression="#status IN (:received, :enqueued)",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":received": {"S": "RECEIVED"}, ":enqueued": {"S": "ENQUEUED"}},
        Select="COUNT",
    )
    return sum(page["Count"] for page in pages)


def redrive_orders(running: Rehearsal, havoc: Havoc) -> None:
    """Take up again what the bad processor failed, now that the good one is back; with no faults
    any more every one is taken."""
    order: dict[str, object] = {"eventType": ORDER}
    while True:
        answer = running.stage.call(
            "POST", "/dead-letters/redrive", running.stage.admin, json=order
        )
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            havoc.faults.append(f"redrive: {answer.status_code} {answer.text[:200]}")
            return
        done = answer.json()
        havoc.counts["failed orders redriven"] += done["redriven"]
        if done["skipped"]:
            havoc.faults.append(f"redrive: {str(done['skipped'])[:200]}")
        if not done["more"]:
            return
        order["cursor"] = done["cursor"]
