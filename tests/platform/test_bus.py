"""The stage's EventBridge bus: whoever has a rule there learns of each processed event once."""

import json

import pytest

from chalicelib.events.keys import silver_key
from chalicelib.events.message import Parcel, encode_message
from chalicelib.events.model import Status
from tests.support.deployed_stage import Stage, unique, wait_for
from tests.support.mailbox import Mailbox, open_mailbox

pytestmark = [pytest.mark.emulator, pytest.mark.one_stage]


def subscribe(stage: Stage, event_type: str) -> Mailbox:
    """A queue that gets what the bus tells of events of one type."""
    mailbox = open_mailbox(stage, "events.amazonaws.com")
    events = stage.emulator.client("events")
    rule = {"Name": unique("rule"), "EventBusName": stage.settings.event_bus}
    pattern = {"source": ["eventline"], "detail-type": [event_type]}
    events.put_rule(**rule, EventPattern=json.dumps(pattern))
    answer = events.put_targets(
        Rule=rule["Name"],
        EventBusName=rule["EventBusName"],
        Targets=[{"Id": "queue", "Arn": mailbox.arn}],
    )
    assert not answer["FailedEntryCount"], answer
    return mailbox


def test_a_rule_of_ones_own_gets_one_entry_for_an_event(stage: Stage) -> None:
    # Given
    event_type = unique("order.placed")
    mailbox = subscribe(stage, event_type)

    # When
    event_id = stage.send({"eventType": event_type, "amount": 3})
    stage.send({"eventType": unique("order.other")})
    record = stage.follow(event_id)
    wait_for("the entry", mailbox.bodies)

    # Then
    (entry,) = mailbox.bodies()
    assert (entry["source"], entry["detail-type"]) == ("eventline", event_type)
    assert entry["detail"]["eventId"] == event_id
    place = entry["detail"]["silver"]
    assert place == {"bucket": stage.settings.silver_bucket, "key": silver_key(record.event)}
    stored = stage.s3.get_object(Bucket=place["bucket"], Key=place["key"])["Body"].read()
    document = json.loads(stored)
    assert document["data"]["amount"] == 3
    # The entry is the document, with where it lies in place of its data.
    del document["data"], entry["detail"]["silver"]
    assert entry["detail"] == document
    assert record.timeline[-1]["status"] == Status.PROCESSED
    assert record.timeline[-1]["status"] == "PROCESSED"


def test_an_event_whose_message_comes_again_is_told_once(stage: Stage) -> None:
    # Given
    event_type = unique("order.again")
    mailbox = subscribe(stage, event_type)
    record = stage.follow(stage.send({"eventType": event_type}))
    wait_for("the entry", mailbox.bodies)

    # When
    again = encode_message(Parcel(record.event, None), unique("request"))
    for _ in range(5):
        stage.sqs.send_message(QueueUrl=stage.events_url, MessageBody=again)
    wait_for("the repeats to be handled", lambda: not any(stage.waiting().values()))
    behind = stage.follow(stage.send({"eventType": event_type}))
    wait_for("the entry sent last", lambda: len(mailbox.bodies()) > 1)

    # Then
    told = [entry["detail"]["eventId"] for entry in mailbox.bodies()]
    assert told == [record.event.event_id, behind.event.event_id]


def test_copies_of_a_message_in_one_batch_are_told_once(stage: Stage) -> None:
    # Given
    event_type = unique("order.copies")
    mailbox = subscribe(stage, event_type)
    with stage.paused_worker():
        event_id = stage.send({"eventType": event_type})
        waiting = stage.record(event_id)
        assert waiting is not None
        copy = encode_message(Parcel(waiting.event, None), unique("request"))
        for _ in range(4):
            stage.sqs.send_message(QueueUrl=stage.events_url, MessageBody=copy)

    # When
    record = stage.follow(event_id)
    wait_for("the copies to be handled", lambda: not any(stage.waiting().values()))
    stage.follow(stage.send({"eventType": event_type}))
    wait_for("the entry sent last", lambda: len(mailbox.bodies()) > 1)

    # Then
    assert [entry["detail"]["eventId"] for entry in mailbox.bodies()].count(event_id) == 1
    assert stage.silver_documents(record.event) == 1


def test_an_event_that_fails_is_not_told_of(stage: Stage) -> None:
    event_type = "eventline.drill.permanent"
    mailbox = subscribe(stage, event_type)

    record = stage.follow(stage.send({"eventType": event_type}))
    stage.follow(stage.send({"eventType": unique("order.behind")}))

    assert record.status is Status.FAILED
    assert mailbox.bodies() == []
