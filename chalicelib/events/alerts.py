"""The messages that events put on the queue of alerts: an event FAILED, or a workflow run of GitHub
did. `alerts.model` reads them."""

from collections.abc import Mapping
from typing import Any

from chalicelib.core.strict_json import dump_json
from chalicelib.events.model import Event, Failure

FAILED_RUN = "github.workflow_run.completed"
FAILED_CONCLUSIONS = ("failure", "timed_out", "startup_failure")
_MAX_FIELD = 1000
"""Characters of a field that go into an alert, which shows fewer."""


def alert_of(event_type: str, data: Any) -> str | None:
    """The alert for a workflow run of GitHub that failed, timed out or could not start; None for
    any other event. It holds only what is shown, so that it fits into a message."""
    if event_type != FAILED_RUN or not isinstance(data, Mapping):
        return None
    run = data.get("workflow_run")
    if not isinstance(run, Mapping) or run.get("conclusion") not in FAILED_CONCLUSIONS:
        return None
    fields = ("name", "head_branch", "head_sha", "conclusion", "status", "html_url", "updated_at")
    shown = {field: text for field in fields if (text := named(run, field))}
    repositories = (named(place.get("repository"), "full_name") for place in (data, run))
    alert = {
        "action": "completed",
        "workflow_run": {**shown, "actor": {"login": named(run.get("actor"), "login")}},
        "repository": {"full_name": next(filter(None, repositories), "")},
    }
    return dump_json(alert)


def named(value: Any, field: str) -> str:
    """A text field of what should be an object, shortened; empty if there is none."""
    text = value.get(field) if isinstance(value, Mapping) else None
    return text[:_MAX_FIELD] if isinstance(text, str) else ""


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
