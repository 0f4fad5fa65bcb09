"""What a function that no request started knows of its own run.

Invoking the API function itself, with just a body: `{"body": "..."}` is `POST /events`.

IAM has decided that the invoker may do this (lambda:InvokeFunction); what is sent belongs to the
stage's `DIRECT_OWNER`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.core.errors import InvalidRequestError
from chalicelib.core.strict_json import dump_json
from chalicelib.web.callers import Caller

_LONGEST_SECONDS = 30 * 86400


class Invocation:
    """What Lambda handed to a function, whatever it is; set as a handler's `event_class`.

    Chalice's own classes take events apart first: that for schedules fails on what an operator
    sends by hand, those for S3 and SNS read the first record only, that for streams fails on a
    malformed one.
    """

    def __init__(self, event: Any, context: Any) -> None:
        self._event = event if isinstance(event, dict) else {}
        self.context = context

    def to_dict(self) -> dict[str, Any]:
        """The payload."""
        return self._event

    @property
    def run_id(self) -> str:
        """The id under which this run is logged."""
        return str(self.context.aws_request_id)

    def seconds(self, name: str) -> int | None:
        """The option `name`, in seconds; None when it was not given."""
        value = self._event.get(name)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 <= value <= _LONGEST_SECONDS):
            raise InvalidRequestError.at(f"/{name}", "must be a whole number of seconds")
        return value


def seconds_left(context: Any) -> Callable[[], float]:
    """A function that gives the seconds until Lambda ends this run."""
    return lambda: context.get_remaining_time_in_millis() / 1000


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
    """Who invoked the function, if `context` is of `as_request`. What comes from outside is JSON,
    which can not hold a `Caller`, so nobody gives himself one."""
    caller = context.get(_VOUCHED)
    return caller if isinstance(caller, Caller) else None
