"""Settings: one row for every environment variable, read once into a frozen value.

`Settings` is the only list; `docs/configuration.md` is written from it. A missing or unusable value
raises `ConfigurationError` naming the variable, at import of `app.py`, and so at deploy.
"""

import os
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any

from msgspec import Struct

from chalicelib.core.errors import ConfigurationError
from chalicelib.core.names import is_owner

_USER_POOL = r"arn:aws[a-z-]*:cognito-idp:[a-z0-9-]+:[0-9]{12}:userpool/[A-Za-z0-9_-]+"
_HOST = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
# An origin as browsers write it: no path, not even a `/`.
_ORIGIN = rf"https://{_HOST}(?::[0-9]{{1,5}})?|http://(?:localhost|127\.0\.0\.1)(?::[0-9]{{1,5}})?"


class AuthMode(StrEnum):
    """How the REST API knows its callers; see docs/security.md."""

    TOKEN = "token"  # noqa: S105 - the name of a mode
    IAM = "iam"
    COGNITO = "cognito"
    NONE = "none"


class Setting(Struct, frozen=True):
    """One environment variable: `default` None means that the stage must set it. `read` makes the
    value of its text, or raises ValueError with what it must be."""

    name: str
    default: str | None
    help: str
    read: Callable[[str], Any] = str


def row(name: str, default: str | None, words: str, read: Callable[[str], Any] = str) -> Any:
    """A setting, standing where its value's default would."""
    return Setting(name, default, words, read)


def provisioned(name: str, what: str) -> Any:
    """The name of a resource, which `make provision` writes into the stage's variables."""
    return row(name, None, f"{what} Written by `make provision`.")


