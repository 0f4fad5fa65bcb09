"""Write the committed copy of the API's OpenAPI document: `make openapi`."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chalicelib.web.openapi import document
from infra.project import ROOT, read_config, stage_config

COPY = Path(__file__).resolve().parent.parent / "docs" / "openapi.json"


def as_text(routes: Mapping[str, Mapping[str, Any]]) -> str:
    """The document of an application's routes, as the copy has it."""
    return json.dumps(document(routes), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Import the application as the stage `local` is set, and write the copy."""
    os.environ.update(stage_config(read_config(ROOT), "local")["environment_variables"])
    from app import app

    COPY.write_text(as_text(app.routes))


if __name__ == "__main__":
    main()
