"""The Terraform root module: one source of truth, names that resolve, faults of Chalice's mended.

No provider is downloaded here, so nothing is planned. What can be checked without one is.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra import event_sources, gateway, project, provision, stack
from infra.terraform import root

STAGES = ("dev", "prod")
EXPRESSION = re.compile(r"\$\{(.*?)\}")
ADDRESS = re.compile(r"\b(data\.\w+\.\w+|aws_\w+\.[\w-]+|local\.\w+|var\.\w+)")
OUTPUT = re.compile(r"aws_cloudformation_stack\.resources\.outputs(?:\.(\w+)|\[\"(\w+)\"\])")


@pytest.fixture(scope="module", params=STAGES)
def module(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module of a stage."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("app.py", "chalicelib", "requirements.txt", "requirements.lock", ".chalice"):
        source = project.ROOT / name
        if source.is_dir():
            shutil.copytree(source, checkout / name)
        else:
            shutil.copyfile(source, checkout / name)
    target = checkout / "build" / "terraform" / str(request.param)
    before = project.config_path(checkout).read_bytes()
    root.write(request.param, target, checkout, "", "ops@example.com")
    assert project.config_path(checkout).read_bytes() == before
    assert (checkout / "build" / ".gitignore").read_text() == "*\n"
    return target


@pytest.fixture
def stage(module: Path) -> str:
    """Its stage."""
    return module.name


def read(module: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((module / name).read_text())
    return content


def json_files(module: Path) -> list[Path]:
    return sorted(module.glob("*.tf.json"))


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)


def declared(module: Path) -> set[str]:
    """The addresses that the module declares."""
    found = set()
    for path in json_files(module):
        if path.stem.removesuffix(".tf").endswith("_override"):
            continue
        content = json.loads(path.read_text())
        for kind, names in content.get("resource", {}).items():
            found |= {f"{kind}.{name}" for name in names}
        for kind, names in content.get("data", {}).items():
            found |= {f"data.{kind}.{name}" for name in names}
        found |= {f"local.{name}" for name in content.get("locals", {})}
    for path in module.glob("*.tf"):
        text = path.read_text()
        found |= {
            f"{kind}.{name}"
            for kind, name in re.findall(r'^resource "(\S+)" "(\S+)"', text, re.MULTILINE)
        }
        found |= {f"var.{name}" for name in re.findall(r'^variable "(\S+)"', text, re.MULTILINE)}
    return found


def used(module: Path) -> set[str]:
    """The addresses that its expressions name."""
    expressions = [
        expression
        for path in json_files(module)
        for text in texts(json.loads(path.read_text()))
        for expression in EXPRESSION.findall(text)
    ]
    plain = [
        line.split("#")[0] for path in module.glob("*.tf") for line in path.read_text().splitlines()
    ]
    return {
        address
        for text in expressions + [line for line in plain if not line.startswith("resource")]
        for address in ADDRESS.findall(text)
    }


def test_every_reference_resolves(module: Path) -> None:
    addresses = used(module)
    assert len(addresses) > 20
    assert addresses <= declared(module)


def test_every_output_that_is_used_is_one_of_the_template(module: Path) -> None:
    whole = "".join(path.read_text() for path in [*json_files(module), *module.glob("*.tf")])
    names = {first or second for first, second in OUTPUT.findall(whole.replace('\\"', '"'))}
    assert names >= set(provision.ENVIRONMENT.values())
    assert names <= set(stack.read_template()["Outputs"])


def test_overrides_change_what_is_there(module: Path) -> None:
    for kind, names in read(module, "stage_override.tf.json")["resource"].items():
        assert {f"{kind}.{name}" for name in names} <= declared(module)


def test_what_waits_for_another_waits_for_what_is_there(module: Path) -> None:
    waited = {
        address
        for path in json_files(module)
        for named in json.loads(path.read_text()).get("resource", {}).values()
        for resource in named.values()
        for address in resource.get("depends_on", [])
    }
    assert waited <= declared(module)


def test_no_name_is_an_expression(module: Path) -> None:
    for path in json_files(module):
        for names in json.loads(path.read_text()).get("resource", {}).values():
            for name in names:
                assert re.fullmatch(r"[A-Za-z_][\w-]*", name)


def test_the_state_is_that_of_make_provision(module: Path, stage: str) -> None:
    for source in (stack.RESOURCES, stack.ALARMS):
        assert (module / source.name).read_bytes() == source.read_bytes()
    part = project.read_config(project.ROOT)["stages"][stage]
    given = provision.parameters(stage, part, "", "ops@example.com")
    assert read(module, "stage.auto.tfvars.json")["parameters"] == {
        item["ParameterKey"]: item["ParameterValue"] for item in given
    }
    main = (module / "main.tf").read_text()
    assert project.stack_name("${var.stage}") in main
    assert project.alarms_stack_name("${var.stage}") in main


def test_there_is_no_second_list_of_what_holds_state(module: Path) -> None:
    kinds = {
        kind for path in json_files(module) for kind in json.loads(path.read_text())["resource"]
    }
    assert not kinds & {
        "aws_dynamodb_table", "aws_s3_bucket", "aws_sqs_queue", "aws_sns_topic",
        "aws_cloudwatch_event_bus", "aws_cloudwatch_log_group", "aws_cloudwatch_metric_alarm",
    }  # fmt: skip


def test_functions_get_the_variables_that_make_provision_writes(module: Path, stage: str) -> None:
    functions = read(module, "chalice.tf.json")["resource"]["aws_lambda_function"]
    part = project.read_config(project.ROOT)["stages"][stage]
    assert set(functions) == set(part["lambda_functions"])
    for function in functions.values():
        variables = function["environment"]["variables"]
        for name, output in provision.ENVIRONMENT.items():
            assert variables[name] == root.output(output)
        assert variables["STAGE"] == stage


def test_nothing_is_of_one_account_or_region(module: Path) -> None:
    whole = "".join(path.read_text() for path in json_files(module))
    assert not re.search(r"[a-z]{2}-(?:east|west|central|north|south)\w*-\d", whole)
    assert not re.search(r"(?<![\w-])\d{12}(?![\w-])", whole)


def test_the_api_s_document_has_the_gateway_responses(module: Path) -> None:
    document = json.loads(read(module, "chalice.tf.json")["locals"]["chalice_api_swagger"])
    assert document[gateway.EXTENSION] == gateway.extension("", "")


def test_what_make_deploy_sets_is_set(module: Path, stage: str) -> None:
    configs = read(module, "after.tf.json")["resource"]["aws_lambda_function_event_invoke_config"]
    assert set(configs) == set(event_sources.ASYNCHRONOUS)
    override = read(module, "stage_override.tf.json")["resource"]
    (mapping,) = override["aws_lambda_event_source_mapping"].values()
    assert mapping["bisect_batch_on_function_error"] is True
    assert mapping["maximum_record_age_in_seconds"] == event_sources.STREAM_RECORD_AGE_SECONDS
    guard = override.get("aws_cloudformation_stack", {}).get("resources", {}).get("lifecycle", {})
    assert guard.get("prevent_destroy", False) is (stage == "prod")


def test_two_stages_of_an_account_share_no_name(module: Path, stage: str) -> None:
    resources = read(module, "chalice.tf.json")["resource"]
    for kind in ("aws_cloudwatch_event_rule", "aws_iam_role", "aws_api_gateway_rest_api"):
        for resource in resources[kind].values():
            assert resource["name"].startswith(f"eventline-{stage}")


def test_the_topic_of_alarms_is_subscribed_by_its_arn(module: Path) -> None:
    (made,) = read(module, "chalice.tf.json")["resource"]["aws_sns_topic_subscription"].values()
    assert made["topic_arn"] == root.output("AlertTopicArn")


@pytest.mark.skipif(shutil.which("terraform") is None, reason="needs Terraform")
def test_terraform_reads_the_module_and_its_overrides(module: Path) -> None:
    # When
    told = subprocess.run(
        ["terraform", "providers"],
        cwd=module,
        env={
            "PATH": os.environ["PATH"],
            "TF_CLI_CONFIG_FILE": os.devnull,
            "CHECKPOINT_DISABLE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    # Then: every file is read, and the versions are ours and not Chalice's
    assert told.returncode == 0, told.stdout + told.stderr
    assert "hashicorp/aws] >= 5.0.0, < 6.0.0" in told.stdout
    assert "Error" not in told.stdout
