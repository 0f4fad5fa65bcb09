"""The count at the end: what was lost, what was doubled, and what the faults came to."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from chalicelib.events.keys import parse_bronze_key
from tests.chaos.cargo import ORDER, Thing, Wish
from tests.chaos.clients import Book
from tests.chaos.repeats import Repeats
from tests.chaos.stores import Holdings, sha256

_ENDS = ("PROCESSED", "FAILED", "REJECTED")
_REPORTS = "reports/"
"""What `reconcile` writes beside bronze."""


@dataclass
class Verdict:
    """What was found. The run has failed unless the first four are empty."""

    lost: list[str] = field(default_factory=list)
    """Acknowledged and not at its end, or half of it missing; also what nobody was told was kept,
    but was, and only half."""
    doubled: list[str] = field(default_factory=list)
    """An effect that happened more than once."""
    changed: list[str] = field(default_factory=list)
    """Content that is not what was sent."""
    wrong: list[str] = field(default_factory=list)
    """Whatever else should not be."""
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, doubled or changed."""
        return not (self.lost or self.doubled or self.changed or self.wrong)


def judge(book: Book, held: Holdings, alerts: list[str], repeats: Repeats) -> Verdict:
    """Compare what was sent and answered with what the stores hold; `alerts` are the words of what
    was put on the queue of alerts, `repeats` what explains an effect that came twice."""
    verdict = Verdict(wrong=list(book.wrong))
    things = {thing.sha256: thing for thing in book.things}
    known: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in held.records.values():
        if not record.get("replayOf"):
            known[record["payloadSha256"]].append(record)
    for thing in book.things:
        _judge_thing(thing, known[thing.sha256], held, verdict)
    for record in held.records.values():
        thing_of = things.get(record["payloadSha256"])
        if thing_of is None:
            verdict.wrong.append(f"{record['eventId']}: a payload that nobody sent")
        else:
            _judge_record(record, thing_of, held, verdict)
    for event_id, times in held.told.items():
        if repeats.of_event(event_id, times):
            seen = repeats.witness.seen_of(event_id)
            verdict.doubled.append(
                f"{event_id}: the bus was told {times} times without cause {seen}"
            )
    _judge_leftovers(things, held, verdict)
    _judge_posts(book, alerts, repeats, verdict)
    return verdict


def _judge_thing(
    thing: Thing, records: list[dict[str, Any]], held: Holdings, verdict: Verdict
) -> None:
    """What a sender was told is so, and no more than that is there."""
    name = f"{thing.event_type} {thing.sha256[:12]}"
    verdict.counts["acknowledged"] += len(thing.acknowledged)
    verdict.counts["never acknowledged"] += not thing.acknowledged
    verdict.counts["kept, though never acknowledged"] += bool(records) and not thing.acknowledged
    if thing.wish is Wish.CONFLICT:
        if records:
            verdict.doubled.append(f"{name}: kept under a key that was taken")
        return
    for event_id in thing.acknowledged:
        record = held.records.get(event_id)
        if record is None:
            verdict.lost.append(f"{name}: acknowledged as {event_id}, which is not in the ledger")
        elif (record["status"] == "REJECTED") != (thing.wish is Wish.REFUSED):
            verdict.wrong.append(f"{name}: {thing.wish} ended {record['status']}")
    # Without a key a repeat is another event, and there are no more of those than tries.
    most = 1 if _is_one(thing) else thing.tries
    if len(records) > most or (_is_one(thing) and len(thing.acknowledged) > 1):
        ids = sorted(record["eventId"] for record in records)
        verdict.doubled.append(f"{name}: {len(records)} events of {most}: {ids}")


def _judge_record(record: dict[str, Any], thing: Thing, held: Holdings, verdict: Verdict) -> None:
    """An event is at its end, whole, and its effects happened once."""
    event_id, status = record["eventId"], record["status"]
    verdict.counts[status] += 1
    if status == "FAILED":
        verdict.counts[f"FAILED for {record['lastError']['code']}"] += 1
    if thing.event_type == ORDER and thing.wish is Wish.KEPT and status == "FAILED":
        verdict.wrong.append(f"{event_id}: {status} after the repair and the redrive")
    if status not in _ENDS:
        verdict.lost.append(f"{event_id}: {record['eventType']} is {status} for ever")
    payload = held.bronze_of(record)
    if payload is None:
        verdict.lost.append(f"{event_id}: {status} without a payload in bronze")
    elif payload != thing.payload or sha256(payload) != record["payloadSha256"]:
        verdict.changed.append(f"{event_id}: bronze is not what was sent")
    documents = held.silver.get(event_id, [])
    verdict.counts["silver documents"] += len(documents)
    told = held.told[event_id]
    if status != "PROCESSED":
        if documents or told:
            verdict.wrong.append(
                f"{event_id}: {record['eventType']} is {status}, and there are {len(documents)}"
                f" documents and {told} entries on the bus: {record['timeline']}"
            )
        return
    _judge_processed(record, thing, held, verdict)


