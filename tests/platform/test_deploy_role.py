"""A stage's life as the role of `infra/github-oidc.yaml`, with IAM enforced: from the token of a
job to provisioning, deployment, smoke test, a roll-back and removal, and no step outside."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra import boundary, project, record, stack
from tests.support.checkout import Checkout
from tests.support.emulator import ACCOUNT, ROOT, Emulator, running_emulator

pytestmark = [pytest.mark.emulator, pytest.mark.slow]

REPOSITORY = "example/eventline"
ISSUER = "token.actions.githubusercontent.com"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/eventline-github-dev"
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/eventline-github-dev-functions"
# Keys that the emulator gives no request: a statement with one of them would never apply there.
UNKNOWN_KEYS = {
    "dynamodb:LeadingKeys", "iam:PermissionsBoundary", "iam:PassedToService", "lambda:FunctionArn",
}  # fmt: skip
# Actions whose resource the emulator takes for `*`, or names in its own way, where AWS knows it.
WITHOUT_RESOURCE = [
    "lambda:CreateFunction",
    "events:PutRule",
    "events:PutTargets",
    "events:RemoveTargets",
    "events:DeleteRule",
    "events:ListTargetsByRule",
]
# Rights that the emulator wants by a name AWS does not have; infra/policies.py says which.
FOR_MANY = ["SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"]


def emulated(template: dict[str, Any]) -> str:
    """The template as JSON, without the conditions that the emulator cannot judge, and without the
    provider, which its CloudFormation does not know."""
    del template["Resources"]["Provider"]
    del template["Conditions"]["MakesProvider"]
    role = template["Resources"]["DeployRole"]["Properties"]["AssumeRolePolicyDocument"]
    role["Statement"][0]["Principal"]["Federated"] = PROVIDER
    del template["Outputs"]
    for resource in template["Resources"].values():
        for statement in resource["Properties"].get("PolicyDocument", {}).get("Statement", []):
            for keys in statement.get("Condition", {}).values():
                for key in UNKNOWN_KEYS & keys.keys():
                    del keys[key]
            if not any(statement.get("Condition", {"": 1}).values()):
                del statement["Condition"]
    own = template["Resources"]["ApplicationPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    own.append({"Effect": "Allow", "Action": WITHOUT_RESOURCE, "Resource": "*"})
    functions = template["Resources"]["FunctionBoundary"]["Properties"]["PolicyDocument"]
    for statement in functions["Statement"]:
        if statement.get("Sid") == "Queues":
            statement["Action"] += [f"sqs:{name}" for name in FOR_MANY]
        if statement.get("Sid") == "Topics":
            statement["Action"] += ["sns:PublishBatch"]
    return json.dumps(template)


def token(**claims: str) -> str:
    """The token of a job, in form: the emulator reads it and checks no signature."""
    told = {
        "iss": f"https://{ISSUER}",
        "aud": "sts.amazonaws.com",
        "sub": f"repo:{REPOSITORY}:environment:dev",
        **claims,
    }
    parts = ({"alg": "RS256", "typ": "JWT"}, told)
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts)
    return ".".join([*(part.rstrip("=") for part in encoded), "c2lnbmF0dXJl"])


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A running emulator with the stack of the role for dev."""
    with running_emulator(tmp_path_factory.mktemp("emulator")) as running:
        body = emulated(stack.read_template(ROOT / "infra" / "github-oidc.yaml"))
        wanted = {"Stage": "dev", "Repository": REPOSITORY}
        client = running.client("cloudformation")
        client.create_stack(
            StackName="eventline-github-dev",
            TemplateBody=body,
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in wanted.items()
            ],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        client.get_waiter("stack_create_complete").wait(
            StackName="eventline-github-dev", WaiterConfig={"Delay": 1}
        )
        yield running


def assume(emulator: Emulator, **claims: str) -> dict[str, str]:
    """The credentials that a job gets for its token, as variables of the environment."""
    given = emulator.client("sts").assume_role_with_web_identity(
        RoleArn=ROLE, RoleSessionName="test", WebIdentityToken=token(**claims)
    )["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
        "AWS_SESSION_TOKEN": given["SessionToken"],
    }


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": f"repo:{REPOSITORY}:environment:prod"},
        {"sub": f"repo:{REPOSITORY}:ref:refs/heads/main"},
        {"sub": "repo:example/eventline-fork:environment:dev"},
        {"aud": "https://github.com/example"},
    ],
    ids=["another environment", "no environment", "another repository", "another audience"],
)
def test_only_a_job_of_the_environment_gets_the_role(
    emulator: Emulator, claims: dict[str, str]
) -> None:
    with pytest.raises(ClientError, match="Not authorized"):
        assume(emulator, **claims)


