"""The only place that makes AWS clients, and hands services their collaborators.

Everything is made at first use and kept for the life of the process; `reset()` forgets it (tests).
botocore's own clients are used: boto3 would add its import to every cold start and nothing else.
What only one of the smaller functions needs is imported where it is made, for the same reason.

What bulk replays, dead letters and their redrive work with.

The same rules as in `wiring`, which makes the clients.

What the triggers and the routes beside events work with: uploads, items, subscriptions, alerts.

The same rules as in `wiring`, which makes the clients.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from msgspec.structs import replace

from chalicelib.alerts.groups import AlertStore
from chalicelib.alerts.read import AlertDeps
from chalicelib.alerts.send import SendDeps
from chalicelib.alerts.slack import Slack, make_pool
from chalicelib.aws import clients
from chalicelib.aws.clients import aws
from chalicelib.aws.dynamodb import ShardedIndex
from chalicelib.aws.effects import CheckpointStore, EffectStore
from chalicelib.aws.sns import AlarmTopic, Topic
from chalicelib.aws.sqs import DeadLetterQueue, Delivery, Queue
from chalicelib.aws.ssm import Secrets
from chalicelib.core.config import queue_url, settings
from chalicelib.events import processors
from chalicelib.events.bus import Bus
from chalicelib.events.finish import StepReplay, WorkerDeps, run_processor
from chalicelib.events.ingest import IngestDeps
from chalicelib.events.ingest_batch import BatchDeps
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventIndex, EventStore, EventWindow
from chalicelib.events.message import ReplayMessage
from chalicelib.events.read import ReadDeps
from chalicelib.items.manage import ItemDeps
from chalicelib.items.notify import NotifyDeps
from chalicelib.items.store import ItemBodies, ItemStore
from chalicelib.items.subscriptions import SubscriptionDeps, SubscriptionStore
from chalicelib.recovery.compare import CompareDeps
from chalicelib.recovery.dead_letters import DeadLetterDeps
from chalicelib.recovery.model import ALERTS_QUEUE, EVENTS_QUEUE, NOTIFICATIONS_QUEUE, UPLOADS_QUEUE
from chalicelib.recovery.reconcile import ReconcileDeps
from chalicelib.recovery.remake import RemakeDeps, ResultStore
from chalicelib.replays.start import BulkReplayDeps, ReplayDeps
from chalicelib.replays.steps import RestartDeps, StepDeps, take_step
from chalicelib.replays.store import ReplayStore
from chalicelib.schemas.check import SchemaCheck
from chalicelib.schemas.manage import SchemaDeps
from chalicelib.schemas.store import SchemaStore
from chalicelib.tokens.store import TokenStore
from chalicelib.uploads.manage import UploadDeps
from chalicelib.uploads.record import RecordDeps
from chalicelib.uploads.store import UploadBucket, UploadStore
from chalicelib.webhooks.receive import WebhookDeps

if TYPE_CHECKING:
    from chalicelib.events.model import Event


def reset() -> None:
    """Forget every client and setting, so that the next use makes them anew."""
    clients.reset()
    for maker in (settings, schema_check, _secrets, slack):
        maker.cache_clear()


def ledger() -> EventStore:
    """The ledger."""
    config = settings()
    return EventStore(
        aws("dynamodb"), config.events_table, config.bronze_bucket, config.ledger_shards
    )


def index() -> "EventIndex":
    """The ledger's indexes."""
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
    return TokenStore(aws("dynamodb"), settings().tokens_table)


def ingest() -> IngestDeps:
    """What `ingest_events` works with."""
    config = settings()
    return IngestDeps(
        ledger(), lake(), events_queue(), schema_check().check, config.max_event_bytes
    )


def batching() -> "BatchDeps":
    """What `ingest_batches` works with."""
    return BatchDeps(ledger(), lake(), events_queue(), schema_check(), settings().max_event_bytes)


def replaying() -> "ReplayDeps":
    """What `replay_events` works with."""
    return ReplayDeps(reading(), ledger(), lake(), events_queue(), schema_check().check)