def number(name: str, default: int, low: int, high: int, words: str) -> Any:
    """A whole number from `low` to `high`."""

    def read(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number, {low} to {high}")
        return int(text)

    return row(name, str(default), words, read)


def concurrency(name: str, function: str) -> Any:
    """The most runs of `function` that SQS starts at once: 0 for no limit, else what the event
    source's `MaximumConcurrency` takes (AWS Lambda Developer Guide, "Configuring scaling behavior
    for SQS event source mappings")."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) not in {0, *range(2, 1001)}:
            raise ValueError("must be 0, or a whole number, 2 to 1000")
        return int(text)

    return row(name, "0", f"Most runs of `{function}` at once; 0 for no limit.", read)


def choice(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return allowed[allowed.index(text)]

    return read


def matching(pattern: str, words: str) -> Callable[[str], str]:
    """Text of that form, or none at all."""

    def read(text: str) -> str:
        if text and not re.fullmatch(pattern, text):
            raise ValueError(f"must be {words}")
        return text

    return read


def _owner(text: str) -> str:
    if not is_owner(text):
        raise ValueError("must be an owner's name")
    return text


def _names(text: str) -> frozenset[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if not is_owner(name):
            raise ValueError(f"must be names, separated by commas: {name}")
    return frozenset(names)


class Settings(Struct, frozen=True):
    """What a stage is set to. Times are seconds unless the name says otherwise."""

    stage: str = row("STAGE", None, "The stage: local, dev or prod; part of every resource name.")
    region: str = row("AWS_REGION", "us-east-1", "The region; Lambda sets it.")
    events_table: str = provisioned("EVENTS_TABLE", "Ledger table.")
    tokens_table: str = provisioned("TOKENS_TABLE", "Token table.")
    schemas_table: str = provisioned("SCHEMAS_TABLE", "Table of schemas.")
    bronze_bucket: str = provisioned("BRONZE_BUCKET", "Bucket of payloads as sent.")
    silver_bucket: str = provisioned("SILVER_BUCKET", "Bucket of processed documents.")
    events_queue_arn: str = provisioned("EVENTS_QUEUE_ARN", "Queue of the worker.")
    events_dlq_arn: str = provisioned("EVENTS_DLQ_ARN", "Its dead-letter queue.")
    uploads_bucket: str = provisioned("UPLOADS_BUCKET", "Bucket of uploads.")
    uploads_table: str = provisioned("UPLOADS_TABLE", "Table S3ObjectEvents.")
    uploads_dlq_arn: str = provisioned("UPLOADS_DLQ_ARN", "Unrecorded notifications.")
    items_table: str = provisioned("ITEMS_TABLE", "Table of items.")
    items_stream_arn: str = provisioned("ITEMS_STREAM_ARN", "Its stream.")
    notifications_dlq_arn: str = provisioned("NOTIFICATIONS_DLQ_ARN", "Changes not told.")
    owner_topic_arn: str = provisioned("OWNER_TOPIC_ARN", "Topic of owners.")
    alert_topic_arn: str = provisioned("ALERT_TOPIC_ARN", "Topic of alarms.")
    ci_queue_arn: str = provisioned("CI_QUEUE_ARN", "Queue of alerts.")
    ci_dlq_arn: str = provisioned("CI_DLQ_ARN", "Its dead-letter queue.")
    alerts_table: str = provisioned("ALERTS_TABLE", "Table of alert groups.")
    destinations_table: str = provisioned("DESTINATIONS_TABLE", "Table of destinations.")
    deliveries_queue_arn: str = provisioned("DELIVERIES_QUEUE_ARN", "Queue of deliveries.")
    deliveries_dlq_arn: str = provisioned("DELIVERIES_DLQ_ARN", "Its dead-letter queue.")
    event_bus: str = provisioned("EVENT_BUS", "EventBridge bus.")
    bus_dlq_arn: str = provisioned("BUS_DLQ_ARN", "What the bus could not deliver.")
    slack_parameter: str = row(
        "SLACK_PARAMETER", None, "SSM SecureString that holds Slack's webhook URL."
    )
    log_level: str = row(
        "LOG_LEVEL",
        "INFO",
        "DEBUG, INFO, WARNING or ERROR.",
        choice("DEBUG", "INFO", "WARNING", "ERROR"),
    )
    auth_mode: AuthMode = row(
        "AUTH_MODE",
        "token",
        "How the API knows its callers: token, iam, cognito or none.",
        choice(*AuthMode),
    )
    iam_admins: frozenset[str] = row(
        "IAM_ADMINS",
        "",
        "Users and roles that have the scope admin where AUTH_MODE is iam.",
        _names,
    )
    cognito_user_pool_arn: str = row(
        "COGNITO_USER_POOL_ARN",
        "",
        "The user pool of callers where AUTH_MODE is cognito.",
        matching(_USER_POOL, "the ARN of a user pool"),
    )
    cors_origin: str = row(
        "CORS_ORIGIN",
        "",
        "The one origin whose pages may call the API from a browser.",
        matching(_ORIGIN, "one origin, such as https://app.example.com"),
    )
    direct_owner: str = row(
        "DIRECT_OWNER",
        "direct",
        "Owner of events sent by invoking the API function itself.",
        _owner,
    )
    webhook_owner: str = row(
        "WEBHOOK_OWNER", "webhooks", "Owner of events that came as signed webhooks.", _owner
    )
    webhook_digest_seconds: int = number(
        "WEBHOOK_DIGEST_SECONDS",
        0,
        0,
        604_800,
        "How long a webhook of GitHub with the same body is a repeat whatever its delivery id;"
        " 0 for never.",
    )
    max_event_bytes: int = number(
        "MAX_EVENT_BYTES", 1048576, 1, 4 * 1024 * 1024, "Largest event accepted, in bytes."
    )
    inline_bytes: int = number(
        "INLINE_MAX_BYTES",
        4096,
        0,
        16384,
        "Largest payload, in bytes, that is in the ledger until the worker puts it into bronze.",
    )
    max_attempts: int = number(
        "MAX_ATTEMPTS", 5, 1, 1000, "Deliveries before an event is FAILED; the queue's own limit."
    )
    retry_base: int = number(
        "RETRY_BASE_SECONDS", 5, 0, 3600, "Wait before the second attempt; doubles each time."
    )
    batching_window: int = number(
        "BATCHING_WINDOW_SECONDS", 1, 0, 300, "How long SQS gathers messages for one batch."
    )
    batch_size: int = number(
        "BATCH_SIZE", 50, 10, 500, "Messages of a batch at most; 10 without a batching window."
    )
    events_concurrency: int = concurrency("EVENTS_CONCURRENCY", "process_events")
    alerts_concurrency: int = concurrency("ALERTS_CONCURRENCY", "alert_ci_event")
    deliveries_concurrency: int = concurrency("DELIVERIES_CONCURRENCY", "deliver")
    ledger_shards: int = number(
        "LEDGER_SHARDS",
        8,
        1,
        256,
        "Index partitions an owner: 8 for 3,500 events a second, 32 for 10,000; never lower it.",
    )
    upload_ttl: int = number(
        "UPLOAD_TTL_SECONDS", 86400, 60, 366 * 86400, "How long the record of an upload is kept."
    )
    upload_max_bytes: int = number(
        "UPLOAD_MAX_BYTES", 104857600, 1, 5 * 1024**3, "Largest upload offered, in bytes."
    )
    upload_url_seconds: int = number(
        "UPLOAD_URL_SECONDS", 900, 60, 43200, "How long an offered upload may be used."
    )
    alert_window: int = number(
        "ALERT_WINDOW_SECONDS", 300, 1, 86400, "Time in which equal alerts become one message."
    )
    alert_max_attempts: int = number(
        "ALERT_MAX_ATTEMPTS", 50, 1, 1000, "Deliveries before an alert is given up."
    )
    alert_retry_max: int = number(
        "ALERT_RETRY_MAX_SECONDS", 300, 1, 43200, "Longest wait before an alert is tried again."
    )
    secret_cache: int = number(
        "SECRET_CACHE_SECONDS", 300, 0, 86400, "How long a secret read from SSM is used."
    )
    schema_cache: int = number(
        "SCHEMA_CACHE_SECONDS", 10, 0, 3600, "How long a schema that was read is used."
    )
    destination_cache: int = number(
        "DESTINATION_CACHE_SECONDS",
        10,
        0,
        300,
        "How long a process uses what it read of destinations.",
    )
    reconcile_minutes: int = number("RECONCILE_MINUTES", 5, 1, 1440, "How often `reconcile` runs.")
    full_sweep_minutes: int = number(
        "FULL_SWEEP_MINUTES",
        1440,
        0,
        1440,
        "How often it begins to go through all recent payloads.",
    )
    stuck_after: int = number(
        "STUCK_AFTER_SECONDS",
        900,
        1,
        7 * 86400,
        "Age at which an unfinished event counts as stuck.",
    )
    max_requeues: int = number(
        "MAX_REQUEUES", 3, 0, 100, "Times `reconcile` sends an event again before it is FAILED."
    )
    backlog_limit: int = number(
        "BACKLOG_LIMIT", 1000, 1, 10**9, "Visible messages above which ENQUEUED events just wait."
    )


TABLE: tuple[Setting, ...] = Settings.__struct_defaults__


@cache
def settings() -> Settings:
    """The settings of this process."""
    return load(os.environ)


def load(environ: Mapping[str, str]) -> Settings:
    """Read the settings from `environ`; raises `ConfigurationError` naming the first bad one."""
    found = Settings(*(_value(setting, environ) for setting in TABLE))
    if found.auth_mode is AuthMode.NONE and found.stage == "prod":
        raise ConfigurationError("AUTH_MODE none is refused in prod: anybody could do anything")
    if found.auth_mode is AuthMode.COGNITO and not found.cognito_user_pool_arn:
        raise ConfigurationError("COGNITO_USER_POOL_ARN must be the ARN of a user pool")
    return found


def in_words(environ: Mapping[str, str]) -> list[dict[str, str | None]]:
    """Each setting with its value as text, its default (None if the stage must set it), and what it
    is. Secrets are in SSM, and no setting."""
    return [
        {
            "name": setting.name,
            "value": _text(setting, environ),
            "default": setting.default,
            "help": setting.help,
        }
        for setting in TABLE
    ]


def _text(setting: Setting, environ: Mapping[str, str]) -> str | None:
    return environ.get(setting.name, "").strip() or setting.default


def _value(setting: Setting, environ: Mapping[str, str]) -> Any:
    text = _text(setting, environ)
    if text is None:
        raise ConfigurationError(f"{setting.name} is not set: {setting.help}")
    try:
        return setting.read(text)
    except ValueError as error:
        raise ConfigurationError(f"{setting.name} {error}") from None


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
