"""An item: a JSON object that its owner keeps, changes and is told about.

The whole body that a client sends is the item's data. One member has a meaning of its own:
`expiresAt`, an ISO 8601 time to come, is when the item ends by itself; without it (or null) the
item stays. Data are compared as JSON, so neither the order of members nor white space is a change.

An ETag is `"<version>-<start of the data's hash>"`: the version alone would come again if an item
were deleted and made anew under its idempotency key. Source: RFC 9110, sections 8.8.3 and 13.1.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from chalicelib.core import clock
from chalicelib.core.errors import InvalidRequestError
from chalicelib.core.ids import keyed_event_id, sha256
from chalicelib.core.names import MAX_TYPE_BYTES, name_fault
from chalicelib.core.strict_json import dump_json

MAX_ITEM_BYTES = 1024 * 1024
MAX_INLINE_BYTES = 64 * 1024
"""Data beyond this are kept in S3: a DynamoDB item holds 400 KB, a stream record both images of it,
and every write pays by the kilobyte."""
MAX_ENTITY_TAGS = 20
EXPIRY = "expiresAt"
_HASH_CHARACTERS = 16
ENTITY_TAG_CHARACTERS = "!#-~"
"""What stands between the quotes of an ETag, as a class of a pattern. Bytes beyond ASCII are read,
but not asked for."""
_ENTITY_TAG = re.compile(rf'(W/)?"([{ENTITY_TAG_CHARACTERS}\x80-\xff]*)"')
_ENTITY_TAGS = re.compile(
    rf"[ \t,]*{_ENTITY_TAG.pattern}(?:[ \t]*,[ \t,]*{_ENTITY_TAG.pattern})*[ \t,]*"
)
_OURS = re.compile(rf"([1-9][0-9]{{0,17}})-([0-9a-f]{{{_HASH_CHARACTERS}}})")


class Content(Struct, frozen=True):
    """What an item is to hold: `text` is `data` as compact ASCII JSON, as it is stored."""

    data: Mapping[str, Any]
    text: str
    data_sha256: str
    expires_at: str | None

    @property
    def schema_name(self) -> str:
        """The name under which a schema for such an item is registered: `item.<type>` where the
        data's own `type` is a name, else `item`."""
        kind = self.data.get("type")
        named = f"item.{kind}"
        return "item" if not isinstance(kind, str) or name_fault(named, MAX_TYPE_BYTES) else named

    @property
    def is_large(self) -> bool:
        return len(self.text) > MAX_INLINE_BYTES


class Item(Struct, frozen=True):
    """An item as it is kept. `data` is None for an item whose data are in S3, at `body_key`."""

    item_id: str
    owner: str
    version: int
    created_at: str
    updated_at: str
    data_sha256: str
    data_bytes: int
    data: Mapping[str, Any] | None
    body_key: str | None
    expires_at: str | None
    first_sha256: str | None
    """The hash of the data it was made with, if that was under an idempotency key."""

    @property
    def etag(self) -> str:
        return f'"{self.version}-{self.data_sha256[:_HASH_CHARACTERS]}"'

    @property
    def list_key(self) -> str:
        return f"{self.created_at}#{self.item_id}"

    def is_there(self, now: str) -> bool:
        """Whether it has not expired; DynamoDB may take days to delete an item that has."""
        return self.expires_at is None or now < self.expires_at

    def to_dict(self) -> dict[str, Any]:
        """The item as the API shows it."""
        return {
            "itemId": self.item_id,
            "owner": self.owner,
            "version": self.version,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
            EXPIRY: self.expires_at,
            "dataBytes": self.data_bytes,
            "data": self.data,
        }


class Revision(Struct, frozen=True):
    """One state of an item, as an ETag names it."""

    version: int
    hash_start: str


