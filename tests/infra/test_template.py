"""The CloudFormation template: names of the contract, protection of data, guards on every resource.

It is read with its intrinsics written out, so `!Ref x` is `{"Ref": x}`.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra import project, stack

TEMPLATE = stack.read_template()
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
KEPT = {
    "AWS::DynamoDB::Table",
    "AWS::S3::Bucket",
    "AWS::SQS::Queue",
    "AWS::SNS::Topic",
    "AWS::Events::EventBus",
    "AWS::Logs::LogGroup",
}


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: part["Properties"] for name, part in RESOURCES.items() if part["Type"] == kind}


TABLES = of_type("AWS::DynamoDB::Table")
BUCKETS = of_type("AWS::S3::Bucket")
QUEUES = of_type("AWS::SQS::Queue")
TOPICS = of_type("AWS::SNS::Topic")
# Fed by functions, by Lambda and by the bus, not by the redrive of a queue.
FED_BY_FUNCTIONS = {"UploadsDeadLetterQueue", "NotificationsDeadLetterQueue", "BusDeadLetterQueue"}


def names(resources: dict[str, dict[str, Any]], key: str) -> set[str]:
    return {properties[key]["Fn::Sub"] for properties in resources.values()}


TEMPLATES = [
    stack.RESOURCES,
    stack.ALARMS,
    *(project.ROOT / "infra" / name for name in ("github-oidc.yaml", "api-gateway-logs.yaml")),
]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.name))
def test_cfn_lint_finds_nothing(path: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_names_are_those_of_the_contract() -> None:
    assert names(TABLES, "TableName") == {
        "eventline-${Stage}-events",
        "eventline-${Stage}-tokens",
        "eventline-${Stage}-items",
        "eventline-${Stage}-S3ObjectEvents",
        "eventline-${Stage}-alerts",
        "eventline-${Stage}-schemas",
        "eventline-${Stage}-destinations",
    }
    assert names(BUCKETS, "BucketName") == {
        f"eventline-${{Stage}}-${{AWS::AccountId}}-{zone}"
        for zone in ("bronze", "silver", "uploads")
    }
    assert names(QUEUES, "QueueName") == {
        "eventline-${Stage}-events",
        "eventline-${Stage}-events-dlq",
        "eventline-${Stage}-ci-events-queue",
        "eventline-${Stage}-ci-events-dlq",
        "eventline-${Stage}-deliveries",
        "eventline-${Stage}-deliveries-dlq",
        "eventline-${Stage}-uploads-dlq",
        "eventline-${Stage}-notifications-dlq",
        "eventline-${Stage}-bus-dlq",
    }
    assert names(TOPICS, "TopicName") == {
        "eventline-${Stage}-event-driven-alerts",
        "eventline-${Stage}-owner-notifications",
    }
    assert names(of_type("AWS::Events::EventBus"), "Name") == {"eventline-${Stage}"}
    parameter = TEMPLATE["Outputs"]["SlackParameterName"]["Value"]
    assert parameter == {"Fn::Sub": "/eventline/${Stage}/slack/webhook_url"}


def test_keys_indexes_streams_and_expiry_of_the_tables() -> None:
    hashes = {
        name: next(key["AttributeName"] for key in table["KeySchema"] if key["KeyType"] == "HASH")
        for name, table in TABLES.items()
    }
    assert hashes == {
        "EventsTable": "pk",
        "TokensTable": "pk",
        "ItemsTable": "pk",
        "ObjectEventsTable": "objectId",
        "AlertsTable": "pk",
        "SchemasTable": "pk",
        "DestinationsTable": "pk",
    }
    indexes = {
        (name, index["IndexName"]): [key["AttributeName"] for key in index["KeySchema"]]
        for name, table in TABLES.items()
        for index in table.get("GlobalSecondaryIndexes", [])
    }
    assert indexes == {
        ("EventsTable", "by-owner"): ["ownerShard", "listKey"],
        ("EventsTable", "by-status"): ["statusShard", "listKey"],
        ("EventsTable", "by-replay"): ["replayOf", "listKey"],
        ("ItemsTable", "by-owner"): ["ownerShard", "listKey"],
        ("ObjectEventsTable", "by-owner"): ["ownerShard", "listKey"],
        ("ObjectEventsTable", "by-time"): ["allShard", "listKey"],
        ("AlertsTable", "by-time"): ["allShard", "listKey"],
        ("SchemasTable", "by-type"): ["listed", "eventType"],
        ("DestinationsTable", "by-owner"): ["ownerShard", "listKey"],
        ("DestinationsTable", "by-due"): ["dueShard", "dueAt"],
    }
    streams = {
        name: table["StreamSpecification"]["StreamViewType"]
        for name, table in TABLES.items()
        if "StreamSpecification" in table
    }
    assert streams == {"ItemsTable": "NEW_AND_OLD_IMAGES", "ObjectEventsTable": "NEW_IMAGE"}
    expiring = {name for name, table in TABLES.items() if "TimeToLiveSpecification" in table}
    # The history of a schema is kept for good.
    assert expiring == set(TABLES) - {"SchemasTable"}
    for name in expiring:
        assert TABLES[name]["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_on_demand_and_guarded_where_the_stage_is_protected(name: str) -> None:
    protected = {"Fn::FindInMap": ["Stages", {"Ref": "Stage"}, "Protected"]}
    table = TABLES[name]
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["DeletionProtectionEnabled"] == protected
    recovery = table["PointInTimeRecoverySpecification"]
    assert recovery == {"PointInTimeRecoveryEnabled": protected}
    assert table["SSESpecification"]["Fn::If"][0] == "HasKmsKey"


def test_prod_and_only_prod_is_protected() -> None:
    protected = {stage for stage in ("local", "dev", "prod") if stack.is_protected(TEMPLATE, stage)}
    assert protected == {"prod"}


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_is_encrypted_private_and_owned(name: str) -> None:
    bucket = BUCKETS[name]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    condition, with_key, without = rule["ServerSideEncryptionByDefault"]["Fn::If"]
    assert condition == "HasKmsKey"
    assert with_key == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": {"Ref": "KmsKeyArn"}}
    assert without == {"SSEAlgorithm": "AES256"}
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_cleans_up_but_never_deletes_a_current_object(name: str) -> None:
    rules = BUCKETS[name]["LifecycleConfiguration"]["Rules"]
    assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)
    for rule in rules:
        # Reports are about what is kept; they are no part of it.
        about_reports = name == "BronzeBucket" and rule.get("Prefix") == "reports/"
        assert about_reports or not {"ExpirationInDays", "ExpirationDate"} & set(rule)
    # Only tiers that answer at once: a replay may need any object at any age.
    tiers = {tier["StorageClass"] for rule in rules for tier in rule.get("Transitions", [])}
    assert tiers <= {"STANDARD_IA", "GLACIER_IR"}


@pytest.mark.parametrize("name", ["BronzeBucket", "UploadsBucket"])
def test_what_others_sent_can_not_be_overwritten(name: str) -> None:
    assert BUCKETS[name]["VersioningConfiguration"] == {"Status": "Enabled"}


def test_pages_of_other_origins_can_not_read_the_buckets() -> None:
    # They may post a signed form, which the console does, and which carries its own permission.
    rules: dict[str, Any] = {
        name: bucket.get("CorsConfiguration") for name, bucket in BUCKETS.items()
    }
    (rule,) = rules.pop("UploadsBucket")["CorsRules"]
    assert rule["AllowedMethods"] == ["POST"]
    assert not any(rules.values())


def tls_statement(document: dict[str, Any]) -> dict[str, Any]:
    (statement,) = [
        part
        for part in document["Statement"]
        if part["Effect"] == "Deny" and part["Sid"] == "TlsOnly"
    ]
    assert statement["Principal"] == "*"
    condition, with_loopback, elsewhere = statement["Condition"]["Fn::If"]
    assert condition == "AllowsLoopback"
    assert elsewhere == {"Bool": {"aws:SecureTransport": "false"}}
    assert with_loopback == elsewhere | {"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}}
    return dict(statement)


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_takes_tls_only(name: str) -> None:
    (policy,) = [
        part["PolicyDocument"]
        for part in of_type("AWS::S3::BucketPolicy").values()
        if part["Bucket"] == {"Ref": name}
    ]
    statement = tls_statement(policy)
    assert statement["Action"] == "s3:*"
    assert statement["Resource"] == [
        {"Fn::GetAtt": [name, "Arn"]},
        {"Fn::Sub": f"${{{name}.Arn}}/*"},
    ]


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_is_encrypted_and_takes_tls_only(name: str) -> None:
    queue = QUEUES[name]
    if name == "BusDeadLetterQueue":
        # It takes what the customer key failed for.
        assert queue["SqsManagedSseEnabled"] is True
        assert "KmsMasterKeyId" not in queue
    else:
        encrypted = queue["SqsManagedSseEnabled"]["Fn::If"]
        assert encrypted == ["HasKmsKey", {"Ref": "AWS::NoValue"}, True]
        assert queue["KmsMasterKeyId"]["Fn::If"][1] == {"Ref": "KmsKeyArn"}
    (policy,) = [
        part["PolicyDocument"]
        for part in of_type("AWS::SQS::QueuePolicy").values()
        if part["Queues"] == [{"Ref": name}]
    ]
    assert tls_statement(policy)["Resource"] == {"Fn::GetAtt": [name, "Arn"]}


BUS = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/eventline-${Stage}"


def test_the_bus_has_a_dead_letter_queue_that_it_alone_may_fill() -> None:
    # Amazon EventBridge User Guide, "Encrypting event buses with AWS KMS keys", DLQs.
    bus = RESOURCES["EventBus"]["Properties"]
    assert bus["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["BusDeadLetterQueue", "Arn"]}}
    policy = RESOURCES["BusDeadLetterQueuePolicy"]["Properties"]["PolicyDocument"]
    (allowed,) = (one for one in policy["Statement"] if one["Effect"] == "Allow")
    assert allowed["Principal"] == {"Service": "events.amazonaws.com"}
    assert allowed["Action"] == "sqs:SendMessage"
    assert allowed["Condition"] == {"ArnEquals": {"aws:SourceArn": {"Fn::Sub": BUS}}}


def test_the_documented_policy_of_a_customer_key_has_what_the_services_need() -> None:
    # "Managing Amazon SNS encryption keys and costs" (Amazon SNS Developer Guide) for alarms, and
    # "Encrypting event buses with AWS KMS keys" (Amazon EventBridge User Guide) for the bus.
    text = (project.ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    block = text.split("## The policy of a customer key", 1)[1].split("```json\n", 1)[1]
    policy = json.loads(block.split("```", 1)[0])
    services: dict[str, set[str]] = {}
    for statement in policy["Statement"]:
        service = statement["Principal"].get("Service")
        if service is None:
            continue
        actions = statement["Action"]
        services.setdefault(service, set()).update(
            actions if isinstance(actions, list) else [actions]
        )
        assert statement["Condition"]["StringEquals"]["aws:SourceAccount"] == "123456789012"
    assert services == {
        "cloudwatch.amazonaws.com": {"kms:Decrypt", "kms:GenerateDataKey*"},
        "events.amazonaws.com": {"kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"},
    }
    (bus,) = (one for one in policy["Statement"] if one["Sid"] == "BusEncryptsItsEvents")
    arn = BUS.replace("${AWS::Partition}", "aws").replace("${AWS::Region}", "eu-west-1")
    arn = arn.replace("${AWS::AccountId}", "123456789012").replace("${Stage}", "dev")
    equal = bus["Condition"]["StringEquals"]
    assert equal["aws:SourceArn"] == arn
    assert equal["kms:EncryptionContext:aws:events:event-bus:arn"] == arn


@pytest.mark.parametrize("name", TOPICS)
def test_a_topic_is_encrypted_with_the_key_and_takes_tls_only(name: str) -> None:
    key = {"Fn::If": ["HasKmsKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]}
    assert TOPICS[name]["KmsMasterKeyId"] == key
    statement = tls_statement(topic_policy(name))
    assert statement["Resource"] == {"Ref": name}
    # A topic's policy knows no sns:*.
    assert statement["Action"] == ["sns:Publish", "sns:Subscribe"]


def topic_policy(name: str) -> dict[str, Any]:
    (document,) = [
        part["PolicyDocument"]
        for part in of_type("AWS::SNS::TopicPolicy").values()
        if part["Topics"] == [{"Ref": name}]
    ]
    return dict(document)


def test_only_alarms_of_this_account_come_to_a_topic_from_outside_iam() -> None:
    granted = {
        name: [part for part in topic_policy(name)["Statement"] if part["Effect"] == "Allow"]
        for name in TOPICS
    }
    assert granted["OwnerTopic"] == []
    (alarms,) = granted["AlertTopic"]
    assert alarms["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert alarms["Action"] == "sns:Publish"
    account = {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    assert alarms["Condition"]["StringEquals"] == account
    source = alarms["Condition"]["ArnLike"]["aws:SourceArn"]["Fn::Sub"]
    assert source.endswith(":${AWS::AccountId}:alarm:*")


def test_alarms_are_mailed_when_an_address_is_given() -> None:
    (subscription,) = [
        part for part in RESOURCES.values() if part["Type"] == "AWS::SNS::Subscription"
    ]
    assert subscription["Condition"] == "HasAlertEmail"
    assert subscription["Properties"] == {
        "TopicArn": {"Ref": "AlertTopic"},
        "Protocol": "email",
        "Endpoint": {"Ref": "AlertEmail"},
    }


def test_plain_http_is_off_unless_asked_for() -> None:
    assert TEMPLATE["Parameters"]["PlainHttpLoopback"]["Default"] == "false"


def test_every_queue_has_a_dead_letter_queue_or_is_one() -> None:
    nets = {
        queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]: name
        for name, queue in QUEUES.items()
        if "RedrivePolicy" in queue
    }
    assert set(nets) | set(nets.values()) | FED_BY_FUNCTIONS == set(QUEUES)
    attempts = {
        source: QUEUES[source]["RedrivePolicy"]["maxReceiveCount"] for source in nets.values()
    }
    assert attempts == {
        "EventsQueue": {"Ref": "MaxAttempts"},
        "CiEventsQueue": {"Ref": "AlertMaxAttempts"},
        "DeliveriesQueue": 50,
    }
    for name in FED_BY_FUNCTIONS:
        assert QUEUES[name]["MessageRetentionPeriod"] == 14 * 24 * 3600
        assert QUEUES[name]["RedriveAllowPolicy"] == {"redrivePermission": "denyAll"}
    for net, source in nets.items():
        assert QUEUES[net]["MessageRetentionPeriod"] == 14 * 24 * 3600
        assert QUEUES[net]["MessageRetentionPeriod"] > QUEUES[source]["MessageRetentionPeriod"]
        (allowed,) = QUEUES[net]["RedriveAllowPolicy"]["sourceQueueArns"]
        assert allowed["Fn::Sub"].endswith(QUEUES[source]["QueueName"]["Fn::Sub"])


def test_what_holds_data_is_tagged_and_outlives_a_replacement() -> None:
    for name, part in RESOURCES.items():
        if part["Type"] not in KEPT:
            continue
        assert part["UpdateReplacePolicy"] == "Retain", name
        tags = {tag["Key"]: tag["Value"] for tag in part["Properties"]["Tags"]}
        assert tags == {"project": "eventline", "stage": {"Ref": "Stage"}}, name


def test_every_function_and_the_api_has_a_log_group_with_a_retention() -> None:
    groups = of_type("AWS::Logs::LogGroup").values()
    config = project.read_config(project.ROOT)
    for stage, part in config["stages"].items():
        wanted = {
            f"/aws/lambda/{project.lambda_name(stage, function)}"
            for function in part["lambda_functions"]
        } | {f"/aws/apigateway/eventline-{stage}"}
        made = {group["LogGroupName"]["Fn::Sub"].replace("${Stage}", stage) for group in groups}
        assert wanted == made
    for group in groups:
        assert group["RetentionInDays"] == {
            "Fn::FindInMap": ["Stages", {"Ref": "Stage"}, "LogRetention"]
        }


def test_outputs_name_every_table_bucket_queue_and_stream() -> None:
    outputs = set(TEMPLATE["Outputs"])
    for name in (*TABLES, *BUCKETS, *QUEUES):
        assert {f"{name}Name", f"{name}Arn"} <= outputs
    assert {"ItemsTableStreamArn", "ObjectEventsTableStreamArn", "AccountId"} <= outputs
