"""Gets a checkout ready for Chalice's packager, which ships what lies in `chalicelib` and `vendor`.

Lambda cannot write bytecode, so at each cold start it would compile again what importing `app`
runs, and the urllib3 that takes the place of the runtime's. That part is shipped compiled. What
only some functions import is not: it would make the archive a sixth larger. The bytecode holds the
hash of its source, and Python uses it for no other source (PEP 552, "checked hash-based pycs"). Of
`app.py` and of Chalice's own modules the packager takes nothing but the source, so their bytecode
goes to `vendor`, whose contents end up beside them.
"""

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import packages_distributions
from pathlib import Path

# Prints the file of each module that importing `app` runs, and of urllib3, which botocore imports
# in every function. A lazy module is loaded, but not run.
_RUN_BY_APP = """
import json, sys
ran = set()
sys.addaudithook(lambda event, given: event == "exec" and ran.add(given[0].co_filename))
sys.path.append("vendor")
import app
import urllib3
print(json.dumps([sys.path, sorted(ran)]))
"""
# In a process of its own, for what else a process has loaded shows in the bytes.
_COMPILE = """
import json, py_compile, sys
from py_compile import PycInvalidationMode
for source, target, name in json.load(sys.stdin):
    py_compile.compile(source, target, name, True, 0, PycInvalidationMode.CHECKED_HASH)
"""


@contextmanager
def ready(project_dir: Path, variables: Mapping[str, str]) -> Iterator[None]:
    """Within the block, have what is packaged from `project_dir` as it is to be shipped.

    `variables` are those of the stage, which `app` is imported with. Equal sources give equal
    files. No bytecode is left behind.
    """
    writes_nothing = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    _remove_bytecode(project_dir)
    try:
        _compile(project_dir.resolve(), variables)
        _drop_stale_archives(project_dir)
        yield
    finally:
        _remove_bytecode(project_dir)
        sys.dont_write_bytecode = writes_nothing


def _compile(project_dir: Path, variables: Mapping[str, str]) -> None:
    environ = {**os.environ, **variables, "PYTHONHASHSEED": "0"}
    environ.pop("AWS_CHALICE_CLI_MODE", None)
    listed = _python(_RUN_BY_APP, project_dir, environ, "")
    if listed is None:
        # Chalice imports it next, and tells what is wrong.
        return
    # The last line: what `app` prints comes before it.
    path, sources = json.loads(listed.splitlines()[-1])
    shipped = _shipped(project_dir)
    order = []
    for source, folder in itertools.product(map(Path, sources), path):
        if not source.is_relative_to(project_dir / folder):
            continue
        # Where it lies in the archive.
        place = source.relative_to(project_dir / folder)
        if place.parts[0] in shipped:
            beside = project_dir / ("" if place.parts[0] == "chalicelib" else "vendor") / place
            name = f"{place.stem}.{sys.implementation.cache_tag}.pyc"
            order.append((str(source), str(beside.parent / "__pycache__" / name), str(place)))
    _python(_COMPILE, project_dir, environ, json.dumps(order))


def _shipped(project_dir: Path) -> set[str]:
    """Return the names of the modules and packages that the archive holds."""
    text = (project_dir / "requirements.txt").read_text(encoding="utf-8")
    required = {_normal(name) for name in re.findall(r"^[A-Za-z0-9._-]+", text, re.MULTILINE)}
    installed = (
        package
        for package, distributions in packages_distributions().items()
        if any(_normal(name) in required for name in distributions)
    )
    vendored = (path.name for path in (project_dir / "vendor").glob("*"))
    return {"app.py", "chalicelib", "chalice", *installed, *vendored}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _python(code: str, project_dir: Path, environ: Mapping[str, str], stdin: str) -> str | None:
    """Run a program and return what it printed, or None when it failed."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=project_dir,
        env=dict(environ),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    return None if done.returncode else done.stdout


def _remove_bytecode(project_dir: Path) -> None:
    """Remove what Python and this module compiled, and the folders that only held that."""
    for folder in (project_dir / "chalicelib", project_dir / "vendor"):
        for bytecode in folder.rglob("__pycache__/*.pyc"):
            bytecode.unlink(missing_ok=True)
    vendor = project_dir / "vendor"
    for folder in sorted([vendor, *vendor.rglob("*")], reverse=True):
        with suppress(OSError):
            folder.rmdir()


def _drop_stale_archives(project_dir: Path) -> None:
    """Remove Chalice's cached archives when the set of packaged files is another one.

    The key of that cache is a hash of contents without names: a renamed module would be deployed
    under its old name.
    """
    files = sorted(
        str(path.relative_to(project_dir))
        for folder in (project_dir / "chalicelib", project_dir / "vendor")
        for path in folder.rglob("*")
        if path.is_file()
    )
    names = hashlib.sha256("\n".join(files).encode()).hexdigest()
    cache = project_dir / ".chalice" / "deployments"
    mark = cache / "names.sha256"
    if mark.is_file() and mark.read_text(encoding="utf-8") == names:
        return
    for archive in cache.glob("*.zip"):
        archive.unlink()
    cache.mkdir(parents=True, exist_ok=True)
    mark.write_text(names, encoding="utf-8")
