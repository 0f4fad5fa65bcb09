"""Which AWS calls fail how: the rules that the proxy gets, and what became of them.

A rule fires with a probability of its own, and the first that fires is the call's bad luck. Some
kinds end before AWS did anything, others after; slow answers only take time. Besides, one operation
after another is out of service for some seconds.
"""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import requests

from tests.chaos.proxy import COUNTS, SEEN
from tests.chaos.witness import Witness

FAILING = (
    "outage", "throttled", "500", "503", "no answer", "reset before", "answer late", "reset after",
    "answer cut", "answer halved",
)  # fmt: skip
"""The kinds after which a call has failed for its caller; "slow" is none."""
_CODES = {
    "dynamodb": ("ProvisionedThroughputExceededException", 400),
    "s3": ("SlowDown", 503),
    "sqs": ("ThrottlingException", 400),
    "sns": ("Throttling", 400),
    "events": ("ThrottlingException", 400),
    "ssm": ("ThrottlingException", 400),
}
_THROTTLED_OPERATIONS = {
    "dynamodb": ("PutItem", "UpdateItem", "GetItem", "BatchGetItem", "BatchWriteItem", "Query"),
    "s3": ("PutObject", "GetObject", "HeadObject", "ListObjectsV2"),
    "sqs": (
        "SendMessage", "SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch",
        "GetQueueAttributes",
    ),
    "sns": ("Publish", "PublishBatch"),
    "events": ("PutEvents",),
    "ssm": ("GetParameter",),
}  # fmt: skip
_OUTAGES = (
    ("s3", "PutObject"), ("s3", "GetObject"), ("dynamodb", "PutItem"), ("dynamodb", "UpdateItem"),
    ("dynamodb", "BatchWriteItem"), ("sqs", "SendMessage"), ("events", "PutEvents"),
)  # fmt: skip
_OUTAGE_CHANCE = 0.5
# Longer than the functions wait for an answer, which is two seconds.
_LATE_MS, _HANGING_MS = 2600, 4000


def rules(intensity: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """(kind, rule for microburst); with intensity 1 some 8 % of all calls fail."""
    for service, operations in _THROTTLED_OPERATIONS.items():
        code, status = _CODES[service]
        for operation in operations:
            error = {"error": {"code": code, "status": status}}
            yield "throttled", {"service": service, "operation": operation, **error, "p": 0.025}
    for service in _CODES:
        internal = "InternalError" if service in ("s3", "sqs", "sns") else "InternalServerError"
        yield "500", {"service": service, "error": {"code": internal, "status": 500}, "p": 0.012}
        refused = {"code": "ServiceUnavailable", "status": 503}
        yield "503", {"service": service, "error": refused, "p": 0.012}
    anywhere: dict[str, Any] = {"service": "*"}
    yield "no answer", {**anywhere, "timeout_ms": _HANGING_MS, "p": 0.002}
    yield "reset before", {**anywhere, "reset": True, "p": 0.01}
    yield "answer late", {**anywhere, "latency": _LATE_MS, "p": 0.003}
    yield "reset after", {**anywhere, "response": {"abort_bytes": 0}, "p": 0.012}
    yield "answer cut", {**anywhere, "response": {"abort_frac": 0.5}, "p": 0.006}
    # Without its length an object cut short cannot be told from a whole one, so not for S3, which
    # always sends it.
    for service in ("dynamodb", "sqs", "events"):
        halved = {"service": service, "response": {"truncate_frac": 0.5}}
        yield "answer halved", {**halved, "p": 0.003}
    yield "slow", {**anywhere, "latency": {"min": 50, "max": 400}, "p": 0.02}


def _outage(numbers: random.Random) -> dict[str, Any]:
    """For some seconds one operation does not work at all."""
    service, operation = numbers.choice(_OUTAGES)
    error = {"code": "ServiceUnavailable", "status": 503}
    lasts = round(numbers.uniform(1, 6), 1)
    return {"service": service, "operation": operation, "error": error, "ttl_s": lasts, "p": 1e9}


class Proxy:
    """The running proxy, told what to do."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._kinds: dict[int, str] = {}

    def trouble(self, intensity: float, numbers: random.Random) -> None:
        """Begin, or go on with new rules in an order of chance."""
        wanted = list(rules(intensity))
        numbers.shuffle(wanted)
        if numbers.random() < _OUTAGE_CHANCE:
            wanted.insert(0, ("outage", _outage(numbers)))
        body = [{**rule, "probability": min(1.0, rule["p"] * intensity)} for _, rule in wanted]
        for rule in body:
            del rule["p"]
        answer = requests.post(f"{self.url}/_microburst/rules", json=body, timeout=10)
        answer.raise_for_status()
        for (kind, _), made in zip(wanted, answer.json(), strict=True):
            self._kinds[made["id"]] = kind

    def calm(self) -> None:
        """No more faults."""
        requests.post(f"{self.url}/_microburst/rules", json=[], timeout=10).raise_for_status()

    def fired(self) -> Counter[str]:
        """How often each kind happened."""
        stats = requests.get(f"{self.url}/_microburst/stats", timeout=10).json()
        kinds: Counter[str] = Counter()
        for entry in stats["by_rule"]:
            kinds[self._kinds.get(entry["id"], "other")] += entry["fired"]
        return kinds

    def counts(self) -> dict[str, int]:
        """`requests` in all, and `retries` of the SDK's."""
        counts: dict[str, int] = requests.get(self.url + COUNTS, timeout=10).json()
        return counts

    def witness(self) -> Witness:
        """What it saw of effects that may come twice."""
        return Witness(**requests.get(self.url + SEEN, timeout=60).json())
