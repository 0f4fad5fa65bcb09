"""Items: make, read, list, change and remove them, each owner's own.

Data up to 64 KB live in the table, so a change is one conditional write. Larger data are written to
S3 first and then pointed at: whatever fails in between, an item never points at data that are not
there, and a request that is sent again writes the same object. What an owner is told of a change is
made from the table's stream (`notify_owners`), so no change can be missed and none is made twice.
"""

import os
from collections.abc import Callable
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.dynamodb import Partitions, ShardedIndex
from chalicelib.core import clock
from chalicelib.core.errors import (
    IdempotencyConflictError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    UnavailableError,
)
from chalicelib.core.ids import is_event_id, new_event_id
from chalicelib.core.metrics import note
from chalicelib.events.ingest import CheckSchema
from chalicelib.items.model import (
    EXPIRY,
    Content,
    Guard,
    Item,
    Revision,
    body_key,
    keyed_item_id,
    new_item,
)
from chalicelib.items.store import ItemBodies, ItemStore
from chalicelib.web.callers import Caller

PAGE_BYTES = 4 * 1024 * 1024
"""Data in one page of a list: an answer of a Lambda function holds 6 MB."""
_READ_ROUNDS = 3


class NewItem(Struct, frozen=True):
    """What `POST /items` asks for."""

    owner: str
    content: Content
    idempotency_key: str | None


class Created(Struct, frozen=True):
    """The item as it was first made; `replayed` when the same request had made it before."""

    item: Item
    replayed: bool


class ItemDeps(Struct, frozen=True):
    """The collaborators of the functions below."""

    items: ItemStore
    bodies: ItemBodies
    index: ShardedIndex
    check_schema: CheckSchema
    now: Callable[[], datetime] = clock.utc_now
    random: Callable[[int], bytes] = os.urandom


def create_item(order: NewItem, deps: ItemDeps) -> Created:
    """Make an item; one call, one more for large data. Raises `SchemaViolationError`.

    An idempotency key holds for as long as its item does: with the same data it gives the first
    answer again, as it was then; with others `IdempotencyConflictError`.
    """
    _check(order.content, deps)
    moment = deps.now()
    now, key, content = clock.to_text(moment), order.idempotency_key, order.content
    item_id = (
        new_event_id(moment, deps.random(10)) if key is None else keyed_item_id(order.owner, key)
    )
    note(itemId=item_id)
    if not _is_to_come(content, now):
        # The key's first request may have come in time.
        before = None if key is None else deps.items.get(item_id)
        if before is None or before.first_sha256 != content.data_sha256:
            raise _expired()
        return Created(_as_first_made(before, content), replayed=True)
    item = new_item(item_id, order.owner, now, content, keyed=key is not None)
    if item.body_key:
        deps.bodies.put(item.body_key, content.text)
    before = deps.items.add(item, content)
    if before is None or key is None:
        # Nobody else has this random id: the SDK sent again what was not answered.
        return Created(item, replayed=False)
    if before.first_sha256 != content.data_sha256:
        raise IdempotencyConflictError("this idempotency key came before with other data")
    return Created(_as_first_made(before, content), replayed=True)


def _check(content: Content, deps: ItemDeps) -> None:
    """Raise `SchemaViolationError` for data that break the schema of such items."""
    is_json = True
    deps.check_schema(content.schema_name, content.data, is_json)


def read_item(item_id: str, caller: Caller, deps: ItemDeps) -> Item:
    """One item with its data; `NotFoundError` unless it is there and the caller's. One call, one
    more for large data."""
    guard = Guard(caller.sees_only, None, clock.to_text(deps.now()))
    for _ in range(_READ_ROUNDS):
        item = deps.items.get(item_id) if is_event_id(item_id) else None
        if item is None or not guard.sees(item):
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
    """(items, the list key to go on below) of one page, newest first; large data are left out.

    Calls: one for each shard, and one or more to read the items of the page. A page may hold fewer
    than `limit` where items expired or are bulky; its cursor goes on from there.
    """
    partitions = Partitions("by-owner", "ownerShard", owner)
    keys, resume = deps.index.newest(partitions, limit, below, lambda entry: str(entry["listKey"]))
    found = deps.items.get_many([_id_in(key) for key in keys])
    guard = Guard(owner, None, clock.to_text(deps.now()))
    shown: list[Item] = []
    size = 0
    for key in keys:
        item = found.get(_id_in(key))
        if item is None or not guard.sees(item):
            continue
        size += item.data_bytes if item.data is not None else 0
        if shown and size > PAGE_BYTES:
            return shown, shown[-1].list_key
        shown.append(item)
    return shown, resume


def replace_item(
    item_id: str,
    content: Content,
    revisions: tuple[Revision, ...] | None,
    caller: Caller,
    deps: ItemDeps,
) -> Item:
    """Make the item hold `content`, if it is at one of `revisions` (None: at any); one call, three
    for large data. Raises `NotFoundError`, `PreconditionFailedError`, `SchemaViolationError`."""
    _check(content, deps)
    guard = _guard(item_id, caller, revisions, deps)
    if not _is_to_come(content, guard.now):
        raise _expired()
    key = None
    if content.is_large:
        before = deps.items.get(item_id)
        if before is None or not guard.sees(before):
            raise NotFoundError("no such item")
        if not guard.allows(before):
            raise PreconditionFailedError(f"the item is at {before.etag} now")
        key = body_key(before.owner, item_id, content)
        if key:
            deps.bodies.put(key, content.text)
    return deps.items.put(item_id, content, key, guard)


def delete_item(
    item_id: str, revisions: tuple[Revision, ...] | None, caller: Caller, deps: ItemDeps
) -> None:
    """Remove the item, if it is at one of `revisions`; one call. Raises as `replace_item` does."""
    deps.items.delete(item_id, _guard(item_id, caller, revisions, deps))


def _guard(
    item_id: str, caller: Caller, revisions: tuple[Revision, ...] | None, deps: ItemDeps
) -> Guard:
    if not is_event_id(item_id):
        raise NotFoundError("no such item")
    return Guard(caller.sees_only, revisions, clock.to_text(deps.now()))


def _is_to_come(content: Content, now: str) -> bool:
    return content.expires_at is None or now < content.expires_at


def _expired() -> InvalidRequestError:
    return InvalidRequestError.at(f"/{EXPIRY}", "must be an ISO 8601 time to come")


def _as_first_made(item: Item, content: Content) -> Item:
    """The item as its first answer showed it, whatever has become of it since."""
    return new_item(item.item_id, item.owner, item.created_at, content, keyed=True)


def _id_in(list_key: str) -> str:
    return list_key.rpartition("#")[2]
