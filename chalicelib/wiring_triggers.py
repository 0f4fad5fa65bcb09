"""What the triggers and the routes beside events work with: uploads, items, subscriptions, alerts.

The same rules as in `wiring`, which makes the clients.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from chalicelib import wiring

if TYPE_CHECKING:
    from chalicelib.services.manage_items import Managing
    from chalicelib.services.manage_subscriptions import Subscribing
    from chalicelib.services.manage_uploads import Uploading
    from chalicelib.services.notify_owners import Notifying
    from chalicelib.services.post_alerts import Sending
    from chalicelib.services.read_alerts import ReadingAlerts
    from chalicelib.services.record_uploads import Recording


def uploading() -> "Uploading":
    """What `manage_uploads` works with."""
    from chalicelib.adapters.sharded_index import ShardedIndex
    from chalicelib.adapters.upload_bucket import UploadBucket
    from chalicelib.services.manage_uploads import Uploading

    config = wiring.settings()
    return Uploading(
        bucket=UploadBucket(wiring.aws("s3"), config.uploads_bucket),
        index=ShardedIndex(wiring.aws("dynamodb"), config.uploads_table, config.ledger_shards),
        url_seconds=config.upload_url_seconds,
    )


def recording() -> "Recording":
    """What `record_uploads` works with."""
    from chalicelib.adapters.upload_store import UploadStore
    from chalicelib.services.record_uploads import Recording

    config = wiring.settings()
    return Recording(
        store=UploadStore(wiring.aws("dynamodb"), config.uploads_table, config.ledger_shards),
        dead_letters=wiring.queue(config.uploads_dlq_arn),
        ttl_seconds=config.upload_ttl,
    )


def managing() -> "Managing":
    """What `manage_items` works with."""
    from chalicelib.adapters.item_bodies import ItemBodies
    from chalicelib.adapters.item_store import ItemStore
    from chalicelib.adapters.sharded_index import ShardedIndex
    from chalicelib.services.manage_items import Managing

    config = wiring.settings()
    return Managing(
        items=ItemStore(wiring.aws("dynamodb"), config.items_table, config.ledger_shards),
        bodies=ItemBodies(wiring.aws("s3"), config.bronze_bucket),
        index=ShardedIndex(wiring.aws("dynamodb"), config.items_table, config.ledger_shards),
        check_schema=wiring.schema_check().check,
    )


def subscribing() -> "Subscribing":
    """What `manage_subscriptions` works with."""
    from chalicelib.adapters.sharded_index import ShardedIndex
    from chalicelib.adapters.subscription_store import SubscriptionStore
    from chalicelib.adapters.topic import Topic
    from chalicelib.services.manage_subscriptions import Subscribing

    config = wiring.settings()
    return Subscribing(
        subscriptions=SubscriptionStore(
            wiring.aws("dynamodb"), config.items_table, config.ledger_shards
        ),
        index=ShardedIndex(wiring.aws("dynamodb"), config.items_table, config.ledger_shards),
        topic=Topic(wiring.aws("sns"), config.owner_topic_arn),
    )


def notifying(remaining: Callable[[], float]) -> "Notifying":
    """What `notify_owners` works with; `remaining` gives the seconds left."""
    from chalicelib.adapters.effect_store import EffectStore
    from chalicelib.adapters.topic import Topic
    from chalicelib.services.notify_owners import Notifying

    config = wiring.settings()
    return Notifying(
        effects=EffectStore(wiring.aws("dynamodb"), config.events_table),
        topic=Topic(wiring.aws("sns"), config.owner_topic_arn),
        dead_letters=wiring.queue(config.notifications_dlq_arn),
        remaining=remaining,
    )


def sending(remaining: Callable[[], float]) -> "Sending":
    """What `send_alerts` works with; `remaining` gives the seconds left."""
    from chalicelib.adapters.alarm_topic import AlarmTopic
    from chalicelib.adapters.alert_store import AlertStore
    from chalicelib.services.post_alerts import Sending

    config = wiring.settings()
    return Sending(
        groups=AlertStore(wiring.aws("dynamodb"), config.alerts_table, config.ledger_shards),
        slack=wiring.slack(),
        queue=wiring.alert_queue(),
        dead_letters=wiring.queue(config.ci_dlq_arn),
        alarm_topic=AlarmTopic(wiring.aws("sns"), config.alert_topic_arn),
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

    config = wiring.settings()
    return ReadingAlerts(
        groups=AlertStore(wiring.aws("dynamodb"), config.alerts_table, config.ledger_shards),
        index=ShardedIndex(wiring.aws("dynamodb"), config.alerts_table, config.ledger_shards),
    )
