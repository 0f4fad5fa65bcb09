"""The proof: what the ledger, bronze and silver do not agree on is found, told, and made good."""

from typing import Any

import pytest
from msgspec.structs import replace

from chalicelib.core.metrics import measured
from chalicelib.core.paging import Entry
from chalicelib.events.keys import silver_key
from chalicelib.events.model import Status, Step
from chalicelib.events.processors import Incoming
from chalicelib.recovery.compare import LONGEST_SECONDS
from chalicelib.recovery.model import EXAMPLES, Comparison, Difference
from chalicelib.recovery.reconcile import MARGIN_SECONDS
from tests.support.comparison_on_fakes import Stores
from tests.support.factories import NOON, make_body, make_event
from tests.support.fake_stores import FakeEventIndex, StoredObject
from tests.support.faults import Fault, ProcessKilledError
from tests.support.worker_on_fakes import PROCESSORS

DEMO = b'{"eventType":"demo","n":1}'
OTHER = b'{"eventType":"other","n":2}'
KEYED = b'{"eventType":"demo","n":3,"idempotencyKey":"k"}'
NO_DIFFERENCE = dict.fromkeys(
    [*map(str, Difference), "silverMadeAgain", "silverNotMade", "silverWithdrawn"], 0
)


@pytest.fixture
def stores() -> Stores:
    return Stores()


def differences(report: dict[str, Any]) -> dict[str, int]:
    """Those that were found."""
    return {name: count for name, count in report["differences"].items() if count}


def test_stores_that_agree_are_reported_as_clean(stores: Stores) -> None:
    # Given events of every kind
    event = stores.processed()
    stores.processed("permanent")
    stores.processed_unit(DEMO, OTHER, KEYED, b'{"eventType":"permanent"}')
    # When they are compared
    begun = stores.clock.text
    with measured("test", "run ended") as run:
        report = stores.compare()
    # Then the report counts them, and is kept where the answer says what it says
    assert report["ledger"] == {
        "RECEIVED": 0, "ENQUEUED": 0, "PROCESSED": 4, "FAILED": 2, "REJECTED": 0,
    }  # fmt: skip
    assert report["bronze"] == {"events": 2, "units": 1, "refusedUnits": 0, "foreign": 0}
    assert report["silver"] == {"documents": 4, "units": 1, "foreign": 0}
    assert report["differences"] == NO_DIFFERENCE
    assert (report["clean"], report["runs"]) == (True, 1)
    assert report["window"]["from"] == "2026-03-13T00:00:00.000Z"
    assert report["window"]["to"] > begun
    assert stores.reports() == [report]
    (place,) = [key for _, key in stores.aws.objects if "reports/" in key]
    assert place == f"reports/reconcile/2026-03-14/{report['ended'][11:].replace(':', '')}.json"
    # And metrics
    (metrics,) = run.documents("test", 0)
    assert (metrics["ComparedEvents"], metrics["ComparedDocuments"]) == (6, 4)
    assert (metrics["Stage"], metrics["SilverMissing"]) == ("test", 0)
    assert metrics["UnrepairedDifferences"] == 0
    # And nothing was written but that
    assert stores.aws.records[event.event_id].status is Status.PROCESSED


def test_a_lost_document_comes_back_as_it_was(stores: Stores) -> None:
    # Given an event whose document somebody deleted
    lost, other = stores.processed("with-attempt"), stores.processed()
    before = stores.lose("silver", silver_key(lost))
    told = len(stores.bus.entries)
    # When the stores are compared, a good while later
    report = stores.compare()
    # Then it is there again, byte for byte
    assert stores.aws.objects["silver", silver_key(lost)].body == before
    assert differences(report) == {"silverMissing": 1, "silverMadeAgain": 1}
    assert report["examples"] == {"silverMissing": [lost.event_id]}
    assert report["clean"]
    # And nobody was told a second time, and the ledger says what was done
    assert len(stores.bus.entries) == told
    record = stores.aws.records[lost.event_id]
    assert (record.status, record.attempts) == (Status.PROCESSED, 1)
    assert record.timeline[-1]["detail"] == "silver document made again by reconcile"
    assert len(stores.aws.records[other.event_id].timeline) == len(record.timeline) - 1
    # And the next comparison finds nothing
    assert stores.compare()["differences"] == NO_DIFFERENCE
    # And what is lost a second time is what it was at first
    stores.lose("silver", silver_key(lost))
    assert differences(stores.compare()) == {"silverMissing": 1, "silverMadeAgain": 1}
    assert stores.aws.objects["silver", silver_key(lost)].body == before


