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
    ("keyed", "calls", "made"),
    [
        (False, 0, []),
        (False, 1, ["put_object"]),
        (False, 2, ["put_object", "send_message"]),
        (False, 3, ["put_object", "send_message", "put_item"]),
        (True, 0, []),
        (True, 1, ["put_object"]),
        (True, 2, ["put_object", "put_item"]),
        (True, 3, ["put_object", "put_item", "send_message"]),
    ],
)
def test_an_ingest_that_dies_leaves_nothing_or_an_event(
    local: Stage, keyed: bool, calls: int, made: list[str]
) -> None:
    # Given
    point = CrashPoint(calls)
    attempt = prepare(local, point, SMALL, unique("key") if keyed else None)

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
        assert_whole(local, attempt.event_id, SMALL, attempt.submission.owner)
        if "put_item" not in made or "send_message" in made:
            assert_handed_over(local, attempt.event_id)
    else:
        assert local.record(attempt.event_id) is None


def test_a_worker_faster_than_the_api_takes_nothing_from_the_event(local: Stage) -> None:
    # Given: an API that writes to the ledger only when the worker is done
    class Late:
        def add(self, event: Event, steps: list[Step]) -> Record | None:
            local.follow(event.event_id)
            return local.ledger().add(event, steps)

    attempt = prepare(local, CrashPoint(), SMALL, None)
    late: Any = Late()

    # When
    receipt = ingest.ingest(attempt.submission, replace(attempt.deps, ledger=late))

    # Then
    assert receipt.event_id == attempt.event_id
    assert_whole(local, attempt.event_id, SMALL, attempt.submission.owner)
    assert_handed_over(local, attempt.event_id)


@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_a_clients_repeat_ends_what_a_dead_ingest_began(local: Stage, calls: int) -> None:
    # Given
    key = unique("key")
    attempt = prepare(local, CrashPoint(calls), SMALL, key)
    with pytest.raises(CrashError):
        ingest.ingest(attempt.submission, attempt.deps)

    # When: the same request comes again, and nothing else
    owner = attempt.submission.owner
    answer = local.post(SMALL, local.token(owner), key)

    # Then
    assert answer.status_code == 202
    assert answer.json()["eventId"] == attempt.event_id
    assert_whole(local, attempt.event_id, SMALL, owner)
    assert_handed_over(local, attempt.event_id)


def test_a_repeat_with_another_body_after_a_dead_ingest_is_refused(local: Stage) -> None:
    # Given: only the payload was kept
    key = unique("key")
    attempt = prepare(local, CrashPoint(1), SMALL, key)
    with pytest.raises(CrashError):
        ingest.ingest(attempt.submission, attempt.deps)

    # When
    owner = attempt.submission.owner
    answer = local.post(b'{"eventType":"crash","message":"other"}', local.token(owner), key)
    local.reconcile()

    # Then
    assert answer.status_code == 422
    assert_whole(local, attempt.event_id, SMALL, owner)
    assert_handed_over(local, attempt.event_id)