def receiving() -> "WebhookDeps":
    """What `receive_webhooks` works with."""
    config = settings()

    def secret_of(source: str) -> str | None:
        return _secrets().get(f"/eventline/{config.stage}/webhooks/{source}/secret")

    return WebhookDeps(ingest(), secret_of, config.webhook_owner)


def schema_store() -> "SchemaStore":
    """The schemas of event types."""
    return SchemaStore(aws("dynamodb"), settings().schemas_table)


def managing_schemas() -> "SchemaDeps":
    """What `manage_schemas` works with."""
    return SchemaDeps(schema_store(), schema_check().forget)


@cache
def schema_check() -> "SchemaCheck":
    """The check at ingest; what it has read and compiled is used for a while by the process."""
    return SchemaCheck(schema_store(), settings().schema_cache)


def reading() -> "ReadDeps":
    """What `read_events` works with."""
    return ReadDeps(ledger(), index(), lake())


def processing_alone(remaining: Callable[[], float]) -> "WorkerDeps":
    """What `process_events` works with; `remaining` gives the seconds left."""
    config = settings()
    return WorkerDeps(
        ledger=ledger(),
        lake=lake(),
        queue=events_queue(),
        bus=Bus(aws("events"), config.event_bus),
        dead_letters=queue(config.events_dlq_arn),
        alerts=alert_queue(),
        processors=processors.PROCESSORS,
        max_attempts=config.max_attempts,
        retry_base=config.retry_base,
        remaining=remaining,
        webhook_owner=config.webhook_owner,
    )


