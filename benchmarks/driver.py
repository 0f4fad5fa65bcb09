"""Calls the functions of `app.py` as Lambda does, in this process, on the stage in `os.environ`."""

import importlib
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import boto3

from chalicelib.core.errors import BatchIncompleteError

_SECONDS_LEFT = 300


def api_event(
    method: str,
    route: str,
    *,
    path: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
    scopes: str = "events:write events:read",
) -> dict[str, Any]:
    """A request as API Gateway hands it to Lambda after the authorizer."""
    return {
        "requestContext": {
            "httpMethod": method,
            "resourcePath": route,
            "authorizer": {"owner": "bench", "scopes": scopes, "tokenId": "bench"},
            "requestId": str(uuid.uuid4()),
        },
        "headers": {"content-type": "application/json", **(headers or {})},
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()}
        if query
        else None,
        "pathParameters": dict(path) if path else None,
        "stageVariables": None,
        "body": body,
        "isBase64Encoded": False,
    }


class Context:
    """The part of Lambda's context object that the functions use."""

    def __init__(self) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self.function_name = "benchmark"

    def get_remaining_time_in_millis(self) -> int:
        """Enough for anything that is measured here."""
        return _SECONDS_LEFT * 1000


class Driver:
    """The application, with a queue's other end in hand. Make it inside `workspace.emulator`."""

    def __init__(self, queue_arn: str, worker: str = "process_events") -> None:
        """`worker` is the function that takes the queue's messages."""
        self._module = importlib.import_module("app")
        self._worker = worker
        self._sqs: Any = boto3.client("sqs")
        self._queue_arn = queue_arn
        name = queue_arn.rpartition(":")[2]
        self._queue_url: str = self._sqs.get_queue_url(QueueName=name)["QueueUrl"]

    def request(
        self,
        method: str,
        route: str,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
        scopes: str = "events:write events:read",
    ) -> dict[str, Any]:
        """Send a request as API Gateway would after the authorizer; the answer's body.

        Raises `RuntimeError` when the answer is an error.
        """
        event = api_event(
            method, route, path=path, query=query, body=body, headers=headers, scopes=scopes
        )
        answer = self._module.app(event, Context())
        if answer["statusCode"] >= 400:
            raise RuntimeError(f"{method} {route} answered {answer['statusCode']}")
        answered: dict[str, Any] = json.loads(answer["body"])
        return answered

    def ingest(self, event_type: str, filler: int = 100, key: str | None = None) -> str:
        """`POST /events` with a payload of about `filler` bytes; the event's id."""
        body = json.dumps({"eventType": event_type, "filler": "x" * filler})
        headers = {} if key is None else {"idempotency-key": key}
        event_id: str = self.request("POST", "/events", body=body, headers=headers)["eventId"]
        return event_id

    def batch(self, events: Sequence[Mapping[str, Any]]) -> None:
        """`POST /events/batch`; `RuntimeError` unless every event is accepted or known."""
        body = json.dumps({"events": events})
        results = self.request("POST", "/events/batch", body=body)["results"]
        if {result["status"] for result in results} - {"accepted", "duplicate"}:
            raise RuntimeError(f"a batch was not accepted: {results}")

    def authorize(self, token: str) -> None:
        """Check a token, as API Gateway asks for it."""
        arn = "arn:aws:execute-api:us-east-1:000000000000:bench/api/POST/events"
        event = {"type": "TOKEN", "authorizationToken": f"Bearer {token}", "methodArn": arn}
        self._module.authorize(event, Context())

    def receive(self, count: int) -> list[dict[str, Any]]:
        """Take `count` messages off the queue, as records of a Lambda SQS event."""
        records: list[dict[str, Any]] = []
        while len(records) < count:
            answer = self._sqs.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=min(10, count - len(records)),
                WaitTimeSeconds=5,
                MessageSystemAttributeNames=["All"],
            )
            if not answer.get("Messages"):
                raise RuntimeError(f"the queue holds {len(records)} messages, not {count}")
            records += [self._record(message) for message in answer["Messages"]]
        return records

    def drain(self) -> None:
        """Give the worker all that is in the queue, up to ten messages a run."""
        while True:
            answer = self._sqs.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=10,
                MessageSystemAttributeNames=["All"],
            )
            records = [self._record(message) for message in answer.get("Messages", [])]
            if not records:
                return
            if not self.process(records):
                raise RuntimeError("the worker did not take its batch")
            self.settle(records)

    def settle(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Delete a batch of at most ten, as Lambda's poller does after the worker returned.

        Messages that the worker deleted already are passed over.
        """
        entries = [
            {"Id": str(number), "ReceiptHandle": record["receiptHandle"]}
            for number, record in enumerate(records)
        ]
        self._sqs.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)

    def process(self, records: Sequence[Mapping[str, Any]], attempt: int = 1) -> bool:
        """Give a batch to the worker; whether it took every message."""
        delivered = [
            {
                **record,
                "attributes": {**record["attributes"], "ApproximateReceiveCount": str(attempt)},
            }
            for record in records
        ]
        try:
            getattr(self._module, self._worker)({"Records": delivered}, Context())
        except BatchIncompleteError:
            return False
        return True

    def reconcile(self) -> None:
        """One scheduled run."""
        self._module.reconcile({}, Context())

    def _record(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self._queue_arn,
        }
