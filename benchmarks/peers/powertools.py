"""The plain design with Powertools for AWS Lambda: idempotent ingest and worker, partial batches.

A request with an `Idempotency-Key` is answered once, and so is each event by the worker. A request
without a key has nothing to be recognized by, so the utility lets it through. Source: Powertools
for AWS Lambda (Python), "Idempotency" and "Batch Processing".
"""

import json
import os
from typing import Any

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent,
    idempotent_function,
)
from aws_lambda_powertools.utilities.typing import LambdaContext

from benchmarks.peers import plain

# A layer takes the first configuration that it is used with, so each has its own.
requests = DynamoDBPersistenceLayer(table_name=os.environ["IDEMPOTENCY_TABLE"])
events = DynamoDBPersistenceLayer(table_name=os.environ["IDEMPOTENCY_TABLE"])
by_key = IdempotencyConfig(
    event_key_jmespath='headers."idempotency-key"', payload_validation_jmespath="body"
)
by_event = IdempotencyConfig(event_key_jmespath="eventId")
processor = BatchProcessor(event_type=EventType.SQS)


@idempotent(persistence_store=requests, config=by_key)
def ingest(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """As `plain.ingest`; with a key two calls more, for a repeat one alone."""
    return plain.ingest(event, context)


def work(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """As `plain.work`, two calls more a record; what failed is delivered again, alone."""
    by_event.register_lambda_context(context)
    failed = process_partial_response(
        event=event, record_handler=_take, processor=processor, context=context
    )
    print(json.dumps({"message": "processed", "events": len(event["Records"])}))
    return failed


def _take(record: SQSRecord) -> None:
    process(message=json.loads(record.body))


@idempotent_function(  # type: ignore[untyped-decorator]
    data_keyword_argument="message", persistence_store=events, config=by_event
)
def process(*, message: dict[str, str]) -> None:
    """As `plain.process`, once for each event."""
    plain.process(message)
