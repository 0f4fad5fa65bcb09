"""Secrets and signatures of Standard Webhooks.

Source: the Standard Webhooks specification, "Signature scheme": HMAC-SHA256 over
`<id>.<timestamp>.<body>`, in base64 behind `v1,`; several signatures are separated by spaces. A
secret is `whsec_` and the base64 of 24 to 64 bytes.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"
SECRET_BYTES = 32


def make_secret(random: bytes) -> str:
    """The secret of `SECRET_BYTES` random bytes."""
    return PREFIX + base64.b64encode(random).decode()


def signature_headers(
    secrets: Sequence[str], message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """The three headers of a message that is sent at `timestamp` (seconds since 1970), with a
    signature for each secret."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = (_sign(secret, signed) for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def _sign(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
