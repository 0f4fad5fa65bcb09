"""What each mode of AUTH_MODE makes of the API: for the gateway (Swagger), and in the application.

The settings are read when `app` is imported, so each mode has a process of its own.
"""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from chalicelib.web.browsers import ALLOWED_HEADERS, SECURITY_HEADERS
from tests.conftest import ACCOUNT
from tests.web.test_routes import SCOPE_OF

ROOT = Path(__file__).resolve().parents[2]
POOL = f"arn:aws:cognito-idp:us-east-1:{ACCOUNT}:userpool/us-east-1_aBcDeF"
ORIGIN = "https://app.example.com"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"
BOB = f"arn:aws:sts::{ACCOUNT}:assumed-role/bob/session"
_SCRIPT = """
import json, sys
import app
from chalice.deploy.swagger import SwaggerGenerator

arn = "arn:aws:lambda:us-east-1:123456789012:function:f"
name = f"{app.app.app_name}-authorize"
deployed = {
    "api_handler_name": app.app.app_name,
    "api_handler_arn": arn,
    "lambda_functions": {name: {"arn": arn}},
}
swagger = SwaggerGenerator("us-east-1", deployed).generate_swagger(app.app)
answers = []
for context, method, path, body in json.loads(sys.stdin.read()):
    event = {
        "requestContext": {"httpMethod": method, "resourcePath": path, **context},
        "headers": {"Content-Type": "application/json"},
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "body": body,
        "isBase64Encoded": False,
    }
    if context is None:
        event = {"body": body}
    answers.append(app.app(event, None))
print(json.dumps({"swagger": swagger, "answers": answers}))
"""


