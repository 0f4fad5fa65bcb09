"""Releases of a stage: one that changes nothing, an upgrade and a roll-back under traffic, another
stage beside it, and removal."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import requests

from infra import gateway, project
from tests.support.deployed_stage import Stage, wait_for
from tests.support.emulator import (
    CommandFailedError,
    Emulator,
    copy_checkout,
    deploy_stage,
    run_python,
)
from tests.support.emulator import running_emulator as emulator_below

pytestmark = [pytest.mark.emulator, pytest.mark.slow]
_SENDERS, _PAUSE_SECONDS = 2, 0.2
_TRIES = 20
"""The emulator swaps a function's code by killing its workers and taking their files away, and
answers 502 meanwhile, or 503 when it was the authorizer, where Lambda lets a run come to its end
and starts the next on the new code (AWS Lambda Developer Guide, "Understanding the Lambda execution
environment lifecycle"). It may break a connection as well. A client sends again, with its key, for
some seconds; whatever else it is answered fails the test."""
# What says when, and not what.
_TIMES = {"LastModified", "RevisionId", "ResponseMetadata", "LastProcessingResult"}


def answered(ask: Callable[[], requests.Response]) -> requests.Response:
    """What `ask` is answered when the emulator is not just swapping the code."""
    for _ in range(_TRIES):
        with suppress(requests.ConnectionError, requests.Timeout):
            answer = ask()
            if not _is_swapped(answer):
                return answer
        time.sleep(0.2)
    return ask()


def _is_swapped(answer: requests.Response) -> bool:
    """Whether the code was just being swapped. A 503 of ours has other words."""
    failed = gateway.PROBLEMS["AUTHORIZER_FAILURE"]
    return answer.status_code == HTTPStatus.BAD_GATEWAY or (
        answer.status_code == failed.status and failed.detail in answer.text
    )


@dataclass
class Traffic:
    """Clients that send one event after the other, and follow none."""

    url: str
    token: str
    accepted: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Send inside the block."""
        stop = threading.Event()
        senders = [threading.Thread(target=self._send, args=(stop,)) for _ in range(_SENDERS)]
        for sender in senders:
            sender.start()
        try:
            yield
        finally:
            stop.set()
            for sender in senders:
                sender.join(60)

    def _send(self, stop: threading.Event) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not stop.wait(_PAUSE_SECONDS):
                mark = str(uuid.uuid4())
                answer = answered(partial(self._post, session, mark))
                if answer.status_code == HTTPStatus.ACCEPTED:
                    self.accepted.append(answer.json()["eventId"])
                else:
                    self.wrong.append(f"{answer.status_code} {answer.text[:200]}")

    def _post(self, session: requests.Session, mark: str) -> requests.Response:
        return session.post(
            f"{self.url}/events",
            json={"eventType": "release", "mark": mark},
            headers={"Authorization": f"Bearer {self.token}", "Idempotency-Key": mark},
            timeout=30,
        )


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A running emulator."""
    with emulator_below(tmp_path_factory.mktemp("emulator")) as running:
        yield running


def without_times(value: Any) -> Any:
    """A value of AWS's but for what says when."""
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in _TIMES}
    if isinstance(value, list):
        return [without_times(part) for part in value]
    return value


def deployed(emulator: Emulator, stage: str) -> str:
    """All that is deployed of a stage, as text."""
    functions, iam = emulator.client("lambda"), emulator.client("iam")
    gateway = emulator.client("apigateway")
    prefix = f"eventline-{stage}"
    mine = [
        one
        for one in functions.list_functions()["Functions"]
        if one["FunctionName"] == prefix or one["FunctionName"].startswith(f"{prefix}-")
    ]
    roles = sorted(
        role["RoleName"]
        for role in iam.list_roles()["Roles"]
        if role["RoleName"].startswith(f"{prefix}-")
    )
    policies = {
        (role, name): iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for role in roles
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    }
    sources = [
        functions.list_event_source_mappings(FunctionName=one["FunctionName"])[
            "EventSourceMappings"
        ]
        for one in mine
    ]
    apis = [api for api in gateway.get_rest_apis()["items"] if api["name"] == prefix]
    routes = [
        sorted(
            one["path"] for one in gateway.get_resources(restApiId=api["id"], limit=500)["items"]
        )
        for api in apis
    ]
    found = {
        "functions": sorted(mine, key=lambda one: str(one["FunctionName"])),
        "policies": sorted((str(key), value) for key, value in policies.items()),
        "sources": sources,
        "apis": apis,
        "routes": routes,
    }
    assert mine
    assert policies
    assert apis
    return json.dumps(without_times(found), default=str, sort_keys=True, indent=1)


