"""The documents say what is there: settings, commands, links, decisions."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADRS = ROOT / "docs" / "adr"
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/results/*.md")]
)
ADR_HEADINGS = ["Context", "Decision", "Consequences", "How to undo it"]

_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`(?P<code>[^`\n]+)`")
_TARGET = re.compile(r"\bmake ((?:[A-Z_]+=\S+ )*)(?P<target>[a-z][a-z-]*)")
_ADR_MENTION = re.compile(r"ADR\s+(?P<number>\d{4})")

every_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """The part of a document below a heading of the second level."""
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def table_rows(text: str) -> list[list[str]]:
    """The rows of the tables in `text`, without their headings."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def code_in(text: str) -> list[str]:
    """What is written as code: blocks, and spans in the running text."""
    blocks = _FENCE.findall(text)
    return blocks + [match["code"] for match in _CODE.finditer(_FENCE.sub("", text))]


def anchors(text: str) -> set[str]:
    """The fragments that a document's headings can be linked by."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_configuration_lists_the_variables_of_the_makefile_with_their_defaults() -> None:
    text = read(ROOT / "docs" / "configuration.md")
    rows = table_rows(section(text, "Settings of the commands"))
    listed = {name.strip("`"): default.strip("`") for name, default, _ in rows}

    variables = re.findall(r"^([A-Z_]+) \?=[ \t]*(.*)$", read(ROOT / "Makefile"), re.MULTILINE)

    assert listed.keys() == {name for name, _ in variables}
    assert {name: listed[name] for name, value in variables if value} == {
        name: value for name, value in variables if value
    }


def test_the_figures_of_the_measurements_are_those_of_the_results_they_cite() -> None:
    text = read(ROOT / "docs" / "measurements.md")
    results = re.findall(r"benchmarks/results/(\d{4}-\d\d-\d\d)\.md", text)
    assert len(results) == 1

    kept = json.loads(read(ROOT / "benchmarks" / "results" / f"{results[0]}.json"))
    figures = {
        figure["name"]: figure["value"] for part in kept["sections"] for figure in part["figures"]
    }
    repeats = [figures[f"a repeat {when} the worker ran"] for when in ("after", "before")]
    large = "the same, documents over 6,000 bytes"
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE)

    assert results[0] in text.splitlines()[2]
    assert rows == [
        f"{figures['without a key']:g}",
        f"{repeats[0]:g} and {repeats[1]:g}",
        f"{figures['a batch of 10']:g}",
        f"{figures['ingest of 100 without keys']:g}",
        f"{figures['processing of 100 without keys']:g}",
        f"{figures['deliveries of a batch']:g}; {figures[large]:g}",
        f"{figures['deliveries a second']:.0f}",
        f"{figures['as in Lambda: ratio to the floor']:.2f}",
        f"{figures['with bytecode: ratio to the floor']:.2f}",
        f"{figures['archive']:.2f} MB",
    ]


@every_document
def test_every_make_target_named_in_a_document_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", read(ROOT / "Makefile"), re.MULTILINE))

    named = {
        match["target"] for code in code_in(read(document)) for match in _TARGET.finditer(code)
    }

    assert named <= targets


@every_document
def test_every_link_inside_the_repository_leads_somewhere(document: Path) -> None:
    text = _FENCE.sub("", read(document))
    targets = [match["target"] for match in _LINK.finditer(text)]

    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.is_relative_to(ROOT), f"{target} leads out of the repository"
        assert linked.exists(), f"{target} leads nowhere"
        if fragment:
            assert fragment in anchors(read(linked)), f"{target} names no heading"


def test_decisions_are_numbered_without_gaps() -> None:
    names = sorted(path.name for path in ADRS.glob("*.md") if path.name != "README.md")

    assert [name[:4] for name in names] == [f"{n:04}" for n in range(1, len(names) + 1)]
    assert all(re.fullmatch(r"\d{4}-[a-z0-9]+(-[a-z0-9]+)*\.md", name) for name in names)


@pytest.mark.parametrize("path", sorted(ADRS.glob("[0-9]*.md")), ids=lambda path: path.stem)
def test_a_decision_has_its_number_its_parts_and_its_place_in_the_list(path: Path) -> None:
    text = read(path)
    title = text.splitlines()[0]

    assert title.startswith(f"# {path.stem[:4]}. ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ADR_HEADINGS
    listed = f"| [{path.stem[:4]}]({path.name}) | {title.partition('. ')[2]} |"
    assert listed in read(ADRS / "README.md")


def test_every_decision_that_the_code_or_a_document_mentions_exists() -> None:
    code = [ROOT / "app.py"]
    for folder in ("chalicelib", "infra", "local", "benchmarks"):
        code += (ROOT / folder).rglob("*.py")
    numbers = {path.name[:4] for path in ADRS.glob("[0-9]*.md")}

    for path in [*code, *DOCUMENTS]:
        mentioned = {match["number"] for match in _ADR_MENTION.finditer(read(path))}
        assert mentioned <= numbers, path
