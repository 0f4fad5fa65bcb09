"""The IAM policies: one a function, least privilege, and what rendering makes of them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from chalicelib.recovery.model import QUEUES, WHY_NOT
from chalicelib.webhooks.sources import SOURCES
from infra import event_sources, policies, project, provision, stack
from infra.policies import Place

CONFIG = project.read_config(project.ROOT)
FUNCTIONS = sorted(CONFIG["stages"]["prod"]["lambda_functions"])
HERE = Place("aws", "eu-west-1", "123456789012", "dev")
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1"


def template(function: str) -> dict[str, Any]:
    path = policies.templates_dir(project.ROOT) / f"{function}.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


# SNS knows no resource for these actions ("Actions, resources, and condition keys for Amazon SNS",
# Service Authorization Reference), so they are the only ones that a template gives on everything.
WITHOUT_RESOURCE = {
    "sns:GetSubscriptionAttributes",
    "sns:SetSubscriptionAttributes",
    "sns:Unsubscribe",
}


def grants(function: str) -> list[tuple[str, str]]:
    """Every pair of action and resource that the function has."""
    return [
        (action, resource)
        for statement in template(function)["Statement"]
        for action in statement["Action"]
        for resource in statement["Resource"]
    ]


def test_every_function_has_its_own_policy_and_no_policy_is_left_over() -> None:
    files = {path.stem for path in policies.templates_dir(project.ROOT).glob("*.json")}
    assert files == set(FUNCTIONS)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_policy_names_each_action_and_resource(function: str) -> None:
    for action, resource in grants(function):
        assert re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action)
        if resource == "${KmsKeyArn}":
            assert action.startswith("kms:")
            continue
        if resource == "*":
            assert action in WITHOUT_RESOURCE
            continue
        assert action not in WITHOUT_RESOURCE
        # A wildcard stands only for what lies within a named bucket prefix or log group.
        assert resource.startswith("arn:${Partition}:")
        assert "eventline-${Stage}" in resource or "/eventline/${Stage}/" in resource
        assert "*" not in resource[:-1]
        if resource.endswith("*"):
            folder = r"-(?P<bucket>\w+)/((?P=bucket)|items|reports)/"
            assert re.search(rf"({folder}|-items/stream/|:log-group:.*:)\*$", resource)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_policy_allows_only(function: str) -> None:
    document = template(function)
    assert document["Version"] == "2012-10-17"
    sids = [statement["Sid"] for statement in document["Statement"]]
    assert len(sids) == len(set(sids))
    for statement in document["Statement"]:
        assert statement["Effect"] == "Allow"
        assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_writes_to_its_own_log_group_and_makes_none(function: str) -> None:
    name = project.lambda_name("${Stage}", function)
    group = f"arn:${{Partition}}:logs:${{Region}}:${{Account}}:log-group:/aws/lambda/{name}:*"
    logs = {pair for pair in grants(function) if pair[0].startswith("logs:")}
    assert logs == {("logs:CreateLogStream", group), ("logs:PutLogEvents", group)}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_function_can_lose_data_or_change_rights(function: str) -> None:
    actions = {action for action, _ in grants(function)}
    refused = ("iam:", "sts:", "lambda:", "s3:Delete")
    assert not {action for action in actions if action.startswith(refused)}
    assert not actions & {
        "s3:PutBucketPolicy",
        "dynamodb:DeleteTable",
        "dynamodb:UpdateTable",
        "sqs:PurgeQueue",
        "sqs:DeleteQueue",
        "sqs:SetQueueAttributes",
    }
    for action, resource in grants(function):
        if action == "dynamodb:Scan":
            assert resource.endswith("-tokens")
        if action == "dynamodb:DeleteItem":
            assert resource.endswith(("-tokens", "-items", "-destinations"))
        if action == "dynamodb:Query":
            # A type's versions are one partition of the table of schemas, a destination's
            # deliveries one of theirs.
            assert "/index/by-" in resource or resource.endswith(("-schemas", "-destinations"))


def test_the_authorizer_reads_tokens_and_notes_their_use_and_no_more() -> None:
    # "Using IAM policy conditions for fine-grained access control", DynamoDB Developer Guide
    table = "arn:${Partition}:dynamodb:${Region}:${Account}:table/eventline-${Stage}-tokens"
    others = [pair for pair in grants("authorize") if not pair[0].startswith(("logs:", "kms:"))]
    assert others == [("dynamodb:GetItem", table), ("dynamodb:UpdateItem", table)]
    (noting,) = (one for one in template("authorize")["Statement"] if one["Sid"] == "NoteUse")
    assert noting["Condition"] == {
        "ForAllValues:StringEquals": {"dynamodb:Attributes": ["pk", "lastUsedAt"]}
    }


def test_only_the_api_reaches_tokens_for_writing() -> None:
    writers = {
        function
        for function in FUNCTIONS
        for action, resource in grants(function)
        if resource.endswith("-tokens") and action != "dynamodb:GetItem"
        if (function, action) != ("authorize", "dynamodb:UpdateItem")
    }
    assert writers == {"api_handler"}


def test_a_queue_has_one_function_that_takes_from_it() -> None:
    takers = {
        (function, resource.rpartition("-${Stage}-")[2])
        for function in FUNCTIONS
        for action, resource in grants(function)
        if action in {"sqs:ReceiveMessage", "sqs:DeleteMessage"}
    }
    # Dead-letter queues have no function; the API looks into them, and redrives what it can.
    looked_into = {("api_handler", queue) for queue in QUEUES}
    assert takers == looked_into | {
        ("process_events", "events"),
        ("alert_ci_event", "ci-events-queue"),
        ("deliver", "deliveries"),
    }
    deleters = {
        resource.rpartition("-${Stage}-")[2]
        for action, resource in grants("api_handler")
        if action == "sqs:DeleteMessage"
    }
    assert deleters == {queue for queue in QUEUES if queue not in WHY_NOT}


def test_whose_failed_events_lambda_keeps_may_write_to_their_queue() -> None:
    queues = provision.ENVIRONMENT
    nets = event_sources.ASYNCHRONOUS | {
        function: queue for function, (_, queue) in event_sources.STREAMS.items()
    }
    outputs = stack.read_template()["Outputs"]
    resources = stack.read_template()["Resources"]
    for function, variable in nets.items():
        logical = outputs[queues[variable]]["Value"]["Fn::GetAtt"][0]
        name = resources[logical]["Properties"]["QueueName"]["Fn::Sub"]
        arn = "arn:${Partition}:sqs:${Region}:${Account}:" + name
        assert ("sqs:SendMessage", arn) in grants(function)


def test_each_secret_is_read_by_the_one_function_that_needs_it() -> None:
    readers = {
        (function, resource)
        for function in FUNCTIONS
        for action, resource in grants(function)
        if action.startswith("ssm:")
    }
    slack = stack.read_template()["Outputs"]["SlackParameterName"]["Value"]["Fn::Sub"]
    parameter = "arn:${Partition}:ssm:${Region}:${Account}:parameter"
    assert readers == {
        ("alert_ci_event", f"{parameter}{slack}"),
        *(
            ("api_handler", f"{parameter}/eventline/${{Stage}}/webhooks/{source}/secret")
            for source in SOURCES
        ),
    }


def test_secrets_of_destinations_are_read_by_who_shows_and_who_signs() -> None:
    table = "arn:${Partition}:dynamodb:${Region}:${Account}:table/eventline-${Stage}-destinations"
    reading = {"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:Scan"}
    readers = {
        function
        for function in FUNCTIONS
        for action, resource in grants(function)
        if resource == table and action in reading
    }
    assert readers == {"api_handler", "deliver"}
    projected = {
        name
        for index in stack.read_template()["Resources"]["DestinationsTable"]["Properties"][
            "GlobalSecondaryIndexes"
        ]
        for name in index["Projection"]["NonKeyAttributes"]
    }
    assert not projected & {"secrets", "headers", "url"}
    # The schedule moves the due times of deliveries, it and the worker put them into lines, and
    # neither reaches a destination.
    for function, keys in {
        "reconcile": ["DELIVERIES#*", "LINE#*"],
        "process_events": ["LINE#*"],
    }.items():
        (writes,) = [part for part in template(function)["Statement"] if table in part["Resource"]]
        assert writes["Action"] == ["dynamodb:UpdateItem"]
        assert writes["Condition"] == {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": keys}}
    (deletes,) = [
        part
        for part in template("deliver")["Statement"]
        if table in part["Resource"] and "dynamodb:DeleteItem" in part["Action"]
    ]
    assert deletes["Condition"] == {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["LINE#*"]}}


def test_who_notes_effects_reaches_nothing_else_in_the_ledger() -> None:
    (statement,) = [
        part
        for part in template("notify_owners")["Statement"]
        if part["Resource"][0].endswith("-events")
    ]
    assert statement["Condition"] == {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["EFFECT#*"]}
    }
    # For actions on whole tables or indexes the key would be absent, and the condition true.
    assert set(statement["Action"]) <= {"dynamodb:PutItem", "dynamodb:BatchWriteItem"}


def test_no_function_but_the_api_reaches_the_items() -> None:
    holders = {
        function
        for function in FUNCTIONS
        for _, resource in grants(function)
        if "-items" in resource and "/stream/" not in resource
    }
    assert holders == {"api_handler"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_rendering_fills_every_placeholder(function: str) -> None:
    with_key = Place(**{**vars(HERE), "kms_key_arn": KEY})
    text = json.dumps(policies.render(template(function), with_key, traced=True))
    assert "${" not in text
    assert KEY in text


@pytest.mark.parametrize("function", FUNCTIONS)
def test_rendering_without_a_key_or_tracing_leaves_both_out(function: str) -> None:
    statements = policies.render(template(function), HERE, traced=False)["Statement"]
    for statement in statements:
        assert "*" not in statement["Resource"] or set(statement["Action"]) <= WITHOUT_RESOURCE
    assert "kms:" not in json.dumps(statements)
    assert all(resource for statement in statements for resource in statement["Resource"])


def test_tracing_is_given_where_the_stage_traces_and_is_the_only_star(tmp_path: Path) -> None:
    source = policies.templates_dir(tmp_path)
    source.mkdir(parents=True)
    for function in FUNCTIONS:
        (source / f"{function}.json").write_text(json.dumps(template(function)), encoding="utf-8")

    stars = {}
    for stage, part in CONFIG["stages"].items():
        place = Place(**{**vars(HERE), "stage": stage})
        written = policies.write_policies(tmp_path, part, place)
        assert len(written) == len(FUNCTIONS)
        assert policies.missing_policies(tmp_path, part) == []
        assert policies.write_policies(tmp_path, part, place) == []
        stars[stage] = {
            statement["Sid"]
            for path in written
            for statement in json.loads(path.read_text(encoding="utf-8"))["Statement"]
            if "*" in statement["Resource"]
        }

    own = {"ChangeSubscriptions"}
    assert stars == {"local": own, "dev": own, "prod": own | {"SendTraces"}}


def test_only_an_emulator_is_given_the_names_of_calls_for_many() -> None:
    here = policies.render(template("relay_alarm"), HERE, traced=False)
    emulated = Place(**{**vars(HERE), "emulated": True})
    there = policies.render(template("relay_alarm"), emulated, traced=False)
    assert "Batch" not in json.dumps(here)
    sending = [part for part in there["Statement"] if "sqs:SendMessage" in part["Action"]]
    assert sending
    assert all("sqs:SendMessageBatch" in part["Action"] for part in sending)


def test_a_function_without_a_policy_is_refused(tmp_path: Path) -> None:
    part = {"lambda_functions": {"nobody": {"iam_policy_file": "policies/dev/nobody.json"}}}
    with pytest.raises(project.InfraError, match="nobody has no policy template"):
        policies.write_policies(tmp_path, part, HERE)


def test_one_statement_alone_is_on_everything() -> None:
    starred = [
        (function, statement["Sid"])
        for function in FUNCTIONS
        for statement in template(function)["Statement"]
        if "*" in statement["Resource"]
    ]
    assert starred == [("api_handler", "ChangeSubscriptions")]
