"""docs/configuration.md is what the code says, and the generator says it right."""

import re

import pytest

from chalicelib.core.config import TABLE
from infra import project, write_configuration
from infra.generated import NoSuchPartError, replaced, table
from infra.provision import ENVIRONMENT
from infra.write_configuration import COPY, UNCHECKED, allowed, as_text, settings_table

STAGES = project.read_config(project.ROOT)["stages"]


def rows(text: str) -> dict[str, list[str]]:
    """The rows of tables by the name in their first cell."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_the_committed_page_is_what_the_code_says() -> None:
    assert COPY.read_text(encoding="utf-8") == as_text(), "run `make configuration`"


def test_every_setting_is_in_one_of_the_two_tables() -> None:
    free = re.findall(r"^\| `(\w+)`", settings_table(STAGES), re.MULTILINE)
    fixed = re.findall(r"^\| `(\w+)`", write_configuration.names_table(), re.MULTILINE)

    assert sorted(free + fixed) == sorted(entry.name for entry in TABLE)
    assert set(ENVIRONMENT) - {"ACCOUNT_ID"} <= set(fixed)


def test_every_setting_that_is_free_says_what_is_allowed() -> None:
    assert all(cells[2] not in {"", UNCHECKED} for cells in rows(settings_table(STAGES)).values())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LEDGER_SHARDS", "1 to 256"),
        ("LOG_LEVEL", "one of DEBUG, INFO, WARNING, ERROR"),
        ("COGNITO_USER_POOL_ARN", "the ARN of a user pool"),
        ("IAM_ADMINS", "names, separated by commas"),
        ("EVENTS_TABLE", UNCHECKED),
    ],
)
def test_what_is_allowed_is_said_as_the_code_refuses_it(name: str, words: str) -> None:
    assert allowed(name) == words


def test_a_stage_is_named_where_it_differs_and_only_there() -> None:
    stages = {
        "local": {"environment_variables": {"MAX_ATTEMPTS": "7", "LOG_LEVEL": "INFO"}},
        "dev": {"environment_variables": {"CORS_ORIGIN": "https://app.example.com"}},
    }
    made = rows(settings_table(stages))

    assert made["MAX_ATTEMPTS"][:2] == ["`5`", "local `7`"]
    assert made["LOG_LEVEL"][:2] == ["`INFO`", ""]
    assert made["CORS_ORIGIN"][:2] == ["unset", "dev `https://app.example.com`"]


def test_provisioning_changes_nothing_in_the_page() -> None:
    provisioned = {
        stage: {
            **part,
            "environment_variables": part["environment_variables"]
            | dict.fromkeys(ENVIRONMENT, "written"),
        }
        for stage, part in STAGES.items()
    }

    assert settings_table(provisioned) == settings_table(STAGES)


def test_functions_show_what_bounds_and_traces_them() -> None:
    options = {"lambda_memory_size": 512, "lambda_timeout": 60}
    stages: dict[str, project.Json] = {
        "dev": {"lambda_functions": {"work": {**options, "reserved_concurrency": 50}}},
        "prod": {"xray": True, "lambda_functions": {"work": options}},
    }

    made = rows(write_configuration.functions_table(stages))

    assert made["work"] == ["512 MB, 60 s, 50 at once", "512 MB, 60 s, traced"]


def test_a_part_is_replaced_and_the_rest_is_kept() -> None:
    text = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n"

    assert replaced(text, {"x": "new\n"}) == "a\n<!-- x -->\n\nnew\n\n<!-- end of x -->\nb\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- x -->\n",
        "<!-- end of x -->\n<!-- x -->\n",
        "<!-- x -->\n<!-- end of x -->\n<!-- x -->\n<!-- end of x -->\n",
    ],
)
def test_a_document_without_the_place_is_not_spoilt(text: str) -> None:
    with pytest.raises(NoSuchPartError, match="no single part <!-- x -->"):
        replaced(text, {"x": "new"})


def test_a_table_has_its_numbers_on_the_right() -> None:
    assert table(["a", "b"], [["1", "2"]], "-r") == "| a | b |\n|---|---:|\n| 1 | 2 |\n"
