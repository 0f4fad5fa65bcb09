"""What the OpenAPI document promises, checked on answers: status, headers, content type, body.

Stricter than the document in two points. A member that it does not list is a fault: the document
leaves objects of answers open, so that clients expect new members; the code has none in secret. And
a problem's status, code and title go together, which the document says in words.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from chalicelib.core.errors import title_of
from chalicelib.core.media_types import PROBLEM
from chalicelib.web import openapi, problems

METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")

Json = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One operation of the document; `method` in upper case."""

    method: str
    path: str
    content: Json

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def statuses(self) -> set[int]:
        return {int(status) for status in self.content["responses"]}


def document() -> Json:
    """The document of the application's routes."""
    from app import app

    return openapi.document(app.routes)


def operations(of: Json | None = None) -> list[Operation]:
    """All operations, in the document's order."""
    return [
        Operation(method.upper(), path, content)
        for path, methods in (of or document())["paths"].items()
        for method, content in methods.items()
        if method in METHODS
    ]


def resolve(root: Json, value: Any) -> Any:
    """`value`, or what it refers to if it is a reference."""
    while isinstance(value, dict) and "$ref" in value:
        pointer = value["$ref"]
        assert pointer.startswith("#/"), pointer
        value = root
        for token in pointer[2:].split("/"):
            value = value[token.replace("~1", "/").replace("~0", "~")]
    return value


def walk(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in `value` with its JSON Pointer."""
    yield at, value
    children: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        children = iter(value.items())
    elif isinstance(value, list):
        children = iter(enumerate(value))
    for name, child in children:
        yield from walk(child, f"{at}/{str(name).replace('~', '~0').replace('/', '~1')}")


def faults(root: Json, schema: Any, value: Any) -> list[str]:
    """What is wrong with `value` by `schema`, a part of the document `root`."""
    whole = {"components": root["components"], "allOf": [schema]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(value)]


class Contract:
    """The document with every object of an answer closed."""

    def __init__(self) -> None:
        self.root = copy.deepcopy(document())
        self.operations = {(one.method, one.path): one for one in operations(self.root)}
        for _, value in list(walk(self.root)):
            if isinstance(value, dict) and _is_open(value):
                value["additionalProperties"] = False

    def check(
        self, method: str, path: str, status: int, headers: Mapping[str, Any], body: bytes
    ) -> None:
        """AssertionError unless the document has this answer to the operation."""
        operation = self.operations[method, path]
        documented = operation.content["responses"].get(str(status))
        assert documented is not None, f"{operation} answers {status}: {body[:500]!r}"
        response = resolve(self.root, documented)
        self._check_headers(response, {name.lower(): value for name, value in headers.items()})
        self._check_body(f"{operation} {status}", status, response, headers, body)

    def _check_headers(self, response: Json, sent: Mapping[str, Any]) -> None:
        for name, reference in response.get("headers", {}).items():
            header = resolve(self.root, reference)
            if name.lower() not in sent:
                assert not header.get("required"), f"{name} is missing"
                continue
            wrong = faults(self.root, header["schema"], sent[name.lower()])
            assert not wrong, (name, wrong)
        known = {name.lower() for name in response.get("headers", {})}
        for name in ("location", "etag", "idempotent-replayed", "retry-after", "www-authenticate"):
            assert name not in sent or name in known, f"{name} is not documented"

    def _check_body(
        self, what: str, status: int, response: Json, headers: Mapping[str, Any], body: bytes
    ) -> None:
        content = response.get("content")
        if content is None:
            assert body == b"", f"{what} has a body"
            return
        sent_as = str(headers["Content-Type"])
        media = content.get(sent_as, content.get("*/*"))
        assert media is not None, f"{what} is {sent_as}"
        if "schema" in media:
            wrong = faults(self.root, media["schema"], json.loads(body))
            assert not wrong, (what, wrong)
        if sent_as == PROBLEM:
            problem = json.loads(body)
            code = problem["code"]
            assert problem["status"] == status
            assert code in problems.PROBLEMS[status].codes, (what, code)
            assert problem["title"] == title_of(code)


def _is_open(schema: Json) -> bool:
    kinds = schema.get("type")
    is_object = "object" in kinds if isinstance(kinds, list) else kinds == "object"
    return is_object and "properties" in schema and "additionalProperties" not in schema
