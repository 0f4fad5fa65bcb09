"""What a stage is on AWS itself, against what docs/aws.md says of it: `make verify STAGE=dev`.

    python -m infra.verify --stage dev

Prints a line for each check and ends with status 1 if one failed. Reads only, but for one event of
type `verify` that it sends where TOKEN is set (a token with `events:write` and `events:read`). A
check that cannot be made here, for want of a right or of a role that is not used, is told and does
not fail. Works on an emulator too, as far as that knows the calls.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from botocore.exceptions import BotoCoreError, ClientError

from infra import access_log, account, deploy, event_sources, gateway, project, wheels
from infra.project import InfraError, Json, say

_POLL_SECONDS = 1.0
_EVENT_SECONDS = 120.0
_HTTP_SECONDS = 30.0


class WrongError(Exception):
    """Raised by a check: AWS is not as it should be; the message says how."""


class NotCheckedError(Exception):
    """Raised by a check that cannot be made; the message says why."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Place:
    """What the checks work with. `client` makes a boto3 client, `http` makes one request (method,
    path, headers, body) of the API, `part` is the stage's configuration, `api` Chalice's record of
    its API."""

    stage: str
    part: Json
    api: Json
    token: str
    client: Callable[[str], Any]
    http: Callable[[str, str, dict[str, str], bytes | None], Answer]
    sleep: Callable[[float], None] = time.sleep


def gateway_responses(place: Place) -> str:
    """The gateway's own errors survived the newest deployment."""
    variables = place.part.get("environment_variables", {})
    wanted = gateway.extension(variables.get("AUTH_MODE", ""), variables.get("CORS_ORIGIN", ""))
    items = place.client("apigateway").get_gateway_responses(
        restApiId=place.api["rest_api_id"], limit=500
    )
    there = {item["responseType"]: item for item in items["items"]}
    for kind, told in wanted.items():
        for name, value in told.items():
            if there.get(kind, {}).get(name) != value:
                raise WrongError(f"{kind}: {name} is not ours")
    return f"{len(wanted)} are ours"


def unauthorized(place: Place) -> str:
    """A request without a token gets a problem, and is told how to authenticate."""
    answer = place.http("GET", "/events", {}, None)
    if answer.status != HTTPStatus.UNAUTHORIZED:
        raise WrongError(f"GET /events without a token is {answer.status}")
    if answer.headers.get("content-type") != "application/problem+json":
        raise WrongError(f"its content type is {answer.headers.get('content-type')}")
    for name in ("www-authenticate", "x-amzn-remapped-www-authenticate"):
        if name in answer.headers:
            return f"401, {name}: {answer.headers[name]}"
    raise WrongError("401 without WWW-Authenticate")


def unsigned_webhook(place: Place) -> str:
    """A webhook without a signature is refused; the secret's parameter can be looked for."""
    answer = place.http("POST", "/webhooks/github", {"Content-Type": "application/json"}, b"{}")
    if answer.status != HTTPStatus.UNAUTHORIZED:
        raise WrongError(f"{answer.status}; 503 says that SSM did not let the function read")
    return "401"


def health(place: Place) -> str:
    """The runtime's SDK knows all that we send."""
    answer = place.http("GET", "/health", {}, None)
    if answer.status != HTTPStatus.OK:
        raise WrongError(f"GET /health is {answer.status}: {answer.body[:200].decode()}")
    return "200"


def runtimes(place: Place) -> str:
    """Every function has a runtime that Eventline takes, on the architecture that is configured."""
    wanted = wheels.of(place.part)
    found = set()
    for function in place.part["lambda_functions"]:
        name = project.lambda_name(place.stage, function)
        told = place.client("lambda").get_function_configuration(FunctionName=name)
        runtime = str(told["Runtime"])
        minor = int(runtime.rpartition(".")[2])
        if not account.OLDEST <= (3, minor) <= account.NEWEST:
            raise WrongError(f"{name} has {runtime}")
        (architecture,) = told.get("Architectures", [wheels.X86_64])
        if architecture != wanted:
            raise WrongError(f"{name} is on {architecture}, lambda_architecture says {wanted}")
        found.add(f"{runtime} on {architecture}")
    return ", ".join(sorted(found))


