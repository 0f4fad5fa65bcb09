"""The archive that is deployed: made by Chalice's own packager, once for all functions."""

import subprocess
import sys
import zipfile
from pathlib import Path

from benchmarks.report import Figure, Section
from infra import project
from local.layout import STAGE, Layout

AIM_MB = 4
_MEGABYTE = 1_000_000


def build(layout: Layout) -> Path:
    """Package the copy in `layout` and return the archive.

    The stage has to be provisioned there, for packaging reads the rendered policies. Terraform's
    format is asked for because it takes every kind of event source; only the archive is used. The
    copy is packaged with the tools of this checkout.
    """
    out = layout.home / "package"
    command = [str(Path(sys.executable).with_name("chalice")), "package", "--stage", STAGE]
    subprocess.run(
        [*command, "--pkg-format", "terraform", str(out)],
        cwd=layout.project,
        env={**layout.tool_environ(), "PYTHONPATH": str(project.ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    return out / "deployment.zip"


def measure(archive: Path) -> Section:
    """The size of the archive, and of what it holds."""
    with zipfile.ZipFile(archive) as opened:
        entries = opened.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    figures = [
        Figure("archive", archive.stat().st_size / _MEGABYTE, "MB", AIM_MB),
        Figure("unpacked", unpacked / _MEGABYTE, "MB"),
        Figure("files", len(entries), ""),
    ]
    return Section("Deployment archive", figures)
