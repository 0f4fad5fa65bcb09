"""The composition root: what each capability works with, made from the stage's settings.

One function for each set of collaborators. Clients, secrets, schemas and connections are made at
first use and kept for the life of the process; `reset()` forgets them (tests).
"""

from collections.abc import Callable
from datetime import timedelta
from functools import cache, partial
from typing import Any

from chalicelib.alerts.send import SendDeps
from chalicelib.alerts.slack import LIMITS as SLACK_LIMITS
from chalicelib.alerts.slack import Slack
from chalicelib.alerts.store import AlertStore
from chalicelib.aws import clients
from chalicelib.aws.clients import aws
from chalicelib.aws.dynamodb import ShardedIndex, Table
from chalicelib.aws.effects import CheckpointStore, EffectStore
from chalicelib.aws.sns import AlarmTopic, Topic
from chalicelib.aws.sqs import DeadLetterQueue, Delivery, Queue
from chalicelib.aws.ssm import Secrets
from chalicelib.core import clock
from chalicelib.core.config import queue_url, settings
from chalicelib.destinations import sweep
from chalicelib.destinations.deliver import LIMITS as DELIVERY_LIMITS
from chalicelib.destinations.deliver import DeliverDeps
from chalicelib.destinations.delivery_store import DeliveryStore
from chalicelib.destinations.due import DueDeps
from chalicelib.destinations.handover import HandOverDeps, Routes, hand_over
from chalicelib.destinations.health import Destinations, Health
from chalicelib.destinations.line import LineStore
from chalicelib.destinations.manage import ManageDeps
from chalicelib.destinations.store import DestinationStore
from chalicelib.events import processors
from chalicelib.events.bus import Bus, document_head
from chalicelib.events.finish import WorkerDeps, run_processor
from chalicelib.events.ingest import IngestDeps
from chalicelib.events.journal import Journal
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventIndex, EventStore, EventWindow
from chalicelib.events.message import ReplayMessage
from chalicelib.events.model import Event
from chalicelib.events.process_unit import finish_open_units
from chalicelib.events.read import ReadDeps
from chalicelib.events.stats import StatStore, counting
from chalicelib.items.endpoints import EndpointDeps, EndpointStore
from chalicelib.items.manage import ItemDeps
from chalicelib.items.notify import NotifyDeps
from chalicelib.items.proofs import ProofStore
from chalicelib.items.store import ItemBodies, ItemStore
from chalicelib.items.subscriptions import SubscriptionDeps, SubscriptionStore
from chalicelib.outbound.send import Limits, Sender
from chalicelib.recovery.compare import CompareDeps, point_at
from chalicelib.recovery.dead_letters import DeadLetterDeps
from chalicelib.recovery.model import (
    ALERTS_QUEUE,
    BUS_QUEUE,
    DELIVERIES_QUEUE,
    EVENTS_QUEUE,
    NOTIFICATIONS_QUEUE,
    UPLOADS_QUEUE,
)
from chalicelib.recovery.queues import EVENTS, QueueDeps
from chalicelib.recovery.reconcile import ReconcileDeps
from chalicelib.recovery.reports import ReportDeps
from chalicelib.replays.start import BulkReplayDeps, ReplayDeps
from chalicelib.replays.steps import RestartDeps, StepDeps, take_step
from chalicelib.replays.store import ReplayStore
from chalicelib.schemas.check import SchemaCheck
from chalicelib.schemas.manage import SchemaDeps
from chalicelib.schemas.store import SchemaStore
from chalicelib.tokens import manage
from chalicelib.tokens.store import TokenStore
from chalicelib.uploads.api import UploadDeps
from chalicelib.uploads.record import RecordDeps
from chalicelib.uploads.store import UploadBucket, UploadStore
from chalicelib.web.callers import Caller
from chalicelib.webhooks.digests import DigestStore
from chalicelib.webhooks.receive import WebhookDeps

SecondsLeft = Callable[[], float]
"""Gives the seconds until Lambda ends this run."""


def reset() -> None:
    """Forget everything that was made, so that the next use makes it anew."""
    clients.reset()
    for maker in (settings, schema_check, secrets, slack, routes, known_destinations):
        maker.cache_clear()


# What several capabilities share


def queue(arn: str) -> Queue:
    return Queue(aws("sqs"), queue_url(arn))


def events_queue() -> Queue:
    return queue(settings().events_queue_arn)


