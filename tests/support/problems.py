"""What every answer and every error of the API has."""

import json
import uuid
from typing import Any

from chalice.test import HTTPResponse

from chalicelib.web.browsers import SECURITY_HEADERS

MEMBERS = {"type", "title", "status", "detail", "code", "requestId"}


def check_headers(response: HTTPResponse) -> None:
    """The headers of every answer."""
    assert str(uuid.UUID(response.headers["X-Request-Id"])) == response.headers["X-Request-Id"]
    assert SECURITY_HEADERS.items() <= dict(response.headers).items()


def check_problem(response: HTTPResponse, status: int, code: str, *pointers: str) -> Any:
    """An error in the one shape of RFC 9457; returns its body."""
    assert response.status_code == status, response.body
    check_headers(response)
    assert response.headers["Content-Type"] == "application/problem+json"
    body = json.loads(response.body)
    assert body.keys() - {"errors", "eventId"} == MEMBERS
    assert (body["type"], body["status"], body["code"]) == ("about:blank", status, code)
    assert body["requestId"] == response.headers["X-Request-Id"]
    assert body["title"]
    assert body["detail"]
    assert [fault["pointer"] for fault in body.get("errors", [])] == list(pointers)
    assert all(fault["detail"] for fault in body.get("errors", []))
    return body
