"""What changed in an item, as a stream record shows it and in words that its owner reads.

Source of the limits: Amazon SNS API Reference, "Publish": a subject is ASCII without line breaks,
less than 100 characters; ten messages of a batch together have at most 256 KB.
"""

import json
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct

MAX_SUBJECT = 99
MAX_TEXT_BYTES = 16_000
MAX_LINES = 50
_MAX_VALUE = 200
_MAX_PATH = 120
_SUBJECT_PATHS = 3
_PLAIN_NAME = re.compile(r"\w[\w-]*")
_ABSENT = object()


class Kind(StrEnum):
    """What happened to an item."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    EXPIRED = "expired"


class Snapshot(Struct, frozen=True):
    """An item at one moment. `data` is None for data too large for the table, which `data_sha256`
    and `data_bytes` then stand for; `version` is None for an item that was put by hand."""

    owner: str
    version: int | None
    data: Mapping[str, Any] | None
    data_sha256: str | None
    data_bytes: int | None


class FieldChange(Struct, frozen=True):
    """One field that was added (no `before`), removed (no `after`) or changed."""

    path: str
    before: Any = _ABSENT
    after: Any = _ABSENT

    def in_words(self) -> str:
        """`price: 10 -> 12`, `+ colour: "red"`, `- size (was "L")`; values shortened."""
        path = _shorten(self.path, _MAX_PATH)
        if self.before is _ABSENT:
            return f"+ {path}: {_value(self.after)}"
        if self.after is _ABSENT:
            return f"- {path} (was {_value(self.before)})"
        return f"  {path}: {_value(self.before)} -> {_value(self.after)}"


class Change(Struct, frozen=True):
    """One change of an item, to be told to `owner`. `old` or `new` is None where there is none."""

    item_id: str
    owner: str
    kind: Kind
    at: str
    old: Snapshot | None
    new: Snapshot | None

    @property
    def is_felt(self) -> bool:
        """Whether the item's data changed: a new version that holds the same is no news."""
        if self.old is None or self.new is None:
            return True
        if self.old.data is None and self.new.data is None:
            return self.old.data_sha256 != self.new.data_sha256
        return bool(_differences(self.old, self.new, limit=1)) or self.is_opaque

    @property
    def is_opaque(self) -> bool:
        """Whether what changed cannot be said field by field."""
        return any(side is not None and side.data is None for side in (self.old, self.new))

    @property
    def subject(self) -> str:
        """`Item <id> was updated: price, stock and 2 more`."""
        verb = "expired" if self.kind is Kind.EXPIRED else f"was {self.kind}"
        text = f"Item {self.item_id} {verb}"
        if self.kind is Kind.UPDATED and self.old and self.new and not self.is_opaque:
            paths = [change.path for change in _differences(self.old, self.new, limit=MAX_LINES)]
            more = len(paths) - _SUBJECT_PATHS
            text += f": {', '.join(paths[:_SUBJECT_PATHS])}"
            if more > 0:
                text += f" and {more} more" if len(paths) <= MAX_LINES else " and more"
        return _ascii_line(text)

    @property
    def text(self) -> str:
        """The message: one sentence, then a line for each field."""
        lines = [_sentence(self), "", *_details(self)]
        cut = "\n".join(lines).encode("utf-8", "replace")[:MAX_TEXT_BYTES]
        return cut.decode("utf-8", "ignore") + "\n"


def changes_of(
    item_id: str, kind: Kind, at: str, old: Snapshot | None, new: Snapshot | None
) -> list[Change]:
    """The changes that one stream record tells of, those that are felt.

    An item that changes hands is gone for the one and new for the other: neither sees the other's.
    """
    if old and new and old.owner != new.owner:
        return [
            Change(item_id, old.owner, Kind.DELETED, at, old, None),
            Change(item_id, new.owner, Kind.CREATED, at, None, new),
        ]
    side = new or old
    if side is None:
        return []
    change = Change(item_id, side.owner, kind, at, old, new)
    return [change] if change.is_felt else []


def compare(old: Any, new: Any, path: str = "") -> Iterator[FieldChange]:
    """The fields in which two JSON values differ, in the order of their names; list elements are
    compared by position."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted(old.keys() | new.keys()):
            yield from _compare_member(old, new, name, _join(path, name))
    elif isinstance(old, list) and isinstance(new, list):
        befores, afters = dict(enumerate(old)), dict(enumerate(new))
        for number in range(max(len(old), len(new))):
            yield from _compare_member(befores, afters, number, f"{path}[{number}]")
    elif not _is_same(old, new):
        yield FieldChange(path, old, new)


def _compare_member(
    old: Mapping[Any, Any], new: Mapping[Any, Any], name: Any, path: str
) -> Iterator[FieldChange]:
    if name in old and name in new:
        yield from compare(old[name], new[name], path)
    else:
        yield FieldChange(path, old.get(name, _ABSENT), new.get(name, _ABSENT))


def _is_same(old: Any, new: Any) -> bool:
    """Equal as JSON, where true is not 1."""
    return isinstance(old, bool) == isinstance(new, bool) and bool(old == new)


def _differences(old: Snapshot, new: Snapshot, limit: int) -> list[FieldChange]:
    """At most `limit` and one more."""
    if old.data is None or new.data is None:
        return []
    found = []
    for change in compare(old.data, new.data):
        found.append(change)
        if len(found) > limit:
            break
    return found


def _sentence(change: Change) -> str:
    side = change.new or change.old
    version = f" (version {side.version})" if side and side.version else ""
    time = f"{change.at[:10]} {change.at[11:19]} UTC"
    if change.kind is Kind.EXPIRED:
        return f"Your item {change.item_id}{version} expired and was removed, {time}."
    return f"Your item {change.item_id} was {change.kind}{version}, {time}."


def _details(change: Change) -> list[str]:
    if change.is_opaque:
        side = change.new or change.old
        size = f" ({side.data_bytes:,} bytes)" if side and side.data_bytes else ""
        if change.kind is Kind.UPDATED:
            return [f"The content changed; it is too large to show here{size}."]
        return [f"Its content is too large to show here{size}."]
    old = change.old.data if change.old and change.old.data else {}
    new = change.new.data if change.new and change.new.data else {}
    lines: list[str] = []
    for field in compare(old, new):
        if len(lines) == MAX_LINES:
            lines.append("  ... and more")
            break
        lines.append(field.in_words())
    if change.kind in (Kind.DELETED, Kind.EXPIRED):
        return ["It held:", *lines] if lines else ["It held nothing."]
    if change.kind is Kind.CREATED:
        return ["It holds:", *lines] if lines else ["It holds nothing yet."]
    return ["What changed:", *lines]


def _join(path: str, name: str) -> str:
    """`address.city`; a name that is no plain word is quoted: `address["post code"]`."""
    if not _PLAIN_NAME.fullmatch(name):
        return f"{path}[{json.dumps(name, ensure_ascii=False)}]"
    return f"{path}.{name}" if path else name


def _value(value: Any) -> str:
    return _shorten(json.dumps(value, ensure_ascii=False), _MAX_VALUE)


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _ascii_line(text: str) -> str:
    """`text` as a subject: what is no printable ASCII becomes `?`."""
    plain = "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in text)
    return _shorten(plain, MAX_SUBJECT)
