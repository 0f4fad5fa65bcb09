"""The deploy driver's own part: isolation, and the URL it tells."""

import json
import os
import sys
from pathlib import Path

import pytest

from infra import deploy, project


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project directory with one module."""
    (tmp_path / "chalicelib").mkdir()
    (tmp_path / "chalicelib" / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "chalicelib" / "one.py").write_text("ONE = 1\n", encoding="utf-8")
    (tmp_path / ".chalice").mkdir()
    return tmp_path


def record(checkout: Path, stage: str) -> None:
    path = checkout / ".chalice" / "deployed" / f"{stage}.json"
    path.parent.mkdir(parents=True)
    api = {
        "name": "rest_api",
        "resource_type": "rest_api",
        "rest_api_id": "abcd1234",
        "rest_api_url": "https://abcd1234.execute-api.eu-west-1.amazonaws.com/api/",
    }
    path.write_text(json.dumps({"resources": [api]}), encoding="utf-8")


def test_chalice_leaves_no_trace_in_the_process(checkout: Path) -> None:
    (checkout / "app.py").write_text("import chalicelib.one as one\n", encoding="utf-8")
    before = (dict(os.environ), list(sys.path), Path.cwd(), set(sys.modules))
    mine = sys.modules["chalicelib"]

    with deploy.chalice_process(checkout):
        os.environ["EVENTS_TABLE"] = "another"
        __import__("app")
        assert sys.modules["chalicelib.one"].ONE == 1

    assert (dict(os.environ), list(sys.path), Path.cwd(), set(sys.modules)) == before
    assert sys.modules["chalicelib"] is mine


def test_the_url_is_the_one_that_answers(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(checkout, "dev")

    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    on_aws = deploy.deployed_api_url("dev", checkout)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4599/")
    on_emulator = deploy.deployed_api_url("dev", checkout)

    assert on_aws == "https://abcd1234.execute-api.eu-west-1.amazonaws.com/api"
    assert on_emulator == "http://127.0.0.1:4599/_aws/execute-api/abcd1234/api"


def test_a_stage_that_is_not_deployed_has_no_url(checkout: Path) -> None:
    with pytest.raises(deploy.NotDeployedError, match="make deploy STAGE=dev"):
        deploy.deployed_api_url("dev", checkout)


def test_a_stage_that_is_not_provisioned_is_not_deployed(checkout: Path) -> None:
    project.config_path(checkout).write_bytes(project.config_path(project.ROOT).read_bytes())
    with pytest.raises(deploy.NotProvisionedError, match="make provision STAGE=dev"):
        deploy.deploy("dev", checkout)
