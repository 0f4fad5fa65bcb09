"""Which silver document is an event's: what the ledger says of it, changed after the fact.

The worker writes it once, when the event turns PROCESSED (`event_store`); here it is corrected when
a document was lost and made again.
"""

from typing import Any

from botocore.exceptions import ClientError

from chalicelib.adapters.attributes import to_attribute
from chalicelib.domain.events import Record, Status, Step


class ResultStore:
    """Corrects the ledger's entries of PROCESSED events."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def point_at(self, record: Record, silver_key: str, at: str, detail: str) -> bool:
        """Let the ledger say that an event's document is the object `silver_key`, all of it, with a
        step that says why; False if the event has moved on since `record` was read. One call."""
        step = Step(Status.PROCESSED, at, detail)
        is_same = "#status = :processed AND silverKey = :before AND updatedAt = :seen"
        try:
            self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": f"EVENT#{record.event.event_id}"}},
                UpdateExpression=(
                    "SET silverKey = :key, updatedAt = :at,"
                    " #timeline = list_append(#timeline, :steps) REMOVE silverRange"
                ),
                ConditionExpression=is_same,
                ExpressionAttributeNames={"#status": "status", "#timeline": "timeline"},
                ExpressionAttributeValues={
                    ":key": {"S": silver_key},
                    ":at": {"S": at},
                    ":steps": to_attribute([step.to_dict()]),
                    ":processed": {"S": str(Status.PROCESSED)},
                    ":before": {"S": record.silver_key or ""},
                    ":seen": {"S": record.updated_at},
                },
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return False
        return True