def reconciling(
    run_id: str, remaining: Callable[[], float], stuck_after: int | None = None
) -> "ReconcileDeps":
    """What `reconcile` works with; an operator's `stuck_after` overrides the stage's setting and
    asks for a full sweep."""
    config = settings()
    full_sweep_every = timedelta(minutes=config.full_sweep_minutes)
    return ReconcileDeps(
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


def _comparing(remaining: Callable[[], float]) -> "CompareDeps":
    """What `compare_stores` works with."""
    config = settings()

    def make_document(
        event: "Event", payload: bytes, attempt: int, seconds: float, processed_at: str
    ) -> str:
        deps = processing_alone(remaining)
        return run_processor(event, payload, attempt, seconds, processed_at, deps).document

    results = ResultStore(aws("dynamodb"), config.events_table)
    return CompareDeps(
        ledger=ledger(),
        index=index(),
        lake=lake(),
        checkpoints=CheckpointStore(aws("dynamodb"), config.events_table),
        remaking=RemakeDeps(lake(), results, make_document),
        stage=config.stage,
        remaining=remaining,
    )


@cache
def _secrets() -> "Secrets":
    """Secrets; once read, they are used for a while by the whole process."""
    return Secrets(aws("ssm"), settings().secret_cache)


@cache
def slack() -> "Slack":
    """Slack, with the connections that the process keeps."""
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


def replaying_many() -> "BulkReplayDeps":
    """What `replay_many` works with."""
    return BulkReplayDeps(
        replays=_replays(),
        ledger=ledger(),
        window=_window(),
        queue=events_queue(),
        shards=settings().ledger_shards,
    )


def processing(remaining: Callable[[], float]) -> "WorkerDeps":
    """What `process_events` works with; `remaining` gives the seconds left."""
    return replace(processing_alone(remaining), step_replay=stepping(remaining))


def stepping(remaining: Callable[[], float]) -> "StepReplay":
    """Takes steps of bulk replays; `remaining` gives the seconds left."""

    def step_replay(message: ReplayMessage, delivery: Delivery, seconds: float, /) -> int | None:
        # Most batches bring no step, so nothing of this is made before one does.
        config = settings()
        deps = StepDeps(
            replays=_replays(),
            ledger=ledger(),
            window=_window(),
            lake=lake(),
            queue=events_queue(),
            check_schema=schema_check().check,
            backlog_limit=config.backlog_limit,
            max_attempts=config.max_attempts,
            remaining=remaining,
        )
        return take_step(message, delivery, seconds, deps)

    return step_replay


def restarting(stuck_after: int | None = None) -> "RestartDeps":
    """What `restart_replays` works with; an operator's `stuck_after` overrides the stage's."""
    config = settings()
    return RestartDeps(
        replays=_replays(),
        queue=events_queue(),
        stuck_after=config.stuck_after if stuck_after is None else stuck_after,
        max_restarts=config.max_requeues,
        backlog_limit=config.backlog_limit,
    )


def recovering() -> "DeadLetterDeps":
    """What `dead_letters` works with."""
    config = settings()
    arns = {
        EVENTS_QUEUE: config.events_dlq_arn,
        ALERTS_QUEUE: config.ci_dlq_arn,
        UPLOADS_QUEUE: config.uploads_dlq_arn,
        NOTIFICATIONS_QUEUE: config.notifications_dlq_arn,
    }
    return DeadLetterDeps(
        ledger=ledger(),
        index=index(),
        queue=events_queue(),
        dead={name: DeadLetterQueue(aws("sqs"), queue_url(arn)) for name, arn in arns.items()},
        sources={
            EVENTS_QUEUE: events_queue(),
            ALERTS_QUEUE: alert_queue(),
        },
    )


def _replays() -> "ReplayStore":
    return ReplayStore(aws("dynamodb"), settings().events_table)


def _window() -> "EventWindow":
    return EventWindow(aws("dynamodb"), settings().events_table)


def uploading() -> "UploadDeps":
    """What `manage_uploads` works with."""
    config = settings()
    return UploadDeps(
        bucket=UploadBucket(aws("s3"), config.uploads_bucket),
        index=ShardedIndex(aws("dynamodb"), config.uploads_table, config.ledger_shards),
        url_seconds=config.upload_url_seconds,
    )


def recording() -> "RecordDeps":
    """What `record_uploads` works with."""
    config = settings()
    return RecordDeps(
        store=UploadStore(aws("dynamodb"), config.uploads_table, config.ledger_shards),
        dead_letters=queue(config.uploads_dlq_arn),
        ttl_seconds=config.upload_ttl,
    )


def managing() -> "ItemDeps":
    """What `manage_items` works with."""
    config = settings()
    return ItemDeps(
        items=ItemStore(aws("dynamodb"), config.items_table, config.ledger_shards),
        bodies=ItemBodies(aws("s3"), config.bronze_bucket),
        index=ShardedIndex(aws("dynamodb"), config.items_table, config.ledger_shards),
        check_schema=schema_check().check,
    )


def subscribing() -> "SubscriptionDeps":
    """What `manage_subscriptions` works with."""
    config = settings()
    return SubscriptionDeps(
        subscriptions=SubscriptionStore(aws("dynamodb"), config.items_table, config.ledger_shards),
        index=ShardedIndex(aws("dynamodb"), config.items_table, config.ledger_shards),
        topic=Topic(aws("sns"), config.owner_topic_arn),
    )


def notifying(remaining: Callable[[], float]) -> "NotifyDeps":
    """What `notify_owners` works with; `remaining` gives the seconds left."""
    config = settings()
    return NotifyDeps(
        effects=EffectStore(aws("dynamodb"), config.events_table),
        topic=Topic(aws("sns"), config.owner_topic_arn),
        dead_letters=queue(config.notifications_dlq_arn),
        remaining=remaining,
    )


def sending(remaining: Callable[[], float]) -> "SendDeps":
    """What `send_alerts` works with; `remaining` gives the seconds left."""
    config = settings()
    return SendDeps(
        groups=AlertStore(aws("dynamodb"), config.alerts_table, config.ledger_shards),
        slack=slack(),
        queue=alert_queue(),
        dead_letters=queue(config.ci_dlq_arn),
        alarm_topic=AlarmTopic(aws("sns"), config.alert_topic_arn),
        window=config.alert_window,
        max_attempts=config.alert_max_attempts,
        retry_max=config.alert_retry_max,
        remaining=remaining,
    )


def reading_alerts() -> "AlertDeps":
    """What `read_alerts` works with."""
    config = settings()
    return AlertDeps(
        groups=AlertStore(aws("dynamodb"), config.alerts_table, config.ledger_shards),
        index=ShardedIndex(aws("dynamodb"), config.alerts_table, config.ledger_shards),
    )
