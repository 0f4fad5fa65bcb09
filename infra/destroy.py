"""Removes a stage: the application, then its data and everything that held it.

    python -m infra.destroy --stage dev

It asks for the stage's name first; CONFIRM=<stage> in the environment answers for scripts. Data
of a protected stage stays unless DESTROY_DATA=<stage> is set as well.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from chalice.cli.factory import CLIFactory
from chalice.deploy.deployer import ChaliceDeploymentError
from chalice.utils import UI

from infra import project, stack
from infra.deploy import DeployError, chalice_process, deployed_resources
from infra.emulator import find_api
from infra.project import InfraError, Json, say

_GONE = {
    "NoSuchBucket", "NoSuchEntity", "NotFoundException", "ResourceNotFoundException",
}  # fmt: skip


class NotConfirmedError(InfraError):
    """Raised when the person did not type the stage's name."""


def destroy(stage: str, project_dir: Path = project.ROOT, data: bool = True) -> None:
    """Remove the application of `stage` and its alarms, and with `data` its tables, buckets,
    queues, topics, bus and secrets too.

    Safe to repeat, and finishes what an interrupted deployment or removal left. Asks nothing.
    Raises `InfraError` or botocore's errors.
    """
    config = project.read_config(project_dir)
    functions = list(project.stage_config(config, stage)["lambda_functions"])
    session = project.session()
    if deployed_resources(stage, project_dir):
        _chalice_delete(stage, project_dir)
    _sweep(session, stage, functions)
    record = project_dir / ".chalice" / "deployed" / f"{stage}.json"
    record.unlink(missing_ok=True)
    say(f"{stage}: the application is removed")
    stack.delete(project.client(session, "cloudformation"), project.alarms_stack_name(stage))
    if not data:
        say(f"{stage}: the data stays in stack {project.stack_name(stage)}")
        return
    _delete_data(session, stage)
    _delete_log_groups(project.client(session, "logs"), stage, functions)
    _delete_parameters(project.client(session, "ssm"), stage)
    say(f"{stage}: nothing is left")


def _chalice_delete(stage: str, project_dir: Path) -> None:
    with chalice_process(project_dir):
        factory = CLIFactory(str(project_dir), environ=os.environ)
        config = factory.create_config_obj(chalice_stage_name=stage)
        deleter = factory.create_deletion_deployer(
            session=factory.create_botocore_session(), ui=UI()
        )
        try:
            deleter.deploy(config, chalice_stage_name=stage)
        except ChaliceDeploymentError as error:
            raise DeployError(str(error)) from error


def _sweep(session: Any, stage: str, functions: list[str]) -> None:
    """Remove by name what Chalice has no record of, such as after an interrupted deployment."""
    lambdas = project.client(session, "lambda")
    events = project.client(session, "events")
    iam = project.client(session, "iam")
    _delete_api(session, stage, functions)
    for function in functions:
        name = project.lambda_name(stage, function)
        _delete_rule(events, f"{name}-event")
        pages = lambdas.get_paginator("list_event_source_mappings").paginate(FunctionName=name)
        for uuid in _names(pages, "EventSourceMappings", "UUID"):
            _unless_gone(lambdas.delete_event_source_mapping, UUID=uuid)
        _unless_gone(lambdas.delete_function, FunctionName=name)
        role = project.role_name(stage, function)
        pages = iam.get_paginator("list_role_policies").paginate(RoleName=role)
        for policy in _names(pages, "PolicyNames"):
            _unless_gone(iam.delete_role_policy, RoleName=role, PolicyName=policy)
        _unless_gone(iam.delete_role, RoleName=role)


def _delete_api(session: Any, stage: str, functions: list[str]) -> None:
    """Remove the REST APIs whose routes lead to this stage's handler."""
    if project.API_HANDLER not in functions:
        return
    lambdas = project.client(session, "lambda")
    name = project.lambda_name(stage, project.API_HANDLER)
    found = _unless_gone(lambdas.get_function_configuration, FunctionName=name)
    if found is None:
        return
    uri = (
        f"arn:{session.get_partition_for_region(session.region_name)}:apigateway:"
        f"{session.region_name}:lambda:path/2015-03-31/functions/{found['FunctionArn']}/invocations"
    )
    apigateway = project.client(session, "apigateway")
    while (api := find_api(apigateway, {uri})) is not None:
        apigateway.delete_rest_api(restApiId=api)


def _delete_rule(events: Any, rule: str) -> None:
    targets = _unless_gone(events.list_targets_by_rule, Rule=rule)
    if targets is None:
        return
    if targets["Targets"]:
        events.remove_targets(Rule=rule, Ids=[target["Id"] for target in targets["Targets"]])
    _unless_gone(events.delete_rule, Name=rule)


