"""Every block of code in docs/extending.md runs as it stands, in the place that it names.

A block for a file is run in the module of that file, which is put back as it was.
"""

import hashlib
import hmac
import json
import re
import runpy
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from chalice.test import HTTPResponse

import app
from chalicelib import wiring
from chalicelib.alerts.model import Alert, Severity, read_message
from chalicelib.core.errors import BatchIncompleteError
from chalicelib.events import processors
from chalicelib.webhooks import api, sources
from infra import policies, project, stack
from tests.conftest import REGION, STAGE_VARIABLES
from tests.support.app_on_moto import Platform, Sender, without_delay
from tests.support.factories import LambdaContext

PAGE = project.ROOT / "docs" / "extending.md"
PROCESSOR = "python file=chalicelib/events/processors.py"
PROCESSOR_TEST = "python file=tests/events/test_order_created.py"
SOURCE = "python file=chalicelib/webhooks/sources.py"
POLICY = "json file=.chalice/policies/api_handler.json"
PROGRAM = "python run=program"
ALARM = "yaml file=infra/alarms.yaml"
RUN_HERE = (PROCESSOR, PROCESSOR_TEST, SOURCE, POLICY, PROGRAM, ALARM)
SECRET = "for-tests-only"
SECRET_NAME = f"/eventline/{STAGE_VARIABLES['STAGE']}/webhooks/forge/secret"
PUSH = b'{"ref":"refs/heads/main"}'


def blocks() -> list[tuple[str, str]]:
    """(what stands behind the fence, the code) of each block of the page."""
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(r"^```(.*)\n((?:.*\n)*?)^```$", text, re.MULTILINE)


def block(label: str) -> str:
    (code,) = [code for told, code in blocks() if told == label]
    return code


@contextmanager
def added(module: types.ModuleType, label: str = "", code: str = "") -> Iterator[None]:
    """The module as it is once the block is in its file."""
    namespace = vars(module)
    before = dict(namespace)
    exec(compile(code or block(label), str(PAGE), "exec"), namespace)
    try:
        yield
    finally:
        namespace.clear()
        namespace.update(before)


def read_alert(body: str) -> Alert:
    alert = read_message(body)
    assert isinstance(alert, Alert)
    return alert


def process(platform: Platform, sender: Sender, body: dict[str, Any]) -> dict[str, Any]:
    """Send an event and let the worker have it; its record."""
    event_id = sender.event_id(body)
    platform.work()
    record: dict[str, Any] = sender.get(f"/events/{event_id}").json_body
    return record


def test_every_block_is_run_here_or_is_a_command() -> None:
    labels = [label for label, _ in blocks()]
    assert sorted(label for label in labels if label != "sh") == sorted(RUN_HERE)
    for label in labels:
        file = label.partition("file=")[2]
        assert not file or file.startswith("tests/") or (project.ROOT / file).exists()


# -------------------------------------------------------------------- a processor


def test_a_processor_of_ones_own_makes_the_silver_document(platform: Platform) -> None:
    sender = platform.sender()
    order = {"eventType": "order.created", "lines": [{"price": 3}, {"price": 4}]}
    with added(processors, PROCESSOR):
        record = process(platform, sender, order)

    assert record["status"] == "PROCESSED"
    result = sender.get(f"/events/{record['eventId']}/result").json_body
    assert result["data"] == {**order, "total": 7}


def test_what_it_refuses_for_good_is_failed_at_once_and_alerted(platform: Platform) -> None:
    with added(processors, PROCESSOR):
        record = process(platform, platform.sender(), {"eventType": "order.created"})

    assert (record["status"], record["attempts"]) == ("FAILED", 1)
    assert record["lastError"]["code"] == "no-lines"
    (alert,) = platform.receive("eventline-test-ci-events-queue")
    assert "order.created" in read_alert(alert["body"]).title


