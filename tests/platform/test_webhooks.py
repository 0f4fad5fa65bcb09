"""Signed webhooks on deployed stages: over API Gateway, with the functions' own roles."""

import hashlib
import hmac
import json
import random
import string
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from standardwebhooks import Webhook

from chalicelib.events.model import Status
from tests.platform.test_rest_api import assert_problem
from tests.support.deployed_stage import Stage, wait_for
from tests.support.slack_receiver import SlackReceiver

pytestmark = [pytest.mark.emulator, pytest.mark.one_stage]

SAMPLE = json.loads(
    (Path(__file__).parent.parent / "samples" / "github_workflow_run.json").read_text()
)
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD_SECRET = "the secret before"


@pytest.fixture(scope="module", autouse=True)
def secrets(stages: dict[str, Stage]) -> None:
    """Both sources have a secret on both stages, before a function first asks for it."""
    values = {
        "github": json.dumps([OLD_SECRET, SAMPLE["secret"]]),
        "standard": STANDARD_SECRET,
    }
    for stage in stages.values():
        for source, value in values.items():
            stage.emulator.client("ssm").put_parameter(
                Name=f"/eventline/{stage.name}/webhooks/{source}/secret",
                Value=value,
                Type="SecureString",
                Overwrite=True,
            )


def post(stage: Stage, source: str, body: bytes, headers: dict[str, str]) -> requests.Response:
    """A delivery, by somebody without a token."""
    return stage.call("POST", f"/webhooks/{source}", data=body, headers=headers)


def github(
    body: bytes, event: str, delivery: str, secret: str = SAMPLE["secret"]
) -> dict[str, str]:
    """The headers of GitHub's for `body`."""
    return {
        **SAMPLE["headers"],
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": "sha256="
        + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }


def standard(body: bytes, message_id: str) -> dict[str, str]:
    """The headers of the Standard Webhooks library for `body`, sent now."""
    now = datetime.now(UTC)
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(STANDARD_SECRET).sign(message_id, now, body.decode()),
    }


def accepted(answer: requests.Response) -> str:
    """The id of a delivery that was taken."""
    assert answer.status_code == 202, answer.text
    return str(answer.json()["eventId"])


def test_a_whole_delivery_of_github_becomes_an_event(stage: Stage) -> None:
    # Given GitHub's delivery, byte for byte
    body = SAMPLE["body"].encode()

    # When
    event_id = accepted(post(stage, "github", body, SAMPLE["headers"]))

    # Then
    record = stage.follow(event_id)
    assert record.status is Status.PROCESSED
    assert record.event.event_type == "github.workflow_run.completed"
    assert record.event.source == "https://github.com/octo-org/web"
    assert record.event.owner == stage.settings.webhook_owner
    assert stage.lake().get_bronze(record.event.s3_key) == body
    assert stage.silver(record.event)["data"] == json.loads(body)
    reader = stage.token(stage.settings.webhook_owner, "events:read")
    assert stage.call("GET", f"/events/{event_id}", reader).status_code == 200
    assert stage.call("GET", f"/events/{event_id}", stage.token("somebody")).status_code == 404


def test_a_standard_webhook_becomes_an_event(stage: Stage) -> None:
    body = '{"type":"invoice.paid","data":{"customer":"Zoë \U0001f600"}}'.encode()

    event_id = accepted(post(stage, "standard", body, standard(body, f"msg_{uuid.uuid4().hex}")))

    record = stage.follow(event_id)
    assert (record.status, record.event.event_type) == (Status.PROCESSED, "standard.invoice.paid")
    assert stage.lake().get_bronze(record.event.s3_key) == body


def test_many_deliveries_of_one_id_at_once_are_one_event(stage: Stage) -> None:
    # Given
    delivery, body = str(uuid.uuid4()), b'{"ref":"refs/heads/main"}'
    secrets = [OLD_SECRET, SAMPLE["secret"]]

    # When the same delivery comes many times, signed by the old secret and by the new
    with ThreadPoolExecutor(10) as pool:
        answers = list(
            pool.map(
                lambda n: post(
                    stage, "github", body, github(body, "push", delivery, secrets[n % 2])
                ),
                range(20),
            )
        )

    # Then
    (event_id,) = {accepted(answer) for answer in answers}
    assert len([one for one in answers if "Idempotent-Replayed" not in one.headers]) == 1
    record = stage.follow(event_id)
    assert stage.versions(stage.settings.bronze_bucket, record.event.s3_key) == 1
    assert stage.silver_documents(record.event) == 1
    # And another body under this id is refused
    other = b'{"ref":"refs/heads/other"}'
    refused = post(stage, "github", other, github(other, "push", delivery))
    assert_problem(refused, 422, "idempotency-conflict")


def test_who_did_not_sign_gets_one_answer(stage: Stage) -> None:
    # Given requests that are wrong in different ways
    body = b'{"ref":"refs/heads/main"}'
    right = github(body, "push", str(uuid.uuid4()))
    wrong = [
        ("gitlab", right, body),
        ("standard", right, body),
        ("github", {}, body),
        ("github", right, body + b" "),
        ("github", github(body, "push", "d", "guess"), body),
        ("standard", {**standard(body, "msg_1"), "webhook-timestamp": "1614265330"}, body),
    ]

    # When
    answers = [post(stage, source, sent, headers) for source, headers, sent in wrong]

    # Then
    bodies = []
    for answer in answers:
        assert_problem(answer, 401, "unauthorized")
        bodies.append({**answer.json(), "requestId": ""})
    assert bodies == bodies[:1] * len(wrong)


def test_a_failed_run_is_told_in_slack_once(local: Stage, slack: SlackReceiver) -> None:
    # Given a failed run of a workflow of its own
    name = "".join(random.choices(string.ascii_lowercase, k=16))
    data = json.loads(SAMPLE["body"])
    data["workflow_run"]["name"] = name
    body = json.dumps(data).encode()
    headers = github(body, "workflow_run", str(uuid.uuid4()))

    # When it is delivered, and delivered again
    event_id = accepted(post(local, "github", body, headers))
    assert accepted(post(local, "github", body, headers)) == event_id

    # Then
    wait_for("the post", lambda: slack.posts(name))
    (message,) = slack.posts(name)
    assert f"ERROR: {name} failed (octo-org/web feature/login)" in message["text"]
    assert "https://github.com/octo-org/web/actions/runs/12874123987" in json.dumps(message)
    assert local.follow(event_id).status is Status.PROCESSED
