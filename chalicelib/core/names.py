"""What a name may be: of an event type, a source, an owner, an idempotency key."""

import re

MAX_TYPE_BYTES = 128
MAX_NAME_BYTES = 256
"""Limits of eventType and of source and subject, in UTF-8 bytes: an S3 key holds 1,024 bytes and
an object's metadata 2,048 (Amazon S3 User Guide, "Naming objects", "Object metadata")."""
MAX_KEY_CHARACTERS = 255
# The last two code points of every plane are noncharacters.
_PLANE_ENDS = "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
NOT_TEXT = rf"\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef{_PLANE_ENDS}"
NO_TEXT = rf"[{NOT_TEXT}\ud800-\udfff]"
"""Control characters, noncharacters and surrogates: what CloudEvents 1.0.2 forbids in a string
("Type System"), whatever Unicode this Python knows. `NOT_TEXT` is the same for the class of a
pattern in JSON Schema, where JSON has no surrogates."""
OWNER = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"


def name_fault(text: object, max_bytes: int) -> str | None:
    """What is wrong with a name (an event type, a source), in words; None when nothing is."""
    if not isinstance(text, str):
        return "must be a string"
    if not text.strip(" "):
        return "must not be empty"
    if re.search(NO_TEXT, text):
        return "must hold no control characters, surrogates or noncharacters"
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
