"""From an event to a delivery: who gets it, what is noted, and when it is tried again."""

import json
import time
from collections import Counter
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from msgspec.structs import replace
from standardwebhooks.webhooks import Webhook

from chalicelib import wiring
from chalicelib.core import clock
from chalicelib.core.log import correlation
from chalicelib.destinations import deliver
from chalicelib.destinations.due import take_up_due
from chalicelib.destinations.health import Destinations
from chalicelib.destinations.model import RETRY_SECONDS, Delivery, with_next
from chalicelib.destinations.store import SLOTS
from chalicelib.outbound.send import Answer
from tests.support.app_on_moto import BreakCall
from tests.support.destination_world import QUEUE, URL, World
from tests.support.moto_aws import client, queue_url

DOWN = Answer(503, "http-503", "busy", 40, is_down=True)
NOT_FOUND = Answer(404, "http-404", "no", 40)
GONE = Answer(410, "http-410", "gone", 40)
TIME_OUT = Answer(None, "time-out", "", 15_000, is_down=True)
REFUSED = EndpointConnectionError(endpoint_url="https://aws")


def test_an_event_is_delivered_signed_and_noted(world: World) -> None:
    made = world.make()
    event_id = world.event(total=5)

    assert world.deliver()

    ((url, body, headers),) = world.sender.sent
    assert url == URL
    assert (body["type"], body["id"], body["data"]["total"]) == ("order.paid", event_id, 5)
    assert headers["webhook-id"] == event_id
    assert int(headers["webhook-timestamp"]) == int(world.clock().timestamp())
    key = Webhook(made["secret"])
    raw = json.dumps(body, separators=(",", ":"))
    assert headers["webhook-signature"] == key.sign(event_id, world.clock(), raw)
    found = world.delivery(made, event_id)
    assert (found["state"], found["nextAt"], found["code"]) == ("delivered", None, None)
    (attempt,) = found["attempts"]
    assert (attempt["status"], attempt["code"], attempt["answer"]) == (200, "", "ok")
    assert world.messages() == []


def test_only_who_subscribed_gets_an_event(world: World) -> None:
    world.make(eventTypes=["item.*"])
    world.make(filter={"data": {"total": [{"numeric": [">", 100]}]}})
    world.make(paused=True)
    world.make(world.platform.sender("destinations:write"))
    right = world.make(filter={"data": {"total": [5]}, "source": [{"prefix": "/"}]})
    world.event(total=5)

    (message,) = world.messages()
    assert json.loads(message["body"])["delivery"]["destinationId"] == right["id"]
    assert message["attributes"]["MessageGroupId"] == right["id"]


def test_what_nobody_subscribed_to_costs_one_read_in_the_time_of_the_cache(world: World) -> None:
    world.event()
    first = list(world.platform.calls)
    world.event()
    again = list(world.platform.calls)

    assert first.count("Query") == 1
    assert "Query" not in again
    assert [one for one in first if one != "Query"] == again


def test_a_delivery_that_is_answered_at_once_costs_one_note(world: World) -> None:
    world.make()
    world.event()
    world.known = Destinations(wiring.destination_store(), 10, world.clock)
    world.deliver()
    world.event()
    records = world.messages()
    world.platform.calls.clear()

    world.deliver(records)

    assert world.platform.calls == ["UpdateItem"]


def test_the_request_that_brought_an_event_is_known_to_its_delivery(world: World) -> None:
    world.make()
    answer = world.somebody.post("/events", {"eventType": "order.paid"})
    world.platform.work()
    logged_under: list[dict[str, str]] = []

    def post(url: str, body: bytes, headers: Any) -> Answer:
        logged_under.append(correlation())
        return DOWN

    world.sender.post = post  # type: ignore[method-assign]
    for _ in range(2):
        world.wake()
        world.deliver()
    ids = {"requestId": answer.headers["X-Request-Id"], "eventId": answer.json_body["eventId"]}
    assert logged_under == [ids] * 2


def test_a_large_document_is_read_from_silver(world: World) -> None:
    world.make()
    world.event(text="x" * 10_000)
    (message,) = world.messages()
    assert "document" not in json.loads(message["body"])

    world.deliver([message])

    assert world.sender.sent[0][1]["data"]["text"] == "x" * 10_000


