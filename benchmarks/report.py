"""What was measured, as tables for people and as JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured value; `aim` is the most it may be, or the least with `at_least`; None when
    there is no aim.

    `parts` says what the value is made of, by name.
    """

    name: str
    value: float
    unit: str
    aim: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the value is within its aim; true without one. Both are compared as measured,
        not as rounded for display."""
        if self.aim is None:
            return True
        return self.value >= self.aim if self.at_least else self.value <= self.aim


@dataclass(frozen=True)
class Section:
    """One table and what has to be known to read it."""

    title: str
    figures: Sequence[Figure]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """A whole run. `date` is `yyyy-mm-dd` in UTC; `machine` and `versions` are shown as given."""

    date: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    sections: Sequence[Section]

    @property
    def missed(self) -> list[Figure]:
        """The figures beyond their aim."""
        return [
            figure for section in self.sections for figure in section.figures if not figure.is_met
        ]

    def to_dict(self) -> dict[str, Any]:
        """The run as JSON can hold it."""
        return {
            "date": self.date,
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "sections": [
                {
                    "title": section.title,
                    "figures": [_figure_dict(figure) for figure in section.figures],
                    "notes": list(section.notes),
                }
                for section in self.sections
            ],
        }

    def to_markdown(self) -> str:
        """The run as a Markdown document."""
        facts = [f"{name} {value}" for name, value in {**self.machine, **self.versions}.items()]
        lines = [f"# Benchmarks of {self.date}", "", ", ".join(facts) + ".", ""]
        for section in self.sections:
            lines += [f"## {section.title}", "", *_markdown_table(section.figures), ""]
            lines += [f"- {note}" for note in section.notes]
            lines += [""] if section.notes else []
        return "\n".join(lines).rstrip() + "\n"


def write(report: Report, folder: Path) -> list[Path]:
    """Write `<date>.json` and `<date>.md` into `folder`, over those of the same day."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        ".json": json.dumps(report.to_dict(), indent=2) + "\n",
        ".md": report.to_markdown(),
    }
    written = []
    for suffix, text in texts.items():
        path = folder / f"{report.date}{suffix}"
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def read(path: Path) -> Report:
    """The run that `write` wrote to a JSON file."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    sections = [
        Section(part["title"], [_figure(entry) for entry in part["figures"]], part["notes"])
        for part in kept["sections"]
    ]
    return Report(kept["date"], kept["machine"], kept["versions"], sections)


def with_part(whole: Report, part: Report) -> Report:
    """A run with some sections measured anew: those of the same title replaced, others added."""
    by_title = {section.title: section for section in part.sections}
    kept = [by_title.pop(section.title, section) for section in whole.sections]
    versions = {**whole.versions, **part.versions}
    return replace(whole, versions=versions, sections=[*kept, *by_title.values()])


def to_text(section: Section) -> str:
    """A section as a table for the terminal."""
    rows = [_cells(figure) for figure in section.figures]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [section.title, ""]
    for name, value, aim, parts in rows:
        start = f"  {name:<{widths[0]}}  {value:>{widths[1]}}  {aim:<{widths[2]}}"
        lines.append(f"{start}  {parts}".rstrip())
    lines += ["", *(f"  {note}" for note in section.notes)] if section.notes else []
    return "\n".join(lines) + "\n"


def _markdown_table(figures: Sequence[Figure]) -> list[str]:
    rows = [_cells(figure) for figure in figures]
    return [
        "| what | measured | aim | made of |",
        "|---|---:|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _cells(figure: Figure) -> tuple[str, str, str, str]:
    verdict = "met" if figure.is_met else "MISSED"
    bound = "at least" if figure.at_least else "at most"
    aim = "" if figure.aim is None else f"{bound} {_number(figure.aim)}: {verdict}"
    parts = ", ".join(f"{name} {_number(value)}" for name, value in figure.parts.items())
    return figure.name, f"{_number(figure.value)} {figure.unit}".strip(), aim, parts


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _figure_dict(figure: Figure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "value": round(figure.value, 6),
        "unit": figure.unit,
        "aim": figure.aim,
        "met": figure.is_met,
        "parts": {name: round(value, 6) for name, value in figure.parts.items()},
        **({"atLeast": True} if figure.at_least else {}),
    }


def _figure(entry: Mapping[str, Any]) -> Figure:
    return Figure(
        entry["name"],
        entry["value"],
        entry["unit"],
        entry["aim"],
        entry["parts"],
        entry.get("atLeast", False),
    )
