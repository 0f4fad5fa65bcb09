"""The one proxy between all functions and the emulator: it delays calls as AWS does, and counts.

The proxy is the rehearsals' (`tests.chaos.proxy`), with microburst's latency presets, which were
measured on AWS: S3 30.6 ms, SQS 16.1 ms, EventBridge 13.5 ms, DynamoDB 8.4 ms on average.
"""

import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import requests

from infra import project
from local.children import Child
from local.layout import Layout

PRESETS = ("s3", "sqs", "dynamodb", "events")
_SEED = 1
_START_SECONDS, _STOP_SECONDS = 30.0, 5.0
_DELAYED = re.compile(r'faults_total\{service="(\w+)",operation="(\w+)",action="[^"]*"\} (\d+)')
_ALL = re.compile(r"^microburst_requests_total (\d+)$", re.MULTILINE)


class NotDelayedError(Exception):
    """Raised when calls passed the proxy without a delay: the comparison would be unfair."""


@dataclass(frozen=True)
class Calls:
    """Calls through the proxy: all of them, and the delayed ones by operation."""

    total: int = 0
    delayed: Counter[str] = field(default_factory=Counter)

    def since(self, before: "Calls") -> Counter[str]:
        """The calls after `before`, by operation; `NotDelayedError` unless each was delayed."""
        delayed = self.delayed - before.delayed
        total = self.total - before.total
        if total != delayed.total():
            raise NotDelayedError(f"{delayed.total()} of {total} calls were delayed: {delayed}")
        return delayed


class Proxy:
    """The running proxy."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False

    def delay(self) -> None:
        """From now on, every call to the services of `PRESETS` takes as long as on AWS."""
        rules = [{"service": name, "latency": {"preset": name}} for name in PRESETS]
        self._session.post(
            f"{self.url}/_microburst/rules", json=rules, timeout=10
        ).raise_for_status()

    def calls(self) -> Calls:
        """The calls until now."""
        answer = self._session.get(f"{self.url}/_microburst/metrics", timeout=10)
        answer.raise_for_status()
        return read_calls(answer.text)

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            return self._session.get(f"{self.url}/_microburst/health", timeout=1).ok
        except requests.RequestException:
            return False


def read_calls(metrics: str) -> Calls:
    """The calls in microburst's metrics, which are Prometheus text."""
    delayed: Counter[str] = Counter()
    for _service, operation, count in _DELAYED.findall(metrics):
        delayed[operation] += int(count)
    found = _ALL.search(metrics)
    return Calls(int(found[1]) if found else 0, delayed)


@contextmanager
def delaying_proxy(layout: Layout) -> Iterator[Proxy]:
    """A proxy in front of the emulator of `layout`, delaying from the first call."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "tests.chaos.proxy", "--upstream", layout.aws_url),
        *("--port", str(port), "--seed", str(_SEED)),
    ]
    log = layout.logs / "proxy.log"
    child = Child("proxy", command, log, layout.tool_environ(), project.ROOT)
    try:
        proxy = Proxy(f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + _START_SECONDS
        while not proxy.answers():
            child.check()
            if time.monotonic() > deadline:
                raise TimeoutError("the proxy does not answer")
            time.sleep(0.1)
        proxy.delay()
        yield proxy
    finally:
        child.stop(_STOP_SECONDS)
