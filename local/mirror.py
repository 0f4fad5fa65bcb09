"""The copy of the application, below `.local/app`, that is provisioned, deployed and served here.

Provisioning writes what the resources are called into `.chalice/config.json`, and a stream is
called anew whenever it is made. That must not change a file that Git knows.
"""

import shutil
from pathlib import Path

from infra import project
from infra.provision import ENVIRONMENT
from local.layout import STAGE, Layout

_COPIED = (
    "app.py",
    "requirements.txt",
    "chalicelib/**/*",
    "vendor/**/*",
    ".chalice/policies/*.json",
)


def refresh(layout: Layout) -> None:
    """Make the copy what the checkout is, except for what provisioning wrote into it.

    What Chalice keeps beside its configuration (its record, its packages) stays.
    """
    wanted = {path.relative_to(layout.project) for path in layout.sources(_COPIED)}
    there = {path.relative_to(layout.app) for path in layout.sources(_COPIED, layout.app)}
    for path in there - wanted:
        (layout.app / path).unlink()
    for path in sorted(wanted):
        _copy(layout.project / path, layout.app / path)
    _copy_config(layout)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_file() or target.read_bytes() != source.read_bytes():
        shutil.copyfile(source, target)


def _copy_config(layout: Layout) -> None:
    config = project.read_config(layout.project)
    variables = project.stage_config(config, STAGE)["environment_variables"]
    if project.config_path(layout.app).is_file():
        earlier = project.stage_config(project.read_config(layout.app), STAGE)
        provisioned = earlier["environment_variables"]
        variables |= {name: provisioned[name] for name in ENVIRONMENT if name in provisioned}
    project.config_path(layout.app).parent.mkdir(parents=True, exist_ok=True)
    project.write_config(layout.app, config)