def test_a_batch_goes_out_whoever_else_is_in_it(world: World) -> None:
    world.make(eventTypes=["order.*"])
    events = [{"eventType": "order.paid", "n": number} for number in range(3)]
    world.somebody.post("/events/batch", {"events": events})
    world.platform.work()

    records = world.messages()
    assert len(records) == 3
    world.deliver(records)

    assert sorted(body["data"]["n"] for _, body, _ in world.sender.sent) == [0, 1, 2]


def test_each_failed_attempt_has_its_wait(world: World) -> None:
    made = world.make()
    event_id = world.event()
    world.sender.usual = NOT_FOUND
    waits: list[float] = []
    for number in range(1, len(RETRY_SECONDS) + 1):
        world.wake()
        world.deliver()
        found = world.delivery(made, event_id)
        assert found["state"] == "waiting"
        assert [one["code"] for one in found["attempts"]] == ["http-404"] * number
        waits.append((clock.from_text(found["nextAt"]) - world.clock()).total_seconds())
        world.clock.advance(waits[-1])
        world.take_up()
    assert tuple(waits) == RETRY_SECONDS


def test_after_the_last_attempt_it_is_given_up(world: World) -> None:
    made = world.make()
    event_id = world.event()
    world.sender.usual = NOT_FOUND
    for wait in (*RETRY_SECONDS, 0):
        world.wake()
        world.deliver()
        world.clock.advance(wait)
        world.take_up()
    found = world.delivery(made, event_id)
    assert (found["state"], found["nextAt"]) == ("failed", None)
    assert len(found["attempts"]) == len(RETRY_SECONDS) + 1
    assert world.take_up() == 0
    assert world.messages() == []


def test_a_short_wait_is_a_delayed_message_a_long_one_an_entry(world: World) -> None:
    world.make()
    world.event()
    world.sender.usual = NOT_FOUND
    world.deliver()
    assert world.delays() == [5]
    world.wake()
    world.deliver()
    assert world.delays() == [300]
    world.wake()
    world.deliver()
    assert world.delays() == []
    # Not yet near; then it is sent with what is left of its wait.
    assert world.take_up() == 0
    world.clock.advance(RETRY_SECONDS[2] - 100)
    assert world.take_up() == 1
    assert world.delays() == [100]
    # It is not sent twice, but comes again should its message be lost.
    assert world.take_up() == 0
    world.clock.advance(1800)
    assert world.take_up() == 1


def test_a_schedule_that_was_away_sends_each_once(world: World) -> None:
    made = world.make()
    event_id = world.event()
    (message,) = world.messages()
    store, key = wiring.delivery_store(), json.loads(message["body"])["delivery"]["receivedAt"]
    waiting = store_due(world, made["id"], event_id, key)
    world.clock.advance(86_400)
    assert world.take_up() == 1
    assert world.take_up() == 0
    assert store.get(made["id"], f"{key}#{event_id}") == waiting


def test_a_schedule_goes_on_though_deliveries_cannot_be_taken_up(
    world: World, break_call: BreakCall
) -> None:
    made = world.make()
    store_due(world, made["id"], world.event(), "2026-03-14T12:00:00.000Z")
    with break_call("dynamodb", "Query", REFUSED, table="eventline-test-destinations"):
        assert world.take_up() == 0
        assert world.platform.reconcile() is not None
    with break_call("dynamodb", "UpdateItem", REFUSED, table="eventline-test-destinations"):
        assert world.take_up() == 0
    assert world.take_up() == 1


def test_half_of_a_run_is_left_to_the_rest_of_the_schedule(world: World) -> None:
    made = world.make()
    store_due(world, made["id"], world.event(), "2026-03-14T12:00:00.000Z")
    left = iter((60.0, 30.0, *(29.0,) * 100))
    deps = replace(wiring.due_deliveries(lambda: next(left)), now=world.clock)
    assert take_up_due(deps) == 0


def store_due(world: World, destination_id: str, event_id: str, received_at: str) -> Delivery:
    """A delivery that waits for the schedule."""
    waiting = with_next(
        Delivery(
            destination_id=destination_id,
            event_id=event_id,
            received_at=received_at,
            event_type="order.paid",
            silver_key="silver/k",
        ),
        world.clock(),
    )
    wiring.delivery_store().put_off(waiting, world.clock())
    return waiting


def test_waits_are_longer_by_chance_never_shorter(world: World) -> None:
    world.jitter = 1.0
    world.make()
    world.event()
    world.sender.usual = NOT_FOUND
    world.deliver()
    world.wake()
    world.deliver()
    assert world.delays() == [330]


