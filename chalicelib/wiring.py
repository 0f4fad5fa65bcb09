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

from chalicelib import settings as settings_module
from chalicelib.adapters.bus import Bus
from chalicelib.adapters.checkpoint_store import CheckpointStore
from chalicelib.adapters.event_index import EventIndex
from chalicelib.adapters.event_store import EventStore
from chalicelib.adapters.lake import Lake
from chalicelib.adapters.queue import Queue
from chalicelib.adapters.token_store import TokenStore
from chalicelib.services.ingest_events import Ingest
from chalicelib.services.process_events import Processing
from chalicelib.services.processors import PROCESSORS
from chalicelib.services.read_events import Reading
from chalicelib.services.reconcile import Reconciling
from chalicelib.settings import Settings, queue_url

if TYPE_CHECKING:
    from chalicelib.adapters.slack import Slack
    from chalicelib.services.manage_items import Managing
    from chalicelib.services.manage_subscriptions import Subscribing
    from chalicelib.services.manage_uploads import Uploading
    from chalicelib.services.notify_owners import Notifying
    from chalicelib.services.post_alerts import Sending
    from chalicelib.services.read_alerts import ReadingAlerts
    from chalicelib.services.record_uploads import Recording

CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 1, 2, 3
"""Three calls that all hang take at most 3 x 3 x (1 + 2) = 27 s and a little back-off, so the API
answers before API Gateway's 29 s are over."""

_lock = threading.RLock()


@cache
def settings() -> Settings:
    """The settings of this process."""
    return settings_module.load(os.environ)


def reset() -> None:
    """Forget every client and setting, so that the next use makes them anew."""
    for maker in (settings, _session, _client, _slack):
        maker.cache_clear()


def ledger() -> EventStore:
    """The ledger."""
    config = settings()
    return EventStore(
        _aws("dynamodb"), config.events_table, config.bronze_bucket, config.ledger_shards
    )


def index() -> EventIndex:
    """The ledger's indexes."""
    return EventIndex(_aws("dynamodb"), settings().events_table, settings().ledger_shards)


def lake() -> Lake:
    """Bronze and silver."""
    return Lake(_aws("s3"), settings().bronze_bucket, settings().silver_bucket)


def events_queue() -> Queue:
    """The worker's queue."""
    return _queue(settings().events_queue_arn)


def alert_queue() -> Queue:
    """The queue of everything that is to become an alert."""
    return _queue(settings().ci_queue_arn)


def tokens() -> TokenStore:
    """The token store."""
    return TokenStore(_aws("dynamodb"), settings().tokens_table)


def ingest() -> Ingest:
    """What `ingest_events` works with."""
    return Ingest(ledger(), lake(), events_queue(), settings().max_event_bytes)


def reading() -> Reading:
    """What `read_events` works with."""
    return Reading(ledger(), index(), lake())


def processing(remaining: Callable[[], float]) -> Processing:
    """What `process_events` works with; `remaining` gives the seconds left."""
    config = settings()
    return Processing(
        ledger=ledger(),
        lake=lake(),
        queue=events_queue(),
        bus=Bus(_aws("events"), config.event_bus),
        dead_letters=_queue(config.events_dlq_arn),
        alerts=alert_queue(),
        processors=PROCESSORS,
        max_attempts=config.max_attempts,
        retry_base=config.retry_base,
        remaining=remaining,
    )


def reconciling(
    run_id: str, remaining: Callable[[], float], stuck_after: int | None = None
) -> Reconciling:
    """What `reconcile` works with; an operator's `stuck_after` overrides the stage's setting and
    asks for a full sweep."""
    config = settings()
    full_sweep_every = timedelta(minutes=config.full_sweep_minutes)
    return Reconciling(
        ledger=ledger(),
        index=index(),
        lake=lake(),
        queue=events_queue(),
        checkpoints=CheckpointStore(_aws("dynamodb"), config.events_table),
        alerts=alert_queue(),
        stage=config.stage,
        stuck_after=config.stuck_after if stuck_after is None else stuck_after,
        max_requeues=config.max_requeues,
        backlog_limit=config.backlog_limit,
        full_sweep_every=full_sweep_every if stuck_after is None else None,
        run_id=run_id,
        remaining=remaining,
    )


def uploading() -> "Uploading":
    """What `manage_uploads` works with."""
    from chalicelib.adapters.sharded_index import ShardedIndex
    from chalicelib.adapters.upload_bucket import UploadBucket
    from chalicelib.services.manage_uploads import Uploading

    config = settings()
    return Uploading(
        bucket=UploadBucket(_aws("s3"), config.uploads_bucket),
        index=ShardedIndex(_aws("dynamodb"), config.uploads_table, config.ledger_shards),
        url_seconds=config.upload_url_seconds,
    )


