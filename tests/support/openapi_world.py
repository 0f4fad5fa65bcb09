"""The application with somebody who has every scope, and some of everything in it."""

import hashlib
import hmac
import json
from typing import Any

from chalice.test import HTTPResponse
from msgspec.structs import replace
from standardwebhooks import Webhook

from chalicelib import wiring
from chalicelib.aws.sqs import read_deliveries
from chalicelib.core import clock
from chalicelib.core.config import queue_url
from chalicelib.destinations.deliver import deliver_batch
from chalicelib.items.endpoints import MAX_OWNERS, endpoint_id_of
from chalicelib.outbound.send import Answer
from chalicelib.web.callers import SCOPES
from tests.conftest import STAGE_VARIABLES
from tests.support.app_on_moto import Platform, Sender, without_delay
from tests.support.destination_world import FakeSender

JSON = "application/json"
SECRETS = {"github": "a-secret-for-tests", "standard": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}


class World:
    """The application, and somebody with every scope who keeps some of everything in it."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.somebody = platform.sender(*SCOPES)
        self.other = platform.sender(*(scope for scope in SCOPES if scope != "admin"))
        platform.aws("sns").create_topic(Name="eventline-test-owner-notifications")
        for source, secret in SECRETS.items():
            platform.aws("ssm").put_parameter(
                Name=f"/eventline/{STAGE_VARIABLES['STAGE']}/webhooks/{source}/secret",
                Value=secret,
                Type="SecureString",
                Overwrite=True,
            )

    def call(
        self,
        method: str,
        path: str,
        body: Any = b"",
        headers: dict[str, str] | None = None,
        sender: Sender | None = None,
    ) -> HTTPResponse:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Content-Type": JSON, **(headers or {})}
        return (sender or self.somebody).call(method, path, raw, given)

    def event(self, body: Any = None, **headers: str) -> str:
        """An event that is processed; its id."""
        event_id = self.somebody.event_id(body or {"eventType": "order.paid"}, **headers)
        self.platform.work()
        return event_id

    def rejected(self) -> str:
        """An event that was refused; its id."""
        event_id: str = json.loads(self.call("POST", "/events", b"{}").body)["eventId"]
        return event_id

    def fail(self) -> HTTPResponse:
        """A message that is not ours, and an event that failed; the event's record."""
        self.platform.aws("sqs").send_message(
            QueueUrl=queue_url(STAGE_VARIABLES["EVENTS_DLQ_ARN"]),
            MessageBody="not ours",
            MessageAttributes={"code": {"DataType": "String", "StringValue": "foreign-message"}},
        )
        failed = self.event({"eventType": "eventline.drill.permanent"})
        return self.call("GET", f"/events/{failed}")

    def event_and_report(self) -> HTTPResponse:
        """An event, and a comparison of the stores; the event's record."""
        done = self.event()
        self.platform.reconcile({"stuckAfterSeconds": 0})
        return self.call("GET", f"/events/{done}")

    def replay(self, *, done: bool = False) -> str:
        """A replay of many that runs, or came to its end; its path."""
        order = {"from": "2026-01-01T00:00:00Z"}
        path: str = self.call("POST", "/replays", order).headers["Location"]
        while done and json.loads(self.call("GET", path).body)["status"] == "RUNNING":
            without_delay()
            self.platform.work()
        return path

    def item(self) -> tuple[str, str]:
        """An item: (its path, its ETag)."""
        made = self.call("POST", "/items", {"name": "desk"})
        return made.headers["Location"], made.headers["ETag"]

    def subscription(self) -> HTTPResponse:
        order = {"protocol": "email", "endpoint": "shop@example.com"}
        return self.call("POST", "/subscriptions", order)

    def full_endpoint(self) -> HTTPResponse:
        """One owner more than an endpoint can have."""
        sqs = self.platform.aws("sqs")
        url = sqs.create_queue(QueueName="full")["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        order = {"protocol": "sqs", "endpoint": attributes["Attributes"]["QueueArn"]}
        self.call("POST", "/subscriptions", order)
        (question,) = sqs.receive_message(QueueUrl=url)["Messages"]
        order["token"] = json.loads(question["Body"])["MessageAttributes"]["token"]["Value"]
        store = wiring.subscriptions().endpoints.store
        shared = store.get(endpoint_id_of("sqs", order["endpoint"]))
        many = tuple(f"owner-{number}" for number in range(MAX_OWNERS))
        store.change(shared, lambda present: replace(present, owners=many))
        return self.call("POST", "/subscriptions", order)

    def destination(self, **order: Any) -> str:
        """A destination; its path."""
        order = {"url": "https://shop.example.com/", "eventTypes": ["order.*"], **order}
        wiring.routes.cache_clear()
        return str(self.call("POST", "/destinations", order).headers["Location"])

    def delivered(self, status: int = 200) -> tuple[str, str]:
        """An event that went to a destination: (the path of this, the event's id)."""
        path = self.destination()
        event_id = self.event()
        sender = FakeSender()
        code = "" if status < 300 else f"http-{status}"
        sender.usual = Answer(status, code, "an answer", 12)
        deps = replace(wiring.deliver(lambda: 90.0), make_sender=lambda: sender)
        records = self.platform.receive("eventline-test-deliveries")
        deliver_batch(read_deliveries(records), deps)
        return path, event_id

    def schema(self, event_type: str, schema: Any) -> HTTPResponse:
        return self.call("PUT", f"/schemas/{event_type}", schema)

    def webhook(self, source: str, body: bytes, key: str = "1", **more: str) -> HTTPResponse:
        """A delivery that is signed as its source does."""
        headers = {"Content-Type": JSON, **signature(source, body, key), **more}
        http = self.platform.client.http
        return http.request("POST", f"/webhooks/{source}", headers=headers, body=body)


def signature(source: str, body: bytes, key: str) -> dict[str, str]:
    if source == "github":
        digest = hmac.new(SECRETS["github"].encode(), body, hashlib.sha256).hexdigest()
        return {
            "X-GitHub-Event": "ping",
            "X-GitHub-Delivery": key,
            "X-Hub-Signature-256": f"sha256={digest}",
        }
    now = clock.utc_now()
    return {
        "webhook-id": key,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRETS["standard"]).sign(key, now, body.decode()),
    }
