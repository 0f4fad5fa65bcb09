"""The steps of `make smoke` that begin or end in AWS: uploads, items, alerts, the event bus."""

import base64
import hmac
import json
import random
import string
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import boto3
import requests
from botocore.exceptions import BotoCoreError, ClientError

from local.console import FailedError, say
from local.smoke_api import REQUEST_SECONDS, Api, check, until

_OWN_PATH = "/eventline-smoke"
_REMEMBERED_SECONDS = 1.5
"""Longer than the workers of the stage `local` remember who has destinations."""
_PORT_OFFSET = 1000
_MAX_PORT = 65535


class Triggers:
    """What runs behind the API, reached as `.local/env` says."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.stage = env["STAGE"]
        self.aws_port = urlsplit(env["AWS_ENDPOINT_URL"]).port or 0
        self.slack_parameter = f"/eventline/{self.stage}/slack/webhook_url"

    def client(self, service: str) -> Any:
        """A client of boto3."""
        return boto3.client(
            service,
            endpoint_url=self._env["AWS_ENDPOINT_URL"],
            region_name=self._env["AWS_DEFAULT_REGION"],
            aws_access_key_id=self._env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self._env["AWS_SECRET_ACCESS_KEY"],
        )

    def steps(self) -> Sequence[tuple[str, Callable[[Api], str]]]:
        """The steps in their order, with their titles."""
        steps = (
            ("an upload", self._upload),
            ("an item's life", self._keep_item),
            ("its owner is told", self._tell_owner),
            ("a CI failure", self._alert),
            ("a rule on the event bus", self._publish),
            ("a destination", self._deliver),
        )
        return [(title, plainly(action)) for title, action in steps]

    def _upload(self, api: Api) -> str:
        """A file goes up through a signed form, and its record is in the list."""
        order = {"filename": "grüße 1+1.txt", "contentType": "text/plain"}
        offer = api.call("POST", "/uploads", 201, json=order).json()
        try:
            sent = api.session.post(
                offer["url"],
                data=offer["fields"],
                files={"file": ("file", b"hello")},
                timeout=REQUEST_SECONDS,
            )
        except requests.RequestException as error:
            raise FailedError(f"the upload got no answer: {error}") from error
        check(sent.ok, f"the upload was answered {sent.status_code}: {sent.text[:500]}")

        def look() -> dict[str, Any] | None:
            listed = api.call("GET", "/uploads", 200, params={"limit": "100"}).json()["items"]
            return next((one for one in listed if one["objectKey"] == offer["objectKey"]), None)

        record = until("the record of the upload", look)
        check(record["size"] == len(b"hello"), f"the record is {record}")
        hours = (record["ttl"] - record["timestamp"]) / 3600
        check(hours > 0, f"the record has no time to live: {record}")
        return f"{record['size']} bytes, recorded for {hours:.0f} h"

    def _keep_item(self, api: Api) -> str:
        """An item is created, read, changed, protected from a stale change, deleted."""
        created = api.call("POST", "/items", 201, json={"name": "chair", "price": 3})
        path, etag = f"/items/{created.json()['itemId']}", created.headers["ETag"]
        table = {"name": "table", "price": 3}
        api.call("PUT", path, 428, json=table)
        changed = api.call("PUT", path, 200, json=table, headers={"If-Match": etag})
        api.call("PUT", path, 412, json=table, headers={"If-Match": etag})
        item = api.call("GET", path, 200).json()
        check(item["data"] == table, f"the item holds {item['data']}")
        newest = {"If-Match": changed.headers["ETag"]}
        api.call("DELETE", path, 204, headers=newest)
        api.call("GET", path, 404)
        return "created, changed, kept from a stale change, deleted"

    def _tell_owner(self, api: Api) -> str:
        """Who subscribes a queue, and sends back the token that came to it, is told of a change."""
        with self._queue("sns.amazonaws.com") as (arn, receive):
            order = {"protocol": "sqs", "endpoint": arn}
            api.call("POST", "/subscriptions", 201, json=order)
            asked = until("the question", lambda: receive("Confirm the subscription"))
            order["token"] = asked["MessageAttributes"]["token"]["Value"]
            made = api.call("POST", "/subscriptions", 201, json=order).json()
            check(made["status"] == "confirmed", f"the subscription is {made}")
            item = api.call("POST", "/items", 201, json={"name": "chair"}).json()
            told = until("the notification", lambda: receive(item["itemId"]))
            api.call("DELETE", f"/items/{item['itemId']}", 204, headers={"If-Match": "*"})
            api.call("DELETE", f"/subscriptions/{made['subscriptionId']}", 204)
        return str(told["Subject"])

    def _alert(self, api: Api) -> str:
        """What a pipeline puts on the queue becomes a Slack message."""
        # Numbers and ids make no difference to an alert, so what makes this one new is letters.
        title = f"Smoke test {''.join(random.choices(string.ascii_lowercase, k=12))}"  # noqa: S311
        sqs = self.client("sqs")
        url = sqs.get_queue_url(QueueName=f"eventline-{self.stage}-ci-events-queue")["QueueUrl"]
        sqs.send_message(
            QueueUrl=url, MessageBody=json.dumps({"status": "error", "message": title})
        )

        def look() -> dict[str, Any] | None:
            listed = api.call("GET", "/alerts", 200, params={"limit": "100"}).json()["items"]
            return next((one for one in listed if one["title"] == title), None)

        def is_delivered() -> dict[str, Any] | None:
            group = look()
            return group if group and group["deliveredAt"] else None

        try:
            group = until("the alert to be delivered", is_delivered)
        except FailedError as error:
            raise FailedError(f"{error}; it is {look()}") from error
        return f"{group['severity']}, delivered {group['deliveredAt'][11:19]}"

    def _publish(self, api: Api) -> str:
        """A rule of one's own gets the entry for a processed event."""
        events = self.client("events")
        bus = {"EventBusName": f"eventline-{self.stage}"}
        rule = f"smoke-{random.randrange(16**8):08x}"  # noqa: S311
        pattern = json.dumps({"source": ["eventline"], "detail-type": ["smoke"]})
        with self._queue("events.amazonaws.com") as (arn, receive):
            events.put_rule(Name=rule, EventPattern=pattern, **bus)
            try:
                events.put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": arn}], **bus)
                sent = api.call("POST", "/events", 202, json={"eventType": "smoke"}).json()
                told = until("the entry", lambda: receive(sent["eventId"]))
                events.remove_targets(Rule=rule, Ids=["queue"], **bus)
            finally:
                events.delete_rule(Name=rule, Force=True, **bus)
        document = told["detail"]["silver"]["key"]
        check(sent["eventId"] in document, f"the entry names another document: {told}")
        return f"{told['source']}, {told['detail-type']}, with {document.partition('/')[0]}"

    def _deliver(self, api: Api) -> str:
        """An event goes to a server on loopback, signed with the secret that was shown once."""
        event_type = f"smoke.{random.randrange(16**8):08x}"  # noqa: S311
        with _receiving() as server:
            url, got = f"http://127.0.0.1:{server.server_port}/hooks", server.got
            order = {"url": url, "eventTypes": [event_type]}
            made = api.call("POST", "/destinations", 201, json=order).json()
            time.sleep(_REMEMBERED_SECONDS)
            api.call("POST", "/events", 202, json={"eventType": event_type, "total": 5})
            until("the delivery", lambda: got)
            api.call("DELETE", f"/destinations/{made['id']}", 204)
        headers, body = got[0]
        check(_is_signed(made["secret"], headers, body), f"the signature is wrong: {headers}")
        return f"{len(body)} bytes, signed"

    @contextmanager
    def _queue(self, sender: str) -> Iterator[tuple[str, Callable[[str], dict[str, Any] | None]]]:
        """A queue that `sender` may send to, gone after the block: its ARN, and a function that
        receives until it has a message whose text holds a given one."""
        sqs = self.client("sqs")
        url = sqs.create_queue(QueueName=f"smoke-{random.randrange(16**8):08x}")["QueueUrl"]  # noqa: S311

        def receive(text: str) -> dict[str, Any] | None:
            answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0)
            bodies = [message["Body"] for message in answer.get("Messages", [])]
            return next((json.loads(body) for body in bodies if text in body), None)

        try:
            wanted = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
            arn = wanted["Attributes"]["QueueArn"]
            statement = {
                "Effect": "Allow",
                "Principal": {"Service": sender},
                "Action": "sqs:SendMessage",
                "Resource": arn,
            }
            policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
            yield arn, receive
        finally:
            sqs.delete_queue(QueueUrl=url)


