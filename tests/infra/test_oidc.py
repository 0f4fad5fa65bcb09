"""The role that GitHub deploys with: who may take it, and what it may do at most."""

import fnmatch
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cfnlint
import pytest

from infra import policies, project, record, stack
from infra.policies import Place

PATH = project.ROOT / "infra" / "github-oidc.yaml"
TEMPLATE = stack.read_template(PATH)
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
STAGES: list[str] = TEMPLATE["Parameters"]["Stage"]["AllowedValues"]
ISSUER = "token.actions.githubusercontent.com"
ACCOUNT = "123456789012"
REGION = "eu-west-1"
DATA = Path(cfnlint.__file__).parent / "data"
# The Service Authorization Reference, as cfn-lint ships it: its actions in lower case.
REFERENCE: dict[str, Any] = json.loads((DATA / "AdditionalSpecs" / "Policies.json").read_text())

# Actions that are given on everything, with the reason in the template.
ON_EVERYTHING = {
    "lambda:CreateEventSourceMapping",
    "lambda:GetAccountSettings",
    "lambda:ListEventSourceMappings",
    "logs:DeleteQueryDefinition",
    "logs:DescribeLogGroups",
    "logs:DescribeQueryDefinitions",
    "logs:PutQueryDefinition",
    "ssm:DescribeParameters",
}
UNDECIDED = {"sns:GetSubscriptionAttributes", "sns:SetSubscriptionAttributes", "sns:Unsubscribe"}


def statements(policy: str) -> Iterator[dict[str, Any]]:
    """The statements of a policy of the template, those of a customer key included."""
    for statement in RESOURCES[policy]["Properties"]["PolicyDocument"]["Statement"]:
        found = statement["Fn::If"][1] if "Fn::If" in statement else statement
        yield {
            **found,
            "Action": as_list(found["Action"]),
            "Resource": [resolved(item) for item in as_list(found["Resource"])],
        }


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def resolved(value: Any, stage: str = "dev") -> str:
    """A resource of a statement as it is in an account."""
    text = value if isinstance(value, str) else value.get("Fn::Sub") or f"${{{value['Ref']}}}"
    for name, put in {
        "AWS::Partition": "aws",
        "AWS::Region": REGION,
        "AWS::AccountId": ACCOUNT,
        "Stage": stage,
        "KmsKeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1",
    }.items():
        text = text.replace(f"${{{name}}}", put)
    assert "${" not in text
    return str(text)


OWN = [*statements("StatePolicy"), *statements("ApplicationPolicy")]
BOUNDARY = list(statements("FunctionBoundary"))


