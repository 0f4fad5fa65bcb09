"""`app.py` in this process, over moto: every route and function as Chalice calls them."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chalice.test import Client, HTTPResponse
from moto.sqs.models import sqs_backends

import app
from chalicelib import wiring
from chalicelib.aws import clients
from chalicelib.tokens.manage import issue_token
from tests.conftest import STAGE_VARIABLES
from tests.support.factories import LambdaContext, unique
from tests.support.moto_aws import client, make_at_once, queue_url
from tests.support.resources import Names

NAMES = Names(
    events_table=STAGE_VARIABLES["EVENTS_TABLE"],
    tokens_table=STAGE_VARIABLES["TOKENS_TABLE"],
    schemas_table=STAGE_VARIABLES["SCHEMAS_TABLE"],
    bronze_bucket=STAGE_VARIABLES["BRONZE_BUCKET"],
    silver_bucket=STAGE_VARIABLES["SILVER_BUCKET"],
    queue="eventline-test-events",
    dead_letter_queue="eventline-test-events-dlq",
    alert_queue="eventline-test-ci-events-queue",
    bus=STAGE_VARIABLES["EVENT_BUS"],
    uploads_table=STAGE_VARIABLES["UPLOADS_TABLE"],
    items_table=STAGE_VARIABLES["ITEMS_TABLE"],
    alerts_table=STAGE_VARIABLES["ALERTS_TABLE"],
    destinations_table=STAGE_VARIABLES["DESTINATIONS_TABLE"],
)
ISSUED_AT = "2026-01-01T00:00:00.000Z"
NOTED = "9999-12-31T23:00:00.000Z"
"""As the last use of a token, so that no test has the write by which the authorizer notes it."""
SAMPLES = Path(__file__).parent.parent / "samples"
_SERVICES = ("dynamodb", "s3", "sqs", "events")


def sample(name: str) -> Any:
    """A real event from `tests/samples`."""
    return json.loads((SAMPLES / f"{name}.json").read_text())


class Sender:
    """Somebody with a token."""

    def __init__(self, client: Client, owner: str, text: str) -> None:
        self._client = client
        self.owner = owner
        self.token = text

    def get(self, path: str) -> HTTPResponse:
        return self.call("GET", path)

    def post(self, path: str, body: Any = b"", **headers: str) -> HTTPResponse:
        """POST `body`, as JSON unless it is bytes; `Idempotency_Key="k"` gives a header."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call("POST", path, raw, {"Content-Type": "application/json", **named})

    def call(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> HTTPResponse:
        all_headers = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        return self._client.http.request(method, path, headers=all_headers, body=body)

    def event_id(self, body: Any, **headers: str) -> str:
        """Send an event that is accepted; its id."""
        response = self.post("/events", body, **headers)
        assert response.status_code == 202, response.body
        event_id: str = response.json_body["eventId"]
        return event_id


class Platform:
    """The application, its AWS, and what Lambda does around it."""

    def __init__(self, poller: Any) -> None:
        self._poller = poller
        self.client = Client(app.app, stage_name="local")
        self.calls: list[str] = []

    def sender(self, *scopes: str, owner: str | None = None) -> Sender:
        """Somebody new; without `scopes`, with those that a plain sender has."""
        owner = owner or unique("owner")
        scopes = scopes or ("events:write", "events:read")
        token, text = issue_token(wiring.tokens(), owner, scopes, ISSUED_AT)
        wiring.tokens().note_use(token.token_id, NOTED)
        return Sender(self.client, owner, text)

    def aws(self, service: str) -> Any:
        """The application's own client."""
        return clients.aws(service)

    def receive(self, queue: str = NAMES.queue) -> list[dict[str, Any]]:
        """Messages as records of a Lambda event."""
        answer = self._poller.receive_message(
            QueueUrl=queue_url(queue),
            MaxNumberOfMessages=10,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return [_record(message) for message in answer.get("Messages", [])]

    def work(self, records: Sequence[dict[str, Any]] | None = None, seconds: float = 60.0) -> None:
        """Run the worker on `records`, or on what is on the queue, and do as Lambda does then."""
        records = self.receive() if records is None else records
        self.calls.clear()
        app.process_events({"Records": list(records)}, LambdaContext(seconds))
        self._poller.delete_message_batch(
            QueueUrl=queue_url(NAMES.queue),
            Entries=[
                {"Id": str(number), "ReceiptHandle": record["receiptHandle"]}
                for number, record in enumerate(records)
            ],
        )

    def reconcile(self, payload: Any = None) -> Any:
        return app.reconcile(payload or sample("eventbridge_schedule"), LambdaContext())


def without_delay() -> None:
    """Let what was sent with a delay be there at once."""
    for backends in sqs_backends.values():
        for backend in backends.values():
            for queue in backend.queues.values():
                for message in queue._messages:
                    message.delayed_until = 0


def _record(message: dict[str, Any]) -> dict[str, Any]:
    record = copy.deepcopy(sample("sqs_batch")["Records"][0])
    record |= {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": message.get("MessageAttributes", {}),
    }
    typed: dict[str, Any] = record
    return typed


@pytest.fixture
def platform(moto: None) -> Iterator[Platform]:
    """The application over empty tables, buckets and queues. The clients that `wiring` makes last
    for all tests."""
    wiring.schema_check.cache_clear()
    wiring.secrets.cache_clear()
    wiring.routes.cache_clear()
    wiring.known_destinations.cache_clear()
    make_at_once(NAMES)
    platform = Platform(client("sqs"))

    def note(model: Any, **_: Any) -> None:
        platform.calls.append(model.name)

    for service in _SERVICES:
        clients.aws(service).meta.events.register("before-call", note, "test-note")
    yield platform
    for service in _SERVICES:
        clients.aws(service).meta.events.unregister("before-call", note, "test-note")


class BreakCall:
    """`with break_call("s3", "PutObject", error): ...` makes calls of that kind fail; with
    `done=True`, AWS does what was asked and only its answer is lost; with `table`, only calls on
    that DynamoDB table fail."""

    @contextmanager
    def __call__(
        self,
        service: str,
        operation: str,
        error: Exception,
        *,
        done: bool = False,
        table: str | None = None,
    ) -> Iterator[None]:
        def fail(params: Mapping[str, Any] | None = None, **_: Any) -> None:
            if table is None or (params or {}).get("TableName", table) == table:
                raise error

        name = f"{'after-call' if done else 'before-parameter-build'}.{service}.{operation}"
        events = clients.aws(service).meta.events
        events.register(name, fail)
        try:
            yield
        finally:
            events.unregister(name, fail)


@pytest.fixture
def break_call(platform: Platform) -> BreakCall:
    """Makes AWS calls fail."""
    return BreakCall()
