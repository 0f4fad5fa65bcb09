"""The worker, a batch at a time: no message hurts its neighbours."""

import json
import time

import pytest

from chalicelib.aws.sqs import Delivery
from chalicelib.core.errors import BatchIncompleteError
from chalicelib.events.model import Status
from chalicelib.events.worker import MARGIN_SECONDS
from tests.support.factories import decode_event, make_delivery
from tests.support.faults import Fault, ProcessKilledError
from tests.support.worker_on_fakes import Worker, again, refusing


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_what_is_done_is_deleted_and_what_failed_is_put_off(worker: Worker) -> None:
    # Given a queue with two good events around a bad one
    good, first = worker.event()
    bad, second = worker.event("transient")
    other, third = worker.event()
    for delivery in (first, second, third):
        worker.queue.send(delivery.body)
    batch = [Delivery.from_record(record) for record in worker.queue.receive()]
    # When the batch is processed
    with pytest.raises(BatchIncompleteError, match="1 of 3"):
        worker.run(*batch)
    # Then the good ones are off the queue, and the bad one waits
    assert worker.status(good) is worker.status(other) is Status.PROCESSED
    assert worker.status(bad) is Status.ENQUEUED
    (left,) = worker.queue.messages
    assert decode_event(left.body).event == bad
    assert (left.visible_at - worker.clock()).total_seconds() == round(5 * 1.5)
    assert worker.aws.calls[-2:] == ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"]


def test_a_batch_of_good_events_makes_no_queue_calls(worker: Worker) -> None:
    batch = [worker.event()[1] for _ in range(10)]
    worker.run(*batch)
    assert set(worker.aws.calls) == {"PutObject", "PutEvents", "UpdateItem", "PutItem"}
    assert worker.aws.calls.count("PutEvents") == 1


def test_two_messages_for_one_event_in_a_batch_are_one(worker: Worker) -> None:
    event, delivery = worker.event()
    worker.run(delivery, again(delivery, 1))
    assert worker.status(event) is Status.PROCESSED
    assert len(worker.bus.entries) == 1
    assert worker.aws.calls.count("PutObject") == 1


def test_a_refused_entry_is_tried_again_and_its_neighbours_are_not(worker: Worker) -> None:
    # Given a bus that refuses one of two entries
    refused, delivery = worker.event("refused")
    good, neighbour = worker.event("good")
    worker.bus.refused = {"refused"}
    # When both are delivered
    with pytest.raises(BatchIncompleteError):
        worker.run(delivery, neighbour)
    # Then one is done, and the other waits with the reason
    assert worker.status(good) is Status.PROCESSED
    record = worker.aws.records[refused.event_id]
    assert record.status is Status.ENQUEUED
    assert record.last_error == {
        "class": "transient",
        "code": "ThrottlingException",
        "message": "EventBridge did not take the entry",
    }
    # And when it comes again, it is told of once
    worker.bus.refused = set()
    worker.run(again(delivery, 2))
    assert worker.status(refused) is Status.PROCESSED
    assert [entry.detail_type for entry in worker.bus.entries] == ["good", "refused"]


def test_a_repeat_waits_for_the_delivery_that_is_at_work(worker: Worker) -> None:
    # Given a worker that died between silver and the bus
    event, delivery = worker.event()
    worker.aws.calls.clear()
    worker.aws.fail(2, Fault.KILLED_BEFORE)
    with pytest.raises(ProcessKilledError):
        worker.run(delivery)
    worker.aws.faults.clear()
    # When another message for the event comes for the first time
    with pytest.raises(BatchIncompleteError):
        worker.run(again(delivery, 1))
    # Then it leaves the work to the other, which goes on
    assert worker.bus.entries == []
    worker.run(again(delivery, 2))
    assert worker.status(event) is Status.PROCESSED
    assert len(worker.bus.entries) == 1
    # And a later repeat does nothing
    worker.run(again(delivery, 1))
    assert len(worker.bus.entries) == 1


def test_an_event_that_ends_failed_raises_one_alert(worker: Worker) -> None:
    event, delivery = worker.event("permanent")
    worker.run(delivery)
    assert worker.status(event) is Status.FAILED
    (alert,) = worker.alerts.sent
    assert json.loads(alert)["eventline"]["kind"] == "event-failed"


@pytest.mark.parametrize("body", ["hello", "{}", '{"v":1}', json.dumps({"Records": []})])
def test_a_foreign_message_goes_to_the_dead_letters_with_its_reason(
    worker: Worker, body: str
) -> None:
    good, delivery = worker.event()
    foreign = make_delivery(body)
    worker.run(foreign, delivery)
    assert worker.status(good) is Status.PROCESSED
    (aside,) = worker.dead_letters.messages
    assert aside.body == body
    assert aside.attributes["code"] == "foreign-message"
    assert aside.attributes["messageId"] == foreign.message_id
    assert aside.attributes["reason"]


def test_a_foreign_message_that_cannot_be_set_aside_stays(worker: Worker) -> None:
    worker.aws.gate = refusing("SendMessage")
    with pytest.raises(BatchIncompleteError):
        worker.run(make_delivery("hello"))
    assert worker.dead_letters.messages == []


def test_one_that_hangs_leaves_time_to_the_others(worker: Worker) -> None:
    slow, hanging = worker.event("hang")
    good, delivery = worker.event()
    worker.seconds = MARGIN_SECONDS + 0.5
    began = time.monotonic()
    with pytest.raises(BatchIncompleteError):
        worker.run(hanging, delivery)
    assert time.monotonic() - began < 2
    assert worker.status(good) is Status.PROCESSED
    last_error = worker.aws.records[slow.event_id].last_error
    assert last_error is not None
    assert (last_error["class"], last_error["code"]) == ("transient", "time-out")


def test_what_there_is_no_time_for_comes_back_at_once(worker: Worker) -> None:
    event, delivery = worker.event()
    worker.queue.send(delivery.body)
    (record,) = worker.queue.receive()
    worker.seconds = MARGIN_SECONDS - 0.1
    with pytest.raises(BatchIncompleteError):
        worker.run(Delivery.from_record(record))
    assert event.event_id not in worker.aws.records
    assert worker.queue.messages[0].visible_at == worker.clock()


def test_one_that_kills_the_process_takes_no_neighbour_down(worker: Worker) -> None:
    # Given a message that killed a worker before, ahead of a good one
    good, fresh = worker.event()
    _, deadly = worker.event()
    worker.queue.send(fresh.body)
    (record,) = worker.queue.receive()
    killer = again(deadly, 2)
    # When it does it again: the good one's calls and the one that deletes it come first
    worker.aws.calls.clear()
    worker.aws.fail(6, Fault.KILLED_BEFORE)
    with pytest.raises(ProcessKilledError):
        worker.run(killer, Delivery.from_record(record))
    # Then the good one is done and off the queue
    assert worker.status(good) is Status.PROCESSED
    assert worker.queue.messages == []
