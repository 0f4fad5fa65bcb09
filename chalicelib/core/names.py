"""What a name may be: of an event type, a source, an owner, an idempotency key."""

import re

MAX_TYPE_BYTES = 128
MAX_NAME_BYTES = 256
"""Limits of eventType and of source and subject, in UTF-8 bytes: an S3 key holds 1,024 bytes and
an object's metadata 2,048 (Amazon S3 User Guide, "Naming objects", "Object metadata")."""
MAX_KEY_CHARACTERS = 255
OWNER = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"


def name_fault(text: object, max_bytes: int) -> str | None:
    """What is wrong with a name (an event type, a source), in words; None when nothing is."""
    if not isinstance(text, str):
        return "must be a string"
    if not text.strip():
        return "must not be empty"
    if not text.isprintable():
        return "must hold printable characters only"
    if len(text.encode()) > max_bytes:
        return f"must be at most {max_bytes} bytes of UTF-8"
    return None


def key_fault(key: object) -> str | None:
    """What is wrong with an idempotency key, in words; None when nothing is."""
    fits = isinstance(key, str) and 1 <= len(key) <= MAX_KEY_CHARACTERS
    if fits and str(key).isascii() and str(key).isprintable():
        return None
    return f"must be 1 to {MAX_KEY_CHARACTERS} printable ASCII characters"


def is_owner(text: object) -> bool:
    """Whether `text` can be an owner's name: 1 to 64 letters, digits and `._@-`."""
    return isinstance(text, str) and re.fullmatch(OWNER, text) is not None
