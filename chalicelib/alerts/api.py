"""The route of alerts: list."""

from chalicelib.alerts import read
from chalicelib.alerts.groups import GroupState
from chalicelib.alerts.model import Severity
from chalicelib.alerts.read import AlertDeps
from chalicelib.web.describe import (
    EVENT_ID,
    MOMENT,
    PAGE,
    Operation,
    component,
    content,
    moment,
    nullable,
    number,
    page_of,
    record,
    response,
    text,
    uuid,
)
from chalicelib.web.request import Request
from chalicelib.web.responses import Response, page

_EXAMPLE = {
    "groupId": EVENT_ID,
    "kind": "ci",
    "severity": "error",
    "title": "Terraform Apply Failed",
    "repository": "shop/infra",
    "branch": "main",
    "link": None,
    "first": MOMENT,
    "last": MOMENT,
    "count": 3,
    "state": "delivered",
    "deliveredAt": MOMENT,
    "reportedCount": 0,
    "summaryAt": None,
    "reason": None,
}
_GROUP = component(
    "AlertGroup",
    record(
        {
            "groupId": uuid(),
            "kind": text("What it is about."),
            "severity": {"type": "string", "enum": list(Severity)},
            "title": text(),
            "repository": nullable(text()),
            "branch": nullable(text()),
            "link": nullable(text()),
            "first": moment(),
            "last": moment(),
            "count": number("Equal alerts.", minimum=1),
            "state": {"type": "string", "enum": list(GroupState)},
            "deliveredAt": nullable(moment()),
            "reportedCount": number("Repeats that people were told of."),
            "summaryAt": nullable(moment()),
            "reason": nullable(text("Why its message was given up.")),
        },
        description="Equal alerts within a window, of which one message is posted.",
    ),
)

LIST_ALERTS = Operation(
    "Alerts",
    "A page of alert groups, newest first",
    {
        200: response(
            "The page; it may be short.",
            content(page_of(_GROUP), page={"items": [_EXAMPLE], "cursor": None}),
        )
    },
    parameters=PAGE,
)


def list_alerts(request: Request, deps: AlertDeps) -> Response:
    """`GET /alerts`: leaves out alerts about what another owner has, unless an admin asks."""
    asked = request.page()
    return page(*read.list_alerts(asked.limit, asked.below, request.caller.sees_only, deps))
