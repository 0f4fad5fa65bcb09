"""What fails, in groups: FAILED and REJECTED events by type, class and code of the error."""

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from chalicelib.core.paging import just_below
from chalicelib.events.model import Listing, Record, Status
from chalicelib.events.read import ReadDeps

FAILURES = (Status.FAILED, Status.REJECTED)
LOOKED_AT = 500
"""Events of each status that one answer is made of."""


class Group(Struct, rename={"kind": "class", "event_type": "eventType", "event_id": "eventId"}):
    """Equal failures: how many, when the first and the last of them failed, and the last one."""

    event_type: str
    status: Status
    kind: str
    code: str
    count: int
    first: str
    last: str
    event_id: str

    def to_dict(self) -> dict[str, object]:
        """The group as the API shows it."""
        return dict(to_builtins(self))


def group_failures(
    listing: Listing, resume_below: str | None, deps: ReadDeps
) -> tuple[list[Group], str | None]:
    """(the groups of the newest failures of a listing below a list key, those first whose last
    event failed last; the list key to go on below, None when all were looked at).

    Of several answers, the counts of equal groups add up. Calls: those of `EventIndex.newest` for
    one status or both, and one for a hundred events, of which there are up to twice `LOOKED_AT`.
    """
    if resume_below is not None:
        listing = replace(listing, end=min(listing.end, just_below(resume_below)))
    if listing.start > listing.end:
        return [], None
    wanted = FAILURES if listing.status is None else (listing.status,)
    pages = [
        deps.index.newest(replace(listing, status=status, limit=LOOKED_AT)) for status in wanted
    ]
    stops = [page.resume_below for page in pages if page.resume_below is not None]
    horizon = max(stops, default=None)
    found = {
        entry.event_id
        for page in pages
        for entry in page.entries
        if horizon is None or entry.list_key >= horizon
    }
    groups: dict[tuple[str, ...], Group] = {}
    for record in deps.ledger.get_many(sorted(found)).values():
        if record.status in wanted:
            _count(record, groups)
    return sorted(groups.values(), key=lambda group: group.last, reverse=True), horizon


def _count(record: Record, groups: dict[tuple[str, ...], Group]) -> None:
    error = record.last_error or {}
    kind, code = str(error.get("class", "unknown")), str(error.get("code", "unknown"))
    event, at = record.event, record.updated_at
    key = (event.event_type, record.status, kind, code)
    group = groups.get(key)
    if group is None:
        groups[key] = Group(event.event_type, record.status, kind, code, 1, at, at, event.event_id)
        return
    group.count += 1
    group.first = min(group.first, at)
    if at >= group.last:
        group.last, group.event_id = at, event.event_id