@pytest.mark.parametrize(("asked", "wait"), [(2, 5), (120, 120), (10**9, 86_400)])
def test_what_a_receiver_asks_for_is_honoured_where_it_is_longer(
    world: World, asked: int, wait: int
) -> None:
    made = world.make()
    event_id = world.event()
    world.sender.answers = [Answer(429, "http-429", "", 0, retry_after=asked, is_down=True)]
    world.deliver()
    planned = clock.from_text(world.delivery(made, event_id)["nextAt"])
    assert (planned - world.clock()).total_seconds() == wait


def test_an_attempt_without_an_answer_is_tried_again(world: World) -> None:
    made = world.make()
    event_id = world.event()
    world.sender.answers = [TIME_OUT, TIME_OUT]
    for _ in range(3):
        assert world.deliver()
        world.wake()
        world.clock.advance(300)
    found = world.delivery(made, event_id)
    assert found["state"] == "delivered"
    assert [one["status"] for one in found["attempts"]] == [None, None, 200]
    assert found["attempts"][0]["code"] == "time-out"


def test_a_later_success_ends_it(world: World) -> None:
    made = world.make()
    event_id = world.event()
    world.sender.answers = [DOWN]
    world.deliver()
    assert world.shown(made)["state"] == "failing"
    world.wake()
    world.deliver()
    found = world.delivery(made, event_id)
    assert found["state"] == "delivered"
    assert [one["status"] for one in found["attempts"]] == [503, 200]
    shown = world.shown(made)
    assert (shown["state"], shown["failingSince"]) == ("active", None)


def test_410_disables_at_once_and_tells(world: World) -> None:
    made = world.make()
    event_id = world.event()
    world.sender.answers = [GONE]

    world.deliver()

    shown = world.shown(made)
    assert (shown["state"], shown["disabledReason"]) == ("disabled", "gone")
    found = world.delivery(made, event_id)
    assert (found["state"], len(found["attempts"])) == ("failed", 1)
    (alert,) = world.platform.receive("eventline-test-ci-events-queue")
    told = json.loads(alert["body"])["eventline"]
    assert (told["kind"], told["destinationId"], told["owner"]) == (
        "destination-disabled",
        made["id"],
        world.somebody.owner,
    )
    (mail,) = world.told_owner()
    assert made["id"] in mail
    assert "410" in mail
    # It gets nothing more.
    wiring.routes.cache_clear()
    world.event()
    assert world.messages() == []


def test_only_its_owner_is_told(world: World) -> None:
    other = world.platform.sender("destinations:write", "events:write")
    made = world.make(other)
    other.event_id({"eventType": "order.paid"})
    world.platform.work()
    world.sender.answers = [GONE]
    world.deliver()
    assert world.stored(made).disabled_reason == "gone"
    assert world.told_owner() == []


def test_after_five_days_of_failing_it_is_disabled(world: World) -> None:
    made = world.make()
    world.event()
    world.sender.usual = NOT_FOUND
    world.deliver()
    world.clock.advance(5 * 86_400 - 60)
    world.wake()
    world.deliver()
    assert world.shown(made)["state"] == "failing"
    world.clock.advance(120)
    world.wake()
    world.deliver()
    shown = world.shown(made)
    assert (shown["state"], shown["disabledReason"]) == ("disabled", "failing")
    assert len(world.platform.receive("eventline-test-ci-events-queue")) == 1


def test_a_success_begins_the_five_days_anew(world: World) -> None:
    made = world.make()
    world.event()
    for answer in (NOT_FOUND, Answer(200, ""), NOT_FOUND):
        world.sender.usual = answer
        world.wake()
        world.deliver()
        world.clock.advance(4 * 86_400)
        world.event()
    world.sender.usual = NOT_FOUND
    world.wake()
    world.deliver()
    assert world.shown(made)["state"] == "failing"


