"""`make smoke`: sends one of everything to what `make up` runs, and follows each to its end.

With API_URL and TOKEN in the environment it is for the deployed stage of that URL instead.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from local import smoke_deployed
from local.console import FailedError, elapsed, say
from local.layout import parse_env
from local.smoke_api import Api
from local.smoke_events import STEPS, Sent, Steps, run
from local.smoke_front_door import front_door_steps
from local.smoke_recovery import RECOVERY_STEPS
from local.smoke_triggers import Triggers, slack_webhook

_ENV_FILE = Path(".local/env")


def steps_of(triggers: Triggers) -> Steps:
    """All steps: one event's way, the other ways in, recovery, and the triggers."""

    def after_an_event(action: Callable[[Api], str]) -> Callable[[Api, Sent], str]:
        return lambda api, _sent: action(api)

    further = [*front_door_steps(triggers), *RECOVERY_STEPS, *triggers.steps()]
    return [*STEPS, *((title, after_an_event(action)) for title, action in further)]


def main() -> int:
    """Run against both URLs of `.local/env`. Returns 0, or 1 at the first step that fails."""
    if smoke_deployed.is_meant(os.environ):
        return smoke_deployed.smoke(os.environ["API_URL"], os.environ["TOKEN"])
    if not _ENV_FILE.exists():
        say("make smoke: the platform is not up in this checkout; start it with: make up")
        return 1
    env = parse_env(_ENV_FILE.read_text())
    started = time.monotonic()
    triggers = Triggers(env)
    steps = steps_of(triggers)
    try:
        with slack_webhook(triggers):
            run(Api(env["API_URL"], env["API_TOKEN"]), "chalice local", steps)
            run(Api(env["DEPLOYED_API_URL"], env["API_TOKEN"]), "deployed", steps)
    except FailedError as error:
        say(f"make smoke: {error}")
        return 1
    say(f"All {2 * len(steps)} steps passed in {elapsed(time.monotonic() - started)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
