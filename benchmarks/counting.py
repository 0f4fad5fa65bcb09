"""Counts the requests that leave this process for AWS, by operation."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import botocore


class RequestCounter:
    """Counts every HTTP request of every botocore session made after `install`.

    A retry of the SDK counts again: AWS bills and throttles requests, not calls.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] | None = None

    def install(self) -> None:
        """Hook into the sessions that are yet to be made."""
        botocore.register_initializer(
            lambda session: session.register("before-send", self.on_request)
        )

    def on_request(self, event_name: str, **_details: Any) -> None:
        """Count one request; `event_name` is botocore's `before-send.<service>.<Operation>`."""
        with self._lock:
            if self._counts is not None:
                self._counts[event_name.rpartition(".")[2]] += 1

    @contextmanager
    def counting(self) -> Iterator[Counter[str]]:
        """Count what is sent inside the block; nothing outside a block is counted."""
        counts: Counter[str] = Counter()
        self._counts = counts
        try:
            yield counts
        finally:
            self._counts = None
