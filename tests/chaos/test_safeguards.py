"""What a rehearsal changes in the code is still there to be changed, and what it calls a repeat
without cause is one."""

import base64
import json
import random
import shutil
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.chaos.cargo import Parcel, Sender
from tests.chaos.repeats import Repeats, unexplained
from tests.chaos.safeguards import SAFEGUARDS, SHORTER, Change, alter, without
from tests.chaos.witness import BUS, NOTES_OF_OWNERS, OWNERS, Witness, name_of

_ROOT = Path(__file__).resolve().parent.parent.parent
_ID = "0190f2a5-7a41-7cc1-8f6e-000000000001"
_PUT_EVENTS = "AWSEvents.PutEvents"
_JOURNAL = "DynamoDB_20120810.PutItem"
_UPDATE = "DynamoDB_20120810.UpdateItem"
_DETAIL = '{"Entries": [{"Detail": "{\\"eventId\\": \\"' + _ID + '\\"}"}]}'

_UNIT = "0190f2a5-7a41-7cc1-8f6e-0000000000ff"
_OTHER_UNIT = "0190f2a5-7a41-7cc1-8f6e-0000000000fe"
_BEGUN = json.dumps(
    {
        "Item": {
            "pk": {"S": f"UNIT#{_UNIT}"},
            "events": {"B": base64.b64encode(uuid.UUID(_ID).bytes).decode()},
        }
    }
)
_NOTE = json.dumps(
    {
        "Key": {"pk": {"S": f"UNIT#{_UNIT}"}},
        "UpdateExpression": "SET #ttl = :ttl REMOVE statusShard",
    }
)


