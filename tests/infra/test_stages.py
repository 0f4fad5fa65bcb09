"""The stages in `.chalice/config.json`, and what provisioning writes into them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from infra import project, provision, stack

CONFIG = project.read_config(project.ROOT)
STAGES: dict[str, Any] = CONFIG["stages"]
TEMPLATE = stack.read_template()
GATEWAY_SECONDS = 29


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory with a copy of the configuration, to be written to."""
    (tmp_path / ".chalice").mkdir()
    shutil.copy(project.config_path(project.ROOT), project.config_path(tmp_path))
    return tmp_path


def outputs(stage: str, account: str, region: str = "us-east-1") -> dict[str, str]:
    """What the stack of a stage answers, for the outputs that functions are given."""
    name = f"eventline-{stage}"
    queue = f"arn:aws:sqs:{region}:{account}:{name}"
    topic = f"arn:aws:sns:{region}:{account}:{name}"
    items = f"arn:aws:dynamodb:{region}:{account}:table/{name}-items"
    return {
        "AccountId": account,
        "EventsTableName": f"{name}-events",
        "TokensTableName": f"{name}-tokens",
        "SchemasTableName": f"{name}-schemas",
        "BronzeBucketName": f"{name}-{account}-bronze",
        "SilverBucketName": f"{name}-{account}-silver",
        "EventsQueueArn": f"{queue}-events",
        "EventsDeadLetterQueueArn": f"{queue}-events-dlq",
        "UploadsBucketName": f"{name}-{account}-uploads",
        "ObjectEventsTableName": f"{name}-S3ObjectEvents",
        "UploadsDeadLetterQueueArn": f"{queue}-uploads-dlq",
        "ItemsTableName": f"{name}-items",
        "ItemsTableStreamArn": f"{items}/stream/2000-01-01T00:00:00.000",
        "NotificationsDeadLetterQueueArn": f"{queue}-notifications-dlq",
        "OwnerTopicArn": f"{topic}-owner-notifications",
        "AlertTopicArn": f"{topic}-event-driven-alerts",
        "CiEventsQueueArn": f"{queue}-ci-events-queue",
        "CiEventsDeadLetterQueueArn": f"{queue}-ci-events-dlq",
        "AlertsTableName": f"{name}-alerts",
        "DestinationsTableName": f"{name}-destinations",
        "DeliveriesQueueArn": f"{queue}-deliveries",
        "DeliveriesDeadLetterQueueArn": f"{queue}-deliveries-dlq",
        "EventBusName": name,
        "BusDeadLetterQueueArn": f"{queue}-bus-dlq",
        "SlackParameterName": f"/eventline/{stage}/slack/webhook_url",
    }


def parameters(stage: str, kms_key_arn: str | None = None) -> dict[str, str]:
    made = provision.parameters(stage, STAGES[stage], kms_key_arn)
    return {item["ParameterKey"]: item["ParameterValue"] for item in made}


def test_the_configuration_and_the_template_have_the_same_stages() -> None:
    assert set(STAGES) == {"local", "dev", "prod"}
    assert set(STAGES) == set(TEMPLATE["Mappings"]["Stages"])
    assert set(STAGES) == set(TEMPLATE["Parameters"]["Stage"]["AllowedValues"])


def test_the_application_is_named_as_the_contract_says() -> None:
    assert CONFIG["app_name"] == "eventline"
    assert CONFIG["api_gateway_stage"] == "api"
    assert CONFIG["minimum_compression_size"] == 1024


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_gives_each_function_its_own_role(stage: str) -> None:
    part = STAGES[stage]
    assert part["autogen_policy"] is False
    assert part["tags"] == {"project": "eventline", "stage": stage}
    assert part["environment_variables"]["STAGE"] == stage
    for function, options in part["lambda_functions"].items():
        assert options["iam_policy_file"] == f"policies/{stage}/{function}.json"


def test_stages_have_the_same_functions() -> None:
    functions = {stage: set(part["lambda_functions"]) for stage, part in STAGES.items()}
    assert functions["local"] == functions["dev"] == functions["prod"]


@pytest.mark.parametrize("stage", STAGES)
def test_what_the_gateway_waits_for_ends_before_the_gateway_gives_up(stage: str) -> None:
    functions = STAGES[stage]["lambda_functions"]
    for function in ("api_handler", "authorize"):
        assert functions[function]["lambda_timeout"] <= GATEWAY_SECONDS


