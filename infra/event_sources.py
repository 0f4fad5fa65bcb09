"""What happens to events that a function does not get done: settings that Chalice cannot make.

They are put after each deployment. S3 and SNS hand their events to Lambda, which tries a failing
function three times and forgets the event; here it goes to a dead-letter queue. A stream waits for
its function, and forgets after a day; here a batch that never succeeds is halved down to the
failing record, which then leaves a note on a dead-letter queue, and the shard goes on.

The functions set aside what they cannot handle themselves, reason and all. This net is for when
they never got that far: a crash, a time-out, a dead-letter queue that could not be reached.
Sources: AWS Lambda Developer Guide, "Retaining records of asynchronous invocations" and "Retaining
discarded records for a DynamoDB data source".
"""

import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from infra import project
from infra.project import Json, say

# Function that is invoked asynchronously -> variable with the queue for what it did not get done.
ASYNCHRONOUS = {"record_upload": "UPLOADS_DLQ_ARN", "relay_alarm": "CI_DLQ_ARN"}
ASYNCHRONOUS_RETRIES = 2
# Function that reads a stream -> variables with the stream and with that queue.
STREAMS = {"notify_owners": ("ITEMS_STREAM_ARN", "NOTIFICATIONS_DLQ_ARN")}
# Function that SQS calls -> variables with the queue and with the most that run at once.
OF_SQS = {
    "process_events": ("EVENTS_QUEUE_ARN", "EVENTS_CONCURRENCY"),
    "alert_ci_event": ("CI_QUEUE_ARN", "ALERTS_CONCURRENCY"),
    "deliver": ("DELIVERIES_QUEUE_ARN", "DELIVERIES_CONCURRENCY"),
}
# Functions that send to the queue they are called by, on purpose: steps of a bulk replay, the
# message about repeats of an alert, a delivery that is tried again. Lambda would stop such a chain
# after about 16 runs ("Use Lambda recursive loop detection to prevent infinite loops"). Each chain
# ends by itself.
SEND_TO_THEMSELVES = ("alert_ci_event", "deliver", "process_events")
# A quarter of the day that the stream keeps a record: an outage may last, a poison record may not.
STREAM_RECORD_AGE_SECONDS = 21600
# As often as that takes: the handler sets poison aside itself, so what fails here is an outage.
STREAM_RETRIES = 10_000

_TRIES = 30
_PAUSE_SECONDS = 2.0
# The rights of a role, and a mapping that was just made, take some seconds to be there.
_NOT_YET = {"InvalidParameterValueException", "ResourceConflictException", "ResourceInUseException"}


def apply(client: Any, stage: str, part: Json, deployed: list[Json]) -> int:
    """Set what differs for the functions in `deployed`; returns how many settings differed.

    `client` is a boto3 client for Lambda, `part` the stage's part of the configuration, `deployed`
    Chalice's record of the deployment. Safe to repeat.
    """
    functions = {
        resource["name"] for resource in deployed if resource["resource_type"] == "lambda_function"
    }
    changed = 0
    for function in sorted(functions & ASYNCHRONOUS.keys()):
        queue = project.setting(part, ASYNCHRONOUS[function])
        changed += _keep_failed_events(client, project.lambda_name(stage, function), queue)
    for function in sorted(functions & set(SEND_TO_THEMSELVES)):
        changed += _allow_recursion(client, project.lambda_name(stage, function))
    for function in sorted(functions & STREAMS.keys()):
        stream, queue = (project.setting(part, variable) for variable in STREAMS[function])
        changed += _bound_retries(client, project.lambda_name(stage, function), stream, queue)
    return changed


def _keep_failed_events(client: Any, function: str, queue: str) -> bool:
    wanted = {
        "MaximumRetryAttempts": ASYNCHRONOUS_RETRIES,
        "DestinationConfig": {"OnFailure": {"Destination": queue}},
    }
    try:
        there = client.get_function_event_invoke_config(FunctionName=function)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        there = {}
    if _has(there, wanted):
        return False
    _when_ready(client.put_function_event_invoke_config, FunctionName=function, **wanted)
    say(f"{function}: events that fail go to {_name(queue)}")
    return True


def _allow_recursion(client: Any, function: str) -> bool:
    if client.get_function_recursion_config(FunctionName=function)["RecursiveLoop"] == "Allow":
        return False
    _when_ready(client.put_function_recursion_config, FunctionName=function, RecursiveLoop="Allow")
    say(f"{function}: may send to its own queue")
    return True


def _bound_retries(client: Any, function: str, stream: str, queue: str) -> bool:
    wanted = {
        "BisectBatchOnFunctionError": True,
        "MaximumRetryAttempts": STREAM_RETRIES,
        "MaximumRecordAgeInSeconds": STREAM_RECORD_AGE_SECONDS,
        "DestinationConfig": {"OnFailure": {"Destination": queue}},
    }
    changed = False
    mappings = client.list_event_source_mappings(EventSourceArn=stream, FunctionName=function)
    for there in mappings["EventSourceMappings"]:
        if _has(there, wanted):
            continue
        _when_ready(client.update_event_source_mapping, UUID=there["UUID"], **wanted)
        say(f"{function}: records that fail are noted on {_name(queue)}")
        changed = True
    return changed


def _has(there: Json, wanted: Json) -> bool:
    """Return whether `there` says all that `wanted` does; AWS adds defaults of its own."""
    return all(
        _has(there.get(name) or {}, value) if isinstance(value, dict) else there.get(name) == value
        for name, value in wanted.items()
    )


def _when_ready(call: Callable[..., object], **arguments: Any) -> None:
    """Make the call; where AWS says that something is not there yet, again for a minute."""
    for left in reversed(range(_TRIES)):
        try:
            call(**arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _NOT_YET or not left:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _name(arn: str) -> str:
    return arn.rsplit(":", 1)[-1]
