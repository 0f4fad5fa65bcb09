"""The CloudFormation stacks of a stage: made, updated, watched and deleted.

Their templates are `infra/resources.yaml` (what holds state) and `infra/alarms.yaml`. All calls may
be repeated.
"""

import time
from pathlib import Path
from typing import Any

import yaml
from botocore.exceptions import ClientError

from infra.project import InfraError, Json, emulator_endpoint, say

RESOURCES = Path(__file__).with_name("resources.yaml")
ALARMS = Path(__file__).with_name("alarms.yaml")
_DEADLINE_SECONDS = 1800


class StackError(InfraError):
    """Raised when CloudFormation could not finish; carries the reasons it gave."""

    def __init__(self, name: str, status: str, reasons: list[str]) -> None:
        told = "".join(f"\n  {reason}" for reason in reasons)
        super().__init__(f"stack {name} ended {status}{told}")


# Ten times as fast, where PyYAML was built with it.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):  # type: ignore[misc]
    """Reads `!Ref x` and `!Sub x` as `{"Ref": x}` and `{"Fn::Sub": x}`."""


def _intrinsic(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Json:
    key = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    if isinstance(node, yaml.SequenceNode):
        return {key: loader.construct_sequence(node, deep=True)}
    if isinstance(node, yaml.MappingNode):
        return {key: loader.construct_mapping(node, deep=True)}
    value = str(node.value)
    return {key: value.split(".", 1) if suffix == "GetAtt" else value}


_Loader.add_multi_constructor("!", _intrinsic)


def read_template(path: Path = RESOURCES) -> Json:
    """Return a template with its short intrinsics written out."""
    text = path.read_text(encoding="utf-8")
    template: Json = yaml.load(text, Loader=_Loader)  # noqa: S506  # a SafeLoader with more tags
    return template


def is_protected(template: Json, stage: str) -> bool:
    """Return whether the stage's data is guarded against deletion."""
    return bool(template["Mappings"]["Stages"][stage]["Protected"])


def describe(cloudformation: Any, name: str) -> Json | None:
    """Return the stack as DescribeStacks has it, or None when there is none."""
    try:
        stacks = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        # CloudFormation has no error code of its own for this.
        if "does not exist" in error.response["Error"]["Message"]:
            return None
        raise
    live = [stack for stack in stacks if stack["StackStatus"] != "DELETE_COMPLETE"]
    return dict(live[0]) if live else None


def outputs(stack: Json) -> dict[str, str]:
    """Return the stack's outputs as a plain mapping."""
    return {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])}


def apply(
    cloudformation: Any, name: str, body: str, parameters: list[Json], tags: dict[str, str]
) -> Json:
    """Create or update the stack, wait, and return it; no change is fine.

    Raises `StackError` with CloudFormation's reasons when it did not get there.
    """
    request: Json = {
        "StackName": name,
        "TemplateBody": body,
        "Parameters": parameters,
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        # For the loops of alarms.yaml, which CloudFormation expands with a transform of its own.
        "Capabilities": ["CAPABILITY_AUTO_EXPAND"],
    }
    present = _settled(cloudformation, name)
    if present is not None and present["StackStatus"] in {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED"}:
        # The first creation failed: the stack can only be removed, and holds nothing.
        say(f"{name}: removing what a failed creation left")
        delete(cloudformation, name)
        present = None
    if present is None:
        say(f"{name}: creating")
        created: Json = cloudformation.create_stack(**request)
        return _finished(cloudformation, created["StackId"], {"CREATE_COMPLETE"})
    request["Parameters"] = _keep_previous(parameters, present)
    try:
        cloudformation.update_stack(**request)
    except ClientError as error:
        if "No updates are to be performed" in error.response["Error"]["Message"]:
            say(f"{name}: up to date")
            return present
        raise
    say(f"{name}: updating")
    return _finished(cloudformation, present["StackId"], {"UPDATE_COMPLETE"})


def delete(cloudformation: Any, name: str) -> None:
    """Delete the stack and wait; one that is not there is fine. Raises `StackError`."""
    present = describe(cloudformation, name)
    if present is None:
        return
    cloudformation.delete_stack(StackName=present["StackId"])
    _finished(cloudformation, present["StackId"], {"DELETE_COMPLETE"})


def _keep_previous(parameters: list[Json], present: Json) -> list[Json]:
    """Add what the stack has and the caller leaves alone, such as the key of its encryption."""
    given = {item["ParameterKey"] for item in parameters}
    kept = [
        {"ParameterKey": item["ParameterKey"], "UsePreviousValue": True}
        for item in present.get("Parameters", [])
        if item["ParameterKey"] not in given
    ]
    return parameters + kept


def _settled(cloudformation: Any, name: str) -> Json | None:
    present = describe(cloudformation, name)
    if present is None or not present["StackStatus"].endswith("_IN_PROGRESS"):
        return present
    say(f"{name}: waiting for {present['StackStatus']}")
    _watch(cloudformation, present["StackId"])
    return describe(cloudformation, name)


def _finished(cloudformation: Any, stack_id: str, wanted: set[str]) -> Json:
    stack = _watch(cloudformation, stack_id)
    if stack["StackStatus"] not in wanted:
        reasons = [
            f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
            for event in _events(cloudformation, stack_id)
            if event["ResourceStatus"].endswith("_FAILED")
        ]
        raise StackError(stack["StackName"], stack["StackStatus"], reasons)
    return stack


def _watch(cloudformation: Any, stack_id: str) -> Json:
    """Return the stack once nothing is in progress; prints a line whenever more is done."""
    pause = 0.2 if emulator_endpoint() else 3.0
    deadline = time.monotonic() + _DEADLINE_SECONDS
    told = -1
    while True:
        stack: Json = cloudformation.describe_stacks(StackName=stack_id)["Stacks"][0]
        running = stack["StackStatus"].endswith("_IN_PROGRESS")
        done = _done(cloudformation, stack_id)
        if done != told:
            say(f"{stack['StackName']}: {stack['StackStatus']}, {done} resources done")
            told = done
        if not running:
            return stack
        if time.monotonic() > deadline:
            raise StackError(stack["StackName"], stack["StackStatus"], ["it takes too long"])
        time.sleep(pause)


def _done(cloudformation: Any, stack_id: str) -> int:
    resources = cloudformation.describe_stack_resources(StackName=stack_id)["StackResources"]
    return sum(item["ResourceStatus"].endswith("_COMPLETE") for item in resources)


def _events(cloudformation: Any, stack_id: str) -> list[Json]:
    pages = cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack_id)
    return [event for page in pages for event in page["StackEvents"]]
