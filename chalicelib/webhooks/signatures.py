"""Signatures of webhooks: whether a body comes from somebody who has the secret.

Two schemes. GitHub's: `X-Hub-Signature-256: sha256=<hex>` over the body (GitHub Docs, "Validating
webhook deliveries"). Standard Webhooks: `webhook-signature: v1,<base64> ...` over id, time and body
(the Standard Webhooks specification 1.0.0, "Verifying webhook authenticity").

Secrets are a list, oldest to newest, so that one can be replaced while both are in use. Every
signature is compared with every secret in constant time, with no early exit; without a secret the
same work is done for nothing. Header names are lower case.
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
"""How many secrets a source may have at a time: each one costs a hash of the body."""
MAX_SIGNATURES = 20
"""How many signatures of one request are looked at."""
MAX_ID_CHARACTERS = 255
TOLERANCE = timedelta(minutes=5)
"""How old a Standard Webhook may be, or how far ahead the sender's clock."""
_SECRET_PREFIX = "whsec_"  # noqa: S105 - what marks a secret, not one
_SEPARATORS = re.compile(r"[\s,]+")
# The specification forbids the full stop, which separates id, time and body where they are signed.
_ID = re.compile(rf"[!-\-/-~]{{1,{MAX_ID_CHARACTERS}}}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
# What is compared with where there is nothing to compare with. It never makes a signature right.
_NO_KEY = b"no secret is set"


def verify_github(secrets: Sequence[str], headers: Mapping[str, str], body: bytes) -> bool:
    """Whether `X-Hub-Signature-256` is that of `body`, by one of the secrets.

    GitHub signs neither a time nor its other headers, so a delivery that somebody recorded stays
    right: what it does is bounded by its being known by its id.
    """
    keys = [secret.encode() for secret in secrets[-MAX_SECRETS:] if secret]
    given = _ascii(headers.get("x-hub-signature-256", ""))
    return _any_equal(keys, body, lambda digest: b"sha256=" + digest.hex().encode(), [given])


def verify_standard(
    secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime
) -> bool:
    """Whether one of the `v1` signatures is that of id, time and `body`, by one of the secrets, and
    the time is within five minutes of `now`.

    A secret that is not base64 is left out. A malformed id or time is just not right.
    """
    keys = [key for secret in secrets[-MAX_SECRETS:] if (key := standard_key(secret))]
    message_id, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    given = [
        _ascii(signature.removeprefix("v1,"))
        for signature in headers.get("webhook-signature", "").split(" ")[:MAX_SIGNATURES]
        if signature.startswith("v1,")
    ]
    signed = b".".join([_ascii(message_id), _ascii(sent), body])
    right = _any_equal(keys, signed, base64.b64encode, given)
    return _is_id(message_id) & _is_fresh(sent, now) & right


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
    """The secrets of a parameter's value, oldest to newest: a JSON array of strings, or separated
    by commas, spaces or line breaks. Empty ones are dropped; of too many, the newest are kept."""
    found = _json_strings(text)
    if found is None:
        found = _SEPARATORS.split(text)
    return [secret for secret in found if secret.strip()][-MAX_SECRETS:]


def _json_strings(text: str) -> list[str] | None:
    """The strings of a JSON array; None for any other text."""
    try:
        value = parse_json(text.encode("utf-8", "surrogatepass"))
    except InvalidJsonError:
        return None
    if not isinstance(value, list):
        return None
    return [one for one in value if isinstance(one, str)]


def _any_equal(
    keys: Sequence[bytes],
    signed: bytes,
    write: Callable[[bytes], bytes],
    given: Sequence[bytes],
) -> bool:
    """Whether any of `given` is the signature of `signed` by any of `keys`, `write` spelling it."""
    candidates = given or [b""]
    equal = False
    for key in keys or [_NO_KEY]:
        expected = write(hmac.digest(key, signed, "sha256"))
        for candidate in candidates:
            equal |= hmac.compare_digest(expected, candidate)
    return equal & bool(keys)


def _is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def _is_fresh(text: str, now: datetime) -> bool:
    if not _TIMESTAMP.fullmatch(text):
        return False
    return abs(clock.to_millis(now) - int(text) * 1000) <= TOLERANCE // clock.MILLISECOND


def _ascii(text: str) -> bytes:
    """A header's value as bytes; what is not ASCII becomes something that is never right."""
    return text.encode("ascii", "backslashreplace")