def allowed(given: list[dict[str, Any]], action: str, resource: str) -> bool:
    """Whether a statement, its conditions aside, allows the action on the resource."""
    return any(
        action in statement["Action"]
        and any(fnmatch.fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        for statement in given
    )


def subjects(given: dict[str, str]) -> list[str]:
    """The values of `sub` that the role is given to, with these parameters of the template."""
    (trust,) = RESOURCES["DeployRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    found = []
    for item in trust["Condition"]["StringEquals"][f"{ISSUER}:sub"]:
        sub = item
        if "Fn::If" in item:
            condition, sub, otherwise = item["Fn::If"]
            assert (condition, otherwise) == ("HasIds", {"Ref": "AWS::NoValue"})
            if not (given.get("OwnerId") and given.get("RepositoryId")):
                continue
        text, parts = sub["Fn::Sub"] if isinstance(sub["Fn::Sub"], list) else (sub["Fn::Sub"], {})
        known = dict(given)
        for name, part in parts.items():
            which, split = part["Fn::Select"]
            assert split == {"Fn::Split": ["/", {"Ref": "Repository"}]}
            known[name] = given["Repository"].split("/")[which]
        for name, value in known.items():
            text = text.replace(f"${{{name}}}", value)
        found.append(text)
    return found


@pytest.mark.parametrize("name", ["OwnerId", "RepositoryId"])
def test_an_id_is_digits_and_comes_with_the_other(name: str) -> None:
    pattern = TEMPLATE["Parameters"][name]["AllowedPattern"]
    assert re.fullmatch(pattern, "123456")
    assert not any(re.search(pattern, text) for text in ("*", "1/x", "1:environment", "?", "1 "))
    other = {"OwnerId": "RepositoryId", "RepositoryId": "OwnerId"}[name]
    rule = TEMPLATE["Rules"][f"{name}Needs{other}"]
    assert rule["RuleCondition"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": name}, ""]}]}
    assert rule["Assertions"][0]["Assert"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": other}, ""]}]}


def test_only_jobs_of_the_repository_and_the_environment_take_the_role() -> None:
    role = RESOURCES["DeployRole"]["Properties"]
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert set(trust["Principal"]) == {"Federated"}
    assert trust["Condition"] == {
        "StringEquals": {
            f"{ISSUER}:aud": "sts.amazonaws.com",
            f"{ISSUER}:sub": trust["Condition"]["StringEquals"][f"{ISSUER}:sub"],
        }
    }
    # GitHub Docs, "OpenID Connect", "Immutable subject claims".
    assert subjects({"Repository": "octo/my.repo", "Stage": "dev"}) == [
        "repo:octo/my.repo:environment:dev"
    ]
    ids = {"OwnerId": "123456", "RepositoryId": "456789"}
    assert subjects({"Repository": "octo/my.repo", "Stage": "dev", **ids}) == [
        "repo:octo/my.repo:environment:dev",
        "repo:octo@123456/my.repo@456789:environment:dev",
    ]
    assert RESOURCES["Provider"]["Properties"]["Url"] == f"https://{ISSUER}"
    pattern = re.compile(TEMPLATE["Parameters"]["Repository"]["AllowedPattern"])
    assert pattern.match("example/eventline")
    assert not any(pattern.match(name) for name in ("example/*", "*/*", "example", "a/b:c/d"))


def test_the_provider_is_made_once_an_account_and_outlives_its_stack() -> None:
    assert RESOURCES["Provider"]["Condition"] == "MakesProvider"
    assert RESOURCES["Provider"]["DeletionPolicy"] == "Retain"


def test_no_action_is_a_pattern_and_none_is_unheard_of() -> None:
    for statement in OWN + BOUNDARY:
        assert statement["Effect"] == "Allow"
        assert {"NotAction", "NotResource"}.isdisjoint(statement)
        for action in statement["Action"]:
            service, name = action.split(":")
            assert "*" not in action
            assert name.lower() in REFERENCE[service]["Actions"], action


def test_only_what_aws_knows_no_resource_for_is_given_on_everything() -> None:
    for statement in OWN:
        for action in statement["Action"]:
            if "*" in statement["Resource"]:
                assert action in ON_EVERYTHING | UNDECIDED
    for action in ON_EVERYTHING:
        service, name = action.split(":")
        assert not REFERENCE[service]["Actions"][name.lower()].get("Resources")
    text = PATH.read_text()
    for found in re.finditer(r"^( +)Resource: '\*'$", text, re.MULTILINE):
        before = text[: found.start()].rsplit("- Sid:", 1)[0].rstrip().splitlines()[-1]
        assert before.strip().startswith("#"), f"no reason is given for {found}"


@pytest.mark.parametrize("stage", STAGES)
def test_every_other_resource_is_of_the_stage(stage: str) -> None:
    own = re.compile(rf"eventline[-/]{stage}\b")
    exempt = {"RestApis", "RoleForLogs", "EventSources", "Transform", "Key", "KeyOfSecrets"}
    for policy in ("StatePolicy", "ApplicationPolicy", "FunctionBoundary"):
        for raw in RESOURCES[policy]["Properties"]["PolicyDocument"]["Statement"]:
            statement = raw["Fn::If"][1] if "Fn::If" in raw else raw
            for item in as_list(statement["Resource"]):
                resource = resolved(item, stage)
                if resource == "*" or statement["Sid"] in exempt:
                    continue
                assert own.search(resource), resource
                assert "*" not in resource[: own.search(resource).start()]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("lambda:UpdateFunctionCode", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:eventline-prod"),
        ("iam:PutRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/eventline-prod-authorize"),
        ("iam:PutRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/eventline-github-dev"),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/eventline-github-prod"),
        ("s3:DeleteBucket", f"arn:aws:s3:::eventline-prod-{ACCOUNT}-bronze"),
        ("dynamodb:DeleteTable", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/eventline-prod-items"),
        ("s3:DeleteBucket", "arn:aws:s3:::somebody-else"),
        (
            "ssm:PutParameter",
            f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/eventline/dev/slack/webhook_url",
        ),
        ("sqs:ReceiveMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:eventline-dev-events"),
        ("dynamodb:GetItem", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/eventline-dev-tokens"),
        ("s3:GetObject", f"arn:aws:s3:::eventline-dev-{ACCOUNT}-bronze/bronze/x.json"),
        (
            "ssm:GetParameter",
            f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/eventline/dev/slack/webhook_url",
        ),
        (
            "ssm:GetParameter",
            f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/eventline/dev/webhooks/github/secret",
        ),
        ("ssm:GetParametersByPath", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/eventline/dev/"),
        ("kms:Decrypt", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/2"),
        (
            "iam:DeleteRolePermissionsBoundary",
            f"arn:aws:iam::{ACCOUNT}:role/eventline-dev-authorize",
        ),
        ("iam:AttachRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/eventline-dev-authorize"),
        ("apigateway:PATCH", f"arn:aws:apigateway:{REGION}::/account"),
        (
            "logs:DeleteLogGroup",
            f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/apigateway/eventline-prod",
        ),
    ],
)
def test_the_role_of_dev_may_not(action: str, resource: str) -> None:
    assert not allowed(OWN, action, resource)


def test_a_role_gets_rights_only_within_the_boundary_and_is_passed_to_lambda_only() -> None:
    makes_rights = {
        "iam:AttachRolePolicy", "iam:CreateRole", "iam:PutRolePermissionsBoundary",
        "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy",
    }  # fmt: skip
    for statement in OWN:
        if makes_rights & set(statement["Action"]):
            assert statement["Condition"] == {
                "StringEquals": {"iam:PermissionsBoundary": {"Ref": "FunctionBoundary"}}
            }
        if "iam:PassRole" in statement["Action"]:
            assert statement["Condition"] == {
                "StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}
            }
    actions = {action for statement in OWN for action in statement["Action"]}
    assert {action for action in actions if action.startswith("iam:")} == {
        "iam:CreateRole", "iam:DeleteRole", "iam:DeleteRolePolicy", "iam:GetRole",
        "iam:ListRolePolicies", "iam:PassRole", "iam:PutRolePermissionsBoundary",
        "iam:PutRolePolicy",
    }  # fmt: skip
    assert not {action for action in actions if action.startswith("sts:")}


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_every_function_has_what_it_needs_within_the_boundary(stage: str) -> None:
    part = project.read_config(project.ROOT)["stages"][stage]
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"
    boundary = [
        {**one, "Resource": [item.replace("-dev", f"-{stage}").replace("/dev/", f"/{stage}/")
                             for item in one["Resource"]]}
        for one in BOUNDARY
    ]  # fmt: skip
    for function in part["lambda_functions"]:
        template = json.loads(
            (policies.templates_dir(project.ROOT) / f"{function}.json").read_text()
        )
        place = Place("aws", REGION, ACCOUNT, stage, key)
        for statement in policies.render(template, place, traced=True)["Statement"]:
            for action in statement["Action"]:
                for resource in statement["Resource"]:
                    assert allowed(boundary, action, resource), (function, action, resource)


def test_the_boundary_lets_functions_decrypt_the_secrets_of_the_stage_alone() -> None:
    # AWS KMS Developer Guide, "How AWS Systems Manager Parameter Store uses AWS KMS".
    (found,) = (one for one in BOUNDARY if one["Sid"] == "KeyOfSecrets")
    assert found["Action"] == ["kms:Decrypt"]
    assert found["Condition"] == {
        "StringEquals": {"kms:ViaService": {"Fn::Sub": "ssm.${AWS::Region}.amazonaws.com"}},
        "StringLike": {
            "kms:EncryptionContext:PARAMETER_ARN": {
                "Fn::Sub": "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}"
                ":parameter/eventline/${Stage}/*"
            }
        },
    }


def test_the_role_reads_the_record_of_the_deployment_and_no_other_parameter() -> None:
    reads = [one for one in OWN if any(a.startswith("ssm:Get") for a in one["Action"])]
    assert [one["Resource"] for one in reads] == [
        [f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{record.parameter('dev')}"]
    ]


def test_a_policy_is_within_the_size_that_iam_takes() -> None:
    # IAM and STS quotas: 6,144 characters without white space; the longest names that there are.
    for name, resource in RESOURCES.items():
        if resource["Type"] != "AWS::IAM::ManagedPolicy":
            continue
        document = resource["Properties"]["PolicyDocument"]["Statement"]
        text = json.dumps(
            [part["Fn::If"][1] if "Fn::If" in part else part for part in document],
            separators=(",", ":"),
        )
        for short, long in (
            ("${AWS::Partition}", "aws-us-gov"), ("${AWS::Region}", "ap-southeast-4"),
            ("${AWS::AccountId}", ACCOUNT), ("${Stage}", "prod"),
        ):  # fmt: skip
            text = text.replace(short, long)
        assert len(re.sub(r'\{"(?:Fn::Sub|Ref)":("[^"]*")\}', r"\1", text)) + 40 <= 6144, name


def test_the_record_of_the_deployment_and_the_token_are_where_the_role_may_write() -> None:
    name = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{record.parameter('dev')}"
    assert allowed(OWN, "ssm:PutParameter", name)
    (token,) = (one for one in OWN if one["Sid"] == "TokenOfTheSmokeTest")
    assert token["Condition"]["ForAllValues:StringEquals"] == {
        "dynamodb:LeadingKeys": ["TOKEN#deployment"]
    }
    # Without it the condition above would hold for a request that has no key at all.
    assert token["Condition"]["Null"] == {"dynamodb:LeadingKeys": "false"}
    script = (project.ROOT / ".github" / "smoke.sh").read_text()
    assert "--id deployment" in script
    assert '"TOKEN#deployment"' in script
