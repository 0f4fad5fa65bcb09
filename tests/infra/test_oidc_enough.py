"""The role that GitHub deploys with may do all that provisioning, deploying and removing call."""

import json
import re
from pathlib import Path

import cfnlint

from infra import project, stack

DATA = Path(cfnlint.__file__).parent / "data"
TEMPLATE = stack.read_template(project.ROOT / "infra" / "github-oidc.yaml")


def actions_of_the_role() -> set[str]:
    """Every action that a statement of the role names."""
    found: set[str] = set()
    for policy in ("StatePolicy", "ApplicationPolicy"):
        document = TEMPLATE["Resources"][policy]["Properties"]["PolicyDocument"]
        for part in document["Statement"]:
            given = (part["Fn::If"][1] if "Fn::If" in part else part)["Action"]
            found |= set(given if isinstance(given, list) else [given])
    return found


# What CloudFormation calls for features of a resource type that no template here uses.
UNUSED = re.compile(
    r"""
    ^(?:firehose|iam|kinesis|s3tables):
    | ^kms:(?:ListAliases|RevokeGrant|Encrypt|ReEncrypt\w*|GenerateDataKeyWithoutPlaintext)$
    | ^dynamodb:(?:\w*Import\w*|\w*TableReplica|BatchWriteItem|DeleteItem|GetItem|PutItem|Query|Scan
        |UpdateItem|(?:Enable|Disable|Update)Kinesis\w+|UpdateContributorInsights
        |(?:Put|Delete)ResourcePolicy)$
    | ^events:(?:PutPermission|RemovePermission)$
    | ^logs:(?:\w*KmsKey|CreateLogDelivery|CreateLogStream|DescribeLogStreams|PutLogEvents
        |(?:Put|Delete)(?:DataProtection|Index|Resource)Policy|DescribeResourcePolicies
        |PutBearerTokenAuthentication|PutLogGroupDeletionProtection)$
    | ^sns:(?:PutDataProtectionPolicy)$
    | ^s3:(?:REST\.PUT\.OBJECT|GetObjectMetadata|GetObject|PutObjectAcl
        |\w*Metadata\w+TableConfiguration|(?:Create|Delete)BucketMetadataTableConfiguration
        |PutObjectLockConfiguration|PutBucketObjectLockConfiguration
        |DeleteBucket(?:Analytics|Metrics)Configuration
        |DeleteBucket(?:Cors|Encryption|Lifecycle|Replication|Website)
        |Put(?:Accelerate|Analytics|IntelligentTiering|Inventory|Metrics|Replication)Configuration
        |PutBucket(?:Abac|Acl|CORS|Logging|Replication|Website))$
    """,
    re.VERBOSE,
)


def calls_of_cloudformation() -> dict[str, set[str]]:
    """For each resource type of the templates the actions that its published schema asks for."""
    types = {"AWS::CloudWatch::Alarm"}
    for path in (stack.RESOURCES, stack.ALARMS):
        for resource in stack.read_template(path)["Resources"].values():
            if isinstance(resource, dict):
                types.add(resource["Type"])
    found: dict[str, set[str]] = {}
    for file in (DATA / "schemas" / "resources").glob("*.json"):
        text = file.read_text()
        if not any(f'"{kind}"' in text for kind in types):
            continue
        schema = json.loads(text)
        if schema["typeName"] in types:
            found[schema["typeName"]] = {
                action
                for verb, handler in schema["handlers"].items()
                if verb != "list"
                for action in handler.get("permissions", [])
            }
    assert set(found) == types
    return found


def test_the_role_has_every_call_of_cloudformation_that_the_templates_need() -> None:
    actions = actions_of_the_role()
    for kind, needed in calls_of_cloudformation().items():
        missing = {action for action in needed - actions if not UNUSED.match(action)}
        assert not missing, kind
    assert not {action for action in actions if UNUSED.match(action)} - {
        "iam:CreateRole", "iam:DeleteRole", "iam:DeleteRolePolicy", "iam:GetRole",
        "iam:ListRolePolicies", "iam:PassRole", "iam:PutRolePermissionsBoundary",
        "iam:PutRolePolicy", "dynamodb:DeleteItem", "dynamodb:PutItem",
    }  # fmt: skip


