"""Write the tables of docs/configuration.md from the code that they tell of: `make configuration`.

The allowed values are what `chalicelib.core.config.load` says when it refuses one; the stages are
those of `.chalice/config.json` and of the templates' mappings. Names that provisioning writes are
left out of the stages, so the document is the same before and after it.
"""

from pathlib import Path

from chalicelib.core.config import TABLE, Setting, load
from chalicelib.core.errors import ConfigurationError
from infra import project, stack
from infra.check_settings import SET_BY_LAMBDA
from infra.generated import replaced, table
from infra.project import Json
from infra.provision import ENVIRONMENT

COPY = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

UNCHECKED = "any text"
_UNUSABLE = "#"
_WRITTEN = " Written by `make provision`."
_MAPPED = {
    "Protected": "Tables and stack cannot be deleted, tables can be restored to any second",
    "LogRetention": "Days that logs are kept",
    "Reports": "Days that the reports of `reconcile` are kept",
    "OldVersions": "Days that overwritten and deleted objects are kept",
    "InfrequentAccess": "Days until payloads and results go to S3 Standard-IA",
    "Archive": "Days until they go to S3 Glacier Instant Retrieval",
    "Writes": "Write units a minute to `S3ObjectEvents` that raise `DynamoDBWriteActivityAlert`",
    "EventsAge": "Seconds an event may wait until `events-age` is raised",
    "AlertsAge": "The same for alerts, `ci-events-queue-age`",
    "DeliveriesAge": "The same for deliveries, `deliveries-age`",
}


def as_text() -> str:
    """The document as the code has it; what is not generated is as it is."""
    stages = project.read_config(project.ROOT)["stages"]
    parts = {
        "settings": settings_table(stages),
        "names": names_table(),
        "functions": functions_table(stages),
        "mappings": mappings_table(list(stages)),
    }
    return replaced(COPY.read_text(encoding="utf-8"), parts)


def settings_table(stages: dict[str, Json]) -> str:
    """The settings that a stage may set: default, what stages set, what is allowed, what it is."""
    rows = [
        [
            f"`{entry.name}`",
            _shown(entry.default or ""),
            _differing(entry, stages),
            allowed(entry.name),
            entry.help,
        ]
        for entry in TABLE
        if _is_free(entry)
    ]
    return table(["setting", "default", "stages", "allowed", "what it is"], rows)


def names_table() -> str:
    """The settings that are nobody's to choose."""
    rows = [
        [f"`{entry.name}`", _writer(entry), entry.help] for entry in TABLE if not _is_free(entry)
    ]
    return table(["setting", "set by", "what it is"], rows)


def functions_table(stages: dict[str, Json]) -> str:
    """Memory, time-out, concurrency and tracing of each function, by stage."""
    functions = next(iter(stages.values()))["lambda_functions"]
    rows = [
        [f"`{name}`", *(_function(part, name) for part in stages.values())] for name in functions
    ]
    return table(["function", *stages], rows)


def mappings_table(stages: list[str]) -> str:
    """What the two templates look up by stage."""
    rows = []
    for path in (stack.RESOURCES, stack.ALARMS):
        columns = stack.read_template(path)["Mappings"]["Stages"]
        for key in columns[stages[0]]:
            cells = [_cell(columns[stage][key]) for stage in stages]
            rows.append([f"`{key}` in `{path.name}`", *cells, _MAPPED[key]])
    return table(["mapping", *stages, "what it is"], rows)


def allowed(name: str) -> str:
    """What `load` takes for `name`, in its own words; `UNCHECKED` if it takes anything."""
    environ = {entry.name: "given" for entry in TABLE if entry.default is None}
    if name == "COGNITO_USER_POOL_ARN":
        environ["AUTH_MODE"] = "cognito"
    try:
        load(environ | {name: _UNUSABLE})
    except ConfigurationError as error:
        words = error.detail.removeprefix(f"{name} must be ").removesuffix(f": {_UNUSABLE}")
        return words.removeprefix("a whole number, ")
    return UNCHECKED


def _is_free(entry: Setting) -> bool:
    return entry.default is not None and entry.name != SET_BY_LAMBDA


def _writer(entry: Setting) -> str:
    if entry.name in ENVIRONMENT:
        return "`make provision`"
    return "Lambda" if entry.name == SET_BY_LAMBDA else "the stage"


def _differing(entry: Setting, stages: dict[str, Json]) -> str:
    values = {stage: project.setting(part, entry.name) for stage, part in stages.items()}
    return ", ".join(
        f"{stage} {_shown(value)}" for stage, value in values.items() if value != entry.default
    )


def _function(part: Json, name: str) -> str:
    options = part["lambda_functions"][name]
    facts = [f"{options['lambda_memory_size']} MB", f"{options['lambda_timeout']} s"]
    if "reserved_concurrency" in options:
        facts.append(f"{options['reserved_concurrency']} at once")
    if options.get("xray", part.get("xray", False)):
        facts.append("traced")
    return ", ".join(facts)


def _shown(value: str) -> str:
    return f"`{value}`" if value else "unset"


def _cell(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    COPY.write_text(as_text(), encoding="utf-8")
