"""Idempotency-Key: one key, one event, one answer, for ever."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib import wiring
from chalicelib.events.ingest import ingest
from tests.support.app_on_moto import NAMES, BreakCall, Platform
from tests.support.factories import make_submission
from tests.support.faults import refusal
from tests.support.problems import check_problem

DEMO = b'{"eventType":"demo","n":1}'


def test_a_repeat_gets_the_first_answer_and_says_so(platform: Platform) -> None:
    # Given a keyed event
    sender = platform.sender()
    first = sender.post("/events", DEMO, Idempotency_Key="k")
    # When it is sent again, before and after it was processed
    second = sender.post("/events", DEMO, Idempotency_Key="k")
    platform.work()
    third = sender.post("/events", DEMO, Idempotency_Key="k")
    # Then the answer is the same, and there is one event
    assert first.status_code == second.status_code == third.status_code == 202
    assert first.json_body == second.json_body == third.json_body
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == third.headers["Idempotent-Replayed"] == "true"
    assert first.headers["Location"] == third.headers["Location"]
    assert len(sender.get("/events").json_body["items"]) == 1


@pytest.mark.parametrize(
    "other", [b'{"eventType":"demo","n":2}', b'{"eventType":"other","n":1}', DEMO + b" "]
)
@pytest.mark.parametrize("processed", [False, True])
def test_another_body_is_refused_and_the_first_one_stays(
    platform: Platform, other: bytes, *, processed: bool
) -> None:
    # Given a keyed event
    sender = platform.sender()
    event_id = sender.event_id(DEMO, Idempotency_Key="k")
    if processed:
        platform.work()
    before = sender.get(f"/events/{event_id}").json_body
    # When another body comes under its key
    response = sender.post("/events", other, Idempotency_Key="k")
    # Then it is refused, and nothing has changed
    check_problem(response, 422, "idempotency-conflict")
    assert sender.get(f"/events/{event_id}").json_body == before
    assert sender.get(f"/events/{event_id}/payload").body == DEMO


def test_another_owner_has_keys_of_its_own(platform: Platform) -> None:
    alice, bob = platform.sender(), platform.sender()
    alices = alice.post("/events", DEMO, Idempotency_Key="k")
    bobs = bob.post("/events", DEMO + b" ", Idempotency_Key="k")
    assert bobs.status_code == 202
    assert "Idempotent-Replayed" not in bobs.headers
    assert alices.json_body["eventId"] != bobs.json_body["eventId"]


def test_two_tokens_of_an_owner_share_its_keys(platform: Platform) -> None:
    one = platform.sender(owner="shared")
    other = platform.sender(owner="shared")
    assert one.event_id(DEMO, Idempotency_Key="k") == other.event_id(DEMO, Idempotency_Key="k")


@pytest.mark.parametrize("key", ["x" * 256, "grüße", "a\x00b", "a\tb"])
def test_a_key_that_can_be_none_is_refused(platform: Platform, key: str) -> None:
    response = platform.sender().post("/events", DEMO, Idempotency_Key=key)
    check_problem(response, 400, "invalid-request", "/header/Idempotency-Key")


@pytest.mark.parametrize(
    "key", ["../../x", "EVENT#x", "a/b?c=d&e", "{}", "'; DROP TABLE", "~" * 255]
)
def test_a_strange_key_is_just_a_key(platform: Platform, key: str) -> None:
    sender = platform.sender()
    event_id = sender.event_id(DEMO, Idempotency_Key=key)
    assert sender.event_id(DEMO, Idempotency_Key=key) == event_id
    platform.work()
    assert sender.get(f"/events/{event_id}").json_body["status"] == "PROCESSED"


def test_a_request_that_failed_half_way_may_be_repeated(
    platform: Platform, break_call: BreakCall
) -> None:
    # Given a request whose answer was a 503
    sender = platform.sender()
    with break_call("dynamodb", "PutItem", refusal("PutItem")):
        check_problem(sender.post("/events", DEMO, Idempotency_Key="k"), 503, "unavailable")
    # When the sender sends it again, as told
    response = sender.post("/events", DEMO, Idempotency_Key="k")
    # Then it is accepted as the first of its key
    assert response.status_code == 202
    assert "Idempotent-Replayed" not in response.headers
    platform.work()
    event_id = response.json_body["eventId"]
    assert sender.get(f"/events/{event_id}/payload").body == DEMO
    assert sender.get(f"/events/{event_id}").json_body["status"] == "PROCESSED"


def test_equal_requests_at_the_same_time_make_one_event(platform: Platform) -> None:
    # Given a sender that hits the button twenty times
    sender = platform.sender(owner="hasty")

    def send(_: int) -> str:
        # `chalice.test.Client` has one current request, so the service is called itself.
        submission = make_submission(DEMO, owner="hasty", key="k")
        return ingest(submission, wiring.ingest()).event_id

    # When all are on their way together
    with ThreadPoolExecutor(20) as pool:
        ids = set(pool.map(send, range(20)))
    # Then there is one event, in every place
    assert len(ids) == 1
    platform.work()
    records = platform.receive()
    assert len(records) == 10
    platform.work(records)
    assert len(sender.get("/events").json_body["items"]) == 1
    for bucket in (NAMES.bronze_bucket, NAMES.silver_bucket):
        assert platform.aws("s3").list_objects_v2(Bucket=bucket)["KeyCount"] == 1
