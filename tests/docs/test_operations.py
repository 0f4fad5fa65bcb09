"""The runbook knows every alarm, and nothing that is none."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def alarms() -> set[str]:
    """What alarms are called, without their stage."""
    text = (ROOT / "infra" / "alarms.yaml").read_text(encoding="utf-8")
    names = set()
    for block in re.split(r"\n  (?=\w)", text):
        for name in re.findall(r"AlarmName: !Sub eventline-\$\{Stage\}-(\S+)", block):
            variable = re.search(r"\$\{(\w+)\}", name)
            if variable is None:
                names.add(name)
                continue
            (members,) = re.findall(r"\n    - (\[[^\]]*\]|- \w+(?:\n      - \w+)*)", block)
            for member in re.findall(r"[\w-]*\w", members):
                names.add(name.replace(variable[0], member))
    return names


def test_the_runbook_has_each_alarm() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^### (\S+)$", text, re.MULTILINE))
    named |= set(re.findall(r"`([a-z_]+-(?:errors|throttles))`", text))
    assert named == alarms()