def test_what_was_lost_of_a_unit_comes_back_alone(stores: Stores) -> None:
    # Given a unit whose file of one type is gone
    events = stores.processed_unit(DEMO, OTHER, KEYED)
    file = stores.aws.records[events[0].event_id].silver_key
    documents = stores.lose("silver", file).splitlines()
    # When the stores are compared
    report = stores.compare()
    # Then each of its events has a document of its own, and the ledger points to it
    assert differences(report) == {"silverMissing": 2, "silverMadeAgain": 2}
    for event, before in zip((events[0], events[2]), documents, strict=True):
        record = stores.aws.records[event.event_id]
        assert (record.silver_key, record.silver_range) == (silver_key(event), None)
        assert stores.aws.objects["silver", silver_key(event)].body == before
    # And the file was not written, nor the other one touched
    assert ("silver", file) not in stores.aws.objects
    other = stores.aws.records[events[1].event_id]
    assert (other.silver_key, len(other.timeline)) == (silver_key(events[1]), 3)
    assert stores.compare()["differences"] == NO_DIFFERENCE


def test_a_line_that_is_lost_comes_back_alone(stores: Stores) -> None:
    # Given the file of a unit that somebody cut
    events = stores.processed_unit(DEMO, b'{"eventType":"demo","n":9}')
    key = stores.aws.records[events[0].event_id].silver_key
    assert key is not None
    kept = stores.aws.objects["silver", key]
    first, second = kept.body.splitlines(keepends=True)
    stores.aws.objects["silver", key] = StoredObject(first, None, kept.modified)
    # When the stores are compared
    assert differences(stores.compare()) == {"silverMissing": 1, "silverMadeAgain": 1}
    # Then the line is an object now, and the file is as it was
    assert stores.aws.objects["silver", silver_key(events[1])].body == second.rstrip()
    assert stores.aws.objects["silver", key].body == first
    assert stores.compare()["differences"] == NO_DIFFERENCE


@pytest.mark.parametrize("body", [b"", b"not json\n", b"[]\n", b'{"eventId":1}\n', b"\xff\n"])
def test_a_file_that_somebody_spoilt_holds_nobody(stores: Stores, body: bytes) -> None:
    event, other = stores.processed_unit(DEMO, b'{"eventType":"demo","n":9}')
    key = stores.aws.records[event.event_id].silver_key
    assert key is not None
    stores.aws.objects["silver", key] = StoredObject(body, None, NOON)
    assert differences(stores.compare()) == {"silverMissing": 2, "silverMadeAgain": 2}
    assert (stores.silver(event)["data"]["n"], stores.silver(other)["data"]["n"]) == (1, 9)


def test_a_document_that_can_not_be_made_again_is_told(stores: Stores) -> None:
    # Given documents lost with their payload, with a processor that is worse by now, and a good one
    gone, worse, changed, good = (stores.processed(kind) for kind in ("a", "b", "c", "d"))
    for event in (gone, worse, changed, good):
        stores.lose("silver", silver_key(event))
    stores.lose("bronze", gone.s3_key)
    stores.aws.objects["bronze", changed.s3_key].body = b"{}"

    def leave(_incoming: object) -> None:
        raise SystemExit(1)

    stores.processors["b"] = leave
    # When the stores are compared
    report = stores.compare()
    # Then each is told, and the good one is back all the same
    assert differences(report) == {
        "ledgerWithoutBronze": 1, "silverMissing": 4, "silverMadeAgain": 1, "silverNotMade": 3,
    }  # fmt: skip
    assert report["examples"]["ledgerWithoutBronze"] == [gone.event_id]
    assert not report["clean"]
    assert stores.silver(good)
    assert stores.aws.records[gone.event_id].status is Status.PROCESSED


