"""Signatures of webhooks: whether the sender of a body has one of the secrets.

GitHub's: `X-Hub-Signature-256: sha256=<hex>` over the body (GitHub Docs, "Validating webhook
deliveries"). Standard Webhooks: `webhook-signature: v1,<base64> ...` over id, time and body (the
Standard Webhooks specification 1.0.0, "Verifying webhook authenticity").

Secrets are a list, oldest to newest, so that a new one can be added before the old one goes. Every
signature is compared with every secret in constant time, with no early exit; without a secret the
same work is done. Header names are lower case.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from chalicelib.core import clock
from chalicelib.core.errors import InvalidJsonError
from chalicelib.core.strict_json import parse_json

MAX_SECRETS = 10
"""Secrets of a source: each one costs a hash of the body."""
MAX_SIGNATURES = 20
"""Signatures of one request that are compared."""
MAX_ID_CHARACTERS = 255
TOLERANCE = timedelta(minutes=5)
"""How old a Standard Webhook may be, and how far ahead the sender's clock."""
_SECRET_PREFIX = "whsec_"  # noqa: S105 - what marks a secret, not one
_SEPARATORS = r"[\s,]+"
# The specification forbids the full stop, which separates id, time and body where they are signed.
_ID = rf"[!-\-/-~]{{1,{MAX_ID_CHARACTERS}}}"
_TIMESTAMP = r"[0-9]{1,12}"
# The key where no secret is set, so that the work is the same. It never makes a signature right.
_NO_KEY = b"no secret is set"


def verify_github(
    secrets: Sequence[str], headers: Mapping[str, str], body: bytes, _now: datetime | None = None
) -> bool:
    """Whether `X-Hub-Signature-256` is the signature of `body` by one of the secrets.

    GitHub signs neither a time nor its other headers, so a recorded delivery stays right: it
    becomes the same event again, by its delivery id.
    """
    keys = [secret.encode() for secret in secrets[-MAX_SECRETS:] if secret]
    given = _ascii(headers.get("x-hub-signature-256", ""))
    return _any_equal(keys, body, lambda digest: b"sha256=" + digest.hex().encode(), [given])


def verify_standard(
    secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime
) -> bool:
    """Whether a `v1` signature is that of id, time and `body` by one of the secrets, and the time
    is within five minutes of `now`. A secret that is not base64 is left out."""
    keys = [key for secret in secrets[-MAX_SECRETS:] if (key := standard_key(secret))]
    message_id, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    given = [
        _ascii(signature.removeprefix("v1,"))
        for signature in headers.get("webhook-signature", "").split(" ")[:MAX_SIGNATURES]
        if signature.startswith("v1,")
    ]
    signed = b".".join([_ascii(message_id), _ascii(sent), body])
    right = _any_equal(keys, signed, base64.b64encode, given)
    is_id = re.fullmatch(_ID, message_id) is not None
    return is_id & _is_fresh(sent, now) & right


def standard_key(secret: str) -> bytes | None:
    """The bytes of a `whsec_<base64>` or bare base64 secret, padded or not; None for anything else,
    and for one that is empty."""
    text = secret.removeprefix(_SECRET_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key or None


def parse_secrets(text: str) -> list[str]:
    """The secrets in a parameter's value, oldest to newest: a JSON array of strings, or separated
    by commas, spaces or line breaks. Without empty ones; of too many, the newest."""
    try:
        value = parse_json(text.encode("utf-8", "surrogatepass"))
    except InvalidJsonError:
        value = None
    found = value if isinstance(value, list) else re.split(_SEPARATORS, text)
    return [one for one in found if isinstance(one, str) and one.strip()][-MAX_SECRETS:]


def _any_equal(
    keys: Sequence[bytes], signed: bytes, write: Callable[[bytes], bytes], given: Sequence[bytes]
) -> bool:
    """Whether any of `given` is the signature of `signed` by any of `keys`, in `write`'s form."""
    candidates = given or [b""]
    equal = False
    for key in keys or [_NO_KEY]:
        expected = write(hmac.digest(key, signed, "sha256"))
        for candidate in candidates:
            equal |= hmac.compare_digest(expected, candidate)
    return equal & bool(keys)


def _is_fresh(text: str, now: datetime) -> bool:
    if not re.fullmatch(_TIMESTAMP, text):
        return False
    return abs(clock.to_millis(now) - int(text) * 1000) <= TOLERANCE // clock.MILLISECOND


def _ascii(text: str) -> bytes:
    """A header's value as bytes; one that is not ASCII is never right."""
    return text.encode("ascii", "backslashreplace")
