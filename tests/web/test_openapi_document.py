"""The OpenAPI document by itself: valid, complete, and the one that is committed."""

import json
import re
import subprocess
import sys
from typing import Any

import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

import app
from chalicelib.core import errors
from chalicelib.web import problems
from chalicelib.web.callers import SCOPES
from infra import gateway
from infra.write_openapi import COPY, as_text
from tests.support.openapi_contract import Operation, document, faults, operations, resolve, walk

ROOT = document()
OPERATIONS = operations(ROOT)
_SCHEMA_AT = re.compile(r"/components/schemas/[^/]+|.*/schema")
# What never reaches a client: told at start, or between functions.
_NOT_OVER_HTTP = {"configuration", "processing-failed", "foreign-message", "batch-incomplete"}


def test_the_document_is_valid_openapi_3_1() -> None:
    # The official meta-schema, as the installed tools carry it
    found = jsonschema_rs.Draft202012Validator(OPENAPI_31).iter_errors(ROOT)
    assert [(error.instance_path, error.message) for error in found] == []
    assert ROOT["openapi"] == "3.1.0"


def test_every_schema_is_a_valid_json_schema() -> None:
    found = [(at, value) for at, value in walk(ROOT) if _SCHEMA_AT.fullmatch(at)]
    assert len(found) > 100
    for at, value in found:
        jsonschema_rs.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema"} | value
        )
        faults(ROOT, value, None)  # raises for a pattern or a reference that is none
        assert at


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    # Given
    targets = {
        value["$ref"] for _, value in walk(ROOT) if isinstance(value, dict) and "$ref" in value
    }
    # Then
    for target in targets:
        assert resolve(ROOT, {"$ref": target}) is not None
    components = {
        f"#/components/{kind}/{name}"
        for kind, named in ROOT["components"].items()
        if kind != "securitySchemes"
        for name in named
    }
    assert components == targets


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_an_operation_is_whole(operation: Operation) -> None:
    content = operation.content
    scope = content["x-required-scope"]
    assert content["summary"]
    assert [
        tag for tag in content["tags"] if tag not in {one["name"] for one in ROOT["tags"]}
    ] == []
    assert scope is None or scope in SCOPES
    takes_any_token = operation.path == "/tokens/self"
    wanted = [{"bearer": [scope] if scope else []}] if scope or takes_any_token else []
    assert content["security"] == wanted
    assert any(200 <= status < 300 for status in operation.statuses)
    assert set(problems.ALWAYS) <= operation.statuses
    assert (set(problems.GUARDED) <= operation.statuses) or scope is None
    for response in content["responses"].values():
        assert "X-Request-Id" in resolve(ROOT, response)["headers"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_the_path_and_its_parameters_agree(operation: Operation) -> None:
    given = [resolve(ROOT, one) for one in operation.content.get("parameters", [])]
    in_path = {one["name"] for one in given if one["in"] == "path"}
    assert in_path == set(re.findall(r"\{(\w+)\}", operation.path))
    assert all(one["required"] for one in given if one["in"] == "path")
    assert len({(one["in"], one["name"].lower()) for one in given}) == len(given)


def test_operation_ids_are_unique_and_links_lead_to_operations() -> None:
    by_id = {one.content["operationId"]: one for one in OPERATIONS}
    assert len(by_id) == len(OPERATIONS)
    links = [
        link
        for one in OPERATIONS
        for response in one.content["responses"].values()
        for link in resolve(ROOT, response).get("links", {}).values()
    ]
    assert links
    for link in links:
        taken = {
            resolve(ROOT, one)["name"] for one in by_id[link["operationId"]].content["parameters"]
        }
        assert link["parameters"].keys() <= taken


def _media_types() -> list[tuple[str, Any]]:
    return [(at, value) for at, value in walk(ROOT) if re.fullmatch(r".*/content/[^/]+", at)]


def test_every_example_is_valid_by_its_schema() -> None:
    count = 0
    for at, media in _media_types():
        for label, example in media.get("examples", {}).items():
            assert faults(ROOT, media["schema"], example["value"]) == [], (at, label)
            count += 1
    for at, value in walk(ROOT):
        if isinstance(value, dict) and "schema" in value and "example" in value:
            assert faults(ROOT, value["schema"], value["example"]) == [], at
            count += 1
    assert count > 40


def test_every_body_that_has_a_schema_has_an_example() -> None:
    for operation in OPERATIONS:
        sent = operation.content.get("requestBody", {"content": {}})["content"]
        answered = [
            resolve(ROOT, response).get("content", {})
            for response in operation.content["responses"].values()
        ]
        for content in (sent, *answered):
            for media_type, media in content.items():
                has_example = bool(media.get("examples")) or operation.path == "/openapi.json"
                assert has_example or "schema" not in media, (str(operation), media_type)


def _raised(base: type[errors.EventlineError]) -> set[type[errors.EventlineError]]:
    return {base}.union(*(_raised(one) for one in base.__subclasses__()))


def test_every_error_of_the_code_is_documented_with_its_code_and_title() -> None:
    shown = [
        error
        for error in _raised(errors.EventlineError)
        if error.__module__ == errors.__name__
        and error.code not in _NOT_OVER_HTTP
        and not issubclass(error, errors.ProcessingError)
    ]
    assert len(shown) > 10
    for error in shown:
        problem = problems.PROBLEMS[error.status]
        assert errors.title_of(error.code) == error.title
        assert error.code in problem.codes
        assert problem.headers.get("Retry-After", {}).get("required", False) is error.retryable


def test_every_problem_of_the_gateway_is_documented() -> None:
    for kind, problem in gateway.PROBLEMS.items():
        assert problem.code in problems.PROBLEMS[problem.status].codes, kind
        assert errors.title_of(problem.code), kind
        documented = problems.PROBLEMS[problem.status].headers
        assert problem.headers.keys() <= documented.keys(), kind


def test_the_committed_copy_is_the_document() -> None:
    assert COPY.read_text() == as_text(app.app.routes), "run: make openapi"
    assert json.loads(COPY.read_text()) == ROOT


def test_a_caller_can_not_change_the_next_document() -> None:
    document()["paths"].clear()
    document()["components"]["schemas"].clear()
    assert document() == ROOT


HEAVY = ("jsonschema_rs", "boto3", "requests", "urllib3", "moto")


def test_importing_the_application_loads_nothing_heavy() -> None:
    # When app.py is imported as Lambda does, and chalice alone
    code = "import sys; sys.path.insert(0, '.'); import tests.conftest; {}; print(*sys.modules)"
    loaded = [
        set(
            subprocess.run(
                [sys.executable, "-c", code.format(what)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()
        )
        for what in ("import app", "import chalice")
    ]
    # Then what is seldom needed is not there
    assert {name for name in loaded[0] - loaded[1] if name.split(".")[0] in HEAVY} == set()
