"""What all functions share: ids in the log, one line at the end of a run, and a deadline."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from chalicelib.core.deadline import within
from chalicelib.core.log import log_context
from chalicelib.core.metrics import measured, note

# Compiled at first use.
_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_MOST_CHARACTERS = 100
ANSWER_SECONDS = 5.0
"""What the API keeps of its time: for a cold start, which the gateway counts and Lambda does not,
for the back-off and the TLS handshake that a last attempt may come with, and for the answer."""


@contextmanager
def observe_request(stage: str, request: Mapping[str, Any]) -> Iterator[None]:
    """Everything that an API request's event is answered with. The line `request answered` has
    the method, the route, the owner, the status, and `authorizer`: the id under which the
    authorizer has logged whom it let in."""
    context = request["requestContext"]
    identity = context.get("authorizer")
    admitted = identity.get("runId") if isinstance(identity, dict) else None
    with (
        log_context(requestId=context["requestId"]),
        measured(stage, "request answered", always=True),
    ):
        note(
            method=_short(context.get("httpMethod")),
            route=_short(context.get("resourcePath")),
            authorizer=_short(admitted),
        )
        yield


@contextmanager
def on_behalf_of(owner: str, path: Mapping[str, str]) -> Iterator[None]:
    """The part of a request that is done for `owner`; `path` has the values from the route. What
    does not look like one of our ids is not logged: it could be anything."""
    ids = {_camel_case(name): value for name, value in path.items() if re.fullmatch(_ID, value)}
    note(owner=owner, **ids)
    with log_context(owner=owner):
        yield


def observe_runs(stage: str) -> Callable[[Any, Callable[[Any], Any]], Any]:
    """Chalice's middleware for what no request started: the run's own id is in its lines, and
    `run ended` at its end if it has metrics. `Api` sees to requests itself."""

    def observe(event: Any, get_response: Callable[[Any], Any]) -> Any:
        if hasattr(event, "lambda_context"):
            return get_response(event)
        run_id = getattr(event.context, "aws_request_id", None)
        with log_context(requestId=run_id), measured(stage, "run ended"):
            return get_response(event)

    return observe


def keep_deadline(event: Any, get_response: Callable[[Any], Any]) -> Any:
    """Chalice's middleware: run a handler within the time that Lambda gives it.

    A request's handler gets `ANSWER_SECONDS` less. No limit where the context tells no time.
    """
    is_request = hasattr(event, "lambda_context")
    context = event.lambda_context if is_request else event.context
    ask = getattr(context, "get_remaining_time_in_millis", None)
    if ask is None:
        return get_response(event)
    with within(ask() / 1000 - (ANSWER_SECONDS if is_request else 0)):
        return get_response(event)


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _short(value: Any) -> str | None:
    return value[:_MOST_CHARACTERS] if isinstance(value, str) else None
