"""A deployed stage as the tests use it: over HTTP as a client would, and from behind."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import requests

from chalicelib.aws.sqs import Queue
from chalicelib.core.config import Settings, load
from chalicelib.events.bus import Bus
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventStore
from chalicelib.events.model import Event, Record, Status
from tests.support.emulator import Emulator, run_python

PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.05
_ENDS = (Status.PROCESSED, Status.FAILED)

T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T | None], seconds: float = PATIENCE_SECONDS) -> T:
    """Look until there is something to see; AssertionError with `what` when it takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(_POLL_SECONDS)


def unique(prefix: str) -> str:
    """A name that no other test has."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


@dataclass
class Stage:
    """One stage on the emulator. `variables` are its functions' environment."""

    name: str
    emulator: Emulator
    project: Path
    variables: dict[str, str]
    _dead_letters: list[dict[str, Any]] = field(default_factory=list)

    # ------------------------------------------------------------------ over HTTP

    @cached_property
    def url(self) -> str:
        """The API as the emulator's API Gateway serves it."""
        code = f"from infra.deploy import deployed_api_url; print(deployed_api_url({self.name!r}))"
        return run_python(self.emulator, self.project, "-c", code).split()[-1]

    @cached_property
    def admin(self) -> str:
        """A token with every scope, issued as an operator issues the first one."""
        options = ("--stage", self.name, "--owner", "operator", "--scopes", "all")
        return run_python(self.emulator, self.project, "-m", "infra.issue_token", *options).split()[
            -1
        ]

    def call(
        self, method: str, path: str, token: str | None = None, **options: Any
    ) -> requests.Response:
        """One request, with `token` as its bearer; `options` are those of `requests.request`."""
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return requests.request(method, self.url + path, headers=headers, timeout=60, **options)

    def post(self, body: Any, token: str, key: str | None = None) -> requests.Response:
        """Send an event: bytes as they are, anything else as JSON."""
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.call("POST", "/events", token, data=data, headers=headers)

    def send(self, body: Any, token: str | None = None, key: str | None = None) -> str:
        """Send an event that must be accepted; returns its id."""
        answer = self.post(body, token or self.admin, key)
        assert answer.status_code == 202, answer.text
        event_id: str = answer.json()["eventId"]
        return event_id

    def issue(self, owner: str, *scopes: str, **more: Any) -> dict[str, Any]:
        """Issue a token over the API; returns the whole answer."""
        order = {"owner": owner, "scopes": list(scopes), **more}
        answer = self.call("POST", "/tokens", self.admin, json=order)
        assert answer.status_code == 201, answer.text
        issued: dict[str, Any] = answer.json()
        return issued

    def token(self, owner: str, *scopes: str) -> str:
        """A token for `owner`; to write and read events unless `scopes` are given."""
        return str(self.issue(owner, *(scopes or ("events:write", "events:read")))["token"])

    # ---------------------------------------------------------------- from behind

    @cached_property
    def settings(self) -> Settings:
        return load(self.variables)

    @cached_property
    def dynamodb(self) -> Any:
        return self.emulator.client("dynamodb")

    @cached_property
    def s3(self) -> Any:
        return self.emulator.client("s3")

    @cached_property
    def sqs(self) -> Any:
        return self.emulator.client("sqs")

    @cached_property
    def functions(self) -> Any:
        return self.emulator.client("lambda")

    def function_name(self, function: str) -> str:
        """The Lambda name of a function."""
        suffix = "" if function == "api_handler" else f"-{function}"
        return f"eventline-{self.name}{suffix}"

    def queue_url(self, arn: str) -> str:
        """Where a queue answers on the emulator."""
        url: str = self.sqs.get_queue_url(QueueName=arn.rsplit(":", 1)[-1])["QueueUrl"]
        return url

    @cached_property
    def events_url(self) -> str:
        return self.queue_url(self.settings.events_queue_arn)

    @cached_property
    def dead_letter_url(self) -> str:
        return self.queue_url(self.settings.events_dlq_arn)

    def ledger(self, client: Any = None) -> EventStore:
        """The ledger, through `client` if one is given."""
        config = self.settings
        return EventStore(
            client or self.dynamodb,
            config.events_table,
            config.bronze_bucket,
            config.silver_bucket,
            config.ledger_shards,
        )

    def lake(self, client: Any = None) -> Lake:
        """Bronze and silver, through `client` if one is given."""
        return Lake(client or self.s3, self.settings.bronze_bucket, self.settings.silver_bucket)

    def queue(self, client: Any = None) -> Queue:
        """The worker's queue, through `client` if one is given."""
        return Queue(client or self.sqs, self.events_url)

    def alert_queue(self) -> Queue:
        """The queue of everything that is to become an alert."""
        return Queue(self.sqs, self.queue_url(self.settings.ci_queue_arn))

    def bus(self) -> Bus:
        """The stage's EventBridge bus."""
        return Bus(self.emulator.client("events"), self.settings.event_bus)

    def record(self, event_id: str) -> Record | None:
        """The event's record in the ledger."""
        return self.ledger().get(event_id)

    def follow(self, event_id: str, *ends: Status) -> Record:
        """The event's record once its status is among `ends`: PROCESSED or FAILED by default."""
        wanted = ends or _ENDS

        def look() -> Record | None:
            record = self.record(event_id)
            return record if record is not None and record.status in wanted else None

        try:
            return wait_for(f"{event_id} to be {' or '.join(wanted)}", look)
        except AssertionError as error:
            error.add_note(f"it is {self.record(event_id)}")
            raise

    def versions(self, bucket: str, key: str) -> int:
        """How often an object was written, kept or overwritten."""
        answer = self.s3.list_object_versions(Bucket=bucket, Prefix=key)
        return len(answer.get("Versions", [])) + len(answer.get("DeleteMarkers", []))

    def silver_documents(self, event: Event) -> int:
        """How many silver documents the event has, alone or in files of many."""
        found = 0
        for prefix in self.lake().silver_types():
            for page in self.lake().silver_keys(prefix):
                for key, _ in page:
                    if key.endswith(".ndjson") or event.event_id in key:
                        body = self.lake().get_silver(key)
                        found += body.count(f'"eventId":"{event.event_id}"'.encode())
        return found

    def silver(self, event: Event) -> dict[str, Any]:
        """The event's silver document."""
        record = self.record(event.event_id)
        assert record is not None
        assert record.silver_key is not None
        body = self.lake().get_silver(record.silver_key, record.silver_range)
        document: dict[str, Any] = json.loads(body)
        return document

    def records_of(self, owner: str) -> list[str]:
        """The ids of all events of an owner, from the table itself."""
        pages = self.dynamodb.get_paginator("scan").paginate(
            TableName=self.settings.events_table,
            FilterExpression="#owner = :owner",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={":owner": {"S": owner}},
        )
        return [item["eventId"]["S"] for page in pages for item in page["Items"]]

    def invoke(self, function: str, payload: Any) -> Any:
        """Run a function and return its result; AssertionError when it raises."""
        answer = self.functions.invoke(
            FunctionName=self.function_name(function), Payload=json.dumps(payload).encode()
        )
        result = json.loads(answer["Payload"].read() or b"null")
        assert "FunctionError" not in answer, result
        return result

    def reconcile(self) -> dict[str, Any]:
        """Let `reconcile` take everything unfinished for stuck; returns its report."""
        report: dict[str, Any] = self.invoke("reconcile", {"stuckAfterSeconds": 0})
        return report

    def waiting(self) -> dict[str, int]:
        """How many messages the worker's queue has, by SQS's names for it."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.events_url, AttributeNames=names)
        return {name: int(answer["Attributes"][name]) for name in names}

    def dead_letters(self) -> list[dict[str, Any]]:
        """All messages that ever came to the dead-letter queue."""
        while True:
            answer = self.sqs.receive_message(
                QueueUrl=self.dead_letter_url,
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                WaitTimeSeconds=0,
            )
            if not answer.get("Messages"):
                return self._dead_letters
            for message in answer["Messages"]:
                self._dead_letters.append(message)
                self.sqs.delete_message(
                    QueueUrl=self.dead_letter_url, ReceiptHandle=message["ReceiptHandle"]
                )

    def dead_letters_with(self, text: str) -> list[dict[str, Any]]:
        """Those whose body holds `text`."""
        return [message for message in self.dead_letters() if text in message["Body"]]

    @contextmanager
    def paused_worker(self) -> Iterator[None]:
        """Let messages lie in the queue: the worker's event source is off inside the block."""
        name = self.function_name("process_events")
        found = self.functions.list_event_source_mappings(FunctionName=name)
        (mapping,) = found["EventSourceMappings"]
        wait_for("an idle queue", lambda: not any(self.waiting().values()))
        self.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        try:
            yield
        finally:
            self.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
