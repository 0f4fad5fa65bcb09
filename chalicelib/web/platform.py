"""The routes of the API itself: whether it answers, and the document that describes it."""

from collections.abc import Mapping
from typing import Any

from chalicelib import __version__
from chalicelib.aws.clients import sdk_fault
from chalicelib.core.errors import UnavailableError
from chalicelib.web.describe import Operation, component, content, record, response, text
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


def get_health(stage: str) -> Response:
    """`GET /health`; no call. Raises `UnavailableError` where the AWS SDK of the runtime lacks what
    we use: no request that writes could work."""
    if sdk_fault() is not None:
        raise UnavailableError("the AWS SDK of the runtime is too old; the log has the version")
    return answer({"status": "ok", "version": __version__, "stage": stage})


def get_openapi(routes: Mapping[str, Mapping[str, Any]]) -> Response:
    """`GET /openapi.json`; no call."""
    from chalicelib.web.openapi import document

    return answer(document(routes))