@pytest.mark.parametrize("stage", STAGES)
def test_a_message_stays_hidden_for_six_time_outs_and_the_window(stage: str) -> None:
    functions = STAGES[stage]["lambda_functions"]
    window = int(project.setting(STAGES[stage], "BATCHING_WINDOW_SECONDS"))
    hidden = parameters(stage)
    for function, queue in (("process_events", "Events"), ("alert_ci_event", "CiEvents")):
        timeout = functions[function]["lambda_timeout"]
        assert int(hidden[f"{queue}VisibilitySeconds"]) >= 6 * timeout + window


def test_a_killed_worker_is_made_good_within_about_a_minute_on_a_laptop() -> None:
    assert int(parameters("local")["EventsVisibilitySeconds"]) <= 70


@pytest.mark.parametrize("stage", STAGES)
def test_the_queue_and_the_worker_agree_on_the_number_of_attempts(stage: str) -> None:
    given = parameters(stage)
    assert given["MaxAttempts"] == project.setting(STAGES[stage], "MAX_ATTEMPTS")
    assert given["AlertMaxAttempts"] == project.setting(STAGES[stage], "ALERT_MAX_ATTEMPTS")


def test_only_prod_traces() -> None:
    assert {stage for stage, part in STAGES.items() if part.get("xray")} == {"prod"}


def test_a_key_is_changed_only_when_named() -> None:
    assert "KmsKeyArn" not in parameters("dev")
    assert parameters("dev", "")["KmsKeyArn"] == ""


def test_an_address_is_changed_only_when_named() -> None:
    assert "AlertEmail" not in parameters("dev")
    (given,) = [
        item
        for item in provision.parameters("dev", STAGES["dev"], alert_email="ops@example.com")
        if item["ParameterKey"] == "AlertEmail"
    ]
    assert given["ParameterValue"] == "ops@example.com"


@pytest.mark.parametrize(
    ("endpoint", "exempt"),
    [
        (None, "false"),
        ("http://127.0.0.1:4566", "true"),
        ("https://localhost:4566", "false"),
        ("https://dynamodb.eu-west-1.amazonaws.com", "false"),
    ],
)
def test_plain_http_is_allowed_for_an_emulator_only(
    monkeypatch: pytest.MonkeyPatch, endpoint: str | None, exempt: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    assert parameters("dev")["PlainHttpLoopback"] == exempt


def test_the_file_has_the_names_of_the_emulator_and_a_stand_in_for_its_stream(
    checkout: Path,
) -> None:
    before = project.config_path(checkout).read_bytes()
    assert not provision.write_environment(checkout, "local", outputs("local", "000000000000"))
    assert project.config_path(checkout).read_bytes() == before


def test_the_file_is_in_the_form_that_provisioning_writes(checkout: Path) -> None:
    before = project.config_path(checkout).read_bytes()
    project.write_config(checkout, project.read_config(checkout))
    assert project.config_path(checkout).read_bytes() == before


def test_provisioning_adds_the_names_once_and_keeps_settings(checkout: Path) -> None:
    values = outputs("dev", "123456789012", "eu-west-1")
    kept = dict(STAGES["dev"]["environment_variables"])

    assert provision.write_environment(checkout, "dev", values)
    assert not provision.write_environment(checkout, "dev", values)

    written = project.read_config(checkout)
    environment = written["stages"]["dev"]["environment_variables"]
    assert environment.items() >= kept.items()
    assert environment["BRONZE_BUCKET"] == "eventline-dev-123456789012-bronze"
    assert environment["EVENTS_QUEUE_ARN"].startswith("arn:aws:sqs:eu-west-1:123456789012:")
    assert set(environment) >= set(provision.ENVIRONMENT)
    assert written["stages"]["prod"] == STAGES["prod"]
    assert written["stages"]["local"] == STAGES["local"]


def test_every_output_that_provisioning_reads_exists() -> None:
    assert set(provision.ENVIRONMENT.values()) <= set(TEMPLATE["Outputs"])


def test_no_value_depends_on_a_port() -> None:
    for part in STAGES.values():
        assert not [value for value in part["environment_variables"].values() if "://" in value]


def test_an_unknown_stage_is_named_with_the_known_ones() -> None:
    with pytest.raises(project.UnknownStageError, match=r"'qa'.*dev, local, prod"):
        project.stage_config(CONFIG, "qa")
