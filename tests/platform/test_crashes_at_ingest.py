"""An ingest that dies between any two calls leaves an event that is whole, or none.

The service runs here with clients that die at a given call, against the same stage whose deployed
functions then take over.
"""

from typing import Any

import pytest
from msgspec.structs import replace

from chalicelib.events import ingest
from chalicelib.events.model import Event, Record, Status, Step
from tests.support.crash import (
    MEDIUM,
    SMALL,
    CrashError,
    CrashPoint,
    assert_handed_over,
    assert_whole,
    prepare,
)
from tests.support.deployed_stage import Stage, unique

pytestmark = pytest.mark.emulator


@pytest.mark.parametrize(
    ("keyed", "queue_first", "body", "made"),
    [
        (False, False, SMALL, []),
        (False, False, SMALL, ["put_item"]),
        (False, True, SMALL, ["send_message"]),
        (False, False, SMALL, ["put_item", "send_message"]),
        (False, False, MEDIUM, ["put_object"]),
        (False, False, MEDIUM, ["put_object", "put_item"]),
        (False, True, MEDIUM, ["put_object", "send_message"]),
        (True, False, SMALL, []),
        (True, False, SMALL, ["put_item"]),
        (True, False, SMALL, ["put_item", "send_message"]),
        (True, False, MEDIUM, ["put_object"]),
        (True, False, MEDIUM, ["put_object", "put_item"]),
    ],
)
def test_an_ingest_that_dies_leaves_nothing_or_an_event(
    local: Stage, keyed: bool, queue_first: bool, body: bytes, made: list[str]
) -> None:
    # Given
    point = CrashPoint(len(made))
    key = unique("key") if keyed else None
    attempt = prepare(local, point, body, key, queue_first=queue_first)

    # When
    with pytest.raises(CrashError):
        ingest.ingest(attempt.submission, attempt.deps)

    # Then: no message, no ENQUEUED
    assert point.made == made
    if "send_message" in made:
        # The worker needs nobody's help with what was sent.
        local.follow(attempt.event_id)
    else:
        record = local.record(attempt.event_id)
        assert (record.status if record else None) is (
            Status.RECEIVED if "put_item" in made else None
        )
        local.reconcile()
    if made:
        assert_whole(local, attempt.event_id, body, attempt.submission.owner)
        if "put_item" not in made or "send_message" in made:
            assert_handed_over(local, attempt.event_id)
    else:
        assert local.record(attempt.event_id) is None


def test_a_worker_faster_than_the_api_takes_nothing_from_the_event(local: Stage) -> None:
    # Given: an API that writes to the ledger only when the worker is done
    class Late:
        def add(self, event: Event, steps: list[Step], payload: bytes | None) -> Record | None:
            local.follow(event.event_id)
            return local.ledger().add(event, steps, payload)

    attempt = prepare(local, CrashPoint(), SMALL, None, queue_first=True)
    late: Any = Late()

    # When
    receipt = ingest.ingest(attempt.submission, replace(attempt.deps, ledger=late))

    # Then
    assert receipt.event_id == attempt.event_id
    assert_whole(local, attempt.event_id, SMALL, attempt.submission.owner)
    assert_handed_over(local, attempt.event_id)


@pytest.mark.parametrize(
    ("body", "calls"), [(SMALL, 0), (SMALL, 1), (SMALL, 2), (MEDIUM, 1), (MEDIUM, 2), (MEDIUM, 3)]
)
def test_a_clients_repeat_ends_what_a_dead_ingest_began(
    local: Stage, body: bytes, calls: int
) -> None:
    # Given
    key = unique("key")
    attempt = prepare(local, CrashPoint(calls), body, key)
    with pytest.raises(CrashError):
        ingest.ingest(attempt.submission, attempt.deps)

    # When: the same request comes again, and nothing else
    owner = attempt.submission.owner
    answer = local.post(body, local.token(owner), key)

    # Then
    assert answer.status_code == 202
    assert answer.json()["eventId"] == attempt.event_id
    assert_whole(local, attempt.event_id, body, owner)
    assert_handed_over(local, attempt.event_id)


@pytest.mark.parametrize("body", [SMALL, MEDIUM])
def test_a_repeat_with_another_body_after_a_dead_ingest_is_refused(
    local: Stage, body: bytes
) -> None:
    # Given: only the first call was made
    key = unique("key")
    attempt = prepare(local, CrashPoint(1), body, key)
    with pytest.raises(CrashError):
        ingest.ingest(attempt.submission, attempt.deps)

    # When
    owner = attempt.submission.owner
    other = body.replace(b"hello", b"other")
    answer = local.post(other, local.token(owner), key)
    local.reconcile()

    # Then
    assert answer.status_code == 422
    assert_whole(local, attempt.event_id, body, owner)
    assert_handed_over(local, attempt.event_id)
