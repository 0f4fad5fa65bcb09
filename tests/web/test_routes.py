"""What holds on every route: who may call it, and the shape of what goes wrong."""

import json
import logging
import re
from typing import Any

import pytest

import app
from chalicelib import __version__, wiring
from chalicelib.web.callers import ANY, SCOPES
from tests.support.app_on_moto import Platform, sample
from tests.support.factories import LambdaContext, make_id
from tests.support.problems import check_headers, check_problem

ROUTES = sorted((method, path) for path, methods in app.app.routes.items() for method in methods)
SCOPE_OF = {
    ("GET", "/health"): None,
    ("HEAD", "/health"): None,
    ("HEAD", "/openapi.json"): None,
    ("GET", "/openapi.json"): None,
    ("GET", "/console"): None,
    ("GET", "/console/{file}"): None,
    ("POST", "/webhooks/{source}"): None,
    ("POST", "/events"): "events:write",
    ("POST", "/events/batch"): "events:write",
    ("POST", "/events/{event_id}/replay"): "events:admin",
    ("POST", "/replays"): "events:admin",
    ("GET", "/replays"): "events:admin",
    ("GET", "/replays/{replay_id}"): "events:admin",
    ("DELETE", "/replays/{replay_id}"): "events:admin",
    ("GET", "/settings"): "admin",
    ("GET", "/queues"): "events:admin",
    ("GET", "/reconcile"): "events:admin",
    ("GET", "/dead-letters"): "events:admin",
    ("POST", "/dead-letters/redrive"): "events:admin",
    ("GET", "/events"): "events:read",
    ("GET", "/failures"): "events:read",
    ("GET", "/stats"): "events:read",
    ("GET", "/events/{event_id}"): "events:read",
    ("GET", "/events/{event_id}/payload"): "events:read",
    ("GET", "/events/{event_id}/result"): "events:read",
    ("GET", "/schemas"): "events:read",
    ("GET", "/schemas/{event_type}"): "events:read",
    ("GET", "/schemas/{event_type}/versions"): "events:read",
    ("PUT", "/schemas/{event_type}"): "schemas:write",
    ("DELETE", "/schemas/{event_type}"): "schemas:write",
    ("POST", "/tokens"): "admin",
    ("GET", "/tokens"): "admin",
    ("GET", "/tokens/self"): ANY,
    ("DELETE", "/tokens/{token_id}"): "admin",
    ("POST", "/items"): "items:write",
    ("GET", "/items"): "items:read",
    ("GET", "/items/{item_id}"): "items:read",
    ("PUT", "/items/{item_id}"): "items:write",
    ("DELETE", "/items/{item_id}"): "items:write",
    ("POST", "/subscriptions"): "items:write",
    ("GET", "/subscriptions"): "items:write",
    ("DELETE", "/subscriptions/{subscription_id}"): "items:write",
    ("POST", "/destinations"): "destinations:write",
    ("GET", "/destinations"): "destinations:read",
    ("GET", "/destinations/{destination_id}"): "destinations:read",
    ("PUT", "/destinations/{destination_id}"): "destinations:write",
    ("DELETE", "/destinations/{destination_id}"): "destinations:write",
    ("POST", "/destinations/{destination_id}/rotate"): "destinations:write",
    ("GET", "/destinations/{destination_id}/attempts"): "destinations:read",
    ("POST", "/destinations/{destination_id}/retry"): "destinations:write",
    ("GET", "/events/{event_id}/deliveries"): "destinations:read",
    ("POST", "/uploads"): "uploads:write",
    ("GET", "/uploads"): "uploads:read",
    ("GET", "/alerts"): "events:read",
}
"""The contract. A route that is added belongs here, with its scope; None is for a public one."""
GUARDED = [route for route in ROUTES if SCOPE_OF.get(route, "") is not None]
SCOPED = [route for route in GUARDED if SCOPE_OF.get(route) != ANY]


def address(path: str) -> str:
    """The path with something in its places."""
    with_ids = re.sub(r"\{(event|item|subscription|replay|destination)_id\}", make_id(), path)
    return re.sub(r"\{(token_id|event_type|source)\}", "nosuch", with_ids)


def test_every_route_is_in_the_contract_with_its_scope() -> None:
    checked = {
        (method, path): getattr(app.app.routes[path][method].view_function, "scope", "unchecked")
        for method, path in ROUTES
    }
    assert checked == SCOPE_OF
    assert {scope for scope in SCOPE_OF.values() if scope is not None} <= {ANY, *SCOPES}


