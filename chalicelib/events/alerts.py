"""Messages for the queue of alerts that an event gives rise to: it FAILED, or it tells of a failed
workflow run. `alerts.model` reads them."""

from collections.abc import Mapping
from typing import Any

from chalicelib.core.strict_json import dump_json
from chalicelib.events.model import Event, Failure

FAILED_RUN = "github.workflow_run.completed"
FAILED_CONCLUSIONS = ("failure", "timed_out", "startup_failure")
_MAX_FIELD = 1000
"""Characters of a field that go into an alert, which shows fewer."""


def alert_of(event_type: str, data: Any) -> str | None:
    """The message for the queue of alerts that an event gives rise to: for a workflow run of GitHub
    that failed, timed out or could not start; None for any other event.

    It holds only what an alert shows, so that it fits into a message whatever was sent.
    """
    if event_type != FAILED_RUN or not isinstance(data, Mapping):
        return None
    run = data.get("workflow_run")
    if not isinstance(run, Mapping) or run.get("conclusion") not in FAILED_CONCLUSIONS:
        return None
    fields = ("name", "head_branch", "head_sha", "conclusion", "status", "html_url", "updated_at")
    told = {field: _shorten(run.get(field)) for field in fields}
    repository = named(data.get("repository"), "full_name") or named(
        run.get("repository"), "full_name"
    )
    return dump_json(
        {
            "action": "completed",
            "workflow_run": {
                **{field: text for field, text in told.items() if text},
                "actor": {"login": named(run.get("actor"), "login")},
            },
            "repository": {"full_name": repository},
        }
    )


def named(value: Any, field: str) -> str:
    """A text field of what should be an object, shortened; empty if there is none."""
    return _shorten(value.get(field)) if isinstance(value, Mapping) else ""


def _shorten(value: Any) -> str:
    return value[:_MAX_FIELD] if isinstance(value, str) else ""


def event_failed(event: Event, failure: Failure, at: str) -> str:
    """The message for an event that ended FAILED; equal for one owner, type, class and code."""
    fields = {
        "eventType": event.event_type,
        "class": failure.kind,
        "code": failure.code,
        "eventId": event.event_id,
        "owner": event.owner,
        "at": at,
    }
    return dump_json({"eventline": {"kind": "event-failed", **fields}})
