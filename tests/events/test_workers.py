"""The functions that no request starts: the worker, reconcile, and the authorizer."""

import json
from typing import Any

import pytest

import app
from chalicelib import wiring
from chalicelib.core.errors import BatchIncompleteError
from chalicelib.tokens.manage import issue_token
from tests.support.app_on_moto import ISSUED_AT, NAMES, BreakCall, Platform, sample
from tests.support.factories import LambdaContext
from tests.support.faults import no_answer, refusal

DEMO = {"eventType": "demo"}


def test_a_sent_event_is_processed_and_explained(platform: Platform) -> None:
    # Given an event of each kind of ingest
    sender = platform.sender()
    ids = [sender.event_id(DEMO), sender.event_id(DEMO, Idempotency_Key="k")]
    # When the worker has run
    platform.work()
    # Then both tell their whole life
    for event_id in ids:
        record = sender.get(f"/events/{event_id}").json_body
        assert record["status"] == "PROCESSED"
        steps = [entry["status"] for entry in record["timeline"]]
        assert steps == ["RECEIVED", "ENQUEUED", "PROCESSED"]
        times = [entry["at"] for entry in record["timeline"]]
        assert times == sorted(times)
        assert record["attempts"] == 1


@pytest.mark.parametrize("count", [1, 10])
def test_processing_is_a_call_an_event_and_five_a_run(platform: Platform, count: int) -> None:
    sender = platform.sender()
    for _ in range(count):
        sender.event_id(DEMO)
    platform.work()
    counters = ["UpdateItem"] * 2
    # Who subscribed is asked once in DESTINATION_CACHE_SECONDS for each owner.
    assert platform.calls == [
        "PutObject", "PutItem", "PutObject",
        *["UpdateItem"] * count, "Query", "PutEvents", "UpdateItem", *counters,
    ]  # fmt: skip


def test_a_repeated_delivery_changes_nothing(platform: Platform) -> None:
    # Given an event whose message is delivered twice
    sender = platform.sender()
    event_id = sender.event_id(DEMO)
    records = platform.receive()
    platform.work(records)
    record = sender.get(f"/events/{event_id}").json_body
    result = sender.get(f"/events/{event_id}/result").body
    # When it comes again, in this message or another
    records[0]["attributes"]["ApproximateReceiveCount"] = "2"
    platform.work(records)
    assert platform.calls == [*["Query"] * 8, "BatchGetItem"]
    records[0]["attributes"]["ApproximateReceiveCount"] = "1"
    platform.work(records)
    assert platform.calls.count("GetItem") == 1
    # Then nothing is different
    assert sender.get(f"/events/{event_id}").json_body == record
    assert sender.get(f"/events/{event_id}/result").body == result


def test_one_failure_leaves_its_neighbours_done(platform: Platform) -> None:
    # Given a good event, one that fails for now, and one that fails for good
    sender = platform.sender()
    good = sender.event_id(DEMO)
    bad = sender.event_id({"eventType": "eventline.drill.crash"})
    hopeless = sender.event_id({"eventType": "eventline.drill.permanent"})
    # When they come in a batch
    with pytest.raises(BatchIncompleteError, match="1 of 3"):
        platform.work()
    queue = [call for call in platform.calls if "Message" in call and call != "SendMessage"]
    assert queue == ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"]
    # Then only the second is kept for later
    records = {id_: sender.get(f"/events/{id_}").json_body for id_ in (good, bad, hopeless)}
    assert [records[id_]["status"] for id_ in (good, bad, hopeless)] == [
        "PROCESSED",
        "ENQUEUED",
        "FAILED",
    ]
    assert records[bad]["lastError"]["class"] == "unknown"
    assert records[hopeless]["lastError"] == {
        "class": "permanent",
        "code": "drill",
        "message": "a drill that fails for good",
    }
    assert waiting(platform) == (0, 1)


