"""Items: create, read, list, replace and delete them, each owner's own.

Data up to 64 KB are in the table, so a change is one conditional write. Larger data are written to
S3 before the item points at them. So an item never points at missing data, and a repeated request
writes the same object.
"""

import os
from collections.abc import Callable
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.dynamodb import ShardedIndex
from chalicelib.core import clock
from chalicelib.core.errors import (
    IdempotencyConflictError,
    NotFoundError,
    UnavailableError,
)
from chalicelib.core.ids import is_event_id, new_event_id
from chalicelib.core.metrics import note
from chalicelib.items.model import (
    Content,
    Guard,
    Item,
    Revisions,
    bad_expiry,
    body_key,
    keyed_item_id,
    new_item,
)
from chalicelib.items.store import ItemBodies, ItemStore, newest_ids
from chalicelib.web.callers import Caller

PAGE_BYTES = 4 * 1024 * 1024
"""Data in one page of a list: a Lambda function can answer with 6 MB."""
_READ_ROUNDS = 3


class Created(Struct, frozen=True):
    """The item as it was first made; `replayed` if an earlier request made it."""

    item: Item
    replayed: bool


class ItemDeps(Struct, frozen=True):
    """The collaborators of the functions below."""

    items: ItemStore
    bodies: ItemBodies
    index: ShardedIndex
    check_schema: Callable[[str, object, bool], object]
    """Takes (schema name, data, is JSON); raises `SchemaViolationError`."""
    now: Callable[[], datetime] = clock.utc_now
    random: Callable[[int], bytes] = os.urandom


def create_item(
    owner: str, content: Content, idempotency_key: str | None, deps: ItemDeps
) -> Created:
    """Make an item; one call, one more for large data. Raises `SchemaViolationError`.

    As long as the item of an idempotency key exists, the same data get the first answer again,
    unchanged; other data `IdempotencyConflictError`. Once it has expired, the key makes a new item;
    for `TOMBSTONE` after it was deleted, `ConflictError`.
    """
    _check_schema(content, deps)
    moment, key = deps.now(), idempotency_key
    now = clock.to_text(moment)
    item_id = new_event_id(moment, deps.random(10)) if key is None else keyed_item_id(owner, key)
    note(itemId=item_id)
    if _has_expired(content, now):
        raise bad_expiry()
    item = new_item(item_id, owner, now, content, keyed=key is not None)
    if item.body_key:
        deps.bodies.put(item.body_key, content.text)
    before = deps.items.add(item, content)
    if before is None or key is None:
        # Nobody else has this random id: the SDK repeated a call without an answer.
        return Created(item, replayed=False)
    if before.first_sha256 != content.data_sha256:
        raise IdempotencyConflictError("this idempotency key came before with other data")
    return Created(_as_first_made(before, content), replayed=True)


def read_item(item_id: str, caller: Caller, deps: ItemDeps) -> Item:
    """One item with its data; `NotFoundError` unless the caller has it. One call, one more for
    large data."""
    guard = _guard(item_id, caller, None, deps)
    for _ in range(_READ_ROUNDS):
        item = deps.items.get(item_id)
        if not guard.sees(item):
            raise NotFoundError("no such item")
        if item.body_key is None:
            return item
        data = deps.bodies.get(item.body_key)
        if data is not None:
            return replace(item, data=data)
    raise UnavailableError("the item's data are not in the lake")


def list_items(
    owner: str, limit: int, below: str | None, deps: ItemDeps
) -> tuple[list[Item], str | None]:
    """(items, the list key to go on below) of one page, newest first, without large data.

    Calls: one a shard, and one or more to read the items of the page. A page may have fewer than
    `limit` where items expired or are bulky; its cursor goes on from there.
    """
    ids, resume = newest_ids(deps.index, owner, limit, below)
    found = deps.items.get_many(ids)
    guard = Guard(owner, None, clock.to_text(deps.now()))
    shown: list[Item] = []
    size = 0
    for item in map(found.get, ids):
        if not guard.sees(item):
            continue
        size += item.data_bytes if item.data is not None else 0
        if shown and size > PAGE_BYTES:
            return shown, shown[-1].list_key
        shown.append(item)
    return shown, resume


def replace_item(
    item_id: str, content: Content, revisions: Revisions, caller: Caller, deps: ItemDeps
) -> Item:
    """Replace the item's content, if it is at one of `revisions`; one call, three for large data.
    Raises `NotFoundError`, `PreconditionFailedError`, `SchemaViolationError`."""
    _check_schema(content, deps)
    guard = _guard(item_id, caller, revisions, deps)
    if _has_expired(content, guard.now):
        raise bad_expiry()
    key = None
    if content.is_large:
        before = deps.items.get(item_id)
        if not (guard.sees(before) and guard.allows(before)):
            raise guard.refusal(before)
        key = body_key(before.owner, item_id, content)
        if key:
            deps.bodies.put(key, content.text)
    return deps.items.put(item_id, content, key, guard)


def delete_item(item_id: str, revisions: Revisions, caller: Caller, deps: ItemDeps) -> None:
    """Delete the item, if it is at one of `revisions`; one call. Raises as `replace_item` does."""
    deps.items.delete(item_id, _guard(item_id, caller, revisions, deps))


def _check_schema(content: Content, deps: ItemDeps) -> None:
    is_json = True
    deps.check_schema(content.schema_name, content.data, is_json)


def _guard(item_id: str, caller: Caller, revisions: Revisions, deps: ItemDeps) -> Guard:
    if not is_event_id(item_id):
        raise NotFoundError("no such item")
    return Guard(caller.sees_only, revisions, clock.to_text(deps.now()))


def _has_expired(content: Content, now: str) -> bool:
    return content.expires_at is not None and content.expires_at <= now


def _as_first_made(item: Item, content: Content) -> Item:
    """The item as its first answer showed it."""
    return new_item(item.item_id, item.owner, item.created_at, content, keyed=True)
