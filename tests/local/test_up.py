"""What `make up` checks before it starts, and the programs it starts."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from local.children import Child, run
from local.console import FailedError, elapsed, step
from local.layout import Layout
from local.up import check_ports, read_layout


def test_ports_have_the_defaults_of_the_contract(tmp_path: Path) -> None:
    layout = read_layout({}, tmp_path)
    assert (layout.api_port, layout.aws_port) == (8000, 4566)


@pytest.mark.parametrize("text", ["abc", "0", "65536", "-1", "80 "])
def test_unusable_port_names_its_variable(tmp_path: Path, text: str) -> None:
    with pytest.raises(FailedError, match="AWS_PORT"):
        read_layout({"AWS_PORT": text}, tmp_path)


def test_equal_ports_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FailedError, match="must differ"):
        read_layout({"API_PORT": "4566"}, tmp_path)


def test_taken_port_is_named_with_the_variable_that_moves_it(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 8000, 4566)
    with pytest.raises(FailedError, match=r"port 8000 \(API_PORT\) is taken.*API_PORT=8010$"):
        check_ports(layout, is_free=lambda port: port == 4566)


def test_both_ports_taken_are_named_at_once(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 8000, 4566)
    with pytest.raises(FailedError, match=r"\(API_PORT\) and .* are .*API_PORT=8010 AWS_PORT=4576"):
        check_ports(layout, is_free=lambda _: False)


def test_free_ports_pass(tmp_path: Path) -> None:
    check_ports(Layout(tmp_path, 8000, 4566), is_free=lambda _: True)


def test_child_that_ends_is_reported_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    child = Child("x", [sys.executable, "-c", "print('bye'); exit(3)"], log, os.environ, tmp_path)
    with pytest.raises(FailedError):
        child.wait()
    with pytest.raises(FailedError, match=r"x ended by itself \(exit status 3\)[\s\S]*bye"):
        child.check()
    child.stop(1)


def test_child_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    code = "import signal,time; signal.signal(15, lambda *_: None); print('up',flush=True)\n"
    log = tmp_path / "x.log"
    command = [sys.executable, "-c", f"{code}while True: time.sleep(1)"]
    child = Child("x", command, log, os.environ, tmp_path)
    while "up" not in log.read_text():
        time.sleep(0.02)
    assert child.stop(0.2) is False


def test_child_stops_when_asked(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    child = Child("x", command, tmp_path / "x.log", os.environ, tmp_path)
    assert child.stop(10) is True


def test_run_returns_what_was_printed_by_this_run(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("earlier\n")
    assert run("x", [sys.executable, "-c", "print('now')"], log, os.environ, tmp_path) == "now\n"


def test_run_reports_a_failure_with_the_signal(tmp_path: Path) -> None:
    code = f"import os; os.kill(os.getpid(), {signal.SIGKILL.value})"
    with pytest.raises(FailedError, match=r"x failed \(signal SIGKILL\)"):
        run("x", [sys.executable, "-c", code], tmp_path / "x.log", os.environ, tmp_path)


def test_step_says_how_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    with step("good"):
        pass
    with pytest.raises(FailedError), step("bad"):
        raise FailedError("x")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("  ok     good (")
    assert lines[1].startswith("  failed bad (")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (65, "1 min 05 s")]
)
def test_elapsed_is_for_people(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text