# Method of a boto3 client in infra/ or Chalice -> actions; for others the name is the action's.
NAMED_OTHERWISE = {
    "delete_objects": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
    "list_object_versions": ["s3:ListBucketVersions"],
    "list_multipart_uploads": ["s3:ListBucketMultipartUploads"],
    "get_bucket_notification_configuration": ["s3:GetBucketNotification"],
    "put_bucket_notification_configuration": ["s3:PutBucketNotification"],
}
CALLED = {
    "cloudformation": [
        "create_stack", "delete_stack", "describe_stack_events", "describe_stack_resources",
        "describe_stacks", "update_stack", "update_termination_protection",
    ],
    "dynamodb": [
        "delete_item", "describe_table", "describe_time_to_live", "put_item", "update_table",
        "update_time_to_live",
    ],
    "events": ["delete_rule", "list_targets_by_rule", "put_rule", "put_targets", "remove_targets"],
    "iam": [
        "create_role", "delete_role", "delete_role_policy", "get_role", "list_role_policies",
        "put_role_permissions_boundary", "put_role_policy",
    ],
    "lambda": [
        "add_permission", "create_event_source_mapping", "create_function",
        "delete_event_source_mapping", "delete_function", "delete_function_concurrency",
        "get_account_settings", "get_function_recursion_config", "put_function_recursion_config",
        "get_event_source_mapping", "get_function", "get_function_configuration",
        "get_function_event_invoke_config", "get_policy", "list_event_source_mappings",
        "list_tags", "put_function_concurrency", "put_function_event_invoke_config",
        "remove_permission", "tag_resource", "untag_resource", "update_event_source_mapping",
        "update_function_code", "update_function_configuration",
    ],
    "logs": ["delete_log_group", "delete_retention_policy", "describe_log_groups",
             "put_retention_policy"],
    "s3": [
        "abort_multipart_upload", "delete_objects", "get_bucket_location",
        "get_bucket_notification_configuration", "list_multipart_uploads", "list_object_versions",
        "put_bucket_notification_configuration",
    ],
    "sns": ["get_subscription_attributes", "subscribe", "unsubscribe"],
    "sqs": ["get_queue_url", "send_message"],
    "ssm": ["delete_parameter", "describe_parameters", "get_parameter", "put_parameter"],
}  # fmt: skip


def test_the_role_has_every_call_of_the_commands_and_of_chalice() -> None:
    actions = actions_of_the_role()
    for service, methods in CALLED.items():
        for method in methods:
            plain = f"{service}:{''.join(word.title() for word in method.split('_'))}"
            assert set(NAMED_OTHERWISE.get(method, [plain])) <= actions, method


def test_the_list_of_calls_has_those_of_the_commands() -> None:
    sources = [
        *(project.ROOT / "infra").glob("*.py"),
        *(project.ROOT / ".github").glob("*.sh"),
    ]
    known = {method for methods in CALLED.values() for method in methods}
    called = re.compile(
        r"\b(?:cloudformation|dynamodb|events|iam|lambdas|logs|s3|ssm|sqs)\.(?!get_paginator|get_waiter)"
        r"([a-z]+_[a-z_]+)\(|get_paginator\(\"([a-z_]+)\"\)|_unless_gone\(\w+\.([a-z_]+)"
    )
    for path in sources:
        # The one is never run on AWS, the other by a person with rights of their own.
        if path.name in {"emulator.py", "verify.py"}:
            continue
        for names in called.findall(path.read_text()):
            method = next(name for name in names if name)
            if method in {"get_rest_apis", "get_resources"}:
                continue  # apigateway:GET
            assert method in known, f"{path.name}: {method}"
