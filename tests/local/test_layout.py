"""Files, environments and the fingerprint of the local platform."""

import stat
from pathlib import Path

import pytest

from local.layout import Layout, parse_env, render_env, write_private


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "chalicelib").mkdir()
    (tmp_path / "app.py").write_text("app = 1")
    return Layout(tmp_path, 8000, 4566)


def test_env_file_survives_a_round_trip() -> None:
    values = {"A": "plain", "B": "it's $HOME; `x`", "C": ""}
    assert parse_env(render_env(values)) == values


def test_private_file_is_for_its_owner_and_replaces_another(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_emulator_gets_nothing_of_the_shell(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SHELL", "x")
    environ = layout.emulator_environ()
    assert "SECRET_OF_THE_SHELL" not in environ
    assert environ["BIND_HOST"] == "127.0.0.1"
    assert environ["AUTH"] == "true"
    assert environ["HOME"].startswith(str(layout.home))


def test_tools_never_see_a_real_account(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example.com")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "x")
    environ = layout.tool_environ()
    assert environ["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"
    assert not {"AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"} & set(environ)


def test_fingerprint_follows_the_code_and_nothing_else(layout: Layout) -> None:
    before = layout.fingerprint()
    (layout.project / "README.md").write_text("words")
    cache = layout.project / "chalicelib" / "__pycache__"
    cache.mkdir()
    (cache / "x.pyc").write_text("bytes")
    assert layout.fingerprint() == before
    (layout.project / "chalicelib" / "new.py").write_text("")
    assert layout.fingerprint() != before


def test_fingerprint_follows_the_emulator_port(layout: Layout) -> None:
    other = Layout(layout.project, layout.api_port, 4567)
    assert other.fingerprint() != layout.fingerprint()
