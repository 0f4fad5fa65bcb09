"""The place of a reader who follows a list of events: nothing is missed, nothing comes twice.

Events show in an index a moment after they were received, and not in that order: a reader who goes
on above the newest list key seen would miss those that show late. So a mark lies `SETTLE` in the
past, and names the events above it that were shown already, by six bytes of their ids (48 of their
random bits), up to `MAX_SHOWN`. It travels like a cursor, holds no secret and grants nothing.
"""

import base64
import binascii
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct

from chalicelib.core import clock
from chalicelib.core.paging import Entry, decode_cursor, encode_cursor

SETTLE = timedelta(seconds=10)
"""How late an event may show. One that takes longer is in the list, but not among the newer."""
MAX_SHOWN = 100
"""With more events than this in `SETTLE`, that time is shorter."""
_ID_BYTES = 6
_FIRST_ID = str(uuid.UUID(int=0))


class Mark(Struct, frozen=True):
    """A place in a list: above the list key `above`, but for those `shown` already."""

    above: str
    shown: frozenset[bytes] = frozenset()

    def is_shown(self, entry: Entry) -> bool:
        """Whether the reader has had an entry above the mark."""
        return _short(entry) in self.shown


def next_mark(
    seen: Iterable[Entry],
    above: str,
    until: str | None,
    now: datetime,
    shown: frozenset[bytes] = frozenset(),
) -> Mark:
    """The mark of a reader who has `seen` all entries above the list key `above` up to `until`
    (None: all there are), and had those `shown` before, some of them beyond `until`."""
    settled = f"{clock.to_text(now - SETTLE)}#{_FIRST_ID}"
    place = max(above, settled if until is None else min(settled, until))
    seen = list(seen)
    beyond = frozenset() if until is None else shown - frozenset(map(_short, seen))
    recent = sorted({entry.list_key: entry for entry in seen if entry.list_key > place}.items())
    room = MAX_SHOWN - len(beyond)
    if len(recent) > room:
        place = recent[-room - 1][0]
        recent = recent[len(recent) - room :]
    return Mark(place, beyond | frozenset(_short(entry) for _, entry in recent))


def encode_mark(mark: Mark) -> str:
    """The opaque text that a client hands back; of a mark with none shown, a cursor."""
    shown = b"".join(sorted(mark.shown))
    return (
        base64.urlsafe_b64encode(mark.above.encode() + b"\n" * bool(shown) + shown)
        .decode()
        .rstrip("=")
    )


def decode_mark(text: str) -> Mark | None:
    """The mark in a text, which may be a cursor too; None when it was not handed out."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
        key, _, shown = raw.partition(b"\n")
        above = decode_cursor(encode_cursor(key.decode("ascii")))
    except (UnicodeError, binascii.Error):
        return None
    if above is None:
        return None
    mark = Mark(
        above, frozenset(shown[at : at + _ID_BYTES] for at in range(0, len(shown), _ID_BYTES))
    )
    fits = len(mark.shown) <= MAX_SHOWN and len(shown) % _ID_BYTES == 0
    return mark if fits and encode_mark(mark) == text else None


def _short(entry: Entry) -> bytes:
    return uuid.UUID(entry.event_id).bytes[-_ID_BYTES:]
