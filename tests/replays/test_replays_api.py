"""POST /replays and what follows, to the end of the events that it makes."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, get_ident
from typing import Any

import pytest
from msgspec.structs import replace

from chalicelib import wiring
from chalicelib.aws.dynamodb import Table
from chalicelib.core import clock
from chalicelib.core.config import settings
from chalicelib.core.errors import ConflictError
from chalicelib.events.message import ReplayMessage
from chalicelib.replays.model import STALLED_AFTER, Replay, ReplayStatus, Selection
from chalicelib.replays.start import MAX_RUNNING, ReplayOrder
from chalicelib.replays.start import start as start_replay
from chalicelib.web.callers import Caller
from tests.support.app_on_moto import NAMES, BreakCall, Platform, Sender, without_delay
from tests.support.factories import make_id
from tests.support.faults import refusal
from tests.support.moto_aws import queue_url
from tests.support.problems import check_problem

SCOPES = ("events:write", "events:read", "events:admin")
PERMANENT = "eventline.drill.permanent"
EVERYTHING = {"from": "2026-01-01T00:00:00Z"}


def start(sender: Sender, **fields: Any) -> str:
    """Start a replay; its id."""
    response = sender.post("/replays", fields or EVERYTHING)
    assert response.status_code == 202, response.body
    replay_id: str = response.json_body["id"]
    assert response.headers["Location"] == f"/replays/{replay_id}"
    return replay_id


def work_through(platform: Platform, sender: Sender, replay_id: str) -> Any:
    """Let the worker work until the replay ends; the replay."""
    for _ in range(200):
        without_delay()
        records = platform.receive()
        if records:
            platform.work(records)
        replay = sender.get(f"/replays/{replay_id}").json_body
        if not records and replay["status"] != "RUNNING":
            return replay
    raise AssertionError(replay)


def work_off(platform: Platform) -> None:
    """Let the worker have all that waits."""
    while records := platform.receive():
        platform.work(records)


def replays_of(sender: Sender) -> dict[str, Any]:
    """The sender's events that are replays, by what they repeat."""
    items = sender.get("/events?limit=100").json_body["items"]
    found = {item["replayOf"]: item for item in items if item["replayOf"]}
    assert len(found) == len([item for item in items if item["replayOf"]])
    return found


def test_everything_that_came_to_an_end_is_replayed_once(platform: Platform) -> None:
    # Given events of each end, of a unit too, and one of somebody else
    alice, bob = platform.sender(*SCOPES), platform.sender(*SCOPES)
    ids = [alice.event_id({"eventType": "demo", "n": number}) for number in range(3)]
    failed = alice.event_id({"eventType": PERMANENT})
    alice.post("/events", b"{")
    batch = alice.post("/events/batch", {"events": [{"eventType": "demo"}] * 2}).json_body
    ids += [result["eventId"] for result in batch["results"]]
    bob.event_id({"eventType": "demo"})
    platform.work()
    # When she replays them
    replay_id = start(alice)
    replay = work_through(platform, alice, replay_id)
    # Then each has one replay with its lineage, processed anew
    made = replays_of(alice)
    assert made.keys() == {*ids, failed}
    assert {made[event_id]["status"] for event_id in ids} == {"PROCESSED"}
    assert made[failed]["status"] == "FAILED"
    for before, record in made.items():
        assert record["timeline"][0]["detail"].startswith(f"replay of {before} (")
        assert record["timeline"][0]["detail"].endswith(replay_id)
    results = [alice.get(f"/events/{made[id_]['eventId']}/result").json_body for id_ in ids]
    assert [result["data"] for result in results] == [
        alice.get(f"/events/{id_}/result").json_body["data"] for id_ in ids
    ]
    # And its progress tells all of it
    assert (replay["status"], replay["progress"]) == ("DONE", 1.0)
    counts = [replay[name] for name in ("matched", "done", "failed", "skipped")]
    assert counts == [7, 6, 1, 0]
    assert replay["lastFailure"]["code"] == "invalid-json"
    assert replay["finishedAt"]
    assert replays_of(bob) == {}