class Job:
    """A checkout on a runner, with the credentials of the role and nothing else."""

    def __init__(self, emulator: Emulator, path: Path) -> None:
        self.path = path
        self._environ = {
            **emulator.environ(),
            **assume(emulator),
            boundary.VARIABLE: BOUNDARY,
            "PATH": os.pathsep.join((str(path.parent), os.environ["PATH"])),
        }
        Checkout(path)
        # Version 1 of the AWS CLI does not look for the endpoint of SQS in the environment.
        aws = path.parent / "aws"
        own = Path(sys.executable).with_name("aws")
        aws.write_text(f'#!/bin/sh\nexec {own} --endpoint-url "$AWS_ENDPOINT_URL" "$@"\n')
        aws.chmod(0o755)

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.path,
            env={**self._environ, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )

    def done(self, *command: str, **more: str) -> str:
        """What a command prints, which must succeed."""
        ran = self.run(*command, **more)
        assert ran.returncode == 0, f"{command}: {ran.stdout}"
        return ran.stdout

    def python(self, module: str, *arguments: str, **more: str) -> str:
        return self.done(sys.executable, "-m", module, "--stage", "dev", *arguments, **more)

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        return self.done("git", *who, *arguments).strip()

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")


def test_a_stage_lives_by_the_rights_of_the_role_alone(emulator: Emulator, tmp_path: Path) -> None:
    first = Job(emulator, tmp_path / "first")
    release = first.git("rev-parse", "HEAD")

    # Nothing is there, so nothing is fetched; then everything is made, as a role without a key
    assert first.done(sys.executable, "-m", "infra.record", "fetch", "--stage", "dev") == ""
    first.python("infra.provision")
    first.python("infra.deploy")
    iam = emulator.client("iam")
    for function in project.read_config(first.path)["stages"]["dev"]["lambda_functions"]:
        role = iam.get_role(RoleName=project.role_name("dev", function))["Role"]
        assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == BOUNDARY
    smoke = first.done("bash", ".github/smoke.sh", "dev")
    assert "steps passed" in smoke
    tokens = emulator.client("dynamodb").scan(TableName="eventline-dev-tokens")
    assert tokens["Items"] == []
    first.done(sys.executable, "-m", "infra.record", "keep", "--stage", "dev", "--release", release)
    url = smoke.split("deployed: ", 1)[1].split()[0]

    # Another runner, another release, worse than the first: it finds the deployment, and goes back
    apis = emulator.client("apigateway").get_rest_apis()["items"]
    second = Job(emulator, tmp_path / "second")
    second.git("fetch", "--quiet", str(first.path), release)
    second.git("reset", "--quiet", release)
    version = second.path / "chalicelib" / "__init__.py"
    version.write_text(version.read_text().replace('__version__ = "', '__version__ = "9'))
    second.commit("The second release")
    fetched = second.done(sys.executable, "-m", "infra.record", "fetch", "--stage", "dev")
    assert fetched.strip() == release
    second.python("infra.provision")
    second.python("infra.deploy")
    assert emulator.client("apigateway").get_rest_apis()["items"] == apis
    assert '"version":"9' in health(url)
    second.python("infra.rollback", "--release", release)
    assert '"version":"9' not in health(url)
    assert not second.git("worktree", "list").count("\n")

    # A failure is told; what is another stage's is out of reach
    second.done("bash", ".github/tell-failure.sh", "dev", "It failed", GITHUB_REPOSITORY=REPOSITORY)
    refused = second.run("bash", ".github/tell-failure.sh", "prod", "It failed")
    assert refused.returncode != 0
    refused = second.run(sys.executable, "-m", "infra.provision", "--stage", "prod")
    assert refused.returncode != 0
    assert "AccessDenied" in refused.stdout

    # And nothing is left of it
    second.python("infra.destroy", CONFIRM="dev")
    left = emulator.client("cloudformation").list_stacks(StackStatusFilter=["CREATE_COMPLETE"])
    assert [one["StackName"] for one in left["StackSummaries"]] == ["eventline-github-dev"]
    assert emulator.client("lambda").list_functions()["Functions"] == []
    assert emulator.client("apigateway").get_rest_apis()["items"] == []
    names = [role["RoleName"] for role in iam.list_roles()["Roles"]]
    assert [name for name in names if name.startswith("eventline-dev-")] == []
    with pytest.raises(ClientError):
        emulator.client("ssm").get_parameter(Name=record.parameter("dev"))


def health(url: str) -> str:
    """What the deployed API says of itself, without blanks."""
    import requests

    session = requests.Session()
    session.trust_env = False
    return session.get(f"{url}/health", timeout=60).text.replace(" ", "")