def name_release(checkout: Path, version: str) -> None:
    """Let the checkout be another version."""
    source = checkout / "chalicelib" / "__init__.py"
    source.write_text(f'"""Eventline."""\n\n__version__ = "{version}"\n')


def release(stage: Stage, version: str) -> None:
    """Deploy the checkout as another version."""
    name_release(stage.project, version)
    run_python(stage.emulator, stage.project, "-m", "infra.provision", "--stage", stage.name)
    run_python(stage.emulator, stage.project, "-m", "infra.deploy", "--stage", stage.name)


def version_of(stage: Stage) -> str:
    answer = answered(lambda: stage.call("GET", "/health"))
    assert answer.status_code == HTTPStatus.OK, answer.text
    version: str = answer.json()["version"]
    return version


def test_a_stage_is_released_upgraded_rolled_back_and_removed(
    emulator: Emulator, tmp_path: Path
) -> None:
    # Given dev, with a release of its own
    checkout = tmp_path / "eventline"
    copy_checkout(checkout)
    name_release(checkout, "1.0.0")
    dev = Stage("dev", emulator, checkout, deploy_stage(emulator, checkout, "dev", {}))
    url, before = dev.url, deployed(emulator, "dev")

    # When it is deployed again, nothing changes
    release(dev, "1.0.0")
    assert deployed(emulator, "dev") == before

    # When the next release comes under traffic, and goes back, no request fails
    traffic = Traffic(url, dev.token("shop", "events:write", "events:read"))
    with traffic.flowing():
        wait_for("traffic", lambda: len(traffic.accepted) > _SENDERS)
        release(dev, "2.0.0")
        assert version_of(dev) == "2.0.0"
        sent = len(traffic.accepted)
        wait_for("traffic after the upgrade", lambda: len(traffic.accepted) > sent + _SENDERS)
        release(dev, "1.0.0")
        assert version_of(dev) == "1.0.0"
        sent = len(traffic.accepted)
        wait_for("traffic after the roll-back", lambda: len(traffic.accepted) > sent + _SENDERS)
    assert traffic.wrong == []
    assert dev.url == url
    assert deployed(emulator, "dev") == before
    # A run of the worker that the emulator killed left its messages invisible for minutes.
    dev.reconcile()
    for event_id in traffic.accepted:
        assert dev.follow(event_id).status == "PROCESSED"

    # When prod comes beside it, dev is as it was
    deploy_stage(emulator, checkout, "prod", {})
    prod = Stage("prod", emulator, checkout, {})
    assert prod.call("GET", "/health").json()["stage"] == "prod"
    assert deployed(emulator, "dev") == before
    assert version_of(dev) == "1.0.0"

    # When both are removed, prod's data stays until it is told twice, and nothing else does
    with pytest.raises(CommandFailedError):
        run_python(emulator, checkout, "-m", "infra.destroy", "--stage", "prod")
    destroy(emulator, checkout, "prod")
    assert names(emulator, "prod", "dynamodb")
    assert project.lambda_name("dev", "process_events") in names(emulator, "dev", "lambda")
    destroy(emulator, checkout, "dev")
    for service in ("lambda", "dynamodb", "sqs", "s3", "iam"):
        assert names(emulator, "dev", service) == [], service
    assert names(emulator, "prod", "dynamodb")
    destroy(emulator, checkout, "prod", data=True)
    for service in ("lambda", "dynamodb", "sqs", "s3", "iam"):
        assert names(emulator, "prod", service) == [], service


def destroy(emulator: Emulator, checkout: Path, stage: str, *, data: bool = False) -> None:
    """`make destroy`, confirmed; with `data` twice."""
    told = {"CONFIRM": stage, **({"DESTROY_DATA": stage} if data else {})}
    code = (
        f"import os, sys; os.environ |= {told!r}; from infra.destroy import main; sys.exit(main())"
    )
    run_python(emulator, checkout, "-c", code, "--stage", stage)


def names(emulator: Emulator, stage: str, service: str) -> list[str]:
    """What there is of a stage in a service, by name."""
    client = emulator.client(service)
    found: list[str]
    if service == "lambda":
        found = [one["FunctionName"] for one in client.list_functions()["Functions"]]
    elif service == "dynamodb":
        found = client.list_tables()["TableNames"]
    elif service == "sqs":
        found = [url.rsplit("/", 1)[1] for url in client.list_queues().get("QueueUrls", [])]
    elif service == "s3":
        found = [one["Name"] for one in client.list_buckets()["Buckets"]]
    else:
        found = [one["RoleName"] for one in client.list_roles()["Roles"]]
    prefix = f"eventline-{stage}"
    return [name for name in found if name == prefix or name.startswith(f"{prefix}-")]
