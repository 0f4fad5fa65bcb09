"""`make test` leaves out no test, though it collects its second tier from some files alone."""

import re

from infra import project

_TESTS = project.ROOT / "tests"


def test_every_file_that_can_need_an_emulator_is_collected_for_its_tier() -> None:
    makefile = (project.ROOT / "Makefile").read_text(encoding="utf-8")
    ((pattern),) = re.findall(r"^REST = .*grep -rlE '([^']+)'", makefile, re.MULTILINE)
    # A test comes to that tier by a mark of its own, or by a fixture that has one for the emulator.
    marked = r"\b(emulator|slow)\b.*\bmark|\bmark\w*\.(emulator|slow)\b|\baws_backends\b"
    for path in sorted(_TESTS.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if re.search(marked, text) and path.name != "test_makefile.py":
            # `grep` reads line by line; GNU's `\b` is Python's.
            assert re.search(pattern, text), path
