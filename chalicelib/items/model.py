"""An item: a JSON object that its owner stores, changes and gets messages about.

The whole body of a request is the item's data. One member has a meaning of its own: `expiresAt`, an
ISO 8601 time in the future, is when the item expires; without it (or with null) the item stays.
Data are compared as JSON, so the order of members and white space make no difference.

An ETag is `"<version>-<createdAt>-<start of the data's hash>"`: without the time, that of an item
which is gone would come back when the item is made again under its idempotency key. Source:
RFC 9110, sections 8.8.1, 8.8.3 and 13.1.
"""

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeGuard

import msgspec
from msgspec import Struct

from chalicelib.core import clock
from chalicelib.core.errors import InvalidRequestError, NotFoundError, PreconditionFailedError
from chalicelib.core.ids import keyed_event_id, sha256
from chalicelib.core.names import MAX_TYPE_BYTES, name_fault
from chalicelib.core.strict_json import dump_json

MAX_ITEM_BYTES = 1024 * 1024
MAX_INLINE_BYTES = 64 * 1024
"""Larger data go to S3: a DynamoDB item holds 400 KB, a stream record both images of it, and every
write costs by the kilobyte."""
TOMBSTONE = timedelta(days=30)
"""How long the id of a deleted item cannot be used again: longer than anybody retries."""
MAX_ENTITY_TAGS = 20
EXPIRY = "expiresAt"
ENTITY_TAG_CHARACTERS = "!#-~"
"""What may stand between the quotes of an ETag, as a class of a pattern. Bytes beyond ASCII are
accepted, but not documented."""
_NOT_SHOWN = ("dataSha256", "bodyKey", "firstSha256")
_HASH_CHARACTERS = 16
_ENTITY_TAG = rf'(W/)?"([{ENTITY_TAG_CHARACTERS}\x80-\xff]*)"'
_ENTITY_TAGS = rf"[ \t,]*{_ENTITY_TAG}(?:[ \t]*,[ \t,]*{_ENTITY_TAG})*[ \t,]*"
_OURS = rf"([1-9][0-9]{{0,17}})-([0-9TZ:.-]{{1,32}})-([0-9a-f]{{{_HASH_CHARACTERS}}})"


class Content(Struct, frozen=True):
    """Data for an item; `text` is `data` as compact ASCII JSON, the stored form."""

    data: Mapping[str, Any]
    text: str
    data_sha256: str
    expires_at: str | None

    @property
    def schema_name(self) -> str:
        """The name of the schema for such an item: `item.<type>` if the data's own `type` is a
        name, else `item`."""
        kind = self.data.get("type")
        named = f"item.{kind}"
        return "item" if not isinstance(kind, str) or name_fault(named, MAX_TYPE_BYTES) else named

    @property
    def is_large(self) -> bool:
        return len(self.text) > MAX_INLINE_BYTES


class Item(Struct, frozen=True, kw_only=True, rename="camel"):
    """An item as it is stored. `data` is None if the data are in S3, at `body_key`. `first_sha256`
    is the hash of the first data, for an item made under an idempotency key."""

    item_id: str
    owner: str
    version: int
    created_at: str
    updated_at: str
    expires_at: str | None = None
    data_bytes: int
    data: Mapping[str, Any] | None = None
    data_sha256: str
    body_key: str | None = None
    first_sha256: str | None = None

    @property
    def etag(self) -> str:
        return f'"{self.version}-{self.created_at}-{self.data_sha256[:_HASH_CHARACTERS]}"'

    @property
    def list_key(self) -> str:
        return f"{self.created_at}#{self.item_id}"

    def to_dict(self) -> dict[str, Any]:
        """The item as the API shows it."""
        # A `LongNumber` is shown as the double that is stored.
        values = msgspec.to_builtins(self, enc_hook=float)
        return {name: value for name, value in values.items() if name not in _NOT_SHOWN}


class Revision(Struct, frozen=True):
    """One state of an item, as an ETag names it."""

    version: int
    created_at: str
    hash_start: str


Revisions = tuple[Revision, ...] | None
"""Those at which a change is allowed; None for any."""


