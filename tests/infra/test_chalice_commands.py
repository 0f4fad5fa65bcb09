"""What a user of Chalice types in a fresh clone: it works, or ends with one line that says what to
type."""

import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import cache_from_source, source_hash
from pathlib import Path

import pytest
from chalice.cli.filewatch.stat import StatFileWatcher

from infra import project, provision
from infra.policies import Place, write_policies
from local import chalice_commands
from tests.support.emulator import copy_checkout, free_port

VALUE = "arn:aws:sqs:us-east-1:000000000000:some-value"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone, which no command here changes."""
    path = tmp_path_factory.mktemp("clone") / "eventline"
    copy_checkout(path)
    return path


@pytest.fixture
def own_clone(clone: Path, tmp_path: Path) -> Path:
    """A fresh clone for one test."""
    return shutil.copytree(clone, tmp_path / "eventline")


@pytest.fixture
def provisioned(own_clone: Path) -> Path:
    """A clone as `make provision STAGE=dev` leaves it."""
    provision.write_environment(
        own_clone, "dev", dict.fromkeys(provision.ENVIRONMENT.values(), VALUE)
    )
    part = project.stage_config(project.read_config(own_clone), "dev")
    write_policies(own_clone, part, Place("aws", "us-east-1", "000000000000", "dev"))
    return own_clone


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that a server listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def environ() -> dict[str, str]:
    """The shell of somebody without an AWS account, and without the settings of other tests."""
    kept = ("PATH", "HOME", "TMPDIR", "LANG")
    nothing = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    return {
        **{name: value for name, value in os.environ.items() if name in kept},
        **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
        **nothing,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def chalice(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Chalice's to its end."""
    program = Path(sys.executable).with_name("chalice")
    return subprocess.run(
        [str(program), *words],
        cwd=folder,
        env=environ(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """All that a command printed, which must be a line."""
    (line,) = (done.stdout + done.stderr).splitlines()
    return line


def test_models_are_generated(clone: Path) -> None:
    done = chalice(clone, "generate-models")

    assert done.stderr == ""
    model = json.loads(done.stdout)
    documented = json.loads((clone / "docs" / "openapi.json").read_text(encoding="utf-8"))
    assert model["paths"].keys() == documented["paths"].keys()
    assert VALUE not in done.stdout


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["deploy"], "make provision STAGE=dev"),
        (["deploy", "--stage", "prod"], "make provision STAGE=prod"),
        (["deploy", "--stage=dev"], "make deploy STAGE=dev"),
        (["package", "out"], "chalice package --pkg-format terraform OUT"),
        (["package", "--pkg-format", "terraform", "out"], "make terraform STAGE=dev"),
        (["package", "--pkg-format", "terraform", "out"], "make provision STAGE=dev"),
        (["delete"], "make provision STAGE=dev"),
        (["dev", "plan"], "make provision STAGE=dev"),
        (["local"], "make up"),
        (["local", "--no-autoreload"], "make up"),
        (["local", "--stage", "local"], "make up"),
        (["local", "--stage", "nowhere"], "it has dev, local, prod"),
    ],
    ids=" ".join,
)
def test_before_it_can_work_a_command_says_what_to_type(
    clone: Path, words: list[str], answer: str
) -> None:
    done = chalice(clone, *words)

    assert answer in only_line(done)
    # Chalice's reloader returns 0 whatever its worker did.
    assert done.returncode == (0 if words[0] == "local" and "--no-autoreload" not in words else 1)
    assert not (clone / "out").exists()


def test_a_setting_that_can_not_be_used_is_named(provisioned: Path) -> None:
    config = project.read_config(provisioned)
    project.stage_config(config, "dev")["environment_variables"]["AUTH_MODE"] = "guess"
    project.write_config(provisioned, config)

    line = only_line(chalice(provisioned, "deploy"))

    assert line.startswith("stage dev in .chalice/config.json: AUTH_MODE")


def test_a_package_that_is_missing_is_named(own_clone: Path) -> None:
    with (own_clone / "requirements.txt").open("a", encoding="utf-8") as requirements:
        requirements.write("not-to-be-found==1.0\n")

    line = only_line(chalice(own_clone, "local"))

    assert line == "not-to-be-found is not installed. Type: pip install -r requirements.txt"


@pytest.mark.enable_socket
def test_a_port_that_is_taken_is_named(provisioned: Path, taken: int) -> None:
    line = only_line(chalice(provisioned, "local", "--port", str(taken)))

    assert line.startswith(f"Port {taken} is taken. Type: chalice local --stage dev --port ")
    assert int(line.split()[-1]) > taken


@pytest.mark.enable_socket
def test_local_without_its_platform_says_so_even_when_that_was_killed(own_clone: Path) -> None:
    left = own_clone / ".local" / "env"
    left.parent.mkdir()
    left.write_text(f"export AWS_ENDPOINT_URL=http://127.0.0.1:{free_port()}\n", encoding="utf-8")

    assert "Type: make up" in only_line(chalice(own_clone, "local", "--stage", "local"))


def test_a_package_holds_bytecode_and_the_clone_does_not(provisioned: Path) -> None:
    # Given what an earlier run of the code left
    stray = provisioned / cache_from_source("chalicelib/stray.py")
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"")

    done = chalice(provisioned, "package", "--pkg-format", "terraform", "out")

    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(provisioned / "out" / "deployment.zip") as package:
        names = set(package.namelist())
        for source in ("app.py", "chalice/app.py", "chalicelib/__init__.py"):
            compiled = package.read(cache_from_source(source))
            assert compiled[8:16] == source_hash(package.read(source)), source
    assert cache_from_source("chalicelib/stray.py") not in names
    assert not any(name.startswith(("local/", "infra/", "vendor/", "boto")) for name in names)
    assert not list((provisioned / "chalicelib").rglob("*.pyc"))
    assert not (provisioned / "vendor").exists()
    policy = json.loads((provisioned / "out" / "chalice.tf.json").read_text(encoding="utf-8"))
    assert "aws_s3_bucket_notification" in policy["resource"]


def test_pytest_without_what_the_tests_need_says_what_to_type(clone: Path) -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import pytest; sys.exit(pytest.main())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=clone,
        env={**environ(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode
    assert "make test" in only_line(done)


def test_only_code_makes_chalice_local_start_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(StatFileWatcher, "_single_pass_poll", None)
    for name in ("chalicelib", ".local"):
        (tmp_path / name).mkdir()
    starts: list[str] = []

    def look(what: str) -> None:
        StatFileWatcher()._single_pass_poll(str(tmp_path), lambda: starts.append(what))

    chalice_commands._reload_for_code_only()
    look("at first")
    (tmp_path / ".local" / "emulator.log").write_text("a line", encoding="utf-8")
    look("a log")
    (tmp_path / "chalicelib" / "new.py").write_text("", encoding="utf-8")
    look("a module")
    look("nothing")

    assert starts == ["a module"]
