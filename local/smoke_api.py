"""What the steps of `make smoke` are made of: calls that must succeed, and waiting for an end."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

import requests

from local.console import FailedError

REQUEST_SECONDS = 30
_END_SECONDS = 60.0
_POLL_SECONDS = 0.2
_FINAL = ("PROCESSED", "FAILED", "REJECTED")
_PROBLEM_FIELDS = {"type", "title", "status", "detail", "code", "requestId"}

T = TypeVar("T")


@dataclass
class Api:
    """One of the two ways into the platform, called with a token or without."""

    url: str
    token: str
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        # Neither a proxy of the shell's nor a .netrc file is meant for loopback.
        self.session.trust_env = False

    def call(
        self, method: str, path: str, expect: int, token: str | None = "", **options: Any
    ) -> requests.Response:
        """Send a request and return the answer; raises `FailedError` for a status not expected.

        `token` is the API's own unless another is given; None sends no token. An error that was
        expected must have the error shape of the contract.
        """
        headers = dict(options.pop("headers", {}))
        bearer = self.token if token == "" else token
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        url = f"{self.url}{path}"
        try:
            answer = self.session.request(
                method, url, headers=headers, timeout=REQUEST_SECONDS, **options
            )
        except requests.RequestException as error:
            raise FailedError(f"{method} {url} got no answer: {error}") from error
        if answer.status_code != expect:
            raise FailedError(
                f"{method} {url} answered {answer.status_code} instead of {expect}: "
                f"{answer.text[:500]}"
            )
        check("X-Request-Id" in answer.headers, f"{method} {url}: no X-Request-Id header")
        if expect >= HTTPStatus.BAD_REQUEST:
            kind = answer.headers.get("Content-Type", "")
            fields = set(answer.json()) if kind.startswith("application/problem+json") else set()
            check(fields >= _PROBLEM_FIELDS, f"{method} {url}: the error is no problem+json")
        return answer

    def call_until(
        self, method: str, path: str, expect: int, token: str | None = "", **options: Any
    ) -> requests.Response:
        """`call`, again and again for a minute while the status is not the one expected."""

        def look() -> requests.Response | None:
            try:
                return self.call(method, path, expect, token, **options)
            except FailedError as error:
                last.append(error)
                return None

        last: list[FailedError] = []
        try:
            return until(f"{method} {path} to answer {expect}", look)
        except FailedError as error:
            raise (last[-1] if last else error) from error

    def follow(self, event_id: str) -> dict[str, Any]:
        """Wait for an event to reach its final status and return it; fails after a minute."""

        def look() -> dict[str, Any] | None:
            event: dict[str, Any] = self.call("GET", f"/events/{event_id}", 200).json()
            return event if event["status"] in _FINAL else None

        return until(f"event {event_id} to end", look)


def check(holds: bool, otherwise: str) -> None:
    """Raise `FailedError` with `otherwise` unless the condition holds."""
    if not holds:
        raise FailedError(otherwise)


def until(what: str, look: Callable[[], T | None]) -> T:
    """Look until there is something to see; raises `FailedError` naming it after a minute."""
    deadline = time.monotonic() + _END_SECONDS
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise FailedError(f"waited {_END_SECONDS:.0f} s for {what}")
        time.sleep(_POLL_SECONDS)