def test_an_event_whose_payload_is_gone_is_told_whatever_its_status(stores: Stores) -> None:
    failed, processed = stores.processed("permanent"), stores.processed()
    unit = stores.processed_unit(DEMO, OTHER)
    for key in {failed.s3_key, processed.s3_key, unit[0].s3_key}:
        stores.lose("bronze", key)
    report = stores.compare()
    assert differences(report) == {"ledgerWithoutBronze": 4}
    ids = {event.event_id for event in (failed, processed, *unit)}
    assert set(report["examples"]["ledgerWithoutBronze"]) == ids
    assert not report["clean"]


def test_a_lost_entry_is_made_again_and_has_its_document_already(stores: Stores) -> None:
    # Given a PROCESSED event, and one of a unit, that the ledger forgot
    event = stores.processed()
    unit = stores.processed_unit(DEMO, KEYED)
    lost = (event, unit[0])
    for one in lost:
        del stores.aws.records[one.event_id]
    # When reconcile runs
    report = stores.compare()
    assert differences(report) == {"bronzeWithoutLedger": 2}
    assert set(report["examples"]["bronzeWithoutLedger"]) == {one.event_id for one in lost}
    # Then they are PROCESSED again once the worker has seen them
    for _ in range(3):
        stores.work()
        stores.clock.advance(60)
    for one in lost:
        assert stores.status(one) is Status.PROCESSED
    # And their first documents are withdrawn
    assert differences(stores.compare()) == {"silverElsewhere": 2, "silverWithdrawn": 2}
    report = stores.compare()
    assert report["differences"] == NO_DIFFERENCE
    assert report["silver"]["documents"] == 3


def test_a_document_that_nobody_knows_of_is_told(stores: Stores) -> None:
    # Given a document whose entry and payload are both gone, and one put by hand
    event = stores.processed()
    stores.lose("bronze", event.s3_key)
    del stores.aws.records[event.event_id]
    folder = silver_key(event).rpartition("/")[0]
    stores.aws.objects["silver", f"{folder}/notes.txt"] = StoredObject(b"x", None, NOON)
    # Then both are told, and neither is touched
    report = stores.compare()
    assert differences(report) == {"silverWithoutLedger": 1}
    assert report["examples"]["silverWithoutLedger"] == [event.event_id]
    assert (report["silver"]["foreign"], report["clean"]) == (1, False)
    assert ("silver", silver_key(event)) in stores.aws.objects


def test_a_document_of_an_event_that_failed_is_told(stores: Stores) -> None:
    event = stores.processed("permanent")
    stores.lake.put_silver(silver_key(event), b"{}")
    assert differences(stores.compare()) == {"silverNotProcessed": 1}


def test_a_second_document_of_an_event_is_withdrawn(stores: Stores) -> None:
    # Given an event with a document beside the one that the ledger points to
    event, _ = stores.processed_unit(DEMO, b'{"eventType":"demo","n":9}')
    stores.lake.put_silver(silver_key(event), b'{"eventId":"x"}')
    # When the stores are compared
    report = stores.compare()
    # Then it is taken out, and all is well
    assert differences(report) == {"silverElsewhere": 1, "silverWithdrawn": 1}
    assert report["clean"]
    assert stores.lake.get_silver(silver_key(event)) == b""
    assert stores.line(event)["data"]["n"] == 1


def test_the_only_document_of_an_event_is_not_withdrawn(stores: Stores) -> None:
    # Given an event whose own document is gone, and a copy of it elsewhere
    event, _ = stores.processed_unit(DEMO, b'{"eventType":"demo","n":9}')
    record = stores.aws.records[event.event_id]
    copy = stores.lake.get_silver(str(record.silver_key), record.silver_range)
    stores.lake.put_silver(silver_key(event), copy)
    stores.aws.records[event.event_id] = replace(
        record, silver_key="silver/gone", silver_range=None
    )
    stores.processors["demo"] = PROCESSORS["permanent"]
    # When the stores are compared, and it cannot be made again
    report = stores.compare()
    # Then the copy stays
    assert stores.lake.get_silver(silver_key(event)) == copy
    assert report["differences"]["silverWithdrawn"] == 0


