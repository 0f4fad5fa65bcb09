"""What a million events cost, and what load they make: counted requests times public prices.

First price tiers, no free tiers. `docs/cost.md` tells the assumptions (`benchmarks.prices`).
"""

import math
from dataclasses import dataclass

from benchmarks.prices import (
    ASSUMED,
    GB,
    HOURS,
    KB,
    LATENCY_MS,
    MILLION,
    Counts,
    alarms,
    counted,
    memory,
    price,
    quotas,
    setting,
)

LEDGER_INDEXES = 2
SINGLE, BATCH = "one event a request", "100 in a batch"
_WRITES = ("PutItem", "UpdateItem")
_ENTRY_WRITES = 2
_LATER = ("PutObject", "UpdateItem", "UpdateItem")
"""Calls of a unit that wait for others of their kind: silver for bronze, the journal's end and the
counters for the ledger."""


@dataclass(frozen=True)
class Way:
    """One way in. Counts are requests an event; `at_once` and `worked_at_once` are the events of
    one API request and of one run of the worker."""

    name: str
    ingest: Counts
    processing: Counts
    at_once: int
    worked_at_once: int
    messages: float
    has_token: bool = True
    indexes: int = LEDGER_INDEXES
    together: bool = False
    """Whether the calls of a request are made at the same time."""

    @property
    def counts(self) -> dict[str, float]:
        """Requests an event from the API to the bus."""
        names = {**self.ingest, **self.processing}
        return {name: self.ingest.get(name, 0) + self.processing.get(name, 0) for name in names}

    @property
    def api_ms(self) -> float:
        """Milliseconds of one request in Lambda."""
        own = ASSUMED["own milliseconds of a request"] + self._own_ms(self.at_once - 1)
        if self.together:
            return own + max(LATENCY_MS[name] for name in self.ingest)
        return own + _waiting_ms(self.ingest, self.at_once)

    @property
    def worker_ms(self) -> float:
        """Milliseconds of one run of the worker."""
        later = sum(LATENCY_MS[name] for name in _LATER) if self.indexes else 0
        waiting = _waiting_ms(self.processing, self.worked_at_once) + later
        return self._own_ms(self.worked_at_once) + waiting

    @staticmethod
    def _own_ms(events: int) -> float:
        return ASSUMED["own milliseconds of an event in a batch or in the worker"] * events


def ways() -> list[Way]:
    """The ways in that the document compares; the last is the plain design without units."""
    count = counted()
    ten, fifty, alone = (count[f"a batch of {n}"] for n in ("10", "50", "one"))
    whole = {
        kind: {**count[f"processing of 100 {kind}"], "GetObject": 0.01}
        for kind in ("without keys", "with keys")
    }
    plain = {"GetObject": 1.0, "PutObject": 1.0, "PutEvents": 1.0, "UpdateItem": 1.0}
    keyed = count["with an idempotency key"]
    series = {"PutItem": 1.0, "PutObject": 1.0, "SendMessage": 1.0}
    return [
        Way(SINGLE, count["without a key"], ten, 1, 10, 1, together=True),
        Way("the same, with a key", keyed, ten, 1, 10, 1),
        Way("a webhook", keyed, ten, 1, 10, 1, has_token=False),
        Way("one a request, 50 a second", count["without a key"], fifty, 1, 50, 1, together=True),
        Way("one a request, one a run", count["without a key"], alone, 1, 1, 1, together=True),
        _batch(BATCH, count["ingest of 100 without keys"], whole["without keys"]),
        _batch("the same, with keys", count["ingest of 100 with keys"], whole["with keys"]),
        Way("plain design", series, plain, 1, 1, 1, indexes=0),
    ]


def way(name: str) -> Way:
    """The way in of that name."""
    return next(one for one in ways() if one.name == name)


def _batch(name: str, ingest: Counts, processing: Counts) -> Way:
    return Way(name, ingest, processing, 100, 100, 0.01)


def dollars(way: Way) -> dict[str, float]:
    """Dollars for a million events, by service."""
    count = way.counts
    sent_and_polled = count["SendMessage"] + 2 / way.worked_at_once
    puts, gets = count.get("PutObject", 0), count.get("GetObject", 0)
    per_event = {
        "API Gateway": price("api-gateway.request") / way.at_once,
        "Lambda": _lambda(way),
        "S3": puts * price("s3.put") + gets * price("s3.get"),
        "DynamoDB": writes(way) * price("dynamodb.write") + reads(way) * price("dynamodb.read"),
        "SQS": sent_and_polled * price("sqs.request"),
        "EventBridge": price("eventbridge.event"),
        "Logs": _log_bytes(way) / GB * price("logs.gb"),
    }
    return {name: value * MILLION for name, value in per_event.items()}


def waiting(size: int) -> tuple[float, float]:
    """Dollars for a million payloads of `size` bytes, compressed, until they are in bronze: in the
    ledger's entry, and in an object of their own from the first.

    An entry is billed by its larger size at both writes (Amazon DynamoDB Developer Guide, "DynamoDB
    read and write operations"); ten payloads share an object afterwards.
    """
    entry = ASSUMED["ledger entry, bytes"]
    units = math.ceil((entry + size) / KB) - math.ceil(entry / KB)
    in_ledger = _ENTRY_WRITES * units * price("dynamodb.write") + price("s3.put") / 10
    return in_ledger * MILLION, (price("s3.put") + price("s3.get")) * MILLION


