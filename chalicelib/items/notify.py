"""Notifications: from the stream of the items table to messages that owners read.

A stream delivers a batch again until it succeeds, and later records wait behind it. So every record
ends in one of four ways: it needs no message; its message is published; it is set aside on the
dead-letter queue, because trying again cannot help; or it is left over. If any are left over, the
batch fails at the end, after all others are done. What is published or set aside is claimed first
and marked finished after, so that the next delivery of the batch does not repeat it.

An owner with more than `MOST_MAILS` changes in a batch gets one e-mail about all of them: SNS stops
e-mail at some ten a second, and people unsubscribe from a flood. Other subscriptions get each.

Records go in tens: a claim for each, one call to publish them, one to finish them. If the process
dies, at most ten claims remain. They are made again, perhaps twice, when their lease has run out.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.effects import Claim, EffectStore
from chalicelib.aws.faults import aws_code, aws_faults
from chalicelib.aws.sns import BATCH_LIMIT, BY_MAIL, BY_OTHERS, Message, Topic
from chalicelib.aws.sqs import Queue
from chalicelib.core import clock
from chalicelib.core.errors import BatchIncompleteError, EventlineError, PermanentError
from chalicelib.core.ids import sha256
from chalicelib.core.log import log
from chalicelib.items.changes import Change, Kind, changes_of, digest_text
from chalicelib.items.store import PK_PREFIX, TOMBSTONE_AT, read_image

MOST_MAILS = 5
"""E-mails to an owner for one batch of the stream."""
LEASE_SECONDS = 60
"""At least the function's time-out, so that nobody else takes the claim of a running process."""
MARGIN_SECONDS = 5.0
MAX_DEAD_LETTER_BYTES = 200_000
"""A queue's message holds 256 KB, attributes included (Amazon SQS quotas)."""
_SERVICE = "dynamodb.amazonaws.com"
_OLD, _NEW = "OldImage", "NewImage"
_KINDS = {
    "INSERT": (Kind.CREATED, [_NEW]),
    "MODIFY": (Kind.UPDATED, [_OLD, _NEW]),
    "REMOVE": (Kind.DELETED, [_OLD]),
}
"""What a stream record's event means, and the images it needs."""


class NotifyDeps(Struct, frozen=True):
    """The collaborators of `notify_owners`; `remaining` gives the seconds left in this run."""

    effects: EffectStore
    topic: Topic
    dead_letters: Queue
    remaining: Callable[[], float]
    now: Callable[[], datetime] = clock.utc_now


class _Task(Struct, frozen=True):
    """One effect: publish `message`, or set the record aside for `fault`."""

    effect_id: str
    record: Any
    message: Message | None
    fault: PermanentError | None = None


def notify_owners(records: Sequence[Any], deps: NotifyDeps) -> None:
    """Notify owners of the changes in the records of a DynamoDB stream.

    Calls: none for a record that needs no message; else one to claim it, and for ten of them one to
    publish and one to finish; up to two more for each set aside. A digest counts as a record.
    Raises `BatchIncompleteError` when some are left over.
    """
    tasks = _with_digests([task for record in records for task in _tasks(record)])
    left_over = 0
    for start in range(0, len(tasks), BATCH_LIMIT):
        if deps.remaining() < MARGIN_SECONDS:
            left_over += len(tasks) - start
            break
        left_over += _run(tasks[start : start + BATCH_LIMIT], deps)
    if left_over:
        raise BatchIncompleteError(f"{left_over} of {len(tasks)} notifications left over")


def _tasks(record: Any) -> list[_Task]:
    """The effects of a record: none, one, or two for an item that changed its owner."""
    effect_id = _effect_id(record)
    try:
        messages = [_message(change) for change in _changes(record)]
    except PermanentError as error:
        return [_Task(effect_id, record, None, error)]
    except Exception as error:  # noqa: BLE001 - there was no call, so it would fail again
        fault = PermanentError("the record cannot be put in words", code=type(error).__name__)
        return [_Task(effect_id, record, None, fault)]
    return [
        _Task(f"{effect_id}#{number}", record, message) for number, message in enumerate(messages)
    ]


