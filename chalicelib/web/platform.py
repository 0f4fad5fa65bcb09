"""The routes of the API itself: whether it answers, how it is set, and what describes it."""

import os
from collections.abc import Mapping
from typing import Any

from chalicelib import __version__
from chalicelib.aws.clients import sdk_fault
from chalicelib.core import config
from chalicelib.core.errors import UnavailableError
from chalicelib.web.describe import (
    Operation,
    component,
    content,
    nullable,
    page_of,
    record,
    response,
    text,
)
from chalicelib.web.responses import Response, answer

_TAG = "Platform"
_HEALTH = component(
    "Health", record({"status": text(const="ok"), "version": text("Eventline's."), "stage": text()})
)
_OK = {"status": "ok", "version": __version__, "stage": "dev"}

GET_HEALTH = Operation(
    _TAG,
    "Whether the API answers",
    {200: response("It does.", content(_HEALTH, health=_OK))},
    (503,),
)
GET_OPENAPI = Operation(
    _TAG,
    "This document",
    {200: response("The document.", content({"type": "object", "additionalProperties": True}))},
)

_SETTING = component(
    "Setting",
    record(
        {
            "name": text("The environment variable."),
            "value": text("Its value on this stage."),
            "default": nullable(text("Null if each stage sets it.")),
            "help": text("What it is."),
        }
    ),
)
_EXAMPLE = {
    "name": "MAX_ATTEMPTS",
    "value": "5",
    "default": "5",
    "help": "Deliveries before an event is FAILED; the queue's own limit.",
}
LIST_SETTINGS = Operation(
    _TAG,
    "The settings of the stage",
    {
        200: response(
            "All of them: there is one page.",
            content(page_of(_SETTING), page={"items": [_EXAMPLE], "cursor": None}),
        )
    },
    description="Those of `docs/configuration.md`, and no secret: secrets are parameters in SSM.",
)


def get_health(stage: str) -> Response:
    """`GET /health`; no call. Raises `UnavailableError` where the AWS SDK of the runtime lacks what
    we use: no request that writes could work."""
    if sdk_fault() is not None:
        raise UnavailableError("the AWS SDK of the runtime is too old; the log has the version")
    return answer({"status": "ok", "version": __version__, "stage": stage})


def list_settings() -> Response:
    """`GET /settings`; no call."""
    return answer({"items": config.in_words(os.environ), "cursor": None})


def get_openapi(routes: Mapping[str, Mapping[str, Any]]) -> Response:
    """`GET /openapi.json`; no call."""
    from chalicelib.web.openapi import document

    return answer(document(routes))
