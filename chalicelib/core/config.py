"""Settings: one table of every environment variable, read once into a frozen value.

`TABLE` is the only list; `docs/configuration.md` is checked against it. A missing or unusable value
raises `ConfigurationError` naming the variable, at import of `app.py`, and so at deploy.
"""

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache

from msgspec import Struct

from chalicelib.core.errors import ConfigurationError

# What `domain.tokens.is_owner` takes.
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_USER_POOL = re.compile(r"arn:aws[a-z-]*:cognito-idp:[a-z0-9-]+:[0-9]{12}:userpool/[A-Za-z0-9_-]+")
_HOST = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
# An origin as browsers write it: no path, not even a `/`.
_ORIGIN = re.compile(
    rf"https://{_HOST}(?::[0-9]{{1,5}})?|http://(?:localhost|127\.0\.0\.1)(?::[0-9]{{1,5}})?"
)


class AuthMode(StrEnum):
    """How the REST API knows its callers; see docs/security.md."""

    TOKEN = "token"  # noqa: S105 - the name of a mode
    IAM = "iam"
    COGNITO = "cognito"
    NONE = "none"


class Setting(Struct, frozen=True):
    """One environment variable: `default` None means that the stage must set it."""

    name: str
    default: str | None
    help: str


TABLE = (
    Setting("STAGE", None, "The stage: local, dev or prod; part of every resource name."),
    Setting("AWS_REGION", "us-east-1", "The region; Lambda sets it."),
    Setting("EVENTS_TABLE", None, "Ledger table. Written by `make provision`."),
    Setting("TOKENS_TABLE", None, "Token table. Written by `make provision`."),
    Setting("SCHEMAS_TABLE", None, "Table of schemas. Written by `make provision`."),
    Setting("BRONZE_BUCKET", None, "Bucket of payloads as sent. Written by `make provision`."),
    Setting("SILVER_BUCKET", None, "Bucket of processed documents. Written by `make provision`."),
    Setting("EVENTS_QUEUE_ARN", None, "Queue of the worker. Written by `make provision`."),
    Setting("EVENTS_DLQ_ARN", None, "Its dead-letter queue. Written by `make provision`."),
    Setting("UPLOADS_BUCKET", None, "Bucket of uploads. Written by `make provision`."),
    Setting("UPLOADS_TABLE", None, "Table S3ObjectEvents. Written by `make provision`."),
    Setting("UPLOADS_DLQ_ARN", None, "Unrecorded notifications. Written by `make provision`."),
    Setting("ITEMS_TABLE", None, "Table of items. Written by `make provision`."),
    Setting("ITEMS_STREAM_ARN", None, "Its stream. Written by `make provision`."),
    Setting("NOTIFICATIONS_DLQ_ARN", None, "Changes not told. Written by `make provision`."),
    Setting("OWNER_TOPIC_ARN", None, "Topic of owners. Written by `make provision`."),
    Setting("ALERT_TOPIC_ARN", None, "Topic of alarms. Written by `make provision`."),
    Setting("CI_QUEUE_ARN", None, "Queue of alerts. Written by `make provision`."),
    Setting("CI_DLQ_ARN", None, "Its dead-letter queue. Written by `make provision`."),
    Setting("ALERTS_TABLE", None, "Table of alert groups. Written by `make provision`."),
    Setting("EVENT_BUS", None, "EventBridge bus. Written by `make provision`."),
    Setting("SLACK_PARAMETER", None, "SSM SecureString that holds Slack's webhook URL."),
    Setting("LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR."),
    Setting("AUTH_MODE", "token", "How the API knows its callers: token, iam, cognito or none."),
    Setting("IAM_ADMINS", "", "Users and roles that have the scope admin where AUTH_MODE is iam."),
    Setting("COGNITO_USER_POOL_ARN", "", "The user pool of callers where AUTH_MODE is cognito."),
    Setting("CORS_ORIGIN", "", "The one origin whose pages may call the API from a browser."),
    Setting("DIRECT_OWNER", "direct", "Owner of events sent by invoking the API function itself."),
    Setting("WEBHOOK_OWNER", "webhooks", "Owner of events that came as signed webhooks."),
    Setting("MAX_EVENT_BYTES", "1048576", "Largest event accepted, in bytes."),
    Setting("MAX_ATTEMPTS", "5", "Deliveries before an event is FAILED; the queue's own limit."),
    Setting("RETRY_BASE_SECONDS", "5", "Wait before the second attempt; doubles each time."),
    Setting("BATCHING_WINDOW_SECONDS", "1", "How long SQS gathers messages for one batch."),
    Setting("LEDGER_SHARDS", "8", "Index partitions an owner; raise, never lower. See ADR 0006."),
    Setting("UPLOAD_TTL_SECONDS", "86400", "How long the record of an upload is kept."),
    Setting("UPLOAD_MAX_BYTES", "104857600", "Largest upload offered, in bytes."),
    Setting("UPLOAD_URL_SECONDS", "900", "How long an offered upload may be used."),
    Setting("ALERT_WINDOW_SECONDS", "300", "Time in which equal alerts become one message."),
    Setting("ALERT_MAX_ATTEMPTS", "50", "Deliveries before an alert is given up."),
    Setting("ALERT_RETRY_MAX_SECONDS", "300", "Longest wait before an alert is tried again."),
    Setting("SECRET_CACHE_SECONDS", "300", "How long a secret read from SSM is used."),
    Setting("SCHEMA_CACHE_SECONDS", "10", "How long a schema that was read is used."),
    Setting("RECONCILE_MINUTES", "5", "How often `reconcile` runs."),
    Setting(
        "FULL_SWEEP_MINUTES", "1440", "How often it looks up every recent payload, not only new."
    ),
    Setting("STUCK_AFTER_SECONDS", "900", "Age at which an unfinished event counts as stuck."),
    Setting("MAX_REQUEUES", "3", "Times `reconcile` sends an event again before it is FAILED."),
    Setting("BACKLOG_LIMIT", "1000", "Visible messages above which ENQUEUED events just wait."),
)


