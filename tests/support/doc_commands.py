"""The commands that documents show: found, checked for their grammar, and put together for a shell.

Two forms: a block of lines that begin with `$ `, between which is what comes back; and a block that
is commands from its first line to its last.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHELLS = ("sh", "bash", "console")
PLACEHOLDER = re.compile(r"<[a-z][^<>\n]*>")
NEEDS_AWS = re.compile(r"^make (?!up)|infra\.provision|^\s*gh |^terraform ", re.MULTILINE)
"""What makes, changes or removes a stage: run by tests of its own, or on AWS only."""
_BLOCK = re.compile(r"^```(?P<label>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_PROGRAM = re.compile(r"((make|aws|curl|source|git|gh|terraform|export|\.venv/bin/\S+)\s)|\w+=\$\(")


@dataclass(frozen=True)
class Block:
    """One block of commands."""

    document: str
    number: int
    script: str

    @property
    def needs_aws(self) -> bool:
        return NEEDS_AWS.search(self.script) is not None

    @property
    def unknown(self) -> list[str]:
        """What a reader has to put in place of."""
        return PLACEHOLDER.findall(self.script)


def documents() -> list[Path]:
    """The pages that show commands to a reader."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path: Path) -> list[Block]:
    """The blocks of commands of a document."""
    text = path.read_text(encoding="utf-8")
    found: list[Block] = []
    for match in _BLOCK.finditer(text):
        script = _script(match["label"].split(" ")[0], match["body"])
        if script:
            found.append(Block(path.name, len(found), script))
    return found


def grammar_fault(script: str) -> str:
    """What `bash -n` says of a script; empty where it is well-formed."""
    plain = PLACEHOLDER.sub("PLACEHOLDER", script)
    done = subprocess.run(["bash", "-n"], input=plain, capture_output=True, text=True, check=False)
    return done.stderr


def _script(label: str, body: str) -> str:
    if body.startswith("$ ") or "\n$ " in body:
        return _transcript(body)
    shown = label in SHELLS or (not label and _PROGRAM.match(body))
    return body if shown else ""


def _transcript(body: str) -> str:
    """The commands of a transcript, without what comes back."""
    commands: list[str] = []
    going_on = False
    for line in body.splitlines():
        if line.startswith("$ "):
            commands.append(line[2:])
        elif going_on:
            commands[-1] += "\n" + line
        else:
            continue
        going_on = commands[-1].endswith("\\") or bool(grammar_fault(commands[-1]))
    return "".join(command + "\n" for command in commands)
