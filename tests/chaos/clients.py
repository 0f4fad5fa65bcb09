"""Clients that send as real ones do: many at once, impatient, and again until they have an answer.

A request goes to either of two doors, the deployed API or `chalice local`, and a repeat may go to
the other. What a client was told is noted on the things that it sent.
"""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.chaos.cargo import Parcel, Sender, Thing, Wish

TRIES = 14
PATIENCE_SECONDS = 40.0
_PATIENCE = (0.4, PATIENCE_SECONDS)
"""Seconds that a client waits for an answer: now and then too short, mostly enough."""
AGAIN = {429, 500, 502, 503, 504}


@dataclass
class Book:
    """What was sent and what came back; shared by all clients."""

    things: list[Thing] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    """Answers that say to try again: status, and the code in the body or its text."""
    wrong: list[str] = field(default_factory=list)
    """Answers that no client should get."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, parcel: Parcel) -> int:
        """Enter a parcel; how many things were sent by now."""
        with self.lock:
            self.things += parcel.things
            self.counts["parcels"] += 1
            return len(self.things)

    def count(self, name: str, by: int = 1) -> None:
        """Count something."""
        with self.lock:
            self.counts[name] += by

    def answered(self) -> int:
        """How many requests were answered for good."""
        with self.lock:
            return sum(n for status, n in self.statuses.items() if status not in AGAIN)

    def complain(self, text: str) -> None:
        """Note a wrong answer."""
        with self.lock:
            self.wrong.append(text)


@dataclass(frozen=True)
class Doors:
    """Where requests go: URLs, and the token of each owner."""

    urls: tuple[str, ...]
    tokens: dict[str, str]


@dataclass(frozen=True)
class Load:
    """How much is sent, by how many clients, in batches of up to how many."""

    things: int
    clients: int
    largest_batch: int
    seed: int


def send_all(load: Load, doors: Doors, book: Book, stop: threading.Event) -> None:
    """Let clients send until all things were sent."""
    owners = sorted(doors.tokens)

    def work(number: int) -> None:
        numbers = random.Random(f"{load.seed}/client/{number}")
        sender = Sender(numbers, owners, f"{load.seed}-{number}", load.largest_batch)
        with requests.Session() as session:
            client = Client(doors, numbers, book, session)
            while not stop.is_set() and len(book.things) < load.things:
                parcel: Parcel | None = sender.parcel()
                while parcel is not None:
                    book.add(parcel)
                    told = client.deliver(parcel)
                    parcel = parcel.after if told else None

    with ThreadPoolExecutor(load.clients) as pool:
        for done in [pool.submit(work, number) for number in range(load.clients)]:
            done.result()


class Client:
    """One sender with its connections."""

    def __init__(
        self, doors: Doors, numbers: random.Random, book: Book, session: requests.Session
    ) -> None:
        self._doors = doors
        self._numbers = numbers
        self._book = book
        self._session = session

    def deliver(self, parcel: Parcel) -> bool:
        """Send until it is answered for good; False when the client gave up."""
        if parcel.keyed and self._numbers.random() < 0.03:
            # Two processes of the same client, at the same moment.
            self._book.count("sent twice at once")
            url = self._numbers.choice(self._doors.urls)
            twin = threading.Thread(
                target=self._try, args=(parcel, url, PATIENCE_SECONDS, requests)
            )
            twin.start()
            told = self._deliver(parcel)
            twin.join()
            return told
        return self._deliver(parcel)

    def _deliver(self, parcel: Parcel) -> bool:
        for number in range(TRIES):
            if number:
                self._book.count("client retries")
                time.sleep(min(3.0, 0.1 * 2**number) * self._numbers.uniform(0.5, 1.0))
            url = self._numbers.choice(self._doors.urls)
            patience = _PATIENCE[self._numbers.random() > 0.03]
            if self._try(parcel, url, patience, self._session):
                return True
        self._book.count("given up by a client")
        return False

    def _try(self, parcel: Parcel, url: str, patience: float, session: Any) -> bool:
        """One request; whether it was answered for good."""
        headers = dict(parcel.headers)
        if parcel.owner in self._doors.tokens:
            headers["Authorization"] = f"Bearer {self._doors.tokens[parcel.owner]}"
        with self._book.lock:
            for thing in parcel.things:
                thing.tries += 1
        try:
            answer = session.post(
                url + parcel.path, data=parcel.body, headers=headers, timeout=(5, patience)
            )
        except requests.RequestException:
            self._book.count("no answer to a client")
            return False
        with self._book.lock:
            self._book.statuses[answer.status_code] += 1
            if answer.status_code in AGAIN:
                self._book.refusals[_refusal(answer)] += 1
                return False
        try:
            body = answer.json()
        except ValueError:
            self._book.complain(f"{answer.status_code} without JSON: {answer.text[:200]}")
            return False
        if parcel.is_batch and answer.status_code == 202:
            return self._note_batch(parcel, body)
        return self._note(parcel.things[0], answer, body)

    def _note(self, thing: Thing, answer: requests.Response, body: Any) -> bool:
        status = answer.status_code
        right = {Wish.KEPT: {202}, Wish.REFUSED: {400, 422}, Wish.CONFLICT: {422}}[thing.wish]
        if status not in right:
            place = answer.url.split("/", 3)[-1]
            self._book.complain(
                f"{status} for a thing {thing.wish} at {place}: {answer.text[:300]}"
            )
        if status == 202:
            self._book.count("repeats answered", "Idempotent-Replayed" in answer.headers)
        if thing.wish is Wish.CONFLICT and status == 422:
            self._book.count("conflicts refused")
        elif body.get("eventId"):
            with self._book.lock:
                thing.acknowledged.add(body["eventId"])
        elif status in right:
            self._book.complain(f"{status} without an id: {answer.text[:300]}")
        return True

    def _note_batch(self, parcel: Parcel, body: Any) -> bool:
        if len(body["results"]) != len(parcel.things):
            self._book.complain("a batch was answered with another number of verdicts")
            return True
        done = True
        for thing, verdict in zip(parcel.things, body["results"], strict=True):
            outcome = verdict["status"]
            if outcome == "failed":
                done = False
                continue
            if (outcome == "rejected") != (thing.wish is Wish.REFUSED):
                self._book.complain(f"{outcome} for a thing {thing.wish}: {verdict}")
            self._book.count("repeats answered", outcome == "duplicate")
            if verdict["eventId"]:
                with self._book.lock:
                    thing.acknowledged.add(verdict["eventId"])
        return done


def persist(
    session: requests.Session,
    numbers: random.Random,
    doors: tuple[str, ...],
    method: str,
    path: str,
    headers: dict[str, str],
    data: Any,
) -> tuple[requests.Response | None, int]:
    """Send `data` as JSON to any of the doors, again until there is an answer for good: (the
    answer, if there was one; after how many tries)."""
    for number in range(1, TRIES + 1):
        try:
            answer = session.request(
                method,
                numbers.choice(doors) + path,
                json=data,
                headers=headers,
                timeout=(5, PATIENCE_SECONDS),
            )
        except requests.RequestException:
            answer = None
        if answer is not None and answer.status_code not in AGAIN:
            return answer, number
        time.sleep(min(3.0, 0.1 * 2**number) * numbers.uniform(0.5, 1.0))
    return None, TRIES


def _refusal(answer: requests.Response) -> str:
    try:
        said = answer.json()
        return f"{answer.status_code} {said.get('code') or said.get('message')}"[:40]
    except (ValueError, AttributeError):
        return f"{answer.status_code} {answer.text}"[:40]
