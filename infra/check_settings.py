"""Whether the settings of a stage can be used: asked before anything is made or deployed.

What the functions would refuse when they start is refused here, with the name of the setting; and
what they would only stumble over at their first request.
"""

from collections.abc import Iterable

from chalicelib.core.config import TABLE, load, queue_url
from chalicelib.core.errors import ConfigurationError
from infra.event_sources import OF_SQS
from infra.project import InfraError, Json, say

SET_BY_LAMBDA = "AWS_REGION"
"""Reserved (AWS Lambda Developer Guide, "Defined runtime environment variables")."""
STAND_IN = "arn:aws:sqs:us-east-1:000000000000:written-by-provisioning"
_QUEUES = ("_QUEUE_ARN", "_DLQ_ARN")


class SettingsError(InfraError):
    """Raised when a stage's settings cannot be used; names the stage and the setting."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(f"stage {stage} in .chalice/config.json: {reason}")


def check(stage: str, part: Json, written_later: Iterable[str] = ()) -> None:
    """Raise `SettingsError` unless the functions of `stage` can start with its variables.

    `part` is the stage's part of the configuration. The names in `written_later` need not be there
    yet. A variable that is no setting is told, not refused: a processor may read it.
    """
    variables = part.get("environment_variables", {})
    known = {entry.name for entry in TABLE}
    for name, value in variables.items():
        if not isinstance(value, str):
            raise SettingsError(stage, f"{name} must be text, in quotes")
        if name == SET_BY_LAMBDA:
            raise SettingsError(stage, f"{name} is set by Lambda, and cannot be set")
        if name not in known | set(written_later):
            say(f"{stage}: {name} is no setting of Eventline")
    _check_functions(stage, part)
    if variables.get("STAGE") != stage:
        raise SettingsError(stage, f"STAGE must be {stage}")
    environ = dict.fromkeys(written_later, STAND_IN) | variables
    try:
        load(environ)
        for name in known & environ.keys():
            if name.endswith(_QUEUES):
                queue_url(environ[name])
    except ConfigurationError as error:
        raise SettingsError(stage, error.detail) from error


def _check_functions(stage: str, part: Json) -> None:
    for function, (_, name) in OF_SQS.items():
        # Lambda refuses the pollers then, each refusal counts as a delivery, and good messages
        # end on the dead-letter queue.
        if "reserved_concurrency" in part.get("lambda_functions", {}).get(function, {}):
            raise SettingsError(
                stage, f"{function} is called by SQS: set {name} in place of reserved_concurrency"
            )
