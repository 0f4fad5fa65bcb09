"""What a rehearsal changes in the copy of the checkout that it deploys.

`SHORTER` scales times down: a time-out of a function, and what has to be longer than that. A
safeguard is a piece of code that a promise rests on; `CHAOS_WITHOUT=<name> make chaos` deploys
without it, and has to end badly.

Not in the list, since others cover it: the sweep of bronze for payloads without an entry (clients
here repeat until they are answered, which makes the entry); that only what was sent becomes
ENQUEUED, and that what a batch left over is raised (`reconcile` sends again what stays open).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

WORKER_SECONDS, ALERT_SECONDS, NOTIFY_SECONDS, API_SECONDS = 16, 18, 18, 15
"""Time-outs of functions, and so the longest that one may live on after it did something."""
CLOCK_STEPS = (-6.0, -2.0, 0.0, 2.0, 6.0)
_TIMEOUTS = {
    "api_handler": API_SECONDS,
    "process_events": WORKER_SECONDS,
    "alert_ci_event": ALERT_SECONDS,
    "notify_owners": NOTIFY_SECONDS,
}


@dataclass(frozen=True)
class Change:
    """A text that occurs once in a file, and what takes its place."""

    file: str
    text: str
    replacement: str


SHORTER = (
    # Longer than the worker's time-out, as it must be: then the other delivery is over, or dead.
    Change(
        "chalicelib/events/finish.py",
        "BUSY_SECONDS = 30",
        f"BUSY_SECONDS = {WORKER_SECONDS + 1}",
    ),
    # Longer than the function's time-out and the widest step of the clock.
    Change(
        "chalicelib/alerts/send.py",
        "LEASE_SECONDS = 60",
        f"LEASE_SECONDS = {ALERT_SECONDS + 13}",
    ),
    Change(
        "chalicelib/items/notify.py",
        "LEASE_SECONDS = 60",
        f"LEASE_SECONDS = {NOTIFY_SECONDS + 13}",
    ),
)

SAFEGUARDS: Mapping[str, Change] = {
    # An id of the ledger is written once: two requests with one key cannot both be the first.
    "ledger-condition": Change(
        "chalicelib/events/ledger.py",
        'put = self._table.write("put_item", Item=item, ConditionExpression=is_new)',
        'put = self._table.write("put_item", Item=item)',
    ),
    # One key, one event.
    "key": Change(
        "chalicelib/events/ingest.py",
        "event_id = keyed_event_id(owner, identity.key, identity.kind)",
        "event_id = new_event_id(now, deps.random(10))",
    ),
    # A document is written once.
    "silver-condition": Change(
        "chalicelib/events/lake.py",
        'self._client.put_object(IfNoneMatch="*", **arguments)',
        'if arguments["Bucket"] != self.silver_bucket:\n'
        '                    arguments["IfNoneMatch"] = "*"\n'
        "                self._client.put_object(**arguments)",
    ),
    # A payload is never overwritten.
    "bronze-condition": Change(
        "chalicelib/events/lake.py",
        'self._client.put_object(IfNoneMatch="*", **arguments)',
        'if arguments["Bucket"] != self.bronze_bucket:\n'
        '                    arguments["IfNoneMatch"] = "*"\n'
        "                self._client.put_object(**arguments)",
    ),
    # A unit is done only when the bus took its entries.
    "bus-answer": Change(
        "chalicelib/events/bus.py",
        "codes += [aws_code(error)] * len(some)",
        "codes += [None] * len(some)",
    ),
    # Of two units that have an event, only the one that the ledger took publishes it.
    "ledger-decides": Change(
        "chalicelib/events/process_unit.py",
        "won = [one for one in lines if noted[one.event_id] is None]",
        "won = list(lines)",
    ),
    # The other takes its document back.
    "withdraw": Change(
        "chalicelib/events/process_unit.py",
        "    ends |= _withdraw(lost, deps)\n",
        "",
    ),
    # What a dead run left is found, and finished.
    "journal": Change(
        "chalicelib/events/journal.py",
        "return [_unit(from_item(item)) for item in items]",
        "return []",
    ),
    # A queued alert is deleted only after Slack took it.
    "slack-answer": Change(
        "chalicelib/alerts/send.py",
        "return [_Failed(leader, outcome, group)]",
        "return []",
    ),
    # A change that was told is not told again when its batch of the stream comes again.
    "told-once": Change(
        "chalicelib/aws/effects.py",
        "return Claim.DONE",
        "return Claim.CLAIMED",
    ),
    # What was not told keeps its batch in the stream.
    "stream-batch": Change(
        "chalicelib/items/notify.py",
        "    if left_over:\n",
        "    if False:\n",
    ),
    # What was left RECEIVED or ENQUEUED is sent again.
    "reconcile-stuck": Change(
        "chalicelib/recovery/reconcile.py",
        "    run.requeue_stuck()\n",
        "",
    ),
}


def without(names: Iterable[str]) -> list[Change]:
    """The changes that take safeguards out; `KeyError` for a name that there is not."""
    return [SAFEGUARDS[name] for name in names]


def alter(project: Path, changes: Iterable[Change], stage: str) -> None:
    """Make changes in a copy of the checkout, and shorten the time-outs of a stage's functions.

    Raises `ValueError` where a text does not occur just once.
    """
    for change in changes:
        path = project / change.file
        content = path.read_text()
        if content.count(change.text) != 1:
            raise ValueError(f"{change.file}: not just once: {change.text!r}")
        path.write_text(content.replace(change.text, change.replacement))
    path = project / ".chalice" / "config.json"
    config = json.loads(path.read_text())
    for function, seconds in _TIMEOUTS.items():
        config["stages"][stage]["lambda_functions"][function]["lambda_timeout"] = seconds
    path.write_text(json.dumps(config, indent=2) + "\n")
