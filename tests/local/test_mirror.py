"""The copy that is deployed and served locally: the checkout, with what was provisioned kept."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra import project
from local.layout import Layout
from local.mirror import refresh

NAMED_LATER = "arn:aws:dynamodb:us-east-1:000000000000:table/eventline-local-items/stream/2026"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A checkout with a module, a policy and the real configuration."""
    (tmp_path / "chalicelib" / "events").mkdir(parents=True)
    (tmp_path / "chalicelib" / "events" / "one.py").write_text("ONE = 1\n")
    (tmp_path / "chalicelib" / "__pycache__").mkdir()
    (tmp_path / "chalicelib" / "__pycache__" / "one.pyc").write_text("")
    (tmp_path / "app.py").write_text("app = 1\n")
    (tmp_path / ".chalice" / "policies").mkdir(parents=True)
    (tmp_path / ".chalice" / "policies" / "api_handler.json").write_text("{}")
    config = project.config_path(project.ROOT).read_bytes()
    project.config_path(tmp_path).write_bytes(config)
    return Layout(tmp_path, 8000, 4566)


def variables(folder: Path) -> dict[str, Any]:
    return dict(project.read_config(folder)["stages"]["local"]["environment_variables"])


def set_variable(folder: Path, name: str, value: str) -> None:
    config = project.read_config(folder)
    config["stages"]["local"]["environment_variables"][name] = value
    project.write_config(folder, config)


def test_the_copy_has_what_is_deployed_and_no_more(layout: Layout) -> None:
    (layout.project / "README.md").write_text("words")

    refresh(layout)

    copied = {str(path.relative_to(layout.app)) for path in layout.app.rglob("*") if path.is_file()}
    assert copied == {
        "app.py",
        "chalicelib/events/one.py",
        ".chalice/config.json",
        ".chalice/policies/api_handler.json",
    }


def test_a_change_reaches_the_copy_and_a_removal_too(layout: Layout) -> None:
    refresh(layout)
    (layout.project / "app.py").write_text("app = 2\n")
    (layout.project / "chalicelib" / "events" / "one.py").rename(
        layout.project / "chalicelib" / "two.py"
    )

    refresh(layout)

    assert (layout.app / "app.py").read_text() == "app = 2\n"
    assert (layout.app / "chalicelib" / "two.py").exists()
    assert not (layout.app / "chalicelib" / "events" / "one.py").exists()


def test_what_was_provisioned_stays_and_other_settings_follow(layout: Layout) -> None:
    refresh(layout)
    set_variable(layout.app, "ITEMS_STREAM_ARN", NAMED_LATER)
    set_variable(layout.project, "RECONCILE_MINUTES", "7")

    refresh(layout)

    assert variables(layout.app)["ITEMS_STREAM_ARN"] == NAMED_LATER
    assert variables(layout.app)["RECONCILE_MINUTES"] == "7"
    assert variables(layout.project)["ITEMS_STREAM_ARN"] != NAMED_LATER


def test_what_chalice_keeps_stays(layout: Layout) -> None:
    refresh(layout)
    rendered = layout.app / ".chalice" / "policies" / "local" / "api_handler.json"
    for path in (layout.deployed_file, rendered):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"resources": []}))

    refresh(layout)

    assert layout.deployed_file.exists()
    assert rendered.exists()


def test_another_stream_is_another_deployment(layout: Layout) -> None:
    refresh(layout)
    before = layout.fingerprint()
    set_variable(layout.app, "ITEMS_STREAM_ARN", NAMED_LATER)
    assert layout.fingerprint() != before
