"""Secrets in SSM Parameter Store (SecureString), each read once and used for a while.

A secret is read again when it is older than its age allows. While SSM cannot be reached, the one
that was read last goes on being used. That there is none is remembered too, for a moment, and so is
that SSM refused: else whoever can make us look could use up what SSM allows us to ask, which is 40
reads a second for the whole account (AWS General Reference, "AWS Systems Manager endpoints and
quotas"). Threads of a process that look at the same time make one call.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from chalicelib.aws.faults import aws_code, aws_faults
from chalicelib.core.log import log

ABSENT_SECONDS = 2.0
REFUSED_SECONDS = 1.0
"""How long SSM is not asked again after it refused or did not answer."""


class Secrets:
    """Parameters by name. Keep one for the life of the process: it is the cache."""

    def __init__(
        self, client: Any, cache_seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._cache_seconds = cache_seconds
        self._monotonic = monotonic
        self._read: dict[str, tuple[str, float]] = {}
        self._absent: dict[str, float] = {}
        self._refused: dict[str, tuple[Exception, float]] = {}
        self._lock = threading.Lock()

    def get(self, name: str, max_age: float | None = None) -> str | None:
        """The parameter's value, at most `max_age` seconds old (by default the cache's age); None
        if there is no such parameter. One call, none when the cache has it. Without a value read
        before, an error of the SDK passes."""
        with self._lock:
            return self._get(name, max_age)

    def _get(self, name: str, max_age: float | None) -> str | None:
        longest = self._cache_seconds if max_age is None else max_age
        now = self._monotonic()
        cached = self._read.get(name)
        if cached is not None and now - cached[1] < longest:
            return cached[0]
        if now - self._absent.get(name, -longest) < min(longest, ABSENT_SECONDS):
            return None
        refused = self._refused.get(name)
        if refused is not None and now - refused[1] < min(longest, REFUSED_SECONDS):
            if cached is None:
                raise refused[0]
            return cached[0]
        try:
            answer = self._client.get_parameter(Name=name, WithDecryption=True)
        except aws_faults() as error:
            if aws_code(error) == "ParameterNotFound":
                self._read.pop(name, None)
                self._absent[name] = now
                return None
            self._refused[name] = (error, now)
            if cached is None:
                raise
            log.warning("secret not read again", extra={"secret": name, "code": aws_code(error)})
            return cached[0]
        value: str = answer["Parameter"]["Value"]
        self._read[name] = (value, now)
        self._absent.pop(name, None)
        self._refused.pop(name, None)
        return value
