"""Alerts in the OpenAPI document."""

from chalicelib.alerts.groups import GroupState
from chalicelib.alerts.model import Severity
from chalicelib.web.describe import (
    EVENT_ID,
    MOMENT,
    PAGE,
    Json,
    content,
    moment,
    nullable,
    number,
    operation,
    page_of,
    record,
    response,
    schema,
    text,
    uuid,
)

_ALERT = {
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


def schemas() -> dict[str, Json]:
    """The components."""
    return {
        "AlertGroup": record(
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
    }


def paths() -> dict[str, Json]:
    """The operations."""
    return {
        "/alerts": {
            "get": operation(
                "list_alerts",
                "events:read",
                "Alerts",
                "A page of alert groups, newest first",
                {
                    200: response(
                        "The page; it may be short.",
                        content(
                            page_of(schema("AlertGroup")), page={"items": [_ALERT], "cursor": None}
                        ),
                    )
                },
                parameters=PAGE,
            )
        },
    }
