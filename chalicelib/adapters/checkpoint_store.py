"""Where a long job stopped: one small item a job, in the ledger's table, `pk` = `CHECKPOINT#<job>`.

It has no index attributes, so lists of events never see it.
"""

from collections.abc import Mapping
from typing import Any

from chalicelib.adapters.attributes import from_item, to_attribute


class CheckpointStore:
    """Reads and writes checkpoints: named texts, none at first."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def get(self, job: str) -> dict[str, str]:
        """Where the job stopped; one call."""
        answer = self._client.get_item(TableName=self._table, Key=_key(job), ConsistentRead=True)
        saved: dict[str, str] = from_item(answer.get("Item", {})).get("state", {})
        return saved

    def put(self, job: str, state: Mapping[str, str]) -> None:
        """Remember where the job stopped; one call."""
        item = {**_key(job), "state": to_attribute(state)}
        self._client.put_item(TableName=self._table, Item=item)


def _key(job: str) -> dict[str, Any]:
    return {"pk": {"S": f"CHECKPOINT#{job}"}}
