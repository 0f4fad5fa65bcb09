"""Write the committed copy of the API's OpenAPI document: `make openapi`."""

import json
from pathlib import Path

from chalicelib.openapi import document

COPY = Path(__file__).resolve().parent.parent / "docs" / "openapi.json"


def as_text() -> str:
    """The document as the copy has it."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    COPY.write_text(as_text())