def _delete_data(session: Any, stage: str) -> None:
    cloudformation = project.client(session, "cloudformation")
    name = project.stack_name(stage)
    present = stack.describe(cloudformation, name)
    if present is None:
        return
    if present.get("EnableTerminationProtection"):
        cloudformation.update_termination_protection(
            EnableTerminationProtection=False, StackName=name
        )
    values = stack.outputs(present)
    template = stack.read_template()
    dynamodb, s3 = project.client(session, "dynamodb"), project.client(session, "s3")
    for table in _named(template, values, "AWS::DynamoDB::Table"):
        _unprotect(dynamodb, table)
    for bucket in _named(template, values, "AWS::S3::Bucket"):
        _empty(s3, bucket)
    say(f"{name}: deleting")
    stack.delete(cloudformation, name)


def _named(template: Json, values: dict[str, str], kind: str) -> list[str]:
    """Return the names of the stack's resources of a type, as its outputs have them."""
    logical = (name for name, part in template["Resources"].items() if part["Type"] == kind)
    return [values[f"{name}Name"] for name in logical if f"{name}Name" in values]


def _unprotect(dynamodb: Any, table: str) -> None:
    found = _unless_gone(dynamodb.describe_table, TableName=table)
    if found is not None and found["Table"].get("DeletionProtectionEnabled"):
        dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
        dynamodb.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 2})


def _empty(s3: Any, bucket: str) -> None:
    """Delete every version and marker, and abort unfinished uploads; tells how many went."""
    if _unless_gone(s3.get_bucket_location, Bucket=bucket) is None:
        return
    gone = 0
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        versions = [
            {"Key": item["Key"], "VersionId": item["VersionId"]}
            for item in page.get("Versions", []) + page.get("DeleteMarkers", [])
        ]
        if not versions:
            continue
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": versions, "Quiet": True})
        if answer.get("Errors"):
            raise InfraError(f"{bucket}: {json.dumps(answer['Errors'][0])}")
        gone += len(versions)
        say(f"{bucket}: {gone} versions deleted")
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in page.get("Uploads", []):
            s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


def _delete_log_groups(logs: Any, stage: str, functions: list[str]) -> None:
    """Remove the groups that a function wrote to after the stack had let go of them."""
    for function in functions:
        name = f"/aws/lambda/{project.lambda_name(stage, function)}"
        _unless_gone(logs.delete_log_group, logGroupName=name)


def _delete_parameters(ssm: Any, stage: str) -> None:
    """Remove the secrets that were put by hand for the stage; none is read."""
    pages = ssm.get_paginator("describe_parameters").paginate(
        ParameterFilters=[
            {"Key": "Path", "Option": "Recursive", "Values": [f"/{project.APP}/{stage}"]}
        ]
    )
    for name in _names(pages, "Parameters", "Name"):
        ssm.delete_parameter(Name=name)
        say(f"{name}: deleted")


def _names(pages: Any, listed: str, key: str | None = None) -> list[str]:
    """Return what the pages list, nothing when the thing listed is not there."""
    found: list[str] = []
    try:
        for page in pages:
            found += [item[key] if key else item for item in page[listed]]
    except ClientError as error:
        if error.response["Error"]["Code"] not in _GONE:
            raise
    return found


def _unless_gone(call: Any, **arguments: Any) -> Any:
    """Return what the call returns, or None when what it names does not exist."""
    try:
        return call(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            return None
        raise


def confirm(stage: str, *, protected: bool) -> bool:
    """Make sure that removal is meant; returns whether the data goes too.

    The stage's name is read from CONFIRM, else from the terminal. A protected stage keeps its
    data unless DESTROY_DATA says the name as well. Raises `NotConfirmedError`.
    """
    data = not protected or os.environ.get("DESTROY_DATA") == stage
    extent = "and ALL ITS DATA" if data else "but not its data"
    answer = os.environ.get("CONFIRM")
    if answer is None:
        try:
            answer = input(f"This removes {stage} {extent}. Type {stage} to go on: ")
        except EOFError:
            answer = ""
    if answer.strip() != stage:
        raise NotConfirmedError(f"nothing removed: {stage!r} was not confirmed")
    return data


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    given = project.arguments("Remove a stage.").parse_args(argv)
    root = given.project_dir.resolve()

    def command() -> None:
        project.stage_config(project.read_config(root), given.stage)
        protected = stack.is_protected(stack.read_template(), given.stage)
        destroy(given.stage, root, confirm(given.stage, protected=protected))

    return project.run(command)


if __name__ == "__main__":
    sys.exit(main())
