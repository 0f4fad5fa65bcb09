"""The IAM policies: one a function, least privilege, and what rendering makes of them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from infra import policies, project
from infra.policies import Place

CONFIG = project.read_config(project.ROOT)
FUNCTIONS = sorted(CONFIG["stages"]["prod"]["lambda_functions"])
HERE = Place("aws", "eu-west-1", "123456789012", "dev")
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1"


def template(function: str) -> dict[str, Any]:
    path = policies.templates_dir(project.ROOT) / f"{function}.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


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
        # A wildcard stands only for what lies within a named bucket prefix or log group.
        assert resource.startswith("arn:${Partition}:")
        assert "eventline-${Stage}" in resource
        assert "*" not in resource[:-1]
        if resource.endswith("*"):
            assert re.search(r"(-bronze/bronze/|-silver/silver/|:log-group:.*:)\*$", resource)


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
    assert not {action for action in actions if action.startswith(("iam:", "sts:", "lambda:"))}
    assert not actions & {
        "s3:DeleteObject",
        "s3:DeleteObjectVersion",
        "s3:PutBucketPolicy",
        "dynamodb:DeleteTable",
        "dynamodb:UpdateTable",
        "sqs:PurgeQueue",
        "sqs:DeleteQueue",
        "sqs:SetQueueAttributes",
    }
    for action, resource in grants(function):
        if action in {"dynamodb:DeleteItem", "dynamodb:Scan"}:
            assert resource.endswith("-tokens")
        if action == "dynamodb:Query":
            assert "/index/by-" in resource


def test_the_authorizer_only_reads_tokens() -> None:
    others = [pair for pair in grants("authorize") if not pair[0].startswith(("logs:", "kms:"))]
    assert others == [
        (
            "dynamodb:GetItem",
            "arn:${Partition}:dynamodb:${Region}:${Account}:table/eventline-${Stage}-tokens",
        )
    ]


def test_only_the_api_reaches_tokens_for_writing() -> None:
    writers = {
        function
        for function in FUNCTIONS
        for action, resource in grants(function)
        if resource.endswith("-tokens") and action != "dynamodb:GetItem"
    }
    assert writers == {"api_handler"}


def test_only_the_worker_takes_from_the_queue() -> None:
    takers = {
        function
        for function in FUNCTIONS
        for action, resource in grants(function)
        if action in {"sqs:ReceiveMessage", "sqs:DeleteMessage"}
        and resource.endswith("eventline-${Stage}-events")
    }
    assert takers == {"process_events"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_rendering_fills_every_placeholder(function: str) -> None:
    with_key = Place(**{**vars(HERE), "kms_key_arn": KEY})
    text = json.dumps(policies.render(template(function), with_key, traced=True))
    assert "${" not in text
    assert KEY in text


@pytest.mark.parametrize("function", FUNCTIONS)
def test_rendering_without_a_key_or_tracing_leaves_both_out(function: str) -> None:
    statements = policies.render(template(function), HERE, traced=False)["Statement"]
    assert all("*" not in statement["Resource"] for statement in statements)
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

    assert stars == {"local": set(), "dev": set(), "prod": {"SendTraces"}}


def test_a_function_without_a_policy_is_refused(tmp_path: Path) -> None:
    part = {"lambda_functions": {"nobody": {"iam_policy_file": "policies/dev/nobody.json"}}}
    with pytest.raises(project.InfraError, match="nobody has no policy template"):
        policies.write_policies(tmp_path, part, HERE)