@contextmanager
def slack_webhook(triggers: Triggers) -> Iterator[None]:
    """See that there is a webhook inside the block: the one that is set, or else one that takes
    everything on loopback, whose parameter is gone after the block."""
    ssm = triggers.client("ssm")
    name = triggers.slack_parameter
    if _is_set(ssm, name):
        say(f"Slack: the webhook in {name} gets one message from each run of the steps")
        yield
        return
    with _receiving(_port_beside(triggers.aws_port)) as server:
        url = f"http://127.0.0.1:{server.server_port}{_OWN_PATH}"
        try:
            ssm.put_parameter(Name=name, Value=url, Type="SecureString", Overwrite=True)
            say(f"Slack: no webhook is set in {name}; a receiver on loopback stands in for it")
            yield
        finally:
            ssm.delete_parameter(Name=name)


def _is_set(ssm: Any, name: str) -> bool:
    """Whether there is a webhook that no smoke test left behind."""
    try:
        found = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        return False
    except (ClientError, BotoCoreError) as error:
        raise FailedError(f"SSM did not answer: {error}") from error
    return not str(found).endswith(_OWN_PATH)


def _is_signed(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a message is signed with a secret, as Standard Webhooks says."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    wanted = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return f"v1,{wanted}" in headers["webhook-signature"].split()


def _port_beside(aws_port: int) -> int:
    """The same port each time: functions remember a webhook's URL for minutes."""
    return aws_port + _PORT_OFFSET if aws_port + _PORT_OFFSET <= _MAX_PORT else 0


@contextmanager
def _receiving(port: int = 0) -> Iterator["_Receiver"]:
    """A server on loopback that takes every message, on `port` where that is free."""
    try:
        server = _Receiver(port)
    except OSError:
        server = _Receiver(0)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Receiver(ThreadingHTTPServer):
    """`got` has the headers and the body of each message."""

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Taker)
        self.got: list[tuple[Mapping[str, str], bytes]] = []


class _Taker(BaseHTTPRequestHandler):
    server: _Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.got.append((dict(self.headers), body))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


def plainly(action: Callable[[Api], str]) -> Callable[[Api], str]:
    """The step, with what AWS refuses said in the way of the other steps."""

    def run(api: Api) -> str:
        try:
            return action(api)
        except (ClientError, BotoCoreError) as error:
            raise FailedError(f"AWS: {error}") from error

    return run