def test_the_processor_of_the_readme_does_what_it_says(platform: Platform) -> None:
    text = (project.ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (code,) = [block for block in blocks if "PROCESSORS" in block]
    sender = platform.sender()
    with added(processors, code=code):
        order = {"eventType": "order.created", "lines": [{"price": 3}, {"price": 4}]}
        record = process(platform, sender, order)

    result = sender.get(f"/events/{record['eventId']}/result").json_body
    assert result["data"]["total"] == 7


def test_the_drills_are_still_there(platform: Platform) -> None:
    with added(processors, PROCESSOR):
        record = process(platform, platform.sender(), {"eventType": "eventline.drill.permanent"})
    assert record["lastError"]["code"] == "drill"


def test_without_the_block_a_type_is_kept_as_it_came(platform: Platform) -> None:
    record = process(platform, platform.sender(), {"eventType": "order.created"})
    assert record["status"] == "PROCESSED"


def test_the_test_of_a_processor_passes() -> None:
    namespace: dict[str, Any] = {"__name__": "test_order_created"}
    with added(processors, PROCESSOR):
        exec(compile(block(PROCESSOR_TEST), str(PAGE), "exec"), namespace)
        tests = [made for name, made in namespace.items() if name.startswith("test_")]
        for test in tests:
            test()
    assert len(tests) == 2


# --------------------------------------------------------------- a webhook source


@pytest.fixture
def secret(platform: Platform) -> Iterator[None]:
    """The secret of the new source, as the page stores it."""
    platform.aws("ssm").put_parameter(
        Name=SECRET_NAME, Value=SECRET, Type="SecureString", Overwrite=True
    )
    wiring.secrets.cache_clear()
    yield
    wiring.secrets.cache_clear()


def deliver(
    platform: Platform, *, event: str = "push", delivery: str = "d-1", key: str = SECRET
) -> HTTPResponse:
    headers = {
        "Content-Type": "application/json",
        "X-Gitea-Event": event,
        "X-Gitea-Delivery": delivery,
        "X-Hub-Signature-256": "sha256=" + hmac.new(key.encode(), PUSH, hashlib.sha256).hexdigest(),
    }
    return platform.client.http.request("POST", "/webhooks/forge", headers=headers, body=PUSH)


@pytest.fixture
def forge(secret: None) -> Iterator[None]:
    """The new source, as the page adds it."""
    with added(sources, SOURCE):
        yield


def test_a_source_of_ones_own_makes_events_and_each_delivery_once(
    platform: Platform, forge: None
) -> None:
    first, again = deliver(platform), deliver(platform)

    assert (first.status_code, again.status_code) == (202, 202), first.body
    assert first.json_body == again.json_body
    assert again.headers["Idempotent-Replayed"] == "true"
    platform.work()
    reader = platform.sender("admin")
    record = reader.get(f"/events/{first.json_body['eventId']}").json_body
    assert (record["eventType"], record["source"]) == ("forge.push", "/webhooks/forge")
    assert (record["owner"], record["status"]) == ("webhooks", "PROCESSED")


def test_a_source_of_ones_own_is_known_by_its_signature_alone(
    platform: Platform, forge: None
) -> None:
    assert deliver(platform, key="another").status_code == 401
    assert deliver(platform).status_code == 202


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"event": "Push!"}, "/header/X-Gitea-Event"),
        ({"delivery": ""}, "/header/X-Gitea-Delivery"),
    ],
)
def test_what_its_reader_refuses_is_kept_as_rejected(
    platform: Platform, forge: None, wrong: dict[str, str], pointer: str
) -> None:
    response = deliver(platform, **wrong)

    assert response.status_code == 400
    assert [error["pointer"] for error in response.json_body["errors"]] == [pointer]
    rejected = platform.sender("admin").get("/events?status=REJECTED").json_body["items"]
    assert len(rejected) == 1


def test_a_source_of_ones_own_is_in_the_openapi_document(forge: None) -> None:
    operation = runpy.run_path(str(api.__file__))["POST_WEBHOOK"]

    (source, *headers) = operation.parameters
    assert "`forge` (our forge)" in source["description"]
    described = {header.name: header.value["description"] for header in headers}
    assert described["X-Gitea-Event"] == "forge: what happened."
    assert described["X-Hub-Signature-256"].endswith(" forge: as GitHub's.")
    assert operation.body["application/json"]["examples"]["forge"]


def test_without_the_block_nobody_can_send(platform: Platform, secret: None) -> None:
    assert deliver(platform).status_code == 401


def test_the_policy_allows_the_secret_that_the_function_reads() -> None:
    path = policies.templates_dir(project.ROOT) / "api_handler.json"
    template = json.loads(path.read_text(encoding="utf-8"))
    (statement,) = [one for one in template["Statement"] if one["Sid"] == "ReadWebhookSecrets"]
    statement["Resource"].append(json.loads(block(POLICY)))

    place = policies.Place("aws", REGION, "123456789012", STAGE_VARIABLES["STAGE"])
    rendered = policies.render(template, place, traced=False)

    (allowed,) = [one for one in rendered["Statement"] if one["Sid"] == "ReadWebhookSecrets"]
    wanted = f"arn:aws:ssm:{REGION}:123456789012:parameter{SECRET_NAME}"
    assert wanted in allowed["Resource"]
    assert all(arn.rpartition("/")[2] == "secret" for arn in allowed["Resource"])


# ----------------------------------------------------------------------- an alert


def listed(platform: Platform) -> list[str]:
    groups = platform.sender("admin").get("/alerts").json_body["items"]
    return [group["title"] for group in groups]


def test_an_alert_from_a_program_becomes_one_of_the_list(platform: Platform) -> None:
    sqs = platform.aws("sqs")
    sqs.create_queue(QueueName="eventline-dev-ci-events-queue")
    exec(compile(block(PROGRAM), str(PAGE), "exec"), {"__name__": "program"})
    without_delay()
    (record,) = platform.receive("eventline-dev-ci-events-queue")

    alert = read_alert(record["body"])
    assert (alert.title, alert.severity) == ("Stock is low", Severity.WARNING)
    # Nobody has said where Slack is, so it waits.
    with pytest.raises(BatchIncompleteError):
        app.alert_ci_event({"Records": [record]}, LambdaContext())
    assert listed(platform) == ["Stock is low"]


def test_an_alert_from_a_shell_is_read_as_the_page_says() -> None:
    (code,) = [code for label, code in blocks() if label == "sh" and "send-message" in code]
    (body,) = re.findall(r"--message-body '(.*)'", code)

    alert = read_alert(body)

    assert (alert.title, alert.severity) == ("Nightly backup failed", Severity.ERROR)


def test_an_alarm_of_ones_own_tells_whom_the_others_tell(tmp_path: Path) -> None:
    text = stack.ALARMS.read_text(encoding="utf-8")
    path = tmp_path / "alarms.yaml"
    path.write_text(text.replace("\nResources:\n", f"\nResources:\n{block(ALARM)}\n"), "utf-8")

    resources = stack.read_template(path)["Resources"]

    ours, theirs = resources["ManyRejected"]["Properties"], resources["ApiFaults"]["Properties"]
    assert ours.keys() == theirs.keys()
    for shared in ("AlarmActions", "OKActions", "TreatMissingData", "Namespace", "Dimensions"):
        assert ours[shared] == theirs[shared]
    assert ours["AlarmName"] == {"Fn::Sub": "eventline-${Stage}-many-rejected"}
    assert len(yaml.safe_load(block(ALARM).replace("!Sub", "").replace("!Ref", ""))) == 1