def recording() -> "Recording":
    """What `record_uploads` works with."""
    from chalicelib.adapters.upload_store import UploadStore
    from chalicelib.services.record_uploads import Recording

    config = settings()
    return Recording(
        store=UploadStore(_aws("dynamodb"), config.uploads_table, config.ledger_shards),
        dead_letters=_queue(config.uploads_dlq_arn),
        ttl_seconds=config.upload_ttl,
    )


def managing() -> "Managing":
    """What `manage_items` works with."""
    from chalicelib.adapters.item_bodies import ItemBodies
    from chalicelib.adapters.item_store import ItemStore
    from chalicelib.adapters.sharded_index import ShardedIndex
    from chalicelib.services.manage_items import Managing

    config = settings()
    return Managing(
        items=ItemStore(_aws("dynamodb"), config.items_table, config.ledger_shards),
        bodies=ItemBodies(_aws("s3"), config.bronze_bucket),
        index=ShardedIndex(_aws("dynamodb"), config.items_table, config.ledger_shards),
    )


def subscribing() -> "Subscribing":
    """What `manage_subscriptions` works with."""
    from chalicelib.adapters.sharded_index import ShardedIndex
    from chalicelib.adapters.subscription_store import SubscriptionStore
    from chalicelib.adapters.topic import Topic
    from chalicelib.services.manage_subscriptions import Subscribing

    config = settings()
    return Subscribing(
        subscriptions=SubscriptionStore(_aws("dynamodb"), config.items_table, config.ledger_shards),
        index=ShardedIndex(_aws("dynamodb"), config.items_table, config.ledger_shards),
        topic=Topic(_aws("sns"), config.owner_topic_arn),
    )


def notifying(remaining: Callable[[], float]) -> "Notifying":
    """What `notify_owners` works with; `remaining` gives the seconds left."""
    from chalicelib.adapters.effect_store import EffectStore
    from chalicelib.adapters.topic import Topic
    from chalicelib.services.notify_owners import Notifying

    config = settings()
    return Notifying(
        effects=EffectStore(_aws("dynamodb"), config.events_table),
        topic=Topic(_aws("sns"), config.owner_topic_arn),
        dead_letters=_queue(config.notifications_dlq_arn),
        remaining=remaining,
    )


def sending(remaining: Callable[[], float]) -> "Sending":
    """What `send_alerts` works with; `remaining` gives the seconds left."""
    from chalicelib.adapters.alarm_topic import AlarmTopic
    from chalicelib.adapters.alert_store import AlertStore
    from chalicelib.services.post_alerts import Sending

    config = settings()
    return Sending(
        groups=AlertStore(_aws("dynamodb"), config.alerts_table, config.ledger_shards),
        slack=_slack(),
        queue=alert_queue(),
        dead_letters=_queue(config.ci_dlq_arn),
        alarm_topic=AlarmTopic(_aws("sns"), config.alert_topic_arn),
        window=config.alert_window,
        max_attempts=config.alert_max_attempts,
        retry_max=config.alert_retry_max,
        remaining=remaining,
    )


def reading_alerts() -> "ReadingAlerts":
    """What `read_alerts` works with."""
    from chalicelib.adapters.alert_store import AlertStore
    from chalicelib.adapters.sharded_index import ShardedIndex
    from chalicelib.services.read_alerts import ReadingAlerts

    config = settings()
    return ReadingAlerts(
        groups=AlertStore(_aws("dynamodb"), config.alerts_table, config.ledger_shards),
        index=ShardedIndex(_aws("dynamodb"), config.alerts_table, config.ledger_shards),
    )


@cache
def _slack() -> "Slack":
    """Slack; its secret, once read, is used for a while by the whole process."""
    from chalicelib.adapters.secrets import Secrets
    from chalicelib.adapters.slack import Slack, make_pool

    config = settings()
    secrets = Secrets(_aws("ssm"), config.secret_cache)
    return Slack(
        make_pool(),
        lambda max_age: secrets.get(config.slack_parameter, max_age),
        loopback=config.stage == "local",
    )


def _queue(arn: str) -> Queue:
    return Queue(_aws("sqs"), queue_url(arn))


def _aws(service: str) -> Any:
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
    return _session().create_client(
        service,
        region_name=settings().region,
        config=Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            tcp_keepalive=True,
            max_pool_connections=25,
            **(special if service == "s3" else {}),
        ),
    )