def _with_digests(tasks: Sequence[_Task]) -> list[_Task]:
    """The tasks, with one e-mail for each owner of too many. It comes first: should the batch come
    again in parts, what the others leave out was told before."""
    by_owner: dict[str, list[_Task]] = {}
    for task in tasks:
        if task.message is not None:
            by_owner.setdefault(task.message.attributes["owner"], []).append(task)
    many = {owner: mine for owner, mine in by_owner.items() if len(mine) > MOST_MAILS}
    singles = [
        replace(task, message=replace(task.message, ways=(BY_OTHERS,)))
        if task.message is not None and task.message.attributes["owner"] in many
        else task
        for task in tasks
    ]
    return [*(_digest(owner, mine) for owner, mine in many.items()), *singles]


def _digest(owner: str, tasks: Sequence[_Task]) -> _Task:
    """One e-mail about many changes of an owner's items."""
    ids = [task.effect_id for task in tasks]
    message = Message(
        f"{len(tasks)} changes of your items",
        digest_text([task.message.subject for task in tasks if task.message]),
        {"owner": owner, "change": "digest"},
        (BY_MAIL,),
    )
    return _Task(f"notify#{sha256(json.dumps(ids).encode())}", {"digestOf": ids}, message)


def _changes(record: Any) -> list[Change]:
    """The changes in a record; `PermanentError` for one that cannot be understood."""
    try:
        seen = record["dynamodb"]
        pk = seen["Keys"]["pk"]["S"]
        if not pk.startswith(PK_PREFIX):
            return []
        kind, needed = _KINDS[record["eventName"]]
        images = {name: seen[name] for name in needed}
        millis = int(float(seen["ApproximateCreationDateTime"]) * 1000)
        at = clock.to_text(clock.from_millis(millis))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise PermanentError("not a record of the stream of items", code="record") from error
    if TOMBSTONE_AT in images.get(_OLD, {}):
        # DynamoDB removed a tombstone, or an item was made in its place.
        images.pop(_OLD)
        kind = Kind.CREATED
    if TOMBSTONE_AT in images.get(_NEW, {}):
        images.pop(_NEW)
        kind = Kind.DELETED
    sides = {name: read_image(image) for name, image in images.items()}
    if _is_another(images):
        # An item that had expired was still there when its key made another.
        item_id, old, new = pk.removeprefix(PK_PREFIX), sides[_OLD], sides[_NEW]
        gone = changes_of(item_id, Kind.EXPIRED, at, old, None)
        return [*gone, *changes_of(item_id, Kind.CREATED, at, None, new)]
    if kind is Kind.DELETED and _has_expired(record, images[_OLD], millis):
        kind = Kind.EXPIRED
    return changes_of(pk.removeprefix(PK_PREFIX), kind, at, sides.get(_OLD), sides.get(_NEW))


def _is_another(images: Mapping[str, Any]) -> bool:
    """Whether a record has two items: one in the place of another."""
    made = [images.get(name, {}).get("createdAt") for name in (_OLD, _NEW)]
    return None not in made and made[0] != made[1]


def _has_expired(record: Mapping[str, Any], image: Mapping[str, Any], millis: int) -> bool:
    """Whether an item expired, rather than being deleted by somebody.

    Source: Amazon DynamoDB Developer Guide, "DynamoDB Streams and Time to Live".
    """
    identity = record.get("userIdentity")
    if isinstance(identity, dict) and identity.get("principalId") == _SERVICE:
        return True
    ttl = image.get("ttl", {}).get("N", "")
    return ttl.isdecimal() and int(ttl) * 1000 <= millis


def _effect_id(record: Any) -> str:
    """The record's own id, or its hash if it has none."""
    event_id = record.get("eventID") if isinstance(record, dict) else None
    if isinstance(event_id, str) and event_id:
        return f"notify#{event_id}"
    return f"notify#{sha256(json.dumps(record, sort_keys=True, default=str).encode())}"


