"""The only place that makes AWS clients, and hands services their collaborators.

Everything is made at first use and kept for the life of the process; `reset()` forgets it (tests).
botocore's own clients are used: boto3 would add its import to every cold start and nothing else.
What only one of the smaller functions needs is imported where it is made, for the same reason.
"""

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from chalicelib import aws_calls
from chalicelib import settings as settings_module
from chalicelib.adapters.event_store import EventStore
from chalicelib.adapters.lake import Lake
from chalicelib.adapters.queue import Queue
from chalicelib.services.ingest_events import Ingest
from chalicelib.settings import Settings, queue_url

if TYPE_CHECKING:
    from chalicelib.adapters.event_index import EventIndex
    from chalicelib.adapters.schema_store import SchemaStore
    from chalicelib.adapters.secrets import Secrets
    from chalicelib.adapters.slack import Slack
    from chalicelib.adapters.token_store import TokenStore
    from chalicelib.domain.events import Event
    from chalicelib.services.check_schemas import SchemaCheck
    from chalicelib.services.compare_stores import Comparing
    from chalicelib.services.end_events import Processing
    from chalicelib.services.ingest_batches import Batching
    from chalicelib.services.manage_schemas import ManagingSchemas
    from chalicelib.services.read_events import Reading
    from chalicelib.services.receive_webhooks import Receiving
    from chalicelib.services.reconcile import Reconciling
    from chalicelib.services.replay_events import Replaying


_lock = threading.RLock()


@cache
def settings() -> Settings:
    """The settings of this process."""
    return settings_module.load(os.environ)


def reset() -> None:
    """Forget every client and setting, so that the next use makes them anew."""
    for maker in (settings, schema_check, _session, _client, _secrets, slack):
        maker.cache_clear()


def ledger() -> EventStore:
    """The ledger."""
    config = settings()
    return EventStore(
        aws("dynamodb"), config.events_table, config.bronze_bucket, config.ledger_shards
    )


def index() -> "EventIndex":
    """The ledger's indexes."""
    from chalicelib.adapters.event_index import EventIndex

    return EventIndex(aws("dynamodb"), settings().events_table, settings().ledger_shards)


def lake() -> Lake:
    """Bronze and silver."""
    return Lake(aws("s3"), settings().bronze_bucket, settings().silver_bucket)


def events_queue() -> Queue:
    """The worker's queue."""
    return queue(settings().events_queue_arn)


def alert_queue() -> Queue:
    """The queue of everything that is to become an alert."""
    return queue(settings().ci_queue_arn)


def tokens() -> "TokenStore":
    """The token store."""
    from chalicelib.adapters.token_store import TokenStore

    return TokenStore(aws("dynamodb"), settings().tokens_table)


def ingest() -> Ingest:
    """What `ingest_events` works with."""
    config = settings()
    return Ingest(ledger(), lake(), events_queue(), schema_check().check, config.max_event_bytes)


def batching() -> "Batching":
    """What `ingest_batches` works with."""
    from chalicelib.services.ingest_batches import Batching

    return Batching(ledger(), lake(), events_queue(), schema_check(), settings().max_event_bytes)


def replaying() -> "Replaying":
    """What `replay_events` works with."""
    from chalicelib.services.replay_events import Replaying

    return Replaying(reading(), ledger(), lake(), events_queue(), schema_check().check)


def receiving() -> "Receiving":
    """What `receive_webhooks` works with."""
    from chalicelib.services.receive_webhooks import Receiving

    config = settings()

    def secret_of(source: str) -> str | None:
        return _secrets().get(f"/eventline/{config.stage}/webhooks/{source}/secret")

    return Receiving(ingest(), secret_of, config.webhook_owner)


def schema_store() -> "SchemaStore":
    """The schemas of event types."""
    from chalicelib.adapters.schema_store import SchemaStore

    return SchemaStore(aws("dynamodb"), settings().schemas_table)


def managing_schemas() -> "ManagingSchemas":
    """What `manage_schemas` works with."""
    from chalicelib.services.manage_schemas import ManagingSchemas

    return ManagingSchemas(schema_store(), schema_check().forget)


@cache
def schema_check() -> "SchemaCheck":
    """The check at ingest; what it has read and compiled is used for a while by the process."""
    from chalicelib.services.check_schemas import SchemaCheck

    return SchemaCheck(schema_store(), settings().schema_cache)


