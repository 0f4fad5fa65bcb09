"""Receive a webhook: check size, signature (over the raw body), content type and content, in turn.

The size comes first: the limit is published and the same for all sources, and a body over it costs
no hash. A wrong signature and an unknown source get one and the same answer, and nothing is
written; the log has the reason.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from chalicelib.core import clock
from chalicelib.core.errors import UnauthenticatedError, UnsupportedMediaTypeError
from chalicelib.core.log import log
from chalicelib.core.media_types import FORM, JSON, is_in_utf8, is_json_in_utf8
from chalicelib.events.ingest import IngestDeps, Receipt, Submission, check_size, ingest
from chalicelib.webhooks import sources
from chalicelib.webhooks.digests import DigestStore
from chalicelib.webhooks.signatures import parse_secrets
from chalicelib.webhooks.sources import Source

_LONGEST_ID = 256


class WebhookDeps(Struct, frozen=True):
    """The collaborators of `receive`. `secret_of` gives the text of a source's secrets, None if
    none is set; `owner` owns the events; `digests` (None where that is off) knows bodies again."""

    ingest: IngestDeps
    secret_of: Callable[[str], str | None]
    owner: str
    digests: DigestStore | None = None
    now: Callable[[], datetime] = clock.utc_now


def receive(
    source: str, headers: Mapping[str, str], body: bytes, request_id: str, deps: WebhookDeps
) -> Receipt:
    """Ingest one delivery; `headers` have lower-case names, `body` is as it was sent. The calls are
    those of `ingest`, and one where bodies are known again.

    Raises `PayloadTooLargeError`, `UnauthenticatedError`, `UnsupportedMediaTypeError`, and what
    `ingest` does: a signed delivery that cannot be used is stored as REJECTED. An AWS error passes,
    also from reading the secret: nothing was acknowledged then.
    """
    check_size(body, deps.ingest.max_event_bytes)
    sender = _check_signature(source, headers, body, deps)
    content_type = headers.get("content-type", JSON)
    if sender.takes_forms and is_in_utf8(content_type, FORM):
        body = _form_payload(body)
    elif not is_json_in_utf8(content_type):
        raise UnsupportedMediaTypeError(f"a webhook is sent as {JSON} in UTF-8")
    headers = _as_first(sender, headers, body, deps)
    submission = Submission(
        payload=body,
        content_type=JSON,
        owner=deps.owner,
        request_id=request_id,
        read=partial(sender.read, headers, body),
    )
    return ingest(submission, deps.ingest)


def _as_first(
    sender: Source, headers: Mapping[str, str], body: bytes, deps: WebhookDeps
) -> Mapping[str, str]:
    """The headers with the id of the delivery that brought this body first."""
    name = sender.unsigned_id
    if deps.digests is None or name is None:
        return headers
    given = headers.get(name, "")[:_LONGEST_ID]
    return {**headers, name: deps.digests.first(sender.name, body, given, deps.now())}


def _form_payload(body: bytes) -> bytes:
    """The field `payload` of a form (GitHub's content type `application/x-www-form-urlencoded`);
    the body as it is when it has no such field, for `read` to refuse."""
    for field in body.split(b"&"):
        name, _, value = field.partition(b"=")
        if name == b"payload":
            return unquote_to_bytes(value.replace(b"+", b" "))
    return body


def _check_signature(
    name: str, headers: Mapping[str, str], body: bytes, deps: WebhookDeps
) -> Source:
    """The source that signed `body`, else `UnauthenticatedError`."""
    source = sources.SOURCES.get(name)
    text = deps.secret_of(name) if source else None
    secrets = [] if text is None else parse_secrets(text)
    # Hash for an unknown source too, so that timing reveals nothing.
    verify = (source or sources.GITHUB).verify
    if verify(secrets, headers, body, deps.now()) and source:
        return source
    reason = "unknown source" if not source else "signature" if secrets else "no secret is set"
    log.info("webhook refused", extra={"source": name if source else None, "reason": reason})
    raise UnauthenticatedError("the webhook is not signed by a sender known here")