def test_the_gateway_hands_every_body_over_as_bytes() -> None:
    # As text, it would replace what is no UTF-8 before anybody could refuse it.
    assert app.app.api.binary_types == ["*/*"]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_guarded_route_has_the_authorizer(method: str, path: str) -> None:
    assert app.app.routes[path][method].authorizer is app.authorize


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_a_token_nothing_is_answered(platform: Platform, method: str, path: str) -> None:
    platform.calls.clear()
    response = platform.client.http.request(method, address(path), headers={}, body=b"{}")
    assert response.status_code == 401
    assert platform.calls == []


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_request_the_gateway_vouches_for_nobody_in_is_refused(
    platform: Platform, method: str, path: str
) -> None:
    # Given a request as if the authorizer had been taken off the route
    event = sample("api_gateway_post_event")
    event["requestContext"] |= {"resourcePath": path, "httpMethod": method}
    ids = ("event_id", "item_id", "subscription_id", "replay_id", "destination_id")
    names = {name: make_id() for name in ids}
    names |= dict.fromkeys(("token_id", "event_type", "source"), "nosuch")
    event["pathParameters"] = {k: v for k, v in names.items() if f"{{{k}}}" in path} or None
    del event["requestContext"]["authorizer"]
    platform.calls.clear()
    # When it reaches the application
    answer = app.app(event, LambdaContext())
    # Then that does not answer either
    assert answer["statusCode"] == 401
    assert answer["headers"]["WWW-Authenticate"] == "Bearer"
    assert json.loads(answer["body"])["code"] == "unauthorized"
    assert platform.calls == []


@pytest.mark.parametrize(("method", "path"), SCOPED)
def test_a_token_without_the_scope_is_refused(platform: Platform, method: str, path: str) -> None:
    # Given a token with every scope but that one, and one with none
    others = [scope for scope in SCOPES if scope not in (SCOPE_OF.get((method, path)), "admin")]
    for sender in (platform.sender(*others), platform.sender("none")):
        platform.calls.clear()
        # When it is used
        response = sender.call(method, address(path), b"{}", {"Content-Type": "application/json"})
        # Then it is refused before anything is done
        check_problem(response, 403, "forbidden")
        assert platform.calls == ["GetItem"]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_the_scope_or_admin_is_enough(platform: Platform, method: str, path: str) -> None:
    scope = SCOPE_OF[method, path]
    assert scope is not None
    for sender in (platform.sender(scope), platform.sender("admin")):
        response = sender.call(method, address(path), b"{}", {"Content-Type": "application/json"})
        assert response.status_code in (200, 201, 400, 404, 428)


def test_health_needs_no_token_and_no_aws(platform: Platform) -> None:
    platform.calls.clear()
    response = platform.client.http.get("/health")
    assert response.status_code == 200
    check_headers(response)
    assert response.json_body == {"status": "ok", "version": __version__, "stage": "local"}
    assert platform.calls == []


@pytest.mark.parametrize("path", sorted(app.app.routes))
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
def test_another_method_is_not_allowed(platform: Platform, path: str, method: str) -> None:
    if method in app.app.routes[path]:
        return
    response = platform.sender("admin").call(method, address(path))
    check_problem(response, 405, "method-not-allowed")
    assert set(response.headers["Allow"].split(", ")) == set(app.app.routes[path])


def test_an_error_nobody_foresaw_is_told_without_its_secrets(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a bug
    def fail() -> Any:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(wiring, "reading", fail)
    # When somebody runs into it
    response = platform.sender().get("/events")
    # Then the answer says nothing but where to look
    check_problem(response, 500, "internal-error")
    assert b"hunter2" not in response.body
    assert b"Traceback" not in response.body
    # And there, in the log, is what happened
    caught = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert any(record.exc_info for record in caught)


@pytest.mark.parametrize("event_id", ["a%2Fb", "%2e%2e", "%00"])
def test_a_hostile_path_never_breaks_the_shape(platform: Platform, event_id: str) -> None:
    response = platform.sender().get(f"/events/{event_id}")
    check_problem(response, 404, "not-found")


@pytest.mark.parametrize("accept", ["text/html", "image/*", "application/json", ""])
def test_answers_do_not_depend_on_what_the_client_says_it_accepts(
    platform: Platform, accept: str
) -> None:
    sender = platform.sender()
    event_id = sender.event_id({"eventType": "demo"})
    response = sender.call("GET", f"/events/{event_id}/payload", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.json_body == {"eventType": "demo"}


@pytest.mark.parametrize("path", ["/health", "/openapi.json"])
def test_head_answers_as_get(platform: Platform, path: str) -> None:
    head, get = (platform.client.http.request(method, path) for method in ("HEAD", "GET"))
    assert head.status_code == get.status_code == 200
    check_headers(head)
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
