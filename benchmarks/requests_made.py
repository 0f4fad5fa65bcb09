"""Requests to AWS for one event: what the application costs, and the load that it makes."""

from collections import Counter
from collections.abc import Callable
from functools import partial

import boto3

from benchmarks.counting import RequestCounter
from benchmarks.driver import Driver
from benchmarks.report import Figure, Section
from chalicelib.core import clock
from chalicelib.events.message import MAX_MESSAGE_BYTES
from chalicelib.tokens.manage import issue_token
from chalicelib.tokens.store import TokenStore

INGEST_AIM = 2
LARGE_AIM = 3
"""With a payload that goes to bronze first."""
PROCESSING_AIM = 1.8
"""The ledger for each event; for the ten together bronze, silver, the bus, the journal twice, and
the counters of the owner and of all."""
UNIT, UNIT_AIM, UNIT_PROCESSING_AIM = 100, 0.06, 1.16
"""Ingest: bronze, queue, and the ledger 25 at a time. Processing: one silver file, ten calls to the
bus, and the ledger for each event."""
BATCH = 10
"""Events a run at ten a second: five pollers share what comes in prod's window of five seconds."""
STEADY = 50
"""Events a run at fifty a second: as many as prod's batch has at most."""
_INGEST_NOTES = (
    "The authorizer's request is not in it: API Gateway keeps its answer for ten seconds.",
    "Nor is the look for the type's schema: one request of each process in ten seconds.",
    "A repeat makes no new event. Until the worker ran it is sent again: the first may be lost.",
)
_SMALL, _LARGE = 100, 2 * MAX_MESSAGE_BYTES


