"""The worker, and failed runs of workflows that come by webhook: an alert each."""

import json

import pytest

from chalicelib.aws.sqs import Delivery
from chalicelib.core.errors import BatchIncompleteError
from chalicelib.events.finish import LEASE_MARGIN_SECONDS
from chalicelib.events.model import Event, Status, Step
from tests.support.factories import make_delivery, make_event, make_message
from tests.support.faults import Fault, ProcessKilledError
from tests.support.worker_on_fakes import WEBHOOK_OWNER, Worker, again, refusing


@pytest.fixture
def worker() -> Worker:
    return Worker()


RUN = json.dumps(
    {
        "action": "completed",
        "workflow_run": {"conclusion": "failure", "name": "build"},
        "repository": {"full_name": "o/r"},
    }
).encode()
FAILED_RUN = "github.workflow_run.completed"


def webhook(worker: Worker, owner: str = WEBHOOK_OWNER) -> tuple[Event, Delivery]:
    """A failed workflow run, as it comes by webhook."""
    event = make_event(event_type=FAILED_RUN, owner=owner, payload=RUN)
    return event, make_delivery(make_message(event, RUN))


def test_a_failed_run_from_a_webhook_becomes_an_alert_once(worker: Worker) -> None:
    event, delivery = webhook(worker)
    worker.run(delivery)
    (alert,) = worker.alerts.sent
    assert json.loads(alert)["repository"] == {"full_name": "o/r"}
    # Before its unit is closed
    assert worker.aws.calls[-3:] == ["PutEvents", "SendMessage", "UpdateItem"]
    worker.run(again(delivery, 2))
    assert len(worker.alerts.sent) == 1
    assert worker.status(event) is Status.PROCESSED


def test_many_failed_runs_are_an_alert_each(worker: Worker) -> None:
    found = [webhook(worker) for _ in range(3)]
    worker.run(*[delivery for _, delivery in found])
    assert len(worker.alerts.sent) == 3
    for _, delivery in found:
        worker.run(again(delivery, 2))
    assert len(worker.alerts.sent) == 3


def test_the_same_from_another_owner_is_not_an_alert(worker: Worker) -> None:
    event, delivery = webhook(worker, owner="mallory")
    worker.run(delivery)
    assert worker.status(event) is Status.PROCESSED
    assert worker.alerts.sent == []


@pytest.mark.parametrize("is_dead", [True, False])
def test_an_alert_that_was_not_sent_is_sent_by_the_next_delivery(
    worker: Worker, is_dead: bool
) -> None:
    # Given a worker that died between the bus and the alert, or whose alert was refused
    event, delivery = webhook(worker)
    worker.ledger.add(event, [Step(Status.RECEIVED, event.received_at)])
    if is_dead:
        worker.aws.calls.clear()
        worker.aws.fail(5, Fault.KILLED_BEFORE)
        with pytest.raises(ProcessKilledError):
            worker.run(delivery)
        worker.aws.faults.clear()
    else:
        worker.aws.gate = refusing("SendMessage")
        with pytest.raises(BatchIncompleteError):
            worker.run(delivery)
        worker.aws.gate = None
    assert worker.alerts.sent == []
    assert len(worker.bus.entries) == 1
    # When its message comes again, it finds its silver document, and sends it
    worker.clock.advance(worker.seconds + LEASE_MARGIN_SECONDS + 1)
    worker.run(again(delivery, 2))
    (alert,) = worker.alerts.sent
    assert json.loads(alert)["repository"] == {"full_name": "o/r"}
    assert worker.status(event) is Status.PROCESSED
    # And only once
    worker.run(again(delivery, 3))
    assert len(worker.alerts.sent) == 1


@pytest.mark.parametrize("sent_along", [True, False])
def test_an_alert_in_a_unit_is_sent_too(worker: Worker, sent_along: bool) -> None:
    body = json.dumps({**json.loads(RUN), "eventType": FAILED_RUN}).encode()
    worker.owner = WEBHOOK_OWNER
    events, delivery = worker.unit(body, b'{"eventType":"demo"}', sent_along=sent_along)
    worker.aws.gate = refusing("PutEvents")
    with pytest.raises(BatchIncompleteError):
        worker.run(delivery)
    assert worker.alerts.sent == []
    worker.aws.gate = None
    worker.clock.advance(30)
    worker.run(again(delivery, 2))
    assert len(worker.alerts.sent) == 1
    assert [worker.status(event) for event in events] == [Status.PROCESSED] * 2
