"""A process that dies between two AWS calls, told by the number of the call or its name."""

from dataclasses import dataclass, field
from typing import Any


class CrashError(BaseException):
    """Raised where a process would have died: nothing in the application catches it."""


@dataclass
class CrashPoint:
    """Lets `calls` calls through, then dies; with `operation`, after that operation's first call.

    0 calls dies before the first. All clients that share the point share its count.
    """

    calls: int | None = None
    operation: str | None = None
    made: list[str] = field(default_factory=list)

    def guard(self, client: Any) -> Any:
        """`client`, dying at this point."""
        return _Guarded(client, self)

    def check(self) -> None:
        """Die if this is where it happens."""
        if self.calls is not None and len(self.made) >= self.calls:
            raise CrashError
        if self.operation is not None and self.operation in self.made:
            raise CrashError


class _Guarded:
    def __init__(self, client: Any, point: CrashPoint) -> None:
        self._client = client
        self._point = point

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._client, name)
        if name == "get_paginator":
            return operation

        def call(**arguments: Any) -> Any:
            self._point.check()
            try:
                return operation(**arguments)
            finally:
                self._point.made.append(name)
                self._point.check()

        return call
