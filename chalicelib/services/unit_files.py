"""The files of a unit: its payloads in bronze, and in silver one file for each type."""

from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib.adapters.lake import Lake
from chalicelib.domain.events import Event
from chalicelib.domain.messages import UnitMessage
from chalicelib.domain.units import Member, pack, part, read_members
from chalicelib.errors import NotFoundError, PermanentError
from chalicelib.services.run_processors import check_payload, missing_payload


class Payloads:
    """The payloads of a message's events; read from bronze, one call, unless it brought them."""

    def __init__(self, message: UnitMessage, lake: Lake) -> None:
        self._lake = lake
        self._key = message.events[0].s3_key
        self._sent = {
            event.event_id: payload
            for event, payload in zip(message.events, message.payloads or (), strict=False)
        }
        self._file: bytes | None = None
        self._is_missing = False

    def load(self) -> None:
        """Read the file if it is needed; an AWS error passes, and concerns them all."""
        if self._sent or self._file is not None or self._is_missing:
            return
        try:
            self._file = self._lake.get_bronze(self._key)
        except NotFoundError:
            self._is_missing = True

    def of(self, event: Event) -> bytes:
        """An event's payload, once they are loaded; `PermanentError` when it is gone or another."""
        if event.event_id in self._sent:
            return self._sent[event.event_id]
        if self._file is None or event.s3_range is None:
            raise missing_payload()
        return check_payload(event, part(self._file, event.s3_range))

    def at_hand(self, event: Event) -> bytes | None:
        """An event's payload if no call is needed for it."""
        if event.event_id not in self._sent and self._file is None:
            return None
        try:
            return self.of(event)
        except PermanentError:
            return None


@dataclass(frozen=True)
class SilverFile:
    """A silver file and who is in it, by event id. `is_ours`: this delivery wrote it."""

    key: str
    members: Mapping[str, Member]
    is_ours: bool


@dataclass(frozen=True)
class Claim:
    """What a delivery would have in a silver file: (event id, document) in order."""

    key: str
    documents: tuple[tuple[str, str], ...]
    processed_at: str


def claim_file(claim: Claim, lake: Lake) -> SilverFile:
    """Write a silver file, one call; if there is one already, read that, one more."""
    body, ranges = pack([document.encode() for _, document in claim.documents])
    if lake.put_silver_unit(claim.key, body):
        ids = [event_id for event_id, _ in claim.documents]
        places = zip(ids, ranges, strict=True)
        members = {id_: Member(claim.processed_at, within) for id_, within in places}
        return SilverFile(claim.key, members, is_ours=True)
    return SilverFile(claim.key, read_members(lake.get_silver(claim.key)), is_ours=False)


def read_file(key: str, lake: Lake) -> SilverFile | None:
    """The silver file at `key`; None if there is none. One call."""
    try:
        return SilverFile(key, read_members(lake.get_silver(key)), is_ours=False)
    except NotFoundError:
        return None
