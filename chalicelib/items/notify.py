"""Notifications: from the stream of the table of items to messages that owners read.

A stream delivers a record again until its batch succeeds, and everything behind it waits. So every
record ends here in one of four ways: nothing to tell; told; set aside on the dead-letter queue with
the reason, because trying again cannot help; or left over, for which the batch raises at the end,
after all others are through. What is told or set aside is claimed first and noted after, so that
the next delivery of the batch does not do it again.

Records go in tens: a claim for each, one call to publish them, one to note them. A process that
dies leaves at most ten claims, whose lease must run out before they are told (maybe again).
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.effects import Claim, EffectStore
from chalicelib.aws.sns import BATCH_LIMIT, Message, Topic
from chalicelib.aws.sqs import Queue
from chalicelib.core import clock
from chalicelib.core.errors import (
    BatchIncompleteError,
    EventlineError,
    PermanentError,
    aws_code,
    is_aws_fault,
)
from chalicelib.core.log import log
from chalicelib.items.changes import Change, Kind, Snapshot, changes_of
from chalicelib.items.store import PK_PREFIX, read_image

LEASE_SECONDS = 60
"""At least the function's time-out: nobody else may take a claim from a process that lives."""
MARGIN_SECONDS = 5.0
MAX_DEAD_LETTER_BYTES = 200_000
"""A queue's message holds 256 KB, attributes included (Amazon SQS quotas)."""
_SERVICE = "dynamodb.amazonaws.com"
_KINDS = {"INSERT": Kind.CREATED, "MODIFY": Kind.UPDATED, "REMOVE": Kind.DELETED}


class NotifyDeps(Struct, frozen=True):
    """The collaborators of `notify_owners`; `remaining` gives the seconds left to this run."""

    effects: EffectStore
    topic: Topic
    dead_letters: Queue
    remaining: Callable[[], float]
    now: Callable[[], datetime] = clock.utc_now


class _Task(Struct, frozen=True):
    """One effect: to publish `message`, or to set the record aside for `fault`."""

    effect_id: str
    record: Any
    message: Message | None
    fault: PermanentError | None = None


def notify_owners(records: Sequence[Any], deps: NotifyDeps) -> None:
    """Tell owners of the changes in `records`, those of a Lambda event of a DynamoDB stream.

    Calls: none for a record with nothing to tell; else one to claim it, and for ten of them one to
    publish and one to note; two more for each set aside. Raises `BatchIncompleteError` when some
    are left over.
    """
    tasks = [task for record in records for task in _tasks(record)]
    left_over = 0
    for start in range(0, len(tasks), BATCH_LIMIT):
        if deps.remaining() < MARGIN_SECONDS:
            left_over += len(tasks) - start
            break
        left_over += _have_effects(tasks[start : start + BATCH_LIMIT], deps)
    if left_over:
        raise BatchIncompleteError(f"{left_over} of {len(tasks)} notifications left over")


def _tasks(record: Any) -> list[_Task]:
    """The effects of a record: none, one, or two where an item changed hands."""
    effect_id = _effect_id(record)
    try:
        messages = [_message(change) for change in _changes(record)]
    except PermanentError as error:
        return [_Task(effect_id, record, None, error)]
    except Exception as error:  # noqa: BLE001 - nothing outside takes part, so it would fail again
        fault = PermanentError("the record cannot be put in words", code=type(error).__name__)
        return [_Task(effect_id, record, None, fault)]
    return [
        _Task(f"{effect_id}#{number}", record, message) for number, message in enumerate(messages)
    ]


def _changes(record: Any) -> list[Change]:
    """What a record tells; `PermanentError` for one that cannot be understood."""
    try:
        name, seen = record["eventName"], record["dynamodb"]
        pk = seen["Keys"]["pk"]["S"]
        if not pk.startswith(PK_PREFIX):
            return []
        kind = _KINDS[name]
        needed = {"INSERT": ["NewImage"], "MODIFY": ["OldImage", "NewImage"]}
        images = {image: seen[image] for image in needed.get(name, ["OldImage"])}
        millis = int(float(seen["ApproximateCreationDateTime"]) * 1000)
        at = clock.to_text(clock.from_millis(millis))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise PermanentError("not a record of the stream of items", code="record") from error
    old = _snapshot(images, "OldImage")
    new = _snapshot(images, "NewImage")
    if kind is Kind.DELETED and _has_expired(record, images["OldImage"], millis):
        kind = Kind.EXPIRED
    return changes_of(pk.removeprefix(PK_PREFIX), kind, at, old, new)


def _snapshot(images: Mapping[str, Any], name: str) -> Snapshot | None:
    return read_image(images[name]) if name in images else None


