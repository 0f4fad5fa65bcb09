"""Generated requests against the deployed API: whatever is sent, the answer is as documented.

Schemathesis (its command-line program: examples, fuzzing, stateful) makes the requests from the
OpenAPI document and checks the answers. The same seed makes the same requests;
`SCHEMATHESIS_SEED=7 make test` looks elsewhere, and `SCHEMATHESIS_PHASES=coverage,fuzzing` sends
every value at its bounds besides, which takes some minutes more.
"""

import copy
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from chalicelib.web.callers import SCOPES
from chalicelib.web.describe import CURSOR
from tests.support.deployed_stage import Stage, unique, wait_for
from tests.support.emulator import ROOT
from tests.support.openapi_contract import Contract, Operation, document, operations

pytestmark = [pytest.mark.emulator, pytest.mark.slow]

SEED = os.environ.get("SCHEMATHESIS_SEED", "20260131")
PHASES = os.environ.get("SCHEMATHESIS_PHASES", "fuzzing")
"""Of what is not done with the examples or step by step."""
CONFIG = "tests/support/schemathesis.toml"
SECRET = "a-secret-for-generated-webhooks"
DESTINATION = {"url": "https://127.0.0.1:1024/hook", "eventTypes": ["nosuch"]}
AT_A_TIME = 3
"""Processes, not the program's own threads: Python 3.11 can fail when several parse code."""
AT_LEAST = 800
_SECONDS = 900
_NOTHING_WRONG = " No issues found in "
_STEPS = ("--max-examples", "40")
"""The stateful phase takes no number from the file of settings."""
_ALWAYS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)
"""What holds of every answer, whatever came before. The stateful phase looks for this alone: the
other checks guess from what was made which answer is right, and there it is not always what was
sent (a header that cannot be sent is left out, the hooks keep tokens alive, an idempotency key
makes a deleted item anew), and ids make each run another. The other phases have all checks."""


@dataclass(frozen=True)
class Run:
    """What a run of Schemathesis came to; `sent` counts (method, path below the stage, status).

    `fine` is that no answer was wrong and nothing hindered it. The program's own code is 1, without
    a word, when a connection broke and the same request was then answered as documented.
    """

    fine: bool
    report: str
    sent: Counter[tuple[str, str, int]]


def answers_of(operation: Operation, sent: Counter[tuple[str, str, int]]) -> Counter[int]:
    """How often an operation answered what."""
    pattern = re.compile(re.sub(r"\{\w+\}", "[^/]*", operation.path))
    found: Counter[int] = Counter()
    for (method, path, status), count in sent.items():
        if method == operation.method and pattern.fullmatch(path):
            found[status] += count
    return found