class Settings(Struct, frozen=True):
    """What a stage is set to. Times are seconds unless the name says otherwise."""

    stage: str
    region: str
    events_table: str
    tokens_table: str
    schemas_table: str
    bronze_bucket: str
    silver_bucket: str
    events_queue_arn: str
    events_dlq_arn: str
    uploads_bucket: str
    uploads_table: str
    uploads_dlq_arn: str
    items_table: str
    items_stream_arn: str
    notifications_dlq_arn: str
    owner_topic_arn: str
    alert_topic_arn: str
    ci_queue_arn: str
    ci_dlq_arn: str
    alerts_table: str
    event_bus: str
    slack_parameter: str
    log_level: str
    auth_mode: AuthMode
    iam_admins: frozenset[str]
    cognito_user_pool_arn: str
    cors_origin: str
    direct_owner: str
    webhook_owner: str
    max_event_bytes: int
    max_attempts: int
    retry_base: int
    batching_window: int
    ledger_shards: int
    upload_ttl: int
    upload_max_bytes: int
    upload_url_seconds: int
    alert_window: int
    alert_max_attempts: int
    alert_retry_max: int
    secret_cache: int
    schema_cache: int
    reconcile_minutes: int
    full_sweep_minutes: int
    stuck_after: int
    max_requeues: int
    backlog_limit: int


@cache
def settings() -> Settings:
    """The settings of this process."""
    return load(os.environ)