def waiting(platform: Platform) -> tuple[int, int]:
    """How many messages are visible, and how many are hidden."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    url = platform.aws("sqs").get_queue_url(QueueName=NAMES.queue)["QueueUrl"]
    answer = platform.aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)
    visible, hidden = (int(answer["Attributes"][name]) for name in names)
    return visible, hidden


def test_the_last_attempt_ends_failed(platform: Platform) -> None:
    # Given an event that never succeeds
    sender = platform.sender()
    event_id = sender.event_id({"eventType": "eventline.drill.transient", "failures": 99})
    (record,) = platform.receive()
    # When all its attempts are used up
    for attempt in range(1, 6):
        record["attributes"]["ApproximateReceiveCount"] = str(attempt)
        if attempt < 5:
            with pytest.raises(BatchIncompleteError):
                platform.work([record])
        else:
            platform.work([record])
    # Then it is FAILED, with the reason and every attempt
    found = sender.get(f"/events/{event_id}").json_body
    assert found["status"] == "FAILED"
    assert found["attempts"] == 5
    assert found["lastError"]["class"] == "transient"
    details = [entry.get("detail") for entry in found["timeline"]]
    assert details == [None, None, *["attempt failed: transient drill"] * 5]
    assert waiting(platform) == (0, 0)


def test_foreign_messages_are_set_aside_on_the_dead_letter_queue(platform: Platform) -> None:
    # Given two messages of other senders amid a good one
    sender = platform.sender()
    event_id = sender.event_id(DEMO)
    foreign = sample("sqs_batch")["Records"]
    # When they come in a batch
    platform.work([foreign[0], *platform.receive(), foreign[1]])
    # Then they are set aside with the reason, and the good one is done
    assert sender.get(f"/events/{event_id}").json_body["status"] == "PROCESSED"
    aside = platform.receive(NAMES.dead_letter_queue)
    assert {record["body"] for record in aside} == {record["body"] for record in foreign}
    for record in aside:
        assert record["messageAttributes"]["code"]["StringValue"] == "foreign-message"
        assert record["messageAttributes"]["reason"]["StringValue"]


@pytest.mark.parametrize(
    ("service", "operation"), [("s3", "PutObject"), ("dynamodb", "UpdateItem")]
)
@pytest.mark.parametrize("done", [False, True])
def test_an_outage_only_delays_an_event(
    platform: Platform, break_call: BreakCall, service: str, operation: str, *, done: bool
) -> None:
    # Given an event whose processing fails at one of its calls
    sender = platform.sender()
    event_id = sender.event_id(DEMO)
    records = platform.receive()
    error = no_answer() if done else refusal(operation)
    with break_call(service, operation, error, done=done), pytest.raises(BatchIncompleteError):
        platform.work(records)
    # When it is delivered again
    records[0]["attributes"]["ApproximateReceiveCount"] = "2"
    platform.work(records)
    # Then it is processed
    assert sender.get(f"/events/{event_id}").json_body["status"] == "PROCESSED"
    result = sender.get(f"/events/{event_id}/result")
    assert result.json_body["data"] == DEMO


def test_a_forgotten_payload_is_found_and_processed(
    platform: Platform, break_call: BreakCall
) -> None:
    # Given a request that failed after its payload was kept
    sender = platform.sender()
    large = {**DEMO, "text": "x" * 5000}
    with break_call("dynamodb", "PutItem", refusal("PutItem")):
        response = sender.post("/events", json.dumps(large).encode(), Idempotency_Key="k")
    assert response.status_code == 503
    # When reconcile runs, asked not to wait
    report = platform.reconcile({"stuckAfterSeconds": 0})
    platform.work()
    # Then it is processed as if nothing had been
    assert report.pop("comparison")["differences"]["bronzeWithoutLedger"] == 1
    assert report == {
        "stuck": 0, "waiting": 0, "requeued": 0, "failed": 0,
        "orphans": 1, "recovered": 1, "foreign": 0, "complete": True, "unitsFinished": 0,
    }  # fmt: skip
    (item,) = sender.get("/events").json_body["items"]
    assert item["status"] == "PROCESSED"
    assert item["owner"] == sender.owner


def test_what_was_never_sent_is_sent(platform: Platform, break_call: BreakCall) -> None:
    # Given an event that was kept while the queue was down
    sender = platform.sender()
    with break_call("sqs", "SendMessage", refusal("SendMessage")):
        assert sender.post("/events", DEMO).status_code == 503
    (item,) = sender.get("/events").json_body["items"]
    event_id = item["eventId"]
    # When reconcile runs, asked not to wait
    report = platform.reconcile({"stuckAfterSeconds": 0})
    assert report["requeued"] >= 1
    platform.work()
    # Then it is processed, and says how
    record = sender.get(f"/events/{event_id}").json_body
    assert record["status"] == "PROCESSED"
    assert record["timeline"][1]["detail"] == "sent again by reconcile"


def test_the_schedule_leaves_what_is_young(platform: Platform) -> None:
    platform.sender().event_id(DEMO)
    report = platform.reconcile(sample("eventbridge_schedule"))
    assert (report["stuck"], report["orphans"], report["complete"]) == (0, 0, True)


@pytest.mark.parametrize("seconds", [-1, "900", 1.5, True, 10**9])
def test_reconcile_refuses_an_invalid_time(platform: Platform, seconds: Any) -> None:
    with pytest.raises(Exception, match="stuckAfterSeconds"):
        platform.reconcile({"stuckAfterSeconds": seconds})


def test_the_authorizer_says_who_it_is(platform: Platform) -> None:
    # Given a token
    token, text = issue_token(wiring.tokens(), "alice", ["events:read", "admin"], ISSUED_AT)
    event = {**sample("authorizer_token"), "authorizationToken": f"Bearer {text}"}
    # When API Gateway asks
    answer = app.authorize(event, LambdaContext())
    # Then its owner may call the API, and the application learns who that is
    assert answer["principalId"] == "alice"
    assert answer["context"].pop("runId")
    assert answer["context"] == {
        "owner": "alice",
        "scopes": "admin events:read",
        "tokenId": token.token_id,
    }
    (statement,) = answer["policyDocument"]["Statement"]
    assert statement["Effect"] == "Allow"
    assert all(arn.startswith(event["methodArn"].split("/")[0]) for arn in statement["Resource"])


def test_the_authorizer_raises_what_the_gateway_makes_a_401_of(platform: Platform) -> None:
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        app.authorize(sample("authorizer_token"), LambdaContext())
