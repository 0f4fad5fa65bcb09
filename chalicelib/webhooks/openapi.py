"""Signed webhooks."""

from chalicelib.events.openapi import accepted
from chalicelib.web.describe import (
    REPLAYED,
    Json,
    content,
    header,
    header_text,
    operation,
    parameter,
    path,
    text,
)

_LONGEST = 1024
GITHUB_EXAMPLE = {"zen": "Keep it logically awesome.", "hook_id": 1}
STANDARD_EXAMPLE = {"type": "invoice.paid", "timestamp": "2026-01-31T23:59:59Z", "data": {"id": 7}}


def parameters() -> dict[str, Json]:
    """The components."""
    names = {
        "X-GitHub-Event": "github: what happened.",
        "X-GitHub-Delivery": "github: identifies the delivery.",
        "X-Hub-Signature-256": "github: `sha256=` and the HMAC of the body, in hexadecimal.",
        "webhook-id": "standard: identifies the message.",
        "webhook-timestamp": "standard: seconds since 1970, at most 5 minutes off.",
        "webhook-signature": "standard: `v1,` and the HMAC in base64; several between spaces.",
    }
    return {label: header(label, header_text(_LONGEST), when) for label, when in names.items()}


def paths() -> dict[str, Json]:
    """The operations."""
    source = path(
        "source",
        "Who sends: `github`, or `standard` for the Standard Webhooks specification. Another is"
        " refused like a wrong signature.",
        text(minLength=1, maxLength=_LONGEST, examples=["github", "standard"]),
    )
    anything = {"description": "What the sender sends; without parsable JSON it is rejected."}
    return {
        "/webhooks/{source}": {
            "post": operation(
                "post_webhook",
                None,
                "Events",
                "Receive a signed webhook",
                {202: accepted(**{"Idempotent-Replayed": REPLAYED})},
                (401, 415, 422),
                description="The signature is checked first, over the raw body, with the secrets"
                " in SSM at `/eventline/<stage>/webhooks/<source>/secret`.",
                parameters=[source, *(parameter(label) for label in parameters())],
                body=content(anything, github=GITHUB_EXAMPLE, standard=STANDARD_EXAMPLE),
            )
        }
    }
