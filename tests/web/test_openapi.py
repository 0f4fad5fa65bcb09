"""The OpenAPI document against the application: its routes, its scopes, and what it answers.

`ANSWERS` provokes every status that the document has for an operation; one that is missing there,
or one that only the table has, fails. Every answer is checked against the document.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from chalice.test import HTTPResponse

import app
from chalicelib import wiring
from chalicelib.web.describe import EVENT_ID
from tests.support.app_on_moto import BreakCall, Platform, sample
from tests.support.factories import LambdaContext, unique
from tests.support.faults import refusal
from tests.support.openapi_answers import ANSWERS, NOWHERE
from tests.support.openapi_contract import Contract, Operation, document, operations
from tests.support.openapi_world import JSON, World

CONTRACT = Contract()
OPERATIONS = operations()
GUARDED = [one for one in OPERATIONS if one.content["security"]]
# What only a gateway in front of the application answers, or a bug in it.
NOT_PROVOKED_HERE = {429, 500, 504}
ON_EVERY_ROUTE = {400, 413, 415, 431, 503}
ON_EVERY_GUARDED_ROUTE = {401, 403}


@pytest.fixture
def world(platform: Platform) -> Iterator[World]:
    wiring.secrets.cache_clear()
    yield World(platform)
    wiring.secrets.cache_clear()


def check(operation: Operation, response: HTTPResponse, status: int) -> None:
    assert response.status_code == status, response.body
    CONTRACT.check(
        operation.method, operation.path, response.status_code, response.headers, response.body
    )


def test_the_document_has_the_routes_of_the_application_and_no_others() -> None:
    routes = {(method, path) for path, methods in app.app.routes.items() for method in methods}
    # HEAD answers as GET does.
    routes -= {("HEAD", "/health"), ("HEAD", "/openapi.json")}
    assert {(one.method, one.path) for one in OPERATIONS} == routes


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_an_operation_is_named_after_its_view_and_asks_for_its_scope(operation: Operation) -> None:
    route = app.app.routes[operation.path][operation.method]
    assert operation.content["operationId"] == route.view_name
    view: Any = route.view_function
    assert operation.content["x-required-scope"] == (view.scope or None)
    assert (operation.content["security"] == []) is (route.authorizer is None)


def test_the_table_has_every_answer_that_is_documented() -> None:
    by_gateway = {"GET /items": {403}, "GET /subscriptions": {403}}
    for operation in OPERATIONS:
        provoked = {
            status
            for method, path, status in ANSWERS
            if (method, path) == (operation.method, operation.path)
        }
        guarded = ON_EVERY_GUARDED_ROUTE if operation in GUARDED else set()
        everywhere = NOT_PROVOKED_HERE | ON_EVERY_ROUTE | guarded
        missing = operation.statuses - provoked - everywhere
        assert missing == set(), operation
        assert provoked <= operation.statuses | by_gateway.get(str(operation), set()), operation


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS, ids=str)
def test_an_answer_is_as_documented(world: World, method: str, path: str, status: int) -> None:
    operation = CONTRACT.operations[method, path]
    for call in ANSWERS[method, path, status]:
        check(operation, call(world), status)


def address(path: str) -> str:
    """The path with an id that is nobody's in its place."""
    return re.sub(r"\{\w+\}", NOWHERE, path)


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_what_any_request_may_be_refused_for_is_as_documented(
    world: World, operation: Operation
) -> None:
    def call(query: str = "", body: bytes = b"", **headers: str) -> HTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return world.call(operation.method, address(operation.path) + query, body, named)

    check(operation, call(f"?x={'x' * 1025}"), 400)
    check(operation, call(body=b"[" * 5_000_000), 413)
    check(operation, call(body=b"x", Content_Encoding="br"), 415)
    check(operation, call(Cookie="x" * 11_000), 431)


