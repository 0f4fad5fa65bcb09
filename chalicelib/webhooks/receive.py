"""Receiving webhooks: nobody's word counts before the signature is right.

The order: the size, then the signature over the raw body, then the content type, then the content.
The size comes first, for it says nothing secret (it is the same for all sources and published) and
spares the hashes of a body that is not kept anyway.

Whatever is wrong with a signature, and an unknown source, get one answer, and nothing is written.
The log has the reason.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from msgspec import Struct

from chalicelib.core import clock
from chalicelib.core.errors import UnauthenticatedError, UnsupportedMediaTypeError
from chalicelib.core.log import log
from chalicelib.events.ingest import IngestDeps, Receipt, Submission, check_size, ingest
from chalicelib.web.media_types import JSON, is_json_in_utf8
from chalicelib.webhooks.signatures import parse_secrets, verify_github, verify_standard
from chalicelib.webhooks.sources import GITHUB, SOURCES, STANDARD, read_github, read_standard

REFUSED = "the webhook is not signed by a sender known here"
_READERS = {GITHUB: read_github, STANDARD: read_standard}


class WebhookDeps(Struct, frozen=True):
    """The collaborators of `receive`. `secret_of` gives the text of a source's secrets, None if
    there is none; `owner` is whose events the webhooks become."""

    ingest: IngestDeps
    secret_of: Callable[[str], str | None]
    owner: str
    now: Callable[[], datetime] = clock.utc_now


def receive(
    source: str, headers: Mapping[str, str], body: bytes, request_id: str, deps: WebhookDeps
) -> Receipt:
    """Keep one delivery of a webhook; `headers` have lower-case names, `body` is as it was sent.

    Raises `PayloadTooLargeError`, `UnauthenticatedError`, `UnsupportedMediaTypeError`, and what
    `ingest` does: a delivery that is signed but cannot be used is kept as REJECTED. An AWS error
    passes, that of reading the secret too: then nothing was acknowledged.
    """
    check_size(body, deps.ingest.max_event_bytes)
    _check_signature(source, headers, body, deps)
    _check_content_type(source, headers.get("content-type"))
    submission = Submission(
        payload=body,
        content_type=JSON,
        owner=deps.owner,
        request_id=request_id,
        read=partial(_READERS[source], headers, body),
    )
    return ingest(submission, deps.ingest)


def _check_signature(
    source: str, headers: Mapping[str, str], body: bytes, deps: WebhookDeps
) -> None:
    known = source in SOURCES
    text = deps.secret_of(source) if known else None
    secrets = [] if text is None else parse_secrets(text)
    if source == STANDARD:
        right = verify_standard(secrets, headers, body, deps.now())
    else:
        # For an unknown source too, in vain: it is not to be told by its quick answer.
        right = verify_github(secrets, headers, body)
    if not right:
        reason = "unknown source" if not known else "signature" if secrets else "no secret is set"
        log.info("webhook refused", extra={"source": source if known else None, "reason": reason})
        raise UnauthenticatedError(REFUSED)


def _check_content_type(source: str, content_type: str | None) -> None:
    if content_type is None or is_json_in_utf8(content_type):
        return
    hint = f'; set the webhook\'s "Content type" to {JSON}' if source == GITHUB else ""
    raise UnsupportedMediaTypeError(f"a webhook is sent as {JSON} in UTF-8{hint}")
