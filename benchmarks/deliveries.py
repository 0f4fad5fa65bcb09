"""Deliveries to a destination on loopback that answers at once: requests, and how many a second."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchmarks.counting import RequestCounter
from benchmarks.driver import Driver
from benchmarks.report import Figure, Section
from benchmarks.requests_made import BATCH, per_item
from chalicelib import wiring
from chalicelib.destinations.message import INLINE_BYTES

TITLE = "Deliveries: requests a delivery, and how many a second"
AIM = 1
"""The note."""
_TYPE = "bench.delivery"
_RUNS, _WARM_UP = 20, 2
_SCOPES = "destinations:write"
_NOTES = (
    "Lambda's poller adds a receive and a delete a batch, the worker a call to the queue for ten.",
    "To a server on loopback in the same process: the speed is that of the function itself.",
)


def measure(events: Driver, deliveries: Driver, counter: RequestCounter) -> Section:
    """Count and time batches of deliveries; leaves both queues empty."""
    with _receiver() as url:
        order = json.dumps({"url": url, "eventTypes": [_TYPE]})
        made = events.request("POST", "/destinations", body=order, scopes=_SCOPES)
        wiring.routes.cache_clear()
        figures = [
            _counted("deliveries of a batch", events, deliveries, counter, filler=100, aim=AIM),
            _counted(
                f"the same, documents over {INLINE_BYTES:,} bytes",
                *(events, deliveries, counter),
                filler=2 * INLINE_BYTES,
                aim=AIM + 1,
            ),
            Figure("deliveries a second", BATCH / _seconds_a_run(events, deliveries), "a second"),
        ]
        order = json.dumps({"url": url, "eventTypes": [_TYPE], "paused": True})
        path = {"destination_id": made["id"]}
        events.request(
            "PUT", "/destinations/{destination_id}", path=path, body=order, scopes=_SCOPES
        )
        wiring.routes.cache_clear()
    return Section(TITLE, figures, _NOTES)


def _counted(
    name: str,
    events: Driver,
    deliveries: Driver,
    counter: RequestCounter,
    *,
    filler: int,
    aim: float,
) -> Figure:
    """The requests of a run that has seen the destination before."""
    for _ in range(2):
        records = _handed_over(events, deliveries, filler)
        with counter.counting() as counts:
            deliveries.process(records)
        deliveries.settle(records)
    return Figure(name, counts.total() / BATCH, "requests", aim, per_item(counts, BATCH))


def _seconds_a_run(events: Driver, deliveries: Driver) -> float:
    """How long a batch takes, on average after some to warm up."""
    total = 0.0
    for number in range(_WARM_UP + _RUNS):
        records = _handed_over(events, deliveries, 100)
        start = time.perf_counter()
        deliveries.process(records)
        total += time.perf_counter() - start if number >= _WARM_UP else 0
        deliveries.settle(records)
    return total / _RUNS


def _handed_over(events: Driver, deliveries: Driver, filler: int) -> list[dict[str, Any]]:
    """A batch of deliveries, of events that the worker has processed."""
    for _ in range(BATCH):
        events.ingest(_TYPE, filler)
    waiting = events.receive(BATCH)
    events.process(waiting)
    events.settle(waiting)
    return deliveries.receive(BATCH)


@contextmanager
def _receiver() -> Iterator[str]:
    """A server that answers 204; its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class _Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""