def kept(way: Way) -> float:
    """Dollars a month for keeping a million events that were sent in that way."""
    payload = ASSUMED["payload bytes"]
    lake = 2 * payload + ASSUMED["silver document, bytes more than its payload"]
    more = ASSUMED["DynamoDB's own, bytes an entry"]
    entry = ASSUMED["ledger entry, bytes"] + more
    entry += way.indexes * (ASSUMED["index entry, bytes"] + more)
    return MILLION / GB * (lake * price("s3.gb-month") + entry * price("dynamodb.gb-month"))


def writes(way: Way) -> float:
    """Write units an event: one for each write of its entry, and one for each index at each write.

    A new status is a delete and a put in `by-status`, and nothing in `by-owner`: two either way. An
    entry is written twice. What else a run writes, its journal and the counters, is shared by its
    events: two units a write, with the journal's index.
    """
    written = sum(way.counts.get(name, 0) for name in _WRITES)
    # Of many at once, each entry counts by itself.
    written += "BatchWriteItem" in way.counts
    shared = max(written - _ENTRY_WRITES, 0)
    # Two of four are the journal's, and in its index; the others are the counters of a run.
    return _ENTRY_WRITES * (1 + way.indexes) + shared * 1.5


def reads(way: Way) -> float:
    """Read units an event: the look for a key that came before, and the authorizer's."""
    return ("BatchGetItem" in way.counts) + _authorizations(way)


def reconciling(way: Way, full_sweep_minutes: int) -> float:
    """Dollars of `reconcile` for a million events, by what ADR 0008 says that it asks of AWS.

    Each full scan lists the window and looks up every event in it, and the comparison after it
    looks twice.
    """
    hours = ASSUMED["hours that an event is in its window"]
    objects = 1 / max(way.at_once, way.worked_at_once)
    sweeps = hours * 60 / full_sweep_minutes
    lists = objects / 1000 * 5 * sweeps
    looks = 3 * sweeps
    # Files of many are read: in bronze by a scan, in silver twice; each is asked for, twice.
    files = objects * 5 * sweeps
    seconds = looks / ASSUMED["objects that `reconcile` looks at in a second"]
    return MILLION * (
        lists * price("s3.put")
        + looks * price("dynamodb.read")
        + files * price("s3.get")
        + seconds * memory("reconcile") * price("lambda.gb-second")
    )


def idle() -> dict[str, float]:
    """Dollars a month of a stage that does nothing."""
    runs = HOURS * 60 / setting("RECONCILE_MINUTES")
    run = counted()["reconcile, nothing to do"]
    seconds = ASSUMED["seconds of `reconcile` with nothing to do"]
    # An index is read for half a unit; the longest wait for a message is 20 seconds.
    each = (
        (run["Query"] / 2 + run["GetItem"]) * price("dynamodb.read")
        + run["GetQueueAttributes"] * price("sqs.request")
        + price("lambda.request")
        + seconds * memory("reconcile") * price("lambda.gb-second")
    )
    receives = 3 * ASSUMED["pollers of an idle queue"] * 3 * 60 * HOURS
    return {
        "`reconcile`": runs * each,
        "Lambda looking for messages, three queues": receives * price("sqs.request"),
        f"{alarms()} alarms": alarms() * price("cloudwatch.alarm"),
        f"{ASSUMED['custom metrics']} custom metrics": ASSUMED["custom metrics"]
        * price("cloudwatch.metric"),
        "the dashboard": price("cloudwatch.dashboard"),
    }


def load(way: Way, rate: float) -> dict[str, float]:
    """What `rate` events a second ask for, by the quota in `prices.json` that bounds it."""
    by_status = rate * 2
    runs = rate / way.worked_at_once
    return {
        "api-gateway.throttle": rate / way.at_once,
        "lambda.concurrency": rate / way.at_once * way.api_ms / 1000 + runs * way.worker_ms / 1000,
        "lambda.sqs-pollers": runs * way.worker_ms / 1000,
        "dynamodb.table-write": rate * 3,
        "dynamodb.partition-write": by_status / setting("LEDGER_SHARDS"),
        "sqs.in-flight": rate * way.messages * way.worker_ms / 1000,
        "s3.prefix-put": rate * way.counts["PutObject"] / 2,
        "eventbridge.put": rate * way.processing["PutEvents"],
    }


def shards(rate: float) -> int:
    """The `LEDGER_SHARDS` that `rate` events a second need: each takes 1,000 write units."""
    needed = math.ceil(rate * 2 / int(quotas()["dynamodb.partition-write"]["value"]))
    return max(needed, setting("LEDGER_SHARDS"))


def _lambda(way: Way) -> float:
    request, second = price("lambda.request"), price("lambda.gb-second")
    api = request + way.api_ms / 1000 * memory("api_handler") * second
    worker = request + way.worker_ms / 1000 * memory("process_events") * second
    known = ASSUMED["own milliseconds of a request"] + LATENCY_MS["GetItem"]
    authorizer = request + known / 1000 * memory("authorize") * second
    asked = _authorizations(way)
    return api / way.at_once + worker / way.worked_at_once + asked * authorizer


def _authorizations(way: Way) -> float:
    share = ASSUMED["share of requests that wake the authorizer"]
    return share / way.at_once if way.has_token else 0.0


def _log_bytes(way: Way) -> float:
    run = ASSUMED["log of an API request or a run of the worker, bytes"]
    runs = (1 / way.at_once) + (1 / way.worked_at_once) + _authorizations(way)
    return runs * run + ASSUMED["log of an event in the worker, bytes"]


def _waiting_ms(counts: Counts, events: int) -> float:
    """How long calls take, those of one kind up to sixteen at a time."""
    parallel = ASSUMED["calls at the same time, of many"]
    return sum(
        math.ceil(round(count * events, 6) / parallel) * LATENCY_MS[name]
        for name, count in counts.items()
    )
