"""The reports that `reconcile` leaves after each comparison of the stores, the newest first."""

import json
import re
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock
from chalicelib.core.errors import NotFoundError
from chalicelib.core.paging import NEWEST
from chalicelib.events.lake import Lake
from chalicelib.recovery.model import report_key

MAX_REPORTS = 10
"""The most that a page has: a report has up to 20 KB."""
_ENDED = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


class ReportDeps(Struct, frozen=True):
    """The collaborators of `list_reports`."""

    lake: Lake
    each: Each = in_threads


def list_reports(
    limit: int, below: str | None, deps: ReportDeps
) -> tuple[list[dict[str, Any]], str | None]:
    """(up to `limit` reports, newest first, of comparisons that ended before `below`; the time to
    go on below or None).

    Calls: one for the days that have reports, one for each day looked at and each thousand reports
    of it, and one a report.
    """
    limit = min(limit, MAX_REPORTS)
    before = report_key(below) if below is not None else NEWEST
    keys: list[str] = []
    for folder in reversed([one for one in deps.lake.report_folders() if one <= before]):
        named = [key for page in deps.lake.bronze_keys(folder) for key, _ in page]
        keys += sorted((key for key in named if key < before), reverse=True)
        if len(keys) > limit:
            break
    read = [report for report in deps.each(_reader(deps.lake), keys[:limit]) if report is not None]
    return read, read[-1]["ended"] if read and len(keys) > limit else None


def read_ended(text: str) -> str | None:
    """The time at which a comparison ended, as a cursor has it; None for another text."""
    if not re.fullmatch(_ENDED, text):
        return None
    try:
        return clock.to_text(clock.from_text(text))
    except ValueError:
        return None


def _reader(lake: Lake) -> Callable[[str], dict[str, Any] | None]:
    def read(key: str) -> dict[str, Any] | None:
        try:
            report: dict[str, Any] = json.loads(lake.get_bronze(key))
        except NotFoundError:  # It has reached the end of its days since it was listed.
            return None
        return report

    return read
