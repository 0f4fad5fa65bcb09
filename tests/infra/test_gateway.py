"""Errors of API Gateway's own: their shape, and that every deployment carries them."""

import json
import re
from typing import Any

import boto3
import pytest
from chalice import Chalice
from chalice.deploy.swagger import (
    CFNSwaggerGenerator,
    SwaggerGenerator,
    TemplatedSwaggerGenerator,
    TerraformSwaggerGenerator,
)

from chalicelib.core import errors
from chalicelib.web.browsers import SECURITY_HEADERS
from infra import gateway
from infra.emulator import ApiWriter


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


class FakeApiGateway:
    """Keeps gateway responses as API Gateway does, and counts what is written."""

    def __init__(self) -> None:
        self.responses: dict[str, dict[str, Any]] = {}
        self.writes: list[str] = []

    def get_gateway_responses(self, **_: Any) -> dict[str, Any]:
        default = {"responseType": "QUOTA_EXCEEDED", "statusCode": "429", "defaultResponse": True}
        return {
            "items": [default, *({"responseType": kind, **r} for kind, r in self.responses.items())]
        }

    def put_gateway_response(self, *, restApiId: str, responseType: str, **rest: Any) -> None:  # noqa: N803
        assert restApiId == "api1"
        self.responses[responseType] = rest
        self.writes.append(responseType)

    def delete_gateway_response(self, *, restApiId: str, responseType: str) -> None:  # noqa: N803
        assert restApiId == "api1"
        del self.responses[responseType]

    def get_resources(self, **_: Any) -> dict[str, Any]:
        return {"items": [{"id": "root", "path": "/"}]}

    def get_authorizers(self, **_: Any) -> dict[str, Any]:
        return {"items": []}


@pytest.fixture
def chalice_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chalice's generators as they are, also after the test."""
    monkeypatch.setattr(SwaggerGenerator, "generate_swagger", SwaggerGenerator.generate_swagger)


@pytest.mark.usefixtures("chalice_s_own")
@pytest.mark.parametrize("mode", ["token", "iam"])
@pytest.mark.parametrize("origin", ["", "https://app.example.com"])
@pytest.mark.parametrize(
    "generator",
    [
        TemplatedSwaggerGenerator(),  # chalice deploy
        CFNSwaggerGenerator(),  # chalice package
        TerraformSwaggerGenerator(),
    ],
    ids=lambda generator: type(generator).__name__,
)
def test_every_document_that_chalice_makes_has_the_responses(
    generator: SwaggerGenerator, mode: str, origin: str
) -> None:
    # "x-amazon-apigateway-gateway-responses object" (Amazon API Gateway Developer Guide): a map of
    # response types; PutRestApi in overwrite mode keeps no response that it does not name.
    gateway.extend_swagger("none", "")
    gateway.extend_swagger(mode, origin)
    app = Chalice("eventline-dev")
    document = generator.generate_swagger(app)
    assert document["info"]["title"] == "eventline-dev"
    told = document["x-amazon-apigateway-gateway-responses"]
    assert told == {
        kind: gateway.response(problem, origin) for kind, problem in gateway.problems(mode).items()
    }
    for answer in told.values():
        assert set(answer) == {"statusCode", "responseParameters", "responseTemplates"}
        assert re.fullmatch(r"[1-5]\d\d", answer["statusCode"])


def test_the_emulator_gets_the_responses_of_the_document_and_no_others() -> None:
    client = FakeApiGateway()
    client.responses["WAF_FILTERED"] = {"statusCode": "418"}
    document = {"paths": {}, gateway.EXTENSION: gateway.extension("", "")}
    del document[gateway.EXTENSION]["WAF_FILTERED"]

    ApiWriter(client, "api1").write(document)
    ApiWriter(client, "api1").write(document)

    assert client.responses == document[gateway.EXTENSION]
    assert len(client.writes) == len(client.responses)


def test_a_document_without_responses_leaves_none() -> None:
    client = FakeApiGateway()
    ApiWriter(client, "api1").write({"paths": {}, gateway.EXTENSION: gateway.extension("", "")})

    ApiWriter(client, "api1").write({"paths": {}})

    assert client.responses == {}
