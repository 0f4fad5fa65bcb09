"""`make smoke` with API_URL and TOKEN: the steps for a deployed stage, over its API alone.

They need a token with `events:write` and `events:read`, and leave one event of type `smoke` and one
of `smoke.cloudevent` behind. Nothing here fails on purpose, for on a deployed stage that would be
an alert.
"""

import time
from collections.abc import Mapping

from local.console import FailedError, elapsed, say
from local.smoke_api import Api
from local.smoke_events import STEPS, Sent, Steps, fail_event, run, use_token
from local.smoke_front_door import cloud_event, openapi


def is_meant(environ: Mapping[str, str]) -> bool:
    """Whether a deployed stage is named; `.local/env` has API_URL too, but no TOKEN."""
    return bool(environ.get("API_URL") and environ.get("TOKEN"))


def smoke(url: str, token: str) -> int:
    """Run the steps; returns 0, or 1 at the first that fails."""
    started = time.monotonic()
    api = Api(url.rstrip("/"), token)
    steps = deployed_steps()
    try:
        # A new API takes some seconds until its name and its routes are known everywhere.
        api.call_until("GET", "/health", 200, token=None)
        run(api, "deployed", steps)
    except FailedError as error:
        say(f"make smoke: {error}")
        return 1
    say(f"All {len(steps)} steps passed in {elapsed(time.monotonic() - started)}.")
    return 0


def deployed_steps() -> Steps:
    """The steps that ask for no right but those two and set off no alert."""
    left_out = (fail_event, use_token)
    of_one_event = [(title, action) for title, action in STEPS if action not in left_out]
    return [*of_one_event, ("a CloudEvent", _cloud_event), ("the OpenAPI document", _openapi)]


def _cloud_event(api: Api, _sent: Sent) -> str:
    return cloud_event(api)


def _openapi(api: Api, _sent: Sent) -> str:
    return openapi(api)
