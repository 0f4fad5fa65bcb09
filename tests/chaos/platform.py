"""The platform that is rehearsed on: the emulator, the proxy, a deployed stage, a second door.

Everything that the application asks of AWS goes through the proxy; clients, and the harness itself,
do not. Nothing outlives the `with` block.
"""

import json
import os
import re
import signal
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.children import Child
from tests.chaos.cargo import CHECKED, CHECKED_SCHEMA, GITHUB_SECRET, ORDER, STANDARD_SECRET
from tests.chaos.faults import Proxy
from tests.chaos.posts import TimedSlack
from tests.chaos.safeguards import ALERT_SECONDS, SHORTER, WORKER_SECONDS, Change, alter
from tests.support.deployed_stage import Stage, wait_for
from tests.support.emulator import (
    ROOT,
    answers,
    copy_checkout,
    deploy_stage,
    free_port,
    running_emulator,
)
from tests.support.mailbox import Mailbox, open_mailbox

STAGE = "local"
OWNERS = ("ada", "grace", "edsger", "barbara")
CLOCK_FILE = "CHAOS_CLOCK_FILE"
VISIBILITY_SECONDS, ALERTS_SECONDS = WORKER_SECONDS + 2, ALERT_SECONDS + 2
"""In place of six time-outs of the worker and of the function of alerts: just more than one, for
what a killed function leaves behind is not seen before."""
_WORKER = re.compile(rf"/ministack-lambda-eventline-{STAGE}-(?:([a-z_]+)-)?[a-z0-9_]{{8}}/")
# A day as the window of equal alerts, so that nobody waits for the repeats to be told.
_IMPATIENT = {
    "RETRY_BASE_SECONDS": "1",
    "ALERT_RETRY_MAX_SECONDS": "3",
    "ALERT_WINDOW_SECONDS": "86400",
    "RECONCILE_MINUTES": "60",
    "MAX_REQUEUES": "12",
    # What waits in a long queue is not sent again, as with a thousand messages otherwise.
    "BACKLOG_LIMIT": "20",
}
# Appended to the clock of the copy that is deployed: the seconds in a file are added to the time.
_STEPPING_CLOCK = f"""

def _stepped() -> datetime:
    import os

    try:
        with open(os.environ["{CLOCK_FILE}"]) as file:
            return _true_now() + timedelta(seconds=float(file.read() or 0))
    except (KeyError, OSError, ValueError):
        return _true_now()


_true_now, utc_now = utc_now, _stepped
"""
_BAD_PROCESSOR = f"""

def _broken(incoming: Incoming) -> Any:
    return incoming.data["no such member"]


PROCESSORS = {{**PROCESSORS, "{ORDER}": _broken}}
"""


@dataclass
class Rehearsal:
    """What runs, and the places where effects show."""

    stage: Stage
    proxy: Proxy
    slack: TimedSlack
    bus: Mailbox
    home: Path
    second_port: int
    _second: Child | None = field(default=None)

    @property
    def doors(self) -> tuple[str, str]:
        """Where clients may send: the deployed API and `chalice local`."""
        return self.stage.url, f"http://127.0.0.1:{self.second_port}"

    @property
    def scratch(self) -> Path:
        """Below this the emulator starts its workers."""
        return self.stage.emulator.layout.scratch

    def start_second_door(self) -> None:
        """Start `chalice local`; it asks AWS through the proxy too."""
        command = [
            *(sys.executable, "-m", "local.serve", "--port", str(self.second_port)),
            *("--project-dir", str(self.stage.project)),
        ]
        environ = self.stage.emulator.environ() | {"AWS_ENDPOINT_URL": self.proxy.url}
        log = self.home / "second-door.log"
        self._second = Child("chalice local", command, log, environ, self.stage.project)

    def kill_second_door(self) -> None:
        """SIGKILL `chalice local` wherever it is, and start it again."""
        if self._second is not None:
            os.kill(self._second._process.pid, signal.SIGKILL)
            self._second._process.wait()
        self.start_second_door()

    def stop_second_door(self) -> None:
        """Stop it for good."""
        if self._second is not None:
            self._second.stop(2)
            self._second = None

    def step_clock(self, seconds: float) -> None:
        """Let the application's clock go before or after the true one."""
        (self.home / "clock").write_text(str(seconds))

    @contextmanager
    def bad_processor(self) -> Iterator[None]:
        """Have a processor deployed that fails at every order; at the end, the one of before."""
        good = self._package()
        bad = self.home / "bad.zip"
        with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
            for entry in source.infolist():
                content = source.read(entry)
                if entry.filename == "chalicelib/events/processors.py":
                    content += _BAD_PROCESSOR.encode()
                target.writestr(entry, content)
        self._deploy_worker(bad)
        try:
            yield
        finally:
            self._deploy_worker(good)

    def _package(self) -> Path:
        (package,) = (self.stage.project / ".chalice" / "deployments").glob("*.zip")
        return package

    def _deploy_worker(self, package: Path) -> None:
        name = self.stage.function_name("process_events")
        self.stage.functions.update_function_code(FunctionName=name, ZipFile=package.read_bytes())


