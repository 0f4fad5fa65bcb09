"""The stage's EventBridge bus, where others learn that an event was processed.

Source: Amazon EventBridge API Reference, "PutEvents": an answer of 200 may hold failed entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SOURCE = "eventline"
_BATCH_LIMIT = 10


@dataclass(frozen=True)
class Entry:
    """What is told: `detail` is JSON text, `detail_type` at most 128 characters."""

    detail_type: str
    detail: str


class Bus:
    """One event bus."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = name

    def put(self, entries: Sequence[Entry]) -> list[str | None]:
        """Put entries on the bus; one call for ten.

        Returns, for each in order, None when it was taken, else EventBridge's error code.
        """
        codes: list[str | None] = []
        for start in range(0, len(entries), _BATCH_LIMIT):
            answer = self._client.put_events(
                Entries=[
                    {
                        "EventBusName": self.name,
                        "Source": SOURCE,
                        "DetailType": entry.detail_type,
                        "Detail": entry.detail,
                    }
                    for entry in entries[start : start + _BATCH_LIMIT]
                ]
            )
            codes += [result.get("ErrorCode") for result in answer["Entries"]]
        return codes