def generate(
    stage: Stage, token: str, described: Any, folder: Path, *options: str, marker: str = ""
) -> Run:
    """Run Schemathesis on what `described`, a document, has."""
    folder.mkdir(exist_ok=True)
    source, har = folder / "openapi.json", folder / "requests.har"
    source.write_text(json.dumps(described))
    begun = time.monotonic()
    done = subprocess.run(
        [
            Path(sys.executable).with_name("st"),
            *("--config-file", CONFIG, "run", str(source), "--url", stage.url),
            *("--header", f"Authorization: Bearer {token}"),
            *("--seed", SEED, "--generation-database", "none", "--continue-on-failure"),
            *("--report", "har", "--report-har-path", str(har), *options),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "WEBHOOK_SECRET": SECRET,
            "TOKEN_ID": described["components"]["parameters"]["token_id"].get("example", ""),
            "MARKER": marker,
            "OLD_CURSOR": CURSOR,
            "NO_COLOR": "1",
            "PYTHONHASHSEED": "0",  # the order of sets is part of what the seed makes
        },
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    report = f"seed {SEED}\n{done.stdout[-20_000:]}\n{done.stderr[-5_000:]}"
    sent: Counter[tuple[str, str, int]] = Counter()
    for entry in json.loads(har.read_text())["log"]["entries"] if har.exists() else []:
        path = urlsplit(entry["request"]["url"]).path.removeprefix(urlsplit(stage.url).path)
        sent[entry["request"]["method"], path, entry["response"]["status"]] += 1
    fine = done.returncode == 0 or (done.returncode == 1 and _NOTHING_WRONG in done.stdout)
    run = Run(fine, report, sent)
    took = time.monotonic() - begun
    print(f"seed {SEED}, {folder.name}: {run.sent.total()} requests in {took:.0f} s")
    return run


def without_binary_mode() -> Any:
    """The document but for the binary mode of CloudEvents: that four headers come together, or none
    of them, is what OpenAPI cannot say. And but for how many events a batch may have: to make as
    many, and more, takes minutes; `test_batches_api` sends them."""
    described = copy.deepcopy(document())
    batch = described["paths"]["/events/batch"]["post"]["requestBody"]["content"]
    del batch["application/json"]["schema"]["properties"]["events"]["maxItems"]
    post = described["paths"]["/events"]["post"]
    del post["requestBody"]["content"]["application/cloudevents-batch+json"]["schema"]["maxItems"]
    post["parameters"] = [one for one in post["parameters"] if "/ce-" not in one["$ref"]]
    bodies = post["requestBody"]["content"]
    del bodies["*/*"]
    # The generator of values knows no `unevaluatedItems`.
    batch = bodies["application/cloudevents-batch+json"]["schema"]
    batch["items"] = batch.pop("unevaluatedItems")
    return described


def binary_mode_alone() -> Any:
    """The document of nothing but that mode, with sources that are still URI references when they
    have been percent-decoded."""
    described = copy.deepcopy(document())
    post = described["paths"]["/events"]["post"]
    described["paths"] = {"/events": {"post": post}}
    for status in post["responses"].values():
        status.pop("links", None)
    for name in ("specversion", "id", "source", "type"):
        described["components"]["parameters"][f"ce-{name}"]["required"] = True
    source = described["components"]["parameters"]["ce-source"]
    source["schema"] = {"type": "string", "pattern": "^/[a-z0-9/.-]*$", "maxLength": 256}
    for name in ("id", "type", "subject"):
        named = {"type": "string", "pattern": "^[!#$&-~][ !#$&-~]*[!#$&-~]$", "maxLength": 99}
        described["components"]["parameters"][f"ce-{name}"]["schema"] = named
    time = described["components"]["parameters"]["ce-time"]
    time["schema"] = {"type": "string", "format": "date-time"}
    anything = {"schema": {"type": "string", "format": "binary"}}
    post["requestBody"]["content"] = {"image/png": anything, "application/json": {"schema": {}}}
    return described


def aborted_replay(stage: Stage, token: str) -> str:
    """The id of a replay that was aborted, which can be done again, before it came to its end."""
    for _ in range(10):
        order = {"eventType": "generated", "rate": 1}
        replay_id: str = stage.call("POST", "/replays", token, json=order).json()["id"]
        if stage.call("DELETE", f"/replays/{replay_id}", token).status_code == 200:
            return replay_id
    raise AssertionError("every replay is at its end before it can be aborted")


def with_what_there_is(stage: Stage, token: str) -> Any:
    """The document with ids of things that the token's owner has as examples."""
    event_id = stage.send({"eventType": "generated"}, token)
    stage.follow(event_id)
    order = {"protocol": "email", "endpoint": f"{unique('generated')}@example.com"}
    destination = stage.call("POST", "/destinations", token, json=DESTINATION).json()
    examples = {
        "destination_id": destination["id"],
        "event_id": event_id,
        "item_id": stage.call("POST", "/items", token, json={}).json()["itemId"],
        "subscription_id": stage.call("POST", "/subscriptions", token, json=order).json()[
            "subscriptionId"
        ],
        "token_id": stage.issue("nobody", "events:read")["id"],
        "replay_id": aborted_replay(stage, token),
        "If-Match": "*",
    }
    described = without_binary_mode()
    for name, example in examples.items():
        described["components"]["parameters"][name]["example"] = example
    # It would take the destination from the operations below it; the stateful phase deletes some.
    del described["paths"]["/destinations/{destination_id}"]["delete"]
    for answer in described["paths"]["/destinations"]["post"]["responses"].values():
        answer.pop("links", None)
    return described


@pytest.fixture(scope="module", autouse=True)
def webhook_secret(local: Stage) -> None:
    """The secret of the webhooks that the hooks sign."""
    local.emulator.client("ssm").put_parameter(
        Name=f"/eventline/{local.name}/webhooks/github/secret",
        Value=SECRET,
        Type="SecureString",
        Overwrite=True,
    )


@pytest.fixture(scope="module", autouse=True)
def nothing_left(local: Stage) -> Any:
    """No schema outlives this module, and its events are done with."""
    yield
    while items := local.call("GET", "/schemas", local.admin).json()["items"]:
        for item in items:
            path = f"/schemas/{quote(item['eventType'], safe='')}"
            assert local.call("DELETE", path, local.admin).status_code == 204
    wait_for("an idle queue", lambda: not any(local.waiting().values()), 120)


def test_generated_requests_are_answered_as_documented(local: Stage, tmp_path: Path) -> None:
    # Given a token with every scope, of its own owner
    token = local.token(unique("generated"), *SCOPES)
    # When every operation gets requests that keep to the document, and that break it
    described = without_binary_mode()
    one_by_one = ("--phases", PHASES)
    # What the examples name belongs to an owner of their own: no other request takes it away.
    owner = local.token(unique("examples"), *SCOPES)
    plans = {
        "stateful": (token, described, "--phases", "stateful", *_STEPS, "--checks", _ALWAYS),
        "events": (token, described, *one_by_one, "--include-tag", "Events"),
        "others": (token, described, *one_by_one, "--exclude-tag", "Events"),
        "examples": (
            owner,
            with_what_there_is(local, owner),
            "--phases",
            "examples",
        ),
        "binary": (
            token,
            binary_mode_alone(),
            "--phases",
            "fuzzing",
            "--mode",
            "positive",
        ),
    }
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        started = {
            name: pool.submit(generate, local, sender, about, tmp_path / name, *options)
            for name, (sender, about, *options) in plans.items()
        }
        runs = {name: run.result() for name, run in started.items()}
    # Then every answer was as documented
    for name, run in runs.items():
        assert run.fine, f"{name}: {run.report}"
    sent = sum((run.sent for run in runs.values()), Counter[tuple[str, str, int]]())
    assert sent.total() >= AT_LEAST
    # And the requests reached what they are for
    for operation in operations():
        answers = answers_of(operation, sent)
        assert any(200 <= status < 300 for status in answers), (str(operation), answers)
        takes = operation.content.get("parameters"), operation.content.get("requestBody")
        if operation.content["x-required-scope"] is not None and any(takes):
            assert answers.keys() & {400, 404, 428}, (str(operation), answers)
    assert runs["binary"].sent["POST", "/events", 202] >= 5
    assert local.call("GET", "/events", token).status_code == 200


def test_nothing_guarded_answers_without_a_token(local: Stage) -> None:
    """`test_access` and `test_hostile_input` look for tokens that are none."""
    contract = Contract()
    for operation in operations():
        if operation.content["x-required-scope"] is not None:
            path = re.sub(r"\{\w+\}", "0", operation.path)
            answer = local.call(operation.method, path, data=b"{}")
            assert answer.status_code == 401, str(operation)
            contract.check(operation.method, operation.path, 401, answer.headers, answer.content)


def test_generated_requests_find_nothing_of_another_owner(local: Stage, tmp_path: Path) -> None:
    # Given what Alice has, with a marker in all of it
    marker = unique("alices-secret")
    alice = local.token(marker, *(scope for scope in SCOPES if scope != "admin"))
    event_id = local.send({"eventType": "secret", "text": marker}, alice)
    local.follow(event_id)
    item = local.call("POST", "/items", alice, json={"text": marker}).json()
    order = {"protocol": "email", "endpoint": f"{marker}@example.com"}
    subscription = local.call("POST", "/subscriptions", alice, json=order).json()
    wanted = {**DESTINATION, "description": marker}
    destination = local.call("POST", "/destinations", alice, json=wanted).json()
    ids = {
        "destination_id": destination["id"],
        "event_id": event_id,
        "replay_id": aborted_replay(local, alice),
        "item_id": item["itemId"],
        "subscription_id": subscription["subscriptionId"],
    }
    # When Bob, who may do all but administer, sends generated requests, many for Alice's ids
    described = without_binary_mode()
    for name, known in ids.items():
        described["components"]["parameters"][name]["schema"] = {"type": "string", "enum": [known]}
    bob = local.token(unique("bob"), *(scope for scope in SCOPES if scope != "admin"))
    options = ("--phases", "fuzzing", "--mode", "positive", "--max-examples", "6")
    # What he may not do is in the answers, not in the document.
    checks = ("--checks", "nothing_of_another_owner,not_a_server_error,status_code_conformance")
    run = generate(local, bob, described, tmp_path / "bob", *options, *checks, marker=marker)
    # Then no answer holds anything of hers
    assert run.fine, run.report
    for operation in operations():
        if any(f"{{{name}}}" in operation.path for name in ids):
            path = re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], operation.path)
            answers = {
                key[2]: n for key, n in run.sent.items() if key[:2] == (operation.method, path)
            }
            assert 404 in answers, (path, answers)
            assert answers.keys() <= {400, 403, 404, 413, 415, 428}, (path, answers)
    # And all of it is as it was
    assert local.call("GET", f"/items/{item['itemId']}", alice).json() == item
    mine = local.call("GET", "/subscriptions", alice).json()["items"]
    assert [one["subscriptionId"] for one in mine] == [subscription["subscriptionId"]]
    shown = local.call("GET", f"/destinations/{destination['id']}", alice).json()
    assert shown["description"] == marker
    assert local.call("GET", f"/events/{event_id}", alice).json()["status"] == "PROCESSED"
