"""Write the tables of docs/measurements.md that compare: `python -m benchmarks.write_measurements`.

They are those of the newest results.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import growth, report, yardstick
from benchmarks.report import Figure, Section
from infra.generated import replaced, table

HERE = Path(__file__).parent
COPY = HERE.parent / "docs" / "measurements.md"
_PARTS = {
    "yardstick": (yardstick.TITLE, "to plain"),
    "growth": (growth.TITLE, "ratio"),
    "sweep": (growth.SWEEP_TITLE, "ratio"),
}
_MISSING = "The newest results do not have it.\n"


def as_text() -> str:
    """docs/measurements.md with its tables as the newest results have them."""
    newest = report.read(max((HERE / "results").glob("*.json")))
    sections = {section.title: section for section in newest.sections}
    parts = {
        name: comparison(sections[title], ratio) if title in sections else _MISSING
        for name, (title, ratio) in _PARTS.items()
    }
    return replaced(COPY.read_text(encoding="utf-8"), parts)


def comparison(section: Section, ratio: str) -> str:
    """A section whose figures are ratios, with a column for each part, and its notes."""
    names = list(section.figures[0].parts)
    rows = [
        [figure.name, *(_rounded(figure.parts[name]) for name in names), *_judged(figure)]
        for figure in section.figures
    ]
    heading = ["", *names, ratio, "aim"]
    notes = "\n".join(f"- {note}" for note in section.notes)
    return f"{table(heading, rows, '-' + 'r' * (len(heading) - 1))}\n{notes}\n"


def _judged(figure: Figure) -> Sequence[str]:
    value = f"{figure.value:.2f}x"
    if figure.aim is None:
        return value, ""
    bound = ">=" if figure.at_least else "<="
    return value if figure.is_met else f"**{value}**", f"{bound} {figure.aim:g}x"


def _rounded(value: float) -> str:
    return f"{value:,.1f}" if value >= 10 else f"{value:,.2f}"


if __name__ == "__main__":
    COPY.write_text(as_text(), encoding="utf-8")