@cache
def run(settings: tuple[tuple[str, str], ...], requests: str = "[]") -> Any:
    """What a process with these settings has for the gateway, and answers."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _SCRIPT],
        cwd=ROOT,
        env=os.environ | dict(settings),
        input=requests,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    # What comes before are log lines.
    return json.loads(done.stdout.splitlines()[-1])


def swagger_of(**settings: str) -> Any:
    return run(tuple(settings.items()))["swagger"]


def statuses(settings: dict[str, str], *requests: Any) -> list[int]:
    answers = run(tuple(settings.items()), json.dumps(requests))["answers"]
    return [answer["statusCode"] for answer in answers]


MODES = {
    "token": {"AUTH_MODE": "token"},
    "iam": {"AUTH_MODE": "iam", "IAM_ADMINS": "alice"},
    "cognito": {"AUTH_MODE": "cognito", "COGNITO_USER_POOL_ARN": POOL},
    "none": {"AUTH_MODE": "none"},
}
SECURITY = {"token": "authorize", "iam": "sigv4", "cognito": "users"}


@pytest.mark.parametrize("mode", MODES)
def test_every_guarded_route_asks_for_the_modes_credentials_and_no_other_does(mode: str) -> None:
    swagger = swagger_of(**MODES[mode])
    for (method, path), scope in SCOPE_OF.items():
        security = swagger["paths"][path][method.lower()].get("security")
        guarded = scope is not None and mode != "none"
        assert security == ([{SECURITY[mode]: []}] if guarded else None), (method, path)
    assert swagger.get("securityDefinitions", {}).keys() == (
        {SECURITY[mode]} if mode != "none" else set()
    )


def test_the_gateway_forgets_a_token_as_soon_as_is_said() -> None:
    definition = swagger_of(**MODES["token"])["securityDefinitions"]["authorize"]
    authorizer = definition["x-amazon-apigateway-authorizer"]
    assert definition["x-amazon-apigateway-authtype"] == "custom"
    assert authorizer["authorizerResultTtlInSeconds"] == 10
    assert "10 seconds" in (ROOT / "docs" / "security.md").read_text()


def test_the_gateway_checks_signatures() -> None:
    definition = swagger_of(**MODES["iam"])["securityDefinitions"]["sigv4"]
    assert definition["x-amazon-apigateway-authtype"] == "awsSigv4"


def test_the_gateway_checks_tokens_of_the_user_pool() -> None:
    definition = swagger_of(**MODES["cognito"])["securityDefinitions"]["users"]
    assert definition["x-amazon-apigateway-authtype"] == "cognito_user_pools"
    assert definition["x-amazon-apigateway-authorizer"]["providerARNs"] == [POOL]


@pytest.mark.parametrize("mode", ["token", "iam", "cognito"])
def test_who_is_vouched_for_in_another_mode_only_is_nobody(mode: str) -> None:
    # Given requests that carry every identity but that of the mode
    identities = {
        "token": {"authorizer": {"owner": "alice", "scopes": "admin", "tokenId": "t"}},
        "iam": {"identity": {"userArn": ALICE}, "accountId": ACCOUNT},
        "cognito": {"authorizer": {"claims": {"sub": "alice", "cognito:groups": "admin"}}},
    }
    others = [context for other, context in identities.items() if other != mode]
    # When they ask for anything
    asked = [
        [context, method, path, None]
        for context in ({}, {"eventlineCaller": {"owner": "x"}}, *others)
        for (method, path), scope in SCOPE_OF.items()
        if scope is not None and "{" not in path
    ]
    # Then they are refused
    assert set(statuses(MODES[mode], *asked)) == {401}


def test_by_signature_users_and_roles_have_every_scope_but_admin() -> None:
    def by(arn: str) -> dict[str, Any]:
        return {"identity": {"userArn": arn}, "accountId": ACCOUNT}

    bob, alice = by(BOB), by(ALICE)
    assert statuses(
        MODES["iam"],
        [bob, "POST", "/items", "{"],
        [bob, "POST", "/tokens", "{}"],
        [alice, "POST", "/tokens", "{}"],
        [by(f"arn:aws:iam::{ACCOUNT}:root"), "POST", "/items", "{"],
        [{**alice, "accountId": "210987654321"}, "POST", "/items", "{"],
    ) == [400, 403, 400, 403, 403]


def test_by_user_pool_groups_are_scopes() -> None:
    def by(groups: Any) -> dict[str, Any]:
        return {"authorizer": {"claims": {"sub": "s-1", "cognito:groups": groups}}}

    assert statuses(
        MODES["cognito"],
        [by("items:write,events:read"), "POST", "/items", "{"],
        [by("items:write,events:read"), "POST", "/tokens", "{}"],
        [by("[admin]"), "POST", "/tokens", "{}"],
        [by(None), "POST", "/items", "{"],
    ) == [400, 403, 400, 403]


def test_an_open_stage_asks_nobody() -> None:
    assert statuses(MODES["none"], [{}, "POST", "/tokens", "{}"]) == [400]


@pytest.mark.parametrize("settings", [{"STAGE": "prod", "AUTH_MODE": "none"}, {"AUTH_MODE": "x"}])
def test_a_mode_that_may_not_be_stops_the_deployment(settings: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match="AUTH_MODE"):
        run(tuple(settings.items()))


def test_the_challenge_names_the_mode() -> None:
    asked = json.dumps([[{}, "GET", "/events", None]])
    for mode, challenge in (("token", "Bearer"), ("iam", "AWS4-HMAC-SHA256")):
        (answer,) = run(tuple(MODES[mode].items()), asked)["answers"]
        assert answer["headers"]["WWW-Authenticate"] == challenge


def test_without_an_origin_no_page_of_another_site_may_ask() -> None:
    swagger = swagger_of(**MODES["token"])
    assert all("options" not in methods for methods in swagger["paths"].values())
    assert "Access-Control" not in json.dumps(swagger)


def test_with_an_origin_the_gateway_answers_preflights_for_it_alone() -> None:
    swagger = swagger_of(CORS_ORIGIN=ORIGIN)
    for path, methods in swagger["paths"].items():
        preflight = methods["options"]
        assert "security" not in preflight
        answered = preflight["x-amazon-apigateway-integration"]["responses"]["default"]
        headers = {
            name.removeprefix("method.response.header."): value.strip("'")
            for name, value in answered["responseParameters"].items()
        }
        assert headers["Access-Control-Allow-Origin"] == ORIGIN
        assert set(ALLOWED_HEADERS) <= set(headers["Access-Control-Allow-Headers"].split(","))
        assert "Access-Control-Allow-Credentials" not in headers
        methods_there = {method.upper() for method in methods}
        assert set(headers["Access-Control-Allow-Methods"].split(",")) == methods_there, path


def test_with_an_origin_answers_and_errors_may_be_read_by_it() -> None:
    asked = json.dumps(
        [
            [{}, "GET", "/health", None],
            [{}, "GET", "/events", None],
            [{}, "PATCH", "/health", None],
            [{}, "GET", "/nowhere", None],
        ]
    )
    answers = run((("CORS_ORIGIN", ORIGIN),), asked)["answers"]
    assert [answer["statusCode"] for answer in answers] == [200, 401, 405, 405]
    for answer in answers:
        assert answer["headers"]["Access-Control-Allow-Origin"] == ORIGIN
        assert "X-Request-Id" in answer["headers"]["Access-Control-Expose-Headers"].split(",")
        assert SECURITY_HEADERS.items() <= answer["headers"].items()
