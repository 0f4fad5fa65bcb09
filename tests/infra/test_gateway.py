"""Errors of API Gateway's own: their shape, and that they are put once."""

import json
from typing import Any

import boto3
import pytest

from chalicelib.core import errors
from chalicelib.web.browsers import SECURITY_HEADERS
from infra import gateway


class FakeApiGateway:
    """Keeps gateway responses as API Gateway does, and counts deployments."""

    def __init__(self) -> None:
        self.responses: dict[str, dict[str, Any]] = {}
        self.deployments: list[dict[str, Any]] = []

    def get_gateway_responses(self, **_: Any) -> dict[str, Any]:
        return {"items": [{"responseType": kind, **r} for kind, r in self.responses.items()]}

    def put_gateway_response(self, *, restApiId: str, responseType: str, **rest: Any) -> None:  # noqa: N803
        assert restApiId == "api1"
        self.responses[responseType] = rest

    def create_deployment(self, **arguments: Any) -> None:
        self.deployments.append(arguments)


def test_every_response_type_of_the_service_is_covered() -> None:
    client = boto3.client("apigateway", region_name="us-east-1")
    shape = client.meta.service_model.shape_for("GatewayResponseType")
    assert set(gateway.PROBLEMS) == set(shape.enum)


@pytest.mark.parametrize("kind", gateway.PROBLEMS)
def test_an_answer_is_a_problem_with_the_request_id(kind: str) -> None:
    problem = gateway.PROBLEMS[kind]
    made = gateway.response(problem)
    body = json.loads(made["responseTemplates"]["application/json"])
    assert list(body) == ["type", "title", "status", "detail", "code", "requestId"]
    assert body["type"] == "about:blank"
    assert str(body["status"]) == made["statusCode"]
    assert body["requestId"] == "$context.requestId"
    headers = made["responseParameters"]
    assert headers["gatewayresponse.header.Content-Type"] == "'application/problem+json'"
    assert headers["gatewayresponse.header.X-Request-Id"] == "context.requestId"


@pytest.mark.parametrize("kind", gateway.PROBLEMS)
@pytest.mark.parametrize("origin", ["", "https://app.example.com"])
def test_an_answer_has_the_headers_of_the_application_s_own(kind: str, origin: str) -> None:
    problem = gateway.PROBLEMS[kind]
    headers = {
        name.removeprefix("gatewayresponse.header."): value
        for name, value in gateway.response(problem, origin)["responseParameters"].items()
    }
    for name, value in SECURITY_HEADERS.items():
        assert headers[name] == f"'{value}'"
    assert headers.get("Access-Control-Allow-Origin") == (f"'{origin}'" if origin else None)


def test_where_requests_are_signed_an_unsigned_one_is_not_said_to_be_nowhere() -> None:
    assert gateway.problems("token") == gateway.problems("") == gateway.PROBLEMS
    by_iam = gateway.problems("iam")
    assert by_iam.keys() == gateway.PROBLEMS.keys()
    assert by_iam["MISSING_AUTHENTICATION_TOKEN"].status == 401
    assert by_iam["MISSING_AUTHENTICATION_TOKEN"].code == "unauthorized"


def test_unauthorized_says_how_to_authenticate() -> None:
    headers = gateway.response(gateway.PROBLEMS["UNAUTHORIZED"])["responseParameters"]
    assert headers["gatewayresponse.header.WWW-Authenticate"] == "'Bearer'"


def test_an_unknown_route_is_not_found_rather_than_forbidden() -> None:
    assert gateway.PROBLEMS["MISSING_AUTHENTICATION_TOKEN"].status == 404


def test_codes_are_the_application_s_own_where_it_has_the_error() -> None:
    own = {
        kind.code: kind.status
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.EventlineError)
    }
    for problem in gateway.PROBLEMS.values():
        assert problem.status == own.get(problem.code, problem.status)


def test_responses_are_put_and_deployed_once() -> None:
    client = FakeApiGateway()

    assert gateway.apply(client, "api1", "api", traced=True) == len(gateway.PROBLEMS)
    assert gateway.apply(client, "api1", "api", traced=True) == 0

    assert client.deployments == [{"restApiId": "api1", "stageName": "api", "tracingEnabled": True}]


def test_what_the_stage_is_set_to_is_put() -> None:
    client = FakeApiGateway()
    gateway.apply(client, "api1", "api", traced=False)

    origin = "https://app.example.com"
    gateway.apply(client, "api1", "api", traced=False, mode="iam", origin=origin)

    for made in client.responses.values():
        parameters = made["responseParameters"]
        assert parameters["gatewayresponse.header.Access-Control-Allow-Origin"] == f"'{origin}'"
    assert client.responses["MISSING_AUTHENTICATION_TOKEN"]["statusCode"] == "401"


def test_only_what_differs_is_put_again() -> None:
    client = FakeApiGateway()
    gateway.apply(client, "api1", "api", traced=False)
    client.responses["THROTTLED"]["statusCode"] = "503"

    assert gateway.apply(client, "api1", "api", traced=False) == 1

    assert client.responses["THROTTLED"]["statusCode"] == "429"
    assert len(client.deployments) == 2
