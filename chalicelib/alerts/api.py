"""The route of alerts: list."""

from chalicelib.alerts.groups import GroupState
from chalicelib.alerts.model import Severity
from chalicelib.alerts.store import AlertStore
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
            "kind": text("What the alert is about."),
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
            "reportedCount": number("Repeats that a message in Slack reported."),
            "summaryAt": nullable(moment()),
            "reason": nullable(text("Why its message was given up.")),
        },
        description="Equal alerts within a window, for which one message is posted.",
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


def list_alerts(request: Request, store: AlertStore) -> Response:
    """`GET /alerts`. An admin sees all; others do not see alerts about another owner's events, so a
    page may be short, or empty, though more follow."""
    asked, owner = request.page(), request.caller.sees_only
    groups, resume = store.newest(asked.limit, asked.below)
    visible = [one for one in groups if owner is None or one.alert.owner in (None, owner)]
    return page(visible, resume)
