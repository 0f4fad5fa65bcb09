"""The sides of the yardstick, deployed side by side: Eventline, and the peers in `peers`.

Each is two functions of 512 MB, a queue with the worker's trigger, which is off until it is asked
for, and the tables and buckets they use. All have one role that may do everything, so that the
emulator checks the same for each call.
"""

import base64
import io
import json
import re
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from benchmarks import archive
from benchmarks.driver import api_event
from infra import event_sources, project
from local.layout import STAGE, Layout

MEMORY_MB = 512
BATCH = 10
"""Messages a run of a peer's worker: Lambda's default."""
_PEERS = Path(__file__).parent / "peers"
_POWERTOOLS = "aws_lambda_powertools"
_TIMEOUT_SECONDS, _VISIBILITY_SECONDS = 29, 180
_ATTEMPTS = 3
_DRAIN_SECONDS, _POLL_SECONDS = 120.0, 0.05
# The stage `local` asks for schemas each second and sweeps in each run; on AWS the defaults hold.
_LOCAL_ONLY = ("SCHEMA_CACHE_SECONDS", "FULL_SWEEP_MINUTES")
_LAMBDAS_OWN = re.compile(r"(START|END|REPORT|INIT_START) |$")
_PARTIAL = "ReportBatchItemFailures"
_ROLE = "eventline-yardstick"
_EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}
_LAMBDA = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"Service": "lambda.amazonaws.com"},
        }
    ],
}


class SideError(Exception):
    """Raised when a side does not do what is measured: an error answer, events left undone."""


@dataclass(frozen=True)
class Functions:
    """The two functions of a side: how they are called, and what they need."""

    package: bytes
    ingest: tuple[str, str]
    work: tuple[str, str]
    environ: Mapping[str, str]


