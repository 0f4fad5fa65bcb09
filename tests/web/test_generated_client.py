"""A client that openapi-python-client makes of the OpenAPI document: whole, typed, and of use."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from chalicelib import wiring
from chalicelib.core.media_types import JSON
from tests.support.app_on_moto import Platform
from tests.support.openapi_contract import Operation, document, operations, resolve
from tests.support.openapi_world import World, signature

PACKAGE = "generated_eventline"
ROOT = document()
OPERATIONS = operations(ROOT)
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
# The two that it has no code for: a list among other bodies, and bytes of any type.
NOT_TAKEN = [
    "WARNING parsing POST /events within events.",
    "type array must have items or prefixItems defined",
    "WARNING parsing POST /events within events.",
    "Missing schema",
]
USE = f"""
from datetime import datetime
from uuid import UUID
from {PACKAGE} import AuthenticatedClient
from {PACKAGE}.api.events import get_event, post_event
from {PACKAGE}.models import Accepted, Event, PlainEvent, Problem

def code_of(problem: Problem) -> str:
    return problem.code

def received(client: AuthenticatedClient) -> datetime | str | None:
    sent = post_event.sync(client=client, body=PlainEvent(event_type="order.paid"))
    if isinstance(sent, Problem):
        return code_of(sent)
    if not isinstance(sent, Accepted):
        return None
    event_id: UUID = sent.event_id
    found: Event | Problem | None = get_event.sync(event_id, client=client)
    return found.received_at if isinstance(found, Event) else None
