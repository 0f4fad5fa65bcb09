"""Makes or updates a stage's state and alarms, and tells the application where they are.

    python -m infra.provision --stage dev [--kms-key-arn ARN] [--alert-email ADDRESS]

After it, `.chalice/config.json` has the names of the resources, the policies are rendered, and a
bare `chalice deploy --stage dev` works. Safe to repeat.
"""

import sys
from pathlib import Path
from typing import Any

from infra import check_settings, project, stack
from infra.policies import Place, write_policies
from infra.project import Json, say

# Environment variable of every function -> output of the stack it is read from.
ENVIRONMENT = {
    "ACCOUNT_ID": "AccountId",
    "EVENTS_TABLE": "EventsTableName",
    "TOKENS_TABLE": "TokensTableName",
    "SCHEMAS_TABLE": "SchemasTableName",
    "BRONZE_BUCKET": "BronzeBucketName",
    "SILVER_BUCKET": "SilverBucketName",
    "EVENTS_QUEUE_ARN": "EventsQueueArn",
    "EVENTS_DLQ_ARN": "EventsDeadLetterQueueArn",
    "UPLOADS_BUCKET": "UploadsBucketName",
    "UPLOADS_TABLE": "ObjectEventsTableName",
    "UPLOADS_DLQ_ARN": "UploadsDeadLetterQueueArn",
    "ITEMS_TABLE": "ItemsTableName",
    "ITEMS_STREAM_ARN": "ItemsTableStreamArn",
    "NOTIFICATIONS_DLQ_ARN": "NotificationsDeadLetterQueueArn",
    "OWNER_TOPIC_ARN": "OwnerTopicArn",
    "ALERT_TOPIC_ARN": "AlertTopicArn",
    "CI_QUEUE_ARN": "CiEventsQueueArn",
    "CI_DLQ_ARN": "CiEventsDeadLetterQueueArn",
    "ALERTS_TABLE": "AlertsTableName",
    "DESTINATIONS_TABLE": "DestinationsTableName",
    "DELIVERIES_QUEUE_ARN": "DeliveriesQueueArn",
    "DELIVERIES_DLQ_ARN": "DeliveriesDeadLetterQueueArn",
    "EVENT_BUS": "EventBusName",
    "BUS_DLQ_ARN": "BusDeadLetterQueueArn",
    "SLACK_PARAMETER": "SlackParameterName",
}
# Function -> stack parameter with the visibility time-out of the queue it reads.
_QUEUE_READERS = {
    "process_events": "EventsVisibilitySeconds",
    "alert_ci_event": "CiEventsVisibilitySeconds",
    "deliver": "DeliveriesVisibilitySeconds",
}
_VISIBILITY_FACTOR = 6


def provision(
    stage: str,
    project_dir: Path = project.ROOT,
    kms_key_arn: str | None = None,
    alert_email: str | None = None,
) -> dict[str, str]:
    """Provision `stage` and return the outputs of the stack that holds its state.

    `kms_key_arn` None keeps the key in use, the empty string goes back to AWS's own keys;
    `alert_email` None keeps the address in use, the empty string ends its subscription.
    Raises `InfraError` or botocore's errors; whatever was done by then is kept for the next try.
    """
    config = project.read_config(project_dir)
    part = project.stage_config(config, stage)
    check_settings.check(stage, part, written_later=ENVIRONMENT)
    template = stack.read_template()
    session = project.session()
    cloudformation = project.client(session, "cloudformation")
    name = project.stack_name(stage)
    tags = {"project": project.APP, "stage": stage}

    made = stack.apply(
        cloudformation,
        name,
        stack.RESOURCES.read_text(encoding="utf-8"),
        parameters(stage, part, kms_key_arn, alert_email),
        tags,
    )
    if stack.is_protected(template, stage) and not made.get("EnableTerminationProtection"):
        cloudformation.update_termination_protection(
            EnableTerminationProtection=True, StackName=name
        )
    values = stack.outputs(made)
    if project.emulator_endpoint():
        _complete_tables(project.client(session, "dynamodb"), template, made, values)
    stack.apply(
        cloudformation,
        project.alarms_stack_name(stage),
        stack.ALARMS.read_text(encoding="utf-8"),
        _as_list(
            {
                "Stage": stage,
                "AlertTopicArn": values["AlertTopicArn"],
                # The emulator has no such resource.
                "SavedQueries": str(not project.emulator_endpoint()).lower(),
            }
        ),
        tags,
    )
    if write_environment(project_dir, stage, values):
        say(f".chalice/config.json: environment of {stage} written")
    changed = write_policies(project_dir, part, _place(stage, values))
    say(f"policies: {len(changed)} written, {len(part['lambda_functions'])} in all")
    _look_for_webhook(project.client(session, "ssm"), values["SlackParameterName"])
    return values


def parameters(
    stage: str, part: Json, kms_key_arn: str | None = None, alert_email: str | None = None
) -> list[Json]:
    """Return the stack's parameters for the part of the configuration that is the stage's.

    A queue's visibility time-out follows from the time-out of its reader, so that raising the one
    in `.chalice/config.json` raises the other.
    """
    values = {
        "Stage": stage,
        "MaxAttempts": project.setting(part, "MAX_ATTEMPTS"),
        "AlertMaxAttempts": project.setting(part, "ALERT_MAX_ATTEMPTS"),
        "PlainHttpLoopback": str((project.emulator_endpoint() or "").startswith("http://")).lower(),
    }
    window = int(project.setting(part, "BATCHING_WINDOW_SECONDS"))
    for function, parameter in _QUEUE_READERS.items():
        if function in part["lambda_functions"]:
            timeout = int(part["lambda_functions"][function]["lambda_timeout"])
            values[parameter] = str(_VISIBILITY_FACTOR * timeout + window)
    if kms_key_arn is not None:
        values["KmsKeyArn"] = kms_key_arn
    if alert_email is not None:
        values["AlertEmail"] = alert_email
    return _as_list(values)


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


def _as_list(values: dict[str, str]) -> list[Json]:
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]


def _place(stage: str, values: dict[str, str]) -> Place:
    _, partition, _, region, account, _ = values["EventsTableArn"].split(":", 5)
    key = values.get("KmsKeyArn", "")
    return Place(partition, region, account, stage, key, bool(project.emulator_endpoint()))


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


def _look_for_webhook(ssm: Any, parameter: str) -> None:
    """Say how to tell where alerts go, as long as nobody has. Its value is not read."""
    # A page may be empty though the next one is not (DescribeParameters, API Reference).
    pages = ssm.get_paginator("describe_parameters").paginate(
        ParameterFilters=[{"Key": "Name", "Option": "Equals", "Values": [parameter]}]
    )
    if not any(page["Parameters"] for page in pages):
        say(
            "alerts wait in their queue until Slack's webhook URL is known: aws ssm put-parameter "
            f'--cli-input-json \'{{"Type":"SecureString","Name":"{parameter}",'
            '"Value":"https://hooks.slack.com/services/..."}\''
        )


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = project.arguments("Make or update what holds a stage's state.")
    parser.add_argument(
        "--kms-key-arn",
        help="customer key for tables, buckets, queues and topics; '' for AWS's own",
    )
    parser.add_argument("--alert-email", help="where alarms are mailed; '' for nowhere")
    given = parser.parse_args(argv)
    return project.run(
        lambda: provision(
            given.stage, given.project_dir.resolve(), given.kms_key_arn, given.alert_email
        )
    )


if __name__ == "__main__":
    sys.exit(main())