def quota(place: Place) -> str:
    """The account is not one of ten runs at once."""
    allowed = place.client("lambda").get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    if allowed <= account.NEW_ACCOUNT_CONCURRENCY:
        raise WrongError(f"{allowed} runs of all functions at once")
    return f"{allowed} runs of all functions at once"


def sqs_sources(place: Place) -> str:
    """SQS sources are limited at the source, and no function of theirs is throttled."""
    lambdas = place.client("lambda")
    for function, (queue, limit) in event_sources.OF_SQS.items():
        name = project.lambda_name(place.stage, function)
        if "ReservedConcurrentExecutions" in lambdas.get_function_concurrency(FunctionName=name):
            raise WrongError(f"{name} has a reserved concurrency")
        arn = project.setting(place.part, queue)
        found = lambdas.list_event_source_mappings(EventSourceArn=arn, FunctionName=name)
        if len(found["EventSourceMappings"]) != 1:
            raise WrongError(f"{name} has {len(found['EventSourceMappings'])} mappings of {arn}")
        (mapping,) = found["EventSourceMappings"]
        there = mapping.get("ScalingConfig", {}).get("MaximumConcurrency", 0)
        wanted = int(project.setting(place.part, limit))
        if wanted and there != wanted:
            raise WrongError(f"{name}: MaximumConcurrency is {there}, {limit} says {wanted}")
    return "limited where the settings say so"


def access_logs(place: Place) -> str:
    """Requests of the API are logged where and as they should be."""
    client, wanted = place.client("apigateway"), access_log.settings(place.stage, place.part)
    named = {"restApiId": place.api["rest_api_id"], "stageName": access_log.api_stage(place.api)}
    there = client.get_stage(**named).get("accessLogSettings", {})
    if not there and not access_log.has_role(client):
        raise NotCheckedError(access_log.NO_ROLE)
    for name, value in wanted.items():
        if there.get(name) != value:
            raise WrongError(f"{name} of the API's stage is not ours")
    return str(wanted["destinationArn"].rsplit(":", 1)[-1])


def bus(place: Place) -> str:
    """What the bus cannot encrypt or decrypt is kept."""
    name = project.setting(place.part, "EVENT_BUS")
    told = place.client("events").describe_event_bus(Name=name)
    queue = told.get("DeadLetterConfig", {}).get("Arn", "")
    if not queue.endswith(f"-{place.stage}-bus-dlq"):
        raise WrongError(f"{name} has no dead-letter queue")
    return f"key: {told.get('KmsKeyIdentifier') or 'of AWS'}"


def trust(place: Place) -> str:
    """GitHub's role trusts exact subjects of one repository and this stage."""
    role = _deploy_role(place)
    statement = role["AssumeRolePolicyDocument"]["Statement"][0]
    equal = statement["Condition"]["StringEquals"]
    subjects = equal["token.actions.githubusercontent.com:sub"]
    listed = subjects if isinstance(subjects, list) else [subjects]
    for subject in listed:
        if "*" in subject or not subject.endswith(f":environment:{place.stage}"):
            raise WrongError(f"it trusts {subject}")
    return ", ".join(listed)


def secrets(place: Place) -> str:
    """GitHub's role can read none of the stage's secrets."""
    role = _deploy_role(place)
    partition, _, region, number = project.setting(place.part, "EVENTS_QUEUE_ARN").split(":")[1:5]
    base = f"arn:{partition}:ssm:{region}:{number}:parameter/{project.APP}/{place.stage}"
    asked = [f"{base}/slack/webhook_url", f"{base}/webhooks/github/secret"]
    told = place.client("iam").simulate_principal_policy(
        PolicySourceArn=role["Arn"], ActionNames=["ssm:GetParameter"], ResourceArns=asked
    )
    for result in told["EvaluationResults"]:
        if result["EvalDecision"] == "allowed":
            raise WrongError(f"it may read {result['EvalResourceName']}")
    return "it may read none"


