"""Writes a stage as one Terraform root module, from what the other commands deploy.

The state is `infra/resources.yaml` and `infra/alarms.yaml` as they are, as two CloudFormation
stacks, whose outputs are the variables of the functions. The application is what
`chalice package --pkg-format terraform` says, with the faults of that mended here. What
`make deploy` sets afterwards comes from the same tables. See docs/adr/0016-terraform.md.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra import event_sources, policies, project, provision, stack, wheels
from infra.policies import Place
from infra.project import InfraError, Json

_SHARED = ("main.tf", "versions_override.tf")
_OUTPUTS = "aws_cloudformation_stack.resources.outputs"
# What the application is packaged from; nothing else of the checkout is read.
_PACKAGED = ("app.py", "chalicelib", "requirements.txt", ".chalice/config.json")
# Chalice takes what does not begin with `arn:` for a topic's name, and writes an ARN around it.
_ARN_AROUND_ARN = re.compile(r"arn:[^\"]*?:(\$\{aws_cloudformation_stack\.resources\.\S+?Arn\})")


class PackageError(InfraError):
    """Raised when Chalice could not package; the message is Chalice's."""


def write(stage: str, target: Path, checkout: Path, kms_key_arn: str, alert_email: str) -> None:
    """Write the module of `stage` into the directory `target`, in place of an earlier one.

    What Terraform itself keeps there stays, and nothing is asked of AWS. Raises `InfraError`.
    """
    part = project.stage_config(project.read_config(checkout), stage)
    target.mkdir(parents=True, exist_ok=True)
    # The module can be made again, and has the parameters of the stage in it.
    (checkout / "build" / ".gitignore").write_text("*\n", encoding="utf-8")
    for source in (*(Path(__file__).with_name(name) for name in _SHARED), *_templates()):
        shutil.copyfile(source, target / source.name)
    with wheels.locked(checkout):
        _package(stage, checkout, target, kms_key_arn)
    wheels.check(target / "deployment.zip", checkout, wheels.of(part))
    chalice_file = target / "chalice.tf.json"
    chalice = mend(json.loads(chalice_file.read_text(encoding="utf-8")), stage)
    _write(chalice_file, chalice)
    _write(target / "after.tf.json", {"resource": invoke_configs()})
    _write(target / "stage_override.tf.json", {"resource": overrides(stage)})
    _write(target / "stage.auto.tfvars.json", values(stage, part, kms_key_arn, alert_email))


def output(name: str) -> str:
    """Return the expression for an output of `resources.yaml`."""
    return f"${{{_OUTPUTS}.{name}}}"


def mend(chalice: Json, stage: str) -> Json:
    """Return Chalice's module without what Terraform or a second stage would stumble over."""
    text = json.dumps(chalice)
    mended: Json = json.loads(_ARN_AROUND_ARN.sub(r"\1", text))
    resources = mended["resource"]
    # A name in Terraform is no expression.
    notifications = resources["aws_s3_bucket_notification"]
    (bucket,) = notifications.values()
    resources["aws_s3_bucket_notification"] = {"uploads": bucket}
    # Without the stage, as Chalice names them, two stages of an account would share one rule.
    for name, rule in resources["aws_cloudwatch_event_rule"].items():
        rule["name"] = f"{project.APP}-{stage}-{name}"
    return mended


def invoke_configs() -> Json:
    """Return the resources for what becomes of events that an asynchronous function fails."""
    return {
        "aws_lambda_function_event_invoke_config": {
            function: {
                "function_name": f"${{aws_lambda_function.{function}.function_name}}",
                "maximum_retry_attempts": event_sources.ASYNCHRONOUS_RETRIES,
                "destination_config": {"on_failure": {"destination": _variable(queue)}},
            }
            for function, queue in event_sources.ASYNCHRONOUS.items()
        }
    }


def overrides(stage: str) -> Json:
    """Return what is added to resources of other files: limits of streams, a guard on the data."""
    found: Json = {
        "aws_lambda_event_source_mapping": {
            f"{function}-dynamodb-event-source": {
                "bisect_batch_on_function_error": True,
                "maximum_retry_attempts": event_sources.STREAM_RETRIES,
                "maximum_record_age_in_seconds": event_sources.STREAM_RECORD_AGE_SECONDS,
                "destination_config": {"on_failure": {"destination_arn": _variable(queue)}},
            }
            for function, (_, queue) in event_sources.STREAMS.items()
        }
    }
    if stack.is_protected(stack.read_template(), stage):
        found["aws_cloudformation_stack"] = {"resources": {"lifecycle": {"prevent_destroy": True}}}
    return found


def values(stage: str, part: Json, kms_key_arn: str, alert_email: str) -> Json:
    """Return the values of the module's variables."""
    given = provision.parameters(stage, part, kms_key_arn, alert_email)
    return {
        "stage": stage,
        "parameters": {item["ParameterKey"]: item["ParameterValue"] for item in given}
        # An endpoint in the shell is no part of the module.
        | {"PlainHttpLoopback": "false"},
    }


def _variable(name: str) -> str:
    return output(provision.ENVIRONMENT[name])


def _templates() -> tuple[Path, ...]:
    return (stack.RESOURCES, stack.ALARMS)


def _package(stage: str, checkout: Path, target: Path, kms_key_arn: str) -> None:
    """Have Chalice write its part of the module, from a copy whose variables are expressions."""
    with TemporaryDirectory(prefix="eventline-") as folder:
        copy = Path(folder).resolve() / "app"
        for name in _PACKAGED:
            source, there = checkout / name, copy / name
            there.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, there, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, there)
        shutil.copytree(policies.templates_dir(checkout), policies.templates_dir(copy))
        provision.write_environment(copy, stage, _Expressions())
        part = project.stage_config(project.read_config(copy), stage)
        policies.write_policies(copy, part, _place(stage, kms_key_arn))
        _run_chalice(copy, stage, target)


class _Expressions(dict[str, str]):
    """For every output of the stack the expression that stands for it."""

    def __missing__(self, name: str) -> str:
        return output(name)


def _place(stage: str, kms_key_arn: str) -> Place:
    return Place(
        "${data.aws_partition.chalice.partition}",
        "${data.aws_region.chalice.name}",
        "${data.aws_caller_identity.chalice.account_id}",
        stage,
        kms_key_arn,
    )


def _run_chalice(copy: Path, stage: str, target: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    # Chalice wants a region, though none gets into what it writes; `app` wants `local` of this
    # checkout, which is no part of the copy.
    more = {"AWS_DEFAULT_REGION": "us-east-1", "PYTHONPATH": str(project.ROOT)}
    words = ("package", "--stage", stage, "--pkg-format", "terraform", str(target))
    done = subprocess.run(
        [sys.executable, "-c", "from chalice.cli import main; main()", *words],
        cwd=copy,
        env={**kept, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PackageError(done.stderr or done.stdout)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
