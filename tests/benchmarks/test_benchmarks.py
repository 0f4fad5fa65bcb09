"""The benchmarks' own arithmetic and tables; what they measure is not a test's business."""

import json
import zipfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from benchmarks import __main__ as command
from benchmarks import archive, cold_start, report, write_measurements
from benchmarks.counting import RequestCounter
from benchmarks.report import Figure, Report, Section
from benchmarks.requests_made import per_item


def a_report(*figures: Figure) -> Report:
    return Report(
        date="2026-01-31",
        machine={"CPUs": "2"},
        versions={"Python": "3.11.9"},
        sections=[Section("Requests", figures, ("A note.",))],
    )


@pytest.mark.parametrize(
    ("value", "aim", "met"), [(3.0, 3, True), (3.0001, 3, False), (99.0, None, True)]
)
def test_a_figure_meets_its_aim_up_to_the_aim_itself(
    value: float, aim: float | None, met: bool
) -> None:
    assert Figure("x", value, "requests", aim).is_met is met


@pytest.mark.parametrize(("value", "met"), [(3.0, True), (2.9999, False), (99.0, True)])
def test_an_aim_can_be_the_least(value: float, met: bool) -> None:
    figure = Figure("x", value, "events/s", 3, at_least=True)

    assert figure.is_met is met
    assert ("at least 3: met" in report.to_text(Section("s", [figure]))) is met


def test_a_report_names_the_figures_that_missed() -> None:
    good, bad = Figure("good", 1, "MB", 3), Figure("bad", 4, "MB", 3)

    assert a_report(good, bad).missed == [bad]


def test_a_report_is_written_as_json_and_markdown_under_its_date(tmp_path: Path) -> None:
    figure = Figure("no key", 3.0, "requests", 3, {"PutObject": 1.0, "PutItem": 2.0})

    written = report.write(a_report(figure), tmp_path / "results")

    assert [path.name for path in written] == ["2026-01-31.json", "2026-01-31.md"]
    kept = json.loads(written[0].read_text())
    assert kept["machine"] == {"CPUs": "2"}
    assert kept["sections"][0]["figures"] == [
        {
            "name": "no key",
            "value": 3.0,
            "unit": "requests",
            "aim": 3,
            "met": True,
            "parts": {"PutObject": 1.0, "PutItem": 2.0},
        }
    ]
    text = written[1].read_text()
    assert text.startswith("# Benchmarks of 2026-01-31\n\nCPUs 2, Python 3.11.9.\n")
    assert "| no key | 3 requests | at most 3: met | PutObject 1, PutItem 2 |" in text
    assert "- A note." in text


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    whole = a_report(Figure("a", 1.5, "x", 2, {"b": 3.0}, at_least=True), Figure("c", 4, ""))

    path, _ = report.write(whole, tmp_path)

    assert report.read(path).to_dict() == whole.to_dict()


def test_a_part_measured_anew_takes_the_place_of_the_old() -> None:
    old, other = Section("one", [Figure("a", 1, "")]), Section("two", [Figure("b", 2, "")])
    whole = Report("2026-01-31", {}, {"x": "1", "y": "1"}, [old, other])
    renewed, added = Section("one", [Figure("a", 9, "")]), Section("three", [])

    joined = report.with_part(whole, Report("", {}, {"y": "2"}, [added, renewed]))

    assert joined.sections == [renewed, other, added]
    assert (joined.date, joined.versions) == ("2026-01-31", {"x": "1", "y": "2"})


def test_a_table_for_the_terminal_lines_up_and_shows_a_miss() -> None:
    section = Section("Cold start", [Figure("a", 1.5, "", 1.25), Figure("longer", 10, "ms")])

    lines = report.to_text(section).splitlines()

    assert lines[0] == "Cold start"
    assert lines[2] == "  a         1.5  at most 1.25: MISSED"
    assert lines[3] == "  longer  10 ms"


def test_counts_are_averaged_over_the_events() -> None:
    counts = Counter({"DeleteMessageBatch": 1, "PutObject": 10})

    assert per_item(counts, 10) == {"PutObject": 1.0, "DeleteMessageBatch": 0.1}


def test_requests_are_counted_inside_a_block_only() -> None:
    counter = RequestCounter()

    counter.on_request("before-send.s3.PutObject")
    with counter.counting() as counts:
        counter.on_request("before-send.s3.PutObject", request=object())
        counter.on_request("before-send.dynamodb.PutItem")
        counter.on_request("before-send.dynamodb.PutItem")
    counter.on_request("before-send.sqs.SendMessage")

    assert counts == {"PutObject": 1, "PutItem": 2}