@contextmanager
def rehearsal(home: Path, seed: int, changes: Sequence[Change] = ()) -> Iterator[Rehearsal]:
    """A stage under the proxy, deployed with `changes`; everything in its place, no faults yet."""
    with running_emulator(home) as emulator:
        port = free_port()
        command = [
            *(sys.executable, "-m", "tests.chaos.proxy", "--upstream", emulator.url),
            *("--port", str(port), "--seed", str(seed)),
        ]
        child = Child("proxy", command, home / "proxy.log", emulator.environ(), ROOT)
        slack = TimedSlack()
        slack.start()
        running: Rehearsal | None = None
        try:
            proxy = Proxy(f"http://127.0.0.1:{port}")
            wait_for("the proxy", lambda: answers(f"{proxy.url}/_microburst/health"), 30)
            project = home / "eventline"
            copy_checkout(project)
            alter(project, [*SHORTER, *changes], STAGE)
            clock = project / "chalicelib" / "core" / "clock.py"
            clock.write_text(clock.read_text() + _STEPPING_CLOCK)
            settings = {"AWS_ENDPOINT_URL": proxy.url, CLOCK_FILE: str(home / "clock")}
            variables = deploy_stage(emulator, project, STAGE, _IMPATIENT | settings)
            stage = Stage(STAGE, emulator, project, variables)
            _prepare(stage, slack)
            running = Rehearsal(stage, proxy, slack, _listen(stage), home, free_port())
            running.start_second_door()
            door = running.doors[1]
            wait_for("the second door", lambda: answers(f"{door}/health"), 60)
            yield running
        finally:
            if running is not None:
                running.stop_second_door()
            slack.stop()
            child.stop(5)


def _prepare(stage: Stage, slack: TimedSlack) -> None:
    """Secrets, a schema, versions that show a second write, and a short visibility."""
    values = {
        stage.settings.slack_parameter: slack.url,
        f"/eventline/{STAGE}/webhooks/standard/secret": STANDARD_SECRET,
        f"/eventline/{STAGE}/webhooks/github/secret": json.dumps([GITHUB_SECRET]),
    }
    for name, value in values.items():
        stage.emulator.client("ssm").put_parameter(
            Name=name, Value=value, Type="SecureString", Overwrite=True
        )
    for bucket in (stage.settings.bronze_bucket, stage.settings.silver_bucket):
        stage.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    alerts_url = stage.queue_url(stage.settings.ci_queue_arn)
    for url, seconds in ((stage.events_url, VISIBILITY_SECONDS), (alerts_url, ALERTS_SECONDS)):
        stage.sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(seconds)})
    answer = stage.call("PUT", f"/schemas/{CHECKED}", stage.admin, json=CHECKED_SCHEMA)
    assert answer.status_code == 201, answer.text


def _listen(stage: Stage) -> Mailbox:
    """A queue that gets everything that the bus tells."""
    mailbox = open_mailbox(stage, "events.amazonaws.com")
    events = stage.emulator.client("events")
    rule: dict[str, Any] = {"Name": "everything", "EventBusName": stage.settings.event_bus}
    events.put_rule(**rule, EventPattern=json.dumps({"source": ["eventline"]}))
    events.put_targets(
        Rule=rule["Name"],
        EventBusName=rule["EventBusName"],
        Targets=[{"Id": "queue", "Arn": mailbox.arn}],
    )
    return mailbox


def workers(scratch: Path) -> list[tuple[int, str]]:
    """(process, function) of all processes in which the emulator below `scratch` runs functions."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            command = (folder / "cmdline").read_text()
        except OSError:
            continue  # It has just ended.
        seen = _WORKER.search(command)
        if seen and f"{scratch}/" in command:
            found.append((int(folder.name), seen[1] or "api_handler"))
    return found
