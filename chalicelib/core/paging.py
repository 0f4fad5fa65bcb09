"""Lists of events: what a page asks for, how shards merge into one, what a cursor holds.

A cursor is the list key (`<receivedAt>#<eventId>`) of the last entry shown, in base64url. It holds
no secret and grants nothing: whose events are listed always comes from the token.
"""

import base64
import binascii
import heapq
import re
from collections.abc import Iterable

from msgspec import Struct

from chalicelib.core.ids import is_event_id

_LIST_KEY = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z#(?P<event_id>[0-9a-f-]+)"
OLDEST, NEWEST = "0", "~"
"""Sort before and after every list key."""


class Entry(Struct, frozen=True):
    """An event in an index."""

    list_key: str
    event_id: str


class Page(Struct, frozen=True):
    """Entries of a page, and the list key to go on below; None at the end."""

    entries: tuple[Entry, ...]
    resume_below: str | None


def shard_of(event_id: str, shards: int) -> int:
    """The index shard of an event; the end of an id is random in every kind of id."""
    return int(event_id[-8:], 16) % shards


def merge_newest(shards: Iterable[tuple[list[Entry], str | None]], limit: int) -> Page:
    """Merge the answers of all shards into one page.

    Each shard gives its entries, newest first, and the list key at which it stopped looking, None
    if it saw everything. Below the highest such key some shard may have more, so the page ends
    there.
    """
    answers = list(shards)
    horizon = max((stopped for _, stopped in answers if stopped is not None), default=None)
    merged = heapq.merge(
        *(entries for entries, _ in answers), key=lambda entry: entry.list_key, reverse=True
    )
    # An event that changes its status while we look can show in two shards.
    unique = {
        entry.event_id: entry for entry in merged if horizon is None or entry.list_key >= horizon
    }
    entries = tuple(unique.values())
    if len(entries) > limit:
        return Page(entries[:limit], entries[limit - 1].list_key)
    return Page(entries, horizon)


def merge_oldest(shards: Iterable[tuple[list[Entry], str | None]], limit: int) -> Page:
    """`merge_newest`, oldest first: each shard has stopped at the highest list key it looked at,
    and the page's `resume_below` is the one to go on above."""
    answers = list(shards)
    horizon = min((stopped for _, stopped in answers if stopped is not None), default=None)
    merged = heapq.merge(*(entries for entries, _ in answers), key=lambda entry: entry.list_key)
    unique = {
        entry.event_id: entry for entry in merged if horizon is None or entry.list_key <= horizon
    }
    entries = tuple(unique.values())
    if len(entries) > limit:
        return Page(entries[:limit], entries[limit - 1].list_key)
    return Page(entries, horizon)


def encode_cursor(list_key: str) -> str:
    """The opaque text a client hands back to go on below `list_key`."""
    return base64.urlsafe_b64encode(list_key.encode()).decode().rstrip("=")


def decode_cursor(text: str) -> str | None:
    """The list key in a cursor; None when the text is no cursor of ours."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        list_key = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (UnicodeError, binascii.Error):
        return None
    match = re.fullmatch(_LIST_KEY, list_key)
    well_formed = match is not None and is_event_id(match["event_id"])
    return list_key if well_formed and encode_cursor(list_key) == text else None


def just_below(list_key: str) -> str:
    """A text that sorts below `list_key` and above every other list key below it."""
    return f"{list_key[:-1]}{chr(ord(list_key[-1]) - 1)}{NEWEST}"
