"""GET /queues: how deep each is, and how long the oldest event has waited."""

from datetime import timedelta

from chalicelib import wiring
from chalicelib.core import clock
from chalicelib.core.config import settings
from chalicelib.recovery.model import QUEUES
from chalicelib.recovery.queues import QueueDeps, list_queues
from tests.support.app_on_moto import NAMES, Platform
from tests.support.moto_aws import queue_url
from tests.support.problems import check_problem

COUNTS = {"waiting": 0, "inFlight": 0, "delayed": 0}


def test_every_queue_is_there_with_its_depth(platform: Platform) -> None:
    # Given nothing, but a dead letter
    admin = platform.sender("events:admin")
    platform.aws("sqs").send_message(
        QueueUrl=queue_url("eventline-test-uploads-dlq"), MessageBody="x"
    )
    # When somebody looks
    platform.calls.clear()
    page = admin.get("/queues").json_body
    # Then each is there once, and the oldest event is none
    assert page["cursor"] is None
    ours = ["events", "ci-events-queue", "deliveries"]
    assert [one["name"] for one in page["items"]] == [*ours, *QUEUES]
    found = {one.pop("name"): one for one in page["items"]}
    assert found["uploads-dlq"] == {**COUNTS, "waiting": 1, "oldestSeconds": None}
    assert found["events"] == {**COUNTS, "oldestSeconds": None}
    # And it cost a call a queue, and one a shard and open status
    shards = settings().ledger_shards
    assert platform.calls.count("GetQueueAttributes") == len(found)
    assert platform.calls.count("Query") == 2 * shards
    assert len(platform.calls) == 1 + len(found) + 2 * shards


def test_messages_are_counted_by_what_became_of_them(platform: Platform) -> None:
    # Given events that wait, one that the worker has taken, and one to be seen later
    alice, admin = platform.sender(), platform.sender("events:admin")
    for _ in range(3):
        alice.event_id({"eventType": "demo"})
    url = queue_url(NAMES.queue)
    platform.aws("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=1)
    wiring.events_queue().send("later", delay=900)
    # When somebody looks
    (events,) = [one for one in admin.get("/queues").json_body["items"] if one["name"] == "events"]
    # Then they are told apart
    assert (events["waiting"], events["inFlight"], events["delayed"]) == (2, 1, 1)
    assert 0 <= events["oldestSeconds"] < 60


def test_the_oldest_is_the_oldest_open_event_of_all_shards(platform: Platform) -> None:
    # Given an event that is done, then several that are open
    alice = platform.sender()
    alice.event_id({"eventType": "demo"})
    platform.work()
    for _ in range(6):
        alice.event_id({"eventType": "demo"})
    oldest = min(
        record["receivedAt"]
        for record in alice.get("/events").json_body["items"]
        if record["status"] == "RECEIVED"
    )
    # When somebody looks an hour later
    later = clock.from_text(oldest) + timedelta(hours=1)
    known = wiring.queues()
    deps = QueueDeps({"events": known.queues["events"]}, known.window, known.shards, lambda: later)
    # Then the first of the open ones counts
    assert list_queues(deps)[0]["oldestSeconds"] == 3600


def test_a_clock_behind_that_of_the_api_shows_no_time_below_zero(platform: Platform) -> None:
    platform.sender().event_id({"eventType": "demo"})
    known = wiring.queues()
    queues = {"events": known.queues["events"]}
    early = clock.utc_now() - timedelta(seconds=90)
    (events,) = list_queues(QueueDeps(queues, known.window, known.shards, lambda: early))
    assert events["oldestSeconds"] == 0


def test_a_query_is_refused(platform: Platform) -> None:
    check_problem(platform.sender("admin").get("/queues?x=1"), 400, "invalid-request", "/query/x")
