"""For every operation, calls that provoke each answer the OpenAPI document has for it.

What any request may be refused for is in `test_openapi` itself.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from chalice.test import HTTPResponse

import app
from chalicelib.destinations import manage
from chalicelib.destinations.store import DestinationStore
from chalicelib.web.describe import CURSOR
from tests.support.app_on_moto import sample
from tests.support.factories import LambdaContext, make_id
from tests.support.openapi_world import World

Provoke = Callable[[World], HTTPResponse]

CLOUD_EVENT = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
ENVELOPE = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.paid"}
PICTURE = {
    **{f"ce-{name}": value for name, value in ENVELOPE.items()},
    "ce-id": "2",
    "Content-Type": "image/png",
}
OCTETS = b"\x00\xff"


def after(first: HTTPResponse, then: Callable[[], HTTPResponse]) -> HTTPResponse:
    assert first.status_code < 300, first.body
    return then()


def get(path: str) -> Provoke:
    return lambda world: world.call("GET", path)


def call(method: str, path: str, body: Any = b"", **headers: str) -> Provoke:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda world: world.call(method, path, body, named)


def twice(call: Provoke) -> Provoke:
    return lambda world: after(call(world), lambda: call(world))


def with_slash(_world: World) -> HTTPResponse:
    """The console's page by its other address, which Chalice's test client makes the usual one."""
    event = sample("api_gateway_post_event")
    event |= {"path": "/console/", "body": None, "isBase64Encoded": False}
    event["requestContext"] |= {"resourcePath": "/console", "httpMethod": "GET"}
    answer = app.app(event, LambdaContext())
    return HTTPResponse(answer["body"].encode(), answer["headers"], answer["statusCode"])


def unchanged(path: str) -> Provoke:
    def run(world: World) -> HTTPResponse:
        etag = world.call("GET", path).headers["ETag"]
        return world.call("GET", path, headers={"If-None-Match": etag})

    return run


EVENT, NOWHERE = {"eventType": "order.paid"}, make_id()
REPLAY = {"from": "2026-01-01T00:00:00Z"}
KEYED = call("POST", "/events", EVENT, Idempotency_Key="k")
ITEM = call("POST", "/items", {"name": "desk"}, Idempotency_Key="k")
PUT_SCHEMA = call("PUT", "/schemas/order.paid", {"required": ["total"]})
TOKEN = {"owner": "shop", "scopes": ["events:read"]}
PHOTO = {"filename": "photo.png", "contentType": "image/png"}


def change(method: str, match: str | None = "", path: str | None = None, **more: Any) -> Any:
    def run(world: World) -> HTTPResponse:
        there, etag = world.item()
        headers = {} if match is None else {"If-Match": match or etag}
        body = more.get("body", {"name": "chair"})
        return world.call(method, path or there, body, {**headers, **more.get("headers", {})})

    return run


HOOK = {"url": "https://shop.example.com/", "eventTypes": ["order.*"]}


def too_many(world: World) -> HTTPResponse:
    """One destination more than an owner may have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manage, "MAX_DESTINATIONS", 0)
        return world.call("POST", "/destinations", HOOK)