def load(environ: Mapping[str, str]) -> Settings:
    """Read the settings from `environ`; raises `ConfigurationError` naming the first bad one."""
    values = {entry.name: _value(entry, environ) for entry in TABLE}

    def number(name: str, low: int, high: int) -> int:
        text = values[name]
        if not text.isdecimal() or not low <= int(text) <= high:
            raise ConfigurationError(f"{name} must be a whole number, {low} to {high}")
        return int(text)

    def choice(name: str, *allowed: str) -> str:
        if values[name] not in allowed:
            raise ConfigurationError(f"{name} must be one of {', '.join(allowed)}")
        return values[name]

    def matching(name: str, pattern: re.Pattern[str], words: str) -> str:
        if not pattern.fullmatch(values[name]):
            raise ConfigurationError(f"{name} must be {words}")
        return values[name]

    auth_mode = AuthMode(choice("AUTH_MODE", *AuthMode))
    if auth_mode is AuthMode.NONE and values["STAGE"] == "prod":
        raise ConfigurationError("AUTH_MODE none is refused in prod: anybody could do anything")
    return Settings(
        stage=values["STAGE"],
        region=values["AWS_REGION"],
        events_table=values["EVENTS_TABLE"],
        tokens_table=values["TOKENS_TABLE"],
        schemas_table=values["SCHEMAS_TABLE"],
        bronze_bucket=values["BRONZE_BUCKET"],
        silver_bucket=values["SILVER_BUCKET"],
        events_queue_arn=values["EVENTS_QUEUE_ARN"],
        events_dlq_arn=values["EVENTS_DLQ_ARN"],
        uploads_bucket=values["UPLOADS_BUCKET"],
        uploads_table=values["UPLOADS_TABLE"],
        uploads_dlq_arn=values["UPLOADS_DLQ_ARN"],
        items_table=values["ITEMS_TABLE"],
        items_stream_arn=values["ITEMS_STREAM_ARN"],
        notifications_dlq_arn=values["NOTIFICATIONS_DLQ_ARN"],
        owner_topic_arn=values["OWNER_TOPIC_ARN"],
        alert_topic_arn=values["ALERT_TOPIC_ARN"],
        ci_queue_arn=values["CI_QUEUE_ARN"],
        ci_dlq_arn=values["CI_DLQ_ARN"],
        alerts_table=values["ALERTS_TABLE"],
        event_bus=values["EVENT_BUS"],
        slack_parameter=values["SLACK_PARAMETER"],
        log_level=choice("LOG_LEVEL", "DEBUG", "INFO", "WARNING", "ERROR"),
        auth_mode=auth_mode,
        iam_admins=_names(values["IAM_ADMINS"]),
        cognito_user_pool_arn=(
            matching("COGNITO_USER_POOL_ARN", _USER_POOL, "the ARN of a user pool")
            if auth_mode is AuthMode.COGNITO
            else values["COGNITO_USER_POOL_ARN"]
        ),
        cors_origin=(
            matching("CORS_ORIGIN", _ORIGIN, "one origin, such as https://app.example.com")
            if values["CORS_ORIGIN"]
            else ""
        ),
        direct_owner=matching("DIRECT_OWNER", _OWNER, "an owner's name"),
        webhook_owner=matching("WEBHOOK_OWNER", _OWNER, "an owner's name"),
        max_event_bytes=number("MAX_EVENT_BYTES", 1, 4 * 1024 * 1024),
        max_attempts=number("MAX_ATTEMPTS", 1, 1000),
        retry_base=number("RETRY_BASE_SECONDS", 0, 3600),
        batching_window=number("BATCHING_WINDOW_SECONDS", 0, 300),
        ledger_shards=number("LEDGER_SHARDS", 1, 256),
        upload_ttl=number("UPLOAD_TTL_SECONDS", 60, 366 * 86400),
        upload_max_bytes=number("UPLOAD_MAX_BYTES", 1, 5 * 1024**3),
        upload_url_seconds=number("UPLOAD_URL_SECONDS", 60, 43200),
        alert_window=number("ALERT_WINDOW_SECONDS", 1, 86400),
        alert_max_attempts=number("ALERT_MAX_ATTEMPTS", 1, 1000),
        alert_retry_max=number("ALERT_RETRY_MAX_SECONDS", 1, 43200),
        secret_cache=number("SECRET_CACHE_SECONDS", 0, 86400),
        schema_cache=number("SCHEMA_CACHE_SECONDS", 0, 3600),
        reconcile_minutes=number("RECONCILE_MINUTES", 1, 1440),
        full_sweep_minutes=number("FULL_SWEEP_MINUTES", 0, 1440),
        stuck_after=number("STUCK_AFTER_SECONDS", 1, 7 * 86400),
        max_requeues=number("MAX_REQUEUES", 0, 100),
        backlog_limit=number("BACKLOG_LIMIT", 1, 10**9),
    )


def queue_url(arn: str) -> str:
    """The URL of the queue with this ARN: one fewer thing to look up at a cold start.

    Source: Amazon SQS Developer Guide, "Queue and message identifiers".
    """
    try:
        _, partition, service, region, account, name = arn.split(":")
    except ValueError:
        raise ConfigurationError(f"not a queue ARN: {arn}") from None
    if service != "sqs":
        raise ConfigurationError(f"not a queue ARN: {arn}")
    suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
    return f"https://sqs.{region}.{suffix}/{account}/{name}"


def _names(text: str) -> frozenset[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if not _OWNER.fullmatch(name):
            raise ConfigurationError(f"IAM_ADMINS must be names, separated by commas: {name}")
    return frozenset(names)


def _value(entry: Setting, environ: Mapping[str, str]) -> str:
    value = environ.get(entry.name, "").strip() or entry.default
    if value is None:
        raise ConfigurationError(f"{entry.name} is not set: {entry.help}")
    return value
