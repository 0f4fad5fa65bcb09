"""What Schemathesis cannot know from the OpenAPI document, told before each request.

Loaded by the program itself, so it imports nothing of the project. Requests that break the document
are left as they are. Requests that keep to it are helped over what a document cannot say: a cursor
is one that was handed out, a batch has no idempotency key, webhooks are signed.
"""

import hashlib
import hmac
import os
from datetime import datetime
from typing import Any

import schemathesis
from hypothesis import strategies as st

SECRET = os.environ["WEBHOOK_SECRET"].encode()
MAY_REVOKE = {os.environ["TOKEN_ID"]}
"""Tokens that this run made; those of others, and its own, stay."""
MARKER = os.environ["MARKER"].encode()
"""A text in everything that the other owner has; empty when there is no other."""
OLD_CURSOR = os.environ["OLD_CURSOR"]
_BATCHED = "application/cloudevents-batch+json"
_CREATED, _NO_SUCH_METHOD = 201, 404
_PORT_OF_NOBODY, _CLOSED_PORT = 9, 1024

# A time to come is right wherever a time is asked for.
schemathesis.openapi.format(
    "date-time",
    st.datetimes(datetime(2090, 1, 1), datetime(2099, 1, 1)).map(  # noqa: DTZ001 - bounds
        lambda moment: moment.isoformat(timespec="milliseconds") + "Z"
    ),
)


class Signed:
    """Signs a prepared request as GitHub does."""

    def __call__(self, request: Any) -> Any:
        body = request.body or b""
        raw = body.encode() if isinstance(body, str) else body
        digest = hmac.new(SECRET, raw, hashlib.sha256).hexdigest()
        request.headers["X-Hub-Signature-256"] = f"sha256={digest}"
        return request


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """Help a request that keeps to the document; keep all tokens but the run's own."""
    token_id = (case.path_parameters or {}).get("token_id", "")
    if token_id not in MAY_REVOKE and str(token_id).isalnum():
        case.path_parameters["token_id"] = "nosuch"
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    for name in {"cursor", "after"} & set(case.query or {}):
        case.query[name] = _example_of(case, name)
    if case.media_type == _BATCHED and case.headers:
        case.headers.pop("Idempotency-Key", None)
    if case.path == "/webhooks/{source}":
        case.path_parameters["source"] = "github"
        case.headers["X-GitHub-Event"] = "push"
        case._auth = Signed()
    if isinstance(case.body, dict) and case.path in _HELPED:
        _HELPED[case.path](case.body)


def _help_replay(body: dict[str, Any]) -> None:
    """Of nothing, and not of all that the stage holds."""
    body.setdefault("eventType", "nosuch")


def _help_redrive(body: dict[str, Any]) -> None:
    """Below this cursor there is nothing: what other tests left as FAILED stays so."""
    if {"eventType", "errorClass", "all"} & body.keys():
        body["cursor"] = OLD_CURSOR


def _help_subscription(body: dict[str, Any]) -> None:
    """SNS asks an endpoint whether it wants to be told; nobody on the network is asked. No token is
    made up that an endpoint could have got."""
    body.pop("token", None)
    endpoint = str(body.get("endpoint"))
    if endpoint.startswith("https:"):
        name = hashlib.sha256(endpoint.encode()).hexdigest()
        body["endpoint"] = f"https://127.0.0.1:{_PORT_OF_NOBODY}/{name}"


def _help_destination(body: dict[str, Any]) -> None:
    """Nobody on the network is called, and what others send goes nowhere. One that is paused can be
    sent nothing again."""
    body["paused"] = False
    body["url"] = f"https://127.0.0.1:{_CLOSED_PORT}/hook"
    body["eventTypes"] = ["nosuch"]
    body.pop("filter", None)


_HELPED = {
    "/destinations": _help_destination,
    "/destinations/{destination_id}": _help_destination,
    "/replays": _help_replay,
    "/dead-letters/redrive": _help_redrive,
    "/subscriptions": _help_subscription,
}


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    """Remember the tokens that were made."""
    if case.path == "/tokens" and response.status_code == _CREATED:
        MAY_REVOKE.add(response.json()["id"])


def _example_of(case: Any, name: str) -> str:
    """The example of a cursor, which could have been handed out."""
    (cursor,) = (one for one in case.operation.query if one.name == name)
    return str(cursor.definition["example"])


@schemathesis.check
def unknown_method_is_told(_context: Any, response: Any, case: Any) -> None:
    """A method that a path has not is a 404 problem: the gateway knows routes, not methods, and
    calls both `MISSING_AUTHENTICATION_TOKEN`. (RFC 9110 would have 405, which the application
    itself answers; the built-in check asks for that.)"""
    methods = {method.upper() for method in case.operation.schema[case.operation.path]}
    if response.request.method not in methods:
        assert response.status_code == _NO_SUCH_METHOD, response.status_code
        assert response.json()["code"] == "not-found"


@schemathesis.check
def nothing_of_another_owner(_context: Any, response: Any, _case: Any) -> None:
    """No answer holds the other owner's marker."""
    assert not MARKER or MARKER not in response.content
