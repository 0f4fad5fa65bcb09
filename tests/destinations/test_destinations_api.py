"""The routes of destinations."""

import json
from typing import Any

import pytest

import app
from chalicelib import wiring
from chalicelib.destinations import manage, sweep
from chalicelib.outbound.send import Answer
from tests.support.destination_world import QUEUE, URL, World
from tests.support.factories import LambdaContext, make_id
from tests.support.webhook_receiver import Receiver, answer

NOT_FOUND = Answer(404, "http-404", "no", 40)
BAD: list[tuple[dict[str, Any], str]] = [
    ({"url": "http://example.com/"}, "/url"),
    ({"url": "https://169.254.169.254/"}, "/url"),
    ({"url": "https://user:pw@example.com/"}, "/url"),
    ({"url": 7}, "/url"),
    ({"url": ""}, "/url"),
    ({"url": None}, "/url"),
    ({"eventTypes": []}, "/eventTypes"),
    ({"eventTypes": "order.*"}, "/eventTypes"),
    ({"eventTypes": ["order.*", ""]}, "/eventTypes/1"),
    ({"eventTypes": ["or*der"]}, "/eventTypes/0"),
    ({"eventTypes": ["**"]}, "/eventTypes/0"),
    ({"eventTypes": ["a\u0000"]}, "/eventTypes/0"),
    ({"eventTypes": ["ü" * 70]}, "/eventTypes/0"),
    ({"eventTypes": [7]}, "/eventTypes/0"),
    ({"eventTypes": ["a"] * 51}, "/eventTypes"),
    ({"filter": []}, "/filter"),
    ({"filter": {}}, "/filter"),
    ({"filter": {"owner": ["a"]}}, "/filter/owner"),
    ({"filter": {"data": {"a": [{"regex": "x"}]}}}, "/filter/data/a/0"),
    ({"description": "x" * 257}, "/description"),
    ({"paused": "yes"}, "/paused"),
    ({"format": "xml"}, "/format"),
    *(({"rate": rate}, "/rate") for rate in (0, -1, 1001, 1.5, "5", True, [5])),
    ({"speed": 5}, "/speed"),
    ({"secret": "whsec_x"}, "/secret"),
    ({"headers": {"Host": "a"}}, "/headers/Host"),
    ({"headers": {"content-LENGTH": "1"}}, "/headers/content-LENGTH"),
    ({"headers": {"Transfer-Encoding": "chunked"}}, "/headers/Transfer-Encoding"),
    ({"headers": {"webhook-signature": "v1,x"}}, "/headers/webhook-signature"),
    ({"headers": {"X-Forwarded-For": "10.0.0.1"}}, "/headers/X-Forwarded-For"),
    ({"headers": {"X-A": "b\r\nHost: c"}}, "/headers/X-A"),
    ({"headers": {"X-A": "ü"}}, "/headers/X-A"),
    ({"headers": {"X-A": " "}}, "/headers/X-A"),
    ({"headers": {"X-A": 1}}, "/headers/X-A"),
    ({"headers": {"X A": "b"}}, "/headers/X A"),
    ({"headers": {"X-A\n": "b"}}, "/headers/X-A\n"),
    ({"headers": {"X-A": "a", "x-a": "b"}}, "/headers/x-a"),
    ({"headers": {f"X-{number}": "a" for number in range(11)}}, "/headers"),
    ({"headers": ["a"]}, "/headers"),
]


@pytest.mark.parametrize(("order", "pointer"), BAD, ids=[str(one)[:60] for one in BAD])
def test_what_is_wrong_is_told_where_it_is(
    world: World, order: dict[str, Any], pointer: str
) -> None:
    refused = world.somebody.post("/destinations", {"url": URL, "eventTypes": ["a"], **order})
    assert refused.status_code == 400, refused.body
    assert pointer in [fault["pointer"] for fault in refused.json_body["errors"]]


