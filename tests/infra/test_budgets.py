"""Time-outs fit into each other: from one attempt at a call to the queue's visibility time-out."""

import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib import wiring
from chalicelib.alerts import send, slack
from chalicelib.aws import clients
from chalicelib.aws.clients import ATTEMPT_SECONDS, ATTEMPTS, CONNECT_SECONDS, READ_SECONDS
from chalicelib.aws.threads import THREADS
from chalicelib.core.config import TABLE
from chalicelib.destinations import deliver, handover
from chalicelib.destinations.line import LEASE_SECONDS
from chalicelib.destinations.store import SLOT_SECONDS
from chalicelib.events import worker
from chalicelib.events.ingest_batch import CHECK_TIME, PATIENCE
from chalicelib.items import notify
from chalicelib.recovery import reconcile
from chalicelib.web.middleware import ANSWER_SECONDS

ROOT = Path(__file__).resolve().parents[2]
STAGES = json.loads((ROOT / ".chalice" / "config.json").read_text(encoding="utf-8"))["stages"]
GATEWAY_SECONDS = 29
BACK_OFFS = [2**number for number in range(ATTEMPTS - 1)]
"""The longest waits between attempts (AWS SDKs and Tools Reference Guide, "Retry behavior")."""
SLOWEST_CHECK_SECONDS = 5
"""2 s of a whole core, of which a function may have less."""
CALL_SECONDS = ATTEMPTS * ATTEMPT_SECONDS + sum(BACK_OFFS)
MARGINS = {
    "process_events": worker.MARGIN_SECONDS,
    "notify_owners": notify.MARGIN_SECONDS,
    "reconcile": reconcile.MARGIN_SECONDS,
}

every_stage = pytest.mark.parametrize("stage", STAGES)


def timeout(stage: str, function: str) -> int:
    functions: dict[str, Any] = STAGES[stage]["lambda_functions"]
    return int(functions[function]["lambda_timeout"])


def test_an_attempt_is_what_the_deadline_counts() -> None:
    assert ATTEMPT_SECONDS == CONNECT_SECONDS + READ_SECONDS


@every_stage
def test_the_api_answers_before_the_gateway_gives_up_on_it(stage: str) -> None:
    # An attempt that is begun at the last moment may come with a TLS handshake, which has the
    # time-out of a connection, and be followed by a back-off, before the next one is refused.
    latest = timeout(stage, "api_handler") - ANSWER_SECONDS + CONNECT_SECONDS + max(BACK_OFFS)
    cold_start = 1.5
    assert latest + cold_start <= GATEWAY_SECONDS


@every_stage
def test_the_authorizer_has_time_for_all_attempts_at_its_one_call(stage: str) -> None:
    assert timeout(stage, "authorize") >= CALL_SECONDS + CONNECT_SECONDS
    assert timeout(stage, "authorize") <= GATEWAY_SECONDS


@every_stage
@pytest.mark.parametrize("function", MARGINS)
def test_what_is_kept_for_the_end_of_a_run_is_enough_to_begin_it(stage: str, function: str) -> None:
    assert ATTEMPT_SECONDS + 1 <= MARGINS[function] <= timeout(stage, function) / 2


@every_stage
@pytest.mark.parametrize("function", ["record_upload", "relay_alarm", "alert_ci_event"])
def test_a_function_has_time_for_two_calls_that_hang(stage: str, function: str) -> None:
    assert timeout(stage, function) >= 2 * CALL_SECONDS


@every_stage
def test_a_batch_of_deliveries_to_one_hanging_endpoint_ends_in_time(stage: str) -> None:
    # Ten messages, some at a time, each until it is cut; then the notes.
    rounds = -(-10 // deliver.AT_ONCE)
    hanging = rounds * deliver.LIMITS.total
    assert hanging + CALL_SECONDS <= timeout(stage, "deliver")
    # Who begins a call at the last moment has time for it and its note.
    assert deliver.LIMITS.total + ATTEMPT_SECONDS <= deliver.CALL_SECONDS
    assert deliver.LIMITS.total < SLOT_SECONDS
    assert deliver.CALL_SECONDS < LEASE_SECONDS


@every_stage
def test_a_lease_outlasts_the_run_that_took_it(stage: str) -> None:
    assert timeout(stage, "notify_owners") <= notify.LEASE_SECONDS
    assert timeout(stage, "alert_ci_event") <= send.LEASE_SECONDS


def test_processors_that_use_all_their_time_leave_some_to_hand_over() -> None:
    assert handover.RESERVE_SECONDS <= worker.MARGIN_SECONDS / 2


def test_a_post_is_begun_only_with_time_for_it_and_a_note() -> None:
    assert slack.LIMITS.total + ATTEMPT_SECONDS <= send.POST_SECONDS


@every_stage
def test_a_batch_that_loses_patience_can_still_be_sent(stage: str) -> None:
    # The slowest check of an item was begun just in time; the call at which it lost patience, and
    # then the first attempt at the queue.
    used = (CHECK_TIME + PATIENCE).total_seconds() + SLOWEST_CHECK_SECONDS + ATTEMPT_SECONDS
    assert used + ATTEMPT_SECONDS <= timeout(stage, "api_handler") - ANSWER_SECONDS


@every_stage
def test_a_request_is_over_before_reconcile_looks_at_its_unit(stage: str) -> None:
    assert reconcile.UNIT_SETTLED.total_seconds() >= 2 * timeout(stage, "api_handler")


def test_every_thread_has_a_connection() -> None:
    wiring.reset()
    try:
        assert clients.aws("s3").meta.config.max_pool_connections >= THREADS
    finally:
        wiring.reset()


@every_stage
def test_reconcile_is_done_before_it_comes_again(stage: str) -> None:
    defaults = {entry.name: entry.default for entry in TABLE}
    variables = STAGES[stage]["environment_variables"]
    minutes = variables.get("RECONCILE_MINUTES", defaults["RECONCILE_MINUTES"])
    assert timeout(stage, "reconcile") <= int(minutes) * 60
