"""Owners who keep items under the faults, and are told of each change of theirs.

An item is made, changed some times and maybe removed, each change sent until it is answered for
good. Every change writes the next `step`, so that a repeat of one changes nothing: whatever was
made, was made once.
"""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.chaos.clients import persist
from tests.support.deployed_stage import Stage
from tests.support.mailbox import Mailbox, confirm, open_mailbox

_SCOPES = ("items:write", "items:read")
_PAUSE_SECONDS = (0.1, 1.0)
_SETTLE_SECONDS = 5.0
"""Longer than the proxy holds a call up. A try to make an item that arrives only after the item was
removed makes it again; docs/guarantees.md tells of it."""


@dataclass
class Shelf:
    """What keepers did, and the queues in which they are told of it."""

    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Changes that were acknowledged, by (item, change)."""
    unsure: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Changes that were given up: made or not."""
    wrong: list[str] = field(default_factory=list)
    mailboxes: list[Mailbox] = field(default_factory=list)

    def told(self) -> dict[tuple[str, str], list[str]]:
        """The texts of all notifications, by (item, change)."""
        found: dict[tuple[str, str], list[str]] = {}
        for mailbox in self.mailboxes:
            for body in mailbox.bodies():
                facts = {name: value["Value"] for name, value in body["MessageAttributes"].items()}
                found.setdefault((facts["itemId"], facts["change"]), []).append(body["Message"])
        return found

    def untold(self) -> int:
        """How many changes nobody was told of yet."""
        told = self.told()
        return sum(max(0, n - len(set(told.get(key, [])))) for key, n in self.changes.items())


@dataclass
class Keeper:
    """One owner of items; `doors` are the URLs of the API."""

    token: str
    doors: tuple[str, ...]
    numbers: random.Random
    shelf: Shelf

    def work(self, stop: threading.Event) -> None:
        """Keep items until it is time to stop."""
        with requests.Session() as session:
            while not stop.wait(self.numbers.uniform(*_PAUSE_SECONDS)):
                self._keep_one(session)

    def _keep_one(self, session: requests.Session) -> None:
        key = {"Idempotency-Key": f"item {self.numbers.getrandbits(64):x}"}
        answer, _ = self._send(session, "POST", "/items", key, {"step": 0})
        if answer is None or not self._is_right(answer, {201}):
            return  # Nobody knows its id; what may have been told of it is not counted.
        item_id, etag = answer.json()["itemId"], answer.headers["ETag"]
        self.shelf.changes[item_id, "created"] += 1
        for step in range(1, self.numbers.randrange(1, 5)):
            etag = self._replace(session, item_id, etag, step)
            if not etag:
                return
        if self.numbers.random() < 0.5:
            time.sleep(_SETTLE_SECONDS)
            self._delete(session, item_id)

    def _replace(self, session: requests.Session, item_id: str, etag: str, step: int) -> str:
        """Write a step; the item's new ETag, empty when that was given up."""
        revision = {"If-Match": self.numbers.choice((etag, "*"))}
        path = f"/items/{item_id}"
        answer, tries = self._send(session, "PUT", path, revision, {"step": step})
        if answer is not None and answer.status_code == 412 and tries > 1:
            # A try that was not answered may have been made.
            answer, _ = self._send(session, "GET", path, {})
            if answer is not None and answer.json().get("data") != {"step": step}:
                self.shelf.wrong.append(f"{item_id}: a change was refused and not made")
                return ""
        if answer is None:
            self.shelf.unsure[item_id, "updated"] += 1
            return ""
        if not self._is_right(answer, {200}):
            return ""
        self.shelf.changes[item_id, "updated"] += 1
        return str(answer.headers["ETag"])

    def _delete(self, session: requests.Session, item_id: str) -> None:
        answer, tries = self._send(session, "DELETE", f"/items/{item_id}", {"If-Match": "*"})
        if answer is None:
            self.shelf.unsure[item_id, "deleted"] += 1
        elif self._is_right(answer, {204, 404} if tries > 1 else {204}):
            self.shelf.changes[item_id, "deleted"] += 1

    def _is_right(self, answer: requests.Response, statuses: set[int]) -> bool:
        if answer.status_code in statuses:
            return True
        self.shelf.wrong.append(
            f"{answer.request.method} of an item: {answer.status_code} {answer.text[:200]}"
        )
        return False

    def _send(
        self,
        session: requests.Session,
        method: str,
        path: str,
        headers: dict[str, str],
        data: Any = None,
    ) -> tuple[requests.Response | None, int]:
        sent = {**headers, "Authorization": f"Bearer {self.token}"}
        return persist(session, self.numbers, self.doors, method, path, sent, data)


def employ(stage: Stage, doors: tuple[str, ...], number: int, seed: int) -> list[Keeper]:
    """Keepers with their queues and tokens; to be called while there are no faults."""
    shelf, keepers = Shelf(), []
    for name in (f"keeper-{index}" for index in range(number)):
        mailbox = open_mailbox(stage, "sns.amazonaws.com")
        token = stage.token(name, *_SCOPES)
        confirm(stage, mailbox, token)
        shelf.mailboxes.append(mailbox)
        keepers.append(Keeper(token, doors, random.Random(f"{seed}/{name}"), shelf))
    return keepers
