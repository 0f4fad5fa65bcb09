"""Destinations as deployed: from an event to a server, with IAM enforced."""

import time
from collections.abc import Callable, Iterator

import pytest
import requests
from standardwebhooks.webhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook

from tests.support.deployed_stage import Stage
from tests.support.factories import unique
from tests.support.webhook_receiver import Receiver, answer

# Only the stage `local` may call this machine.
pytestmark = [pytest.mark.emulator, pytest.mark.one_stage]
SCOPES = ["events:write", "events:read", "destinations:write", "destinations:read"]
PATIENCE_SECONDS = 60.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().listening() as receiver:
        yield receiver


class Client:
    """Somebody with destinations."""

    def __init__(self, stage: Stage) -> None:
        self._url = stage.url
        self._headers = {"Authorization": f"Bearer {stage.token(unique('owner'), *SCOPES)}"}

    def call(self, method: str, path: str, body: object = None) -> requests.Response:
        return requests.request(
            method, self._url + path, json=body, headers=self._headers, timeout=30
        )


def until(what: Callable[[], bool]) -> None:
    """Wait for it."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def test_an_event_arrives_signed_and_is_tried_again(stage: Stage, receiver: Receiver) -> None:
    somebody = Client(stage)
    order = {"url": receiver.url, "eventTypes": ["order.*"]}
    made = somebody.call("POST", "/destinations", order).json()
    # The worker may remember for a moment that there was none.
    time.sleep(2)
    receiver.then(answer(503, b"later"))

    sent = somebody.call("POST", "/events", {"eventType": "order.paid", "total": 5}).json()

    until(lambda: len(receiver.got) == 2)
    for got in receiver.got:
        assert got.headers["webhook-id"] == sent["eventId"]
        SvixWebhook(made["secret"]).verify(got.body, dict(got.headers))
        body = Webhook(made["secret"]).verify(got.body, dict(got.headers))
        assert body["data"]["total"] == 5
    path = f"/events/{sent['eventId']}/deliveries"
    until(lambda: somebody.call("GET", path).json()["items"][0]["state"] == "delivered")
    (delivery,) = somebody.call("GET", path).json()["items"]
    assert [one["status"] for one in delivery["attempts"]] == [503, 200]


def test_410_disables_and_a_change_enables(stage: Stage, receiver: Receiver) -> None:
    somebody = Client(stage)
    order = {"url": receiver.url, "eventTypes": ["*"]}
    path = f"/destinations/{somebody.call('POST', '/destinations', order).json()['id']}"
    time.sleep(2)
    receiver.then(answer(410))
    sent = somebody.call("POST", "/events", {"eventType": "order.paid"}).json()
    until(lambda: somebody.call("GET", path).json()["state"] == "disabled")

    assert somebody.call("PUT", path, order).json()["state"] == "active"
    retried = somebody.call("POST", f"{path}/retry", {"failedSince": "2026-01-01"})

    assert retried.status_code == 202
    until(lambda: len(receiver.got) == 2)
    assert receiver.got[1].headers["webhook-id"] == sent["eventId"]


def test_an_ordered_destination_gets_a_subject_s_events_in_their_order(
    stage: Stage, receiver: Receiver
) -> None:
    # Given a server that takes the first event only at its second try
    somebody = Client(stage)
    order = {"url": receiver.url, "eventTypes": ["order.*"], "ordered": True}
    assert somebody.call("POST", "/destinations", order).status_code == 201
    time.sleep(2)
    receiver.then(answer(500, b"not yet"))

    # When events of two subjects are sent
    def send(subject: str) -> str:
        event = {"eventType": "order.paid", "subject": subject}
        event_id: str = somebody.call("POST", "/events", event).json()["eventId"]
        return event_id

    first = send("order/7")
    until(lambda: len(receiver.got) == 1)
    events = [first, *(send("order/7") for _ in range(4))]
    send("order/8")

    # Then the others of its subject come after it, one after the other
    until(lambda: len(receiver.got) == 7)
    got = [one.headers["webhook-id"] for one in receiver.got]
    assert [one for one in got if one in events] == [first, *events]
