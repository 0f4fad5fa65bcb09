"""What a handler answers."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from chalice.app import Response

from chalicelib.core.media_types import JSON
from chalicelib.core.paging import encode_cursor
from chalicelib.core.strict_json import dump_json

__all__ = [
    "Response",
    "answer",
    "created",
    "no_content",
    "not_modified",
    "page",
    "problem",
    "stored",
]

IS_BASE64 = "X-Is-Base64"
"""Marks, between a handler and the end of `Api`, an answer that the gateway is to decode."""

Headers = dict[str, str | list[str]]


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    all_headers: Headers = {"Content-Type": JSON, **(headers or {})}
    return Response(dump_json(body), status_code=status, headers=all_headers)


def created(
    body: Any, location: str, status: int = 201, *, etag: str | None = None, replayed: bool = False
) -> Response:
    """201, or 202: where the new thing is. `replayed` when the same request had made it before."""
    headers = {"Location": location}
    if etag is not None:
        headers["ETag"] = etag
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return answer(body, status, headers)


def page(items: Sequence[Any], resume_below: str | None) -> Response:
    """A page of a list; `resume_below` is the key where the next one goes on."""
    cursor = None if resume_below is None else encode_cursor(resume_below)
    return answer({"items": [item.to_dict() for item in items], "cursor": cursor})


def no_content() -> Response:
    """204."""
    return Response("", status_code=204)


def not_modified(etag: str) -> Response:
    """304 (RFC 9110, section 15.4.5)."""
    return Response("", status_code=304, headers={"ETag": etag})


def stored(payload: bytes, content_type: str) -> Response:
    """Stored bytes, unchanged. Non-JSON is served as an attachment, so that a sender's HTML cannot
    run on our origin (`nosniff` is on every answer)."""
    headers: Headers = {"Content-Type": content_type}
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != JSON and not media_type.endswith("+json"):
        headers["Content-Disposition"] = "attachment"
    try:
        return Response(payload.decode(), headers=headers)
    except UnicodeDecodeError:
        encoded = base64.b64encode(payload).decode()
        return Response(encoded, headers={**headers, IS_BASE64: "true"})


def problem(
    status: int, code: str, title: str, detail: str, errors: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    """The members of a problem (RFC 9457), but for the request id."""
    told = {"detail": detail, "code": code, **({"errors": errors} if errors else {})}
    return {"type": "about:blank", "title": title, "status": status, **told}