def alert_queue() -> Queue:
    """The queue of everything that is to become an alert."""
    return queue(settings().ci_queue_arn)


def ledger() -> EventStore:
    config = settings()
    return EventStore(
        aws("dynamodb"),
        config.events_table,
        config.bronze_bucket,
        config.silver_bucket,
        config.ledger_shards,
    )


def index() -> EventIndex:
    return EventIndex(aws("dynamodb"), settings().events_table, settings().ledger_shards)


def lake() -> Lake:
    return Lake(aws("s3"), settings().bronze_bucket, settings().silver_bucket)


def checkpoints() -> CheckpointStore:
    return CheckpointStore(aws("dynamodb"), settings().events_table)


@cache
def secrets() -> Secrets:
    return Secrets(aws("ssm"), settings().secret_cache)


@cache
def schema_check() -> SchemaCheck:
    """The check at ingest, with the schemas that this process has read and compiled."""
    return SchemaCheck(schema_store(), settings().schema_cache)


def schema_store() -> SchemaStore:
    return SchemaStore(aws("dynamodb"), settings().schemas_table)


# Events


def ingest() -> IngestDeps:
    return IngestDeps(
        ledger=ledger(),
        lake=lake(),
        queue=events_queue(),
        check_schema=schema_check().check,
        load_schemas=schema_check().load_many,
        max_event_bytes=settings().max_event_bytes,
        inline_bytes=settings().inline_bytes,
    )


def reading() -> ReadDeps:
    return ReadDeps(ledger(), index(), lake())


def stats() -> StatStore:
    return StatStore(aws("dynamodb"), settings().events_table)


def count_run(event: Any, get_response: Callable[[Any], Any]) -> Any:
    """Chalice's middleware: what a run counts is added to the counters at its end."""
    with counting(stats):
        return get_response(event)


def worker(seconds_left: SecondsLeft) -> WorkerDeps:
    config = settings()

    def step_replay(message: ReplayMessage, delivery: Delivery, seconds: float, /) -> int | None:
        return take_step(message, delivery, seconds, replay_steps(seconds_left))

    return WorkerDeps(
        ledger=ledger(),
        journal=Journal(aws("dynamodb"), config.events_table),
        lake=lake(),
        queue=events_queue(),
        bus=Bus(aws("events"), config.event_bus),
        dead_letters=queue(config.events_dlq_arn),
        alerts=alert_queue(),
        processors=processors.PROCESSORS,
        max_attempts=config.max_attempts,
        retry_base=config.retry_base,
        seconds_left=seconds_left,
        webhook_owner=config.webhook_owner,
        step_replay=step_replay,
        hand_over=lambda documents: hand_over(
            documents, HandOverDeps(routes(), deliveries_queue(), lines(), seconds_left)
        ),
    )


# Replays


def replay() -> ReplayDeps:
    return ReplayDeps(reading(), events_queue(), schema_check().check)


def bulk_replays() -> BulkReplayDeps:
    return BulkReplayDeps(
        replays=replay_store(),
        ledger=ledger(),
        window=event_window(),
        queue=events_queue(),
        shards=settings().ledger_shards,
    )


def replay_steps(seconds_left: SecondsLeft) -> StepDeps:
    config = settings()
    return StepDeps(
        replays=replay_store(),
        ledger=ledger(),
        window=event_window(),
        lake=lake(),
        queue=events_queue(),
        check_schema=schema_check().check,
        backlog_limit=config.backlog_limit,
        max_attempts=config.max_attempts,
        remaining=seconds_left,
    )


def restart_replays(stuck_after: int | None) -> RestartDeps:
    """An operator's `stuck_after` overrides the stage's."""
    config = settings()
    return RestartDeps(
        replays=replay_store(),
        queue=events_queue(),
        stuck_after=config.stuck_after if stuck_after is None else stuck_after,
        max_restarts=config.max_requeues,
        backlog_limit=config.backlog_limit,
    )


def replay_store() -> ReplayStore:
    return ReplayStore(aws("dynamodb"), settings().events_table)


def event_window() -> EventWindow:
    return EventWindow(aws("dynamodb"), settings().events_table)


# Recovery