def _has_expired(record: Mapping[str, Any], image: Mapping[str, Any], millis: int) -> bool:
    """Whether an item went because its time had come, not because somebody removed it.

    Source: Amazon DynamoDB Developer Guide, "DynamoDB Streams and Time to Live".
    """
    identity = record.get("userIdentity")
    if isinstance(identity, dict) and identity.get("principalId") == _SERVICE:
        return True
    ttl = image.get("ttl", {}).get("N", "")
    return ttl.isdecimal() and int(ttl) * 1000 <= millis


def _effect_id(record: Any) -> str:
    """The id of a record's effect: the stream's own, or its hash if it has none."""
    event_id = record.get("eventID") if isinstance(record, dict) else None
    if isinstance(event_id, str) and event_id:
        return f"notify#{event_id}"
    text = json.dumps(record, sort_keys=True, default=str)
    return f"notify#{hashlib.sha256(text.encode()).hexdigest()}"


def _have_effects(tasks: Sequence[_Task], deps: NotifyDeps) -> int:
    """Make at most ten effects; how many are left over."""
    claims = [(task, _claim(task, deps)) for task in tasks]
    claimed = [task for task, claim in claims if claim is Claim.CLAIMED]
    done = _publish([task for task in claimed if task.fault is None], deps)
    done += [task for task in claimed if task.fault is not None and _set_aside(task, deps)]
    finished = {task.effect_id for task in done}
    failed = [task.effect_id for task in claimed if task.effect_id not in finished]
    _note(lambda: deps.effects.finish(sorted(finished), deps.now()), len(finished))
    _note(lambda: deps.effects.release(failed), len(failed))
    return len(failed) + sum(claim in (None, Claim.BUSY) for _, claim in claims)


def _claim(task: _Task, deps: NotifyDeps) -> Claim | None:
    """What became of the claim; None when AWS did not say, so that the record is left over."""
    try:
        return deps.effects.claim(task.effect_id, deps.now(), LEASE_SECONDS)
    except Exception as error:
        if not is_aws_fault(error):
            raise
        log.warning("notification not claimed", extra=_facts(task, aws_code(error)))
        return None


def _publish(tasks: Sequence[_Task], deps: NotifyDeps) -> list[_Task]:
    """Tell of changes; those that are done with, told or set aside."""
    if not tasks:
        return []
    try:
        outcomes = deps.topic.publish_batch([task.message for task in tasks if task.message])
    except Exception as error:
        if not is_aws_fault(error):
            raise
        log.warning("notifications not published", extra={"code": aws_code(error)})
        return []
    done = []
    for task, refusal in zip(tasks, outcomes, strict=True):
        if refusal is None:
            log.info("owner notified", extra=_facts(task))
            done.append(task)
        elif refusal.sender_fault:
            fault = PermanentError("SNS refuses the notification", code=refusal.code)
            if _set_aside(replace(task, fault=fault), deps):
                done.append(task)
        else:
            log.warning("notification not published", extra=_facts(task, refusal.code))
    return done


def _message(change: Change) -> Message:
    attributes = {"owner": change.owner, "change": str(change.kind), "itemId": change.item_id}
    return Message(change.subject, change.text, attributes)


def _set_aside(task: _Task, deps: NotifyDeps) -> bool:
    """Put a record on the dead-letter queue with the reason; False if that cannot be now."""
    if task.fault is None:
        return False
    reason = {"reason": task.fault.detail, "code": task.fault.code}
    try:
        deps.dead_letters.send(_dead_letter(task.record), reason)
    except Exception as error:
        if not is_aws_fault(error):
            raise
        log.error("stream record not set aside", extra=_facts(task, aws_code(error)))
        return False
    log.warning("stream record set aside", extra=_facts(task, task.fault.code))
    return True


def _dead_letter(record: Any) -> str:
    """The record as JSON; without its images if a message cannot hold them."""
    text = json.dumps(record, default=str)
    if len(text) <= MAX_DEAD_LETTER_BYTES or not isinstance(record, dict):
        return text[:MAX_DEAD_LETTER_BYTES]
    seen = record.get("dynamodb")
    small = {
        name: value
        for name, value in (seen.items() if isinstance(seen, dict) else ())
        if name not in ("OldImage", "NewImage")
    }
    named = {name: record.get(name) for name in ("eventID", "eventName", "eventSourceARN")}
    return json.dumps({**named, "dynamodb": small, "imagesLeftOut": True}, default=str)


def _note(write: Callable[[], None], number: int) -> None:
    """Note what became of effects. If that fails they may be had again when their lease is over,
    which is better than not at all, so the batch goes on."""
    if not number:
        return
    try:
        write()
    except Exception as error:
        if not isinstance(error, EventlineError) and not is_aws_fault(error):
            raise
        log.error("notifications not noted", extra={"code": aws_code(error), "number": number})


def _facts(task: _Task, code: str | None = None) -> dict[str, Any]:
    facts: dict[str, Any] = {"effectId": task.effect_id}
    if task.message is not None:
        facts |= task.message.attributes
    return facts if code is None else {**facts, "code": code}