def overtaken(world: World, method: str, path: str, body: Any) -> HTTPResponse:
    """A change of a destination that somebody else changes at the same moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DestinationStore, "change", lambda *_, **__: None)
        return world.call(method, path, body)


def get_item(world: World) -> HTTPResponse:
    path, etag = world.item()
    return world.call("GET", path, headers={"If-None-Match": etag})


ANSWERS: dict[tuple[str, str, int], list[Provoke]] = {
    ("GET", "/health", 200): [get("/health")],
    ("GET", "/openapi.json", 200): [get("/openapi.json")],
    ("GET", "/console", 200): [get("/console"), call("GET", "/console", Accept_Encoding="gzip")],
    ("GET", "/console", 304): [unchanged("/console")],
    ("GET", "/console", 308): [with_slash],
    ("GET", "/console/{file}", 200): [get("/console/LICENSES.txt")],
    ("GET", "/console/{file}", 304): [unchanged("/console/LICENSES.txt")],
    ("GET", "/console/{file}", 404): [get("/console/nosuch.js")],
    ("POST", "/events", 202): [
        call("POST", "/events", EVENT),
        twice(KEYED),
        call("POST", "/events", ENVELOPE, Content_Type=CLOUD_EVENT),
        twice(call("POST", "/events", ENVELOPE, Content_Type=CLOUD_EVENT)),
        call("POST", "/events", OCTETS, **PICTURE),
        call("POST", "/events", [ENVELOPE, {"id": 1}, ENVELOPE, 7], Content_Type=BATCH),
    ],
    ("POST", "/events", 400): [
        call("POST", "/events", b"{}"),
        call("POST", "/events", b"{"),
        call("POST", "/events", {"specversion": "0.3"}, Content_Type=CLOUD_EVENT),
        call("POST", "/events", b"{}", Content_Type=BATCH),
        call("POST", "/events", b"x", **{"ce-id": "1", "ce-time": "%"}),
    ],
    ("POST", "/events", 415): [call("POST", "/events", b"a=b", Content_Type="text/plain")],
    ("POST", "/events", 422): [
        lambda w: after(
            KEYED(w), lambda: w.call("POST", "/events", {**EVENT, "n": 1}, {"Idempotency-Key": "k"})
        ),
        lambda w: after(PUT_SCHEMA(w), lambda: w.call("POST", "/events", EVENT)),
    ],
    ("POST", "/events/batch", 202): [
        call("POST", "/events/batch", {"events": [{**EVENT, "idempotencyKey": "k"}] * 2}),
        call("POST", "/events/batch", {"events": [EVENT, 7, {"eventType": ""}, {}]}),
    ],
    ("POST", "/events/batch", 415): [
        call("POST", "/events/batch", {"events": [EVENT]}, Content_Type="text/plain")
    ],
    ("POST", "/events/batch", 400): [
        call("POST", "/events/batch", {"events": []}),
        call("POST", "/events/batch", b"{"),
    ],
    ("GET", "/events", 200): [
        lambda w: after(
            KEYED(w), lambda: w.call("GET", "/events?limit=1&eventType=order.paid&status=ENQUEUED")
        ),
        lambda w: after(KEYED(w), lambda: w.call("GET", "/events?idempotencyKey=k")),
        get(f"/events?replayOf={NOWHERE}"),
        get(f"/events?after={CURSOR}"),
    ],
    ("GET", "/events", 400): [
        get("/events?limit=0&x=1"),
        get("/events?cursor=abc"),
        get("/events?after=abc"),
        get("/events?source=a"),
    ],
    ("GET", "/failures", 200): [
        lambda w: after(w.fail(), lambda: w.call("GET", "/failures")),
        lambda w: (w.rejected(), w.call("GET", "/failures?status=REJECTED"))[1],
    ],
    ("GET", "/failures", 400): [get("/failures?status=PROCESSED"), get("/failures?cursor=x")],
    ("GET", "/stats", 200): [
        lambda w: after(w.fail(), lambda: w.call("GET", "/stats")),
        get("/stats?step=day&from=2026-01-01&to=2026-01-02"),
    ],
    ("GET", "/stats", 400): [get("/stats?step=week"), get("/stats?from=2026-01-01")],
    ("GET", "/events/{event_id}", 200): [
        lambda w: w.call("GET", f"/events/{w.event()}"),
        lambda w: w.call("GET", f"/events/{w.event()}", headers={"Accept": CLOUD_EVENT}),
        lambda w: w.call("GET", f"/events/{w.rejected()}"),
        lambda w: w.call("GET", f"/events/{w.event({'eventType': 'eventline.drill.permanent'})}"),
    ],
    ("GET", "/events/{event_id}", 404): [
        get(f"/events/{NOWHERE}"),
        lambda w: w.call("GET", f"/events/{w.event()}", sender=w.other),
    ],
    ("GET", "/events/{event_id}/payload", 200): [
        lambda w: w.call("GET", f"/events/{w.event()}/payload"),
        lambda w: w.call("GET", f"/events/{w.rejected()}/payload"),
        lambda w: w.call("GET", f"/events/{w.event(OCTETS, **PICTURE)}/payload"),
    ],
    ("GET", "/events/{event_id}/payload", 404): [get(f"/events/{NOWHERE}/payload")],
    ("GET", "/events/{event_id}/result", 200): [
        lambda w: w.call("GET", f"/events/{w.event()}/result"),
        lambda w: w.call("GET", f"/events/{w.event(OCTETS, **PICTURE)}/result"),
    ],
    ("GET", "/events/{event_id}/result", 404): [get(f"/events/{NOWHERE}/result")],
    ("GET", "/events/{event_id}/result", 409): [
        lambda w: w.call("GET", f"/events/{w.rejected()}/result")
    ],
    ("POST", "/events/{event_id}/replay", 202): [
        lambda w: w.call("POST", f"/events/{w.event()}/replay")
    ],
    ("POST", "/events/{event_id}/replay", 400): [
        lambda w: w.call("POST", f"/events/{w.rejected()}/replay")
    ],
    ("POST", "/events/{event_id}/replay", 404): [call("POST", f"/events/{NOWHERE}/replay")],
    ("POST", "/events/{event_id}/replay", 409): [
        lambda w: w.call("POST", f"/events/{w.somebody.event_id(EVENT)}/replay")
    ],
    ("POST", "/events/{event_id}/replay", 422): [
        lambda w: after(
            PUT_SCHEMA(w),
            lambda: w.call(
                "POST",
                f"/events/{json.loads(w.call('POST', '/events', EVENT).body)['eventId']}/replay",
            ),
        )
    ],
    ("POST", "/replays", 200): [call("POST", "/replays", {**REPLAY, "dryRun": True})],
    ("POST", "/replays", 202): [
        twice(call("POST", "/replays", REPLAY, Idempotency_Key="k")),
        call("POST", "/replays", {"eventType": "order.paid", "status": "FAILED", "rate": 1}),
    ],
    ("POST", "/replays", 400): [
        call("POST", "/replays", {}),
        call("POST", "/replays", {"rate": 0, "status": "OPEN", "from": 1, "x": 1}),
        call("POST", "/replays", b"["),
    ],
    ("POST", "/replays", 409): [
        lambda w: [w.call("POST", "/replays", REPLAY) for _ in range(6)][5]
    ],
    ("POST", "/replays", 422): [
        lambda w: after(
            call("POST", "/replays", REPLAY, Idempotency_Key="k")(w),
            lambda: w.call("POST", "/replays", {"status": "FAILED"}, {"Idempotency-Key": "k"}),
        )
    ],
    ("GET", "/replays", 200): [
        lambda w: after(w.call("GET", w.replay()), lambda: w.call("GET", "/replays?limit=1")),
    ],
    ("GET", "/replays", 400): [get("/replays?limit=0"), get("/replays?cursor=x")],
    ("GET", "/replays/{replay_id}", 200): [
        lambda w: w.call("GET", w.replay()),
        lambda w: w.call("GET", w.replay(done=True)),
    ],
    ("GET", "/replays/{replay_id}", 404): [get(f"/replays/{NOWHERE}"), get("/replays/x")],
    ("DELETE", "/replays/{replay_id}", 200): [twice(lambda w: w.call("DELETE", w.replay()))],
    ("DELETE", "/replays/{replay_id}", 404): [call("DELETE", f"/replays/{NOWHERE}")],
    ("DELETE", "/replays/{replay_id}", 409): [lambda w: w.call("DELETE", w.replay(done=True))],
    ("GET", "/queues", 200): [
        get("/queues"),
        lambda w: after(w.fail(), lambda: w.call("GET", "/queues")),
    ],
    ("GET", "/settings", 200): [get("/settings")],
    ("GET", "/queues", 400): [get("/queues?limit=1")],
    ("GET", "/reconcile", 200): [
        lambda w: after(w.event_and_report(), lambda: w.call("GET", "/reconcile?limit=1")),
    ],
    ("GET", "/reconcile", 400): [get("/reconcile?limit=0"), get("/reconcile?cursor=x")],
    ("GET", "/dead-letters", 200): [
        lambda w: after(w.fail(), lambda: w.call("GET", "/dead-letters")),
        lambda w: after(w.fail(), lambda: w.call("GET", "/dead-letters?errorClass=permanent")),
    ],
    ("GET", "/dead-letters", 400): [get("/dead-letters?errorClass=odd"), get("/dead-letters?x=1")],
    ("POST", "/dead-letters/redrive", 200): [
        lambda w: after(w.fail(), lambda: w.call("POST", "/dead-letters/redrive", {"all": True})),
        call("POST", "/dead-letters/redrive", {"queue": "uploads-dlq"}),
        lambda w: w.call("POST", "/dead-letters/redrive", {"eventId": w.event()}),
    ],
    ("POST", "/dead-letters/redrive", 400): [
        call("POST", "/dead-letters/redrive", {}),
        call("POST", "/dead-letters/redrive", {"all": False, "queue": "x"}),
    ],
    ("POST", "/dead-letters/redrive", 404): [
        call("POST", "/dead-letters/redrive", {"eventId": NOWHERE})
    ],
    ("POST", "/webhooks/{source}", 202): [
        lambda w: w.webhook("github", b'{"zen":"calm"}'),
        twice(lambda w: w.webhook("standard", b'{"type":"invoice.paid"}')),
    ],
    ("POST", "/webhooks/{source}", 400): [lambda w: w.webhook("github", b"{")],
    ("POST", "/webhooks/{source}", 401): [
        call("POST", "/webhooks/github", b"{}"),
        call("POST", "/webhooks/nobody", b"{}"),
    ],
    ("POST", "/webhooks/{source}", 415): [
        lambda w: w.webhook("github", b"payload={}", **{"Content-Type": "text/plain"})
    ],
    ("POST", "/webhooks/{source}", 422): [
        lambda w: after(w.webhook("github", b'{"n":1}'), lambda: w.webhook("github", b'{"n":2}'))
    ],
    ("GET", "/schemas", 200): [lambda w: after(PUT_SCHEMA(w), lambda: w.call("GET", "/schemas"))],
    ("GET", "/schemas", 400): [get("/schemas?limit=x"), get("/schemas?cursor=!")],
    ("GET", "/schemas/{event_type}", 200): [
        lambda w: after(PUT_SCHEMA(w), lambda: w.call("GET", "/schemas/order.paid?version=1"))
    ],
    ("GET", "/schemas/{event_type}", 400): [get("/schemas/a?version=0")],
    ("GET", "/schemas/{event_type}", 404): [get("/schemas/order.paid")],
    ("GET", "/schemas/{event_type}/versions", 200): [
        lambda w: after(PUT_SCHEMA(w), lambda: w.call("GET", "/schemas/order.paid/versions")),
        get("/schemas/nobody/versions"),
    ],
    ("GET", "/schemas/{event_type}/versions", 400): [
        get("/schemas/a/versions?cursor=x"),
        get("/schemas/%25/versions"),
    ],
    ("PUT", "/schemas/{event_type}", 201): [PUT_SCHEMA, call("PUT", "/schemas/a", b"true")],
    ("PUT", "/schemas/{event_type}", 200): [twice(PUT_SCHEMA)],
    ("PUT", "/schemas/{event_type}", 400): [call("PUT", "/schemas/a", {"type": 7})],
    ("PUT", "/schemas/{event_type}", 415): [
        call("PUT", "/schemas/a", {}, Content_Type="text/plain")
    ],
    ("DELETE", "/schemas/{event_type}", 204): [
        lambda w: after(PUT_SCHEMA(w), lambda: w.call("DELETE", "/schemas/order.paid"))
    ],
    ("DELETE", "/schemas/{event_type}", 404): [call("DELETE", "/schemas/order.paid")],
    ("POST", "/tokens", 201): [
        call("POST", "/tokens", TOKEN),
        call("POST", "/tokens", {**TOKEN, "expiresAt": "2099-01-01T00:00:00Z"}),
    ],
    ("POST", "/tokens", 400): [call("POST", "/tokens", {"owner": "-"})],
    ("GET", "/tokens", 200): [get("/tokens?limit=1")],
    ("GET", "/tokens", 400): [get("/tokens?cursor=A")],
    ("GET", "/tokens/self", 200): [
        get("/tokens/self"),
        lambda w: w.call("GET", "/tokens/self", sender=w.platform.sender("none")),
    ],
    ("GET", "/tokens/self", 400): [get("/tokens/self?limit=1")],
    ("DELETE", "/tokens/{token_id}", 204): [
        lambda w: w.call("DELETE", w.call("POST", "/tokens", TOKEN).headers["Location"])
    ],
    ("DELETE", "/tokens/{token_id}", 404): [call("DELETE", "/tokens/nosuch")],
    ("POST", "/items", 201): [
        twice(ITEM),
        call("POST", "/items", {"expiresAt": "2099-01-01T00:00:00Z"}),
        call("POST", "/items", {"text": "x" * 100_000}),
    ],
    ("POST", "/items", 400): [call("POST", "/items", {"expiresAt": "2001-01-01"})],
    ("POST", "/items", 415): [call("POST", "/items", {}, Content_Type="text/plain")],
    ("POST", "/items", 422): [
        lambda w: after(ITEM(w), lambda: w.call("POST", "/items", {}, {"Idempotency-Key": "k"}))
    ],
    ("POST", "/items", 409): [
        lambda w: after(
            ITEM(w),
            lambda: after(
                w.call("DELETE", ITEM(w).headers["Location"], headers={"If-Match": "*"}),
                lambda: ITEM(w),
            ),
        )
    ],
    ("GET", "/items", 200): [lambda w: after(ITEM(w), lambda: w.call("GET", "/items?limit=1"))],
    ("GET", "/items", 400): [get("/items?owner=%20")],
    ("GET", "/items/{item_id}", 200): [lambda w: w.call("GET", w.item()[0])],
    ("GET", "/items/{item_id}", 304): [get_item],
    ("GET", "/items/{item_id}", 400): [
        lambda w: w.call("GET", w.item()[0], headers={"If-None-Match": "x"})
    ],
    ("GET", "/items/{item_id}", 404): [get(f"/items/{NOWHERE}"), get("/items/x")],
    ("PUT", "/items/{item_id}", 200): [change("PUT"), change("PUT", "*")],
    ("PUT", "/items/{item_id}", 400): [change("PUT", "x"), change("PUT", body=b"[]")],
    ("PUT", "/items/{item_id}", 404): [change("PUT", path=f"/items/{NOWHERE}")],
    ("PUT", "/items/{item_id}", 412): [change("PUT", '"1-0123456789abcdef"')],
    ("PUT", "/items/{item_id}", 415): [change("PUT", headers={"Content-Type": "text/plain"})],
    ("PUT", "/items/{item_id}", 428): [change("PUT", None)],
    ("DELETE", "/items/{item_id}", 204): [change("DELETE")],
    ("DELETE", "/items/{item_id}", 400): [change("DELETE", "x")],
    ("DELETE", "/items/{item_id}", 404): [change("DELETE", path=f"/items/{NOWHERE}")],
    ("DELETE", "/items/{item_id}", 412): [change("DELETE", '"1-0123456789abcdef"')],
    ("DELETE", "/items/{item_id}", 428): [change("DELETE", None)],
    ("POST", "/subscriptions", 201): [twice(World.subscription)],
    ("POST", "/subscriptions", 400): [call("POST", "/subscriptions", {"protocol": "email"})],
    ("POST", "/subscriptions", 409): [World.full_endpoint],
    ("POST", "/subscriptions", 415): [call("POST", "/subscriptions", {}, Content_Type="a/b")],
    ("GET", "/subscriptions", 200): [
        lambda w: after(w.subscription(), lambda: w.call("GET", "/subscriptions"))
    ],
    ("GET", "/subscriptions", 400): [get("/subscriptions?limit=101")],
    ("DELETE", "/subscriptions/{subscription_id}", 204): [
        lambda w: w.call("DELETE", w.subscription().headers["Location"])
    ],
    ("DELETE", "/subscriptions/{subscription_id}", 404): [
        call("DELETE", f"/subscriptions/{NOWHERE}")
    ],
    ("POST", "/destinations", 201): [
        call("POST", "/destinations", HOOK),
        call("POST", "/destinations", {**HOOK, "filter": {"source": ["/a"]}, "description": "a"}),
    ],
    ("POST", "/destinations", 400): [call("POST", "/destinations", {**HOOK, "url": "http://a"})],
    ("POST", "/destinations", 409): [too_many],
    ("GET", "/destinations", 200): [
        lambda w: after(
            call("POST", "/destinations", HOOK)(w), lambda: w.call("GET", "/destinations?limit=1")
        )
    ],
    ("GET", "/destinations", 400): [get("/destinations?cursor=x")],
    ("GET", "/destinations/{destination_id}", 200): [
        lambda w: w.call("GET", w.destination()),
        lambda w: w.call("GET", w.delivered(410)[0]),
    ],
    ("GET", "/destinations/{destination_id}", 404): [get(f"/destinations/{NOWHERE}")],
    ("PUT", "/destinations/{destination_id}", 200): [
        lambda w: w.call("PUT", w.destination(), {**HOOK, "paused": True})
    ],
    ("PUT", "/destinations/{destination_id}", 400): [
        lambda w: w.call("PUT", w.destination(), {"url": 7})
    ],
    ("PUT", "/destinations/{destination_id}", 404): [call("PUT", f"/destinations/{NOWHERE}", HOOK)],
    ("PUT", "/destinations/{destination_id}", 409): [
        lambda w: overtaken(w, "PUT", w.destination(), HOOK)
    ],
    ("DELETE", "/destinations/{destination_id}", 204): [
        lambda w: w.call("DELETE", w.destination())
    ],
    ("DELETE", "/destinations/{destination_id}", 404): [call("DELETE", f"/destinations/{NOWHERE}")],
    ("POST", "/destinations/{destination_id}/rotate", 200): [
        lambda w: w.call("POST", f"{w.destination()}/rotate")
    ],
    ("POST", "/destinations/{destination_id}/rotate", 404): [
        call("POST", f"/destinations/{NOWHERE}/rotate")
    ],
    ("POST", "/destinations/{destination_id}/rotate", 409): [
        lambda w: overtaken(w, "POST", f"{w.destination()}/rotate", b"")
    ],
    ("GET", "/destinations/{destination_id}/attempts", 200): [
        lambda w: w.call("GET", f"{w.delivered()[0]}/attempts"),
        lambda w: w.call("GET", f"{w.delivered(503)[0]}/attempts?limit=1"),
    ],
    ("GET", "/destinations/{destination_id}/attempts", 404): [
        get(f"/destinations/{NOWHERE}/attempts")
    ],
    ("GET", "/events/{event_id}/deliveries", 200): [
        lambda w: w.call("GET", f"/events/{w.delivered()[1]}/deliveries"),
        lambda w: w.call("GET", f"/events/{w.event()}/deliveries"),
    ],
    ("GET", "/events/{event_id}/deliveries", 404): [get(f"/events/{NOWHERE}/deliveries")],
    ("POST", "/destinations/{destination_id}/retry", 202): [
        lambda w: w.call("POST", f"{w.destination()}/retry", {"eventId": w.event()}),
        lambda w: w.call("POST", f"{w.destination()}/retry", {"failedSince": "2026-01-01"}),
    ],
    ("POST", "/destinations/{destination_id}/retry", 400): [
        lambda w: w.call("POST", f"{w.destination()}/retry", {})
    ],
    ("POST", "/destinations/{destination_id}/retry", 404): [
        call("POST", f"/destinations/{NOWHERE}/retry", {"failedSince": "2026-01-01"}),
        lambda w: w.call("POST", f"{w.destination()}/retry", {"eventId": NOWHERE}),
    ],
    ("POST", "/destinations/{destination_id}/retry", 409): [
        lambda w: w.call(
            "POST", f"{w.destination(paused=True)}/retry", {"failedSince": "2026-01-01"}
        )
    ],
    ("POST", "/uploads", 201): [call("POST", "/uploads", PHOTO)],
    ("POST", "/uploads", 400): [call("POST", "/uploads", {"filename": "\x00"})],
    ("GET", "/uploads", 200): [get("/uploads")],
    ("GET", "/uploads", 400): [get("/uploads?limit=x")],
    ("GET", "/alerts", 200): [get("/alerts")],
    ("GET", "/alerts", 400): [get("/alerts?cursor=x")],
}
