"""Waiting, after the faults, until nothing is on its way any more."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from tests.chaos.cargo import ORDER
from tests.chaos.havoc import Havoc
from tests.chaos.keepers import Shelf
from tests.chaos.platform import Rehearsal
from tests.chaos.safeguards import API_SECONDS
from tests.chaos.uploaders import Pier

STUCK_AFTER_SECONDS = API_SECONDS + 1
"""Longer than a request may live that nobody waits for any more."""
_NAMES = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
_PAUSE_SECONDS, _TOLD_EVERY_SECONDS = 2.0, 10.0
_CALM_ROUNDS = 2
_FEW_MESSAGES, _RECONCILE_SECONDS = 20, 60.0
"""While more than a few messages wait, `reconcile` runs only so often: it would just slow them."""


@dataclass(frozen=True)
class Waiting:
    """What is waited for; `words` tell the alerts that are to come to Slack."""

    running: Rehearsal
    havoc: Havoc
    shelf: Shelf
    pier: Pier
    words: list[str]
    not_before: float
    """When `reconcile` has come to look at the last unit (`time.monotonic`): it leaves a unit alone
    for as long as a request may be at work on it."""

    def until_quiet(self, seconds: float, tell: Callable[[str], None]) -> dict[str, int]:
        """Let `reconcile` run until nothing is open, all alerts came to Slack and owners were told
        of all changes; what is still open, when it takes too long."""
        deadline, told, calm = max(time.monotonic(), self.not_before) + seconds, 0.0, 0
        due = time.monotonic() + _RECONCILE_SECONDS
        while True:
            busy = self._busy({})
            report: dict[str, object] = {}
            if busy.get("messages", 0) <= _FEW_MESSAGES or time.monotonic() > due:
                report = self.havoc.reconcile(STUCK_AFTER_SECONDS)
                due = time.monotonic() + _RECONCILE_SECONDS
                busy = self._busy(report)
            early = time.monotonic() < self.not_before
            calm = 0 if busy or early or not report else calm + 1
            if calm >= _CALM_ROUNDS:
                return {}
            if time.monotonic() > deadline:
                return busy or {"reconcile": 1}
            if time.monotonic() > told + _TOLD_EVERY_SECONDS:
                told = time.monotonic()
                tell(f"waiting for {busy or 'nothing more'}")
            time.sleep(_PAUSE_SECONDS)

    def _busy(self, report: dict[str, object]) -> dict[str, int]:
        stage = self.running.stage
        answer = stage.sqs.get_queue_attributes(
            QueueUrl=stage.events_url, AttributeNames=list(_NAMES)
        )
        posts = "".join(body for _, body in self.running.slack.taken)
        busy = {
            "messages": sum(int(count) for count in answer["Attributes"].values()),
            "unfinished": _unfinished(self.running),
            # The queue of alerts is no sign: repeats wait there until their window is over.
            "alerts": sum(word not in posts for word in self.words),
            "notifications": self.shelf.untold(),
            "uploads": max(0, self.pier.unrecorded() - len(self.pier.letters.messages())),
        }
        busy["unlooked"] = 1 if report and not report.get("complete") else 0
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


def redrive_failed(running: Rehearsal, havoc: Havoc) -> None:
    """Take up again what the bad processor failed, now that the good one is back, and what ran out
    of attempts because AWS failed; with no faults any more every one is taken."""
    for choice in ({"eventType": ORDER}, {"errorClass": "transient"}, {"errorClass": "stuck"}):
        _redrive(running, havoc, dict(choice))


def _redrive(running: Rehearsal, havoc: Havoc, order: dict[str, str]) -> None:
    while True:
        answer = running.stage.call(
            "POST", "/dead-letters/redrive", running.stage.admin, json=order
        )
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            havoc.faults.append(f"redrive: {answer.status_code} {answer.text[:200]}")
            return
        done = answer.json()
        havoc.counts["failed events redriven"] += done["redriven"]
        if done["skipped"]:
            havoc.faults.append(f"redrive: {str(done['skipped'])[:200]}")
        if not done["more"]:
            return
        order["cursor"] = done["cursor"]