@pytest.mark.parametrize("operation", GUARDED, ids=str)
def test_who_may_not_call_is_told_as_documented(world: World, operation: Operation) -> None:
    # A token without the scope
    nobody = world.platform.sender("none")
    if operation.content["x-required-scope"]:
        check(operation, world.call(operation.method, address(operation.path), sender=nobody), 403)
    # And a request as if the authorizer had been taken off the route
    event = sample("api_gateway_post_event")
    event["requestContext"] |= {"resourcePath": operation.path, "httpMethod": operation.method}
    names = re.findall(r"\{(\w+)\}", operation.path)
    event["pathParameters"] = dict.fromkeys(names, NOWHERE) or None
    del event["requestContext"]["authorizer"]
    answer = app.app(event, LambdaContext())
    CONTRACT.check(
        operation.method,
        operation.path,
        answer["statusCode"],
        answer["headers"],
        answer["body"].encode(),
    )
    assert answer["statusCode"] == 401


@pytest.mark.parametrize(
    ("operation", "body", "broken"),
    [
        ("GET /events", b"", ("dynamodb", "Query")),
        ("POST /events", b'{"eventType":"a"}', ("sqs", "SendMessage")),
        ("POST /items", b"{}", ("dynamodb", "PutItem")),
    ],
)
def test_what_aws_refuses_is_told_as_documented(
    world: World, break_call: BreakCall, operation: str, body: bytes, broken: tuple[str, str]
) -> None:
    method, path = operation.split()
    with break_call(*broken, refusal(broken[1])):
        response = world.call(method, path, body)
    check(CONTRACT.operations[method, path], response, 503)


EXAMPLES = [
    (operation, media_type, label)
    for operation in OPERATIONS
    for media_type, media in operation.content.get("requestBody", {"content": {}})[
        "content"
    ].items()
    for label in media.get("examples", {})
]


@pytest.mark.parametrize(("operation", "media_type", "label"), EXAMPLES, ids=str)
def test_every_example_of_a_request_is_accepted_as_documented(
    world: World, operation: Operation, media_type: str, label: str
) -> None:
    # Given an example, and what it is sent to
    example = operation.content["requestBody"]["content"][media_type]["examples"][label]["value"]
    body = json.dumps(example).encode()
    # When it is sent as it is
    if operation.path == "/webhooks/{source}":
        response = world.webhook(label, body)
    else:
        path, headers = operation.path, {"Content-Type": media_type}
        if "{item_id}" in path:
            path, headers["If-Match"] = world.item()
        if "{destination_id}" in path:
            path = path.replace("/destinations/{destination_id}", world.destination())
            body = body.replace(EVENT_ID.encode(), world.event().encode())
        path = path.replace("{event_type}", unique("example"))
        response = world.call(operation.method, path, body, headers)
    # Then it gives a success of the operation's
    assert 200 <= response.status_code < 300, response.body
    check(operation, response, response.status_code)


def test_the_document_is_served_as_it_is(platform: Platform) -> None:
    platform.calls.clear()
    response = platform.client.http.get("/openapi.json")
    assert response.json_body == document()
    assert response.headers["Content-Type"] == JSON
    assert platform.calls == []


def test_what_the_document_does_not_have_is_found() -> None:
    # Given a contract, when an answer has another status, member, header or type than it says
    good = {"X-Request-Id": "1", "Content-Type": JSON}
    body = {"status": "ok", "version": "1", "stage": "dev"}

    def fails(status: int = 200, headers: dict[str, str] = good, **members: Any) -> bool:
        try:
            CONTRACT.check(
                "GET", "/health", status, headers, json.dumps({**body, **members}).encode()
            )
        except AssertionError:
            return True
        return False

    # Then that is found
    assert not fails()
    assert fails(status=204)
    assert fails(status=418)
    assert fails(secret=1)
    assert fails(stage=7)
    assert fails(headers={"Content-Type": JSON})
    assert fails(headers={**good, "Content-Type": "text/html"})
    assert fails(headers={**good, "ETag": "x"})
