"""Invoking the API function itself, with just a body: `{"body": "..."}` is `POST /events`.

IAM has decided that the invoker may do this (lambda:InvokeFunction); what is sent belongs to the
stage's `DIRECT_OWNER`.
"""

from collections.abc import Mapping
from typing import Any

from chalicelib.core.strict_json import dump_json
from chalicelib.web.callers import Caller

_VOUCHED = "eventlineCaller"


def is_direct(event: Any) -> bool:
    """Whether `event` did not come from API Gateway."""
    return not isinstance(event, dict) or not isinstance(event.get("requestContext"), dict)


def as_request(event: Any, owner: str) -> dict[str, Any]:
    """The event that API Gateway would have made of it."""
    given = event if isinstance(event, dict) else {}
    body, headers = given.get("body"), given.get("headers")
    sent = headers if isinstance(headers, dict) else {}
    return {
        "requestContext": {
            "httpMethod": "POST",
            "resourcePath": "/events",
            _VOUCHED: Caller(owner, frozenset({"events:write"}), "direct"),
        },
        "headers": {str(name): value for name, value in sent.items() if isinstance(value, str)},
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "body": body if isinstance(body, str) or body is None else dump_json(body),
        "isBase64Encoded": given.get("isBase64Encoded") is True,
    }


def direct_caller(context: Mapping[str, Any]) -> Caller | None:
    """Who invoked the function, if `as_request` made `context`. What comes from outside is JSON,
    which cannot hold a `Caller`, so nobody can make one for themselves."""
    caller = context.get(_VOUCHED)
    return caller if isinstance(caller, Caller) else None
