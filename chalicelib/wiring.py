"""The only place that makes AWS clients, and hands services their collaborators.

Everything is made at first use and kept for the life of the process; `reset()` forgets it (tests).
botocore's own clients are used: boto3 would add its import to every cold start and nothing else.
"""

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

from chalicelib import settings as settings_module
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
    for maker in (settings, _session, _client):
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
    return Queue(_aws("sqs"), queue_url(settings().events_queue_arn))


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
        dead_letters=Queue(_aws("sqs"), queue_url(config.events_dlq_arn)),
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
        stuck_after=config.stuck_after if stuck_after is None else stuck_after,
        max_requeues=config.max_requeues,
        backlog_limit=config.backlog_limit,
        full_sweep_every=full_sweep_every if stuck_after is None else None,
        run_id=run_id,
        remaining=remaining,
    )


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

    return _session().create_client(
        service,
        region_name=settings().region,
        config=Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            tcp_keepalive=True,
            max_pool_connections=25,
        ),
    )
