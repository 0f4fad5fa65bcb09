"""The extended decorator: what a route must say, and what every other function gets."""

from typing import Any

import pytest
from chalice.app import Rate

from chalicelib.core.config import AuthMode
from chalicelib.core.media_types import CLOUD_EVENT, is_in_utf8, is_json_in_utf8
from chalicelib.web.api import Api
from chalicelib.web.callers import AuthConfig
from chalicelib.web.describe import Operation, component, content, record, response, shared, text
from chalicelib.web.describe import path as path_parameter
from chalicelib.web.openapi import document
from chalicelib.web.request import LambdaEvent, Request
from chalicelib.web.responses import Response, answer, no_content
from tests.support.factories import LambdaContext

INNER = component("Inner", record({"name": text()}))
OUTER = component("Outer", record({"inner": INNER}))
THING_ID = shared(path_parameter("thing_id", "Which.", text()))
GET_THING = Operation(
    "Things", "One", {200: response("It.", content(OUTER))}, (404,), parameters=[THING_ID]
)


def make_api() -> Api:
    return Api("test", AuthConfig(AuthMode.NONE, "me"))


def call(api: Api, method: str, path: str, resource: str, **more: Any) -> dict[str, Any]:
    event = {
        "requestContext": {"httpMethod": method, "resourcePath": resource},
        "headers": {},
        "multiValueQueryStringParameters": None,
        "pathParameters": {"thing_id": path.rpartition("/")[2]},
        "stageVariables": None,
        "body": None,
        "isBase64Encoded": False,
        **more,
    }
    return api(event, None)


def test_a_route_must_say_who_may_call_it() -> None:
    with pytest.raises(TypeError, match="scope"):
        make_api().route("/things", methods=["GET"])  # type: ignore[call-arg]


def test_a_handler_gets_the_request_and_the_parameters_of_its_path() -> None:
    api = make_api()
    seen: list[tuple[str, str]] = []

    @api.route("/things/{thing_id}", methods=["GET"], scope="items:read", spec=GET_THING)
    def get_thing(request: Request, thing_id: str) -> Response:
        seen.append((request.caller.owner, thing_id))
        return no_content()

    assert call(api, "GET", "/things/7", "/things/{thing_id}")["statusCode"] == 204
    assert seen == [("me", "7")]


def test_a_body_beyond_the_routes_limit_is_refused() -> None:
    api = make_api()

    @api.route("/things/{thing_id}", methods=["PUT"], scope="items:write", max_body=3)
    def put_thing(request: Request, thing_id: str) -> Response:
        return answer({"body": request.body.decode(), "id": thing_id})

    for body, status in (("abc", 200), ("abcd", 413)):
        answered = call(api, "PUT", "/things/7", "/things/{thing_id}", body=body)
        assert answered["statusCode"] == status


def test_the_document_is_assembled_from_the_routes() -> None:
    # Given a route whose description refers to a component that refers to another
    api = make_api()
    api.route("/things/{thing_id}", methods=["GET"], scope="items:read", spec=GET_THING)(
        lambda request, thing_id: no_content()
    )
    # When
    made = document(api.routes)
    # Then
    operation = made["paths"]["/things/{thing_id}"]["get"]
    assert operation["security"] == [{"bearer": ["items:read"]}]
    assert operation["parameters"] == [{"$ref": "#/components/parameters/thing_id"}]
    assert {"200", "401", "403", "404"} <= operation["responses"].keys()
    assert made["components"]["schemas"].keys() >= {"Inner", "Outer", "Problem", "FieldError"}
    assert made["components"]["parameters"]["thing_id"]["in"] == "path"


def test_a_scope_that_does_not_exist_is_not_described() -> None:
    with pytest.raises(ValueError, match="not a scope"):
        GET_THING.to_dict("get_thing", "thing:read")


EVENTS: list[Any] = [{}, {"Records": []}, {"Records": [{"malformed": True}]}, [], None, "text"]


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_every_other_function_gets_its_event_as_it_came(event: Any) -> None:
    # Given a function for each kind of source
    app, seen = make_api(), []

    def note(given: LambdaEvent) -> None:
        seen.append(given)

    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/2026-01-01T00:00:00.000"
    functions = [
        app.on_s3_event(bucket="b", name="s3")(note),
        app.on_dynamodb_record(stream_arn=arn, name="stream")(note),
        app.on_sqs_message(queue="q", name="sqs")(note),
        app.on_sns_message(topic="t", name="sns")(note),
        app.schedule(Rate(5, unit=Rate.MINUTES), name="schedule")(note),
    ]
    # When
    for function in functions:
        function(event, LambdaContext(9.0))
    # Then
    assert len(seen) == len(functions)
    for given in seen:
        assert given.to_dict() == (event if isinstance(event, dict) else {})
        assert given.seconds_left() <= 9.0


@pytest.mark.parametrize(
    ("content_type", "is_json"),
    [
        ("application/json", True),
        ("Application/JSON; charset=UTF-8", True),
        (' application/json ;charset="utf-8" ', True),
        ("application/json; charset=latin-1", False),
        ("application/jsonp", False),
        ("text/json", True),
        ("application/json;", True),
        ("application/json; version=1", True),
        ("application/x+json; profile=y", True),
        ('application/x+json ; profile="a;charset=latin-1"', False),
        ("application/json; charset=us-ascii", True),
        ("application/json; charset=utf-8; charset=latin-1", False),
        ("application/json; version", False),
        ("application/json version=1", False),
        ("text/plain", False),
        ("application/cloudevents-batch+json", False),
        ("", False),
    ],
)
def test_json_in_utf8_is_known(content_type: str, is_json: bool) -> None:
    assert is_json_in_utf8(content_type) is is_json
    assert not is_in_utf8(content_type, CLOUD_EVENT)


def test_a_handler_learns_which_headers_came_twice() -> None:
    api = make_api()
    seen: list[frozenset[str]] = []

    @api.route("/things/{thing_id}", methods=["GET"], scope="items:read", spec=GET_THING)
    def get_thing(request: Request, thing_id: str) -> Response:
        seen.append(request.repeated)
        return no_content()

    many = {"CE-Id": ["1", "2"], "ce-type": ["a"]}
    call(api, "GET", "/things/7", "/things/{thing_id}", multiValueHeaders=many)
    call(api, "GET", "/things/7", "/things/{thing_id}", multiValueHeaders=None)
    assert seen == [frozenset({"ce-id"}), frozenset()]