def test_what_is_not_settled_is_left_for_the_next_time(stores: Stores) -> None:
    # Given an old event, and one of a moment ago whose document is not there
    stores.processed()
    stores.clock.advance(4000)
    young = stores.processed()
    stores.processed_unit(DEMO)
    stores.processed()
    stores.lose("silver", silver_key(young))
    # Then only the old one is compared
    report = stores.reconcile().comparison
    assert report is not None
    assert (report["ledger"]["PROCESSED"], report["silver"]["documents"]) == (1, 1)
    assert report["differences"] == NO_DIFFERENCE
    assert differences(stores.compare()) == {"silverMissing": 1, "silverMadeAgain": 1}


def test_the_stores_are_compared_once_for_each_full_sweep(stores: Stores) -> None:
    stores.processed()
    ended = []
    for _ in range(25):
        stores.clock.advance(300)
        ended.append(stores.reconcile().comparison is not None)
    assert ended == [number % 12 == 0 for number in range(25)]
    assert len(stores.reports()) == 3


def test_an_operator_gets_a_comparison_now(stores: Stores) -> None:
    stores.processed()
    stores.compare()
    stores.full_scan_every = None
    stores.clock.advance(1)
    assert stores.reconcile().comparison is not None


def test_without_a_sweep_that_is_through_there_is_no_comparison(stores: Stores) -> None:
    stores.processed()
    stores.clock.advance(4000)
    # Time runs out within the sweep, and only there
    stores.seconds_of_reconcile = [60.0] * 9 + [1.0, 60.0]
    assert stores.reconcile().comparison is None
    assert stores.reports() == []


def test_a_comparison_that_runs_out_of_time_goes_on_where_it_stopped(stores: Stores) -> None:
    # Given events of three types and units, some of them with trouble, and no time at all
    events = [stores.processed(kind) for kind in ("a", "b", "c")] + stores.processed_unit(
        *[DEMO] * 3
    )
    for event in (events[0], events[2]):
        stores.lose("silver", silver_key(event))
    stores.lose("bronze", events[1].s3_key)
    stores.clock.advance(4000)
    # When each run has time for its other half, and one thing here
    stores.seconds_of_reconcile = [MARGIN_SECONDS + LONGEST_SECONDS - 1]
    runs, report = 0, None
    while report is None and runs < 60:
        runs += 1
        report = stores.reconcile().comparison
    # Then all is compared once, and nothing is counted twice
    assert report is not None
    assert runs > report["runs"] > 10
    assert report["ledger"]["PROCESSED"] == 6
    assert report["bronze"]["events"] == 2
    assert report["silver"]["documents"] == 6
    assert differences(report) == {
        "ledgerWithoutBronze": 1, "silverMissing": 2, "silverMadeAgain": 2,
    }  # fmt: skip


def test_a_processor_that_kills_the_process_stops_no_other(stores: Stores) -> None:
    # Given two lost documents, the first of an event that kills
    killer, other = stores.processed("killer"), stores.processed()
    for event in (killer, other):
        stores.lose("silver", silver_key(event))

    def kill(_incoming: object) -> None:
        raise ProcessKilledError("killer")

    stores.processors["killer"] = kill
    stores.clock.advance(4000)
    with pytest.raises(ProcessKilledError):
        stores.reconcile()
    # When the next run comes
    report = stores.reconcile().comparison
    # Then it goes on behind that one, which is told
    assert report is not None
    assert differences(report) == {"silverMissing": 2, "silverMadeAgain": 1, "silverNotMade": 1}
    assert stores.silver(other)
    # And the next comparison tries again
    del stores.processors["killer"]
    assert differences(stores.compare()) == {"silverMissing": 1, "silverMadeAgain": 1}


