"""Metrics: one object a run in CloudWatch's embedded format, and what each of them counts."""

import json
import logging
from collections.abc import Iterator
from contextvars import copy_context
from threading import Thread
from typing import Any

import pytest
from msgspec.structs import force_setattr

from chalicelib.core import metrics
from chalicelib.core.errors import BatchIncompleteError, InvalidRequestError
from chalicelib.core.log import JsonFormatter, log
from chalicelib.core.metrics import MOST_VALUES, Run, measured
from chalicelib.events.ingest import IngestDeps, ingest
from chalicelib.events.ledger import Done, Standing
from chalicelib.events.model import Dispatch, Event, Status
from tests.support.batches_on_fakes import Platform
from tests.support.comparison_on_fakes import Stores
from tests.support.factories import (
    make_body,
    make_delivery,
    make_event,
    make_message,
    make_submission,
    no_schema,
)
from tests.support.fake_stores import FakeEventStore
from tests.support.worker_on_fakes import MAX_ATTEMPTS, Worker, again

NOW = 1_700_000_000_000


class Printing(logging.Handler):
    """Writes to whatever is standard output at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record))


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """What is written to standard output by log and metrics, at level INFO; call it to read."""
    handler = Printing()
    handler.setFormatter(JsonFormatter())
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    log.removeHandler(handler)
    log.setLevel(level)


def single(platform: Platform) -> IngestDeps:
    """What `ingest` works with, over the stores of a platform."""
    return IngestDeps(
        platform.ledger, platform.lake, platform.queue, no_schema, 1_000_000, now=platform.clock
    )


def values(run: Run) -> dict[str, Any]:
    """Every metric of a run, those of a class as `Failed/permanent`."""
    found: dict[str, Any] = {}
    for document in run.documents("test", NOW):
        kind = f"/{document['Class']}" if "Class" in document else ""
        for metric in document["_aws"]["CloudWatchMetrics"][0]["Metrics"]:
            found[metric["Name"] + kind] = document[metric["Name"]]
    return found


def check_format(document: dict[str, Any]) -> None:
    """Assert what the specification of the embedded metric format asks for."""
    assert isinstance(document["_aws"]["Timestamp"], int)
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Eventline"
    for dimensions in directive["Dimensions"]:
        assert set(dimensions) <= {"Stage", "Class"}
        assert all(isinstance(document[name], str) and document[name] for name in dimensions)
    assert 0 < len(directive["Metrics"]) <= 100
    for metric in directive["Metrics"]:
        assert metric["Unit"] in ("Count", "Milliseconds")
        value = document[metric["Name"]]
        many = value if isinstance(value, list) else [value]
        assert 0 < len(many) <= MOST_VALUES
        assert all(isinstance(one, int | float) for one in many)


# ------------------------------------------------------------------------ the line of a run


def test_a_run_is_summed_up_in_one_line_that_is_its_metrics(lines: Any) -> None:
    with measured("dev", "run ended"):
        metrics.add("Processed")
        metrics.add("Processed", 2)
        metrics.sample("EndToEndLatency", 12)
        metrics.sample("EndToEndLatency", 34)
        metrics.note(items=3, code=None)
    (line,) = lines()
    check_format(line)
    assert line["_aws"]["CloudWatchMetrics"][0] == {
        "Namespace": "Eventline",
        "Dimensions": [["Stage"]],
        "Metrics": [
            {"Name": "Processed", "Unit": "Count"},
            {"Name": "EndToEndLatency", "Unit": "Milliseconds"},
        ],
    }
    assert (line["Stage"], line["Processed"], line["EndToEndLatency"]) == ("dev", 3, [12, 34])
    assert (line["message"], line["items"]) == ("run ended", 3)
    assert "code" not in line
    assert line["ms"] >= 0


def test_failures_are_counted_by_class(lines: Any) -> None:
    with measured("dev", "run ended"):
        metrics.sample("BatchSize", 3)
        for kind in ("permanent", "unknown", "permanent"):
            metrics.add("Failed", failure_class=kind)
    documents = lines()
    for document in documents:
        check_format(document)
    assert [document.get("Class") for document in documents] == [None, "permanent", "unknown"]
    assert [document.get("Failed") for document in documents] == [None, 2, 1]
    assert documents[1]["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["Stage", "Class"]]


def test_more_values_than_an_object_may_hold_go_into_another(lines: Any) -> None:
    with measured("dev", "run ended"):
        metrics.add("Processed", 250)
        for number in range(250):
            metrics.sample("EndToEndLatency", number)
        metrics.sample("BatchSize", 10)
    documents = lines()
    for document in documents:
        check_format(document)
    assert [len(document["EndToEndLatency"]) for document in documents] == [100, 100, 50]
    told = [value for document in documents for value in document["EndToEndLatency"]]
    assert told == list(range(250))
    # What is there once is told once
    assert [document.get("Processed") for document in documents] == [250, None, None]
    assert [document.get("BatchSize") for document in documents] == [[10], None, None]


def test_a_run_without_metrics_has_a_line_only_if_it_is_asked_for(lines: Any) -> None:
    with measured("dev", "run ended"):
        metrics.note(items=1)
    with measured("dev", "request answered", always=True):
        metrics.note(status=200)
    (line,) = lines()
    assert (line["message"], line["status"]) == ("request answered", 200)
    assert "_aws" not in line


def test_metrics_do_not_depend_on_the_log_level(lines: Any) -> None:
    log.setLevel(logging.ERROR)
    with measured("dev", "request answered", always=True):
        metrics.add("Accepted")
        metrics.note(status=202)
    (line,) = lines()
    check_format(line)
    assert line["Accepted"] == 1
    assert "message" not in line


def test_a_run_that_fails_is_summed_up_too(lines: Any) -> None:
    def fail() -> None:
        with measured("dev", "run ended"):
            metrics.add("Processed")
            raise ValueError("secret")

    with pytest.raises(ValueError, match="secret"):
        fail()
    (line,) = lines()
    assert line["Processed"] == 1
    assert "secret" not in json.dumps(line)


def test_what_is_found_to_be_none_is_told() -> None:
    with measured("dev", "run ended") as run:
        metrics.add("StuckEvents", 0)
    assert values(run) == {"StuckEvents": 0}


def test_outside_of_a_run_nothing_is_counted_and_nothing_fails(lines: Any) -> None:
    metrics.add("Processed")
    metrics.sample("EndToEndLatency", 1)
    metrics.note(eventId="e")
    with measured("dev", "run ended") as run:
        pass
    assert (run.counts, run.samples) == ([], [])
    assert lines() == []


def test_threads_lose_no_count() -> None:
    def count() -> None:
        for _ in range(1000):
            metrics.add("Processed")

    with measured("dev", "run ended") as run:
        threads = [Thread(target=copy_context().run, args=(count,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert values(run) == {"Processed": 8000}


# ------------------------------------------------------------------------ ingest


def test_an_event_is_accepted_once_and_then_a_duplicate() -> None:
    platform = Platform()
    seen = []
    for _ in range(2):
        with measured("test", "request answered") as run:
            ingest(make_submission(make_body(n=1), key="k"), single(platform))
        seen.append(values(run))
    assert seen == [{"Accepted": 1}, {"Duplicate": 1}]


def test_what_is_refused_for_its_content_is_rejected() -> None:
    platform = Platform()
    with measured("test", "request answered") as run, pytest.raises(InvalidRequestError):
        ingest(make_submission(b"{"), single(platform))
    assert values(run) == {"Rejected": 1}


def test_a_batch_counts_its_verdicts() -> None:
    # Given a batch with two new events, a repeat of one, and a refused one
    platform = Platform()
    keyed = {"eventType": "demo", "idempotencyKey": "k", "n": 1}
    body = json.dumps({"events": [keyed, {"eventType": "demo"}, keyed, {"eventType": 7}]}).encode()
    # When it is taken, twice
    seen = []
    for _ in range(2):
        with measured("test", "request answered") as run:
            platform.take(body)
        seen.append((values(run), run.fields))
    # Then
    assert seen[0][0] == {"Accepted": 2, "Duplicate": 1, "Rejected": 1}
    assert seen[1][0] == {"Duplicate": 2, "Accepted": 1, "Rejected": 1}
    assert seen[0][1]["items"] == 4
    assert seen[0][1]["rejected"] == 1


# ------------------------------------------------------------------------ the worker


def test_the_worker_counts_what_it_ends_and_how_long_that_took() -> None:
    # Given events that were received at different times
    worker = Worker()
    deliveries = []
    for seconds in (0, 90):
        worker.clock.advance(seconds)
        payload = make_body()
        event = make_event(payload=payload, at=worker.clock())
        deliveries.append(make_delivery(make_message(event, payload)))
    worker.clock.advance(1.5)
    # When
    with measured("test", "run ended") as run:
        worker.run(*deliveries)
    # Then
    assert values(run) == {
        "BatchSize": [2],
        "Processed": 2,
        "EndToEndLatency": [91_500, 1_500],
    }


def test_what_was_processed_before_is_not_counted_again() -> None:
    worker = Worker()
    _, delivery = worker.event()
    worker.run(delivery)
    with measured("test", "run ended") as run:
        worker.run(again(delivery, 2))
    assert values(run) == {"BatchSize": [1]}


def test_what_another_delivery_was_first_to_note_is_not_counted() -> None:
    class Late(FakeEventStore):
        def mark_processed(
            self, done: Done, dispatch: Dispatch, event: Event | None
        ) -> Standing | None:
            super().mark_processed(done, dispatch, event)
            return super().mark_processed(done, dispatch, event)

    worker = Worker()
    worker.ledger = Late(worker.aws)
    event, delivery = worker.event()
    with measured("test", "run ended") as run:
        worker.run(delivery)
    assert worker.status(event) is Status.PROCESSED
    assert values(run) == {"BatchSize": [1]}


@pytest.mark.parametrize(
    ("event_type", "attempts", "counted"),
    [
        ("permanent", 1, {"Failed/permanent": 1}),
        ("transient", 1, {}),
        ("transient", MAX_ATTEMPTS, {"Failed/transient": 1}),
        ("crash", MAX_ATTEMPTS, {"Failed/unknown": 1}),
    ],
)
def test_a_failure_is_counted_when_it_is_the_event_s_end(
    event_type: str, attempts: int, counted: dict[str, int]
) -> None:
    worker = Worker()
    _, delivery = worker.event(event_type, secret="s")
    with measured("test", "run ended") as run:
        try:
            worker.run(again(delivery, attempts))
        except BatchIncompleteError:
            assert not counted
    assert values(run) == {"BatchSize": [1], **counted}
    # And a message too many of it counts nothing
    if counted:
        with measured("test", "run ended") as run:
            worker.run(again(delivery, MAX_ATTEMPTS + 1))
        assert values(run) == {"BatchSize": [1]}


def test_events_of_a_unit_are_counted_each() -> None:
    worker = Worker()
    events, delivery = worker.unit(
        b'{"eventType":"demo","n":1}', b'{"eventType":"permanent"}', b'{"eventType":"demo","n":2}'
    )
    worker.clock.advance(2)
    with measured("test", "run ended") as run:
        worker.run(delivery)
    assert len(events) == 3
    assert values(run) == {
        "BatchSize": [1],
        "Processed": 2,
        "EndToEndLatency": [2000, 2000],
        "Failed/permanent": 1,
    }


def test_a_time_that_can_not_be_read_spoils_nothing() -> None:
    worker = Worker()
    payload = make_body()
    event = make_event(payload=payload)
    force_setattr(event, "received_at", "2026-99-99")
    delivery = make_delivery(make_message(event, payload))
    with measured("test", "run ended") as run:
        worker.run(delivery)
    assert values(run) == {"BatchSize": [1], "Processed": 1}


def test_a_clock_that_is_behind_makes_no_negative_latency() -> None:
    worker = Worker()
    payload = make_body()
    event = make_event(payload=payload, at=worker.clock())
    worker.clock.advance(-5)
    with measured("test", "run ended") as run:
        worker.run(make_delivery(make_message(event, payload)))
    assert values(run)["EndToEndLatency"] == [0]


# ------------------------------------------------------------------------ reconcile


def test_reconcile_tells_of_none_and_of_some() -> None:
    # Given nothing wrong
    stores = Stores()
    stores.processed()
    with measured("test", "run ended") as run:
        stores.compare()
    quiet = values(run)
    assert (quiet["StuckEvents"], quiet["GivenUpEvents"]) == (0, 0)
    assert (quiet["ComparedEvents"], quiet["SilverMissing"]) == (1, 0)
    assert "Failed/stuck" not in quiet
    # When a payload is there that the ledger has not heard of
    payload = make_body()
    lost = make_event(payload=payload, at=stores.clock())
    stores.lake.put_bronze(lost, payload)
    stores.clock.advance(4000)
    with measured("test", "run ended") as run:
        stores.reconcile()
    # Then
    assert values(run)["StuckEvents"] == 1


def test_an_event_that_is_given_up_has_failed() -> None:
    # Given an event that nobody works on
    stores = Stores()
    payload = make_body()
    event = make_event(payload=payload, at=stores.clock())
    stores.lake.put_bronze(event, payload)
    seen: list[dict[str, Any]] = []
    for _ in range(8):
        stores.clock.advance(40_000)
        stores.queue.messages.clear()
        with measured("test", "run ended") as run:
            stores.reconcile()
        seen.append(values(run))
    # Then it is given up, and counted, once
    assert [one["GivenUpEvents"] for one in seen].count(1) == 1
    assert sum(one.get("Failed/stuck", 0) for one in seen) == 1
