"""What happens to the platform while clients send: each in a thread of its own, until the end."""

import contextlib
import os
import random
import signal
import string
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from botocore.exceptions import BotoCoreError, ClientError

from tests.chaos.platform import Rehearsal, workers
from tests.chaos.safeguards import API_SECONDS, CLOCK_STEPS

STUCK_AFTER_SECONDS = API_SECONDS + 13
"""When `reconcile` takes an event for stuck, in place of a quarter of an hour: longer than a
request may last and the clock may step."""

_ANSWERS_BETWEEN_KILLS = 5
_WORDS = {"requeued": "sent again", "recovered": "found in bronze", "failed": "given up"}


@dataclass
class Havoc:
    """What was done to the platform. `pace` is the time between two blows, in seconds."""

    running: Rehearsal
    seed: int
    pace: float
    answered: Callable[[], int]
    """How many requests of clients were answered for good. On a busy machine a process takes long
    to begin: the next one is killed only after some work was done."""
    counts: Counter[str] = field(default_factory=Counter)
    alerts: list[str] = field(default_factory=list)
    """Words, each in an alert that was put on the queue of alerts."""
    killed: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When processes of each function were killed."""
    faults: list[str] = field(default_factory=list)
    """What went wrong with the havoc itself."""

    @contextmanager
    def raging(self, intensity: float) -> Iterator[None]:
        """All of it at once inside the block, and nothing of it after."""
        stop = threading.Event()
        acts: list[Callable[[random.Random, threading.Event], None]] = [
            self._weather(intensity), self._kill_workers, self._kill_door, self._copy_messages,
            self._silence_slack, self._break_processor, self._step_clock, self._reconcile,
            self._send_alerts,
        ]  # fmt: skip
        threads = [
            threading.Thread(target=self._guard, args=(act, number, stop), daemon=True)
            for number, act in enumerate(acts)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            # So that what is still at work on something gets through with it; and again below, for
            # the weather may just have changed.
            self.running.proxy.calm()
            for thread in threads:
                thread.join(90)
            self.running.step_clock(0)
            self.running.proxy.calm()

    def reconcile(self, stuck_after: int = STUCK_AFTER_SECONDS) -> dict[str, object]:
        """One run of `reconcile`, as the schedule would start it; empty when it failed."""
        payload = {"stuckAfterSeconds": stuck_after}
        try:
            report: dict[str, object] = self.running.stage.invoke("reconcile", payload)
        except (AssertionError, ClientError, BotoCoreError):
            self.counts["reconcile failed"] += 1
            return {}
        for name, words in _WORDS.items():
            number = report.get(name, 0)
            if isinstance(number, int) and number:
                self.counts[f"reconcile: {words}"] += number
        return report

    def _guard(
        self,
        act: Callable[[random.Random, threading.Event], None],
        number: int,
        stop: threading.Event,
    ) -> None:
        try:
            act(random.Random(f"{self.seed}/havoc/{number}"), stop)
        except Exception as error:  # noqa: BLE001 - told at the end, which then fails
            self.faults.append(f"{type(error).__name__}: {error}")

    def _weather(self, intensity: float) -> Callable[[random.Random, threading.Event], None]:
        def act(numbers: random.Random, stop: threading.Event) -> None:
            """Faults of AWS calls, now more and now fewer."""
            while not stop.is_set():
                self.running.proxy.trouble(intensity * numbers.uniform(0.7, 1.3), numbers)
                stop.wait(self.pace * 2.5)

        return act

    def _kill_workers(self, numbers: random.Random, stop: threading.Event) -> None:
        before = 0
        while not stop.wait(self.pace * numbers.uniform(0.5, 1.5)):
            running = workers(self.running.scratch)
            if running and self.answered() >= before + _ANSWERS_BETWEEN_KILLS:
                before = self.answered()
                with contextlib.suppress(ProcessLookupError):
                    process, function = numbers.choice(running)
                    os.kill(process, signal.SIGKILL)
                    self.killed[function].append(time.time())
                    self.counts["function killed"] += 1

    def _kill_door(self, numbers: random.Random, stop: threading.Event) -> None:
        before = 0
        while not stop.wait(self.pace * numbers.uniform(3, 8)):
            if self.answered() >= before + 2 * _ANSWERS_BETWEEN_KILLS:
                before = self.answered()
                self.running.kill_second_door()
                self.counts["chalice local killed"] += 1

    def _copy_messages(self, numbers: random.Random, stop: threading.Event) -> None:
        """Take messages from the worker's queue as a second reader would: some are copied, and all
        come again after a while, later than those sent after them."""
        sqs = self.running.stage.emulator.client("sqs")
        url = self.running.stage.events_url
        while not stop.wait(self.pace * numbers.uniform(0.2, 1)):
            answer = sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=numbers.randrange(1, 6),
                VisibilityTimeout=numbers.randrange(1, 5),
                WaitTimeSeconds=0,
            )
            for message in answer.get("Messages", []):
                self.counts["visibility expired"] += 1
                for _ in range(numbers.choice((0, 0, 1, 2))):
                    sqs.send_message(
                        QueueUrl=url,
                        MessageBody=message["Body"],
                        DelaySeconds=numbers.choice((0, 0, 1, 5, 20)),
                    )
                    self.counts["message copied"] += 1

    def _silence_slack(self, numbers: random.Random, stop: threading.Event) -> None:
        while not stop.wait(self.pace * numbers.uniform(2, 6)):
            with self.running.slack.down():
                self.counts["Slack down"] += 1
                stop.wait(self.pace * numbers.uniform(1, 5))

    def _break_processor(self, numbers: random.Random, stop: threading.Event) -> None:
        while not stop.wait(self.pace * numbers.uniform(4, 10)):
            # A deployment ends the processes of the version before.
            self.killed["process_events"].append(time.time())
            with self.running.bad_processor():
                self.counts["bad processor deployed"] += 1
                stop.wait(self.pace * numbers.uniform(3, 8))
                self.killed["process_events"].append(time.time())

    def _step_clock(self, numbers: random.Random, stop: threading.Event) -> None:
        while not stop.wait(self.pace * numbers.uniform(2, 8)):
            self.running.step_clock(numbers.choice(CLOCK_STEPS))
            self.counts["clock stepped"] += 1

    def _reconcile(self, _numbers: random.Random, stop: threading.Event) -> None:
        while not stop.wait(10):
            self.reconcile()

    def _send_alerts(self, numbers: random.Random, stop: threading.Event) -> None:
        """Failures of pipelines, each its own group; some are sent twice."""
        sqs = self.running.stage.emulator.client("sqs")
        url = self.running.stage.queue_url(self.running.stage.settings.ci_queue_arn)
        while not stop.wait(self.pace * numbers.uniform(0.5, 2)):
            word = "".join(numbers.choices(string.ascii_lowercase, k=20))
            body = f'{{"status":"error","message":"{word}"}}'
            for _ in range(numbers.choice((1, 1, 2))):
                sqs.send_message(QueueUrl=url, MessageBody=body)
            self.alerts.append(word)
