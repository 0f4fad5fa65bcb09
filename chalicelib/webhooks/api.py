"""The route of signed webhooks."""

from datetime import timedelta

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
from chalicelib.webhooks.signatures import TOLERANCE
from chalicelib.webhooks.sources import GITHUB, SOURCES, STANDARD

_LONGEST_HEADER = 1024
_GITHUB_EXAMPLE = {"zen": "Keep it logically awesome.", "hook_id": 1}
_STANDARD_EXAMPLE = {
    "type": "invoice.paid",
    "timestamp": "2026-01-31T23:59:59Z",
    "data": {"id": 7},
}
_SOURCE = path(
    "source",
    f"Who sends: `{GITHUB}`, or `{STANDARD}` for the Standard Webhooks specification. Any other is"
    " refused like a wrong signature.",
    text(minLength=1, maxLength=MAX_PARAMETER_CHARACTERS, examples=list(SOURCES)),
)
_HEADERS = {
    "X-GitHub-Event": f"{GITHUB}: what happened.",
    "X-GitHub-Delivery": f"{GITHUB}: identifies the delivery.",
    "X-Hub-Signature-256": f"{GITHUB}: `sha256=` and the HMAC of the body, in hexadecimal.",
    "webhook-id": f"{STANDARD}: identifies the message.",
    "webhook-timestamp": f"{STANDARD}: seconds since 1970, at most"
    f" {TOLERANCE // timedelta(minutes=1)} minutes off.",
    "webhook-signature": f"{STANDARD}: `v1,` and the HMAC in base64; several between spaces.",
}

POST_WEBHOOK = Operation(
    TAG,
    "Receive a signed webhook",
    {202: accepted_response(**{"Idempotent-Replayed": REPLAYED})},
    (401, 415, 422),
    description="The signature is checked first, over the raw body, with the secrets in SSM at"
    " `/eventline/<stage>/webhooks/<source>/secret`.",
    parameters=[
        _SOURCE,
        *(
            shared(header(label, header_text(_LONGEST_HEADER), what))
            for label, what in _HEADERS.items()
        ),
    ],
    body=content(
        {"description": "What the sender sends; rejected if it is not JSON."},
        github=_GITHUB_EXAMPLE,
        standard=_STANDARD_EXAMPLE,
    ),
)


def post_webhook(request: Request, source: str, deps: WebhookDeps) -> Response:
    """`POST /webhooks/{source}`: public, since the signature says who sends."""
    return accepted(receive(source, request.headers, request.body, request.request_id, deps))
