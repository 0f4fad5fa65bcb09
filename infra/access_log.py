"""The access log of a stage's API: one JSON line for each request, whoever answered it.

The functions log what reaches them; here is also what API Gateway refuses by itself. Chalice cannot
set it, so it is put after each deployment, and stays with the API's stage from then on. API Gateway
writes with a role that an account has once for a region (`infra/api-gateway-logs.yaml`). Where
there is none the deployment says so and goes on: it is for all APIs of the account, so no single
stage makes it. Source: Amazon API Gateway Developer Guide, "Set up CloudWatch logging for REST APIs
in API Gateway" and "Variables for access logging for API Gateway".
"""

import json
from typing import Any

from infra import project
from infra.project import APP, Json, say

FIELDS = {
    # That of X-Request-Id and of the functions' lines.
    "requestId": "$context.requestId",
    "timeMs": "$context.requestTimeEpoch",
    "ip": "$context.identity.sourceIp",
    "owner": "$context.authorizer.owner",
    "method": "$context.httpMethod",
    # The pattern, not the path: that could hold what a client put there by mistake. No variable
    # here has a header, a body or the query string.
    "route": "$context.resourcePath",
    "protocol": "$context.protocol",
    "status": "$context.status",
    "bytes": "$context.responseLength",
    "ms": "$context.responseLatency",
    "functionMs": "$context.integration.latency",
    # What API Gateway itself answered for, as in `infra/gateway.py`; WAF's answer is WAF_FILTERED.
    "error": "$context.error.responseType",
    "trace": "$context.xrayTraceId",
}
# All are text, as API Gateway writes `-` for what there is not.
FORMAT = json.dumps(FIELDS, separators=(",", ":"))
NO_ROLE = (
    "API Gateway has no role for logs in this account and region, so there is no access log:"
    " deploy infra/api-gateway-logs.yaml once, as docs/aws.md says"
)


def log_group_arn(stage: str, part: Json) -> str:
    """Return the ARN of the log group, which `infra/resources.yaml` makes, without a `:*`."""
    partition, _, region, account = project.setting(part, "EVENTS_QUEUE_ARN").split(":")[1:5]
    return f"arn:{partition}:logs:{region}:{account}:log-group:/aws/apigateway/{APP}-{stage}"


def settings(stage: str, part: Json) -> dict[str, str]:
    """Return what the API's stage is to have as its `accessLogSettings`."""
    return {"destinationArn": log_group_arn(stage, part), "format": FORMAT}


def has_role(client: Any) -> bool:
    """Return whether API Gateway may write logs in this account and region; one call."""
    return bool(client.get_account().get("cloudwatchRoleArn"))


def apply(client: Any, stage: str, part: Json, api: Json) -> bool:
    """Set the access log of `stage` unless it is set; returns whether it was changed.

    `client` is a boto3 client for API Gateway, `part` the stage's part of the configuration, `api`
    Chalice's record of its API. Safe to repeat. One call, three to change it.
    """
    wanted = settings(stage, part)
    named = {"restApiId": api["rest_api_id"], "stageName": api_stage(api)}
    if client.get_stage(**named).get("accessLogSettings") == wanted:
        return False
    if not has_role(client):
        say(f"warning: {NO_ROLE}")
        return False
    client.update_stage(
        **named,
        patchOperations=[
            {"op": "replace", "path": f"/accessLogSettings/{name}", "value": value}
            for name, value in wanted.items()
        ],
    )
    say(f"API: requests are logged to {wanted['destinationArn'].rsplit(':', 1)[-1]}")
    return True


def api_stage(api: Json) -> str:
    """Return the name that API Gateway knows the stage of Chalice's record of an API by."""
    return str(api["rest_api_url"]).rstrip("/").rsplit("/", 1)[-1]
