"""What a unit saves: the AWS calls of a hundred events sent together and one by one."""

import json
from collections import Counter

from chalicelib.aws.sqs import Delivery
from chalicelib.events.ingest import IngestDeps, ingest
from chalicelib.events.model import Status
from tests.support.batches_on_fakes import Platform
from tests.support.factories import make_submission, no_schema
from tests.support.worker_on_fakes import Worker

EVENTS = 100
LEDGER = {"PutItem", "UpdateItem", "GetItem", "BatchGetItem", "BatchWriteItem"}
BODIES = [json.dumps({"eventType": "demo", "n": n}).encode() for n in range(EVENTS)]


def work_off(platform: Platform) -> Counter[str]:
    """Let the worker take all that is on the queue, ten messages at a time; its calls."""
    worker = Worker()
    worker.aws = platform.aws
    for name in ("ledger", "lake", "queue"):
        setattr(worker, name, getattr(platform, name))
    worker.bus._aws = worker.alerts._aws = worker.dead_letters._aws = platform.aws
    calls: Counter[str] = Counter()
    while records := platform.queue.receive():
        worker.run(*[Delivery.from_record(record) for record in records])
        platform.queue.acknowledge(records)
        calls.update(platform.aws.calls)
    ends = [record.status for record in platform.aws.records.values()]
    assert ends == [Status.PROCESSED] * EVENTS
    return calls


def others(calls: Counter[str]) -> int:
    """How many calls are not the ledger's, which is written for each event in any case."""
    return sum(number for name, number in calls.items() if name not in LEDGER)


def test_a_batch_costs_less_than_a_tenth_of_single_events() -> None:
    # Given a hundred events that are sent one by one
    singly = Platform()
    deps = IngestDeps(singly.ledger, singly.lake, singly.queue, no_schema, 1000)
    for body in BODIES:
        ingest(make_submission(body), deps)
    single = Counter(singly.aws.calls) + work_off(singly)
    # And the same sent together
    together = Platform()
    together.send(*BODIES)
    batch = Counter(together.aws.calls) + work_off(together)
    # Then all calls but the ledger's are less than a tenth
    assert others(single) == 2 * EVENTS + EVENTS + EVENTS // 10
    assert batch == {
        "PutObject": 2, "BatchWriteItem": 4, "SendMessage": 1, "PutEvents": 10, "UpdateItem": 100,
    }  # fmt: skip
    assert others(batch) * 10 <= others(single)
