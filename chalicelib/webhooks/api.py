"""The route of signed webhooks, described from the table of sources."""

from chalicelib.core.media_types import JSON
from chalicelib.events.api import TAG, accepted, accepted_response
from chalicelib.web.describe import (
    REPLAYED,
    Operation,
    content,
    header,
    header_text,
    path,
    shared,
    text,
)
from chalicelib.web.limits import MAX_PARAMETER_CHARACTERS
from chalicelib.web.request import Request
from chalicelib.web.responses import Response
from chalicelib.webhooks.receive import WebhookDeps, receive
from chalicelib.webhooks.sources import SOURCES

_LONGEST_HEADER = 1024
_SENDERS = ", ".join(f"`{source.name}` ({source.sender})" for source in SOURCES.values())
_HEADERS: dict[str, list[str]] = {}
for _source in SOURCES.values():
    for _label, _what in _source.headers.items():
        _HEADERS.setdefault(_label, []).append(f"{_source.name}: {_what}")

POST_WEBHOOK = Operation(
    TAG,
    "Receive a signed webhook",
    {202: accepted_response(**{"Idempotent-Replayed": REPLAYED})},
    (401, 415, 422),
    description="The signature is checked first, over the raw body, with the secrets in SSM at"
    " `/eventline/<stage>/webhooks/<source>/secret`.",
    parameters=[
        path(
            "source",
            f"Who sends: {_SENDERS}. Any other is refused like a wrong signature.",
            text(minLength=1, maxLength=MAX_PARAMETER_CHARACTERS, examples=list(SOURCES)),
        ),
        *(
            shared(header(label, header_text(_LONGEST_HEADER), " ".join(what)))
            for label, what in _HEADERS.items()
        ),
    ],
    body=content(
        {"description": "What the sender sends; rejected if it is not JSON."},
        JSON,
        **{source.name: source.example for source in SOURCES.values()},
    ),
)


def post_webhook(request: Request, source: str, deps: WebhookDeps) -> Response:
    """`POST /webhooks/{source}`: public, since the signature says who sends."""
    return accepted(receive(source, request.headers, request.body, request.request_id, deps))
