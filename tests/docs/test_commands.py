"""Every block of commands in the documents is well-formed; tests/platform runs what can run."""

import re

import pytest

from tests.support.doc_commands import SHELLS, Block, blocks, documents, grammar_fault

BLOCKS = [block for path in documents() for block in blocks(path)]
each_block = pytest.mark.parametrize(
    "block", BLOCKS, ids=lambda block: f"{block.document}-{block.number}"
)


@each_block
def test_a_block_is_well_formed(block: Block) -> None:
    assert grammar_fault(block.script) == ""


def test_no_block_of_a_shell_is_overlooked() -> None:
    for path in documents():
        text = path.read_text(encoding="utf-8")
        labelled = re.findall(rf"^```(?:{'|'.join(SHELLS)})\b", text, re.MULTILINE)
        assert len(blocks(path)) >= len(labelled)
    found = {block.document for block in BLOCKS}
    assert found >= {"README.md", "sending-events.md", "webhooks.md", "security.md"}


def test_what_comes_back_is_told_from_what_is_typed() -> None:
    first = [block for block in BLOCKS if block.document == "README.md"][1]
    lines = first.script.splitlines()
    assert lines[0] == "source .local/env"
    assert not [line for line in lines if line.startswith(("HTTP/", "{"))]


def test_a_fault_is_seen() -> None:
    assert grammar_fault("echo 'a\n")
    assert grammar_fault("if true; then\n")
    assert grammar_fault("aws x --id <its id>\n") == ""