class Guard(Struct, frozen=True):
    """When a change may be made: the item is `owner`'s (None: anybody's), has not expired at `now`,
    and is at one of `revisions` (None: at any)."""

    owner: str | None
    revisions: tuple[Revision, ...] | None
    now: str

    def sees(self, item: Item | None) -> bool:
        """Whether there is such an item for the one who asks."""
        return item is not None and self.owner in (None, item.owner) and item.is_there(self.now)

    def allows(self, item: Item) -> bool:
        """Whether the item is at a revision that may be changed."""
        return self.revisions is None or any(
            item.version == revision.version and item.data_sha256.startswith(revision.hash_start)
            for revision in self.revisions
        )


def make_content(document: Any) -> Content:
    """What `document`, a parsed body, makes an item hold. Raises `InvalidRequestError`."""
    if not isinstance(document, dict):
        raise InvalidRequestError.at("", "must be a JSON object")
    return Content(document, dump_json(document), data_sha256(document), _expiry(document))


def new_item(item_id: str, owner: str, now: str, content: Content, *, keyed: bool) -> Item:
    """The first version of an item whose data, if they are large, go to `body_key`."""
    return Item(
        item_id=item_id,
        owner=owner,
        version=1,
        created_at=now,
        updated_at=now,
        data_sha256=content.data_sha256,
        data_bytes=len(content.text),
        data=content.data,
        body_key=body_key(owner, item_id, content),
        expires_at=content.expires_at,
        first_sha256=content.data_sha256 if keyed else None,
    )


def body_key(owner: str, item_id: str, content: Content) -> str | None:
    """`items/<owner>/<itemId>/<hash>.json`; None for data that are kept in the table.

    Named after what it holds, so that a request that is sent again writes the same object.
    """
    return f"items/{owner}/{item_id}/{content.data_sha256}.json" if content.is_large else None


def data_sha256(data: Any) -> str:
    """The hash of JSON data, the same for whatever order its members are in."""
    return sha256(json.dumps(data, separators=(",", ":"), sort_keys=True).encode())


def keyed_item_id(owner: str, key: str) -> str:
    """The item id that an owner's idempotency key stands for."""
    # No header holds a NUL, so no event's key gives the same id.
    return keyed_event_id(owner, f"items\0{key}")


def revisions_to_change(header: str) -> tuple[Revision, ...] | None:
    """The revisions in an `If-Match`; None for `*`. Raises `InvalidRequestError`.

    The comparison is strong (RFC 9110, section 8.8.3.2): a weak tag, like one that is not ours,
    matches nothing.
    """
    tags = _entity_tags(header, "/header/If-Match")
    if tags is None:
        return None
    return tuple(
        revision
        for weak, opaque in tags
        if not weak and (revision := _revision(opaque)) is not None
    )


def is_known(header: str, item: Item) -> bool:
    """Whether an `If-None-Match` names the item's state, compared weakly."""
    tags = _entity_tags(header, "/header/If-None-Match")
    return tags is None or any(f'"{opaque}"' == item.etag for _, opaque in tags)


def _expiry(document: Mapping[str, Any]) -> str | None:
    value = document.get(EXPIRY)
    if value is None:
        return None
    try:
        return clock.to_text(clock.from_text(value))
    except (ValueError, TypeError, OverflowError):
        raise InvalidRequestError.at(f"/{EXPIRY}", "must be an ISO 8601 time to come") from None


def _entity_tags(header: str, pointer: str) -> list[tuple[bool, str]] | None:
    """The tags of a header as (is weak, opaque part); None for `*`."""
    if header.strip() == "*":
        return None
    tags = _ENTITY_TAG.findall(header) if _ENTITY_TAGS.fullmatch(header) else []
    if not 1 <= len(tags) <= MAX_ENTITY_TAGS:
        detail = f"must be * or 1 to {MAX_ENTITY_TAGS} ETags in quotes"
        raise InvalidRequestError.at(pointer, detail)
    return [(weak != "", opaque) for weak, opaque in tags]


def _revision(opaque: str) -> Revision | None:
    match = _OURS.fullmatch(opaque)
    return None if match is None else Revision(int(match[1]), match[2])
