"""The page on guarantees names tests that exist, for every flow."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "guarantees.md"
FLOWS = (
    "Ingest of one event, without a key",
    "Ingest of one event, with a key",
    "Ingest of a batch",
    "The worker",
    "Uploads",
    "Items and notifications",
    "Alerts",
    "Webhooks",
    "Replay of one event",
    "Bulk replay and redrive",
    "Reconcile",
)
_NAMED = re.compile(r"`(?P<file>tests/[\w/]+\.py)::(?P<name>\w+)`")


def sections() -> dict[str, str]:
    """The page's sections, by heading."""
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    return {heading: body for heading, _, body in (part.partition("\n") for part in parts)}


@cache
def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    named = _NAMED.findall(PAGE.read_text(encoding="utf-8"))
    assert len(named) > len(FLOWS)
    for file, name in named:
        assert name.startswith("test_"), name
        assert (ROOT / file).exists(), file
        assert name in names_in(ROOT / file), f"{file}::{name}"


@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_names_the_tests_that_show_it(flow: str) -> None:
    assert len(_NAMED.findall(sections()[flow])) >= 2