"""


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the package, as the program makes it."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(json.dumps(ROOT))
    (folder / "config.yml").write_text("post_hooks: []\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"),
            *("--path", "openapi.json", "--output-path", PACKAGE, "--config", "config.yml"),
        ],
        cwd=folder,
        env={"COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "told.txt").write_text(done.stdout + done.stderr)
    return folder


@pytest.fixture
def package(generated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports a module of the package by its name."""
    monkeypatch.syspath_prepend(str(generated))
    yield lambda name: importlib.import_module(f"{PACKAGE}.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def _module(operation: Operation) -> str:
    return f"api.{operation.content['tags'][0].lower()}.{operation.content['operationId']}"


def test_nothing_is_left_out_but_two_bodies(generated: Path) -> None:
    # Then there is code for every operation
    made = {
        f"api.{path.parent.name}.{path.stem}"
        for path in (generated / PACKAGE / "api").glob("*/*.py")
        if path.stem != "__init__"
    }
    assert made == {_module(one) for one in OPERATIONS}
    # And nothing else was told
    lines = (generated / "told.txt").read_text().splitlines()
    told = [line for line in lines if line.startswith("WARNING") or _is_reason(line)]
    assert told == NOT_TAKEN


def _is_reason(line: str) -> bool:
    """Whether the program says here why it left something out."""
    of_the_program = ("Generating ", "Warning(s) ", "If you believe ")
    return bool(line) and line[0] not in ' {}"' and not line.startswith(of_the_program)


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_every_documented_answer_is_read(package: Any, operation: Operation) -> None:
    # Given an operation, and the examples of its answers
    module, problem = package(_module(operation)), package("models").Problem
    client = package("client").Client(base_url="http://nowhere", raise_on_unexpected_status=True)
    read = 0
    for status, described in operation.content["responses"].items():
        content = resolve(ROOT, described).get("content", {})
        for media_type, media in content.items():
            for example in media.get("examples", {}).values():
                # When each is answered
                answer = httpx.Response(
                    int(status),
                    headers={"Content-Type": media_type},
                    content=json.dumps(example["value"]).encode(),
                )
                parsed = module._parse_response(client=client, response=answer)
                # Then it is of the one class of problems, or of the answer's own
                assert isinstance(parsed, problem) is (int(status) >= 400), (status, parsed)
                if isinstance(parsed, problem):
                    assert parsed.to_dict() == example["value"]
                else:
                    assert parsed is not None or media_type != JSON
                read += 1
    assert read >= len([status for status in operation.statuses if status >= 400])


def test_it_is_typed(generated: Path) -> None:
    # Given the package, and a program that uses it
    (generated / "use.py").write_text(USE)
    # What the program itself puts into client.py does not pass mypy --strict.
    (generated / "mypy.ini").write_text(
        f"[mypy]\nstrict = True\n[mypy-{PACKAGE}.client]\nignore_errors = True\n"
    )
    # When all of it is type-checked
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", PACKAGE, "use.py"],
        cwd=generated,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    # Then
    assert done.returncode == 0, done.stdout + done.stderr


class InProcess(httpx.BaseTransport):
    """What httpx sends, answered by the application."""

    def __init__(self, platform: Platform) -> None:
        self._http = platform.client.http

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._http.request(
            request.method,
            request.url.raw_path.decode(),
            headers={name.title(): value for name, value in request.headers.items()},
            body=request.read(),
        )
        headers = {name: str(value) for name, value in answer.headers.items()}
        return httpx.Response(answer.status_code, headers=headers, content=answer.body)


class GeneratedClient:
    """Calls operations by their names, and notes which."""

    def __init__(self, package: Any, platform: Platform, token: str) -> None:
        self._package = package
        self._modules = {one.content["operationId"]: _module(one) for one in OPERATIONS}
        self._client = package("client").AuthenticatedClient(
            base_url="http://api",
            token=token,
            raise_on_unexpected_status=True,
            httpx_args={"transport": InProcess(platform)},
        )
        self.models = package("models")
        self.called: set[str] = set()

    def whole(self, operation: str, *given: Any, **named: Any) -> Any:
        """The answer with its status and headers."""
        self.called.add(operation)
        module = self._package(self._modules[operation])
        return module.sync_detailed(*given, client=self._client, **named)

    def call(self, operation: str, *given: Any, **named: Any) -> Any:
        """What a success came to."""
        answer = self.whole(operation, *given, **named)
        assert 200 <= answer.status_code < 300, answer.content
        return answer.parsed


@pytest.fixture
def world(platform: Platform) -> Iterator[World]:
    wiring.secrets.cache_clear()
    yield World(platform)
    wiring.secrets.cache_clear()


def test_every_operation_works(package: Any, world: World) -> None:
    # Given a client with a token that has every scope
    api = GeneratedClient(package, world.platform, world.somebody.token)
    # When every operation is called
    _use_events(api, world)
    _use_recovery(api, world)
    _use_replays(api, world)
    _use_schemas_and_tokens(api, world)
    _use_items(api)
    _use_destinations(api, world)
    _use_the_rest(api)
    # Then each did what it is for
    assert api.called == {one.content["operationId"] for one in OPERATIONS}


def _use_events(api: GeneratedClient, world: World) -> None:
    models, call = api.models, api.call
    paid = models.PlainEvent.from_dict({"eventType": "order.paid", "total": "12.50"})
    sent = call("post_event", body=paid, idempotency_key="k")
    envelope = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.sent"}
    call("post_event", body=models.CloudEvent.from_dict(envelope | {"data": [1]}))
    batch = models.PostBatchBody.from_dict({"events": [{"eventType": "order.paid"}, 7]})
    results = call("post_batch", body=batch).results
    assert [one.status.value for one in results] == ["accepted", "rejected"]
    assert _send_webhook(api).status == "accepted"
    world.platform.work()
    found = call("get_event", sent.event_id)
    assert (found.status.value, found.event_type) == ("PROCESSED", "order.paid")
    assert json.loads(api.whole("get_payload", sent.event_id).content)["total"] == "12.50"
    assert call("get_result", sent.event_id).data == paid.to_dict()
    assert call("list_events", limit=1, from_=SINCE, event_type="nosuch").items == []
    assert call("list_events", idempotency_key="k").items[0].event_id == sent.event_id
    stats = call("get_stats", step=models.GetStatsStep.HOUR)
    assert sum(step.processed for step in stats.items) == 4


def _use_recovery(api: GeneratedClient, world: World) -> None:
    models, call = api.models, api.call
    world.fail()
    assert {group.count for group in call("list_failures").items} == {1}
    letters = call("list_dead_letters").items
    assert {letter.kind for letter in letters} == {"event", "message"}
    order = models.RedriveOrder(error_class=models.RedriveOrderErrorClass.PERMANENT)
    assert call("post_redrive", body=order).redriven == 1
    assert {queue.waiting for queue in call("list_queues").items} >= {0}
    world.platform.reconcile({"stuckAfterSeconds": 0})
    assert call("get_reconcile").items[0].stage == "local"


def _use_replays(api: GeneratedClient, world: World) -> None:
    models, call = api.models, api.call
    done = UUID(world.event())
    assert call("post_replay", done).event_id != done
    world.platform.work()
    count = call("post_replays", body=models.ReplayOrder(from_=SINCE, dry_run=True))
    assert (count.dry_run, count.matched > 0) == (True, True)
    replay = call("post_replays", body=models.ReplayOrder(from_=SINCE, rate=1))
    assert call("get_replay", replay.id).status is models.ReplayStatus.RUNNING
    assert call("abort_replay", replay.id).status is models.ReplayStatus.ABORTED
    assert [one.id for one in call("list_replays").items] == [replay.id]


def _use_schemas_and_tokens(api: GeneratedClient, world: World) -> None:
    models, call = api.models, api.call
    schema = models.JsonSchemaType0.from_dict({"required": ["number"]})
    assert call("put_schema", "invoice.drafted", body=schema).version == 1
    assert call("get_schema", "invoice.drafted").schema == schema
    assert call("list_schemas").items[0].event_type == "invoice.drafted"
    assert len(call("list_versions", "invoice.drafted").items) == 1
    assert call("delete_schema", "invoice.drafted") is None
    scopes = [models.TokenOrderScopesItem.EVENTSREAD]
    token = call("post_token", body=models.TokenOrder(owner="shop", scopes=scopes))
    assert token.token.startswith("evl_")
    assert token.id in {one.id for one in call("list_tokens").items}
    assert call("get_self").owner == world.somebody.owner
    assert call("delete_token", token.id) is None


def _use_items(api: GeneratedClient) -> None:
    models, call = api.models, api.call
    made = api.whole("post_item", body=models.ItemData.from_dict({"name": "desk"}))
    item_id, etag = made.parsed.item_id, made.headers["ETag"]
    chair = models.ItemData.from_dict({"name": "chair"})
    etag = api.whole("put_item", item_id, body=chair, if_match=etag).headers["ETag"]
    assert call("get_item", item_id).data.to_dict() == chair.to_dict()
    assert len(call("list_items").items) == 1
    assert call("delete_item", item_id, if_match=etag) is None
    mail = models.SubscriptionOrderType0(protocol="email", endpoint="shop@example.com")
    subscription = call("post_subscription", body=mail)
    assert len(call("list_subscriptions").items) == 1
    assert call("delete_subscription", subscription.subscription_id) is None


def _use_destinations(api: GeneratedClient, world: World) -> None:
    models, call = api.models, api.call
    order = models.DestinationOrder(url="https://shop.example.com/", event_types=["nosuch"])
    made = call("post_destination", body=order)
    assert made.secret.startswith("whsec_")
    assert call("rotate_secret", made.id).secret != made.secret
    order.rate, order.format_ = 5, models.DestinationOrderFormat.CLOUDEVENTS
    changed = call("put_destination", made.id, body=order)
    assert (changed.rate, changed.format_.value) == (5, "cloudevents")
    assert call("get_destination", made.id).recent.waiting == 0
    assert [one.id for one in call("list_destinations").items] == [made.id]
    event_id = UUID(world.event())
    retry = models.DeliveryRetry(event_id=event_id)
    assert call("post_retry", made.id, body=retry).status == "accepted"
    assert call("list_attempts", made.id).items == []
    assert call("list_deliveries", event_id).items == []
    assert call("delete_destination", made.id) is None


def _use_the_rest(api: GeneratedClient) -> None:
    models, call = api.models, api.call
    photo = models.UploadOrder(filename="photo.png", content_type="image/png")
    assert call("post_upload", body=photo).method == "POST"
    assert call("list_uploads").items == []
    assert call("list_alerts").items == []
    assert call("get_health").status == "ok"
    assert "STAGE" in {one.name for one in call("list_settings").items}
    assert call("get_openapi").to_dict() == ROOT
    assert api.whole("get_console").content.startswith(b"<!doctype html>")
    assert api.whole("get_console_file", "LICENSES.txt").content


def _send_webhook(api: GeneratedClient) -> Any:
    """A signed ping; httpx writes JSON without blanks."""
    body = {"zen": "Keep it logically awesome."}
    raw = httpx.Request("POST", "http://api", json=body).read()
    signed = signature("github", raw, "1")
    return api.call(
        "post_webhook",
        "github",
        body=body,
        x_git_hub_event=signed["X-GitHub-Event"],
        x_git_hub_delivery=signed["X-GitHub-Delivery"],
        x_hub_signature_256=signed["X-Hub-Signature-256"],
    )


def test_what_is_refused_is_a_problem_that_can_be_asked(package: Any, world: World) -> None:
    # Given clients with every scope, and with one
    api = GeneratedClient(package, world.platform, world.somebody.token)
    reader = GeneratedClient(package, world.platform, world.platform.sender("items:read").token)
    nowhere = UUID(int=0)
    # When what cannot be is asked for
    bad = api.models.PlainEvent(event_type="")
    answers = [
        (api.whole("get_event", nowhere), 404, "not-found"),
        (api.whole("post_event", body=bad), 400, "invalid-request"),
        (api.whole("delete_item", nowhere, if_match='"1"'), 404, "not-found"),
        (api.whole("post_redrive", body=api.models.RedriveOrder()), 400, "invalid-request"),
        (reader.whole("list_events"), 403, "forbidden"),
    ]
    # Then each is a problem with its code, and names the field at fault
    for answer, status, code in answers:
        assert isinstance(answer.parsed, api.models.Problem), answer.content
        assert (answer.parsed.status, answer.parsed.code) == (status, code)
    assert [error.pointer for error in answers[1][0].parsed.errors] == ["/eventType"]
