"""docs/concepts.md and docs/security.md say what the code and the policies say."""

import re
from datetime import UTC, datetime

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
FIRST = {Status.RECEIVED, Status.REJECTED}
"""An event begins as one of these."""


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
            "bronze key of a unit, or of a batch",
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


def test_the_table_has_each_function_and_no_other() -> None:
    part = SECURITY.split("\n## What each function may do\n", 1)[1].split("\n## ", 1)[0]
    assert rows(part).keys() - {"function"} == {path.stem for path in TEMPLATES}