@pytest.mark.parametrize(
    "name",
    [
        *("X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "x-cluster-client-ip", "Client-IP"),
        *("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-method"),
        *("X_Real_IP", "true_client-ip", "X_HTTP_METHOD_OVERRIDE", "X_Forwarded-For"),
        *("Content_Length", "webhook_signature", "Transfer_Encoding"),
    ],
)
def test_a_header_that_makes_a_request_another_is_refused(world: World, name: str) -> None:
    order = {"url": URL, "eventTypes": ["a"], "headers": {name: "1"}}
    refused = world.somebody.post("/destinations", order)
    assert refused.status_code == 400, refused.body
    (fault,) = refused.json_body["errors"]
    assert fault["pointer"] == f"/headers/{name}"


def test_a_header_that_only_looks_like_one_is_taken(world: World) -> None:
    names = ["Authorization", "X-Client", "X-Api_Key", "X-Payment-Method", "X-Skip", "X-IP"]
    assert world.make(headers=dict.fromkeys(names, "1"))["headerNames"] == sorted(names)


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{", b"null"])
def test_no_object_is_no_destination(world: World, body: bytes) -> None:
    assert world.somebody.post("/destinations", body).status_code == 400


def test_a_destination_is_shown_without_its_secret(world: World) -> None:
    order: dict[str, Any] = {
        "description": "shop",
        "filter": {"data": {"total": [1.5]}},
        "headers": {"Authorization": "Bearer hidden", "X-A": "b"},
        "format": "cloudevents",
    }
    made = world.make(**order)

    assert made["secret"].startswith("whsec_")
    shown = world.shown(made)
    assert shown.pop("recent")["delivered"] == 0
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert shown["filter"] == {"data": {"total": [1.5]}}
    assert shown["headerNames"] == ["Authorization", "X-A"]
    listed = world.somebody.get("/destinations").json_body["items"]
    assert listed == [shown]
    assert "hidden" not in json.dumps([made, shown, listed])
    assert "whsec_" not in json.dumps([shown, listed])


def test_the_index_that_the_worker_reads_has_no_secret(world: World) -> None:
    made = world.make(headers={"Authorization": "Bearer hidden"})
    table = world.platform.aws("dynamodb")
    items = table.query(
        TableName="eventline-test-destinations",
        IndexName="by-owner",
        KeyConditionExpression="ownerShard = :owner",
        ExpressionAttributeValues={":owner": {"S": f"{world.somebody.owner}#0"}},
    )["Items"]
    assert len(items) == 1
    assert made["secret"] not in json.dumps(items)
    assert "hidden" not in json.dumps(items)


def test_neither_secret_nor_url_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    made = world.make(headers={"Authorization": "Bearer hidden"})
    world.sender.answers = [NOT_FOUND]
    world.event()
    world.deliver()
    logged = "\n".join(str(vars(record)) for record in caplog.records)
    assert "event not delivered" in logged
    for secret in (made["secret"], "hidden", URL):
        assert secret not in logged


def test_a_destination_is_its_owners_alone(world: World) -> None:
    made = world.make()
    other = world.platform.sender(
        "destinations:read", "destinations:write", "events:read", "events:write"
    )
    path = f"/destinations/{made['id']}"
    body = json.dumps({"url": URL, "eventTypes": ["a"]}).encode()
    assert other.get(path).status_code == 404
    assert other.call("PUT", path, body).status_code == 404
    assert other.call("DELETE", path).status_code == 404
    assert other.post(f"{path}/rotate").status_code == 404
    assert other.get(f"{path}/attempts").status_code == 404
    assert other.post(f"{path}/retry", {"failedSince": "2026-01-01"}).status_code == 404
    assert other.get("/destinations").json_body["items"] == []
    event_id = world.event()
    assert other.get(f"/events/{event_id}/deliveries").status_code == 404
    own = other.event_id({"eventType": "order.paid"})
    assert world.retry(made, eventId=own).status_code == 404
    assert other.call("GET", f"/destinations?owner={world.somebody.owner}").status_code == 403


def test_scopes_are_kept_apart(world: World) -> None:
    made = world.make()
    reader = world.platform.sender("destinations:read", owner=world.somebody.owner)
    path = f"/destinations/{made['id']}"
    assert reader.get(path).status_code == 200
    for method, more in (("PUT", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/retry")):
        assert reader.call(method, path + more, b"{}").status_code == 403
    plain = world.platform.sender(owner=world.somebody.owner)
    assert plain.get("/destinations").status_code == 403


@pytest.mark.parametrize("path", ["/destinations/x", f"/destinations/{make_id()}"])
def test_what_is_not_there_is_not_found(world: World, path: str) -> None:
    body = json.dumps({"url": URL, "eventTypes": ["a"]}).encode()
    assert world.somebody.get(path).status_code == 404
    assert world.somebody.call("PUT", path, body).status_code == 404
    assert world.somebody.get(f"{path}/attempts").status_code == 404
    assert world.somebody.get(f"/events/{path.rpartition('/')[2]}/deliveries").status_code == 404


def test_a_change_keeps_the_headers_that_it_leaves_out(world: World) -> None:
    made = world.make(headers={"X-A": "b"}, description="old", filter={"source": ["/a"]})

    changed = world.put(made, eventTypes=["item.*", "item.*"]).json_body

    assert changed["eventTypes"] == ["item.*"]
    assert (changed["description"], changed["filter"]) == (None, None)
    assert changed["headerNames"] == ["X-A"]
    assert world.put(made, headers={}).json_body["headerNames"] == []
    assert world.shown(made)["eventTypes"] == ["order.*"]


def test_a_change_enables_what_was_disabled(world: World) -> None:
    made = world.make()
    store = wiring.destination_store()
    store.mark_failed(world.stored(made), world.clock(), is_trouble=True)
    store.disable(world.stored(made), world.clock(), "failing")
    assert world.shown(made)["state"] == "disabled"
    assert world.retry(made, failedSince="2026-01-01").status_code == 409

    changed = world.put(made).json_body

    assert (changed["state"], changed["failingSince"], changed["disabledAt"]) == (
        "active",
        None,
        None,
    )
    wiring.routes.cache_clear()
    world.event()
    world.deliver()
    assert len(world.sender.sent) == 1


def test_a_rotation_leaves_a_disabled_destination_disabled(world: World) -> None:
    made = world.make()
    wiring.destination_store().disable(world.stored(made), world.clock(), "failing")
    rotated = world.somebody.post(f"/destinations/{made['id']}/rotate").json_body
    assert rotated["state"] == "disabled"
    assert rotated["previousSecretUntil"] is not None
    wiring.routes.cache_clear()
    world.event()
    assert world.messages() == []


def test_rotating_twice_ends_the_first_secret(world: World) -> None:
    made = world.make()
    for _ in range(2):
        world.somebody.post(f"/destinations/{made['id']}/rotate")
    texts = [one.text for one in world.stored(made).secrets]
    assert len(texts) == 2
    assert made["secret"] not in texts


def test_two_changes_at_once_are_no_mixture(world: World) -> None:
    made = world.make()
    store = wiring.destination_store()
    seen = world.stored(made)
    world.put(made, description="first")
    assert store.change(seen, seen) is None
    assert world.shown(made)["description"] == "first"


def test_an_owner_has_a_limited_number(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manage, "MAX_DESTINATIONS", 2)
    world.make()
    world.make(paused=True)
    refused = world.somebody.post("/destinations", {"url": URL, "eventTypes": ["a"]})
    assert refused.status_code == 409


def test_lists_go_on_where_they_stopped(world: World) -> None:
    made = [world.make()["id"] for _ in range(3)]
    first = world.somebody.get("/destinations?limit=2").json_body
    rest = world.somebody.get(f"/destinations?limit=2&cursor={first['cursor']}").json_body
    seen = [one["id"] for one in (*first["items"], *rest["items"])]
    assert sorted(seen) == sorted(made)
    assert rest["cursor"] is None


def test_attempts_are_listed_newest_event_first(world: World) -> None:
    made = world.make()
    ids = []
    for answer_ in (NOT_FOUND, Answer(200, "", "fine", 3), NOT_FOUND):
        ids.append(world.event())
        world.sender.answers = [answer_]
        world.deliver()
    path = f"/destinations/{made['id']}/attempts"
    first = world.somebody.get(f"{path}?limit=2").json_body
    rest = world.somebody.get(f"{path}?limit=2&cursor={first['cursor']}").json_body
    items = [*first["items"], *rest["items"]]
    assert [one["eventId"] for one in items] == ids[::-1]
    assert [one["state"] for one in items] == ["waiting", "delivered", "waiting"]
    assert items[1]["attempts"][0]["answer"] == "fine"
    assert rest["cursor"] is None


def test_an_event_shows_its_deliveries(world: World) -> None:
    first, second, third = world.make(), world.make(), world.make(eventTypes=["other"])
    event_id = world.event()
    world.sender.answers = [NOT_FOUND]
    world.deliver()
    items = world.somebody.get(f"/events/{event_id}/deliveries").json_body["items"]
    assert {one["destinationId"] for one in items} == {first["id"], second["id"]}
    assert third["id"] not in json.dumps(items)
    assert sorted(one["state"] for one in items) == ["delivered", "waiting"]


# Retries


def give_up(world: World, event_id: str, made: dict[str, Any]) -> None:
    """Let a delivery fail for good."""
    world.sender.usual = NOT_FOUND
    world.wake()
    world.deliver()
    record = world.somebody.get(f"/events/{event_id}").json_body
    key = f"{record['receivedAt']}#{event_id}"
    found = wiring.delivery_store().get(made["id"], key)
    assert found is not None
    wiring.delivery_store().give_up(found, "", world.clock())
    purge(world)
    world.sender.usual = Answer(200, "", "ok", 1)


def purge(world: World) -> None:
    world.wake()
    for message in world.messages():
        world.platform._poller.delete_message(
            QueueUrl=f"https://sqs.us-east-1.amazonaws.com/123456789012/{QUEUE}",
            ReceiptHandle=message["receiptHandle"],
        )


def test_one_event_is_sent_again(world: World) -> None:
    made = world.make()
    event_id = world.event()
    give_up(world, event_id, made)

    assert world.retry(made, eventId=event_id).status_code == 202
    world.deliver()

    assert world.delivery(made, event_id)["state"] == "delivered"
    # Also one that was delivered.
    assert world.retry(made, eventId=event_id).status_code == 202
    world.deliver()
    assert len(world.sender.sent) == 3
    assert len(world.delivery(made, event_id)["attempts"]) == 3


def test_an_event_from_before_the_destination_can_be_sent(world: World) -> None:
    event_id = world.event()
    made = world.make()
    assert world.retry(made, eventId=event_id).status_code == 202
    world.deliver()
    assert world.delivery(made, event_id)["state"] == "delivered"


def test_an_event_that_is_not_processed_cannot_be_sent(world: World) -> None:
    made = world.make()
    event_id = world.somebody.event_id({"eventType": "order.paid"})
    assert world.retry(made, eventId=event_id).status_code == 409


def test_all_that_failed_since_is_sent_again(world: World) -> None:
    made = world.make()
    failed = [world.event(n=number) for number in range(3)]
    for event_id in failed:
        give_up(world, event_id, made)
    delivered = world.event()
    world.deliver()
    world.sender.sent.clear()

    assert world.retry(made, failedSince="2026-01-01").status_code == 202
    for _ in range(3):
        world.deliver()

    assert sorted(body["id"] for _, body, _ in world.sender.sent) == sorted(failed)
    assert delivered not in [body["id"] for _, body, _ in world.sender.sent]
    assert world.messages() == []


def test_a_window_is_caught_up_with(world: World) -> None:
    world.put(
        made := world.make(filter={"data": {"n": [{"numeric": [">=", 1]}]}}),
        paused=True,
        filter={"data": {"n": [{"numeric": [">=", 1]}]}},
    )
    wiring.routes.cache_clear()
    missed = [world.event(n=number) for number in range(4)]
    world.somebody.event_id({"eventType": "other", "n": 9})
    world.platform.work()
    assert world.messages() == []
    world.put(made, filter={"data": {"n": [{"numeric": [">=", 1]}]}})

    assert world.retry(made, **{"from": "2026-01-01"}).status_code == 202
    for _ in range(12):
        world.deliver()

    # The one that the filter leaves out is not sent, nor that of another type.
    assert sorted(body["id"] for _, body, _ in world.sender.sent) == sorted(missed[1:])
    # Once more it finds nothing to send.
    world.retry(made, **{"from": "2026-01-01"})
    for _ in range(12):
        world.deliver()
    assert len(world.sender.sent) == 3
    assert world.messages() == []


def test_a_long_sweep_goes_on_in_steps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "PAGE", 2)
    made = world.make(paused=True)
    events = [{"eventType": "order.paid", "n": number} for number in range(30)]
    world.somebody.post("/events/batch", {"events": events})
    world.platform.work()
    world.put(made)
    world.retry(made, **{"from": "2026-01-01"})
    for _ in range(30):
        world.deliver()
    assert len({body["id"] for _, body, _ in world.sender.sent}) == 30
    assert len(world.sender.sent) == 30


@pytest.mark.parametrize(
    ("order", "pointer"),
    [
        ({}, ""),
        ({"eventId": "x"}, "/eventId"),
        ({"failedSince": "soon"}, "/failedSince"),
        ({"failedSince": "2999-01-01"}, "/failedSince"),
        ({"from": "2026-01-02", "to": "2026-01-01"}, "/from"),
        ({"to": "2026-01-01"}, ""),
        ({"eventId": make_id(), "failedSince": "2026-01-01"}, ""),
        ({"failedSince": "2026-01-01", "to": "2026-02-01"}, "/to"),
        ({"all": True}, "/all"),
    ],
)
def test_a_retry_that_says_nothing_clear_is_refused(
    world: World, order: dict[str, Any], pointer: str
) -> None:
    made = world.make()
    refused = world.retry(made, **order)
    assert refused.status_code == 400, refused.body
    assert pointer in [fault["pointer"] for fault in refused.json_body["errors"]]


# Whole


@pytest.mark.enable_socket
def test_the_functions_deliver_to_a_server(world: World) -> None:
    with Receiver().listening() as receiver:
        receiver.then(answer(503, b"wait"))
        made = world.make(url=receiver.url)
        event_id = world.event(total=3)
        for _ in range(2):
            world.wake()
            records = world.messages()
            app.deliver({"Records": records}, LambdaContext(90))
            for record in records:
                world.platform._poller.delete_message(
                    QueueUrl=f"https://sqs.us-east-1.amazonaws.com/123456789012/{QUEUE}",
                    ReceiptHandle=record["receiptHandle"],
                )
    assert [got.headers["webhook-id"] for got in receiver.got] == [event_id] * 2
    assert receiver.got[1].headers["content-type"] == "application/json"
    found = world.delivery(made, event_id)
    assert found["state"] == "delivered"
    assert [one["status"] for one in found["attempts"]] == [503, 200]
    assert found["attempts"][0]["answer"] == "wait"


def test_the_newest_deliveries_are_counted(world: World) -> None:
    made = world.make()
    nothing = {"waiting": 0, "delivered": 0, "failed": 0, "successRate": None}
    assert world.somebody.get(f"/destinations/{made['id']}").json_body["recent"] == nothing
    world.sender.answers = [NOT_FOUND]
    for _ in range(4):
        world.event()
        world.deliver()
    # One failed and waits for its next attempt
    recent = world.somebody.get(f"/destinations/{made['id']}").json_body["recent"]
    assert recent == {"waiting": 1, "delivered": 3, "failed": 0, "successRate": 1.0}
