"""Write the tables of docs/cost.md from counts and prices: `make cost`."""

from benchmarks.cost import (
    BATCH,
    SINGLE,
    Way,
    dollars,
    idle,
    kept,
    load,
    reconciling,
    shards,
    waiting,
    way,
    ways,
)
from benchmarks.prices import (
    ASSUMED,
    HERE,
    HOURS,
    LATENCY_MS,
    MILLION,
    price_list,
    quotas,
    setting,
)
from infra.generated import replaced, table

COPY = HERE.parent / "docs" / "cost.md"
RATES = (10, 1_000, 100_000)
HOURLY = 60
SIZES = (300, 1_000, 2_000, 4_000, 8_000, 16_000)
_PARTS = ("API Gateway", "Lambda", "S3", "DynamoDB", "SQS", "EventBridge", "Logs")


def as_text() -> str:
    """docs/cost.md with its tables as they come out now."""
    parts = {
        "dollars": dollars_table(),
        "waiting": waiting_table(),
        "reconcile": reconcile_table(),
        "idle": idle_table(),
        "load": load_table(),
        "assumed": assumed_table(),
        "prices": prices_table(),
    }
    return replaced(COPY.read_text(encoding="utf-8"), parts)


def dollars_table() -> str:
    """Dollars for a million events, by way in and service."""
    rows = []
    for one in ways():
        by_service = dollars(one)
        total = f"**{sum(by_service.values()):.2f}**"
        cells = [f"{by_service[part]:.2f}" for part in _PARTS]
        rows.append(
            [one.name, f"{sum(one.counts.values()):.2f}", *cells, total, f"{kept(one):.2f}"]
        )
    heading = ["way in", "requests an event", *_PARTS, "total", "kept, a month"]
    return table(heading, rows, "-" + "r" * (len(heading) - 1))


def waiting_table() -> str:
    """What it costs that payloads wait for the worker, by their size."""
    rows = [[f"{size:,}", *(f"{usd:.2f}" for usd in waiting(size))] for size in SIZES]
    return table(["bytes, compressed", "in the ledger", "in bronze first"], rows, "rrr")


def reconcile_table() -> str:
    """What `reconcile` adds to a million events, as the stage is set and with an hourly sweep."""
    now = setting("FULL_SWEEP_MINUTES")
    rows = []
    for one in (way(SINGLE), way(BATCH)):
        as_set, hourly = reconciling(one, now), reconciling(one, HOURLY)
        rows.append([one.name, f"{_total(one):.2f}", f"{as_set:.2f}", f"{hourly:.2f}"])
    heading = ["way in", "without it", f"`FULL_SWEEP_MINUTES` {now}, as set", f"{HOURLY}"]
    return table(heading, rows, "-rrr")


def idle_table() -> str:
    """Dollars a month of a stage that does nothing."""
    costs = idle()
    rows = [[name, f"{value:.2f}"] for name, value in costs.items()]
    return table(
        ["what", "dollars a month"], [*rows, ["total", f"**{sum(costs.values()):.2f}**"]], "-r"
    )


def load_table() -> str:
    """What single events and batches ask of each quota at the three rates."""
    single, batch = way(SINGLE), way(BATCH)
    columns = [(single, rate) for rate in RATES] + [(batch, RATES[-1])]
    loads = [load(one, rate) for one, rate in columns]
    rows = []
    for key in loads[0]:
        quota = quotas()[key]
        cells = [_bounded(asked[key], quota["value"]) for asked in loads]
        name = f"{quota['service']}: {quota['name']}"
        if key == "dynamodb.partition-write":
            name += f" (`by-status`, {setting('LEDGER_SHARDS')} shards)"
        rows.append([name, f"{quota['value']:,}", "yes" if quota["adjustable"] else "no", *cells])
    rows.append(
        [
            "`LEDGER_SHARDS` to set",
            str(setting("LEDGER_SHARDS")),
            "to 256",
            *(str(shards(rate)) for _, rate in columns),
        ]
    )
    paid = [_total(one) * rate * HOURS * 3600 / MILLION for one, rate in columns]
    rows.append(
        [
            "dollars a month, all day long, without `reconcile`",
            "",
            "",
            *(f"{value:,.0f}" for value in paid),
        ]
    )
    told = [f"{rate:,}" for rate in RATES] + [f"{RATES[-1]:,} in batches"]
    return table(["quota", "default", "adjustable", *told], rows, "-r-rrrr")


def assumed_table() -> str:
    """What the figures rest on beside counts and prices."""
    rows = [[name, f"{value:g}"] for name, value in ASSUMED.items()]
    rows += [[f"milliseconds of `{name}`", f"{value:g}"] for name, value in LATENCY_MS.items()]
    return table(["assumed", "value"], rows, "-r")


def prices_table() -> str:
    """The prices with their sources."""
    rows = [
        [entry["unit"], _plain(entry["usd"]), f"{entry['per']:,}", f"<{entry['page']}>"]
        for entry in price_list()["prices"].values()
    ]
    return table(["for each", "dollars", "per", "price page"], rows, "-rr-")


def _plain(dollars_each: float) -> str:
    return f"{dollars_each:.10f}".rstrip("0").rstrip(".")


def _total(one: Way) -> float:
    return sum(dollars(one).values())


def _bounded(asked: float, quota: float) -> str:
    text = f"{asked:,.0f}" if asked >= 10 else f"{asked:.2g}"
    return f"**{text}**" if asked >= quota else text


if __name__ == "__main__":
    COPY.write_text(as_text(), encoding="utf-8")
