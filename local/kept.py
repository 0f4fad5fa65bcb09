"""Whether the emulator still has what its kept state should hold."""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from local.console import FailedError

Clients = Callable[[str], Any]

_QUEUE_URL = re.compile(r"http://(localhost|127\.0\.0\.1):\d+/")


def check_resources(environ: dict[str, str], client: Clients) -> None:
    """Raise `FailedError` naming the first table, bucket or queue in `environ` that is not there.

    `environ` is a stage's environment variables, `client` makes an AWS client by service name.
    """
    for name, look in _resources(environ, client):
        try:
            look()
        except ClientError as error:
            raise FailedError(f"{name} is not there: {error}") from error


def is_deployed(record: Path, client: Clients) -> bool:
    """Whether all that Chalice's record of a deployment lists is still there."""
    try:
        for resource in json.loads(record.read_text())["resources"]:
            _look_up(resource, client)
    except (OSError, ValueError, KeyError, TypeError, ClientError):
        return False
    return True


def forget_api(record: Path, client: Clients) -> None:
    """Delete the REST API of a deployment and strike it from Chalice's record."""
    deployed = json.loads(record.read_text())
    kept = []
    for resource in deployed["resources"]:
        if resource["resource_type"] == "rest_api":
            client("apigateway").delete_rest_api(restApiId=resource["rest_api_id"])
        else:
            kept.append(resource)
    record.write_text(json.dumps({**deployed, "resources": kept}, indent=2) + "\n")


def _resources(
    environ: dict[str, str], client: Clients
) -> Iterator[tuple[str, Callable[[], object]]]:
    for variable, value in environ.items():
        if variable.endswith("_TABLE"):
            yield value, partial(client("dynamodb").describe_table, TableName=value)
        elif variable.endswith("_BUCKET"):
            yield value, partial(client("s3").head_bucket, Bucket=value)
        elif ":sqs:" in value:
            queue = value.rpartition(":")[2]
            yield queue, partial(client("sqs").get_queue_url, QueueName=queue)


def _look_up(resource: dict[str, str], client: Clients) -> None:
    """Raise `ClientError` when a resource of Chalice's record is gone."""
    kind = resource["resource_type"]
    if kind == "iam_role":
        client("iam").get_role(RoleName=resource["role_name"])
    elif kind == "lambda_function":
        client("lambda").get_function(FunctionName=resource["lambda_arn"])
    elif kind == "cloudwatch_event":
        client("events").describe_rule(Name=resource["rule_name"])
    elif kind == "rest_api":
        client("apigateway").get_rest_api(restApiId=resource["rest_api_id"])
    elif "event_uuid" in resource:
        client("lambda").get_event_source_mapping(UUID=resource["event_uuid"])


def move_queues(services: Path, port: int) -> None:
    """Let kept queues answer on `port`: the emulator knows a queue by its URL, port and all, and
    would look in vain for those that were made under another."""
    for name in ("sqs.json", "cloudformation.json"):
        file = services / name
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            moved = _QUEUE_URL.sub(rf"http://\g<1>:{port}/", text)
            if moved != text:
                file.write_text(moved, encoding="utf-8")


def forget_stream_positions(services: Path) -> None:
    """Let the functions that read streams begin anew: the emulator keeps how far they had read, but
    not the records, and would skip as many changes as were read before."""
    file = services / "lambda.json"
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        del kept["payload"]["dynamodb_stream_positions"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    file.write_text(json.dumps(kept), encoding="utf-8")