@pytest.mark.parametrize("fault", list(Fault))
def test_wherever_it_goes_wrong_the_next_runs_make_it_good(fault: Fault) -> None:
    call = 0
    while True:
        call += 1
        # Given a document and a line of a unit that are lost, and a fault at one call
        stores = Stores()
        single, unit = stores.processed(), stores.processed_unit(DEMO, OTHER)
        stores.lose("silver", silver_key(single))
        stores.lose("silver", stores.aws.records[unit[0].event_id].silver_key)
        stores.clock.advance(4000)
        before = len(stores.aws.calls)
        stores.aws.fail(call, fault)
        try:
            stores.reconcile()
        except (Exception, ProcessKilledError):  # noqa: BLE001 - the run is over, loudly
            pass
        else:
            if len(stores.aws.calls) - before < call:
                break
        # When runs come without faults: one goes on with the comparison, which may have passed what
        # a process died of, and the next comparison does not
        stores.aws.faults.clear()
        stores.clock.advance(30)
        stores.reconcile()
        if fault in (Fault.REFUSED, Fault.ANSWER_LOST):
            assert stores.silver(single)
        stores.compare()
        # Then all is as it should be, once
        assert stores.compare()["differences"] == NO_DIFFERENCE, call
        assert len(stores.bus.entries) == 3
        for event in (single, unit[0]):
            assert stores.silver(event)["eventId"] == event.event_id
            steps = [step.get("detail") for step in stores.aws.records[event.event_id].timeline]
            # A process may die before it has said so.
            assert steps.count("silver document made again by reconcile") <= 1
    assert call > 30


def test_an_event_that_moves_while_it_is_looked_at_is_counted_once(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an index that shows an event in two places, on two pages
    first, second = stores.processed(), stores.processed()
    entries = [Entry(f"{one.received_at}#{one.event_id}", one.event_id) for one in (first, second)]

    def between(_self: Any, _after: str, _before: str, _size: int) -> Any:
        yield [entries[0]]
        yield entries

    monkeypatch.setattr(FakeEventIndex, "between", between)
    stores.lose("bronze", first.s3_key)
    # Then it is compared once
    report = stores.compare()
    assert report["ledger"]["PROCESSED"] == 2
    assert differences(report) == {"ledgerWithoutBronze": 1}


def test_two_runs_at_once_make_a_document_once(stores: Stores) -> None:
    # Given a run that makes a document, in the middle of another that is about to
    lost = stores.processed("late")
    stores.lose("silver", silver_key(lost))
    stores.clock.advance(4000)

    def late(incoming: Incoming) -> Any:
        del stores.processors["late"]
        stores.reconcile()
        return incoming.data

    stores.processors["late"] = late
    # When both come to their end
    stores.reconcile()
    # Then it was made once
    record = stores.aws.records[lost.event_id]
    steps = [step.get("detail") for step in record.timeline]
    assert steps.count("silver document made again by reconcile") == 1
    assert stores.compare()["differences"] == NO_DIFFERENCE


def test_all_differences_are_counted_and_some_named(stores: Stores) -> None:
    events = [stores.processed() for _ in range(EXAMPLES + 10)]
    for event in events:
        stores.lose("bronze", event.s3_key)
    report = stores.compare()
    assert report["differences"]["ledgerWithoutBronze"] == EXAMPLES + 10
    assert len(report["examples"]["ledgerWithoutBronze"]) == EXAMPLES


def test_a_comparison_comes_back_from_its_checkpoint() -> None:
    state = Comparison.of("2026-03-14T11:00:00.000Z", "2026-03-14T12:00:00.000Z", NOON, 2)
    state.position = "x"
    state.counts["ledger.PROCESSED"] = 3
    state.differ(Difference.SILVER_MISSING, "id")
    texts = state.to_state()
    assert all(isinstance(text, str) for text in texts.values())
    assert Comparison.from_state(texts) == state
    assert [f"{day:%d}" for day in state.days()] == ["13", "14"]


def test_an_object_is_asked_for_once_a_page(stores: Stores) -> None:
    # Given many events in one file of bronze and one of silver
    stores.processed_unit(*(b'{"eventType":"demo","n":%d}' % number for number in range(30)))
    stores.clock.advance(4000)
    stores.aws.calls.clear()
    # When they are compared
    stores.reconcile()
    # Then each file is asked for once
    assert stores.aws.calls.count("HeadObject") == 2


def test_a_payload_that_waits_in_the_ledger_is_no_difference(stores: Stores) -> None:
    # Given an event that was received long ago, and is not processed
    payload = make_body()
    event = make_event(payload=payload, at=stores.clock())
    stores.ledger.add(event, [Step(Status.RECEIVED, event.received_at)], payload)
    # Then bronze need not have it yet
    assert differences(stores.compare()) == {}