def dead_letter_queues() -> dict[str, DeadLetterQueue]:
    config = settings()
    arns = {
        EVENTS_QUEUE: config.events_dlq_arn,
        ALERTS_QUEUE: config.ci_dlq_arn,
        UPLOADS_QUEUE: config.uploads_dlq_arn,
        NOTIFICATIONS_QUEUE: config.notifications_dlq_arn,
        BUS_QUEUE: config.bus_dlq_arn,
        DELIVERIES_QUEUE: config.deliveries_dlq_arn,
    }
    return {name: DeadLetterQueue(aws("sqs"), queue_url(arn)) for name, arn in arns.items()}


def queues() -> QueueDeps:
    fed = {EVENTS: events_queue(), "ci-events-queue": alert_queue()}
    ours = {**fed, "deliveries": deliveries_queue(), **dead_letter_queues()}
    return QueueDeps(ours, event_window(), settings().ledger_shards)


def reports() -> ReportDeps:
    return ReportDeps(lake())


def dead_letters() -> DeadLetterDeps:
    return DeadLetterDeps(
        reading=reading(),
        queue=events_queue(),
        dead=dead_letter_queues(),
        sources={
            EVENTS_QUEUE: events_queue(),
            ALERTS_QUEUE: alert_queue(),
            DELIVERIES_QUEUE: deliveries_queue(),
        },
    )


def reconcile(run_id: str, seconds_left: SecondsLeft, stuck_after: int | None) -> ReconcileDeps:
    """An operator's `stuck_after` overrides the stage's, and asks for a full scan."""
    config = settings()
    full_scan_every = timedelta(minutes=config.full_sweep_minutes)
    return ReconcileDeps(
        ledger=ledger(),
        index=index(),
        lake=lake(),
        queue=events_queue(),
        checkpoints=checkpoints(),
        alerts=alert_queue(),
        stuck_after=config.stuck_after if stuck_after is None else stuck_after,
        max_requeues=config.max_requeues,
        backlog_limit=config.backlog_limit,
        full_scan_every=full_scan_every if stuck_after is None else None,
        run_id=run_id,
        remaining=seconds_left,
        finish_units=lambda: finish_open_units(worker(seconds_left)),
        comparing=compare(seconds_left),
    )


def compare(seconds_left: SecondsLeft) -> CompareDeps:
    def make_document(
        event: Event, payload: bytes, attempt: int, seconds: float, processed_at: str
    ) -> str:
        result = run_processor(event, payload, attempt, seconds, worker(seconds_left))
        return result.document(document_head(event, processed_at, settings().bronze_bucket))

    events_table = Table(aws("dynamodb"), settings().events_table)
    return CompareDeps(
        ledger=ledger(),
        index=index(),
        lake=lake(),
        checkpoints=checkpoints(),
        point_at=partial(point_at, events_table),
        make_document=make_document,
        stage=settings().stage,
        remaining=seconds_left,
    )


# Schemas, webhooks, tokens


def schemas() -> SchemaDeps:
    return SchemaDeps(schema_store(), schema_check().forget)


def webhooks() -> WebhookDeps:
    config = settings()

    def secret_of(source: str) -> str | None:
        return secrets().get(f"/eventline/{config.stage}/webhooks/{source}/secret")

    seconds = config.webhook_digest_seconds
    digests = DigestStore(aws("dynamodb"), config.events_table, seconds) if seconds else None
    return WebhookDeps(ingest(), secret_of, config.webhook_owner, digests)


def tokens() -> TokenStore:
    return TokenStore(aws("dynamodb"), settings().tokens_table)


def authenticate(authorization: str) -> Caller:
    """Who sent an `Authorization` header; `UnauthenticatedError` for nobody we know."""
    return manage.authenticate(tokens(), authorization, clock.to_text(clock.utc_now()))


# Items and uploads


def items() -> ItemDeps:
    config = settings()
    return ItemDeps(
        items=ItemStore(aws("dynamodb"), config.items_table, config.ledger_shards),
        bodies=ItemBodies(aws("s3"), config.bronze_bucket),
        index=ShardedIndex(aws("dynamodb"), config.items_table, config.ledger_shards),
        check_schema=schema_check().check,
    )


def subscriptions() -> SubscriptionDeps:
    config = settings()
    return SubscriptionDeps(
        subscriptions=SubscriptionStore(aws("dynamodb"), config.items_table, config.ledger_shards),
        endpoints=EndpointDeps(
            EndpointStore(aws("dynamodb"), config.items_table),
            Topic(aws("sns"), config.owner_topic_arn),
        ),
        proofs=ProofStore(aws("dynamodb"), config.items_table),
        index=ShardedIndex(aws("dynamodb"), config.items_table, config.ledger_shards),
        own_queues=config.events_queue_arn.removesuffix("events"),
    )