@pytest.mark.parametrize(
    ("late", "is_proven"),
    [
        *((answer, is_proven) for answer in (DOWN, NOT_FOUND, GONE) for is_proven in (True, False)),
        (Answer(200, "", "", 9_000), True),
        (Answer(200, "", "", 9_000), False),
        (Answer(200, "", "ok", 12), False),
    ],
)
def test_what_an_old_url_answers_late_says_nothing_of_the_new_one(
    world: World, late: Answer, *, is_proven: bool
) -> None:
    # Given a destination whose owner gives it another URL while a call to the old one is out
    made, new_url = world.make(), "https://new.example.com/"
    world.known = Destinations(wiring.destination_store(), 10, world.clock)
    if is_proven:
        world.event()
        world.deliver()
    called: list[str] = []

    def post(url: str, body: bytes, headers: Any) -> Answer:
        called.append(url)
        if url == URL:
            assert world.put(made, url=new_url).status_code == 200
            return late
        return world.sender.usual

    world.sender.post = post  # type: ignore[method-assign]

    # When that answers
    world.event()
    world.deliver()

    # Then nothing is noted of the new one, and nobody is told
    stored = world.stored(made)
    assert (stored.url, stored.state) == (new_url, "active")
    marks = (stored.proven_at, stored.failing_since, stored.trouble_since, stored.trouble_until)
    assert marks == (None,) * 4
    assert stored.disabled_at is None
    assert world.platform.receive("eventline-test-ci-events-queue") == []

    # And this process calls it from now on
    client("sqs").purge_queue(QueueUrl=queue_url(QUEUE))
    world.event()
    world.deliver()
    assert called == [URL, new_url]
    assert world.stored(made).proven_at is not None


@pytest.mark.parametrize("off", ["paused", "deleted", "disabled"])
def test_what_waits_for_a_destination_that_is_off_is_given_up(world: World, off: str) -> None:
    made = world.make()
    event_id = world.event()
    if off == "paused":
        assert world.put(made, paused=True).status_code == 200
    elif off == "deleted":
        world.somebody.call("DELETE", f"/destinations/{made['id']}")
    else:
        wiring.destination_store().disable(world.stored(made), world.clock(), "failing")

    assert world.deliver()

    assert world.sender.sent == []
    record = world.somebody.get(f"/events/{event_id}").json_body
    key = f"{record['receivedAt']}#{event_id}"
    found = wiring.delivery_store().get(made["id"], key)
    assert found is not None
    assert (found.outcome, found.code) == ("failed", off)


def test_a_repeated_message_does_not_deliver_again(world: World) -> None:
    world.make()
    world.event()
    (first,) = world.messages()
    world.deliver([first])
    again = {**first, "attributes": {**first["attributes"], "ApproximateReceiveCount": "2"}}
    world.deliver([again])
    assert len(world.sender.sent) == 1


def test_a_message_that_another_has_overtaken_is_dropped(world: World) -> None:
    world.make()
    world.event()
    (first,) = world.messages()
    world.sender.usual = NOT_FOUND
    world.deliver([first])
    world.wake()
    (second,) = world.messages()
    world.deliver([second])
    # The second one once more, after it has had its attempt.
    again = {**second, "attributes": {**second["attributes"], "ApproximateReceiveCount": "2"}}
    world.deliver([again])
    assert len(world.sender.sent) == 2


def test_a_death_between_the_answer_and_the_note_delivers_twice_and_no_more(
    world: World, break_call: BreakCall
) -> None:
    made = world.make()
    world.event()
    world.deliver()
    world.sender.sent.clear()
    event_id = world.event()
    records = world.messages()
    with break_call("dynamodb", "UpdateItem", REFUSED, table="eventline-test-destinations"):
        assert not world.deliver(records)
    world.wake()
    assert world.deliver()
    world.wake()
    assert world.messages() == []
    assert [headers["webhook-id"] for _, _, headers in world.sender.sent] == [event_id] * 2
    assert world.delivery(made, event_id)["state"] == "delivered"


def test_a_death_between_the_next_message_and_the_note_loses_nothing(
    world: World, break_call: BreakCall
) -> None:
    made = world.make()
    event_id = world.event()
    world.sender.answers = [NOT_FOUND]
    records = world.messages()
    with break_call("dynamodb", "UpdateItem", REFUSED, table="eventline-test-destinations"):
        assert not world.deliver(records)
    for _ in range(3):
        world.wake()
        world.deliver()
    assert world.delivery(made, event_id)["state"] == "delivered"
    assert world.messages() == []


def test_a_queue_that_fails_keeps_the_message(world: World, break_call: BreakCall) -> None:
    made = world.make()
    event_id = world.event()
    world.sender.answers = [NOT_FOUND]
    records = world.messages()
    with break_call("sqs", "SendMessage", REFUSED):
        assert not world.deliver(records)
    world.wake()
    assert world.deliver()
    assert world.delivery(made, event_id)["state"] == "delivered"