class Side:
    """One side in the emulator."""

    def __init__(self, name: str, functions: Functions, queue_arn: str, trigger: Mapping[str, Any]):
        self.name = name
        self.batch: int = trigger["BatchSize"]
        self.refused: list[dict[str, Any]] = []
        self._functions = functions
        self._environ = dict(functions.environ)
        # The clients are the measuring one's own, and go past the proxy.
        self._lambda: Any = boto3.client(
            "lambda", config=Config(max_pool_connections=32, retries={"total_max_attempts": 1})
        )
        self._sqs: Any = boto3.client("sqs")
        self._queue: str = self._sqs.get_queue_url(QueueName=queue_arn.rpartition(":")[2])[
            "QueueUrl"
        ]
        role: str = boto3.client("iam").get_role(RoleName=_ROLE)["Role"]["Arn"]
        for function, handler in (functions.ingest, functions.work):
            self._lambda.create_function(
                FunctionName=function,
                Runtime="python3.11",
                Role=role,
                Handler=handler,
                Code={"ZipFile": functions.package},
                MemorySize=MEMORY_MB,
                Timeout=_TIMEOUT_SECONDS,
                Environment={"Variables": self._environ},
            )
        self._mapping: str = self._lambda.create_event_source_mapping(
            EventSourceArn=queue_arn, FunctionName=functions.work[0], Enabled=False, **trigger
        )["UUID"]

    def call_through(self, url: str | None) -> None:
        """Have the ingest function call AWS at `url`, or the emulator itself; it starts cold."""
        environ = {
            name: value for name, value in self._environ.items() if name != "AWS_ENDPOINT_URL"
        }
        if url is not None:
            environ["AWS_ENDPOINT_URL"] = url
        self._lambda.update_function_configuration(
            FunctionName=self._functions.ingest[0], Environment={"Variables": environ}
        )

    def ingest(self, body: str, key: str | None = None) -> str:
        """Invoke the ingest function with one request; the event's id.

        An answer that is an error is tried again, as a client would, and noted in `refused`.
        Raises `SideError` when all are.
        """
        headers = {} if key is None else {"idempotency-key": key}
        for _ in range(_ATTEMPTS):
            answer = self._invoke(api_event("POST", "/events", body=body, headers=headers))
            if answer.get("statusCode") == 202:
                event_id: str = json.loads(answer["body"])["eventId"]
                return event_id
            self.refused.append(answer)
        raise SideError(f"{self.name} answered {answer}")

    def check_log(self) -> None:
        """Raise `SideError` unless a request writes to the log before it is answered.

        When a run writes nothing, the emulator waits 50 ms for a line before it answers.
        """
        event = api_event("POST", "/events", body=json.dumps({"eventType": "bench.log"}))
        answer = self._lambda.invoke(
            FunctionName=self._functions.ingest[0],
            Payload=json.dumps(event).encode(),
            LogType="Tail",
        )
        lines = base64.b64decode(answer.get("LogResult", "")).decode().splitlines()
        if not set(lines) - {line for line in lines if _LAMBDAS_OWN.match(line)}:
            raise SideError(f"{self.name} logs nothing, for which the emulator makes it wait")

    def purge(self) -> None:
        """Empty the queue."""
        self._sqs.purge_queue(QueueUrl=self._queue)

    def waiting(self) -> int:
        """Messages in the queue, those in flight included."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        found = self._sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=list(names))
        return sum(int(found["Attributes"][name]) for name in names)

    def drain(self) -> float:
        """Turn the worker's trigger on until the queue is empty, then off again; the seconds from
        the first message taken to the last one deleted. Raises `SideError` when it takes too long.
        """
        visible = self._visible()
        self._lambda.update_event_source_mapping(UUID=self._mapping, Enabled=True)
        began = asked = time.monotonic()
        try:
            while self.waiting():
                now = time.monotonic()
                if self._visible() == visible:
                    began = now
                if now - asked > _DRAIN_SECONDS:
                    raise SideError(f"{self.name} left {self.waiting()} messages in the queue")
                time.sleep(_POLL_SECONDS)
            return time.monotonic() - began
        finally:
            self._lambda.update_event_source_mapping(UUID=self._mapping, Enabled=False)

    def status(self, event_id: str) -> str:
        """An event's status, as the side itself tells it."""
        answer = self._invoke(api_event("GET", "/events/{event_id}", path={"event_id": event_id}))
        if answer.get("statusCode") != 200:
            raise SideError(f"{self.name} answered {answer}")
        told: str = json.loads(answer["body"])["status"]
        return told

    def _visible(self) -> int:
        name = "ApproximateNumberOfMessages"
        found = self._sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=[name])
        return int(found["Attributes"][name])

    def _invoke(self, event: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._lambda.invoke(
            FunctionName=self._functions.ingest[0], Payload=json.dumps(event).encode()
        )
        told: dict[str, Any] = json.loads(answer["Payload"].read())
        return told


class Peer(Side):
    """One of the peers, whose table is all there is to ask."""

    def status(self, event_id: str) -> str:
        """An event's status in the table."""
        found = boto3.client("dynamodb").get_item(
            TableName=self._environ["EVENTS_TABLE"],
            Key={"eventId": {"S": event_id}},
            ConsistentRead=True,
        )
        told: str = found["Item"]["status"]["S"]
        return told


def deploy(layout: Layout, endpoint: str) -> list[Side]:
    """Deploy all sides, their functions calling AWS at `endpoint`: Eventline, then the peers.

    Call it in `workspace.emulator`.
    """
    iam = boto3.client("iam")
    iam.create_role(RoleName=_ROLE, AssumeRolePolicyDocument=json.dumps(_LAMBDA))
    iam.put_role_policy(
        RoleName=_ROLE, PolicyName="everything", PolicyDocument=json.dumps(_EVERYTHING)
    )
    return [
        _eventline(layout, endpoint),
        _peer("plain", "plain", endpoint),
        _peer("Powertools", "powertools", endpoint, FunctionResponseTypes=[_PARTIAL]),
    ]


def _eventline(layout: Layout, endpoint: str) -> Side:
    """The package, handlers and trigger as Chalice makes them, and `make deploy` after it."""
    packed = archive.build(layout)
    made = json.loads((packed.parent / "chalice.tf.json").read_text(encoding="utf-8"))["resource"]
    api, worker = (made["aws_lambda_function"][name] for name in ("api_handler", "process_events"))
    environ = dict(worker["environment"]["variables"])
    for name in _LOCAL_ONLY:
        environ.pop(name, None)
    source = made["aws_lambda_event_source_mapping"]["process_events-sqs-event-source"]
    trigger = {
        "BatchSize": source["batch_size"],
        "MaximumBatchingWindowInSeconds": source["maximum_batching_window_in_seconds"],
    }
    side = Side(
        "Eventline",
        Functions(
            packed.read_bytes(),
            (api["function_name"], api["handler"]),
            (worker["function_name"], worker["handler"]),
            environ | {"AWS_ENDPOINT_URL": endpoint},
        ),
        source["event_source_arn"],
        trigger,
    )
    part = project.stage_config(project.read_config(layout.project), STAGE)
    deployed = [{"resource_type": "lambda_function", "name": "process_events"}]
    event_sources.apply(boto3.client("lambda"), STAGE, part, deployed)
    return side


def _peer(name: str, module: str, endpoint: str, **trigger: Any) -> Side:
    """A peer's own tables, buckets, queue and bus, and its two functions."""
    prefix = f"yardstick-{module}"
    s3, sqs, dynamodb = (boto3.client(service) for service in ("s3", "sqs", "dynamodb"))
    for layer in ("bronze", "silver"):
        s3.create_bucket(Bucket=f"{prefix}-{layer}")
    for table, key in ((f"{prefix}-events", "eventId"), (f"{prefix}-idempotency", "id")):
        dynamodb.create_table(
            TableName=table,
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
    attributes = {"VisibilityTimeout": str(_VISIBILITY_SECONDS)}
    url = sqs.create_queue(QueueName=f"{prefix}-events", Attributes=attributes)["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    boto3.client("events").create_event_bus(Name=prefix)
    environ = {
        "AWS_ENDPOINT_URL": endpoint,
        "BRONZE_BUCKET": f"{prefix}-bronze",
        "SILVER_BUCKET": f"{prefix}-silver",
        "EVENTS_TABLE": f"{prefix}-events",
        "IDEMPOTENCY_TABLE": f"{prefix}-idempotency",
        "EVENTS_QUEUE_URL": url,
        "EVENT_BUS": prefix,
    }
    handlers = f"benchmarks.peers.{module}"
    functions = Functions(
        package(),
        (f"{prefix}-ingest", f"{handlers}.ingest"),
        (f"{prefix}-work", f"{handlers}.work"),
        environ,
    )
    trigger = {"BatchSize": BATCH, "MaximumBatchingWindowInSeconds": 0, **trigger}
    return Peer(name, functions, found["Attributes"]["QueueArn"], trigger)


def package() -> bytes:
    """What a peer's functions are made of: `peers`, and Powertools as published.

    boto3 is the runtime's, and so are the two small packages that Powertools needs.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("benchmarks/__init__.py", "")
        for source in sorted(_PEERS.glob("*.py")):
            made.write(source, f"benchmarks/peers/{source.name}")
        root = Path(str(files(_POWERTOOLS)))
        for source in sorted(root.rglob("*.py")):
            made.write(source, str(Path(_POWERTOOLS) / source.relative_to(root)))
    return packed.getvalue()