def test_installing_counts_the_requests_of_later_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("botocore._INITIALIZERS", [])
    counter = RequestCounter()
    counter.install()
    client = botocore.session.Session().create_client("sqs", region_name="us-east-1")
    # Answers before anything is sent, and after the hook that counts.
    client.meta.events.register_last("before-send.sqs.*", _answer)

    with counter.counting() as counts:
        client.send_message(QueueUrl="https://sqs.us-east-1.amazonaws.com/1/q", MessageBody="x")

    assert counts == {"SendMessage": 1}


def test_the_archive_is_measured_packed_and_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "deployment.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("app.py", "x" * 2_000_000)

    packed, unpacked, files = archive.measure(path).figures

    assert packed.value == path.stat().st_size / 1_000_000
    assert packed.aim == archive.AIM_MB
    assert unpacked.value == 2.0
    assert files.value == 1


def test_cold_start_compares_medians_and_leaves_out_the_first_round(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    floor, first_use, alone = cold_start.PROGRAMS.values()
    seconds = {floor: [9.0, 0.2], first_use: [9.0, 0.24], alone: [9.0, 0.1]}
    runs: list[str] = []

    def run(program: str, _folder: Path, _environ: Any) -> float:
        runs.append(program)
        return seconds[program].pop(0) if len(seconds[program]) > 1 else seconds[program][0]

    monkeypatch.setattr(cold_start, "_run", run)

    *times, ratio = cold_start._compare("here", tmp_path, {}, cold_start.AIM)

    assert [round(figure.value) for figure in times] == [200, 240, 100]
    assert ratio.value == pytest.approx(1.2)
    assert ratio.is_met
    assert runs[:4] == [floor, first_use, alone, floor]
    assert cold_start.ROUNDS >= 11


@pytest.mark.parametrize(("value", "status"), [(3, 0), (4, 1)])
def test_the_command_fails_when_an_aim_is_missed(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    value: float,
    status: int,
) -> None:
    figure = Figure("no key", value, "requests", 3)
    results = tmp_path / "benchmarks" / "results"
    monkeypatch.setattr(command, "RESULTS", results)
    monkeypatch.setattr(command, "measure", lambda *_: [Section("IngestDeps", [figure])])

    assert command.main([]) == status

    assert ("aim missed: no key" in capsys.readouterr().out) is (status == 1)
    assert {path.suffix for path in results.iterdir()} == {".json", ".md"}


def test_a_part_alone_is_put_among_the_results_of_its_day(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results = tmp_path / "benchmarks" / "results"
    asked: list[Any] = []
    old, new = Section("Growth", [Figure("g", 1, "x")]), Section("Growth", [Figure("g", 2, "x")])
    other = Section("Speed", [Figure("s", 3, "ms")])
    monkeypatch.setattr(command, "RESULTS", results)

    def measure(*given: Any) -> list[Section]:
        asked.append(given)
        return [new]

    monkeypatch.setattr(command, "measure", measure)

    assert command.main(["growth", "--entries", "5000"]) == 0
    assert asked == [(["growth"], 5000)]
    assert not results.exists()

    today = datetime.now(UTC).date().isoformat()
    report.write(Report(today, {}, {}, [old, other]), results)
    command.main(["growth"])

    kept = report.read(results / f"{today}.json")
    assert [section.figures[0].value for section in kept.sections] == [2, 3]


@pytest.mark.parametrize("arguments", [["sped"], ["growth", "--entries", "1000"]])
def test_the_command_refuses_what_it_does_not_know(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(command, "measure", lambda *_: pytest.fail("it measured"))

    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2


def test_the_comparing_tables_of_the_measurements_are_those_of_the_newest_results() -> None:
    assert write_measurements.as_text() == write_measurements.COPY.read_text(encoding="utf-8")


def test_a_comparing_table_has_a_column_for_each_side_and_marks_what_missed() -> None:
    parts = {"ours": 80.04, "plain": 160.0}
    fast = Figure("p50, ms", 0.5, "x", 0.6, parts)
    few = Figure("events/s", 1.2, "x", 1.3, {"ours": 1.2, "plain": 1.0}, at_least=True)

    text = write_measurements.comparison(Section("s", [fast, few], ("A note.",)), "to plain")

    assert text.splitlines() == [
        "|  | ours | plain | to plain | aim |",
        "|---|---:|---:|---:|---:|",
        "| p50, ms | 80.0 | 160.0 | 0.50x | <= 0.6x |",
        "| events/s | 1.20 | 1.00 | **1.20x** | >= 1.3x |",
        "",
        "- A note.",
    ]


def _answer(**_details: object) -> Any:
    from botocore.awsrequest import AWSResponse

    response = AWSResponse("https://sqs.us-east-1.amazonaws.com", 200, {}, None)
    response._content = b'{"MessageId":"1","MD5OfMessageBody":"9dd4e461268c8034f5c8564e155c67a6"}'
    return response