def test_a_hand_over_that_fails_is_made_up_for(world: World, break_call: BreakCall) -> None:
    world.make()
    event_id = world.somebody.event_id({"eventType": "order.paid"})
    records = world.platform.receive()
    with (
        break_call("sqs", "SendMessageBatch", REFUSED),
        pytest.raises(Exception, match="messages to retry"),
    ):
        world.platform.work(records)
    assert world.somebody.get(f"/events/{event_id}").json_body["status"] == "PROCESSED"
    assert world.messages() == []

    # The unit is still open: whoever finishes it hands over, and says that it may be a repeat.
    world.platform.reconcile()

    (message,) = world.messages()
    assert json.loads(message["body"])["again"] is True
    world.deliver([message])
    assert world.sender.sent[0][2]["webhook-id"] == event_id


def test_routes_that_cannot_be_read_keep_the_unit_open(world: World, break_call: BreakCall) -> None:
    world.make()
    world.somebody.event_id({"eventType": "order.paid"})
    records = world.platform.receive()
    with (
        break_call("dynamodb", "Query", REFUSED, table="eventline-test-destinations"),
        pytest.raises(Exception, match="messages to retry"),
    ):
        world.platform.work(records)
    # Nor is it on the bus yet, where it would come twice
    assert "PutEvents" not in world.platform.calls
    world.platform.reconcile()
    assert world.platform.calls.count("PutEvents") == 1
    assert len(world.messages()) == 1


def test_a_foreign_message_is_set_aside(world: World) -> None:
    world.make()
    world.event()
    bodies = ["{", '{"v":9}', '{"v":1,"delivery":{"destinationId":"x"}}', "[]", '{"v":1,"sweep":7}']
    for body in bodies:
        client("sqs").send_message(QueueUrl=queue_url(QUEUE), MessageBody=body)

    assert world.deliver()

    assert len(world.sender.sent) == 1
    aside = world.platform.receive("eventline-test-deliveries-dlq")
    assert sorted(one["body"] for one in aside) == sorted(bodies)


# Fairness


def events_of(world: World, number: int) -> None:
    events = [{"eventType": "order.paid", "n": one} for one in range(number)]
    world.somebody.post("/events/batch", {"events": events})
    world.platform.work()


def test_after_one_time_out_a_run_tries_the_endpoint_no_more(world: World) -> None:
    made = world.make()
    other = world.make(url="https://other.example.com/")
    events_of(world, 5)
    world.sender.post = _by_url({URL: TIME_OUT}, world)  # type: ignore[method-assign]

    assert world.deliver()

    calls = [url for url, _, _ in world.sender.sent]
    assert calls.count("https://other.example.com/") == 5
    assert calls.count(URL) <= deliver.AT_ONCE
    assert world.shown(made)["state"] == "failing"
    assert world.shown(other)["state"] == "active"
    # All others wait, on the queue and not in flight.
    assert world.messages() == []
    assert len(world.delays()) == 5


def _by_url(answers: dict[str, Answer], world: World) -> Any:
    def post(url: str, body: bytes, headers: Any) -> Answer:
        world.sender.sent.append((url, json.loads(body), dict(headers)))
        return answers.get(url, world.sender.usual)

    return post


def test_a_destination_in_trouble_has_few_calls_in_all(world: World) -> None:
    made = world.make()
    store = wiring.destination_store()
    store.mark_failed(world.stored(made), world.clock(), is_trouble=True)
    taken = [
        number for number in range(SLOTS) if store.take_slot(made["id"], number, world.clock())
    ]
    assert taken == list(range(SLOTS))
    world.event()

    world.deliver()

    assert world.sender.sent == []
    assert world.delays() == [60]
    # A slot that is free again lets it through, and is given back after it.
    store.free_slot(made["id"], 0)
    world.wake()
    world.deliver()
    assert len(world.sender.sent) == 1
    assert store.take_slot(made["id"], 0, world.clock())
    assert world.shown(made)["state"] == "active"


