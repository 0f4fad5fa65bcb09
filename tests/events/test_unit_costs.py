"""What units save: the AWS calls of events, sent and worked off one by one and together."""

import json
from collections import Counter

import pytest

from chalicelib.aws.sqs import Delivery
from chalicelib.events.ingest import IngestDeps, ingest
from chalicelib.events.model import Status
from tests.support.batches_on_fakes import Platform
from tests.support.factories import make_submission, no_schema
from tests.support.worker_on_fakes import Worker

EVENTS = 100
LEDGER = {"PutItem", "UpdateItem", "GetItem", "BatchGetItem", "BatchWriteItem"}
BODIES = [json.dumps({"eventType": "demo", "n": n}).encode() for n in range(EVENTS)]


def send_singly(platform: Platform, number: int) -> Counter[str]:
    """Send events one by one; the calls."""
    deps = IngestDeps(platform.ledger, platform.lake, platform.queue, no_schema, 1000)
    for body in BODIES[:number]:
        ingest(make_submission(body), deps)
    return Counter(platform.aws.calls)


def work_off(platform: Platform, at_once: int = 10) -> Counter[str]:
    """Let the worker take all that is on the queue, so many messages at a time; its calls."""
    worker = Worker()
    worker.aws = platform.aws
    for name in ("ledger", "lake", "queue"):
        setattr(worker, name, getattr(platform, name))
    worker.bus._aws = worker.alerts._aws = worker.dead_letters._aws = platform.aws
    worker.journal._aws = platform.aws
    calls: Counter[str] = Counter()
    while records := platform.queue.receive(at_once):
        worker.run(*[Delivery.from_record(record) for record in records])
        platform.queue.acknowledge(records)
        calls.update(platform.aws.calls)
    ends = {record.status for record in platform.aws.records.values()}
    assert ends == {Status.PROCESSED}
    assert platform.aws.units == {}
    return calls


def others(calls: Counter[str]) -> int:
    """How many calls are not the ledger's, which is written for each event in any case."""
    return sum(number for name, number in calls.items() if name not in LEDGER)


@pytest.mark.parametrize(
    ("number", "puts"),
    [(1, 1), (10, 1), (50, 5)],
)
def test_single_events_that_the_worker_takes_together_share_all_but_the_ledger(
    number: int, puts: int
) -> None:
    # Given events that are sent one by one: two calls each
    platform = Platform()
    sent = send_singly(platform, number)
    assert sent == {"PutItem": number, "SendMessage": number}
    # When the worker takes them in one batch
    calls = work_off(platform, at_once=number)
    # Then two objects, two writes of the journal and the bus are shared
    assert calls == {
        "PutObject": 2, "PutItem": 1, "UpdateItem": number + 1, "PutEvents": puts,
    }  # fmt: skip


def test_a_trickle_pays_for_units_of_one() -> None:
    platform = Platform()
    send_singly(platform, EVENTS)
    assert work_off(platform, at_once=1) == {
        "PutObject": 2 * EVENTS, "PutItem": EVENTS, "UpdateItem": 2 * EVENTS, "PutEvents": EVENTS,
    }  # fmt: skip


def test_a_batch_costs_less_than_a_tenth_of_single_events() -> None:
    # Given a hundred events that are sent one by one, and worked off ten at a time
    singly = Platform()
    single = send_singly(singly, EVENTS) + work_off(singly)
    # And the same sent together
    together = Platform()
    together.send(*BODIES)
    batch = Counter(together.aws.calls) + work_off(together)
    # Then all calls but the ledger's are a tenth at most
    assert single == {
        "PutItem": EVENTS + 10, "SendMessage": EVENTS,
        "PutObject": 20, "UpdateItem": EVENTS + 10, "PutEvents": 10,
    }  # fmt: skip
    assert batch == {
        "PutObject": 2, "BatchWriteItem": 4, "SendMessage": 1,
        "PutItem": 1, "PutEvents": 10, "UpdateItem": EVENTS + 1,
    }  # fmt: skip
    assert others(batch) * 10 <= others(single)