def event(place: Place) -> str:
    """One event goes all the way."""
    if not place.token:
        raise NotCheckedError(
            "set TOKEN=$(make token OWNER=verify SCOPES=events:write,events:read)"
        )
    headers = {"Authorization": f"Bearer {place.token}", "Content-Type": "application/json"}
    sent = place.http("POST", "/events", headers, b'{"eventType":"verify"}')
    if sent.status != HTTPStatus.ACCEPTED:
        raise WrongError(f"POST /events is {sent.status}")
    event_id = json.loads(sent.body)["eventId"]
    for waited in range(int(_EVENT_SECONDS / _POLL_SECONDS)):
        told = place.http("GET", f"/events/{event_id}", headers, None)
        status = json.loads(told.body).get("status")
        if status == "PROCESSED":
            return f"{event_id} was PROCESSED after {waited * _POLL_SECONDS:.0f} s"
        if status in {"FAILED", "REJECTED"}:
            raise WrongError(f"{event_id} is {status}")
        place.sleep(_POLL_SECONDS)
    raise WrongError(f"{event_id} is not PROCESSED after {_EVENT_SECONDS:.0f} s")


CHECKS: dict[str, Callable[[Place], str]] = {
    "gateway responses": gateway_responses,
    "401 of the gateway": unauthorized,
    "unsigned webhook": unsigned_webhook,
    "health and SDK": health,
    "runtimes": runtimes,
    "quota of the account": quota,
    "SQS event sources": sqs_sources,
    "access log": access_logs,
    "bus": bus,
    "trust of GitHub": trust,
    "secrets and GitHub": secrets,
    "an event": event,
}


def verify(place: Place, checks: dict[str, Callable[[Place], str]] = CHECKS) -> int:
    """Make the checks and print a line for each; returns how many failed."""
    failed = 0
    for name, check in checks.items():
        try:
            mark, told = "ok", check(place)
        except WrongError as error:
            mark, told, failed = "FAIL", str(error), failed + 1
        except (NotCheckedError, InfraError, ClientError, BotoCoreError, OSError) as error:
            mark, told = "--", f"not checked: {error}"
        say(f"{mark:4}  {name:22}  {told}")
    return failed


def _deploy_role(place: Place) -> Json:
    name = f"{project.APP}-github-{place.stage}"
    try:
        role: Json = place.client("iam").get_role(RoleName=name)["Role"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchEntity":
            raise NotCheckedError(f"there is no role {name}") from error
        raise
    return role


def http_of(url: str) -> Callable[[str, str, dict[str, str], bytes | None], Answer]:
    """Return what makes requests of the API at `url`, which must be https or on loopback."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in {"127.0.0.1", "localhost"}:
        raise InfraError(f"{url} is not https")

    def call(method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        request = Request(url + path, body, headers, method=method)  # noqa: S310 - checked above
        try:
            with urlopen(request, timeout=_HTTP_SECONDS) as answer:  # noqa: S310
                status, told, content = answer.status, answer.headers, answer.read()
        except HTTPError as error:
            status, told, content = error.code, error.headers, error.read()
        return Answer(status, {name.lower(): value for name, value in told.items()}, content)

    return call


def place_of(stage: str, project_dir: Path) -> Place:
    """Return the place of a stage that is deployed from `project_dir`; raises `InfraError`."""
    part = project.stage_config(project.read_config(project_dir), stage)
    session = project.session()
    return Place(
        stage,
        part,
        deploy.rest_api(stage, project_dir),
        os.environ.get("TOKEN", ""),
        lambda service: project.client(session, service),
        http_of(deploy.deployed_api_url(stage, project_dir)),
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    given = project.arguments("Check a deployed stage; see docs/aws.md.").parse_args(argv)

    def command() -> None:
        failed = verify(place_of(given.stage, given.project_dir.resolve()))
        if failed:
            raise InfraError(f"{failed} of {len(CHECKS)} checks failed")

    return project.run(command)


if __name__ == "__main__":
    sys.exit(main())
