"""docs/cost.md has the figures that counts and prices give, and the arithmetic is right."""

import json
import re
from typing import Any

import pytest

from benchmarks import prices, write_cost
from benchmarks.cost import Way, dollars, load, reads, reconciling, shards, ways, writes
from benchmarks.prices import ASSUMED, HERE, price_list, quotas
from tests.docs.test_operations import alarms

TEXT = write_cost.COPY.read_text(encoding="utf-8")
NAMES = [way.name for way in ways()]


def way(name: str) -> Way:
    (found,) = [one for one in ways() if one.name == name]
    return found


def test_the_committed_page_has_the_figures_of_today() -> None:
    assert write_cost.as_text() == TEXT, "run `make cost`"


def test_every_price_and_quota_says_where_it_was_read() -> None:
    for entry in [*price_list()["prices"].values(), *quotas().values()]:
        assert entry["page"].startswith("https://")
    for entry in price_list()["prices"].values():
        assert re.fullmatch(r"https://\S+", entry["seen"])
        assert entry["usd"] > 0
        assert entry["unit"]


def test_every_price_is_used() -> None:
    code = (HERE / "cost.py").read_text(encoding="utf-8")
    assert [name for name in price_list()["prices"] if f'price("{name}")' not in code] == []


def test_a_single_event_costs_what_its_counted_requests_cost() -> None:
    costs = dollars(way("one event a request"))

    # A tenth of two PUTs of 5 dollars; write units of 0.625: six, a tenth of two of the journal,
    # each with its index, and of two counters; a send and a tenth of a receive and a delete.
    assert costs["S3"] == pytest.approx(1.0)
    assert costs["DynamoDB"] == pytest.approx((6 + 0.4 + 0.2) * 0.625 + 0.1 * 0.125)
    assert costs["SQS"] == pytest.approx(1.2 * 0.40)
    assert costs["API Gateway"] == pytest.approx(3.50)
    assert costs["EventBridge"] == pytest.approx(1.00)


def test_a_batch_shares_what_a_unit_shares() -> None:
    single, batch = dollars(way("one event a request")), dollars(way("100 in a batch"))

    assert batch["API Gateway"] == pytest.approx(single["API Gateway"] / 100)
    assert batch["S3"] == pytest.approx(single["S3"] / 10 + 0.004)
    assert batch["DynamoDB"] < single["DynamoDB"]
    assert batch["EventBridge"] == single["EventBridge"]


def test_lambda_is_billed_by_run_and_by_gigabyte_and_second() -> None:
    single = way("one event a request")
    # 10 of its own; 12 for the queue, and the ledger meanwhile.
    assert single.api_ms == 22
    # 3 for each of 10; bronze, journal, silver, ledger, bus, the journal's end, counters.
    assert single.worker_ms == 30 + 30 + 6 + 30 + 6 + 20 + 6 + 6
    api = 0.20 + 22 * 1e-3 * 1e6 * 0.0000133334
    worker = (0.20 + 134 * 1e-3 * 1e6 * 0.0000133334) / 10
    authorizer = (0.20 + 14 * 1e-3 * 0.5 * 1e6 * 0.0000133334) / 10
    assert dollars(single)["Lambda"] == pytest.approx(api + worker + authorizer)


@pytest.mark.parametrize(
    ("name", "written", "read"),
    [
        ("one event a request", 6.6, 0.1),
        ("the same, with a key", 6.6, 0.1),
        ("a webhook", 6.6, 0),
        ("one a request, 50 a second", 6.12, 0.1),
        ("one a request, one a run", 12, 0.1),
        ("100 in a batch", 6.06, 0.001),
        ("the same, with keys", 6.06, 1.001),
        ("plain design", 2, 0.1),
    ],
)
def test_each_entry_is_billed_for_itself_and_its_indexes(
    name: str, written: float, read: float
) -> None:
    assert writes(way(name)) == pytest.approx(written)
    assert reads(way(name)) == pytest.approx(read)


def test_a_daily_sweep_costs_less_and_a_batch_less_than_single_events() -> None:
    single, batch = way("one event a request"), way("100 in a batch")
    assert reconciling(single, 1440) < reconciling(single, 60) / 4
    assert reconciling(batch, 60) < reconciling(single, 60)
    # A lookup at each of 36 sweeps, and two of the comparison after each.
    lookups = (36 + 72) * 0.125
    # A tenth of an object: listed five times, read three times and asked for twice.
    lists = 0.1 * 5 * 36 / 1000 * 5
    files = 0.1 * 5 * 36 * 0.4
    looking = (36 + 72) / 2500 * 0.0000133334 * 1e6
    assert reconciling(single, 60) == pytest.approx(lookups + lists + files + looking)


def test_the_table_and_the_template_count_the_same_alarms() -> None:
    assert prices.alarms() == len(alarms())


@pytest.mark.parametrize(("rate", "needed"), [(10, 8), (4000, 8), (4001, 9), (100_000, 200)])
def test_shards_keep_a_partition_below_what_it_takes(rate: float, needed: int) -> None:
    assert shards(rate) == needed
    limit = quotas()["dynamodb.partition-write"]["value"]
    assert rate * 2 / shards(rate) <= limit


def test_load_is_told_for_each_quota_but_the_one_of_rules() -> None:
    told = load(way("one event a request"), 1000)
    assert quotas().keys() - told.keys() == {"eventbridge.invocations"}
    assert told["api-gateway.throttle"] == 1000
    assert told["lambda.concurrency"] == pytest.approx(22 + 13.4)
    assert told["eventbridge.put"] == pytest.approx(100)
    assert load(way("100 in a batch"), 1000)["s3.prefix-put"] == pytest.approx(10)


def test_what_is_at_a_quota_stands_out() -> None:
    assert write_cost._bounded(1000, 1000) == "**1,000**"
    assert write_cost._bounded(999.4, 1000) == "999"
    assert write_cost._bounded(0.123, 1000) == "0.12"


def test_the_newest_results_are_the_ones_that_count() -> None:
    newest = max((HERE / "results").glob("*.json"))
    kept: Any = json.loads(newest.read_text(encoding="utf-8"))
    figures = {one["name"]: one["parts"] for part in kept["sections"] for one in part["figures"]}
    assert way("one event a request").ingest == figures["without a key"]
    assert prices.counted()["authorize"] == figures["authorize"]


def test_every_operation_that_is_waited_for_has_a_time() -> None:
    for one in ways():
        assert one.counts.keys() <= prices.LATENCY_MS.keys()
    assert all(value > 0 for value in ASSUMED.values())