def test_an_endpoint_that_hangs_gets_one_call_a_minute(world: World) -> None:
    # Given one that worked, and then hung for two runs
    world.make()
    world.event()
    world.deliver()
    world.sender.usual = TIME_OUT
    for _ in range(2):
        world.event()
        world.deliver()
    assert len(world.sender.sent) == 3
    # When more comes, within the minute and much later
    for seconds in (10, 10, 600):
        world.clock.advance(seconds)
        world.event()
        world.deliver()
    # Then it was called once more, and still counts as down
    assert len(world.sender.sent) == 4
    world.event()
    world.deliver()
    assert len(world.sender.sent) == 4


def test_a_new_destination_that_hangs_holds_one_run(world: World) -> None:
    made = world.make()
    world.event()
    first = world.messages()
    world.event()
    second = world.messages()
    # When another run comes while the first call is out
    world.sender.answers = [TIME_OUT]
    calls: list[int] = []

    def post(url: str, body: bytes, headers: Any) -> Answer:
        calls.append(1)
        if len(calls) == 1:
            assert world.deliver(second)
            return TIME_OUT
        return world.sender.usual

    world.sender.post = post  # type: ignore[method-assign]
    world.deliver(first)
    # Then it makes no call, and waits for a moment
    assert len(calls) == 1
    assert world.delays() == [2, 5]
    assert world.shown(made)["state"] == "failing"


def test_a_new_destination_gets_a_burst_once_it_has_answered(world: World) -> None:
    world.make()
    events = [{"eventType": "order.paid", "n": number} for number in range(9)]
    world.somebody.post("/events/batch", {"events": events})
    world.platform.work()

    world.deliver()

    assert len(world.sender.sent) == 9
    assert world.delays() == []


@pytest.mark.parametrize("url", [URL, "https://other.example.com/"])
def test_a_change_calls_a_destination_that_hung(world: World, url: str) -> None:
    made = world.make()
    world.sender.answers = [TIME_OUT]
    world.event()
    world.deliver()
    assert world.put(made, url=url).status_code == 200

    world.wake()
    world.deliver()

    assert [sent[0] for sent in world.sender.sent] == [URL, url]


def test_an_endpoint_that_fails_quickly_is_called_as_often_as_something_comes(
    world: World,
) -> None:
    world.make()
    world.sender.usual = DOWN
    for calls in range(1, 5):
        world.event()
        world.deliver()
        assert len(world.sender.sent) == calls


@pytest.mark.parametrize("order", ["one", "failed"])
def test_a_retry_by_its_owner_calls_a_destination_that_hung(world: World, order: str) -> None:
    # Given one that hung, and hangs on to its slot
    made = world.make()
    world.known = Destinations(wiring.destination_store(), 10, world.clock)
    world.sender.answers = [TIME_OUT]
    event_id = world.event()
    for _ in range(2):
        world.deliver()
        world.wake()
    given_up = wiring.delivery_store().get(
        made["id"], f"{world.delivery(made, event_id)['receivedAt']}#{event_id}"
    )
    assert given_up is not None
    wiring.delivery_store().give_up(given_up, "test", world.clock())
    # When its owner asks
    since = {"failedSince": "2026-01-01"}
    assert (
        world.retry(made, **({"eventId": event_id} if order == "one" else since)).status_code == 202
    )
    world.wake()
    for _ in range(2):
        world.deliver()
    # Then it is called at once
    assert world.delivery(made, event_id)["state"] == "delivered"


def test_a_lost_slot_is_free_after_a_while(world: World) -> None:
    store = wiring.destination_store()
    made = world.make()
    assert store.take_slot(made["id"], 3, world.clock())
    assert not store.take_slot(made["id"], 3, world.clock())
    world.clock.advance(61)
    assert store.take_slot(made["id"], 3, world.clock())


def test_the_longer_the_trouble_the_longer_the_pause(world: World) -> None:
    made = world.make()
    store = wiring.destination_store()
    store.mark_failed(world.stored(made), world.clock(), is_trouble=True)
    world.clock.advance(4 * 3600)
    store.mark_failed(world.stored(made), world.clock(), is_trouble=True)
    for number in range(SLOTS):
        store.take_slot(made["id"], number, world.clock())
    event_id = world.event()

    world.deliver()

    # Two hours are no message but an entry, and no attempt.
    assert world.delays() == []
    found = world.delivery(made, event_id)
    assert (found["state"], found["attempts"]) == ("waiting", [])
    planned = clock.from_text(found["nextAt"])
    assert (planned - world.clock()).total_seconds() == 2 * 3600