def _run(tasks: Sequence[_Task], deps: NotifyDeps) -> int:
    """Make at most ten effects; how many are left over."""
    claims = [(task, _claim(task, deps)) for task in tasks]
    claimed = [task for task, claim in claims if claim is Claim.CLAIMED]
    done = _publish([task for task in claimed if task.fault is None], deps)
    done += [task for task in claimed if task.fault and _set_aside(task, task.fault, deps)]
    finished = {task.effect_id for task in done}
    failed = [task.effect_id for task in claimed if task.effect_id not in finished]
    _settle(lambda: deps.effects.finish(sorted(finished), deps.now()), len(finished))
    _settle(lambda: deps.effects.release(failed), len(failed))
    return len(failed) + sum(claim in (None, Claim.BUSY) for _, claim in claims)


def _claim(task: _Task, deps: NotifyDeps) -> Claim | None:
    """What became of the claim; None after an AWS error, so that the record is left over."""
    try:
        return deps.effects.claim(task.effect_id, deps.now(), LEASE_SECONDS)
    except aws_faults() as error:
        log.warning("notification not claimed", extra=_facts(task, aws_code(error)))
        return None


def _publish(tasks: Sequence[_Task], deps: NotifyDeps) -> list[_Task]:
    """Publish messages; the tasks that are done: published or set aside."""
    if not tasks:
        return []
    try:
        outcomes = deps.topic.publish_batch([task.message for task in tasks if task.message])
    except aws_faults() as error:
        log.warning("notifications not published", extra={"code": aws_code(error)})
        return []
    done = []
    for task, refusal in zip(tasks, outcomes, strict=True):
        if refusal is None:
            log.info("owner notified", extra=_facts(task))
            done.append(task)
        elif refusal.sender_fault:
            fault = PermanentError("SNS refuses the notification", code=refusal.code)
            if _set_aside(task, fault, deps):
                done.append(task)
        else:
            log.warning("notification not published", extra=_facts(task, refusal.code))
    return done


def _message(change: Change) -> Message:
    attributes = {"owner": change.owner, "change": str(change.kind), "itemId": change.item_id}
    return Message(change.subject, change.text, attributes)


def _set_aside(task: _Task, fault: PermanentError, deps: NotifyDeps) -> bool:
    """Put a record on the dead-letter queue with the reason; False after an AWS error."""
    reason = {"reason": fault.detail, "code": fault.code}
    try:
        deps.dead_letters.send(_dead_letter(task.record), reason)
    except aws_faults() as error:
        log.error("stream record not set aside", extra=_facts(task, aws_code(error)))
        return False
    log.warning("stream record set aside", extra=_facts(task, fault.code))
    return True


def _dead_letter(record: Any) -> str:
    """The record as JSON, without its images if they are too large for a message."""
    text = json.dumps(record, default=str)
    if len(text) <= MAX_DEAD_LETTER_BYTES or not isinstance(record, dict):
        return text[:MAX_DEAD_LETTER_BYTES]
    seen = record.get("dynamodb")
    members = seen.items() if isinstance(seen, dict) else ()
    small = {name: value for name, value in members if name not in (_OLD, _NEW)}
    named = {name: record.get(name) for name in ("eventID", "eventName", "eventSourceARN")}
    return json.dumps({**named, "dynamodb": small, "imagesLeftOut": True}, default=str)


def _settle(write: Callable[[], None], number: int) -> None:
    """Finish or release claims. If that fails, the batch goes on: when the lease has run out, the
    effects may be made again, which is better than never."""
    if not number:
        return
    try:
        write()
    except aws_faults(EventlineError) as error:
        log.error("notifications not noted", extra={"code": aws_code(error), "number": number})


def _facts(task: _Task, code: str | None = None) -> dict[str, Any]:
    facts: dict[str, Any] = {"effectId": task.effect_id}
    if task.message is not None:
        facts |= task.message.attributes
    return facts if code is None else {**facts, "code": code}
