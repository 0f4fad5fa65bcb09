"""An EventBridge bus in memory."""

from collections.abc import Sequence

from chalicelib.events.bus import Bus, BusEntry
from tests.support.fake_stores import FakeAws


class FakeBus(Bus):
    """Takes entries; those of a detail type in `refused` it refuses."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws
        self.name = "bus"
        self.entries: list[BusEntry] = []
        self.refused: set[str] = set()

    def _put(self, entries: Sequence[BusEntry]) -> list[str | None]:
        def effect() -> list[str | None]:
            taken = [entry for entry in entries if entry.detail_type not in self.refused]
            self.entries += taken
            return [None if entry in taken else "ThrottlingException" for entry in entries]

        return self._aws.call("PutEvents", effect)