def notify_owners(seconds_left: SecondsLeft) -> NotifyDeps:
    config = settings()
    return NotifyDeps(
        effects=EffectStore(aws("dynamodb"), config.events_table),
        topic=Topic(aws("sns"), config.owner_topic_arn),
        dead_letters=queue(config.notifications_dlq_arn),
        remaining=seconds_left,
    )


def uploads() -> UploadDeps:
    config = settings()
    return UploadDeps(
        bucket=UploadBucket(aws("s3"), config.uploads_bucket),
        records=UploadStore(aws("dynamodb"), config.uploads_table, config.ledger_shards),
        url_seconds=config.upload_url_seconds,
        max_bytes=config.upload_max_bytes,
    )


def record_uploads() -> RecordDeps:
    config = settings()
    return RecordDeps(
        store=UploadStore(aws("dynamodb"), config.uploads_table, config.ledger_shards),
        dead_letters=queue(config.uploads_dlq_arn),
        ttl_seconds=config.upload_ttl,
    )


# Destinations


def deliveries_queue() -> Queue:
    return queue(settings().deliveries_queue_arn)


def destination_store() -> DestinationStore:
    return DestinationStore(aws("dynamodb"), settings().destinations_table)


def delivery_store() -> DeliveryStore:
    return DeliveryStore(aws("dynamodb"), settings().destinations_table)


def lines() -> LineStore:
    return LineStore(aws("dynamodb"), settings().destinations_table)


@cache
def routes() -> Routes:
    """Who subscribed to what, as far as this process has read it."""
    return Routes(destination_store(), settings().destination_cache)


@cache
def known_destinations() -> Destinations:
    """The destinations that this process has read."""
    return Destinations(destination_store(), settings().destination_cache)


def destinations() -> ManageDeps:
    return ManageDeps(
        destinations=destination_store(),
        deliveries=delivery_store(),
        lines=lines(),
        ledger=ledger(),
        queue=deliveries_queue(),
        loopback=settings().stage == "local",
    )


def deliver(seconds_left: SecondsLeft) -> DeliverDeps:
    config = settings()
    return DeliverDeps(
        health=Health(
            known_destinations(), alert_queue(), Topic(aws("sns"), config.owner_topic_arn)
        ),
        deliveries=delivery_store(),
        lines=lines(),
        lake=lake(),
        queue=deliveries_queue(),
        dead_letters=queue(config.deliveries_dlq_arn),
        make_sender=lambda: sender(DELIVERY_LIMITS),
        sweep=lambda order: sweep.take_step(order, sweeping()),
        seconds_left=seconds_left,
    )


def sweeping() -> sweep.SweepDeps:
    return sweep.SweepDeps(
        destinations=destination_store(),
        deliveries=delivery_store(),
        lines=lines(),
        ledger=ledger(),
        window=event_window(),
        queue=deliveries_queue(),
        shards=settings().ledger_shards,
    )


def due_deliveries(seconds_left: SecondsLeft) -> DueDeps:
    return DueDeps(
        deliveries=delivery_store(),
        queue=deliveries_queue(),
        ahead=settings().reconcile_minutes * 60,
        seconds_left=seconds_left,
    )


# HTTP that goes out


def sender(limits: Limits) -> Sender:
    return Sender(limits, loopback=settings().stage == "local")


# Alerts


def send_alerts(seconds_left: SecondsLeft) -> SendDeps:
    config = settings()
    return SendDeps(
        groups=alerts(),
        slack=slack(),
        queue=alert_queue(),
        dead_letters=queue(config.ci_dlq_arn),
        alarm_topic=AlarmTopic(aws("sns"), config.alert_topic_arn),
        window=config.alert_window,
        max_attempts=config.alert_max_attempts,
        retry_max=config.alert_retry_max,
        remaining=seconds_left,
    )


def alerts() -> AlertStore:
    config = settings()
    return AlertStore(aws("dynamodb"), config.alerts_table, config.ledger_shards)


@cache
def slack() -> Slack:
    """The webhook at Slack."""
    config = settings()
    return Slack(
        lambda: sender(SLACK_LIMITS),
        lambda max_age: secrets().get(config.slack_parameter, max_age),
        loopback=config.stage == "local",
    )
