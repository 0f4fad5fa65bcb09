"""Uploads: offer one to a client, and list the records of what was created."""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

from chalicelib.aws.dynamodb import Partitions, ShardedIndex
from chalicelib.core import clock
from chalicelib.core.ids import new_event_id
from chalicelib.uploads.model import ObjectRecord, UploadOffer, UploadOrder, upload_key
from chalicelib.uploads.store import EVERYONE, UploadBucket
from chalicelib.web.callers import Caller


class UploadDeps(Struct, frozen=True):
    """The collaborators of the functions below. An offer stands for `url_seconds`; `max_bytes` is
    the largest upload that the stage offers."""

    bucket: UploadBucket
    index: ShardedIndex
    url_seconds: int
    max_bytes: int
    now: Callable[[], datetime] = clock.utc_now
    random_bytes: Callable[[int], bytes] = secrets.token_bytes


def offer_upload(order: UploadOrder, owner: str, deps: UploadDeps) -> UploadOffer:
    """An offer to upload one object under the owner's prefix, where no other object is. No call:
    nothing is kept of it until the object is there."""
    now = deps.now()
    upload_id = new_event_id(now, deps.random_bytes(10))
    key = upload_key(owner, upload_id, order.filename)
    # S3 counts whole seconds.
    expires_at = now.replace(microsecond=0) + timedelta(seconds=deps.url_seconds)
    return UploadOffer(
        upload_id=upload_id,
        bucket=deps.bucket.bucket,
        object_key=key,
        order=order,
        form=deps.bucket.sign_form(key, order, deps.url_seconds),
        expires_at=clock.to_text(expires_at),
    )


def list_uploads(
    caller: Caller, limit: int, resume_below: str | None, deps: UploadDeps
) -> tuple[list[ObjectRecord], str | None]:
    """(records, where to go on below) of one page, newest first: the caller's own; of all owners
    and of none for an admin. As many calls as the index has shards.

    Records that have expired and are not gone yet are left out, so a page may be short.
    """
    owner = caller.sees_only
    partitions = (
        Partitions("by-time", "allShard", EVERYONE)
        if owner is None
        else Partitions("by-owner", "ownerShard", owner)
    )
    records, resume = deps.index.newest(partitions, limit, resume_below, ObjectRecord.from_dict)
    now = deps.now().timestamp()
    return [record for record in records if record.ttl > now], resume
