"""Turns the policy templates of the functions into the files that Chalice gives to IAM.

A template is a JSON policy in `.chalice/policies/<function>.json` with the placeholders
`${Partition} ${Region} ${Account} ${Stage} ${KmsKeyArn}`. Rendered ones go to
`.chalice/policies/<stage>/`, which `.chalice/config.json` names and Git ignores.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from string import Template

from infra.project import InfraError, Json

# X-Ray knows no resource for these two actions ("Actions, resources, and condition keys for AWS
# X-Ray", Service Authorization Reference), so this is the one statement without a resource.
# It is given only to the functions of a stage that traces.
TRACING: Json = {
    "Sid": "SendTraces",
    "Effect": "Allow",
    "Action": ["xray:PutTraceSegments", "xray:PutTelemetryRecords"],
    "Resource": ["*"],
}

# On AWS the right to a call includes the call for many at once; the emulator wants it by its name.
_FOR_MANY = {
    "sns:Publish": "sns:PublishBatch",
    "sqs:ChangeMessageVisibility": "sqs:ChangeMessageVisibilityBatch",
    "sqs:DeleteMessage": "sqs:DeleteMessageBatch",
    "sqs:SendMessage": "sqs:SendMessageBatch",
}


@dataclass(frozen=True)
class Place:
    """Where a stage lives. `kms_key_arn` is empty when AWS's own keys are used; `emulated` says
    that this is no AWS at all."""

    partition: str
    region: str
    account: str
    stage: str
    kms_key_arn: str = ""
    emulated: bool = False


def templates_dir(project_dir: Path) -> Path:
    """Return the directory of the policy templates."""
    return project_dir / ".chalice" / "policies"


def render(template: Json, place: Place, *, traced: bool) -> Json:
    """Return `template` for `place`; a statement about the key is dropped when there is none."""
    values = {
        "Partition": place.partition,
        "Region": place.region,
        "Account": place.account,
        "Stage": place.stage,
        "KmsKeyArn": place.kms_key_arn,
    }
    statements = [
        json.loads(Template(json.dumps(statement)).substitute(values))
        for statement in template["Statement"]
        if place.kms_key_arn or "${KmsKeyArn}" not in statement["Resource"]
    ]
    if place.emulated:
        for statement in statements:
            actions = statement["Action"]
            actions += [_FOR_MANY[action] for action in actions if action in _FOR_MANY]
    return {**template, "Statement": statements + ([TRACING] if traced else [])}


def write_policies(project_dir: Path, stage_part: Json, place: Place) -> list[Path]:
    """Render the policy of each function of the stage; returns the files that changed.

    Raises `InfraError` when a function has no template, for it would be deployed without rights.
    """
    changed = []
    for function, options in stage_part["lambda_functions"].items():
        source = templates_dir(project_dir) / f"{function}.json"
        if not source.is_file():
            raise InfraError(f"{function} has no policy template .chalice/policies/{source.name}")
        template: Json = json.loads(source.read_text(encoding="utf-8"))
        traced = bool(options.get("xray", stage_part.get("xray", False)))
        text = json.dumps(render(template, place, traced=traced), indent=2) + "\n"
        target = project_dir / ".chalice" / options["iam_policy_file"]
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        changed.append(target)
    return changed


def missing_policies(project_dir: Path, stage_part: Json) -> list[str]:
    """Return the functions whose rendered policy is not there yet."""
    return [
        function
        for function, options in stage_part["lambda_functions"].items()
        if not (project_dir / ".chalice" / options["iam_policy_file"]).is_file()
    ]