def decision(**how: Any) -> Any:
    """What the proxy does to a request; nothing unless it is said."""
    nothing = {
        "error": None, "reset": False, "timeout_ms": None, "latency_ms": 0.0,
        "response_fault": None,
    }  # fmt: skip
    return SimpleNamespace(**{**nothing, **how})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("chalicelib", ".chalice"):
        shutil.copytree(_ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("name", SAFEGUARDS)
def test_a_safeguard_can_be_taken_out_of_the_code(name: str, project: Path) -> None:
    # Given
    (change,) = without([name])

    # When
    alter(project, [*SHORTER, change], "local")

    # Then: it is gone, and what is left is Python
    source = (project / change.file).read_text()
    assert source != (_ROOT / change.file).read_text()
    compile(source, change.file, "exec")


def test_a_text_that_is_not_there_just_once_is_an_error(project: Path) -> None:
    for text in ("no such text", "import"):
        with pytest.raises(ValueError, match="not just once"):
            alter(project, [Change("chalicelib/events/lake.py", text, "")], "local")


def test_an_unknown_safeguard_is_an_error() -> None:
    with pytest.raises(KeyError):
        without(["luck"])


def test_a_repeat_needs_a_trouble_soon_after_the_first_time() -> None:
    assert unexplained(1, [100.0], [], 10) == 0
    assert unexplained(2, [100.0, 130.0], [], 10) == 1
    assert unexplained(2, [100.0, 130.0], [105.0], 10) == 0
    assert unexplained(2, [100.0, 130.0], [90.0, 115.0, 135.0], 10) == 1
    assert unexplained(3, [100.0, 130.0, 150.0], [105.0], 10) == 1
    # AWS itself was asked once.
    assert unexplained(2, [100.0], [105.0], 10) == 1


def test_a_witness_tells_a_lost_answer_from_a_repeat_without_cause() -> None:
    # Given
    lost, quiet, refused = Witness(), Witness(), Witness()
    for witness, first in (
        (lost, decision(response_fault="abort")),
        (quiet, decision(latency_ms=200.0)),
        (refused, decision(error="throttled")),
    ):
        witness.see(_JOURNAL, _BEGUN, None, 99.0)
        witness.see(_PUT_EVENTS, _DETAIL, first, 100.0)
        witness.see(_UPDATE, _NOTE, None, 101.0)
        witness.see(_PUT_EVENTS, _DETAIL, None, 130.0)

    # Then
    assert Repeats(lost).of_event(_ID, 2) == 0
    assert Repeats(quiet).of_event(_ID, 2) == 1
    assert Repeats(refused).told_times(BUS, _ID) == [130.0]


@pytest.mark.parametrize(
    ("how", "at", "change", "is_explained"),
    [
        ({}, 101.0, "REMOVE statusShard", False),
        # The worker died before it, or had no time left.
        ({}, 131.0, "REMOVE statusShard", True),
        ({}, 101.0, "", True),
        # It was refused, or its answer lost.
        ({"reset": True}, 101.0, "REMOVE statusShard", True),
        ({"error": "throttled"}, 101.0, "REMOVE statusShard", True),
        ({"latency_ms": 2600.0}, 101.0, "REMOVE statusShard", True),
    ],
)
def test_a_repeat_is_explained_where_the_first_was_not_noted(
    how: dict[str, Any], at: float, change: str, is_explained: bool
) -> None:
    witness = Witness()
    witness.see(_JOURNAL, _BEGUN, None, 99.0)
    witness.see(_PUT_EVENTS, _DETAIL, None, 100.0)
    note = _NOTE.replace("REMOVE statusShard", change)
    witness.see(_UPDATE, note, decision(**how), at)
    witness.see(_PUT_EVENTS, _DETAIL, None, 130.0)

    assert Repeats(witness).of_event(_ID, 2) == (0 if is_explained else 1)


@pytest.mark.parametrize(("winner", "without_cause"), [(_UNIT, 1), (_OTHER_UNIT, 0)])
def test_the_end_of_a_unit_that_did_not_win_an_event_is_no_note(
    winner: str, without_cause: int
) -> None:
    for named in (
        {":key": {"S": f"silver/demo/dt=2026-01-31/{winner}.ndjson"}},
        {":unit": {"B": base64.b64encode(uuid.UUID(winner).bytes).decode()}},
    ):
        witness = Witness()
        witness.see(_JOURNAL, _BEGUN, None, 99.0)
        won = {
            "Key": {"pk": {"S": f"EVENT#{_ID}"}},
            "ExpressionAttributeValues": {":status": {"S": "PROCESSED"}, **named},
        }
        witness.see(_UPDATE, json.dumps(won), None, 99.5)
        witness.see(_PUT_EVENTS, _DETAIL, None, 100.0)
        witness.see(_UPDATE, _NOTE, None, 101.0)
        witness.see(_PUT_EVENTS, _DETAIL, None, 130.0)

        assert Repeats(witness).of_event(_ID, 2) == without_cause


def test_a_repeat_is_explained_where_the_worker_died_while_it_noted_the_first() -> None:
    witness = Witness()
    witness.see(_JOURNAL, _BEGUN, None, 99.0)
    witness.see(_PUT_EVENTS, _DETAIL, None, 100.0)
    witness.see(_UPDATE, _NOTE, None, 101.0, done=False)
    witness.see(_PUT_EVENTS, _DETAIL, None, 130.0)

    assert Repeats(witness).of_event(_ID, 2) == 0


def test_an_answer_that_a_busy_machine_is_late_with_explains_a_repeat() -> None:
    for seconds, without_cause in ((0.2, 1), (2.5, 0)):
        witness = Witness()
        form = urlencode({"PublishBatchRequestEntries.member.1.Message": "told"})
        witness.see("Publish", form, None, 100.0, seconds=seconds)
        witness.see("Publish", form, None, 102.1)
        assert Repeats(witness).of_notification("told", 2) == without_cause


def test_a_witness_reads_what_sns_is_sent() -> None:
    # Given
    witness = Witness()
    form = "Action=PublishBatch&PublishBatchRequestEntries.member.1.Message=It+was+%C3%A9"

    # When
    for moment in (100.0, 150.0):
        witness.see("Publish", form, None, moment)

    # Then
    assert witness.told == {OWNERS: {name_of("It was é"): [100.0, 150.0]}}
    assert Repeats(witness).of_notification("It was é", 2) == 1
    note = '{"RequestItems": {"t": [{"PutRequest": {"Item": {"pk": {"S": "EFFECT#notify#1"}}}}]}}'
    witness.see("DynamoDB_20120810.BatchWriteItem", note, decision(error="no"), 101.0)
    assert NOTES_OF_OWNERS in witness.troubles
    assert Repeats(witness).of_notification("It was é", 2) == 0


def test_an_alert_comes_again_only_after_a_trouble() -> None:
    posts = ((100.0, "a word"), (140.0, "a word"), (150.0, "another"))

    assert Repeats(Witness(), posts=posts).of_alert("a word") == 1
    assert Repeats(Witness(), posts=posts).of_alert("another") == 0
    assert Repeats(Witness(), posts=posts, away=(99.5,)).of_alert("a word") == 0


def test_a_seed_sends_the_same_again() -> None:
    def sent(seed: int) -> list[Parcel]:
        sender = Sender(random.Random(seed), ["ada", "grace"], "run", largest_batch=20)
        parcels = [sender.parcel() for _ in range(60)]
        # A webhook's id and time are its sender's own.
        return [parcel for parcel in parcels if parcel.path.startswith("/events")]

    assert sent(1) == sent(1)
    assert sent(1) != sent(2)
