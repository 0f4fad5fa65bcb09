"""Destinations over moto: the application, receivers on loopback, and a clock to move."""

import itertools
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from chalice.test import HTTPResponse
from moto.sqs.models import sqs_backends
from msgspec.structs import replace

from chalicelib import wiring
from chalicelib.aws import clients
from chalicelib.aws.sqs import read_deliveries
from chalicelib.core.errors import BatchIncompleteError
from chalicelib.destinations.deliver import DeliverDeps, deliver_batch
from chalicelib.destinations.due import take_up_due
from chalicelib.destinations.health import Destinations
from chalicelib.destinations.model import Delivery, Destination
from chalicelib.outbound.send import Answer, Sender
from tests.conftest import ACCOUNT, REGION
from tests.support.app_on_moto import Platform
from tests.support.app_on_moto import Sender as Client
from tests.support.factories import Clock
from tests.support.moto_aws import client, queue_url

QUEUE, TABLE = "eventline-test-deliveries", "eventline-test-destinations"
SCOPES = ("events:write", "events:read", "events:admin", "destinations:write", "destinations:read")
URL = "https://shop.example.com/hooks"


class FakeSender(Sender):
    """Answers what a test says, without a network; `sent` are (url, body, headers)."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.usual = Answer(200, "", "ok", 12)
        self.sent: list[tuple[str, Any, dict[str, str]]] = []

    def __exit__(self, *_: object) -> None:
        """Keep nothing open."""

    def post(self, url: str, body: bytes, headers: Any) -> Answer:
        self.sent.append((url, json.loads(body), dict(headers)))
        return self.answers.pop(0) if self.answers else self.usual


class World:
    """The platform, somebody with destinations, and the function `deliver`."""

    def __init__(self, platform: Platform) -> None:
        wiring.routes.cache_clear()
        wiring.known_destinations.cache_clear()
        self.platform = platform
        self.clock = Clock()
        self.sender = FakeSender()
        self.somebody = platform.sender(*SCOPES)
        self.seconds = 90.0
        self.jitter = 0.0
        platform.aws("sns").create_topic(Name="eventline-test-owner-notifications")
        self._subscribe()
        self.known = Destinations(wiring.destination_store(), 0)

    def make(self, sender: Client | None = None, **order: Any) -> dict[str, Any]:
        """A destination as its maker sees it, with its secret."""
        order = {"url": URL, "eventTypes": ["order.*"], **order}
        made = (sender or self.somebody).post("/destinations", order)
        assert made.status_code == 201, made.body
        wiring.routes.cache_clear()
        return dict(made.json_body)

    def event(self, body: Any = None, **more: Any) -> str:
        """An event that was processed; its id."""
        event_id = self.somebody.event_id({"eventType": "order.paid", **(body or {}), **more})
        self.platform.work()
        return event_id

    def deps(self) -> DeliverDeps:
        deps = wiring.deliver(lambda: self.seconds)
        return replace(
            deps,
            health=replace(deps.health, destinations=self.known, now=self.clock),
            now=self.clock,
            jitter=lambda: self.jitter,
            make_sender=lambda: self.sender,
        )

    def messages(self) -> list[dict[str, Any]]:
        """What can be received now."""
        return self.platform.receive(QUEUE)

    def deliver(self, records: Sequence[dict[str, Any]] | None = None) -> bool:
        """Run the function on what is on its queue, and do as Lambda does then; whether the run
        succeeded."""
        records = self.messages() if records is None else records
        try:
            deliver_batch(read_deliveries(records), self.deps())
        except BatchIncompleteError:
            return False
        for record in records:
            client("sqs").delete_message(
                QueueUrl=queue_url(QUEUE), ReceiptHandle=record["receiptHandle"]
            )
        return True

    def delays(self) -> list[int]:
        """How long the messages on the queue are hidden, in seconds."""
        queue = sqs_backends[ACCOUNT][REGION].queues[QUEUE]
        return sorted(
            round((message.delayed_until - float(str(message.sent_timestamp))) / 1000)
            for message in queue._messages
        )

    def wake(self) -> None:
        """Let what is hidden be there at once."""
        for message in sqs_backends[ACCOUNT][REGION].queues[QUEUE]._messages:
            message.delayed_until = 0
            message.visible_at = 0

    def take_up(self) -> int:
        """What the schedule does."""
        left = iter((60.0, *(59.0,) * 1000))
        deps = replace(wiring.due_deliveries(lambda: next(left)), now=self.clock)
        return take_up_due(deps)

    def _subscribe(self) -> None:
        """Let an SQS queue hear of what concerns somebody, as their subscription does."""
        url = client("sqs").create_queue(QueueName="owner-mail")["QueueUrl"]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:owner-mail"
        wiring.subscriptions().endpoints.topic.subscribe("sqs", arn, [self.somebody.owner])
        self._mail = url

    def told_owner(self) -> list[str]:
        """What somebody was told by their subscription."""
        answer = client("sqs").receive_message(QueueUrl=self._mail, MaxNumberOfMessages=10)
        return [json.loads(one["Body"])["Message"] for one in answer.get("Messages", [])]

    def delivery(self, destination: dict[str, Any], event_id: str) -> Any:
        """A delivery as its owner sees it."""
        path = f"/events/{event_id}/deliveries"
        items = self.somebody.get(path).json_body["items"]
        (found,) = [one for one in items if one["destinationId"] == destination["id"]]
        return found

    def shown(self, destination: dict[str, Any]) -> Any:
        """A destination as its owner sees it."""
        return self.somebody.get(f"/destinations/{destination['id']}").json_body

    def stored(self, destination: dict[str, Any]) -> Destination:
        found = wiring.destination_store().get(destination["id"])
        assert found is not None
        return found

    def put(self, destination: dict[str, Any], **order: Any) -> HTTPResponse:
        body = {"url": URL, "eventTypes": ["order.*"], **order}
        return self.somebody.call(
            "PUT", f"/destinations/{destination['id']}", json.dumps(body).encode()
        )

    def retry(self, destination: dict[str, Any], **order: Any) -> HTTPResponse:
        return self.somebody.post(f"/destinations/{destination['id']}/retry", order)


def stored_delivery(destination_id: str, key: str) -> Delivery:
    found = wiring.delivery_store().get(destination_id, key)
    assert found is not None
    return found


def deliver_all(world: World, *, rounds: int = 60) -> None:
    """Run until nothing waits on the queue."""
    for _ in range(rounds):
        world.wake()
        world.clock.advance(61)
        if not (records := world.messages()):
            return
        world.deliver(records)
    raise AssertionError("messages go round")


def sent(world: World) -> list[str]:
    """The events that were sent, each time."""
    return [str(body["id"]) for _, body, _ in world.sender.sent]


def lines(made: dict[str, Any]) -> list[Any]:
    """What is in the lines of a destination, and their leases that are held."""
    items = client("dynamodb").scan(TableName=TABLE)["Items"]
    return [
        item
        for item in items
        if item["pk"]["S"].startswith(f"LINE#{made['id']}#")
        and (item["sk"]["S"] != "-" or "holder" in item)
    ]


class DeathError(BaseException):
    """The end of a process: nothing that it would have done after it is done."""


@contextmanager
def dying(at: int) -> Iterator[None]:
    """Die before the call of that number to DynamoDB or SQS: as good as after the one before."""
    calls, dead = itertools.count(1), threading.Event()

    def die(**_: Any) -> None:
        if dead.is_set() or next(calls) == at:
            dead.set()
            raise DeathError

    events = [clients.aws(service).meta.events for service in ("dynamodb", "sqs")]
    for one in events:
        one.register("before-parameter-build", die)
    try:
        yield
    finally:
        for one in events:
            one.unregister("before-parameter-build", die)
