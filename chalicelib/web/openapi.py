"""The OpenAPI 3.1 document of the REST API, assembled from its routes.

Each route brings its operation's description, and each description the components it refers to.
Tests hold the document to the code: every answer that they provoke, and generated requests against
a deployed stage. `docs/openapi.json` is a copy; `make openapi` writes it. Source: OpenAPI
Specification 3.1.0.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from chalicelib import __version__
from chalicelib.web import problems
from chalicelib.web.describe import FIELD_ERROR, Component, Json, text

_ABOUT = """\
Events come in, are kept as they were sent, processed once in effect, and can be found, explained
and replayed. 202 means kept: the payload is stored and the event ends PROCESSED or FAILED.

Every answer carries `X-Request-Id`, and every error is `application/problem+json` (RFC 9457). A
token sees what its owner has; another owner's id answers 404. JSON is read strictly: UTF-8, no
duplicate names, no NaN or Infinity, no lone surrogates, at most 100 levels deep.
"""
_TAGS = {
    "Events": "Send events, read them, replay them.",
    "Recovery": "Replay many events, and take up again what failed.",
    "Schemas": "What the events of a type must look like.",
    "Items": "Objects of an owner, and who is told when one changes.",
    "Uploads": "Files, and the record of each.",
    "Destinations": "HTTPS endpoints that get events, and what was delivered to them.",
    "Alerts": "What people were alerted of.",
    "Tokens": "Who may call the API.",
    "Console": "What the API knows, in a browser.",
    "Platform": "The API itself.",
}


def document(routes: Mapping[str, Mapping[str, Any]]) -> Json:
    """The document for the `routes` of a Chalice application; a new one at each call. HEAD answers
    as GET does, without the body, and is not listed."""
    paths = {
        path: {
            method.lower(): entry.view_function.spec.to_dict(
                entry.view_name, entry.view_function.scope
            )
            for method, entry in methods.items()
            if method != "HEAD"
        }
        for path, methods in routes.items()
    }
    found = {"schemas": {"Problem": problems.schema()}, "parameters": {}}
    for part in sorted(_components([paths, FIELD_ERROR]), key=lambda one: one.name):
        found[part.kind][part.name] = part.value
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Eventline",
            "version": __version__,
            "summary": "Every event kept, processed once in effect, and found again.",
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": ".", "description": "Where this document comes from."}],
        "tags": [{"name": label, "description": what} for label, what in _TAGS.items()],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token `evl_<id>_<secret>` from `POST /tokens`. The scope"
                    " `admin` stands for every scope. A stage may use IAM or Cognito instead.",
                }
            },
            **found,
            "headers": {
                "X-Request-Id": {
                    "description": "Names the request in the log.",
                    "required": True,
                    "schema": text(minLength=1),
                }
            },
            "responses": problems.responses(),
        },
    }


def _components(part: Any) -> Iterator[Component]:
    """The components that a part of the document refers to, and those that they refer to."""
    if isinstance(part, Component):
        yield part
        yield from _components(part.value)
    elif isinstance(part, Mapping):
        for value in part.values():
            yield from _components(value)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _components(value)