class Guard(Struct, frozen=True):
    """When a change is allowed: the item is `owner`'s (None: anybody's), has not expired at `now`,
    and is at one of `revisions`."""

    owner: str | None
    revisions: Revisions
    now: str

    def sees(self, item: Item | None) -> TypeGuard[Item]:
        """Whether the item exists for the caller. DynamoDB may take days to delete expired ones."""
        return (
            item is not None
            and self.owner in (None, item.owner)
            and (item.expires_at is None or self.now < item.expires_at)
        )

    def allows(self, item: Item) -> bool:
        """Whether the item is at one of the revisions."""
        return self.revisions is None or any(
            (item.version, item.created_at) == (revision.version, revision.created_at)
            and item.data_sha256.startswith(revision.hash_start)
            for revision in self.revisions
        )

    def refusal(self, item: Item | None) -> NotFoundError | PreconditionFailedError:
        """The error for a change that this item does not allow."""
        if not self.sees(item):
            return NotFoundError("no such item")
        return PreconditionFailedError(f"the item is at {item.etag} now")


def make_content(document: Any) -> Content:
    """The content in a parsed body. Raises `InvalidRequestError`."""
    if not isinstance(document, dict):
        raise InvalidRequestError.at("", "must be a JSON object")
    return Content(document, dump_json(document), data_sha256(document), _expiry(document))


def new_item(item_id: str, owner: str, now: str, content: Content, *, keyed: bool) -> Item:
    """The first version of an item. `keyed`: it is made under an idempotency key."""
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
    """`items/<owner>/<itemId>/<hash>.json`; None for data that fit into the table. The hash makes
    a repeated request write the same object."""
    return f"items/{owner}/{item_id}/{content.data_sha256}.json" if content.is_large else None


def data_sha256(data: Any) -> str:
    """The hash of JSON data, whatever the order of members."""
    return sha256(json.dumps(data, separators=(",", ":"), sort_keys=True).encode())


def keyed_item_id(owner: str, key: str) -> str:
    """The item id that an owner's idempotency key stands for."""
    # A header cannot hold a NUL, so no event's key gives the same id.
    return keyed_event_id(owner, f"items\0{key}")


def revisions_to_change(header: str) -> Revisions:
    """The revisions in an `If-Match`; None for `*`. Raises `InvalidRequestError`.

    The comparison is strong (RFC 9110, section 8.8.3.2): weak and foreign tags match nothing.
    """
    tags = _entity_tags(header, "/header/If-Match")
    if tags is None:
        return None
    ours = [re.fullmatch(_OURS, opaque) for weak, opaque in tags if not weak]
    return tuple(Revision(int(match[1]), match[2], match[3]) for match in ours if match)


def is_known(header: str, item: Item) -> bool:
    """Whether an `If-None-Match` names the item's state, compared weakly."""
    tags = _entity_tags(header, "/header/If-None-Match")
    return tags is None or any(f'"{opaque}"' == item.etag for _, opaque in tags)


def bad_expiry() -> InvalidRequestError:
    """The error for an `expiresAt` that is not a time, or is in the past."""
    return InvalidRequestError.at(f"/{EXPIRY}", "must be an ISO 8601 time to come")


def _expiry(document: Mapping[str, Any]) -> str | None:
    value = document.get(EXPIRY)
    if value is None:
        return None
    try:
        return clock.to_text(clock.from_text(value))
    except (ValueError, TypeError, OverflowError):
        raise bad_expiry() from None


def _entity_tags(header: str, pointer: str) -> list[tuple[str, str]] | None:
    """(weak, opaque part) of each tag in a header, weak being `W/` or empty; None for `*`."""
    if header.strip() == "*":
        return None
    tags = re.findall(_ENTITY_TAG, header) if re.fullmatch(_ENTITY_TAGS, header) else []
    if not 1 <= len(tags) <= MAX_ENTITY_TAGS:
        detail = f"must be * or 1 to {MAX_ENTITY_TAGS} ETags in quotes"
        raise InvalidRequestError.at(pointer, detail)
    return tags
