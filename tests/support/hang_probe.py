"""Sends requests to the API function of this process, and prints how each was answered.

Reads `cases`, a JSON list of [method, path, body, headers], or `events`, one of [function, event],
and the `seconds` that Lambda would give each; a process of its own, since `app.py` takes one
request at a time.
"""

import base64
import json
import sys
import time
from typing import Any

import app
from chalicelib.web.callers import SCOPES

KNOWN = {"source": "github", "token_id": "t0000001"}


class Context:
    """What Lambda tells a function of its run."""

    aws_request_id = "run"

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return int((self._until - time.monotonic()) * 1000)


def request(method: str, route: str, body: str, headers: dict[str, str]) -> dict[str, Any]:
    """A request as API Gateway passes it on; names in the path are ids of events."""
    places = [part[1:-1] for part in route.split("/") if part.startswith("{")]
    path = dict.fromkeys(places, "0199d6c0-0000-7000-8000-000000000000")
    path |= {name: known for name, known in KNOWN.items() if name in path}
    caller = {"owner": "alice", "scopes": " ".join(SCOPES), "tokenId": "t"}
    return {
        "resource": route,
        "path": route,
        "httpMethod": method,
        "headers": {"Content-Type": "application/json", **headers},
        "multiValueHeaders": {},
        "multiValueQueryStringParameters": None,
        "pathParameters": path,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": route,
            "httpMethod": method,
            "requestId": "r",
            "authorizer": caller,
        },
        "body": base64.b64encode(body.encode()).decode(),
        "isBase64Encoded": True,
    }


def work(function: str, event: Any, seconds: float) -> dict[str, Any]:
    """Run another function on an event; the name of what it raised."""
    began = time.monotonic()
    raised = None
    try:
        getattr(app, function)(event, Context(seconds))
    except Exception as error:  # noqa: BLE001 - Lambda would see it
        raised = type(error).__name__
    return {"seconds": time.monotonic() - began, "raised": raised}


def main() -> None:
    """Answer what standard input asks."""
    order = json.load(sys.stdin)
    for function, event in order.get("events", []):
        print("ANSWER " + json.dumps(work(function, event, order["seconds"])), flush=True)
    for case in order.get("cases", []):
        began = time.monotonic()
        answer = app.app(request(*case), Context(order["seconds"]))
        seconds = time.monotonic() - began
        shown = {name: answer[name] for name in ("statusCode", "headers", "body")}
        print("ANSWER " + json.dumps({"seconds": seconds, **shown}), flush=True)


if __name__ == "__main__":
    main()
