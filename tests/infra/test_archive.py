"""What is packaged: bytecode of what importing `app` runs, of no other source; none is left."""

import importlib.util
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path

import pytest

from infra import archive

CHECKED = 0b11
"""The flags of bytecode that names the hash of its source, which Python compares (PEP 552)."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project that runs three of its four modules, and one of a package that it ships."""
    files = {
        "app.py": "import os, chalice, click, chalicelib.eager\nprint(os.environ['OF_STAGE'])\n",
        "requirements.txt": "# Shipped:\nclick==1.0\n",
        "chalicelib/__init__.py": "",
        "chalicelib/eager.py": "from chalicelib import deep\n",
        "chalicelib/deep.py": "DEEP = {'a', 'b', 'c'}\n",
        "chalicelib/lazy.py": "LAZY = 1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def bytecode(checkout: Path) -> dict[str, bytes]:
    """The bytecode in a checkout."""
    return {str(path.relative_to(checkout)): path.read_bytes() for path in checkout.rglob("*.pyc")}


def compiled(checkout: Path) -> dict[str, bytes]:
    """The bytecode as it is packaged."""
    with archive.ready(checkout, {"OF_STAGE": "x"}):
        return bytecode(checkout)


def cached(checkout: Path) -> Path:
    """An archive of an earlier deployment."""
    made = checkout / ".chalice" / "deployments" / "0123-python3.11.zip"
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_bytes(b"zip")
    return made


def test_what_importing_the_app_runs_is_compiled_and_nothing_else(checkout: Path) -> None:
    found = compiled(checkout)

    own = ("chalicelib/__init__.py", "chalicelib/eager.py", "chalicelib/deep.py", "vendor/app.py")
    assert {cache_from_source(name) for name in own} <= found.keys()
    assert cache_from_source("chalicelib/lazy.py") not in found
    others = {Path(name).parts[1] for name in found if name.startswith("vendor")} - {"__pycache__"}
    # Chalice itself is always shipped; botocore, which it imports here, is not.
    assert others == {"chalice", "click"}


def test_what_botocore_imports_of_the_archive_is_compiled(checkout: Path) -> None:
    with (checkout / "requirements.txt").open("a", encoding="utf-8") as required:
        required.write("urllib3==2.0\n")
    found = compiled(checkout)
    for name in ("__init__", "connectionpool", "response", "util/ssl_"):
        assert cache_from_source(f"vendor/urllib3/{name}.py") in found


def test_it_is_for_its_source_alone(checkout: Path) -> None:
    for name, content in compiled(checkout).items():
        assert content[:4] == MAGIC_NUMBER
        assert int.from_bytes(content[4:8], "little") == CHECKED
        if name.startswith("chalicelib"):
            source = Path(importlib.util.source_from_cache(str(checkout / name)))
            assert content[8:16] == source_hash(source.read_bytes())


def test_equal_sources_give_equal_bytecode(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    first = compiled(checkout)
    monkeypatch.setenv("PYTHONHASHSEED", "2")
    assert compiled(checkout) == first


def test_nothing_is_left_behind(checkout: Path) -> None:
    stray = checkout / "chalicelib" / "__pycache__" / "lazy.cpython-311.pyc"
    stray.parent.mkdir()
    stray.write_bytes(b"")

    before = sys.dont_write_bytecode
    assert str(stray.relative_to(checkout)) not in compiled(checkout)

    assert not bytecode(checkout)
    assert not (checkout / "vendor").exists()
    assert sys.dont_write_bytecode is before


def test_what_somebody_vendored_is_compiled_in_its_place_and_stays(checkout: Path) -> None:
    module = checkout / "vendor" / "theirs.py"
    module.parent.mkdir()
    module.write_text("THEIRS = 1\n", encoding="utf-8")
    (checkout / "app.py").write_text("import theirs\n", encoding="utf-8")

    assert cache_from_source("vendor/theirs.py") in compiled(checkout)
    assert [path.name for path in module.parent.iterdir()] == ["theirs.py"]


def test_an_app_that_can_not_be_imported_is_left_to_chalice(checkout: Path) -> None:
    (checkout / "app.py").write_text("import nowhere\n", encoding="utf-8")
    assert not compiled(checkout)


def test_the_cached_archive_is_kept_while_the_files_are_the_same(checkout: Path) -> None:
    compiled(checkout)
    kept = cached(checkout)
    compiled(checkout)
    assert kept.exists()


def test_a_renamed_module_is_packaged_anew(checkout: Path) -> None:
    compiled(checkout)
    stale = cached(checkout)
    (checkout / "chalicelib" / "lazy.py").rename(checkout / "chalicelib" / "later.py")
    compiled(checkout)
    assert not stale.exists()
