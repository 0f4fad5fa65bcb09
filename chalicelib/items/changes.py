"""A change of an item, and the message about it.

Source of the limits: Amazon SNS API Reference, "Publish": a subject is ASCII without line breaks,
less than 100 characters; ten messages of a batch together have at most 256 KB.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from typing import Any

from msgspec import Struct

MAX_SUBJECT = 99
MAX_TEXT_BYTES = 16_000
MAX_LINES = 50
_MAX_VALUE = 200
_MAX_PATH = 120
_SUBJECT_PATHS = 3
_PLAIN_NAME = r"\w[\w-]*"
_ABSENT = object()


class Kind(StrEnum):
    """What happened to an item."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    EXPIRED = "expired"


class Snapshot(Struct, frozen=True):
    """An item at one moment. `data` is None for data too large for the table: `data_sha256` and
    `data_bytes` stand for them. `version` is None for an item that somebody put by hand."""

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
    """One change of an item, for a message to `owner`. `old` is None for a new item, `new` for one
    that is gone."""

    item_id: str
    owner: str
    kind: Kind
    at: str
    old: Snapshot | None
    new: Snapshot | None

    @property
    def changes_data(self) -> bool:
        """Whether the data differ; a new version with the same data needs no message."""
        old, new = self.old, self.new
        if old and new and old.data is None and new.data is None:
            return old.data_sha256 != new.data_sha256
        return old is None or new is None or self.is_opaque or bool(_fields(self))

    @property
    def is_opaque(self) -> bool:
        """Whether data are too large to compare field by field."""
        return any(side is not None and side.data is None for side in (self.old, self.new))

    @property
    def subject(self) -> str:
        """`Item <id> was updated: price, stock and 2 more`."""
        verb = "expired" if self.kind is Kind.EXPIRED else f"was {self.kind}"
        text = f"Item {self.item_id} {verb}"
        if self.kind is Kind.UPDATED and not self.is_opaque:
            paths = [field.path for field in _fields(self)]
            more = len(paths) - _SUBJECT_PATHS
            text += f": {', '.join(paths[:_SUBJECT_PATHS])}"
            if more > 0:
                text += f" and {more} more" if len(paths) <= MAX_LINES else " and more"
        plain = "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in text)
        return _shorten(plain, MAX_SUBJECT)

    @property
    def text(self) -> str:
        """The message: one sentence, then a line for each field."""
        lines = [_sentence(self), "", *_details(self)]
        cut = "\n".join(lines).encode("utf-8", "replace")[:MAX_TEXT_BYTES]
        return cut.decode("utf-8", "ignore") + "\n"


def changes_of(
    item_id: str, kind: Kind, at: str, old: Snapshot | None, new: Snapshot | None
) -> list[Change]:
    """The changes of data in one stream record.

    When an item gets another owner, it is deleted for the old one and created for the new one, so
    that neither sees the other's data.
    """
    if old and new and old.owner != new.owner:
        return [
            Change(item_id, old.owner, Kind.DELETED, at, old, None),
            Change(item_id, new.owner, Kind.CREATED, at, None, new),
        ]
    side = new or old
    change = side and Change(item_id, side.owner, kind, at, old, new)
    return [change] if change and change.changes_data else []


def digest_text(subjects: Sequence[str]) -> str:
    """The message about many changes: their subjects, one a line."""
    lines = [f"  {subject}" for subject in subjects[:MAX_LINES]]
    if len(subjects) > MAX_LINES:
        lines.append(f"  ... and {len(subjects) - MAX_LINES} more")
    return "\n".join([f"{len(subjects)} changes came together:", "", *lines]) + "\n"


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


def _fields(change: Change) -> list[FieldChange]:
    """The changed fields, at most one more than fit into a message."""
    old, new = (side.data if side and side.data else {} for side in (change.old, change.new))
    return list(islice(compare(old, new), MAX_LINES + 1))


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
    lines = [field.in_words() for field in _fields(change)]
    if len(lines) > MAX_LINES:
        lines[MAX_LINES] = "  ... and more"
    if change.kind in (Kind.DELETED, Kind.EXPIRED):
        return ["It held:", *lines] if lines else ["It held nothing."]
    if change.kind is Kind.CREATED:
        return ["It holds:", *lines] if lines else ["It holds nothing yet."]
    return ["What changed:", *lines]


def _join(path: str, name: str) -> str:
    """`address.city`; other names than plain words are quoted: `address["post code"]`."""
    if not re.fullmatch(_PLAIN_NAME, name):
        return f"{path}[{json.dumps(name, ensure_ascii=False)}]"
    return f"{path}.{name}" if path else name


def _value(value: Any) -> str:
    return _shorten(json.dumps(value, ensure_ascii=False), _MAX_VALUE)


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
