"""Makes or updates what holds a stage's state, and tells the application where it is.

    python -m infra.provision --stage dev [--kms-key-arn ARN]

After it, `.chalice/config.json` has the names of the resources, the policies are rendered, and a
bare `chalice deploy --stage dev` works. Safe to repeat.
"""

import sys
from pathlib import Path
from typing import Any

from infra import project, stack
from infra.policies import Place, write_policies
from infra.project import Json, say

# Environment variable of every function -> output of the stack it is read from.
ENVIRONMENT = {
    "ACCOUNT_ID": "AccountId",
    "EVENTS_TABLE": "EventsTableName",
    "TOKENS_TABLE": "TokensTableName",
    "BRONZE_BUCKET": "BronzeBucketName",
    "SILVER_BUCKET": "SilverBucketName",
    "EVENTS_QUEUE_ARN": "EventsQueueArn",
    "EVENTS_DLQ_ARN": "EventsDeadLetterQueueArn",
}
# Function -> stack parameter with the visibility time-out of the queue it reads.
_QUEUE_READERS = {
    "process_events": "EventsVisibilitySeconds",
    "alert_ci_event": "CiEventsVisibilitySeconds",
}
_VISIBILITY_FACTOR = 6


def provision(
    stage: str, project_dir: Path = project.ROOT, kms_key_arn: str | None = None
) -> dict[str, str]:
    """Provision `stage` and return the outputs of its stack.

    `kms_key_arn` None keeps the key in use, the empty string goes back to AWS's own keys.
    Raises `InfraError` or botocore's errors; whatever was done by then is kept for the next try.
    """
    config = project.read_config(project_dir)
    part = project.stage_config(config, stage)
    template = stack.read_template(project_dir)
    session = project.session()
    cloudformation = project.client(session, "cloudformation")
    name = project.stack_name(stage)

    made = stack.apply(
        cloudformation,
        name,
        (project_dir / stack.TEMPLATE).read_text(encoding="utf-8"),
        parameters(stage, part, kms_key_arn),
        {"project": project.APP, "stage": stage},
    )
    if stack.is_protected(template, stage) and not made.get("EnableTerminationProtection"):
        cloudformation.update_termination_protection(
            EnableTerminationProtection=True, StackName=name
        )
    values = stack.outputs(made)
    if project.emulator_endpoint():
        _complete_tables(project.client(session, "dynamodb"), template, made, values)
    if write_environment(project_dir, stage, values):
        say(f".chalice/config.json: environment of {stage} written")
    changed = write_policies(project_dir, part, _place(stage, values))
    say(f"policies: {len(changed)} written, {len(part['lambda_functions'])} in all")
    return values


def parameters(stage: str, part: Json, kms_key_arn: str | None) -> list[Json]:
    """Return the stack's parameters for the part of the configuration that is the stage's.

    A queue's visibility time-out follows from the time-out of its reader, so that raising the one
    in `.chalice/config.json` raises the other.
    """
    values = {
        "Stage": stage,
        "MaxAttempts": project.setting(part, "MAX_ATTEMPTS"),
        "PlainHttpLoopback": str((project.emulator_endpoint() or "").startswith("http://")).lower(),
    }
    window = int(project.setting(part, "BATCHING_WINDOW_SECONDS"))
    for function, parameter in _QUEUE_READERS.items():
        if function in part["lambda_functions"]:
            timeout = int(part["lambda_functions"][function]["lambda_timeout"])
            values[parameter] = str(_VISIBILITY_FACTOR * timeout + window)
    if kms_key_arn is not None:
        values["KmsKeyArn"] = kms_key_arn
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]


def write_environment(project_dir: Path, stage: str, values: dict[str, str]) -> bool:
    """Write the outputs into the stage's environment; returns whether the file changed."""
    config = project.read_config(project_dir)
    environment = project.stage_config(config, stage)["environment_variables"]
    wanted = {variable: values[output] for variable, output in ENVIRONMENT.items()}
    if environment.items() >= wanted.items():
        return False
    environment.update(wanted)
    project.write_config(project_dir, config)
    return True


def _place(stage: str, values: dict[str, str]) -> Place:
    _, partition, _, region, account, _ = values["EventsTableArn"].split(":", 5)
    return Place(partition, region, account, stage, values.get("KmsKeyArn", ""))


def _complete_tables(dynamodb: Any, template: Json, made: Json, values: dict[str, str]) -> None:
    """Turn on the expiry that the emulator's CloudFormation leaves out."""
    for logical, resource in template["Resources"].items():
        expiry = resource["Properties"].get("TimeToLiveSpecification")
        if expiry is None:
            continue
        table = values[f"{logical}Name"]
        there = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        if there.get("TimeToLiveStatus") != "ENABLED":
            dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=expiry)
            say(f"{made['StackName']}: {table} expires items by {expiry['AttributeName']}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = project.arguments("Make or update what holds a stage's state.")
    parser.add_argument(
        "--kms-key-arn", help="customer key for tables, buckets and queues; '' for AWS's own"
    )
    given = parser.parse_args(argv)
    return project.run(
        lambda: provision(given.stage, given.project_dir.resolve(), given.kms_key_arn)
    )


if __name__ == "__main__":
    sys.exit(main())