def test_a_replay_takes_what_it_is_asked_for(platform: Platform) -> None:
    # Given events of two types and ends
    alice = platform.sender(*SCOPES)
    alice.event_id({"eventType": "demo"})
    other = alice.event_id({"eventType": "other"})
    failed = alice.event_id({"eventType": PERMANENT})
    platform.work()
    # When some of them are replayed
    by_type = work_through(platform, alice, start(alice, eventType="other"))
    by_status = work_through(platform, alice, start(alice, status="FAILED"))
    nothing = work_through(platform, alice, start(alice, eventType="demo", status="FAILED"))
    before = work_through(platform, alice, start(alice, to="2026-01-01"))
    # Then just those were
    assert replays_of(alice).keys() == {other, failed}
    assert [one["done"] for one in (by_type, by_status, nothing, before)] == [1, 1, 0, 0]
    assert by_type["filter"]["eventType"] == "other"


def test_a_filter_that_matches_many_skips_none_of_them(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given more events in a partition than a step takes
    alice = platform.sender(*SCOPES)
    for event_type in ("demo", "other", "demo"):
        events = [{"eventType": event_type, "n": number} for number in range(40)]
        alice.post("/events/batch", {"events": events})
    work_off(platform)
    # When those of one type are replayed, in steps that end in the middle of a page, at once
    monkeypatch.setattr(Replay, "seconds_until_due", lambda _replay, _now: 0)
    replay = work_through(platform, alice, start(alice, eventType="demo", rate=1))
    # Then all are, once
    assert (replay["status"], replay["matched"], replay["done"]) == ("DONE", 80, 80)
    records = [
        item
        for item in platform.aws("dynamodb").scan(TableName=NAMES.events_table)["Items"]
        if "replayOf" in item
    ]
    assert len({item["replayOf"]["S"] for item in records}) == len(records) == 80


def test_a_replay_leaves_replays_out_unless_it_is_told_otherwise(platform: Platform) -> None:
    alice = platform.sender(*SCOPES)
    alice.event_id({"eventType": "demo"})
    platform.work()
    work_through(platform, alice, start(alice))
    again = work_through(platform, alice, start(alice))
    assert (again["done"], again["skipped"]) == (1, 1)
    more = work_through(platform, alice, start(alice, **EVERYTHING, includeReplays=True))
    assert (more["done"], more["skipped"]) == (3, 0)


def test_what_is_still_open_is_skipped(platform: Platform) -> None:
    alice = platform.sender(*SCOPES)
    alice.event_id({"eventType": "demo"})
    records = platform.receive()
    replay = work_through(platform, alice, start(alice))
    assert (replay["matched"], replay["skipped"]) == (0, 1)
    platform.work(records)


def test_a_dry_run_counts_and_makes_nothing(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given more events than are looked at at once, and all the time that it takes
    monkeypatch.setattr("chalicelib.replays.start.PAGE", 5)
    monkeypatch.setattr("chalicelib.replays.start.SCAN_LIMIT", 5)
    monkeypatch.setattr("chalicelib.replays.start.COUNT_SECONDS", 600)
    alice = platform.sender(*SCOPES)
    for _ in range(3):
        events = [{"eventType": "demo"}] * 20 + [{"eventType": PERMANENT}]
        alice.post("/events/batch", {"events": events})
    work_off(platform)
    # When they are counted
    order = {"status": "PROCESSED", "dryRun": True, "rate": 20}
    response = alice.post("/replays", order)
    # Then nothing is made
    assert response.status_code == 200
    assert response.json_body["matched"] == 60
    assert (response.json_body["atLeast"], response.json_body["estimatedSeconds"]) == (False, 3)
    assert response.json_body["filter"]["status"] == "PROCESSED"
    assert platform.receive() == []
    assert alice.post("/replays", {"status": "FAILED", "dryRun": True}).json_body["matched"] == 3


def test_an_admin_replays_what_every_owner_has_or_one(platform: Platform) -> None:
    alice, bob, admin = platform.sender(), platform.sender(), platform.sender("admin")
    for sender in (alice, bob):
        sender.event_id({"eventType": "demo"})
    platform.work()
    one = work_through(platform, admin, start(admin, eventType="demo", owner=alice.owner))
    assert one["done"] == len(replays_of(alice)) == 1
    assert replays_of(bob) == {}
    both = work_through(platform, admin, start(admin, eventType="demo"))
    assert both["done"] == 2
    assert {record["owner"] for record in replays_of(bob).values()} == {bob.owner}


def test_nobody_else_replays_for_another_owner(platform: Platform) -> None:
    alice, bob = platform.sender(*SCOPES), platform.sender(*SCOPES)
    order = {**EVERYTHING, "owner": alice.owner}
    check_problem(bob.post("/replays", order), 403, "forbidden")
    assert alice.post("/replays", order).status_code == 202


def test_an_abort_ends_it(platform: Platform) -> None:
    # Given a replay with more to do than one step takes
    alice = platform.sender(*SCOPES)
    alice.post("/events/batch", {"events": [{"eventType": "demo"}] * 30})
    platform.work()
    replay_id = start(alice, **EVERYTHING, rate=1)
    platform.work()
    running = alice.get(f"/replays/{replay_id}").json_body
    assert (running["status"], running["done"]) == ("RUNNING", 10)
    assert 0 < running["progress"] < 1
    assert running["estimatedSecondsLeft"] is not None
    # When it is aborted, twice
    for _ in range(2):
        answer = alice.call("DELETE", f"/replays/{replay_id}")
        assert (answer.status_code, answer.json_body["status"]) == (200, "ABORTED")
    # Then its next step does nothing
    deps = wiring.bulk_replays()
    deps.queue.send(ReplayMessage(replay_id, 1).encode())
    replay = work_through(platform, alice, replay_id)
    assert (replay["status"], replay["done"], len(replays_of(alice))) == ("ABORTED", 10, 10)
    assert deps.replays.running() == {}
    # And one that came to its end cannot be aborted
    done = start(alice, to="2026-01-01")
    work_through(platform, alice, done)
    check_problem(alice.call("DELETE", f"/replays/{done}"), 409, "conflict")


def test_a_key_makes_a_start_safe_to_repeat(platform: Platform) -> None:
    alice, bob = platform.sender(*SCOPES), platform.sender(*SCOPES)
    first, again = (alice.post("/replays", EVERYTHING, Idempotency_Key="k") for _ in range(2))
    assert first.json_body["id"] == again.json_body["id"]
    assert (first.headers.get("Idempotent-Replayed"), again.status_code) == (None, 202)
    assert again.headers["Idempotent-Replayed"] == "true"
    other = alice.post("/replays", {"status": "FAILED"}, Idempotency_Key="k")
    check_problem(other, 422, "idempotency-conflict")
    assert (
        bob.post("/replays", EVERYTHING, Idempotency_Key="k").json_body["id"]
        != (first.json_body["id"])
    )


def test_too_many_at_once_are_refused(platform: Platform) -> None:
    alice, bob = platform.sender(*SCOPES), platform.sender(*SCOPES)
    ids = [start(alice) for _ in range(5)]
    check_problem(alice.post("/replays", EVERYTHING), 409, "conflict")
    start(bob)
    alice.call("DELETE", f"/replays/{ids[0]}")
    start(alice)


def test_the_limit_holds_for_requests_at_the_same_time(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given requests that all read the register before any of them writes it
    alice = platform.sender(*SCOPES)
    deps = wiring.bulk_replays()
    together = Barrier(8)
    get, met = Table.get, set[int]()

    def get_together(table: Table, key: Any) -> Any:
        found = get(table, key)
        if key == {"pk": {"S": "REPLAYS"}} and get_ident() not in met:
            met.add(get_ident())
            together.wait(timeout=20)
        return found

    order = ReplayOrder(Selection(owner=alice.owner, end="2026-01-01T00:00:00.000Z"), 50, {})
    caller = Caller(alice.owner, frozenset(SCOPES), "t")

    def attempt(_: int) -> bool:
        try:
            start_replay(order, caller, deps)
        except ConflictError:
            return False
        return True

    # When they come at the same time
    with monkeypatch.context() as patch, ThreadPoolExecutor(8) as pool:
        patch.setattr(Table, "get", get_together)
        started = list(pool.map(attempt, range(8)))
    # Then as many run as one owner may have
    assert sum(started) == MAX_RUNNING
    running = [entry for entry in deps.replays.running().values() if entry["owner"] == alice.owner]
    assert len(running) == MAX_RUNNING


def test_a_replay_that_could_not_be_sent_is_taken_up_by_reconcile(
    platform: Platform, break_call: BreakCall
) -> None:
    # Given a replay whose first message was not taken
    alice = platform.sender(*SCOPES)
    event_id = alice.event_id({"eventType": "demo"})
    platform.work()
    with break_call("sqs", "SendMessage", refusal("SendMessage")):
        replay_id = start(alice)
    assert platform.receive() == []
    # When reconcile looks after replays
    platform.reconcile({"stuckAfterSeconds": 0})
    # Then it runs
    assert work_through(platform, alice, replay_id)["done"] == 1
    assert replays_of(alice).keys() == {event_id}


def test_one_that_has_stopped_shows_so_and_is_taken_up_by_reconcile(platform: Platform) -> None:
    # Given a replay at its second step, whose message Lambda has dropped
    admin = platform.sender(*SCOPES)
    ids = [admin.event_id({"eventType": "demo", "n": number}) for number in range(15)]
    work_off(platform)
    replay_id = start(admin, eventType="demo", rate=1)
    platform.work()
    work_off(platform)
    running = admin.get(f"/replays/{replay_id}").json_body
    assert (running["status"], running["stalled"], running["done"]) == ("RUNNING", False, 10)
    assert running["estimatedSecondsLeft"] is not None
    platform.aws("sqs").purge_queue(QueueUrl=queue_url(NAMES.queue))
    # When five minutes have passed
    store = wiring.replay_store()
    kept = store.get(replay_id)
    assert kept is not None
    long_ago = clock.to_text(clock.utc_now() - STALLED_AFTER)
    store.save(replace(kept, updated_at=long_ago, due_at=long_ago))
    # Then it shows so, with the time of its last step
    (listed,) = admin.get("/replays").json_body["items"]
    for shown in (admin.get(f"/replays/{replay_id}").json_body, listed):
        assert (shown["status"], shown["stalled"]) == ("RUNNING", True)
        assert (shown["updatedAt"], shown["estimatedSecondsLeft"]) == (long_ago, None)
    # And reconcile takes it up again, to its end
    platform.reconcile({"stuckAfterSeconds": 240})
    assert admin.get(f"/replays/{replay_id}").json_body["stalled"] is False
    done = work_through(platform, admin, replay_id)
    assert (done["status"], done["stalled"], done["done"]) == ("DONE", False, len(ids))
    assert len(replays_of(admin)) == len(ids)


@pytest.mark.parametrize("status", [ReplayStatus.DONE, ReplayStatus.ABORTED, ReplayStatus.FAILED])
def test_only_a_running_replay_that_is_silent_is_stalled(status: ReplayStatus) -> None:
    now = clock.utc_now()
    begun = clock.to_text(now - STALLED_AFTER)
    silent = Replay("r", "alice", Selection(end=begun), 50, 8, "", begun, begun)
    assert silent.is_stalled(now)
    just_before = now - timedelta(milliseconds=1)
    assert not silent.is_stalled(just_before)
    assert not silent.ended(status, begun).is_stalled(now)


def test_live_traffic_goes_first(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given more waiting messages than the limit
    alice = platform.sender(*SCOPES)
    alice.event_id({"eventType": "demo"})
    platform.work()
    replay_id = start(alice)
    step = platform.receive()
    limited = replace(settings(), backlog_limit=1)
    monkeypatch.setattr(wiring, "settings", lambda: limited)
    for _ in range(2):
        alice.event_id({"eventType": "demo"})
    # When its step comes
    platform.work(step)
    # Then it stands back, and says where it is
    replay = alice.get(f"/replays/{replay_id}").json_body
    assert (replay["status"], replay["matched"]) == ("RUNNING", 0)
    waiting = platform.aws("sqs").get_queue_attributes(
        QueueUrl=wiring.events_queue()._url, AttributeNames=["All"]
    )["Attributes"]
    assert waiting["ApproximateNumberOfMessagesDelayed"] == "1"


BAD: dict[str, tuple[Any, tuple[str, ...]]] = {
    "nothing named": (
        {"owner": None, "status": None, "from": None, "to": None, "eventType": None},
        ("/eventType", "/status", "/from", "/to", "/owner"),
    ),
    "nothing": ({}, ("",)),
    "a list": ([], ("",)),
    "null": (None, ("",)),
    "only how": ({"rate": 5, "dryRun": True}, ("",)),
    "unknown": ({**EVERYTHING, "statuses": []}, ("/statuses",)),
    "type null": ({"eventType": None}, ("/eventType",)),
    "type object": ({"eventType": {}}, ("/eventType",)),
    "type too long": ({"eventType": "x" * 1000}, ("/eventType",)),
    "status": ({"status": "DONE"}, ("/status",)),
    "status open": ({"status": "ENQUEUED"}, ("/status",)),
    "status list": ({"status": ["FAILED"]}, ("/status",)),
    "from": ({"from": "yesterday"}, ("/from",)),
    "from number": ({"from": 5}, ("/from",)),
    "from list": ({"from": [1]}, ("/from",)),
    "from before time": ({"from": "0001-01-01T00:00:00+23:59"}, ("/from",)),
    "from after to": ({"from": "2026-01-02", "to": "2026-01-01"}, ("/from",)),
    "from is to": ({"from": "2026-01-01", "to": "2026-01-01"}, ("/from",)),
    "from to come": ({"from": "9999-01-01"}, ("/from",)),
    "to": ({"to": {}}, ("/to",)),
    "rate 0": ({**EVERYTHING, "rate": 0}, ("/rate",)),
    "rate 501": ({**EVERYTHING, "rate": 501}, ("/rate",)),
    "rate true": ({**EVERYTHING, "rate": True}, ("/rate",)),
    "rate text": ({**EVERYTHING, "rate": "5"}, ("/rate",)),
    "rate fraction": ({**EVERYTHING, "rate": 1.5}, ("/rate",)),
    "rate huge": ({**EVERYTHING, "rate": 10**300}, ("/rate",)),
    "dry run": ({**EVERYTHING, "dryRun": "yes"}, ("/dryRun",)),
    "dry run null": ({**EVERYTHING, "dryRun": None}, ("/dryRun",)),
    "replays": ({**EVERYTHING, "includeReplays": 1}, ("/includeReplays",)),
    "owner": ({**EVERYTHING, "owner": "a b"}, ("/owner",)),
    "owner with a shard": ({**EVERYTHING, "owner": "alice#0"}, ("/owner",)),
    "owner list": ({**EVERYTHING, "owner": ["alice"]}, ("/owner",)),
    "many": ({"status": 1, "rate": 0, "to": 2}, ("/status", "/to", "/rate")),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_order_is_refused_by_field(platform: Platform, name: str) -> None:
    body, pointers = BAD[name]
    sender = platform.sender(*SCOPES)
    response = sender.post("/replays", json.dumps(body).encode())
    check_problem(response, 400, "invalid-request", *pointers)
    assert platform.receive() == []


def test_no_json_and_a_bad_key_are_refused(platform: Platform) -> None:
    sender = platform.sender(*SCOPES)
    check_problem(sender.post("/replays", b'{"from":1,"from":2}'), 400, "invalid-json", "")
    response = sender.post("/replays", EVERYTHING, Idempotency_Key="k" * 1000)
    check_problem(response, 400, "invalid-request", "/header/Idempotency-Key")
    response = sender.post("/replays?dryRun=true", EVERYTHING)
    check_problem(response, 400, "invalid-request", "/query/dryRun")


@pytest.mark.parametrize("replay_id", ["x", "..", "%00", make_id(), "EVENT"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_what_is_no_replay_is_not_found(platform: Platform, replay_id: str, method: str) -> None:
    sender = platform.sender("admin")
    check_problem(sender.call(method, f"/replays/{replay_id}"), 404, "not-found")
    event_id = sender.event_id({"eventType": "demo"})
    check_problem(sender.call(method, f"/replays/{event_id}"), 404, "not-found")


def test_the_window_ends_now_at_the_latest(platform: Platform) -> None:
    alice = platform.sender(*SCOPES)
    replay = alice.post("/replays", {"to": "9999-12-31"}).json_body
    assert replay["filter"]["to"] <= clock.to_text(clock.utc_now())
    assert NAMES.queue in wiring.events_queue()._url