def _judge_processed(
    record: dict[str, Any], thing: Thing, held: Holdings, verdict: Verdict
) -> None:
    """One silver document with what was sent, and the bus was told."""
    event_id = record["eventId"]
    documents, told = held.silver.get(event_id, []), held.told[event_id]
    verdict.counts["events on the bus"] += bool(told)
    verdict.counts["bus repeats"] += max(0, told - 1)
    if len(documents) > 1:
        verdict.doubled.append(f"{event_id}: {len(documents)} silver documents")
    if not documents:
        verdict.lost.append(f"{event_id}: PROCESSED without a silver document")
    if not told:
        verdict.lost.append(f"{event_id}: PROCESSED and the bus was not told")
    for key, document in documents:
        if document["data"] != thing.data or document["bronze"]["sha256"] != thing.sha256:
            verdict.changed.append(f"{event_id}: silver is not what was sent")
        if key != record["silverKey"]:
            verdict.wrong.append(f"{event_id}: silver is at {key}, not {record['silverKey']}")


def _judge_leftovers(things: dict[str, Thing], held: Holdings, verdict: Verdict) -> None:
    """Nothing lies in a store that no record stands for."""
    verdict.doubled += [f"{key}: written more than once" for key in held.rewritten]
    verdict.wrong += [f"{unit}: still open" for unit in held.open_units]
    for event_id in held.silver.keys() - held.records.keys():
        verdict.lost.append(f"{event_id}: in silver, and not in the ledger")
    for event_id in held.told.keys() - held.records.keys():
        verdict.lost.append(f"{event_id}: on the bus, and not in the ledger")
    places = {(record["s3Key"], record.get("s3Range")) for record in held.records.values()}
    kept = {record["payloadSha256"] for record in held.records.values()}
    for key, within, payload in held.payloads():
        if (key, within) in places or key.startswith(_REPORTS):
            continue
        thing = things.get(sha256(payload))
        if thing is not None and thing.wish is Wish.CONFLICT:
            verdict.counts["payloads of refused conflicts in bronze"] += 1
        elif (
            thing is not None
            and thing.sha256 in kept
            and (within or _is_one(thing) or _event_of(key) in held.records)
        ):
            # A repeat after the first request, or run of the worker, had died at it: the ledger
            # has one of the two.
            verdict.counts["payloads in bronze twice"] += 1
        else:
            verdict.lost.append(f"{key} {within or ''}: in bronze, and not in the ledger")


def _event_of(key: str) -> str:
    """The id of the event whose own object this is."""
    named = parse_bronze_key(key)
    return named[1] if named else ""


def _is_one(thing: Thing) -> bool:
    """Whether all repeats are one event: what is refused has an id made of its content."""
    return thing.keyed or thing.wish is Wish.REFUSED


def _judge_posts(book: Book, alerts: list[str], repeats: Repeats, verdict: Verdict) -> None:
    """Every alert came to Slack; more than once only where something had gone wrong."""
    wanted = alert_words(book, alerts)
    verdict.counts["alerts"] = len(wanted)
    for word in wanted:
        times = sum(word in post for _, post in repeats.posts)
        verdict.counts["alerts in Slack"] += bool(times)
        verdict.counts["Slack repeats"] += max(0, times - 1)
        if not times:
            verdict.lost.append(f"alert {word}: never came to Slack")
        if repeats.of_alert(word):
            verdict.doubled.append(f"alert {word}: in Slack {times} times without cause")


def alert_words(book: Book, alerts: list[str]) -> list[str]:
    """A word of every alert that is to come to Slack: of those put on their queue, and of the runs
    of a pipeline that failed and came as acknowledged webhooks."""
    runs = [
        json.loads(thing.payload)["workflow_run"]["name"]
        for thing in book.things
        if thing.event_type.startswith("github.") and thing.acknowledged
    ]
    return [*alerts, *runs]