def reading() -> "Reading":
    """What `read_events` works with."""
    from chalicelib.services.read_events import Reading

    return Reading(ledger(), index(), lake())


def processing(remaining: Callable[[], float]) -> "Processing":
    """What `process_events` works with; `remaining` gives the seconds left."""
    from chalicelib.adapters.bus import Bus
    from chalicelib.services.end_events import Processing
    from chalicelib.services.processors import PROCESSORS

    config = settings()
    return Processing(
        ledger=ledger(),
        lake=lake(),
        queue=events_queue(),
        bus=Bus(aws("events"), config.event_bus),
        dead_letters=queue(config.events_dlq_arn),
        alerts=alert_queue(),
        processors=PROCESSORS,
        max_attempts=config.max_attempts,
        retry_base=config.retry_base,
        remaining=remaining,
        webhook_owner=config.webhook_owner,
    )


def reconciling(
    run_id: str, remaining: Callable[[], float], stuck_after: int | None = None
) -> "Reconciling":
    """What `reconcile` works with; an operator's `stuck_after` overrides the stage's setting and
    asks for a full sweep."""
    from chalicelib.adapters.checkpoint_store import CheckpointStore
    from chalicelib.services.reconcile import Reconciling

    config = settings()
    full_sweep_every = timedelta(minutes=config.full_sweep_minutes)
    return Reconciling(
        ledger=ledger(),
        index=index(),
        lake=lake(),
        queue=events_queue(),
        checkpoints=CheckpointStore(aws("dynamodb"), config.events_table),
        alerts=alert_queue(),
        stuck_after=config.stuck_after if stuck_after is None else stuck_after,
        max_requeues=config.max_requeues,
        backlog_limit=config.backlog_limit,
        full_sweep_every=full_sweep_every if stuck_after is None else None,
        run_id=run_id,
        remaining=remaining,
        comparing=_comparing(remaining),
    )


def _comparing(remaining: Callable[[], float]) -> "Comparing":
    """What `compare_stores` works with."""
    from chalicelib.adapters.checkpoint_store import CheckpointStore
    from chalicelib.adapters.result_store import ResultStore
    from chalicelib.services.compare_stores import Comparing
    from chalicelib.services.remake_silver import Remaking
    from chalicelib.services.run_processors import run_processor

    config = settings()

    def make_document(
        event: "Event", payload: bytes, attempt: int, seconds: float, processed_at: str
    ) -> str:
        using = processing(remaining)
        return run_processor(event, payload, attempt, seconds, processed_at, using).document

    results = ResultStore(aws("dynamodb"), config.events_table)
    return Comparing(
        ledger=ledger(),
        index=index(),
        lake=lake(),
        checkpoints=CheckpointStore(aws("dynamodb"), config.events_table),
        remaking=Remaking(lake(), results, make_document),
        stage=config.stage,
        remaining=remaining,
    )


@cache
def _secrets() -> "Secrets":
    """Secrets; once read, they are used for a while by the whole process."""
    from chalicelib.adapters.secrets import Secrets

    return Secrets(aws("ssm"), settings().secret_cache)


@cache
def slack() -> "Slack":
    """Slack, with the connections that the process keeps."""
    from chalicelib.adapters.slack import Slack, make_pool

    config = settings()
    secrets = _secrets()
    return Slack(
        make_pool(),
        lambda max_age: secrets.get(config.slack_parameter, max_age),
        loopback=config.stage == "local",
    )


def queue(arn: str) -> Queue:
    """The queue of an ARN."""
    return Queue(aws("sqs"), queue_url(arn))


def aws(service: str) -> Any:
    """The client of a service."""
    with _lock:
        return _client(service)


@cache
def _session() -> Any:
    import botocore.session

    return botocore.session.Session()


@cache
def _client(service: str) -> Any:
    from botocore.config import Config

    # A signed form must be of Signature Version 4 and name the bucket's own region.
    special = {"signature_version": "s3v4", "s3": {"addressing_style": "virtual"}}
    client = _session().create_client(
        service,
        region_name=settings().region,
        config=Config(
            connect_timeout=aws_calls.CONNECT_SECONDS,
            read_timeout=aws_calls.READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": aws_calls.ATTEMPTS},
            tcp_keepalive=True,
            max_pool_connections=25,
            **(special if service == "s3" else {}),
        ),
    )
    aws_calls.watch(client)
    return client
