"""What the costs rest on: prices, counts, settings, and what had to be assumed.

Prices and quotas are those of `prices.json`, which says when and where each was read; the counts
are those of the newest file in `results`.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from infra import project, stack

HERE = Path(__file__).parent
STAGE = "prod"
MILLION, KB, GB, HOURS = 1_000_000, 2**10, 2**30, 730

Counts = Mapping[str, float]

ASSUMED = {
    "payload bytes": 1000,
    "silver document, bytes more than its payload": 500,
    "ledger entry, bytes": 700,
    "index entry, bytes": 160,
    "DynamoDB's own, bytes an entry": 100,
    "log of an API request or a run of the worker, bytes": 800,
    "log of an event in the worker, bytes": 300,
    "share of requests that wake the authorizer": 0.1,
    "own milliseconds of a request": 10,
    "own milliseconds of an event in a batch or in the worker": 3,
    "calls at the same time, of many": 16,
    "seconds of `reconcile` with nothing to do": 2,
    "objects that `reconcile` looks at in a second": 2500,
    "hours that an event is in its window": 36,
    "pollers of an idle queue": 5,
    "custom metrics": 27,
}
LATENCY_MS = {
    "PutObject": 30,
    "GetObject": 20,
    "PutItem": 6,
    "GetItem": 4,
    "UpdateItem": 6,
    "BatchWriteItem": 15,
    "BatchGetItem": 10,
    "SendMessage": 12,
    "PutEvents": 20,
}


def price(name: str) -> float:
    """Dollars for one."""
    entry = price_list()["prices"][name]
    return float(entry["usd"]) / float(entry["per"])


def quotas() -> dict[str, Any]:
    """The quotas of AWS, by our names."""
    found: dict[str, Any] = price_list()["quotas"]
    return found


@cache
def price_list() -> dict[str, Any]:
    """`benchmarks/prices.json`."""
    read: dict[str, Any] = json.loads((HERE / "prices.json").read_text(encoding="utf-8"))
    return read


@cache
def counted() -> dict[str, Counts]:
    """Requests by operation of each counted use of the application, of the newest results."""
    newest = max((HERE / "results").glob("*.json"))
    sections = json.loads(newest.read_text(encoding="utf-8"))["sections"]
    return {
        figure["name"]: figure["parts"] for section in sections for figure in section["figures"]
    }


@cache
def memory(function: str) -> float:
    """GB of a function's memory."""
    part = project.stage_config(project.read_config(project.ROOT), STAGE)
    return float(part["lambda_functions"][function]["lambda_memory_size"]) / 1024


def setting(name: str) -> int:
    """A number among the settings of the stage."""
    part = project.stage_config(project.read_config(project.ROOT), STAGE)
    return int(project.setting(part, name))


def alarms() -> int:
    """How many alarms `infra/alarms.yaml` makes."""
    total = 0
    for name, resource in stack.read_template(stack.ALARMS)["Resources"].items():
        if name.startswith("Fn::ForEach::"):
            _, members, made = resource
            total += len(members) * sum(_is_alarm(one) for one in made.values())
        else:
            total += _is_alarm(resource)
    return total


def _is_alarm(resource: Mapping[str, Any]) -> bool:
    return bool(resource["Type"] == "AWS::CloudWatch::Alarm")
