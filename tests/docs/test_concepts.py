"""docs/concepts.md and docs/security.md say what the code and the policies say."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from chalicelib.events.keys import bronze_key, silver_key, unit_bronze_key, unit_silver_key
from chalicelib.events.model import TRANSITIONS, Status
from chalicelib.web.callers import SCOPES
from infra import policies, project
from tests.support.factories import make_event

DOCS = project.ROOT / "docs"
CONCEPTS = (DOCS / "concepts.md").read_text(encoding="utf-8")
SECURITY = (DOCS / "security.md").read_text(encoding="utf-8")
TEMPLATES = sorted(policies.templates_dir(project.ROOT).glob("*.json"))
FIRST = {Status.RECEIVED, Status.ENQUEUED, Status.REJECTED}
"""An event begins as one of these: ENQUEUED where the message goes before the entry."""


def rows(text: str) -> dict[str, list[str]]:
    """The rows of tables by the name in their first cell."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_the_picture_of_an_events_life_has_every_legal_step_and_no_other() -> None:
    (picture,) = re.findall(r"^stateDiagram-v2\n(.*?)^```$", CONCEPTS, re.MULTILINE | re.DOTALL)
    drawn = set(re.findall(r"^  (\S+) --> (\S+)$", picture, re.MULTILINE))

    legal = {(before.value, after.value) for before in Status for after in TRANSITIONS[before]}
    assert drawn == legal | {("[*]", status.value) for status in FIRST}


def test_every_status_is_explained() -> None:
    assert {status.value for status in Status} <= rows(CONCEPTS).keys()


@pytest.mark.parametrize(
    ("what", "made"),
    [
        ("bronze key", bronze_key("order", "2026-01-31T00:00:00.000Z", "ID")),
        (
            "bronze key of a unit",
            unit_bronze_key("2026-01-31T00:00:00.000Z", "ID"),
        ),
        (
            "silver key of a unit",
            unit_silver_key("order", "2026-01-31T00:00:00.000Z", "ID"),
        ),
    ],
)
def test_keys_look_as_the_page_says(what: str, made: str) -> None:
    assert filled(rows(CONCEPTS)[what][0]) == made


def test_a_silver_key_looks_as_the_page_says() -> None:
    event = make_event(event_id="ID", event_type="order", at=datetime(2026, 1, 31, tzinfo=UTC))
    assert filled(rows(CONCEPTS)["silver key"][0]) == silver_key(event)


def filled(shape: str) -> str:
    values = {
        "eventType": "order",
        "yyyy-mm-dd": "2026-01-31",
        "yyyy": "2026",
        "mm": "01",
        "dd": "31",
        "eventId": "ID",
        "unitId": "ID",
    }
    return re.sub(r"<([\w-]+)>", lambda match: values[match[1]], shape.strip("`"))


def test_every_scope_is_explained() -> None:
    explained = set(re.findall(r"`([a-z:]+)`", "\n".join(line for line in SECURITY.splitlines())))
    assert set(SCOPES) <= explained


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_what_a_function_may_touch_is_named_in_its_row(path: Any) -> None:
    row = " ".join(rows(SECURITY)[path.stem])
    for statement in json.loads(path.read_text(encoding="utf-8"))["Statement"]:
        for resource in statement["Resource"]:
            name = touched(resource)
            assert name is None or re.search(rf"\b{re.escape(name)}\b", row), f"{name} in {row}"


def touched(resource: str) -> str | None:
    """What a resource is called in the table; None for logs, the key and `*`, told above it."""
    if resource in {"*", "${KmsKeyArn}"} or ":logs:" in resource:
        return None
    if ":event-bus/" in resource:
        return "bus"
    if ":parameter/" in resource:
        return "webhook_url" if resource.endswith("webhook_url") else "secrets"
    if ":s3:::" in resource:
        return next(name for name in ("bronze", "silver", "uploads") if f"-{name}" in resource)
    return resource.split("eventline-${Stage}-", 1)[1].split("/", 1)[0]


def test_the_table_has_each_function_and_no_other() -> None:
    part = SECURITY.split("\n## What each function may do\n", 1)[1].split("\n## ", 1)[0]
    assert rows(part).keys() - {"function"} == {path.stem for path in TEMPLATES}


def test_no_policy_lets_a_function_delete_what_the_page_calls_safe() -> None:
    for path in TEMPLATES:
        for statement in json.loads(path.read_text(encoding="utf-8"))["Statement"]:
            actions = " ".join(statement["Action"])
            assert "s3:Delete" not in actions
            if any(resource.endswith("-events") for resource in statement["Resource"]):
                assert "dynamodb:DeleteItem" not in actions


def test_only_one_resource_is_a_star() -> None:
    starred = [
        (path.stem, statement["Sid"])
        for path in TEMPLATES
        for statement in json.loads(path.read_text(encoding="utf-8"))["Statement"]
        if "*" in statement["Resource"]
    ]
    assert starred == [("api_handler", "EndSubscriptions")]
