"""The commands of the documents, run by a shell in their order, page by page, on the emulator.

A page is one script, as a reader types it: what one block sets, the next one uses. `curl` and `aws`
are the real ones; an answer of 400 or more fails the page.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.deployed_stage import Stage, unique, wait_for
from tests.support.doc_commands import ROOT, Block, blocks
from tests.support.slack_receiver import SlackReceiver

pytestmark = pytest.mark.emulator

CURL = shutil.which("curl")
STARTS = re.compile(r"^make up", re.MULTILINE)
"""Run by test_local_platform and test_releases."""
# Version 1 of the AWS CLI, which is in the virtual environment, is told the endpoint for SQS too,
# and does not know the option for payloads that version 2 needs.
_AWS = """#!{python}
import sys
from awscli.clidriver import main
given = sys.argv[1:]
if "--cli-binary-format" in given:
    at = given.index("--cli-binary-format")
    del given[at : at + 2]
sys.argv = ["aws", "--endpoint-url", "{endpoint}", *given]
sys.exit(main())
"""
_CURL = """#!/bin/sh
exec {curl} --write-out '%{{stderr}}answered %{{http_code}}\\n' "$@"
"""


@dataclass
class Desk:
    """Where a reader sits: a checkout, a shell, and what `make up` wrote."""

    folder: Path
    environ: dict[str, str]
    stage: Stage
    put: dict[str, str] = field(default_factory=dict)

    def run(self, page: str, *, also: tuple[int, ...] = ()) -> tuple[str, list[int]]:
        """Run the commands of a page; what they print, and the statuses of its `curl`s, which must
        be below 300 or in `also`."""
        script = "shopt -s expand_aliases\nset -eu -o pipefail\n"
        script += "".join(block.script for block in self.runnable(page))
        for wanted, given in self.put.items():
            script = script.replace(wanted, given)
        done = subprocess.run(
            ["bash"],
            input=script,
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        answered = [int(code) for code in re.findall(r"answered (\d+)", done.stderr)]
        assert all(code < 300 or code in also for code in answered), f"{done.stdout}\n{done.stderr}"
        return done.stdout, answered

    def runnable(self, page: str) -> list[Block]:
        """The blocks of a page that neither make a stage nor leave something to be put in."""
        known = set(self.put)
        return [
            block
            for block in blocks(ROOT / page)
            if not block.needs_aws
            and not STARTS.search(block.script)
            and all(any(name in key for key in known) for name in block.unknown)
        ]


@pytest.fixture
def desk(local: Stage, tmp_path: Path, slack: SlackReceiver) -> Iterator[Desk]:
    """A desk beside the stage `local`; the parameters of the stage are put back at the end."""
    if CURL is None:
        pytest.skip("curl is not on this machine")
    for name in ("infra", "chalicelib", ".chalice"):
        (tmp_path / name).symlink_to(local.project / name)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    tools = tmp_path / "tools"
    tools.mkdir()
    _write_tool(tools / "aws", _AWS.format(python=sys.executable, endpoint=local.emulator.url))
    _write_tool(tools / "curl", _CURL.format(curl=CURL))
    (tools / "python3").symlink_to(sys.executable)
    (tmp_path / "report.txt").write_text("a report\n")
    owner = unique("reader")
    scopes = ("events:write", "events:read", "events:admin", "schemas:write", "items:write")
    token = local.token(owner, *scopes, "items:read", "uploads:write", "uploads:read")
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "env").write_text(
        f"export API_URL={local.url} API_TOKEN={token} STAGE={local.name}\n"
    )
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {**local.emulator.environ(), "PATH": path, "AWS_PAGER": "", "STAGE": local.name}
    environ |= {"API_URL": local.url, "API_TOKEN": token}
    with _parameters_kept(local):
        yield Desk(tmp_path, environ, local)


def _write_tool(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@contextmanager
def _parameters_kept(stage: Stage) -> Iterator[None]:
    """The secrets of the stage are afterwards what they were."""
    names = [f"webhooks/{source}/secret" for source in ("github", "standard", "forge")]
    before = {name: _parameter(stage, name) for name in (*names, "slack/webhook_url")}
    ssm = stage.emulator.client("ssm")
    try:
        yield
    finally:
        for name, value in before.items():
            path = f"/eventline/{stage.name}/{name}"
            if value:
                ssm.put_parameter(Name=path, Value=value, Type="SecureString", Overwrite=True)
            else:
                ssm.delete_parameters(Names=[path])


def _parameter(stage: Stage, name: str) -> str:
    """The value of a parameter of the stage; empty if there is none."""
    ssm = stage.emulator.client("ssm")
    try:
        found = ssm.get_parameter(Name=f"/eventline/{stage.name}/{name}", WithDecryption=True)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        return ""
    return str(found["Parameter"]["Value"])


def test_the_readme(desk: Desk) -> None:
    # Given an event with the id that the README shows
    event_id = desk.stage.send(
        {"eventType": "demo"}, desk.environ["API_TOKEN"], key=unique("readme")
    )
    wait_for("the event", lambda: desk.stage.ledger().get(event_id))
    desk.put = {"01a1fc36-3516-7db0-b9f7-2144a989bdaf": event_id}

    # When
    _, answered = desk.run("README.md")

    # Then
    assert len(answered) >= 2


def test_uploads_and_items(desk: Desk) -> None:
    desk.put = {'"endpoint":"me@example.com"': f'"endpoint":"{unique("me")}@example.com"'}
    # The upload's form, the items and the subscription are all taken.
    _, answered = desk.run("docs/uploads-and-items.md")
    assert len(answered) >= 4


def test_alerts(desk: Desk, slack: SlackReceiver) -> None:
    mark = unique("Terraform Apply Failed")
    desk.put = {"https://hooks.slack.com/services/...": slack.url, "Terraform Apply Failed": mark}
    desk.run("docs/alerts.md")
    wait_for("the alert", lambda: slack.posts(mark))


def test_the_bus(desk: Desk) -> None:
    desk.put = {"--name orders": f"--name {unique('orders')}"}
    rule = desk.put["--name orders"].removeprefix("--name ")
    desk.put["--rule orders"] = f"--rule {rule}"
    desk.run("docs/bus.md")


def test_sending_events(desk: Desk) -> None:
    desk.put = {key: unique(key) for key in ("order-7-created",)}
    printed, answered = desk.run("docs/sending-events.md")
    assert len(answered) >= 4
    assert '"status":"accepted"' in printed


@pytest.mark.parametrize("number", [0, 1])
def test_the_programs_of_sending_events(desk: Desk, number: int) -> None:
    text = (ROOT / "docs" / "sending-events.md").read_text(encoding="utf-8")
    program = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[number]
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=desk.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", done.stdout)


def test_schemas(desk: Desk) -> None:
    kind = unique("order.created")
    desk.put = {"order.created": kind}
    try:
        _, answered = desk.run("docs/schemas.md")
        assert answered == [201]
    finally:
        desk.stage.call("DELETE", f"/schemas/{kind}", desk.stage.admin)


def test_webhooks(desk: Desk) -> None:
    desk.put = {"/eventline/dev/": f"/eventline/{desk.stage.name}/", "whsec_...": "whsec_c2VjcmV0"}
    desk.run("docs/webhooks.md")
    assert _parameter(desk.stage, "webhooks/standard/secret") == "whsec_c2VjcmV0"
    assert len(_parameter(desk.stage, "webhooks/github/secret")) == 64


def test_security(desk: Desk) -> None:
    # Given a token to be replaced, and a secret
    old = desk.stage.issue("shop", "events:write")
    desk.environ |= {"API_TOKEN": desk.stage.admin, "OLD_ID": old["id"]}
    name = f"/eventline/{desk.stage.name}/webhooks/github/secret"
    desk.stage.emulator.client("ssm").put_parameter(
        Name=name, Value="older", Type="SecureString", Overwrite=True
    )

    # When
    printed, answered = desk.run("docs/security.md")

    # Then the API revoked it, and the account made one of its id
    assert answered == [201, 200, 204]
    assert f"evl_{old['id']}_" in printed
    assert re.fullmatch(r"[0-9a-f]{64}", _parameter(desk.stage, "webhooks/github/secret"))


def test_extending(desk: Desk, slack: SlackReceiver) -> None:
    mark = unique("Nightly backup failed")
    desk.put = {"Nightly backup failed": mark}
    desk.run("docs/extending.md")
    assert len(_parameter(desk.stage, "webhooks/forge/secret")) == 64
    wait_for("the alert", lambda: slack.posts(mark))


def test_operations(desk: Desk) -> None:
    # Given an event of the reader's that failed, and the names that the page leaves open
    token = desk.environ["API_TOKEN"]
    event_id = desk.stage.send({"eventType": "eventline.drill.permanent"}, token)
    wait_for("its end", lambda: _is_failed(desk.stage, event_id))
    order = {"eventType": unique("none"), "from": "2026-03-01"}
    started = desk.stage.call("POST", "/replays", token, json=order)
    assert started.status_code == 202, started.text
    desk.environ |= {"API": desk.stage.url, "TOKEN": token}
    desk.put = {
        "replays/<id>": f"replays/{started.json()['id']}",
        "<id>": event_id,
        "orders-of-march-1": unique("orders"),
        "eventline-STAGE": f"eventline-{desk.stage.name}",
        "/dev/stdout": "answer.json",
    }

    # When
    # A replay of nothing is through before it can be aborted.
    _, answered = desk.run("docs/operations.md", also=(409,))

    # Then
    assert answered.count(409) <= 1
    assert len(answered) >= 10
    report: dict[str, Any] = json.loads((desk.folder / "answer.json").read_text())
    assert "errorMessage" not in report


def _is_failed(stage: Stage, event_id: str) -> bool:
    record = stage.ledger().get(event_id)
    return record is not None and record.status == "FAILED"
