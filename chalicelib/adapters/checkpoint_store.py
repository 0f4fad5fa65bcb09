"""Where a long job stopped: one small item a job, in the ledger's table, `pk` = `CHECKPOINT#<job>`.

It has no index attributes, so lists of events never see it.
"""

from typing import Any


class CheckpointStore:
    """Reads and writes checkpoints; a checkpoint is a text, empty when there is none."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def get(self, job: str) -> str:
        """Where the job stopped; one call."""
        answer = self._client.get_item(TableName=self._table, Key=_key(job), ConsistentRead=True)
        position: str = answer.get("Item", {}).get("position", {}).get("S", "")
        return position

    def put(self, job: str, position: str) -> None:
        """Remember where the job stopped; one call."""
        item = {**_key(job), "position": {"S": position}}
        self._client.put_item(TableName=self._table, Item=item)


def _key(job: str) -> dict[str, Any]:
    return {"pk": {"S": f"CHECKPOINT#{job}"}}