class RequestBench:
    """Counts requests by operation, of one use of the application after another."""

    def __init__(self, driver: Driver, counter: RequestCounter, tokens_table: str) -> None:
        self._driver = driver
        self._counter = counter
        self._tokens_table = tokens_table

    def measure(self) -> list[Section]:
        """Run everything; leaves the queue empty."""
        return [self._ingest(), self._processing(), self._units(), self._reading()]

    def _ingest(self) -> Section:
        self._driver.ingest("bench.plain")
        self._work(self._driver.receive(1))
        limit = f"over {MAX_MESSAGE_BYTES // 1024} KB"
        figures = [
            self._count("without a key", self._send, BATCH, INGEST_AIM),
            self._count(
                f"without a key, {limit}", lambda: self._send(filler=_LARGE), BATCH, LARGE_AIM
            ),
            self._count(
                "with an idempotency key", lambda: self._send(keyed=True), BATCH, INGEST_AIM
            ),
            self._count("a repeat before the worker ran", lambda: self._send(keyed=True), BATCH),
        ]
        # Both kinds without a key, and the keyed events twice: once for themselves, once repeated.
        for _ in range(4):
            self._work(self._driver.receive(BATCH))
        repeat = "a repeat after the worker ran"
        figures.append(
            self._count(repeat, lambda: self._send(keyed=True), BATCH, INGEST_AIM),
        )
        return Section("Ingest: requests an event", figures, _INGEST_NOTES)

    def _processing(self) -> Section:
        self._send()
        small = self._driver.receive(BATCH)
        figures = [
            self._count(
                f"a batch of {BATCH}", lambda: self._driver.process(small), BATCH, PROCESSING_AIM
            ),
            self._count(
                "the same batch delivered again",
                lambda: self._driver.process(small, attempt=2),
                BATCH,
            ),
        ]
        self._driver.settle(small)
        for _ in range(STEADY // BATCH):
            self._send()
        steady = self._driver.receive(STEADY)
        name = f"a batch of {STEADY}"
        figures.append(self._count(name, lambda: self._driver.process(steady), STEADY))
        for first in range(0, STEADY, BATCH):
            self._driver.settle(steady[first : first + BATCH])
        self._driver.ingest("bench.plain")
        alone = self._driver.receive(1)
        figures.append(self._count("a batch of one", lambda: self._driver.process(alone)))
        self._driver.settle(alone)
        self._send(filler=_LARGE)
        large = self._driver.receive(BATCH)
        figures.append(
            self._count(
                f"a batch of {BATCH}, payloads over {MAX_MESSAGE_BYTES // 1024} KB",
                lambda: self._driver.process(large),
                BATCH,
            )
        )
        self._driver.settle(large)
        self._send(failing=1)
        mixed = self._driver.receive(BATCH)
        figures.append(
            self._count(
                f"a batch of {BATCH}, one of them to retry",
                lambda: self._driver.process(mixed),
                BATCH,
            )
        )
        self._driver.settle(mixed)
        note = (
            f"Lambda's poller adds a receive and a delete a batch, {2 / BATCH} an event in full "
            "batches, and its empty receives; they are Lambda's own and not counted here."
        )
        return Section("Processing: requests an event", figures, (note,))

    def _units(self) -> Section:
        driver = self._driver
        plain = [{"eventType": "bench.unit", "number": number} for number in range(UNIT)]
        keyed = [{**event, "idempotencyKey": f"unit-{event['number']}"} for event in plain]
        driver.batch(plain[:1])
        self._work(driver.receive(1))
        figures = []
        for name, events, aim in (("without keys", plain, UNIT_AIM), ("with keys", keyed, None)):
            send = partial(driver.batch, events)
            figures.append(self._count(f"ingest of {UNIT} {name}", send, UNIT, aim))
            unit = driver.receive(1)
            work = partial(driver.process, unit)
            name_of_work = f"processing of {UNIT} {name}"
            figures.append(self._count(name_of_work, work, UNIT, UNIT_PROCESSING_AIM))
            driver.settle(unit)
        figures.append(
            self._count(f"a repeat of {UNIT} with keys", partial(driver.batch, keyed), UNIT)
        )
        notes = (
            "Without keys the ledger takes 25 events a request, with keys each by itself.",
            "In processing one request an event is the ledger's, and one in ten the bus's.",
        )
        return Section(f"Batches of {UNIT}, one unit: requests an event", figures, notes)

    def _reading(self) -> Section:
        driver = self._driver
        event_id = driver.ingest("bench.read")
        self._work(driver.receive(1))
        path = {"event_id": event_id}

        def get(route: str, scopes: str = "events:read") -> Callable[[], object]:
            named = path if "{" in route else None
            return lambda: driver.request("GET", route, path=named, scopes=scopes)

        client = boto3.client("dynamodb")
        now = clock.to_text(clock.utc_now())
        _, token = issue_token(TokenStore(client, self._tokens_table), "bench", ["admin"], now)
        figures = [
            self._count("authorize", lambda: driver.authorize(token)),
            self._count("GET /events/{id}", get("/events/{event_id}")),
            self._count("GET /events/{id}/payload", get("/events/{event_id}/payload")),
            self._count("GET /events/{id}/result", get("/events/{event_id}/result")),
            self._count("GET /events, one owner's", get("/events")),
            self._count("GET /events, everybody's", get("/events", scopes="admin")),
            # The first run of a stage sweeps the whole window and compares; the next does not.
            self._count("reconcile, comparing the stores", driver.reconcile),
            self._count("reconcile, nothing to do", driver.reconcile),
        ]
        return Section("Reading and reconcile: requests a call", figures)

    def _send(self, *, keyed: bool = False, filler: int = _SMALL, failing: int = 0) -> None:
        """Ingest a batch; the first `failing` of it fail once and are to be retried."""
        for number in range(BATCH):
            event_type = "eventline.drill.transient" if number < failing else "bench.plain"
            self._driver.ingest(event_type, filler, f"bench-{number}" if keyed else None)

    def _work(self, records: list[dict[str, object]]) -> None:
        if not self._driver.process(records):
            raise RuntimeError("the worker did not take the batch")
        self._driver.settle(records)

    def _count(
        self, name: str, action: Callable[[], object], items: int = 1, aim: float | None = None
    ) -> Figure:
        with self._counter.counting() as counts:
            action()
        return Figure(name, counts.total() / items, "requests", aim, per_item(counts, items))


def per_item(counts: Counter[str], items: int) -> dict[str, float]:
    """Counts by operation as an average over `items`, most frequent first."""
    return {operation: count / items for operation, count in counts.most_common()}