def test_two_messages_of_a_delivery_in_one_run_make_one_call(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a delivery that is to be tried again, whose message comes twice, and a slow endpoint
    world.make()
    world.sender.answers = [Answer(500, "http-500", "no", 12)]
    event_id = world.event()
    world.deliver()
    post = world.sender.post

    def slowly(*arguments: Any) -> Answer:
        time.sleep(0.2)
        return post(*arguments)

    monkeypatch.setattr(world.sender, "post", slowly)
    world.wake()
    world.clock.advance(61)
    # When both are in one run
    (record,) = world.messages()
    world.deliver([record, {**record, "messageId": "another"}])
    # Then one call is made, and noted
    assert len(world.sender.sent) == 2
    (shown,) = world.somebody.get(f"/events/{event_id}/deliveries").json_body["items"]
    assert [one["status"] for one in shown["attempts"]] == [500, 200]


def test_a_tenth_of_endpoints_dead_delays_no_other(world: World) -> None:
    # Given ten destinations, of which one does not answer, and six events
    world.known = Destinations(wiring.destination_store(), 10, world.clock)
    urls = [f"https://shop{number}.example.com/" for number in range(10)]
    for url in urls:
        world.make(url=url)
    dead = set(urls[::10])
    world.sender.post = _by_url(dict.fromkeys(dead, TIME_OUT), world)  # type: ignore[method-assign]
    events_of(world, 6)
    # When what is on the queue is worked off once, without any wait
    while records := world.messages():
        assert world.deliver(records)
    # Then every living endpoint has all of its events, each once
    got = Counter((url, body["id"]) for url, body, _ in world.sender.sent if url not in dead)
    assert len(got) == 9 * 6
    assert set(got.values()) == {1}
    # And what was for the dead ones waits elsewhere, none lost
    assert len(world.delays()) == 6


def test_a_slow_success_is_trouble_and_a_quick_one_ends_it(world: World) -> None:
    made = world.make()
    world.sender.answers = [Answer(200, "", "", 9_000)]
    world.event()
    world.deliver()
    assert world.stored(made).is_in_trouble(world.clock())
    assert world.shown(made)["state"] == "active"
    world.event()
    world.deliver()
    assert world.stored(made).trouble_until is None


def test_a_run_without_time_leaves_the_rest_to_the_next(world: World) -> None:
    world.make()
    world.event()
    world.seconds = 10
    assert world.deliver()
    assert world.sender.sent == []
    world.seconds = 90
    world.wake()
    world.deliver()
    assert len(world.sender.sent) == 1


# Formats, headers, secrets


@pytest.mark.parametrize(
    ("format_", "content_type"),
    [("standard", "application/json"), ("cloudevents", "application/cloudevents+json")],
)
def test_each_format_has_its_content_type(world: World, format_: str, content_type: str) -> None:
    world.make(format=format_, headers={"Authorization": "Bearer abc", "X-Shop": "1"})
    event_id = world.event(subject="order/1")
    world.deliver()
    ((_, body, headers),) = world.sender.sent
    assert headers["Content-Type"] == content_type
    assert (headers["Authorization"], headers["X-Shop"]) == ("Bearer abc", "1")
    assert (body["id"], body["type"], body["subject"]) == (event_id, "order.paid", "order/1")
    if format_ == "cloudevents":
        assert (body["specversion"], body["datacontenttype"]) == ("1.0", "application/json")


def test_a_binary_cloud_event_has_its_context_in_headers(world: World) -> None:
    world.make(format="cloudevents-binary")
    event_id = world.event(subject="Köln 1")
    world.deliver()
    ((_, body, headers),) = world.sender.sent
    assert headers["Content-Type"] == "application/json"
    assert (headers["ce-id"], headers["ce-type"]) == (event_id, "order.paid")
    assert headers["ce-subject"] == "K%C3%B6ln%201"
    assert body["eventType"] == "order.paid"


def test_while_secrets_overlap_both_sign(world: World) -> None:
    world.clock.advance((clock.utc_now() - world.clock()).total_seconds())
    made = world.make()
    path = f"/destinations/{made['id']}/rotate"
    rotated = world.somebody.post(path).json_body
    assert rotated["secret"] != made["secret"]
    for days, signatures in ((0, 2), (2, 1)):
        world.clock.advance(days * 86_400)
        world.event()
        world.deliver()
        headers = world.sender.sent[-1][2]
        assert headers["webhook-signature"].count("v1,") == signatures
