"""Slack's place in a rehearsal: it also knows when it took a message, and when it was away."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.slack_receiver import Answer, SlackReceiver


class TimedSlack(SlackReceiver):
    """`taken` holds (when, body) of the messages that it took, `away` when it went; times are
    those of `time.time`."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[float, str]] = []
        self.away: list[float] = []

    def _next_answer(self, body: str) -> Answer:
        answer = super()._next_answer(body)
        self.taken.append((time.time(), body))
        return answer

    @contextmanager
    def down(self) -> Iterator[None]:
        """As without times."""
        self.away.append(time.time())
        with super().down():
            yield
