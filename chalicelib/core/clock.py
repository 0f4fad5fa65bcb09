"""Times as the ledger writes them: UTC, ISO 8601, milliseconds, `Z`. They sort as text."""

from datetime import UTC, datetime, timedelta

MILLISECOND = timedelta(milliseconds=1)


def utc_now() -> datetime:
    """The time now; the only clock of the application, passed to everything that needs one."""
    return datetime.now(UTC)


def to_text(moment: datetime) -> str:
    """`2026-01-31T23:59:59.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_text(text: str) -> datetime:
    """Read an ISO 8601 date or time; one without an offset is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def to_millis(moment: datetime) -> int:
    """Whole milliseconds since 1970."""
    return (moment - datetime.fromtimestamp(0, UTC)) // MILLISECOND


def from_millis(millis: int) -> datetime:
    """The moment `millis` milliseconds after 1970, as SQS gives its times."""
    return datetime.fromtimestamp(0, UTC) + millis * MILLISECOND
