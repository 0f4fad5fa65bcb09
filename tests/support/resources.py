"""The stores' tables, buckets and queues, made as `infra/resources.yaml` has them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from infra import stack

Clients = Callable[[str], Any]
"""A function from the name of an AWS service to a client."""


@dataclass(frozen=True)
class Names:
    """What the resources of a test run are called."""

    events_table: str
    tokens_table: str
    bronze_bucket: str
    silver_bucket: str
    queue: str
    dead_letter_queue: str
    alert_queue: str
    bus: str
    uploads_table: str
    items_table: str
    alerts_table: str
    schemas_table: str = "eventline-test-schemas"
    destinations_table: str = "eventline-test-destinations"

    @classmethod
    def with_prefix(cls, prefix: str) -> "Names":
        return cls(
            events_table=f"{prefix}-events",
            tokens_table=f"{prefix}-tokens",
            bronze_bucket=f"{prefix}-bronze",
            silver_bucket=f"{prefix}-silver",
            queue=f"{prefix}-events",
            dead_letter_queue=f"{prefix}-events-dlq",
            alert_queue=f"{prefix}-ci-events-queue",
            bus=prefix,
            uploads_table=f"{prefix}-S3ObjectEvents",
            items_table=f"{prefix}-items",
            alerts_table=f"{prefix}-alerts",
            schemas_table=f"{prefix}-schemas",
            destinations_table=f"{prefix}-destinations",
        )

    @property
    def buckets(self) -> list[str]:
        return [self.bronze_bucket, self.silver_bucket]

    @property
    def queues(self) -> list[str]:
        """The worker's, and all others."""
        prefix = self.queue.removesuffix("-events")
        fed = ("ci-events", "deliveries", "uploads", "notifications", "bus")
        dead = [f"{prefix}-{name}-dlq" for name in fed]
        deliveries = f"{prefix}-deliveries"
        return [self.queue, self.dead_letter_queue, self.alert_queue, deliveries, *dead]


def make_resources(clients: Clients, names: Names) -> str:
    """Make them all; returns the URL of the queue."""
    make_tables(clients, names)
    for bucket in names.buckets:
        clients("s3").create_bucket(Bucket=bucket)
    urls = [clients("sqs").create_queue(QueueName=queue)["QueueUrl"] for queue in names.queues]
    clients("events").create_event_bus(Name=names.bus)
    return str(urls[0])


def make_tables(clients: Clients, names: Names) -> None:
    """Make the tables alone."""
    for table, resource in (
        (names.events_table, "EventsTable"),
        (names.tokens_table, "TokensTable"),
        (names.uploads_table, "ObjectEventsTable"),
        (names.items_table, "ItemsTable"),
        (names.alerts_table, "AlertsTable"),
        (names.schemas_table, "SchemasTable"),
        (names.destinations_table, "DestinationsTable"),
    ):
        clients("dynamodb").create_table(TableName=table, **_schema(resource))


def _schema(resource: str) -> dict[str, Any]:
    """What makes a table of the template."""
    properties = _resources()[resource]["Properties"]
    names = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    return {name: properties[name] for name in names if name in properties}


@cache
def _resources() -> dict[str, Any]:
    """The template's resources. To read it takes longer than to make them all."""
    resources: dict[str, Any] = stack.read_template()["Resources"]
    return resources
