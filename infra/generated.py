"""Parts of a document that code writes: between two comments, by name. The rest is for people."""

from collections.abc import Mapping, Sequence

from infra.project import InfraError


class NoSuchPartError(InfraError):
    """Raised when a document has no place for a part, or more than one."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the document has no single part <!-- {name} -->")


def replaced(text: str, parts: Mapping[str, str]) -> str:
    """Return `text` with each part between `<!-- name -->` and `<!-- end of name -->` written anew.

    Raises `NoSuchPartError`.
    """
    for name, part in parts.items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
            raise NoSuchPartError(name)
        before, _, rest = text.partition(start)
        after = rest.partition(end)[2]
        text = f"{before}{start}\n{part}\n{end}{after}"
    return text


def table(heading: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> str:
    """Return a Markdown table. `align` has a letter for each column, `r` for one of numbers."""
    marks = ["---:" if mark == "r" else "---" for mark in align.ljust(len(heading))]
    lines = [f"| {' | '.join(row)} |" for row in (heading, *rows)]
    lines.insert(1, f"|{'|'.join(marks)}|")
    return "\n".join(lines) + "\n"
